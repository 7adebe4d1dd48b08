"""A small world for Timmy that survives him: relay, Lightning and providers in one SQLite file.

The file belongs to nobody's process, so a Timmy that is killed finds the world as he left it. Every real movement of
money is a row of `moved`; every event that reached the relay is a row of `event`.
"""

import asyncio
import hashlib
import json
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from market.job import JobRequest, build_feedback, build_result
from market.media import Media
from nostr.clock import Clock, system_clock
from nostr.event import Event
from nostr.key import SecretKey
from orchestrator import till as till_module
from orchestrator.effects import Ask, Check, Fetch, Open, Review
from orchestrator.journal import Journal, Limits
from orchestrator.recipe import Recipe
from orchestrator.run import Artefact, Attempt, Candidate, Run, Terms, Unit, Verdict
from orchestrator.runner import FetchError, Runner
from orchestrator.till import Till
from wallet import bolt11
from wallet.interface import Caps, Invoice, InvoiceState, Outcome, PayResult, WalletInfo

RELAY = "ws://relay.test"
RECIPES = Path(__file__).parents[2] / "orchestrator" / "recipes"
SCENES = {
    "title": "Lantern", "style": "folk", "mood": "calm", "lines": ["one light", "on the hill"],
    "shots": [{"prompt": "a lantern", "motion": "zoom"}, {"prompt": "a hill at night", "motion": "pan"}],
}  # fmt: skip
TABLES = """
CREATE TABLE event(seq INTEGER PRIMARY KEY, id TEXT UNIQUE, pubkey TEXT, kind INTEGER, raw TEXT);
CREATE TABLE e(id TEXT, ref TEXT);
CREATE TABLE invoice(hash TEXT PRIMARY KEY, owner TEXT, msat INTEGER, preimage TEXT, state TEXT, bolt11 TEXT UNIQUE,
  expires INTEGER, job TEXT);
CREATE TABLE moved(hash TEXT, msat INTEGER, payer TEXT);
CREATE TABLE blob(sha TEXT PRIMARY KEY, data BLOB, mime TEXT);
"""


def key_of(name: str) -> SecretKey:
    """A key that every process derives alike."""
    return SecretKey(hashlib.sha256(f"world {name}".encode()).digest())


TIMMY, BUYER = key_of("timmy"), key_of("buyer")


@dataclass
class Provider:
    """One seller. `mood`: good | free | hold | silent | vanish | dear | thief | error | bad | late_after | twice."""

    name: str
    kind: int
    price_msat: int = 10_000
    mood: str = "good"
    own: bool = False

    @property
    def key(self) -> SecretKey:
        return key_of(self.name)

    def candidate(self) -> Candidate:
        return Candidate(self.key.public, self.price_msat, self.name, (RELAY,), self.own)


def crowd(**moods: str) -> list[Provider]:
    """One good provider for every step of the music video; `image="vanish"` puts a worse and cheaper one before it."""
    kinds = {"text": 5050, "music": 5251, "image": 5100, "animation": 5202, "video": 5203}
    good = [Provider(name, kind) for name, kind in kinds.items()]
    return [Provider(f"{mood} {name}", kinds[name], 8_000, mood) for name, mood in moods.items()] + good


