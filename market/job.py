"""Job requests, feedback and results (NIP-90): tolerant reading, strict writing.

What the wild sends and other clients expect is measured in tests/market/fixtures. Encrypted jobs use NIP-44 or NIP-04;
the answers go out in the scheme of the request, in the shapes NDK and nostr-dvm read:

- request: `content` is the ciphertext of a JSON list of tags (`i`, `param`; NDK adds `output`, `relays`, `bid`);
- feedback: `content` is the ciphertext of a JSON list of tags (`status`, `amount`, `content`);
- result: `content` is the ciphertext of the result itself; what else must stay private goes in one `private` tag.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from market.errors import BadFeedback, BadRequest, BadResult, MarketError
from market.kinds import FEEDBACK, is_result, result_kind
from market.media import Media, read_media
from market.tags import Tag, is_http_url, parse_bolt11, parse_hex64, parse_id, parse_msat, parse_relay, parse_relays
from nostr import nip04, nip44
from nostr.event import Event
from nostr.key import SecretKey

__all__ = [
    "BadFeedback",
    "BadRequest",
    "BadResult",
    "Feedback",
    "JobInput",
    "JobRequest",
    "JobResult",
    "Media",
    "Scheme",
    "build_feedback",
    "build_request",
    "build_result",
]

Scheme = Literal["nip44", "nip04"]

MAX_INPUTS: Final = 64
MAX_PARAMS: Final = 128
INPUT_TYPES: Final = frozenset({"text", "url", "event", "job"})
STATUSES: Final = frozenset({"payment-required", "processing", "partial", "success", "error"})
_STATUS_ALIASES: Final = {"completed": "success", "done": "success", "failed": "error", "payment": "payment-required"}
_NIP04: Final = re.compile(r"^[A-Za-z0-9+/=\s]+\?iv=[A-Za-z0-9+/=\s]+$")


@dataclass(frozen=True, slots=True)
class JobInput:
    """One `i` tag. `type` is text, url, event or job; for event and job the value is an event id in hex."""

    value: str
    type: str
    relay: str = ""
    marker: str = ""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job request as its customer meant it. `params` has normalised names (`top-k` reads as `top_k`).

    `providers` are the `p` tags; `encrypted` is the scheme of the request, or None for a plain one. An encrypted
    request that was parsed without a key has no inputs.
    """

    event: Event
    customer: str
    kind: int
    inputs: tuple[JobInput, ...]
    params: Mapping[str, list[str]]
    output: str | None
    bid_msat: int | None
    relays: tuple[str, ...]
    providers: frozenset[str]
    encrypted: Scheme | None
    expiration: int | None

    @property
    def id(self) -> str:
        return self.event.id

    def param(self, name: str, default: str | None = None) -> str | None:
        """First value of a parameter."""
        values = self.params.get(_param_name(name))
        return values[0] if values else default

    @property
    def wants_seal(self) -> bool:
        """True for an encrypted request whose customer can open sealed files (market.sealed)."""
        return self.encrypted is not None and (self.param("encryption-algorithm") or "").lower() == "aes-gcm"

    @classmethod
    def outline(cls, event: Event) -> JobRequest:
        """What can be known of a request that cannot be read: enough to answer it in clear with an error."""
        return cls(
            event=event,
            customer=event.pubkey,
            kind=event.kind,
            inputs=(),
            params={},
            output=None,
            bid_msat=None,
            relays=parse_relays(event.tags),
            providers=frozenset(found for value in event.values("p") if (found := parse_hex64(value))),
            encrypted=None,
            expiration=event.expiration,
        )

    @classmethod
    def parse(cls, event: Event, key: SecretKey | None = None) -> JobRequest:
        """Read a request. `key` (of the provider or of the customer) opens encrypted ones.

        Raises BadRequest, with a reason for the customer. The signature is the caller's business.
        """
        if not 5000 <= event.kind <= 5999:
            raise BadRequest(f"kind {event.kind} is not a job request")
        tags: list[Tag] = [tag for tag in event.tags if tag]
        content = event.content
        scheme: Scheme | None = None
        if any(tag[0] == "encrypted" for tag in tags):
            scheme = scheme_of(content)
            inner: list[Tag] = []
            content = ""
            if key is not None:
                plain = _open(event, key, scheme, BadRequest)
                opened = _tag_list(plain)
                inner, content = (opened, "") if opened is not None else ([], plain)
            # An input left in clear beside the ciphertext is a leak of the client, not a second input.
            tags = inner + [tag for tag in tags if tag[0] not in ("i", "input") or not (inner or content)]
        elif not any(tag[0] in ("i", "input") for tag in tags) and (listed := _tag_list(content)) is not None:
            tags, content = listed + tags, ""
        inputs = _inputs(tags, content)
        return cls(
            event=event,
            customer=event.pubkey,
            kind=event.kind,
            inputs=inputs,
            params=_params(tags),
            output=next(
                (tag[1].strip() for tag in tags if tag[0] == "output" and len(tag) > 1 and tag[1].strip()), None
            ),
            bid_msat=next(
                (bid for tag in tags if tag[0] == "bid" and len(tag) > 1 and (bid := parse_msat(tag[1])) is not None),
                None,
            ),
            relays=parse_relays(tags),
            providers=frozenset(
                found for tag in tags if tag[0] == "p" and len(tag) > 1 and (found := parse_hex64(tag[1]))
            ),
            encrypted=scheme,
            expiration=event.expiration,
        )


