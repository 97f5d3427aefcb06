"""How BTF lies in bytes: the header, the record of each kind, and their numbers.

The facts that `decode` and `encode` share, in one table. A type is a record of three 32-bit words
(name, info, and a size or a type) with a tail that its kind and its count decide; type ids count
records from 1, 0 is void. Source: include/uapi/linux/btf.h of Linux 6.18; all numbers are
little-endian here.
"""

from __future__ import annotations

from enum import IntEnum

from minibcc.btf.types import (
    Array,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Float,
    Func,
    FuncProto,
    Int,
    Ptr,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Var,
    Volatile,
)
from minibcc.records import Record

MAGIC = 0xEB9F
VERSION = 1
HEADER = (
    "<HBBIIIII"  # magic, version, flags, header length, then offset and length of both sections
)
HEADER_SIZE = 24
MAX_COUNT = 0xFFFF
MAX_NAME = 1 << 24  # string section, BTF_MAX_NAME_OFFSET
MAX_CHAIN = 64  # typedefs of typedefs: C code has a handful
MAX_DEPTH = 32  # pointers to pointers to ...: the kernel's MAX_RESOLVE_DEPTH

INT_SIGNED, INT_CHAR, INT_BOOL = 1, 2, 4
VARIADIC = (0, 0)  # the last parameter of a variadic prototype: no name, no type


class Kind(IntEnum):
    """``BTF_KIND_*``."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


MODIFIERS = frozenset((Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG))


class Tail(Record):
    """What follows a record: `fixed` bytes, and `each` bytes as often as the record counts."""

    fixed: int = 0
    each: int = 0


TAILS: dict[Kind, Tail] = {
    Kind.INT: Tail(fixed=4),
    Kind.PTR: Tail(),
    Kind.ARRAY: Tail(fixed=12),
    Kind.STRUCT: Tail(each=12),
    Kind.UNION: Tail(each=12),
    Kind.ENUM: Tail(each=8),
    Kind.FWD: Tail(),
    Kind.TYPEDEF: Tail(),
    Kind.VOLATILE: Tail(),
    Kind.CONST: Tail(),
    Kind.RESTRICT: Tail(),
    Kind.FUNC: Tail(),
    Kind.FUNC_PROTO: Tail(each=8),
    Kind.VAR: Tail(fixed=4),
    Kind.DATASEC: Tail(each=12),
    Kind.FLOAT: Tail(),
    Kind.DECL_TAG: Tail(fixed=4),
    Kind.TYPE_TAG: Tail(),
    Kind.ENUM64: Tail(each=12),
}

# The two columns by kind number, for loops that must be fast; -1 marks what is no kind.
FIXED = [-1] + [TAILS[Kind(kind)].fixed for kind in range(1, len(Kind))]
EACH = [0] + [TAILS[Kind(kind)].each for kind in range(1, len(Kind))]


def info_word(kind: Kind, count: int = 0, flag: bool = False) -> int:
    """The second word of a record."""
    return flag << 31 | kind << 24 | count


def kind_of(type: Type | None) -> Kind:
    """The kind that a type has in BTF."""
    match type:
        case None:
            return Kind.VOID
        case Struct():
            if not type.complete:
                return Kind.FWD
            return Kind.UNION if type.union else Kind.STRUCT
        case Enum():
            return Kind.ENUM64 if type.size == 8 else Kind.ENUM
    return _KINDS[type.__class__]


_KINDS: dict[type, Kind] = {
    Int: Kind.INT,
    Ptr: Kind.PTR,
    Array: Kind.ARRAY,
    Typedef: Kind.TYPEDEF,
    Volatile: Kind.VOLATILE,
    Const: Kind.CONST,
    Restrict: Kind.RESTRICT,
    Func: Kind.FUNC,
    FuncProto: Kind.FUNC_PROTO,
    Var: Kind.VAR,
    DataSec: Kind.DATASEC,
    Float: Kind.FLOAT,
    DeclTag: Kind.DECL_TAG,
    TypeTag: Kind.TYPE_TAG,
}