class World:
    """Opens (or makes) the file. `point(name)` is called around everything that changes the outside."""

    def __init__(
        self,
        path: Path,
        providers: list[Provider],
        point: Callable[[str], None] = lambda name: None,
        clock: Clock = system_clock,
    ) -> None:
        fresh = not path.exists()
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA synchronous=OFF")
        self.db.execute("PRAGMA journal_mode=WAL")
        if fresh:
            self.db.executescript(TABLES)
        self.providers = {provider.key.public: provider for provider in providers}
        self.point = point
        self.news = asyncio.Event()
        self.clock = clock
        self.buyer_pays = True
        if not fresh:
            self._catch_up()

    # --- relay --------------------------------------------------------------------------------------------------

    def publish(self, event: Event) -> None:
        done = self.db.execute(
            "INSERT OR IGNORE INTO event(id, pubkey, kind, raw) VALUES (?,?,?,?)",
            (event.id, event.pubkey, event.kind, event.to_json().decode()),
        ).rowcount
        if not done:
            return
        for ref in event.values("e"):
            self.db.execute("INSERT INTO e VALUES (?,?)", (event.id, ref))
        self.news.set()
        self._react(event)

    def events(self, *, kind: int | None = None, pubkey: str | None = None, after: int = 0) -> list[tuple[int, Event]]:
        rows = self.db.execute(
            "SELECT seq, raw FROM event WHERE seq > ? AND (? IS NULL OR kind = ?) AND (? IS NULL OR pubkey = ?)",
            (after, kind, kind, pubkey, pubkey),
        ).fetchall()
        return [(seq, Event.from_json(raw)) for seq, raw in rows]

    def order(self, request_id: str) -> JobRequest:
        (raw,) = self.db.execute("SELECT raw FROM event WHERE id = ?", (request_id,)).fetchone()
        return JobRequest.parse(Event.from_json(raw))

    def orders(self, kind: int) -> list[JobRequest]:
        """All that Timmy ordered of a kind."""
        return [JobRequest.parse(event) for _, event in self.events(kind=kind, pubkey=TIMMY.public)]

    def about(self, request_id: str) -> list[Event]:
        rows = self.db.execute(
            "SELECT raw FROM event WHERE id IN (SELECT id FROM e WHERE ref = ?) ORDER BY seq", (request_id,)
        )
        return [Event.from_json(raw) for (raw,) in rows]

    # --- the others ---------------------------------------------------------------------------------------------

    def _react(self, event: Event) -> None:
        if 5000 <= event.kind <= 5999 and event.pubkey == TIMMY.public:
            for provider in self.providers.values():
                named = event.first("p")  # an open call names nobody
                if named == provider.key.public or (named is None and provider.kind == event.kind):
                    self._serve(provider, JobRequest.parse(event))
        elif self.buyer_pays and event.first("p") == BUYER.public and event.first("status") == "payment-required":
            self.pay(event.tagged("amount")[0][2], "buyer")

    def _serve(self, provider: Provider, request: JobRequest) -> None:
        mood, now = provider.mood, self.clock()
        if mood == "silent":
            return
        if mood == "error":
            self.publish(build_feedback(provider.key, request, "error", "no paint left", created_at=now))
        elif mood == "free":
            self.deliver(provider, request)
        else:
            price = provider.price_msat * (2 if mood == "dear" else 1)
            owner = "thief" if mood == "thief" else provider.name
            job = secrets.token_hex(32) if mood == "thief" else request.id
            invoice = self.invoice(owner, price, job=job, hold=mood == "hold")
            bill = build_feedback(
                provider.key,
                request,
                "payment-required",
                "please pay",
                amount_msat=price,
                bolt11=invoice,
                created_at=now,
            )
            self.publish(bill)

    def deliver(self, provider: Provider, request: JobRequest) -> None:
        content, media = self.work(provider, request)
        self.publish(build_result(provider.key, request, content, media=media, created_at=self.clock()))

    def work(self, provider: Provider, request: JobRequest) -> tuple[str, list[Media]]:
        if request.kind == 5820:
            if request.inputs[0].type == "text":
                return f"{request.inputs[0].value}, edited by {provider.name}", []
            bad = ["other" in self._bytes_of(item.value) for item in request.inputs if item.type == "url"]
            if request.param("form") == "score":
                return json.dumps({"form": "score", "score": 3 if bad[0] else 8, "of": 10}), []
            if request.param("form") == "rank":
                return json.dumps({"order": sorted(range(1, len(bad) + 1), key=lambda n: bad[n - 1])}), []
            return f"{'no' if bad[0] else 'yes'}, I have looked at it", []
        if request.kind == 5050:
            return ("not json" if provider.mood == "bad" else json.dumps(SCENES)), []
        mime = {5251: "audio/mp4", 5100: "image/png", 5202: "video/mp4", 5203: "video/mp4"}[request.kind]
        words = ["BAD"] if provider.mood == "bad" else [mime, *(item.value for item in request.inputs)]
        data = json.dumps([*words, provider.name]).encode()
        sha = hashlib.sha256(data).hexdigest()
        self.db.execute("INSERT OR IGNORE INTO blob VALUES (?,?,?)", (sha, data, mime))
        url = f"http://files.test/{sha}"
        return url, [Media(url, sha, mime, len(data))]

    def _bytes_of(self, url: str) -> str:
        (data,) = self.db.execute("SELECT data FROM blob WHERE sha = ?", (url.rpartition("/")[2],)).fetchone()
        return str(data.decode())

    # --- lightning ----------------------------------------------------------------------------------------------

    def invoice(self, owner: str, msat: int, *, job: str = "", payment_hash: str = "", hold: bool = False) -> str:
        preimage = secrets.token_hex(32)
        if not payment_hash:
            payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
        else:
            preimage = ""
        now = self.clock()
        words = f"nip90:{job}" if job else ""
        made = bolt11.encode(
            key=key_of("node"), network="regtest", amount_msat=msat, payment_hash=payment_hash, description=words,
            created_at=now, expiry=600,
        )  # fmt: skip
        self.db.execute(
            "INSERT INTO invoice VALUES (?,?,?,?,'open',?,?,?)",
            (payment_hash, owner, msat, ("hold:" if hold else "") + preimage, made, now + 600, job),
        )
        return made

    def pay(self, invoice: str, payer: str) -> PayResult:
        """Move the money, once a hash; then the provider's work begins."""
        row = self.db.execute(
            "SELECT hash, owner, msat, preimage, state, job FROM invoice WHERE bolt11 = ?", (invoice,)
        ).fetchone()
        payment_hash, owner, msat, preimage, state, job = row
        if state == "open":
            locked = preimage == "" or preimage.startswith("hold:")
            self.point("pay")
            self.db.execute("BEGIN")
            self.db.execute(
                "UPDATE invoice SET state = ? WHERE hash = ?", ("accepted" if locked else "settled", payment_hash)
            )
            self.db.execute("INSERT INTO moved VALUES (?,?,?)", (payment_hash, msat, payer))
            self.db.execute("COMMIT")
            self.point("paid")
            if job:
                self._after_payment(owner, job, payment_hash)
        return self.payment(payment_hash)

    def _after_payment(self, owner: str, job: str, payment_hash: str) -> None:
        raw = self.db.execute("SELECT raw FROM event WHERE id = ?", (job,)).fetchone()
        if raw is None:
            return
        provider = next((p for p in self.providers.values() if p.name == owner), None)
        if provider is None or provider.mood == "vanish":
            return
        self.deliver(provider, JobRequest.parse(Event.from_json(raw[0])))
        if provider.mood == "hold":
            self.db.execute("UPDATE invoice SET state = 'settled' WHERE hash = ?", (payment_hash,))
        if provider.mood == "twice":
            self.deliver(provider, JobRequest.parse(Event.from_json(raw[0])))

    def _catch_up(self) -> None:
        """The others do not stop when Timmy does: bills are paid, and what was paid is delivered."""
        for _, event in self.events(kind=7000, pubkey=TIMMY.public):
            bill = next(iter(event.tagged("amount")), ())
            if (
                len(bill) > 2
                and self.db.execute("SELECT 1 FROM invoice WHERE bolt11 = ? AND state = 'open'", (bill[2],)).fetchone()
            ):
                self.pay(bill[2], "buyer")
        rows = self.db.execute("SELECT hash, owner, job FROM invoice JOIN moved USING(hash) WHERE job != ''").fetchall()
        for payment_hash, owner, job in rows:
            if not any(6000 <= event.kind <= 6999 for event in self.about(job)):
                self._after_payment(owner, job, payment_hash)

    def payment(self, payment_hash: str) -> PayResult:
        row = self.db.execute("SELECT preimage, state FROM invoice WHERE hash = ?", (payment_hash,)).fetchone()
        sent = self.db.execute("SELECT 1 FROM moved WHERE hash = ?", (payment_hash,)).fetchone()
        if row is None or sent is None:
            return PayResult(Outcome.UNKNOWN, payment_hash)
        if row[1] == "settled":
            return PayResult(Outcome.SETTLED, payment_hash, row[0].removeprefix("hold:"), 0)
        if row[1] == "accepted":
            return PayResult(Outcome.PENDING, payment_hash)
        return PayResult(Outcome.FAILED, payment_hash)

    def spent(self) -> int:
        return sum(msat for (msat,) in self.db.execute("SELECT msat FROM moved WHERE payer = 'timmy'"))


