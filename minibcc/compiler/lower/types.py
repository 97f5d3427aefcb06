"""C types as LLVM sees them.

LLVM has integers of a width, one type of pointer, and memory. Whatever C knows beyond that (sign,
structure, qualifiers) is spelled out in the instructions that lowering chooses, so a C type comes
down to a small `Kind`: scalars live in registers under its `ir` name, aggregates (structs, unions,
arrays) live in memory only and are handled by their address, as ``[size x i8]``.

Mirrors what clang's CodeGenTypes and BPF ABI do, but for one choice: a bool is an i8 that holds 0
or 1 wherever it is, in memory and in registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from minibcc.btf.types import (
    Array,
    Const,
    Enum,
    Float,
    FuncProto,
    Int,
    Ptr,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Volatile,
    align_of,
    size_of,
    strip,
)

if TYPE_CHECKING:
    from minibcc.diagnostics import Span


class Kind(NamedTuple):
    """`ir` is the LLVM type of a value in a register, or of the memory of an aggregate; `size` and
    `align` are bytes."""

    ir: str
    size: int
    align: int
    signed: bool = False
    pointer: bool = False
    boolean: bool = False
    aggregate: bool = False

    @property
    def bits(self) -> int:
        return self.size * 8

    @property
    def by_reference(self) -> bool:
        """Whether it crosses a function's border as a pointer: BPF registers have 64 bits."""
        return self.aggregate or self.size > 8

    @property
    def extension(self) -> str:
        """What the caller of a function does to a small integer, as clang's BPF ABI has it."""
        if self.aggregate or self.size >= 4:
            return ""
        return " signext" if self.signed else " zeroext"


VOID = Kind("void", 0, 1)
POINTER = Kind("ptr", 8, 8, pointer=True)
BOOL = Kind("i8", 1, 1, boolean=True)
INT = Kind("i32", 4, 4, signed=True)
LONG = Kind("i64", 8, 8, signed=True)


class Unsupported(Exception):
    """C that this back end cannot express: a diagnostic's code, message and help, and its place
    (None: where lowering stands)."""

    def __init__(self, code: str, message: str, help: str = "", span: Span | None = None) -> None:
        self.code, self.message, self.help, self.span = code, message, help, span
        super().__init__(code, message)


_INTEGERS = {
    (size, signed): Kind(f"i{size * 8}", size, size, signed=signed)
    for size in (1, 2, 4, 8, 16)
    for signed in (False, True)
}


def kind_of(type: Type | None) -> Kind:
    """The `Kind` of a C type. Raises Unsupported for floating point and incomplete types."""
    bare = strip(type)
    match bare:
        case None:
            return VOID
        case Int():
            return BOOL if bare.bool else _INTEGERS[bare.size, bare.signed]
        case Ptr() | FuncProto():
            return POINTER
        case Enum():
            return _INTEGERS[bare.size, bare.signed]
        case Struct() | Array():
            try:
                size = size_of(bare)
            except ValueError as problem:
                raise Unsupported("type/incomplete", str(problem)) from None
            return Kind(f"[{size} x i8]", size, align_of(bare), aggregate=True)
        case Float():
            raise Unsupported(
                "type/float",
                f"a value of type {bare.name}: BPF has no floating point",
                "scale to integers, and divide in user space",
            )
    raise Unsupported("type/incomplete", f"{bare!r} is no type of a value")


def is_volatile(type: Type | None) -> bool:
    """Whether a place of this type must be accessed exactly as written."""
    while True:
        match type:
            case Volatile():
                return True
            case Const() | Restrict() | TypeTag() | Typedef():
                type = type.of
            case Array(of, _):
                type = of
            case _:
                return False


def wrap(value: int, kind: Kind) -> int:
    """An integer as an object of this kind holds it."""
    if kind.boolean:
        return int(value != 0)
    value &= (1 << kind.bits) - 1
    if kind.signed and value >> (kind.bits - 1):
        value -= 1 << kind.bits
    return value
