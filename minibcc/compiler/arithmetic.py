"""C's arithmetic types and what happens when two of them meet (C11 sections 6.2.5, 6.3.1).

The data model is that of BPF: LP64, little endian, plain char signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from minibcc.btf.types import (
    ALIASES,
    QUALIFIERS,
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
    Volatile,
    same,
    strip,
)

if TYPE_CHECKING:
    from minibcc.btf.types import Type

BOOL = Int("_Bool", 1, False, bool=True)
CHAR = Int("char", 1, True, char=True)
SCHAR = Int("signed char", 1, True, char=True)
UCHAR = Int("unsigned char", 1, False)
SHORT = Int("short", 2, True)
USHORT = Int("unsigned short", 2, False)
INT = Int("int", 4, True)
UINT = Int("unsigned int", 4, False)
LONG = Int("long", 8, True)
ULONG = Int("unsigned long", 8, False)
LLONG = Int("long long", 8, True)
ULLONG = Int("unsigned long long", 8, False)
INT128 = Int("__int128", 16, True)
UINT128 = Int("unsigned __int128", 16, False)
FLOAT = Float("float", 4)
DOUBLE = Float("double", 8)
LDOUBLE = Float("long double", 16)
VOID_POINTER = Ptr(None)
CHAR_POINTER = Ptr(CHAR)

_NUMBERS: Final = (Int, Enum)

_BY_SIZE = {
    (4, True): INT,
    (4, False): UINT,
    (8, True): LONG,
    (8, False): ULONG,
    (16, True): INT128,
    (16, False): UINT128,
}


def by_size(size: int, signed: bool) -> Int:
    """The integer type of `size` bytes, 4, 8 or 16."""
    return _BY_SIZE[size, signed]


def integer(type: Type | None) -> Int | Enum | None:
    """The integer or enum type behind typedefs and qualifiers, None if it is neither."""
    stripped = strip(type)
    return stripped if isinstance(stripped, _NUMBERS) else None


def pointer(type: Type | None) -> Ptr | None:
    stripped = strip(type)
    return stripped if isinstance(stripped, Ptr) else None


def struct(type: Type | None) -> Struct | None:
    stripped = strip(type)
    return stripped if isinstance(stripped, Struct) else None


def array(type: Type | None) -> Array | None:
    stripped = strip(type)
    return stripped if isinstance(stripped, Array) else None


def scalar(type: Type | None) -> bool:
    return isinstance(strip(type), Int | Enum | Ptr)


def is_bool(type: Type | None) -> bool:
    stripped = strip(type)
    return isinstance(stripped, Int) and stripped.bool


def signed(type: Type | None) -> bool:
    stripped = strip(type)
    return isinstance(stripped, _NUMBERS) and stripped.signed


def promote(type: Type, bits: int = 0) -> Type:
    """The integer promotions; `bits` is the width of a bitfield, 0 for what is none."""
    stripped = strip(type)
    if isinstance(stripped, Enum):
        return by_size(max(4, stripped.size), stripped.signed)
    if not isinstance(stripped, Int):
        return type
    if bits and bits < 32:
        return INT
    if bits == 32 and stripped.size > 4:
        return INT if stripped.signed else UINT
    if stripped.size < 4:
        return INT
    return unqualified(type) or INT


def common(a: Type, b: Type) -> Type:
    """The type that both operands of an arithmetic operator get; of promoted integer types."""
    x, y = strip(a), strip(b)
    assert isinstance(x, Int) and isinstance(y, Int)
    if (x.size, x.signed) == (y.size, y.signed):
        return a
    if x.size == y.size:
        return a if not x.signed else b
    return a if x.size > y.size else b


def unqualified(type: Type | None) -> Type | None:
    """Without qualifiers at the top; a typedef that hides none stays."""
    while isinstance(type, QUALIFIERS):
        type = type.of
    inner: Type | None = type
    while isinstance(inner, Typedef):
        inner = inner.of
        if isinstance(inner, QUALIFIERS):
            return unqualified(inner)
    return type


def qualified(type: Type | None, like: Type | None) -> Type | None:
    """`type` with the const and volatile that stand at the top of `like`."""
    while isinstance(like, ALIASES):
        if isinstance(like, Const) and not is_const(type):
            type = Const(type)
        elif isinstance(like, Volatile):
            type = Volatile(type)
        like = like.of
    return type


def is_const(type: Type | None) -> bool:
    while isinstance(type, ALIASES):
        if isinstance(type, Const):
            return True
        type = type.of
    return False


def identical(a: Type | None, b: Type | None) -> bool:
    """Whether two types are the same, the qualifiers of what they point to included."""
    if not same(unqualified(a), unqualified(b)):
        return False
    x, y = pointer(a), pointer(b)
    return not x or not y or (is_const(x.to) == is_const(y.to) and identical(x.to, y.to))


def wrap(value: int, type: Type | None) -> int:
    """`value` as an object of that type holds it."""
    stripped = strip(type)
    if isinstance(stripped, Int) and stripped.bool:
        return int(value != 0)
    if isinstance(stripped, _NUMBERS):
        bits = stripped.size * 8
        value &= (1 << bits) - 1
        return value - (1 << bits) if stripped.signed and value >> (bits - 1) else value
    if isinstance(stripped, Ptr):
        return value & (1 << 64) - 1
    return value


def spell(type: Type | None, name: str = "") -> str:
    """A type, or the declaration of `name`, as C writes it."""
    return _spell(type, name).strip()


def _spell(type: Type | None, inside: str) -> str:
    target: Type | None
    match type:
        case None:
            return f"void {inside}"
        case Ptr(to):
            target = to
            while isinstance(target, Const | Volatile | TypeTag):
                target = target.of
            if isinstance(target, Array | FuncProto):
                return _spell(to, f"(*{inside})")
            return _spell(to, f"*{inside}")
        case Array(of, count):
            return _spell(of, f"{inside}[{count or ''}]")
        case FuncProto():
            parameters = ", ".join(spell(param.type, param.name) for param in type.params)
            if type.variadic:
                parameters += ", ..." if parameters else "..."
            return _spell(type.result, f"{inside}({parameters or 'void'})")
        case Const(of) | Volatile(of) | Restrict(of):
            word = builtin_word(type)
            if isinstance(of, Ptr):
                return _spell(of, f" {word} {inside}".rstrip())
            return f"{word} {_spell(of, inside)}"
        case TypeTag(_, of):
            return _spell(of, inside)
        case Struct():
            return f"{'union' if type.union else 'struct'} {type.name or '{...}'} {inside}"
        case Enum():
            return f"enum {type.name or '{...}'} {inside}"
        case Func():
            return _spell(type.proto, type.name)
        case _:
            return f"{type.name} {inside}"


def builtin_word(type: Const | Volatile | Restrict) -> str:
    """The keyword of a qualifier."""
    match type:
        case Const():
            return "const"
        case Volatile():
            return "volatile"
    return "restrict"
