"""The neural engine of the music trade: an ACE-Step pipeline of random weights, loaded from a folder."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="REAL MODELS NOT TESTED: the `diffusers` extra is not installed")
pytest.importorskip("diffusers", reason="REAL MODELS NOT TESTED: the `diffusers` extra is not installed")

from dvms import audio  # noqa: E402
from dvms.music import sheet  # noqa: E402
from dvms.music.service import MusicService, MusicSettings  # noqa: E402
from dvms.service import Failed, Progress  # noqa: E402
from tests.dvms.helpers import job, work  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "sliding_window": 16,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A turbo ACE-Step of a few thousand weights; it makes noise, by the real code."""
    from diffusers import AceStepPipeline, AutoencoderOobleck, FlowMatchEulerDiscreteScheduler
    from diffusers.models.transformers.ace_step_transformer import AceStepTransformer1DModel
    from diffusers.pipelines.ace_step.modeling_ace_step import AceStepConditionEncoder
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    letters = Tokenizer(models.WordLevel({"[UNK]": 0, "<|endoftext|>": 1, "a": 2, "fox": 3}, unk_token="[UNK]"))
    letters.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=letters, unk_token="[UNK]", pad_token="<|endoftext|>", eos_token="<|endoftext|>"
    )
    text = Qwen3Model(
        Qwen3Config(
            vocab_size=8,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=4096,
        )
    )
    vae = AutoencoderOobleck(
        encoder_hidden_size=4,
        downsampling_ratios=[2, 4, 4, 6, 10],
        channel_multiples=[1, 1, 1, 1, 1],
        decoder_channels=4,
        decoder_input_channels=8,
        audio_channels=2,
        sampling_rate=48_000,
    )
    transformer = AceStepTransformer1DModel(
        **SMALL, num_hidden_layers=2, in_channels=24, audio_acoustic_hidden_dim=8, is_turbo=True
    )
    condition = AceStepConditionEncoder(
        **SMALL,
        text_hidden_dim=16,
        timbre_hidden_dim=8,
        num_lyric_encoder_hidden_layers=1,
        num_timbre_encoder_hidden_layers=1,
    )
    with torch.no_grad():  # ships with real weights; zeros would make silence
        condition.silence_latent.copy_(torch.randn_like(condition.silence_latent))
    pipe = AceStepPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        transformer=transformer,
        condition_encoder=condition,
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
    )
    folder = tmp_path_factory.mktemp("models") / "ace-step-tiny"
    pipe.save_pretrained(folder)
    return folder


def test_a_pipeline_sings_the_order(model: Path, tmp_path: Path) -> None:
    service = MusicService(MusicSettings(engine=str(model), steps=4))
    steps: list[str] = []
    watch = Progress(report=lambda fraction, message: steps.append(message))
    made = job(service, "a fox", tmp_path, lyrics="[verse]\na fox", seconds=8, seed=3, style="folk", output="audio/wav")
    result = work(service, made, watch)
    sound = audio.read(result.files[0].path, 48_000)
    assert len(sound) / 48_000 == pytest.approx(8, abs=0.3)
    assert audio.loudness(sound, 48_000) == pytest.approx(-15, abs=1.5) and audio.true_peak(sound) <= -0.9
    assert sum(message.startswith("step ") for message in steps) == 4
    assert result.facts["engine"] == "diffusers AceStepPipeline" and result.facts["licence"] == "MIT"
    page = sheet.read(result.files[0].path)
    assert page is not None and page["style"] == "folk" and "lines" not in page


def test_the_seed_decides(model: Path, tmp_path: Path) -> None:
    service = MusicService(MusicSettings(engine=str(model), steps=2))
    sounds = []
    for i, seed in enumerate((1, 1, 2)):
        made = job(service, "a fox", tmp_path / str(i), seconds=8, seed=seed, vocals="off", output="audio/wav")
        sounds.append(work(service, made).files[0].path.read_bytes())
    assert sounds[0] == sounds[1] != sounds[2]


def test_a_cancelled_song_stops_between_steps(model: Path, tmp_path: Path) -> None:
    service = MusicService(MusicSettings(engine=str(model), steps=50))
    steps: list[str] = []
    watch = Progress(
        report=lambda fraction, message: steps.append(message),
        cancelled=lambda: sum(message.startswith("step ") for message in steps) >= 2,
    )
    with pytest.raises(Failed, match="cancelled"):
        work(service, job(service, "a fox", tmp_path, seconds=8, vocals="off"), watch)
    assert sum(message.startswith("step ") for message in steps) == 2


def test_a_missing_model_fails_with_its_name(tmp_path: Path) -> None:
    service = MusicService(MusicSettings(engine=str(tmp_path / "nothing"), local_files_only=True))
    with pytest.raises(Failed, match="nothing can't be loaded"):
        work(service, job(service, "a fox", tmp_path, seconds=8, vocals="off"))
