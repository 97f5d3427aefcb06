"""C types as ctypes classes: what a script sees of a map's keys, values and records.

BCC's scripts handle ctypes values (``key.pid``, ``leaf.value``, ``ct.sizeof(table.Key)``), so each
BTF type gets the ctypes class that BCC would make for it: plain integers become ``c_uint``,
``c_ulonglong`` and so on, ``char`` becomes ``c_char`` (an array of them reads as bytes), pointers
become 64-bit numbers, anonymous members are seen through. A class has exactly the layout that BTF
states; where ctypes would lay a structure out differently it is built packed, with padding fields.
"""

from __future__ import annotations

import ctypes as ct
from typing import TYPE_CHECKING, Any, TypeAlias

from minibcc.btf.types import Array, Enum, Float, Int, Member, Ptr, Struct, Type, size_of, strip

if TYPE_CHECKING:
    from collections.abc import Iterator

CType: TypeAlias = Any
"""A ctypes class; typeshed has no one name for structures, arrays and simple values."""

_SIGNED = {1: ct.c_byte, 2: ct.c_short, 4: ct.c_int, 8: ct.c_longlong}
_UNSIGNED = {1: ct.c_ubyte, 2: ct.c_ushort, 4: ct.c_uint, 8: ct.c_ulonglong}
_FLOATS: dict[int, CType] = {4: ct.c_float, 8: ct.c_double, 16: ct.c_longdouble}


class Classes:
    """Makes ctypes classes, one per type: the same struct is the same class each time."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Type, CType]] = {}

    def of(self, type: Type | None) -> CType:
        """The class for `type`. Raises ValueError for what has no size (void, a function)."""
        plain = strip(type)
        match plain:
            case Int():
                return _integer(plain)
            case Enum():
                return (_SIGNED if plain.signed else _UNSIGNED)[plain.size]
            case Ptr():
                return ct.c_ulonglong
            case Float():
                return _FLOATS[plain.size]
            case Array():
                return self.of(plain.of) * plain.count
            case Struct() if plain.complete:
                made = self._made.get(id(plain))
                if made is None:
                    name = plain.name or getattr(type, "name", "")
                    made = self._made[id(plain)] = (plain, self._structure(plain, name))
                return made[1]
        raise ValueError(f"{plain!r} has no size, so no value can be of that type")

    def _structure(self, struct: Struct, name: str) -> CType:
        """As ctypes lays it out if that agrees with BTF, else packed, with explicit padding."""
        anonymous: list[str] = []
        fields: list[tuple[Any, ...]] = []
        for member in struct.members:
            label = member.name
            if not label:
                label = f"__anon{len(anonymous)}"
                anonymous.append(label)
            bits = (member.bits,) if member.bits else ()
            fields.append((label, self.of(member.type), *bits))
        base: CType = ct.Union if struct.union else ct.Structure
        made = type(name, (base,), {"_anonymous_": anonymous, "_fields_": fields})
        if _agrees(made, struct, fields):
            return made
        if any(member.bits for member in struct.members):
            return _bytes_with_bits(struct, name)
        padded = _pad(struct, fields)
        return type(name, (base,), {"_anonymous_": anonymous, "_pack_": 1, "_fields_": padded})


def _integer(type: Int) -> CType:
    if type.bool:
        return ct.c_bool
    if type.size == 1 and (type.char or type.name == "char"):
        return ct.c_char
    if type.size == 16:
        return (ct.c_int64 if type.signed else ct.c_uint64) * 2
    return (_SIGNED if type.signed else _UNSIGNED)[type.size]


def _agrees(made: CType, struct: Struct, fields: list[tuple[Any, ...]]) -> bool:
    """Whether ctypes put every field where BTF says that it is."""
    if ct.sizeof(made) != struct.size:
        return False
    for member, (label, *_) in zip(struct.members, fields, strict=True):
        field = getattr(made, label)
        offset = field.offset * 8 + (field.size & 0xFFFF if member.bits else 0)
        if offset != member.offset:
            return False
    return True


def _pad(struct: Struct, fields: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The fields of a packed structure, with bytes between them where BTF leaves some."""
    padded: list[tuple[Any, ...]] = []
    position = 0
    for member, field in zip(struct.members, fields, strict=True):
        offset = member.offset // 8
        if not struct.union and offset > position:
            padded.append((f"__pad_{len(padded)}", ct.c_char * (offset - position)))
        padded.append(field)
        position = offset + ct.sizeof(field[1])
    if struct.size > position and not struct.union:
        padded.append((f"__pad_{len(padded)}", ct.c_char * (struct.size - position)))
    return padded


