"""One record of a BTF to one object: a maker for each kind.

`decode` calls these when an id is first asked for. Members, enumerators and what a typedef stands
for are fetched when first asked. What would make an object that the type classes cannot bear is
refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn, TypeVar

from minibcc.btf.layout import INT_BOOL, INT_CHAR, INT_SIGNED, VARIADIC, Kind
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

if TYPE_CHECKING:
    from minibcc.btf.decode import Btf

T = TypeVar("T")


class Source:
    """One record while its object is made, and after that for what is fetched on demand."""

    __slots__ = ("at", "btf", "depth", "info", "name", "type_id", "word")

    def __init__(
        self, btf: Btf, type_id: int, at: int, name: str, info: int, word: int, depth: int
    ) -> None:
        self.btf = btf
        self.type_id = type_id
        self.at = at
        self.name = name
        self.info = info
        self.word = word
        self.depth = depth

    @property
    def count(self) -> int:
        return self.info & 0xFFFF

    @property
    def flag(self) -> bool:
        return bool(self.info >> 31)

    def tail(self, form: str, count: int = 1) -> Iterator[tuple[int, ...]]:
        return self.btf.raw.tail(self.type_id, form, count)

    def fail(self, what: str) -> NoReturn:
        self.btf.raw.fail(self.at, f"BTF type {self.type_id} {what}")

    def below(self, type_id: int, *, lazy: bool = False) -> Type | None:
        """A type that this one refers to; `lazy` if it is fetched after this one stands."""
        try:
            return self.btf.fetch(type_id, 0 if lazy else self.depth + 1)
        except KeyError as error:
            raise ValueError(str(error.args[0])) from None

    def value(self, type_id: int, *, lazy: bool = False) -> Type:
        """The type of a thing: not void, no function."""
        kind = self.btf.raw.bottom(type_id)[1]
        if kind in _NO_THINGS:
            self.fail(
                "has something of type void" if not kind else "has something that is no thing"
            )
        found = self.below(type_id, lazy=lazy)
        assert found is not None
        return found


_NO_THINGS = frozenset(
    (Kind.VOID, Kind.FUNC, Kind.FUNC_PROTO, Kind.VAR, Kind.DATASEC, Kind.DECL_TAG)
)


def _int(source: Source) -> Int:
    ((encoding,),) = source.tail("<I")
    size = source.word
    if size not in (1, 2, 4, 8, 16):
        source.fail(f"is an integer of {size} bytes")
    flags = encoding >> 24 & 0xF
    return Int(
        source.name,
        size,
        bool(flags & INT_SIGNED),
        bool(flags & INT_CHAR),
        bool(flags & INT_BOOL),
    )


def _float(source: Source) -> Float:
    if source.word not in (2, 4, 8, 12, 16):
        source.fail(f"is a floating-point number of {source.word} bytes")
    return Float(source.name, source.word)


def _pointer(source: Source) -> Ptr:
    return Ptr(source.below(source.word))


def _array(source: Source) -> Array:
    ((of, _, count),) = source.tail("<III")
    return Array(source.value(of), count)


def _qualified(make: Callable[[Type | None], T]) -> Callable[[Source], T]:
    def maker(source: Source) -> T:
        source.btf.raw.bottom(source.type_id)
        return make(source.below(source.word))

    return maker


def _tagged(source: Source) -> TypeTag:
    source.btf.raw.bottom(source.type_id)
    return TypeTag(source.name, source.below(source.word))


def _struct(source: Source) -> Struct:
    union = source.btf.raw.kind(source.info, source.at) is Kind.UNION
    return Struct(source.name, source.word, union=union, source=lambda: _members(source))


def _members(source: Source) -> tuple[Member, ...]:
    """Bit fields have their width in the high byte of the place where the struct's flag is set."""
    source.btf.check_containment(source.type_id, source.word, source.at)
    end = source.word * 8
    flag = source.flag
    members = []
    for name, type_id, place in source.tail("<III", source.count):
        offset, bits = (
            (place & 0xFFFFFF, place >> 24) if flag else _old_place(source, type_id, place)
        )
        text = source.btf.raw.name(name, source.at)
        if offset + bits > end:
            source.fail(f"has its member {text!r} outside")
        members.append(Member(text, source.value(type_id, lazy=True), offset, bits))
    return tuple(members)