@dataclass(frozen=True, slots=True)
class Feedback:
    """A 7000. `status` is in normal form (`payment_required` reads as `payment-required`), `message` is for people."""

    event: Event
    request_id: str
    provider: str
    status: str
    message: str
    amount_msat: int | None
    bolt11: str | None
    content: str
    tags: tuple[Tag, ...]

    @classmethod
    def parse(cls, event: Event, key: SecretKey | None = None) -> Feedback:
        """Read a feedback event; `key` opens an encrypted one. Raises BadFeedback."""
        if event.kind != FEEDBACK:
            raise BadFeedback(f"kind {event.kind} is not feedback")
        tags: list[Tag] = [tag for tag in event.tags if tag]
        content = event.content
        if any(tag[0] == "encrypted" for tag in tags) and content and key is not None:
            plain = _open(event, key, scheme_of(content), BadFeedback)
            opened = _tag_list(plain, first=None)
            if opened is None:
                content = plain
            else:
                content = next((tag[1] for tag in opened if tag[0] == "content" and len(tag) > 1), "")
                tags = opened + tags
        request_id = _request_id(tags)
        if request_id is None:
            raise BadFeedback("the feedback names no request")
        status, message = _status(tags)
        if not status:
            raise BadFeedback("the feedback has no status")
        amount, bolt11 = _amount(tags, content if status == "payment-required" else "")
        return cls(event, request_id, event.pubkey, status, message or content, amount, bolt11, content, tuple(tags))


@dataclass(frozen=True, slots=True)
class JobResult:
    """A result. `content` is in clear; `urls` are the files it points at, first the one the content names."""

    event: Event
    request_id: str
    provider: str
    kind: int
    content: str
    amount_msat: int | None
    bolt11: str | None
    urls: tuple[Media, ...]
    tags: tuple[Tag, ...]

    def fact(self, name: str) -> str | None:
        """The first value of a tag of this name (`engine`, `model`, `seed` ...), public or private."""
        return next((tag[1] for tag in self.tags if tag[0] == name and len(tag) > 1), None)

    @classmethod
    def parse(cls, event: Event, key: SecretKey | None = None) -> JobResult:
        """Read a result; `key` (of either side) opens an encrypted one. Raises BadResult."""
        if not is_result(event.kind):
            raise BadResult(f"kind {event.kind} is not a job result")
        tags: list[Tag] = [tag for tag in event.tags if tag]
        content = event.content
        if any(tag[0] == "encrypted" for tag in tags) and key is not None:
            if content:
                content = _open(event, key, scheme_of(content), BadResult)
            sealed = next((tag[1] for tag in tags if tag[0] == "private" and len(tag) > 1), "")
            if sealed:
                opened = _tag_list(_open(event, key, scheme_of(sealed), BadResult, sealed), first=None)
                tags = tags + (opened or [])
        request_id = _request_id(tags) or _request_from_copy(tags)
        if request_id is None:
            raise BadResult("the result names no request")
        amount, bolt11 = _amount(tags, "")
        return cls(
            event, request_id, event.pubkey, event.kind, content, amount, bolt11,
            read_media(tags, _url_lines(content)), tuple(tags),
        )  # fmt: skip