class WorldWallet:
    """Timmy's wallet in this world."""

    def __init__(self, world: World, *, hold: bool = True) -> None:
        self.world = world
        self.caps = Caps(network="regtest", hold=hold, real_money=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    async def info(self) -> WalletInfo:
        return WalletInfo("world", self.caps)

    async def balance(self) -> int:
        return 10**12

    async def make_invoice(
        self,
        amount_msat: int,
        *,
        description: str | None = None,
        description_hash: str | None = None,
        expiry: int = 600,
    ) -> Invoice:
        return self._read(self.world.invoice("timmy", amount_msat))

    async def make_hold_invoice(
        self, amount_msat: int, payment_hash: str, *, description: str | None = None, expiry: int = 600
    ) -> Invoice:
        return self._read(self.world.invoice("timmy", amount_msat, payment_hash=payment_hash))

    def _read(self, invoice: str) -> Invoice:
        read = bolt11.decode(invoice)
        found = self._invoice(read.payment_hash)
        assert found is not None
        return found

    def _invoice(self, payment_hash: str) -> Invoice | None:
        row = self.world.db.execute(
            "SELECT bolt11, msat, state, expires FROM invoice WHERE hash = ? AND owner = 'timmy'", (payment_hash,)
        ).fetchone()
        if row is None:
            return None
        return Invoice(row[0], payment_hash, row[1], row[3] - 600, row[3], InvoiceState(row[2]), received_msat=row[1])

    async def lookup_invoice(self, payment_hash: str) -> Invoice | None:
        return self._invoice(payment_hash)

    async def pay_invoice(
        self, invoice: str, *, max_fee_msat: int | None = None, timeout: float = 60, purpose: str | None = None
    ) -> PayResult:
        return self.world.pay(invoice, "timmy")

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        return self.world.payment(payment_hash)

    async def list_settled(self, since: int, limit: int = 100) -> list[Invoice]:
        return []

    async def settled(self) -> AsyncIterator[str]:
        await asyncio.sleep(3600)
        yield ""

    async def settle_hold_invoice(self, preimage: str) -> None:
        payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
        self.world.point("settle")
        self.world.db.execute("UPDATE invoice SET state='settled' WHERE hash=? AND state='accepted'", (payment_hash,))
        self.world.point("settled")

    async def cancel_hold_invoice(self, payment_hash: str) -> None:
        self.world.point("cancel")
        self.world.db.execute(
            "UPDATE invoice SET state='cancelled' WHERE hash=? AND state IN ('open','accepted')", (payment_hash,)
        )
        self.world.point("cancelled")


@dataclass
class WorldHands:
    """Timmy's hands in this world."""

    world: World
    journal: Journal
    reviews: list[tuple[str, int, str]] = field(default_factory=list)
    said: list[Event] = field(default_factory=list)
    relays: tuple[str, ...] = (RELAY,)
    stir: asyncio.Event = field(default_factory=asyncio.Event)
    offline: bool = False

    async def offers(self, run: Run, ask: Ask) -> tuple[Candidate, ...]:
        found = [p for p in self.world.providers.values() if p.kind == ask.kind and (p.own or not ask.own_only)]
        return tuple(p.candidate() for p in sorted(found, key=lambda p: p.price_msat))

    async def bids(self, run: Run, ask: Ask, prices: Mapping[str, int]) -> tuple[Candidate, ...]:
        found = [replace(self.world.providers[pubkey].candidate(), price_msat=msat) for pubkey, msat in prices.items()]
        return tuple(sorted(found, key=lambda candidate: candidate.price_msat))

    async def recall(self, request_id: str, relays: Sequence[str]) -> list[Event]:
        return self.world.about(request_id)

    async def fetch(self, run: Run, fetch: Fetch) -> Artefact:
        if not fetch.source["url"]:
            data, mime = fetch.source["text"].encode(), fetch.out.mime
            sha = hashlib.sha256(data).hexdigest()
            return Artefact(sha, mime, len(data), "", fetch.source["text"])
        sha = fetch.source["url"].rpartition("/")[2]
        row = self.world.db.execute("SELECT data, mime FROM blob WHERE sha = ?", (sha,)).fetchone()
        if row is None or hashlib.sha256(row[0]).hexdigest() != fetch.source["sha256"]:
            raise FetchError("not there")
        return Artefact(sha, row[1], len(row[0]), f"http://own.test/{sha}")

    async def check(self, check: Check) -> tuple[Verdict, Artefact]:
        bad = check.artefact.text == "not json"
        if check.artefact.url:
            sha = check.artefact.sha256
            (data,) = self.world.db.execute("SELECT data FROM blob WHERE sha = ?", (sha,)).fetchone()
            bad = b"BAD" in data
        return Verdict(not bad, (("decodes", not bad, "bytes"),)), check.artefact

    async def read(self, artefact: Artefact) -> bytes:
        row = self.world.db.execute("SELECT data FROM blob WHERE sha = ?", (artefact.sha256,)).fetchone()
        return bytes(row[0])

    async def put(self, data: bytes, mime: str) -> str:
        sha = hashlib.sha256(data).hexdigest()
        self.world.db.execute("INSERT OR IGNORE INTO blob VALUES (?,?,?)", (sha, data, mime))
        return f"http://own.test/{sha}"

    async def present(self, artefact: Artefact) -> bool:
        return True

    def review(self, run: Run, unit: Unit, attempt: Attempt, review: Review) -> list[Event]:
        self.reviews.append((attempt.provider.name if attempt.provider else "", review.stars, review.text))
        return []

    def relays_for(self, request: JobRequest) -> tuple[str, ...]:
        return (RELAY,)

    async def whisper(self, event: Event, relays: Sequence[str]) -> None:
        self.said.append(event)

    def stirred(self) -> None:
        self.stir.set()


class Timmy:
    """A whole Timmy in the world: journal, till, runner, and the pump that plays outbox and subscription."""

    def __init__(
        self,
        folder: Path,
        providers: list[Provider],
        *,
        hold: bool = True,
        point: Callable[[str], None] | None = None,
        limits: Limits | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self.folder, self.limits = folder, limits
        self.point = point or (lambda name: None)
        self.world = World(folder / "world.db", providers, self.point, clock)
        self.wallet = WorldWallet(self.world, hold=hold)

    async def __aenter__(self) -> "Timmy":
        till_module.LOOK = (0.01, 0.02, 0.05)
        self.journal = await Journal.open(self.folder / "timmy.db", limits=self.limits, clock=self.world.clock)
        self.hands = WorldHands(self.world, self.journal)
        self.till = Till(self.wallet, self.world.clock)
        self.runner = Runner(TIMMY, self.journal, self.till, self.hands, self.world.clock, relay=RELAY, hook=self.point)
        self.seen = max((seq for seq, _ in self.world.events()), default=0)
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._listen())]
        self.hands.stir.set()
        await self.runner.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self.runner.close()
        await self.journal.close()

    async def _send(self) -> None:
        while True:
            await self.hands.stir.wait()
            self.hands.stir.clear()
            rows = await self.journal.db.fetch(
                "SELECT DISTINCT seq, raw FROM outbox_event JOIN outbox_target USING(seq)"
                " WHERE state = 'waiting' ORDER BY seq"
            )
            for row in rows:
                self.point("send")
                self.world.publish(Event.from_json(row["raw"]))
                self.point("sent")
                await self.journal.db.write(
                    lambda conn, seq=row["seq"]: conn.execute(
                        "UPDATE outbox_target SET state='sent' WHERE seq=?", (seq,)
                    )
                )

    async def _listen(self) -> None:
        while True:
            await self.world.news.wait()
            self.world.news.clear()
            for seq, event in self.world.events(after=self.seen):
                self.seen = max(self.seen, seq)
                if event.first("p") == TIMMY.public and event.verify():
                    self.runner.hear(event)

    async def sell(
        self, recipe: Recipe | None = None, *, price_msat: int = 200_000, again: int = 0, **changes: object
    ) -> str:
        """Open a run for a buyer's request; the run's id."""
        recipe = recipe or Recipe.parse((RECIPES / "music-video.json").read_text())
        event = BUYER.sign(
            kind=5260, tags=[["i", "a lantern on a hill", "text"], ["param", "recipe", recipe.d], ["p", TIMMY.public]],
            created_at=1_800_000_000 + again,
        )  # fmt: skip
        self.world.publish(event)
        now = self.world.clock()
        terms: dict[str, object] = {
            "price_msat": price_msat, "soft_msat": price_msat * 9 // 10, "hard_msat": price_msat * 12 // 10,
            "seconds": 600, "valid_until": now + 600, "relays": (RELAY,),
        }  # fmt: skip
        inputs = recipe.read_inputs([("a lantern on a hill", "text")], {})
        opening = Open(
            now, event.id, TIMMY.public, BUYER.public, recipe, "ab" * 32, inputs, Terms(**{**terms, **changes})
        )
        await self.runner.open(opening, JobRequest.parse(event))
        return event.id

    async def until_over(self, run_id: str, seconds: float = 20) -> Run:
        async with asyncio.timeout(seconds):
            await self.runner.finished(run_id)
            while await self._unsent():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        run = await self.journal.load(run_id)
        assert run is not None
        return run

    async def _unsent(self) -> int:
        row = await self.journal.db.fetch_one("SELECT count(*) AS n FROM outbox_target WHERE state = 'waiting'")
        return int(row["n"]) if row else 0
