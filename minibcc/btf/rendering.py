"""Values as text by their types: ``(struct qstr){.len = (u32)3,}``, as Linux prints them.

What is zero is left out, unless asked for: a structure's members are first walked silently, to see
whether there is anything to say of them. Mirrors ``btf_type_show`` of kernel/bpf/btf.c, quirks
included (an array of pointers shows its first element again and again).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from minibcc.btf.types import (
    Array,
    Const,
    Enum,
    Float,
    Func,
    FuncProto,
    Int,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Var,
    Volatile,
    strip,
)

if TYPE_CHECKING:
    from minibcc.btf.types import Member, Type

COMPACT, NO_NAMES, RAW_POINTERS, ZERO = 1, 2, 4, 8
"""``BTF_F_*``: everything on one line, no types and members named, pointers not hashed, zeros."""
NAME_MAX = 79
"""Characters of a type and a member's name."""
NESTING_MAX = 10
"""Pointers, arrays and typedefs around a type, beyond which it gets no name."""
INDENT_MAX = 32


class Unreadable(Exception):
    """Nothing lies where a value should be."""


class Renderer:
    """Prints values through `write`. `read` gives bytes of memory (address and size) or raises
    `Unreadable`, `hashed` what stands for a pointer."""

    def __init__(
        self,
        write: Callable[[str], None],
        read: Callable[[int, int], bytes],
        hashed: Callable[[int], int],
        flags: int,
    ) -> None:
        self._write = write
        self._read = read
        self._hashed = hashed
        self._flags = flags
        self._depth = 0
        self._silent = 0  # the depth from which on a walk only looks, plus 1
        self._deepest = 0  # where such a walk would have printed something
        self._member: Member | None = None
        self._in_array = False
        self._chars = False
        self._ended = False  # a string's NUL was there
        self._separator_of: Type | None = None

    def show(self, type: Type, address: int) -> None:
        """Raises Unreadable."""
        self._show(type, type, address, 0)

    # --- pieces ------------------------------------------------------------------------------

    def _print(self, text: str) -> None:
        if not self._silent:
            self._write(text)

    def _indent(self) -> str:
        return "" if self._flags & COMPACT else " " * min(self._depth, INDENT_MAX)

    def _end(self) -> str:
        """What separates a value from the next."""
        line = "" if self._flags & COMPACT else "\n"
        if not self._depth:
            return line
        kind = self._separator_of
        union = isinstance(kind, Struct) and kind.union and self._flags & COMPACT
        return ("|" if union else ",") + line

    def _value(self, text: str, name: Type, *, shown: bool = True) -> None:
        """One value; `shown` says that it is not zero."""
        if shown or self._flags & ZERO or not self._depth:
            self._print(self._indent() + self._name(name) + text + self._end())
            self._deepest = max(self._deepest, self._depth)

    def _name(self, start: Type) -> str:
        """The member's name and the value's type, with the bracket that it opens."""
        if self._in_array:
            return ""
        member = self._member
        name, prefix, bracket, pointers, arrays = "", "", "", "", ""
        type: Type | None = member.type if member is not None else start
        typedef = False
        for _ in range(NESTING_MAX):
            if isinstance(type, Typedef):
                name = name or type.name
                typedef = True
                inner = type.of
            elif isinstance(type, Array):
                bracket = "["
                arrays += "[]"
                inner = type.of
            elif isinstance(type, Ptr):
                pointers += "*"
                inner = type.to
            else:
                break
            if inner is None:
                break
            type = _unqualified(inner)
        else:
            return ""
        if not name:
            name = type.name if isinstance(type, Int | Float | Struct | Enum | Func) else ""
        if isinstance(type, Struct):
            prefix = "union" if type.union else "struct"
            if not arrays:
                bracket = "{"
        elif isinstance(type, Enum):
            prefix = "enum"
        if pointers:
            bracket = ""
        if typedef:
            prefix = ""
        if self._flags & NO_NAMES:
            return bracket
        before = f".{member.name} = " if member is not None and member.name else ""
        words = " ".join(word for word in (prefix, name) if word)
        stars = f" {pointers}" if pointers else ""
        return f"{before}({words}{stars}{arrays}){bracket}"[:NAME_MAX]

    # --- values ------------------------------------------------------------------------------

    def _show(self, type: Type | None, name: Type, address: int, bit: int) -> None:
        """The value at `address`; `name` is the type as it was written, `bit` an offset."""
        target = strip(type)
        self._separator_of = target
        match target:
            case Int():
                self._integer(target, name, address, bit)
            case Enum():
                self._enumerator(target, name, address)
            case Ptr():
                value = int.from_bytes(self._read(address, 8), "little")
                number = value if self._flags & RAW_POINTERS else self._hashed(value)
                self._value(f"0x{number:016x}", name, shown=value != 0)
            case Array():
                self._whole(lambda: self._array(target, name, address, bit))
            case Struct() if target.complete:
                self._whole(lambda: self._struct(target, name, address))
            case _:
                self._print(f"<unsupported kind:{_kind(target)}>")

    def _integer(self, type: Int, name: Type, address: int, bit: int) -> None:
        data = self._read(address, type.size)
        if bit or type.size == 16:
            self._bits(self._read(address, type.size + bool(bit)), bit, 8 * type.size, name)
            return
        if self._chars:
            if self._ended:
                return
            if not data[0]:
                self._ended = True
                return
            if 32 <= data[0] < 127:
                self._value(f"'{chr(data[0])}'", name)
                return
        number = int.from_bytes(data, "little", signed=type.signed)
        self._value(str(number), name, shown=number != 0)

    def _bits(self, data: bytes, start: int, width: int, name: Type) -> None:
        number = int.from_bytes(data, "little") >> start & (1 << width) - 1
        self._value(f"0x{number:x}", name, shown=number != 0)

    def _enumerator(self, type: Enum, name: Type, address: int) -> None:
        size = 8 if type.size == 8 else 4
        number = int.from_bytes(self._read(address, size), "little", signed=type.signed)
        low = (1 << 8 * size) - 1
        for word, value in type.values.items():
            if value & low == number & low:
                self._value(word, name)
                return
        self._value(str(number), name, shown=number != 0)

    # --- what has parts ------------------------------------------------------------------------

    def _whole(self, walk: Callable[[], None]) -> None:
        """Walks a structure or an array, if there is anything in it."""
        member = self._member
        if self._depth and not self._flags & ZERO:
            if not self._silent:
                self._silent = self._depth + 1
                self._deepest = 0
            walk()
            self._member = member
            if self._silent != self._depth + 1:
                return
            self._silent = 0
            if self._deepest <= self._depth:
                return
        walk()

    def _open(self, name: Type, type: Type) -> None:
        self._separator_of = type
        line = "" if self._flags & COMPACT else "\n"
        self._print(self._indent() + self._name(name) + line)
        self._depth += 1

    def _close(self, bracket: str) -> None:
        self._depth -= 1
        self._print(self._indent() + bracket + self._end())
        self._separator_of = None

    def _struct(self, type: Struct, name: Type, address: int) -> None:
        self._read(address, min(type.size, 32))
        self._open(name, type)
        for member in type.members:
            self._member = member
            place, bit = divmod(member.offset, 8)
            if member.bits:
                self._separator_of = member.type
                data = self._read(address + place, (bit + member.bits + 7) // 8)
                self._bits(data, bit, member.bits, member.type)
                self._separator_of = None
            else:
                self._show(member.type, member.type, address + place, bit)
            self._member = None
        self._close("}")

    def _array(self, type: Array, name: Type, address: int, bit: int) -> None:
        element = strip(type.of)
        size = element.size if isinstance(element, Int | Struct | Enum | Float) else 0
        self._open(name, type)
        self._chars = isinstance(element, Int) and size == 1
        for number in range(type.count):
            self._in_array, self._member = True, None
            self._show(type.of, type.of, address + number * size, bit)
            self._in_array, self._member = False, None
            if self._ended:
                break
        self._chars = self._ended = False
        self._close("]")


def _unqualified(type: Type) -> Type:
    while isinstance(type, Const | Volatile | Restrict | TypeTag) and type.of is not None:
        type = type.of
    return type


def _kind(type: Type | None) -> int:
    """The kind's number in BTF."""
    match type:
        case Struct():
            return 7
        case Func():
            return 12
        case FuncProto():
            return 13
        case Var():
            return 14
        case Float():
            return 16
    return 0
