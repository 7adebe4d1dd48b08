"""Pictures: what the prompt says is really in them, and the same job gives the same bytes."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dvms.image.service import ImageParams, ImageService
from dvms.image.storybook import recipe as recipes
from dvms.image.storybook import sprites
from dvms.image.storybook.compose import compose, flatten
from dvms.image.storybook.light import LIGHTS
from dvms.image.storybook.place import HORIZON
from dvms.image.storybook.recipe import Recipe
from dvms.image.storybook.styles import LOOKS
from dvms.image.storybook.vocabulary import ALIASES, VOCABULARY, Feeling
from dvms.image.storybook.words import understand
from dvms.service import Input, Job, Progress, Refused, Result


def paint(folder: Path, prompt: str, *, picture: Path | None = None, **params: object) -> Result:
    folder.mkdir(parents=True, exist_ok=True)
    inputs = [Input("text", prompt)]
    if picture is not None:
        inputs.append(Input("url", path=picture, mime="image/png"))
    values = ImageParams.model_validate({"size": "320x192", "seed": 7, **params})
    return ImageService().run(Job("ab" * 32, 5100, tuple(inputs), values, folder), Progress())


def pixels(result: Result) -> np.ndarray:
    with Image.open(result.files[0].path) as image:
        return np.asarray(image.convert("RGB"), np.float32)


def test_a_prompt_becomes_a_png_of_the_size_asked_for(tmp_path: Path) -> None:
    result = paint(tmp_path, "a fox in the snow under the northern lights")
    assert pixels(result).shape == (192, 320, 3)
    assert pixels(result).std() > 20
    assert result.files[0].mime == "image/png"
    assert "fox" in result.facts["subjects"]
    assert result.facts["licence"] == "MIT"
    assert "no neural network" in result.facts["model"]


def test_same_job_same_bytes_other_seed_other_picture(tmp_path: Path) -> None:
    first = paint(tmp_path / "a", "two cats in the city at night")
    again = paint(tmp_path / "b", "two cats in the city at night")
    other = paint(tmp_path / "c", "two cats in the city at night", seed=8)
    assert first.files[0].path.read_bytes() == again.files[0].path.read_bytes()
    assert np.abs(pixels(first) - pixels(other)).mean() > 3


def test_the_recipe_is_in_the_file(tmp_path: Path) -> None:
    result = paint(tmp_path, "a dragon and a castle", negative_prompt="clouds")
    found = recipes.read(result.files[0].path)
    assert found == Recipe("a dragon and a castle", 7, 320, 192, None, "clouds")
    assert Recipe.from_json('{"timmy": "storybook/99"}') is None


def test_the_subject_is_really_in_the_picture() -> None:
    """Take the subject's layer away: what changes is where the subject is, and it is a good part of the frame."""
    scene = compose(Recipe("a red balloon over a green field", 3, 320, 192))
    subject = next(layer for layer in scene.layers if layer.name.startswith("sub"))
    inside = np.asarray(subject.image)
    solid = inside[..., 3] > 200
    assert solid.sum() > 0.01 * 320 * 192
    red = inside[solid][:, :3].astype(float).mean(0)
    assert red[0] > 1.6 * red[1] and red[0] > 1.6 * red[2]
    c = scene.canvas
    middle_x, middle_y = subject.x + subject.image.width / 2, subject.y + subject.image.height / 2
    assert c.pad < middle_x < c.pad + c.width and c.pad < middle_y < c.pad + c.height


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        ("a panda playing guitar on stage", ["panda", "guitar"]),
        ("un zorro en la nieve", ["fox"]),
        ("ein Bär reitet auf einem Fahrrad im Wald", ["bear", "bicycle"]),
        ("雪の中の狐", ["fox"]),
        ("кошка играет на гитаре ночью", ["cat", "guitar"]),
        ("three penguins dancing on the ice", ["penguin"]),
        ("a spaniel and a mallard", ["dog", "duck"]),
    ],
)
def test_prompts_are_understood(prompt: str, labels: list[str]) -> None:
    found = [s.sprite.label for s in understand(prompt).subjects]
    assert all(label in found for label in labels), found