def _bytes_with_bits(struct: Struct, name: str) -> CType:
    """A structure whose bitfields ctypes cannot place: bytes, with a property for each member."""
    members: dict[str, Any] = {"_pack_": 1, "_fields_": [("__bytes", ct.c_ubyte * struct.size)]}
    for member in struct.members:
        members[member.name] = property(*_bits(member))
    return type(name, (ct.Structure,), members)


def _bits(member: Member) -> tuple[Any, Any]:
    """Reads and writes the bits of one member of an object made of bytes."""
    count = member.bits or size_of(member.type) * 8
    plain = strip(member.type)
    signed = isinstance(plain, Int | Enum) and plain.signed
    mask = (1 << count) - 1

    def read(self: Any) -> int:
        value = int.from_bytes(bytes(self), "little") >> member.offset & mask
        return value - (1 << count) if signed and value >> (count - 1) else value

    def write(self: Any, value: int) -> None:
        whole = int.from_bytes(bytes(self), "little") & ~(mask << member.offset)
        whole |= (value & mask) << member.offset
        ct.memmove(ct.addressof(self), whole.to_bytes(ct.sizeof(self), "little"), ct.sizeof(self))

    return read, write


def to_kernel(value: Any, kind: CType, size: int) -> bytes:
    """A script's key or value as the bytes that the kernel wants.

    `value` is a ctypes object of `size` bytes, or a plain number, which is taken as a `kind`.
    Raises TypeError for anything else.
    """
    if isinstance(value, int | bytes) and issubclass(kind, ct._SimpleCData):
        value = kind(value)
    if isinstance(value, ct._SimpleCData) and ct.sizeof(value) != size:
        value = kind(value.value)
    try:
        data = bytes(value)
    except TypeError:
        data = b""
    if len(data) != size or isinstance(value, int):
        raise TypeError(f"wants a {kind.__name__} of {size} bytes, not {value!r}")
    return data


def show(value: Any) -> bytes:
    """A value as BCC prints it: numbers in hex, structures in braces, arrays in brackets."""

    def text(value: Any) -> str:
        if isinstance(value, ct.Structure | ct.Union):
            names = [field[0] for field in value._fields_ if not field[0].startswith("__pad_")]
            return "{ " + " ".join(text(getattr(value, name)) for name in names) + " }"
        if isinstance(value, ct.Array):
            return "[ " + " ".join(text(item) for item in value) + " ]"
        if isinstance(value, ct._SimpleCData):
            value = value.value
        if isinstance(value, bytes):
            return '"' + value.decode(errors="replace") + '"'
        return f"0x{value:x}" if value >= 0 else f"-0x{-value:x}"

    return text(value).encode()


def scan(kind: CType, source: str | bytes) -> Any:
    """The value that `show` would print so. Raises ValueError."""
    words = iter((source.decode() if isinstance(source, bytes) else source).split())

    def fill(kind: Any) -> Any:
        if issubclass(kind, ct.Structure | ct.Union):
            _expect(words, "{")
            value = kind()
            for name, part, *_ in kind._fields_:
                if not name.startswith("__pad_"):
                    setattr(value, name, fill(part))
            _expect(words, "}")
            return value
        if issubclass(kind, ct.Array):
            if kind._type_ is ct.c_char:
                return kind(*next(words, '""').strip('"').encode())
            _expect(words, "[")
            value = kind(*[fill(kind._type_) for _ in range(kind._length_)])
            _expect(words, "]")
            return value
        return kind(int(next(words, ""), 0)).value

    value = fill(kind)
    return kind(value) if not isinstance(value, ct.Structure | ct.Union | ct.Array) else value


def _expect(words: Iterator[str], wanted: str) -> None:
    found = next(words, "the end")
    if found != wanted:
        raise ValueError(f"expected {wanted}, found {found}")