def _old_place(source: Source, type_id: int, place: int) -> tuple[int, int]:
    """Without the flag it is the integer that has fewer bits than its size (older BTF)."""
    below, kind = source.btf.raw.bottom(type_id)
    if kind is Kind.INT:
        ((encoding,),) = source.btf.raw.tail(below, "<I")
        bits = encoding & 0xFF
        if bits and bits != source.btf.raw.followed(below)[3] * 8:
            return place + (encoding >> 16 & 0xFF), bits
    return place, 0


def _enum(source: Source) -> Enum:
    wide = source.btf.raw.kind(source.info, source.at) is Kind.ENUM64
    if source.word not in (1, 2, 4, 8):
        source.fail(f"is an enumeration of {source.word} bytes")
    return Enum(
        source.name,
        size=source.word,
        signed=source.flag,
        complete=bool(source.count),
        source=lambda: _enumerators(source, wide),
    )


def _enumerators(source: Source, wide: bool) -> dict[str, int]:
    bits = 64 if wide else 32
    values = {}
    for name, low, *high in source.tail("<III" if wide else "<II", source.count):
        value = low | high[0] << 32 if high else low
        if source.flag and value >> bits - 1:
            value -= 1 << bits
        values[source.btf.raw.name(name, source.at)] = value
    return values


def _forward(source: Source) -> Struct:
    return Struct(source.name, union=source.flag, complete=False)


def _typedef(source: Source) -> Typedef:
    source.btf.check_circle(source.type_id)
    return Typedef(source.name, source=lambda: source.below(source.word, lazy=True))


def _prototype(source: Source) -> FuncProto:
    params = list(source.tail("<II", source.count))
    variadic = bool(params) and params[-1] == VARIADIC
    if variadic:
        params.pop()
    return FuncProto(
        source.below(source.word),
        tuple(
            Param(source.btf.raw.name(name, source.at), source.value(type_id))
            for name, type_id in params
        ),
        variadic,
    )


def _function(source: Source) -> Func:
    proto = source.below(source.word)
    if not isinstance(proto, FuncProto):
        source.fail("is a function without a prototype")
    return Func(source.name, proto, source.count)


def _variable(source: Source) -> Var:
    ((linkage,),) = source.tail("<I")
    return Var(source.name, source.value(source.word), linkage)


def _section(source: Source) -> DataSec:
    members = []
    for type_id, offset, size in source.tail("<III", source.count):
        var = source.below(type_id)
        if not isinstance(var, Var):
            source.fail("is a section of something else than variables")
        members.append(SecVar(var, offset, size))
    return DataSec(source.name, source.word, tuple(members))


def _tag(source: Source) -> DeclTag:
    ((component,),) = source.tail("<i")
    of = source.below(source.word)
    if of is None:
        source.fail("is a tag of void")
    return DeclTag(source.name, of, component)


MAKERS: dict[Kind, Callable[[Source], Type]] = {
    Kind.INT: _int,
    Kind.PTR: _pointer,
    Kind.ARRAY: _array,
    Kind.STRUCT: _struct,
    Kind.UNION: _struct,
    Kind.ENUM: _enum,
    Kind.ENUM64: _enum,
    Kind.FWD: _forward,
    Kind.TYPEDEF: _typedef,
    Kind.VOLATILE: _qualified(Volatile),
    Kind.CONST: _qualified(Const),
    Kind.RESTRICT: _qualified(Restrict),
    Kind.FUNC: _function,
    Kind.FUNC_PROTO: _prototype,
    Kind.VAR: _variable,
    Kind.DATASEC: _section,
    Kind.FLOAT: _float,
    Kind.DECL_TAG: _tag,
    Kind.TYPE_TAG: _tagged,
}