def test_places_times_and_styles() -> None:
    meaning = understand("five orange cats in a neon city, watercolour")
    assert (meaning.place, meaning.time, meaning.style) == ("city", "neon", "watercolour")
    assert (meaning.subjects[0].count, meaning.subjects[0].colour) == (5, "orange")


def test_the_negative_prompt_leaves_things_out() -> None:
    assert [s.sprite.label for s in understand("a cat and a dog", "dogs").subjects] == ["cat"]


def test_bad_requests_are_refused_before_any_work(tmp_path: Path) -> None:
    for params in (
        {"size": "9000x9000"},
        {"size": "big"},
        {"style": "cubist nonsense"},
        {"size": None, "ratio": "100:1"},
    ):
        with pytest.raises(Refused):
            paint(tmp_path, "a cat", **params)
    with pytest.raises(Refused):
        paint(tmp_path, " ")


def test_the_sprite_can_be_found_again_in_the_finished_picture() -> None:
    """Where the subject was put, the finished pixels follow the sprite's own drawing."""
    scene = compose(Recipe("a panda in a green field", 4, 480, 270))
    layer = next(layer for layer in scene.layers if layer.name.startswith("sub"))
    c = scene.canvas
    box = (layer.x - c.pad, layer.y - c.pad, layer.x - c.pad + layer.image.width, layer.y - c.pad + layer.image.height)
    shown = np.asarray(flatten(scene).crop(box).convert("L"), np.float64)
    drawn = np.asarray(layer.image.convert("L"), np.float64)
    solid = np.asarray(layer.image.getchannel("A")) > 250
    assert np.corrcoef(shown[solid], drawn[solid])[0, 1] > 0.95


@pytest.mark.parametrize("place", sorted(HORIZON))
def test_every_place_can_be_painted(place: str) -> None:
    word = {"deep": "underwater", "moon": "on the moon", "mount": "mountains", "sky": "in the sky"}.get(place, place)
    scene = compose(Recipe(f"a cat, {word}", 2, 192, 128))
    assert scene.meaning.place == place
    picture = np.asarray(flatten(scene), np.float32)
    assert picture.shape == (128, 192, 3)
    assert 12 < picture.mean() < 243 and picture.std() > 12


@pytest.mark.parametrize("style", ["watercolour", "pixel", "poster", "noir", "pastel", "ink"])
def test_each_style_changes_the_picture(style: str) -> None:
    plain = np.asarray(flatten(compose(Recipe("a dragon and a castle", 2, 256, 160, "storybook"))), np.float32)
    styled = np.asarray(flatten(compose(Recipe("a dragon and a castle", 2, 256, 160, style))), np.float32)
    assert styled.shape == plain.shape
    assert np.abs(styled - plain).mean() > 5
    if style == "noir":
        assert np.abs(styled[..., 0] - styled[..., 2]).mean() < 8


@pytest.mark.parametrize(("width", "height"), [(256, 448), (256, 256), (448, 128)])
def test_any_shape_of_frame(width: int, height: int) -> None:
    scene = compose(Recipe("three penguins riding a sled in the snow", 1, width, height))
    assert flatten(scene).size == (width, height)


def test_the_word_lists_name_sprites_that_exist() -> None:
    named = {label for label in ALIASES.values() if label} | set(VOCABULARY.natural) | set(VOCABULARY.tools_of_trade)
    named |= {label for label, _ in VOCABULARY.tools_of_trade.values()}
    assert named <= set(sprites.by_label())


def test_the_word_lists_name_places_and_lights_that_exist() -> None:
    assert {item.name for item in VOCABULARY.places} <= set(HORIZON)
    assert {item.name for item in VOCABULARY.times} <= set(LIGHTS)
    assert {item.name for item in VOCABULARY.styles} == set(LOOKS)


