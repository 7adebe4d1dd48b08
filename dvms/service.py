"""What a trade is: a class that turns a `Job` into a `Result`. The worker host does everything else.

    class Shout(Service):
        name = "Shouter"
        about = "Says it louder."
        kinds = (5050,)

        class Params(BaseModel):
            marks: int = Field(1, ge=1, le=5, description="exclamation marks")

        def run(self, job, progress):
            return Result(job.text().upper() + "!" * job.params.marks)

The host has validated the parameters, fetched and sniffed every input and given the job a folder of its own. `run` is
ordinary blocking code: it runs in a child process that is killed on cancel or deadline.

    ServiceError
    |- Refused      this job can't be done here; said before any bill, with the reason for the customer
    |- Failed       it went wrong during the work: the customer gets the reason and the money back
"""

import hashlib
from abc import ABC
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict


class ServiceError(Exception):
    """The message is for the customer."""


class Refused(ServiceError):
    pass


class Failed(ServiceError):
    pass


class NoParams(BaseModel):
    """A trade without parameters."""

    model_config = ConfigDict(extra="ignore")


class NoSettings(BaseModel):
    """A trade without settings of its own."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Input:
    """One input, ready to use: `text` for words, `path` for a downloaded file. `mime` is sniffed, not believed."""

    type: str
    text: str | None = None
    path: Path | None = None
    mime: str | None = None
    url: str | None = None
    marker: str = ""


P = TypeVar("P", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Job(Generic[P]):
    """What is to be done. `workdir` is empty, private, and removed afterwards (a light service makes it itself)."""

    id: str
    kind: int
    inputs: tuple[Input, ...]
    params: P
    workdir: Path
    output: str | None = None
    customer: str = ""  # public key; known while the job runs
    price_msat: int = 0  # what was paid

    def text(self) -> str:
        """All text inputs, joined by newlines. Refused where there is none."""
        words = [item.text for item in self.inputs if item.text is not None]
        if not any(word.strip() for word in words):
            raise Refused("this service needs a text input: add an `i` tag of type text")
        return "\n".join(words)

    def files(self, kind: str = "") -> list[Input]:
        """The inputs that are files, of MIME types that begin with `kind` (for instance `image/`)."""
        return [item for item in self.inputs if item.path is not None and (item.mime or "").startswith(kind)]

    @property
    def seed(self) -> int:
        """The `seed` parameter where given, else one that follows from the job's id: 0 to 2^31-1."""
        given = getattr(self.params, "seed", None)
        if isinstance(given, int):
            return given % 2**31
        return int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:4]) % 2**31


@dataclass(frozen=True, slots=True)
class Artefact:
    """A file that was made, in the job's workdir."""

    path: Path
    mime: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    alt: str = ""
    poster: Path | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """`content` is a text answer; None means the URL of the first file. `facts` go on the result: engine, seed..."""

    content: str | None = None
    files: tuple[Artefact, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Engine:
    """What does the work, as announced to customers."""

    name: str
    model: str = ""
    licence: str = ""


class Progress:
    """Tells the customer how far the work is. Cheap, callable from any thread, `fraction` from 0 to 1."""

    def __init__(
        self,
        report: Callable[[float, str], None] = lambda fraction, message: None,
        preview: Callable[[Artefact | str], None] = lambda what: None,
        cancelled: Callable[[], bool] = lambda: False,
        claimed: Callable[[int], None] = lambda until: None,
    ) -> None:
        self._report, self._preview, self._cancelled, self._claimed = report, preview, cancelled, claimed

    def __call__(self, fraction: float, message: str) -> None:
        self._report(min(max(fraction, 0.0), 1.0), message)

    def preview(self, what: Artefact | str) -> None:
        """An unfinished result worth showing (a `partial` feedback)."""
        self._preview(what)

    def claimed(self, until: int) -> None:
        """A person has taken this job until then, in seconds; 0: gave it back. For light services."""
        self._claimed(until)

    @property
    def cancelled(self) -> bool:
        """True once the customer has cancelled or the deadline is past; the child is killed soon after."""
        return self._cancelled()


@dataclass(frozen=True, slots=True)
class Site:
    """Where a light service runs: what the host lends it.

    `ask(*filters)` fetches stored events from the worker's relays; `say(kind, content, tags)` publishes an event of the
    worker's key there and returns its id.
    """

    data: Path
    name: str
    pubkey: str
    relays: tuple[str, ...]
    clock: Callable[[], int]
    ask: Callable[..., Awaitable[list[Any]]]
    say: Callable[[int, str, list[list[str]]], Awaitable[str]]


class Service(ABC):
    """A trade. Built in the host (for `check` and prices) and in the child (for `run`), from the same settings."""

    name: ClassVar[str]
    about: ClassVar[str]
    kinds: tuple[int, ...]
    Params: ClassVar[type[BaseModel]] = NoParams
    Settings: ClassVar[type[BaseModel]] = NoSettings
    heavy: ClassVar[bool] = True  # runs in a child process, one at a time per box
    picture: ClassVar[str] = ""
    deadline: ClassVar[int | None] = None  # seconds for a job, where the usual setting does not fit the trade
    at_once: ClassVar[int | None] = None  # light jobs at a time, where the usual setting does not fit the trade
    topics: tuple[str, ...] = ()  # `t` tags of the announcement

    def __init__(self, settings: Any = None) -> None:
        self.settings: Any = self.Settings() if settings is None else settings

    def engine(self) -> Engine:
        return Engine(type(self).__name__)

    def check(self, job: Job[Any]) -> None:
        """Raise Refused where this job can't be done. Cheap: runs before the bill, in the host."""
        return

    def price_msat(self, job: Job[Any], base_msat: int) -> int:
        """The price of this job. The base price is what was announced; deviate only by a rule told in `about`."""
        return base_msat

    def run(self, job: Job[Any], progress: Progress) -> Result:
        """Do the work (blocking, in the child process). Raise Failed with a reason for the customer."""
        raise NotImplementedError

    async def open(self, site: Site) -> None:
        """Called once in the host before the first job. For services that run there (`heavy = False`)."""
        return

    async def close(self) -> None:
        """The counterpart of `open`."""
        return

    def announce_tags(self) -> list[list[str]]:
        """More tags for the announcement."""
        return []

    def available(self) -> bool:
        """False pauses the heartbeat: nobody is there to work (a person who went home)."""
        return True

    async def run_async(self, job: Job[Any], progress: Progress) -> Result:
        """The same for services with `heavy = False`, which run inside the host's event loop."""
        raise NotImplementedError
