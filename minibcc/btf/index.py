"""The index of a BTF: where each type lies, and which types bear a name or define an enumerator.

A BTF has neither, and a kernel's has 126,000 types: finding one by name means walking them all,
a tenth of a second. The index is built by that walk, once, and is bytes: a caller may keep it in a
file, or put it behind the string section of the BTF, which readers ignore. Opening it reads
nothing but its header.

    magic, version | fingerprint of the BTF (SHA-256) |
    size of the type section, first id, number of types, of buckets, of entries
    kinds    three u32 each: of each kind the lowest id, the highest, and how many there are
    places   u32 each: where the record of every `STRIDE`th type starts, in the type section
    starts   u32 each: where each bucket starts in `entries`, with one more for the end
    entries  u32 each: type ids, by the bucket of the CRC-32 of a name: their own, and those of
             the enumerators that they define
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, calcsize, iter_unpack, pack, unpack_from
from zlib import crc32

from minibcc.btf.layout import EACH, FIXED, Kind

MAGIC = b"minibcc-btf-idx\x02"
HEADER = "<16s32s5I"
HEADER_SIZE = calcsize(HEADER)
STRIDE = 8
_RECORD = Struct("<III")


class Index:
    """An opened index; `data` may lie in a mapped file."""

    def __init__(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        if len(view) < HEADER_SIZE:
            raise ValueError("BTF index is cut off at byte 0")
        magic, fingerprint, size, first, count, buckets, named = unpack_from(HEADER, view)
        if magic != MAGIC:
            raise ValueError("not a BTF index at byte 0")
        lengths = (
            12 * len(Kind),
            4 * ((count + STRIDE - 1) // STRIDE),
            4 * (buckets + 1),
            4 * named,
        )
        if not buckets or len(view) < HEADER_SIZE + sum(lengths):
            raise ValueError(f"BTF index is cut off at byte {len(view)}")
        self._data = view[: HEADER_SIZE + sum(lengths)]
        self.fingerprint: bytes = fingerprint
        self.size: int = size
        self.first: int = first
        self.count: int = count
        self._buckets: int = buckets
        parts = []
        at = HEADER_SIZE
        for length in lengths:
            parts.append(view[at : at + length].cast("I"))
            at += length
        self._kinds, self._places, self._starts, self._entries = parts

    def place(self, type_id: int) -> tuple[int, int]:
        """Where to start walking for type `type_id` (offset in the type section), and over how many
        records."""
        slot, steps = divmod(type_id - self.first, STRIDE)
        return self._places[slot], steps

    def span(self, kind: Kind) -> tuple[int, int, int]:
        """The lowest and the highest id of a kind, and how many there are."""
        first, last, count = self._kinds[3 * kind : 3 * kind + 3]
        return first, last, count

    def candidates(self, name: bytes) -> Iterator[int]:
        """Ids of types that may bear the name, or define it, in ascending order."""
        bucket = crc32(name) % self._buckets
        yield from self._entries[self._starts[bucket] : self._starts[bucket + 1]]

    @property
    def data(self) -> bytes:
        """What `Index` was made of, and can be made of again."""
        return bytes(self._data)


def build(types: memoryview, text: bytes, first: int, fingerprint: bytes) -> bytes:
    """Walks the type section. `text` holds the strings that the names of these types lie in, from
    name offset 0 on (for split BTF: the base's and its own, joined).

    Raises ValueError with the offset in the type section where a record is malformed.
    """
    places: list[int] = []
    names: list[tuple[int, int]] = []  # (name offset, id)
    kinds = [[0, 0, 0] for _ in Kind]
    at, type_id, end = 0, first, len(types)
    unpack = _RECORD.unpack_from
    while at < end:
        if not (type_id - first) % STRIDE:
            places.append(at)
        if end - at < 12:
            raise ValueError(f"BTF type {type_id} is cut off at byte {at} of the type section")
        name, info, _ = unpack(types, at)
        kind = info >> 24 & 0x1F
        if kind >= len(FIXED) or FIXED[kind] < 0:
            raise ValueError(
                f"BTF type {type_id} has no known kind at byte {at} of the type section"
            )
        following = at + 12 + FIXED[kind] + EACH[kind] * (info & 0xFFFF)
        if following > end:
            raise ValueError(f"BTF type {type_id} is cut off at byte {at} of the type section")
        span = kinds[kind]
        span[0] = span[0] or type_id
        span[1] = type_id
        span[2] += 1
        if name:
            names.append((name, type_id))
        if kind in (Kind.ENUM, Kind.ENUM64):
            tail = iter_unpack(f"<I{EACH[kind] - 4}x", types[at + 12 : following])
            names += [(text, type_id) for (text,) in tail]
        at = following
        type_id += 1
    buckets = max(1, len(names) // 4)
    table: list[list[int]] = [[] for _ in range(buckets)]
    for name, named in names:
        stop = text.find(b"\0", name)
        if stop < 0:
            raise ValueError(f"BTF type {named} has its name outside the strings, at {name}")
        table[crc32(text[name:stop]) % buckets].append(named)
    starts = [0]
    for bucket in table:
        starts.append(starts[-1] + len(bucket))
    entries = [entry for bucket in table for entry in bucket]
    header = pack(HEADER, MAGIC, fingerprint, end, first, type_id - first, buckets, len(entries))
    words = [word for span in kinds for word in span] + places + starts + entries
    return header + pack(f"<{len(words)}I", *words)