def test_every_pattern_of_the_word_lists_is_sound_and_finds_itself() -> None:
    """A broken or empty pattern would match nothing, or everything."""
    listed = [*VOCABULARY.places, *VOCABULARY.times, *VOCABULARY.styles, *VOCABULARY.framings, *VOCABULARY.relations]
    patterns = [item.words for item in (*listed, *VOCABULARY.rephrased, *VOCABULARY.feelings)]
    patterns += [*VOCABULARY.weather.values(), *VOCABULARY.features.values(), *VOCABULARY.poses.values()]
    assert len(patterns) > 90
    for pattern in patterns:
        assert re.compile(pattern).search("") is None, pattern


@pytest.mark.parametrize("feeling", VOCABULARY.feelings, ids=lambda f: f.scene[:30])
def test_every_feeling_has_a_picture_with_something_in_it(feeling: Feeling) -> None:
    meaning = understand(feeling.scene)
    assert meaning.subjects and meaning.place


@pytest.mark.parametrize("prompt", ["loneliness", "the weight of things unsaid and regret", "pure joy", "freedom"])
def test_a_feeling_becomes_a_picture_of_somebody_somewhere(prompt: str) -> None:
    meaning = understand(prompt)
    assert meaning.felt and meaning.place and meaning.subjects


def test_what_the_prompt_says_is_not_there_is_not_there() -> None:
    scene = compose(Recipe("a forest without any animals or people, no clouds", 7, 160, 96))
    assert not any(layer.name.startswith("sub") or layer.name == "clouds" for layer in scene.layers)
    assert [s.sprite.label for s in understand("a dog and no cat").subjects] == ["dog"]


@pytest.mark.parametrize(
    ("prompt", "layer"),
    [
        ("three red balloons over a quiet village", "village"),
        ("a train on a bridge over a river", "bridge"),
        ("a waterfall in the jungle", "waterfall"),
        ("a detective under a street lamp at night", "lamplight"),
        ("a cat in a field of sunflowers", "field"),
        ("a football match", "pitch"),
        ("cyberpunk street market, neon signs", "stalls"),
    ],
)
def test_named_pieces_of_scenery_are_in_the_picture(prompt: str, layer: str) -> None:
    assert layer in {item.name for item in compose(Recipe(prompt, 3, 192, 128)).layers}


@pytest.mark.parametrize("size", [(192, 128), (96, 160), (128, 128)])
@pytest.mark.parametrize("prompt", ["a strawberry cake with candles", "a giraffe and an elephant", "a long red bus"])
def test_nothing_that_fits_is_cut_by_the_edge(prompt: str, size: tuple[int, int]) -> None:
    for seed in range(3):
        scene = compose(Recipe(prompt, seed, *size))
        for layer in scene.layers:
            if layer.name.startswith("sub"):
                assert layer.x >= scene.canvas.pad - 1, (layer.name, seed)
                assert layer.x + layer.image.width <= scene.canvas.pad + size[0] + 1, (layer.name, seed)


@pytest.mark.parametrize(
    ("prompt", "second", "relation", "first"),
    [
        ("an astronaut riding a horse", "horse", "ride", "astronaut"),
        ("a cat wearing a top hat", "top hat", "wear", "cat"),
        ("a bear playing the guitar", "guitar", "play", "bear"),
        ("a mouse in a teacup", "teacup without handle", "inside", "mouse"),
        ("a cow jumping over a castle", "castle", "over", "cow"),
        ("a dog holding a red balloon", "balloon", "hold", "dog"),
    ],
)
def test_interactions(prompt: str, second: str, relation: str, first: str) -> None:
    subjects = understand(prompt).subjects
    other = next(s for s in subjects if s.sprite.label == second)
    assert other.relation == relation
    assert other.to is not None and subjects[other.to].sprite.label == first


def test_punctuation_ends_a_relation() -> None:
    subjects = understand("a sailboat on the sea at dawn, birds").subjects
    assert [(s.sprite.label, s.relation) for s in subjects] == [("sailboat", None), ("bird", None)]


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=80), st.integers(0, 2**31 - 1))
def test_no_prompt_breaks_it(prompt: str, seed: int) -> None:
    scene = compose(Recipe(prompt, seed, 96, 64))
    assert flatten(scene).size == (96, 64)