def build_request(
    key: SecretKey,
    *,
    kind: int,
    inputs: Sequence[JobInput],
    params: Mapping[str, str | Sequence[str]] | None = None,
    output: str | None = None,
    bid_msat: int | None = None,
    providers: Iterable[str] = (),
    relays: Iterable[str] = (),
    expiration: int | None = None,
    encrypt_to: str | None = None,
    scheme: Scheme = "nip44",
    extra_tags: Iterable[Tag] = (),
    created_at: int | None = None,
) -> Event:
    """A signed job request.

    `encrypt_to` (the provider's key) hides inputs, parameters, output and bid, and asks for sealed files.
    """
    secret: list[list[str]] = []
    for item in inputs:
        tag = ["i", item.value, item.type, item.relay, item.marker]
        while tag[-1] == "" and len(tag) > 3:
            tag.pop()
        secret.append(tag)
    for name, value in (params or {}).items():
        secret.append(["param", name, *([value] if isinstance(value, str) else value)])
    if encrypt_to:  # what the answer's files may be sealed with (market.sealed)
        secret.append(["param", "encryption-algorithm", "aes-gcm"])
    if output:
        secret.append(["output", output])
    if bid_msat is not None:
        secret.append(["bid", str(bid_msat)])
    addressed = list(dict.fromkeys([*([encrypt_to] if encrypt_to else []), *providers]))
    public: list[Tag] = [["p", provider] for provider in addressed]
    if wanted := list(relays):
        public.append(["relays", *wanted])
    if expiration is not None:
        public.append(["expiration", str(expiration)])
    public += [list(tag) for tag in extra_tags]
    content = ""
    if encrypt_to:
        public.append(["encrypted"])
        content = _seal(key, encrypt_to, scheme, orjson.dumps(secret).decode())
    else:
        public = [*secret, *public]
    public.append(["alt", f"NIP-90 job request of kind {kind}"])
    return key.sign(kind=kind, content=content, tags=public, created_at=created_at)


def build_feedback(
    key: SecretKey,
    request: JobRequest,
    status: str,
    message: str,
    *,
    amount_msat: int | None = None,
    bolt11: str | None = None,
    content: str = "",
    relays: Iterable[str] = (),
    relay_hint: str = "",
    expiration: int | None = None,
    extra_tags: Iterable[Tag] = (),
    created_at: int | None = None,
) -> Event:
    """A signed 7000 in the encryption of its request. `message` is always filled: Primal's parser insists on it."""
    head: list[Tag] = [_e_tag(request, relay_hint), ["p", request.customer]]
    words: list[Tag] = [["status", status, message or status]]
    if amount_msat is not None:
        words.append(["amount", str(amount_msat), *([bolt11] if bolt11 else [])])
    words += [list(tag) for tag in extra_tags]
    tail: list[Tag] = []
    if answered := list(relays):
        tail.append(["relays", *answered])
    if expiration is not None:
        tail.append(["expiration", str(expiration)])
    if request.encrypted:
        sealed = orjson.dumps([*words, ["content", content or message]]).decode()
        body = _seal(key, request.customer, request.encrypted, sealed)
        return key.sign(kind=FEEDBACK, content=body, tags=[*head, ["encrypted"], *tail], created_at=created_at)
    tail.append(["alt", f"DVM feedback: {status}"])
    return key.sign(kind=FEEDBACK, content=content or message, tags=[*head, *words, *tail], created_at=created_at)


