"""What the buyer hears from Timmy, as signed events: bill and end (7000), progress (7000), the composite (6260)."""

import hashlib
import hmac
from collections.abc import Iterable, MutableMapping

from market.job import JobRequest, build_feedback, build_result
from market.media import Media
from market.sealed import ALGORITHM as SEALED
from nostr import nip44
from nostr.event import Event
from nostr.key import SecretKey
from orchestrator.effects import Progress, Tell
from orchestrator.receipts import build_receipts
from orchestrator.run import Artefact, Run, UnitKey

PROGRESS_LIFE = 86_400  # seconds


class Answers:
    """Signs with Timmy's key, in the encryption of each request; `relay` is the hint that answers carry."""

    def __init__(self, key: SecretKey, relay: str) -> None:
        self.key, self.relay = key, relay

    def secret(self, run_id: str) -> bytes:
        """The preimage of a run's hold invoice: from our key, so that a crash cannot lose it."""
        return hmac.digest(bytes.fromhex(self.key.hex), f"timmy:hold:{run_id}".encode(), hashlib.sha256)

    def feedback(self, request: JobRequest, tell: Tell, at: int) -> Event:
        bill = tell.bill
        return build_feedback(
            self.key, request, tell.status, tell.message, amount_msat=bill.amount_msat if bill else None,
            bolt11=bill.bolt11 if bill else None, extra_tags=tell.tags, relay_hint=self.relay, created_at=at,
        )  # fmt: skip

    def progress(
        self, request: JobRequest, run: Run, progress: Progress, fractions: MutableMapping[UnitKey, float], at: int
    ) -> Event:
        """`["step", name, idx, state, provider, msat, fraction]` for each unit that moved."""
        tags = []
        for key in progress.units:
            unit = run.units.get(key)
            if unit is None:
                continue
            if progress.fraction is not None:
                fractions[key] = progress.fraction
            provider = next((a.provider.pubkey for a in reversed(unit.attempts) if a.provider), "")
            fraction = 1.0 if unit.done else fractions.get(key, 0.0)
            tags.append(["step", *map(str, (*key, unit.state, provider, unit.paid_msat)), f"{fraction:.2f}"])
        done, of = sum(unit.done for unit in run.units.values()), max(1, len(run.units), len(run.recipe.steps))
        tags.append(["progress", f"{done / of:.2f}"])
        return build_feedback(
            self.key, request, "processing", progress.note or f"{done} of {of} steps done", extra_tags=tags,
            relay_hint=self.relay, expiration=at + PROGRESS_LIFE, created_at=at,
        )  # fmt: skip

    def delivery(self, request: JobRequest, run: Run, artefact: Artefact, at: int) -> tuple[list[Event], str, str]:
        """(receipts, result and `success`, in order; id of the root receipt or ""; id of the result)."""
        receipts = build_receipts(run, self.key, relay=self.relay, at=at)
        tags = [["receipt", receipts[-1].id, self.relay]] if receipts else []
        tags += [["recipe", run.recipe_event], ["title", run.recipe.doc.title]]
        if run.seal is not None:
            result = self._sealed(request, run, artefact, tags, at)
        elif artefact.text is not None and not artefact.url:
            result = self._result(request, run, artefact.text, [], tags, at)
        else:
            dim = (artefact.width, artefact.height) if artefact.width and artefact.height else None
            media = Media(artefact.url, artefact.sha256, artefact.mime, artefact.size, dim, artefact.seconds)
            result = self._result(request, run, artefact.url, [media], tags, at)
        done = build_feedback(self.key, request, "success", "delivered", relay_hint=self.relay, created_at=at)
        return [*receipts, result, done], receipts[-1].id if receipts else "", result.id

    def _sealed(self, request: JobRequest, run: Run, artefact: Artefact, tags: list[list[str]], at: int) -> Event:
        """The encrypted file, and its key for the buyer alone (who paid through a wallet has it as the preimage)."""
        assert run.seal is not None
        key = nip44.encrypt(self.key, run.buyer, self.secret(run.id).hex())
        url, sha, nonce = run.seal
        tags = [*tags, ["sealed", SEALED, nonce, key, artefact.sha256, artefact.mime]]
        return self._result(request, run, url, [Media(url, sha, "application/octet-stream")], tags, at)

    def _result(
        self, request: JobRequest, run: Run, content: str, media: Iterable[Media], tags: list[list[str]], at: int
    ) -> Event:
        return build_result(
            self.key, request, content, media=list(media), amount_msat=run.terms.price_msat, relay_hint=self.relay,
            extra_tags=tags, created_at=at,
        )  # fmt: skip
