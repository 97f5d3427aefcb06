"""Types for tests: a graph with every kind, raw records, and strategies that draw type graphs."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from minibcc.btf.layout import HEADER, HEADER_SIZE, MAGIC, VERSION, Kind, info_word
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
    Member,
    Param,
    Ptr,
    Restrict,
    SecVar,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Var,
    Volatile,
)

INT = Int("int", 4, signed=True)
CHAR = Int("char", 1, signed=True)
BOOL = Int("_Bool", 1, signed=False, bool=True)
U64 = Int("long unsigned int", 8, signed=False)


def every_kind() -> list[Type]:
    """Roots that lead to all 19 kinds, to circles, bit fields and forward declarations."""
    node = Struct("node", complete=False)
    color = Enum("color", {"RED": 0, "BLUE": -3}, signed=True)
    wide = Enum("wide", {"LOW": 1, "HIGH": 1 << 40}, size=8)
    number = Struct(
        "number", 8, (Member("i", U64, 0), Member("f", Float("double", 8), 0)), union=True
    )
    node.define(
        48,
        (
            Member("next", Ptr(node), 0),
            Member("name", Array(CHAR, 8), 64),
            Member("a", INT, 128, 3),
            Member("b", INT, 131, 13),
            Member("color", color, 144, 8),
            Member("", Struct("", 8, (Member("x", INT, 0), Member("y", wide, 0)), union=True), 192),
            Member("number", number, 256),
            Member("later", Ptr(Struct("later", complete=False)), 320),
        ),
        8,
    )
    name = Typedef("name_t", Ptr(TypeTag("user", Const(CHAR))))
    proto = FuncProto(INT, (Param("node", Ptr(node)), Param("name", name)), variadic=True)
    call = Func("call", proto)
    state = Var("state", Volatile(Ptr(Restrict(Ptr(None)))), 0)
    return [
        call,
        DataSec(".data", 8, (SecVar(state, 0, 8),)),
        DeclTag("kfunc", call),
        DeclTag("counted", call, 1),
        Ptr(FuncProto(None, ())),
        BOOL,
        Struct("flexible", 4, (Member("n", INT, 0), Member("data", Array(U64, 0), 32))),
    ]


def raw(*records: bytes, strings: bytes = b"\0") -> bytes:
    """A BTF of these records."""
    types = b"".join(records)
    return (
        struct.pack(HEADER, MAGIC, VERSION, 0, HEADER_SIZE, 0, len(types), len(types), len(strings))
        + types
        + strings
    )


def record(
    kind: Kind, word: int, *tail: int, name: int = 0, count: int = 0, flag: bool = False
) -> bytes:
    return struct.pack(f"<{3 + len(tail)}I", name, info_word(kind, count, flag), word, *tail)


_names = st.text("abcdefgh_", min_size=1, max_size=6)
_ints = st.sampled_from([INT, CHAR, BOOL, U64, Int("short", 2, signed=True)])


def _wrapped(inner: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    return st.one_of(
        inner.map(Ptr),
        inner.map(lambda type: Ptr(Const(type))),
        inner.map(lambda type: Ptr(Volatile(type))),
        st.builds(Array, inner, st.integers(0, 5)),
        st.builds(Typedef, _names, inner),
        st.builds(
            _struct,
            _names | st.just(""),
            st.lists(st.tuples(_names, inner), max_size=4),
            st.booleans(),
        ),
        st.builds(
            lambda result, params: Ptr(FuncProto(result, tuple(params))),
            inner,
            st.lists(st.builds(Param, _names, inner), max_size=3),
        ),
    )


def _struct(name: str, members: list[tuple[str, Type]], union: bool) -> Struct:
    from minibcc.btf.types import size_of

    placed = []
    at = largest = 0
    for member, type in members:
        size = size_of(type)
        placed.append(Member(member, type, 0 if union else at * 8))
        at += size
        largest = max(largest, size)
    return Struct(name, largest if union else at, tuple(placed), union=union)


types = st.recursive(
    _ints | st.builds(lambda name: Struct(f"only_{name}", complete=False), _names).map(Ptr),
    _wrapped,
    max_leaves=12,
)


def shape(type: Type | None, depth: int = 12, known: tuple[int, ...] = ()) -> object:
    """Everything that can be seen of a type, as nested tuples, `depth` references deep."""
    if type is None or not depth:
        return None

    def below(inner: Type | None) -> object:
        return shape(inner, depth - 1)

    match type:
        case Struct():
            members = [(m.name, m.offset, m.bits, below(m.type)) for m in type.members]
            return (
                "union" if type.union else "struct",
                type.name,
                type.size,
                type.complete,
                members,
            )
        case Enum():
            return ("enum", type.name, type.size, type.signed, type.complete, type.values)
        case Typedef():
            return ("typedef", type.name, below(type.of))
        case FuncProto(result, params, variadic):
            return ("proto", below(result), [(p.name, below(p.type)) for p in params], variadic)
        case Func():
            return ("func", type.name, type.linkage, below(type.proto))
        case Var():
            return ("var", type.name, type.linkage, below(type.type))
        case DataSec():
            return (
                "section",
                type.name,
                type.size,
                [(below(v.var), v.offset, v.size) for v in type.vars],
            )
        case DeclTag():
            return ("tag", type.name, type.component, below(type.of))
        case Ptr(to):
            return ("ptr", below(to))
        case Array(of, count):
            return ("array", count, below(of))
        case TypeTag(name, of):
            return ("type tag", name, below(of))
        case Const(of) | Volatile(of) | Restrict(of):
            return (type.__class__.__name__, below(of))
    return type