def build_result(
    key: SecretKey,
    request: JobRequest,
    content: str,
    *,
    media: Sequence[Media] = (),
    amount_msat: int | None = None,
    relay_hint: str = "",
    extra_tags: Iterable[Tag] = (),
    created_at: int | None = None,
) -> Event:
    """A signed result in the encryption of its request.

    With files, `content` should be the first one's bare URL: clients set it straight as an image source. An encrypted
    result shows no input, no request and no file data outside.
    """
    head: list[Tag] = [_e_tag(request, relay_hint), ["p", request.customer]]
    facts: list[Tag] = [list(tag) for tag in extra_tags]
    facts += [item.imeta() for item in media]
    if media:
        first = media[0]
        single = [("url", first.url), ("m", first.mime), ("x", first.sha256)]
        single += [("size", str(first.size or "")), ("dim", f"{first.dim[0]}x{first.dim[1]}" if first.dim else "")]
        facts += [[name, value] for name, value in single if value]
    if request.encrypted:
        body = _seal(key, request.customer, request.encrypted, content)
        tags = [*head, ["encrypted"]]
        if facts:
            tags.append(["private", _seal(key, request.customer, request.encrypted, orjson.dumps(facts).decode())])
        return key.sign(kind=result_kind(request.kind), content=body, tags=tags, created_at=created_at)
    tags = [["request", request.event.to_json().decode()], *head]
    tags += [list(tag) for tag in request.event.tagged("i")]
    if amount_msat is not None:
        tags.append(["amount", str(amount_msat)])
    tags += [*facts, ["status", "success"], ["alt", f"DVM result of a job of kind {request.kind}"]]
    return key.sign(kind=result_kind(request.kind), content=content, tags=tags, created_at=created_at)


def scheme_of(ciphertext: str) -> Scheme:
    """NIP-04 ciphertext carries `?iv=`; everything else is taken for NIP-44."""
    return "nip04" if _NIP04.match(ciphertext) else "nip44"


def _seal(key: SecretKey, to: str, scheme: Scheme, text: str) -> str:
    return nip04.encrypt(key, to, text) if scheme == "nip04" else nip44.encrypt(key, to, text)


def _open(event: Event, key: SecretKey, scheme: Scheme, error: type[MarketError], text: str | None = None) -> str:
    if event.pubkey == key.public:  # our own event, read again: the other side is in its p tag
        peer = next((found for value in event.values("p") if (found := parse_hex64(value))), None)
        if peer is None:
            raise error("an encrypted job event needs a p tag")
    else:
        peer = event.pubkey
    sealed = event.content if text is None else text
    try:
        return nip04.decrypt(key, peer, sealed) if scheme == "nip04" else nip44.decrypt(key, peer, sealed)
    except ValueError:
        raise error(f"the content could not be decrypted with this key ({scheme})") from None


def _tag_list(text: str, first: str | None = "i param input") -> list[Tag] | None:
    """The tags in a JSON list of lists, or None where the text is something else.

    `first` names the tags of which at least one must be there: a prompt may itself be JSON.
    """
    if not text.lstrip().startswith("["):
        return None
    try:
        value: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(tag, list) and tag for tag in value):
        return None
    tags: list[Tag] = [
        [item if isinstance(item, str) else orjson.dumps(item).decode() for item in tag] for tag in value
    ]
    if first is not None and not any(tag[0] in first.split() for tag in tags):
        return None
    return tags


def _inputs(tags: Sequence[Tag], content: str) -> tuple[JobInput, ...]:
    found = [_input(tag) for tag in tags if tag[0] in ("i", "input") and len(tag) > 1]
    if not found and content.strip():
        found = [JobInput(content.strip(), "url" if is_http_url(content) else "text")]
    if len(found) > MAX_INPUTS:
        raise BadRequest(f"more than {MAX_INPUTS} inputs")
    return tuple(found)


