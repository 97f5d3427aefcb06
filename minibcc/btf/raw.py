"""BTF as records: the raw layer below `decode`, which knows places and ids but makes no objects.

Everything is checked where it is followed, because the bytes may be anybody's: a record, a name or
an id that leads outside, and a chain of typedefs without an end, raise `ValueError` with a place.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NoReturn

from minibcc.btf.index import Index, build
from minibcc.btf.layout import (
    EACH,
    FIXED,
    HEADER,
    HEADER_SIZE,
    MAGIC,
    MAX_CHAIN,
    MODIFIERS,
    VERSION,
    Kind,
)

_RECORD = struct.Struct("<III")
KINDS = list(Kind)
_LARGE = 1 << 17
"""Bytes from which on OpenSSL hashes faster than it loads."""


class Raw:
    """The type and string sections of one BTF, and their index."""

    def __init__(
        self,
        data: bytes | memoryview,
        base: Raw | None = None,
        index: bytes | memoryview | None = None,
    ) -> None:
        view = memoryview(data).cast("B").toreadonly()
        self.types, self.strings, end = _sections(view)
        self.data = view[:end]
        """The BTF itself, without what may stand behind it."""
        self.base = base
        self.first: int = base.first + base.count if base else 1
        self.strings_from: int = base.strings_from + len(base.strings) if base else 0
        self._index: Index | None = None
        # What was looked at is remembered: types share what they are made of.
        self._seen: dict[int, tuple[int, int, int, int]] = {}
        self._bottoms: dict[int, tuple[int, Kind]] = {}
        if index is not None:
            self._index = Index(index)
            if self._index.fingerprint != self._hash() or self._index.first != self.first:
                raise ValueError("this index is of another BTF")
        elif len(view) > end:
            self._index = self._behind(view[(end + 3) & ~3 :])

    def _behind(self, view: memoryview) -> Index | None:
        """The index behind the strings, if that is what stands there."""
        try:
            index = Index(view)
        except ValueError:
            return None
        return index if (index.first, index.size) == (self.first, len(self.types)) else None

    @property
    def index(self) -> Index:
        """Built now if it was not given."""
        if self._index is None:
            self._index = Index(build(self.types, self._text(), self.first, self._hash()))
        return self._index

    @property
    def indexed(self) -> bool:
        return self._index is not None

    @property
    def count(self) -> int:
        return self.index.count

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that name this BTF: its SHA-256, which an index remembers."""
        return self._index.fingerprint if self._index is not None else self._hash()

    def _hash(self) -> bytes:
        if len(self.data) < _LARGE:
            from minibcc.digest import sha256
        else:
            from hashlib import sha256
        return sha256(self.data).digest()

    def _text(self) -> bytes:
        """The string section, behind that of the base."""
        return (self.base._text() if self.base else b"") + bytes(self.strings)

    def fail(self, at: int, what: str) -> NoReturn:
        raise ValueError(f"{what} at byte {at} of the type section")

    def _words(self, at: int) -> tuple[int, int, int]:
        if at + 12 > len(self.types):
            self.fail(at, "BTF type is cut off")
        return _RECORD.unpack_from(self.types, at)

    def kind(self, info: int, at: int) -> Kind:
        """The kind that an info word says."""
        kind = info >> 24 & 0x1F
        if kind >= len(FIXED) or FIXED[kind] < 0:
            self.fail(at, f"BTF has a type of unknown kind {kind}")
        return KINDS[kind]

    def record(self, type_id: int) -> tuple[int, int, int, int]:
        """Of a type of this BTF, or of its base: place, name offset, info, and size or type.
        Raises KeyError if there is no such id."""
        if found := self._seen.get(type_id):
            return found
        if self.base is not None and type_id < self.first:
            return self.base.record(type_id)
        index = self.index
        if not self.first <= type_id < self.first + index.count:
            raise KeyError(f"BTF has no type {type_id}")
        at, steps = index.place(type_id)
        words = self._words(at)
        self._seen[type_id - steps] = (at, *words)
        for passed in range(type_id - steps + 1, type_id + 1):
            kind = self.kind(words[1], at)
            at += 12 + FIXED[kind] + EACH[kind] * (words[1] & 0xFFFF)
            words = self._words(at)
            self._seen[passed] = (at, *words)
        return self._seen[type_id]

    def followed(self, type_id: int) -> tuple[int, int, int, int]:
        """`record` for an id that was read from a BTF: where it is wrong, that is malformed."""
        try:
            return self.record(type_id)
        except KeyError as error:
            raise ValueError(str(error.args[0])) from None

    def tail(self, type_id: int, form: str, count: int = 1) -> Iterator[tuple[int, ...]]:
        """`count` packed tuples from behind the three words of a type."""
        if self.base is not None and type_id < self.first:
            return self.base.tail(type_id, form, count)
        at = self.record(type_id)[0]
        size = struct.calcsize(form) * count
        if at + 12 + size > len(self.types):
            self.fail(at, "BTF type is cut off")
        return struct.iter_unpack(form, self.types[at + 12 : at + 12 + size])

    def name_bytes(self, offset: int, at: int) -> bytes:
        """The string at `offset`; `at` is the place of the type that refers to it."""
        if self.base is not None and offset < self.strings_from:
            return self.base.name_bytes(offset, at)
        offset -= self.strings_from
        if not 0 <= offset < len(self.strings):
            self.fail(at, "BTF has a name outside its strings, in the type")
        step = 32
        while True:
            piece = bytes(self.strings[offset : offset + step])
            stop = piece.find(b"\0")
            if stop >= 0:
                return piece[:stop]
            if offset + step >= len(self.strings):
                self.fail(at, "BTF has a name without an end, in the type")
            step *= 4

    def name(self, offset: int, at: int) -> str:
        if not offset:
            return ""
        try:
            return self.name_bytes(offset, at).decode()
        except UnicodeDecodeError:
            self.fail(at, "BTF has a name that is no text, in the type")

    def find(self, kind: Kind, name: str) -> Iterator[int]:
        """The ids of all types of that kind and name, the base's first."""
        if self.base is not None:
            yield from self.base.find(kind, name)
        wanted = name.encode()
        for type_id in self.index.candidates(wanted) if wanted else ():
            at, offset, info, _ = self.followed(type_id)
            if info >> 24 & 0x1F == kind and offset and self.name_bytes(offset, at) == wanted:
                yield type_id

    def find_enumerator(self, name: str) -> int | None:
        """The id of the first enumeration that defines that name."""
        wanted = name.encode()
        for type_id in self.index.candidates(wanted) if wanted else ():
            at, _, info, _ = self.followed(type_id)
            kind = self.kind(info, at)
            if kind in (Kind.ENUM, Kind.ENUM64):
                form = f"<I{EACH[kind] - 4}x"
                for (offset,) in self.tail(type_id, form, info & 0xFFFF):
                    if self.name_bytes(offset, at) == wanted:
                        return type_id
        return self.base.find_enumerator(name) if self.base is not None else None

    def walk(
        self, first: int = 0, last: int | None = None
    ) -> Iterator[tuple[int, Kind, int, int, int, int]]:
        """Id, kind, place, name offset, info, and size or type of the types from `first` to `last`
        (if not said, of all but the base's)."""
        first = max(first, self.first)
        end = self.first + self.count
        at = self.record(first)[0] if first < end else 0
        for type_id in range(first, end if last is None else min(last + 1, end)):
            name, info, word = self._words(at)
            kind = self.kind(info, at)
            yield type_id, kind, at, name, info, word
            at += 12 + FIXED[kind] + EACH[kind] * (info & 0xFFFF)

    def named(self, kind: Kind) -> Iterator[tuple[int, str]]:
        """Ids and names of all types of a kind but the base's, by id."""
        first, last, count = self.index.span(kind)
        if count and count == last - first + 1 and not FIXED[kind] and not EACH[kind]:
            # They lie side by side, as what `encode` writes does: a kernel has 50,000 functions.
            at = self.followed(first)[0]
            rows = _RECORD.iter_unpack(self.types[at : at + 12 * count])
            text = bytes(self.strings)
            for type_id, (name, _, _) in enumerate(rows, first):
                if (
                    name < self.strings_from
                    or not (stop := text.find(b"\0", name - self.strings_from)) > 0
                ):
                    yield type_id, self.name(name, at)
                else:
                    yield type_id, text[name - self.strings_from : stop].decode()
        elif count:
            for type_id, found, at, name, _, _ in self.walk(first, last):
                if found is kind:
                    yield type_id, self.name(name, at)

    def bottom(self, type_id: int) -> tuple[int, Kind]:
        """What is below typedefs, qualifiers and type tags: its id and kind. A chain that never
        ends is refused."""
        found = self._bottoms.get(type_id)
        if found is not None:
            return found
        below, kind = type_id, Kind.VOID
        for _ in range(MAX_CHAIN):
            if not below:
                kind = Kind.VOID
                break
            at, _, info, following = self.followed(below)
            kind = self.kind(info, at)
            if kind not in MODIFIERS:
                break
            below = following
        else:
            self.fail(at, f"BTF type {type_id} has too many names, or stands for itself,")
        self._bottoms[type_id] = below, kind
        return below, kind


def _sections(view: memoryview) -> tuple[memoryview, memoryview, int]:
    """The type section, the string section, and where the BTF ends."""
    if len(view) < HEADER_SIZE:
        raise ValueError(f"BTF is cut off at byte {len(view)}")
    magic, version, _, length, types_at, types_size, strings_at, strings_size = struct.unpack_from(
        HEADER, view
    )
    if magic != MAGIC:
        raise ValueError("no BTF at byte 0: it starts with " + bytes(view[:2]).hex())
    if version != VERSION:
        raise ValueError(f"BTF of version {version} at byte 2")
    if length < HEADER_SIZE:
        raise ValueError(f"BTF with a header of {length} bytes at byte 4")
    if types_at % 4:
        raise ValueError("BTF types are not aligned at byte 8")
    parts = []
    for field, offset, size in ((8, types_at, types_size), (16, strings_at, strings_size)):
        start = length + offset
        if start + size > len(view):
            raise ValueError(f"BTF section reaches behind the end at byte {field}")
        parts.append(view[start : start + size])
    types, strings = parts
    if len(strings) and strings[-1]:
        raise ValueError("BTF strings do not end with a NUL at byte 16")
    end = max(length + types_at + types_size, length + strings_at + strings_size)
    return types, strings, end
