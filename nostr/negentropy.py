"""Range-based set reconciliation, negentropy protocol version 1 (NIP-77): which events has the other side that we lack?

Pure: bytes in, bytes out. The side that begins is the Initiator and learns both differences; the other is a Responder.

    initiator = Initiator(Items(ours))
    message = initiator.begin()
    while message is not None:
        message = initiator.step(await ask(message))
    initiator.have, initiator.need
"""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable

VERSION = 0x61
_INFINITY = 2**64 - 1
_SKIP, _FINGERPRINT, _IDS = 0, 1, 2
_BUCKETS = 16
_STRIDE = 64  # items between two kept partial sums
_SPARE = 200  # bytes that one more range may take
_MASK = (1 << 256) - 1

Bound = tuple[int, bytes]  # timestamp and prefix of an id; everything below it is in the range


class InvalidNegentropy(ValueError):
    """The other side's message does not follow the protocol."""


class UnsupportedVersion(InvalidNegentropy):
    """The other side speaks no version that we do."""


class Items:
    """A sorted set of (created_at, 32-byte id): 40 bytes an item, any fingerprint in at most 128 additions."""

    def __init__(self, items: Iterable[tuple[int, bytes]]) -> None:
        ordered = sorted(set(items))
        self.times = array("Q", (at for at, _ in ordered))
        self._ids = b"".join(item for _, item in ordered)
        if len(self._ids) != 32 * len(self.times):
            raise ValueError("ids have 32 bytes each")
        self._sums = [0]
        total = 0
        for start in range(0, len(ordered), _STRIDE):
            total = (total + self._add(start, min(start + _STRIDE, len(ordered)))) & _MASK
            self._sums.append(total)

    def __len__(self) -> int:
        return len(self.times)

    def id(self, index: int) -> bytes:
        return self._ids[32 * index : 32 * index + 32]

    def ids(self, low: int, high: int) -> bytes:
        return self._ids[32 * low : 32 * high]

    def find(self, low: int, bound: Bound) -> int:
        """The first index from `low` on that is not below the bound."""
        at, prefix = bound
        first = bisect_left(self.times, at, low)
        if not prefix:
            return first
        last = bisect_left(self.times, at + 1, first) if at < _INFINITY else len(self)
        return bisect_left(range(last), prefix, first, last, key=self.id)

    def fingerprint(self, low: int, high: int) -> bytes:
        total = (self._up_to(high) - self._up_to(low)) & _MASK
        return hashlib.sha256(total.to_bytes(32, "little") + varint(high - low)).digest()[:16]

    def _up_to(self, index: int) -> int:
        block = index // _STRIDE
        return self._sums[block] + self._add(block * _STRIDE, index)

    def _add(self, low: int, high: int) -> int:
        ids = self._ids
        return sum(int.from_bytes(ids[at : at + 32], "little") for at in range(32 * low, 32 * high, 32))


class _Side:
    def __init__(self, items: Items, frame_limit: int = 0) -> None:
        """`frame_limit`: most bytes of one message of ours (0: no limit; else at least 4096)."""
        if frame_limit and frame_limit < 4096:
            raise ValueError("a frame has at least 4096 bytes")
        self.items, self._limit = items, frame_limit

    def _full(self, size: int) -> bool:
        return bool(self._limit) and size > self._limit - _SPARE

    def _split(self, out: "_Writer", low: int, high: int, bound: Bound) -> None:
        """Describe a range: its ids if they are few, else sixteen fingerprints."""
        count = high - low
        if count < 2 * _BUCKETS:
            out.bound(bound)
            out.bytes += varint(_IDS) + varint(count) + self.items.ids(low, high)
            return
        size, extra = divmod(count, _BUCKETS)
        at = low
        for bucket in range(_BUCKETS):
            after = at + size + (bucket < extra)
            out.bound(bound if after == high else self._between(after))
            out.bytes += varint(_FINGERPRINT) + self.items.fingerprint(at, after)
            at = after

    def _between(self, index: int) -> Bound:
        """The shortest bound with item `index` above and the one before it below."""
        at, item = self.items.times[index], self.items.id(index)
        if self.items.times[index - 1] != at:
            return at, b""
        before = self.items.id(index - 1)
        same = next(n for n in range(32) if before[n] != item[n])
        return at, item[: same + 1]