def _input(tag: Tag) -> JobInput:
    words = list(tag[1:])
    if len(words) > 1 and words[0].lower() in INPUT_TYPES and words[1].lower() not in INPUT_TYPES and tag[0] == "input":
        words[0], words[1] = words[1], words[0]
    value, kind, relay, marker = [*words, "", "", ""][:4]
    kind = kind.strip().lower()
    if relay and parse_relay(relay) is None:  # the relay slot was left out, so the marker moved up
        relay, marker = "", marker or relay
    if kind not in INPUT_TYPES:
        if kind not in ("", "prompt", "string"):
            marker = marker or kind
        kind = "url" if is_http_url(value) and kind != "prompt" else "text"
    if kind == "url":
        value = value.strip()
        if not is_http_url(value):
            raise BadRequest("an input of type url is not a http(s) address")
    elif kind in ("event", "job"):
        parsed = parse_id(value)
        if parsed is None:
            raise BadRequest(f"an input of type {kind} is not an event id")
        value, hint = parsed
        relay = relay or hint
    return JobInput(value, kind, parse_relay(relay) or "" if relay else "", marker.strip())


def _param_name(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _params(tags: Sequence[Tag]) -> dict[str, list[str]]:
    params: dict[str, list[str]] = {}
    for tag in tags:
        if tag[0] in ("param", "params") and len(tag) > 1 and tag[1].strip():
            params.setdefault(_param_name(tag[1]), []).extend(tag[2:])
    if len(params) > MAX_PARAMS:
        raise BadRequest(f"more than {MAX_PARAMS} parameters")
    return params


def _status(tags: Sequence[Tag]) -> tuple[str, str]:
    for name in ("status", "s"):
        for tag in tags:
            if tag[0] == name and len(tag) > 1 and tag[1].strip():
                status = tag[1].strip().lower().replace("_", "-").replace(" ", "-")
                return _STATUS_ALIASES.get(status, status), tag[2] if len(tag) > 2 else ""
    return "", ""


def _amount(tags: Sequence[Tag], text: str) -> tuple[int | None, str | None]:
    amount: int | None = None
    candidates: list[str] = []
    for tag in tags:
        if tag[0] == "amount" and len(tag) > 1:
            amount = parse_msat(tag[1]) if amount is None else amount
            candidates += tag[2:]
    for tag in tags:
        if tag[0] in ("bolt11", "invoice"):
            candidates += tag[1:2]
    candidates.append(text)
    return amount, next((found for item in candidates if (found := parse_bolt11(item))), None)


def _request_id(tags: Sequence[Tag]) -> str | None:
    named = [tag for tag in tags if tag[0] == "e" and len(tag) > 1]
    named.sort(key=lambda tag: 0 if len(tag) > 3 and tag[3] in ("request", "root", "job") else 1)
    return next((found for tag in named if (found := parse_hex64(tag[1]))), None)


def _request_from_copy(tags: Sequence[Tag]) -> str | None:
    """The id inside a `request` tag: JSON, or the repr of a Python dict."""
    for tag in tags:
        if tag[0] != "request" or len(tag) < 2 or len(tag[1]) > 200_000:
            continue
        try:
            value: Any = orjson.loads(tag[1])
        except orjson.JSONDecodeError:
            try:
                value = ast.literal_eval(tag[1])
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
        if isinstance(value, dict) and isinstance(value.get("id"), str):
            return parse_hex64(value["id"])
    return None


def _url_lines(content: str) -> str:
    """Content that is a JSON array of URLs (or of objects with a url), as one URL a line; other content as it is."""
    if not content.lstrip().startswith("["):
        return content
    try:
        value: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        return content
    if not isinstance(value, list):
        return content
    items = [item.get("url") if isinstance(item, dict) else item for item in value]
    urls = [item for item in items if isinstance(item, str)]
    return "\n".join(urls) if urls and len(urls) == len(items) else content


def _e_tag(request: JobRequest, relay_hint: str) -> Tag:
    return ["e", request.event.id, *([relay_hint] if relay_hint else [])]