class Responder(_Side):
    """The side that answers (a relay). It keeps no state between messages."""

    def answer(self, message: bytes) -> bytes:
        """Raises InvalidNegentropy. For an unknown version: one byte, the version we speak."""
        reader, out = _Reader(message), _Writer()
        if reader.version() != VERSION:
            return bytes(out.bytes)
        low, skipping, before = 0, False, (0, b"")
        while reader.more:
            bound, mode = reader.bound(), reader.varint()
            high = self.items.find(low, bound)
            part = out.fork()
            if mode == _SKIP:
                skipping = True
            elif mode == _FINGERPRINT:
                if reader.take(16) == self.items.fingerprint(low, high):
                    skipping = True
                else:
                    skipping = part.skip(before, skipping)
                    self._split(part, low, high, bound)
            elif mode == _IDS:
                reader.take(32 * reader.varint())
                skipping = part.skip(before, skipping)
                room = max(0, (self._limit - _SPARE - len(out.bytes)) // 32 + 1) if self._limit else high - low
                if high - low > room:
                    high = low + room
                    bound = (self.items.times[high], self.items.id(high))
                part.bound(bound)
                part.bytes += varint(_IDS) + varint(high - low) + self.items.ids(low, high)
                out.join(part)
                part = out.fork()
            else:
                raise InvalidNegentropy(f"unknown mode {mode}")
            if self._full(len(out.bytes) + len(part.bytes)):
                out.bound((_INFINITY, b""))
                out.bytes += varint(_FINGERPRINT) + self.items.fingerprint(high, len(self.items))
                break
            out.join(part)
            low, before = high, bound
        return bytes(out.bytes)


class Initiator(_Side):
    """The side that begins. `have`: ids that only we hold; `need`: ids that only the other side holds."""

    def __init__(self, items: Items, frame_limit: int = 0) -> None:
        super().__init__(items, frame_limit)
        self.have: set[bytes] = set()
        self.need: set[bytes] = set()

    def begin(self) -> bytes:
        out = _Writer()
        self._split(out, 0, len(self.items), (_INFINITY, b""))
        return bytes(out.bytes)

    def step(self, message: bytes) -> bytes | None:
        """The next message, or None when both sets are known. Raises InvalidNegentropy, UnsupportedVersion."""
        reader, out = _Reader(message), _Writer()
        if reader.version() != VERSION:
            raise UnsupportedVersion("the relay speaks another version of negentropy")
        low, skipping, before = 0, False, (0, b"")
        while reader.more:
            bound, mode = reader.bound(), reader.varint()
            high = self.items.find(low, bound)
            part = out.fork()
            if mode == _SKIP:
                skipping = True
            elif mode == _FINGERPRINT:
                if reader.take(16) == self.items.fingerprint(low, high):
                    skipping = True
                else:
                    skipping = part.skip(before, skipping)
                    self._split(part, low, high, bound)
            elif mode == _IDS:
                skipping = True
                self._compare(reader.ids(), low, high)
            else:
                raise InvalidNegentropy(f"unknown mode {mode}")
            if self._full(len(out.bytes) + len(part.bytes)):
                out.bound((_INFINITY, b""))
                out.bytes += varint(_FINGERPRINT) + self.items.fingerprint(high, len(self.items))
                break
            out.join(part)
            low, before = high, bound
        return bytes(out.bytes) if len(out.bytes) > 1 else None

    def _compare(self, theirs: set[bytes], low: int, high: int) -> None:
        for index in range(low, high):
            item = self.items.id(index)
            if item in theirs:
                theirs.discard(item)
            else:
                self.have.add(item)
        self.need |= theirs


class _Writer:
    """A message being made; timestamps are written as distances from the one before."""

    def __init__(self) -> None:
        self.bytes = bytearray((VERSION,))
        self._last = 0

    def fork(self) -> "_Writer":
        """A part that may be joined or thrown away."""
        part = _Writer()
        part.bytes, part._last = bytearray(), self._last
        return part

    def join(self, part: "_Writer") -> None:
        self.bytes += part.bytes
        self._last = part._last

    def skip(self, bound: Bound, pending: bool) -> bool:
        """Write the skip that is due, if it is; nothing is due afterwards."""
        if pending:
            self.bound(bound)
            self.bytes += varint(_SKIP)
        return False

    def bound(self, bound: Bound) -> None:
        at, prefix = bound
        if at == _INFINITY:
            self.bytes += varint(0)
        else:
            self.bytes += varint(1 + at - self._last)
            self._last = at
        self.bytes += varint(len(prefix)) + prefix


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._last = data, 0, 0

    @property
    def more(self) -> bool:
        return self._at < len(self._data)

    def version(self) -> int:
        number = self.take(1)[0]
        if not 0x60 <= number <= 0x6F:
            raise InvalidNegentropy("not a negentropy message")
        return number

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise InvalidNegentropy("the message is cut off")
        piece, self._at = self._data[self._at : end], end
        return piece

    def varint(self) -> int:
        value = 0
        for _ in range(10):
            (digit,) = self.take(1)
            value = value << 7 | digit & 127
            if digit < 128:
                return value
        raise InvalidNegentropy("a number is too long")

    def bound(self) -> Bound:
        distance = self.varint()
        self._last = _INFINITY if distance == 0 else min(self._last + distance - 1, _INFINITY)
        size = self.varint()
        if size > 32:
            raise InvalidNegentropy("an id prefix has at most 32 bytes")
        return self._last, self.take(size)

    def ids(self) -> set[bytes]:
        data = self.take(32 * self.varint())
        return {data[at : at + 32] for at in range(0, len(data), 32)}


def varint(value: int) -> bytes:
    """Base 128, most significant digit first, the high bit set on all but the last."""
    digits = [value & 127]
    while value := value >> 7:
        digits.append(value & 127 | 128)
    return bytes(reversed(digits))
