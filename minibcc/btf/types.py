"""C types as data: the object form of BTF, and the house's only language for types.

The compiler's tree, a map's key and value, a tracepoint's fields, a kernel structure in the
simulated machine: all are these classes. They mirror the kinds of BTF (Documentation/bpf/btf.rst),
but refer to each other as objects, not by id; `decode` and `encode` translate.

Struct, Union, Enum, Typedef, Func and the like are *nominal*: each object is a type of its own and
compares by identity, may be completed later (a forward declaration), and may fetch its members
when first asked (a kernel's BTF has 100,000 types; a program uses thirty). Int, Ptr, Array,
qualifiers and FuncProto are *structural*: compare them with `same`.

None stands for void wherever a type stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable

POINTER_SIZE = 8


class Int(Record):
    """An integer; `size` in bytes, 1, 2, 4, 8 or 16."""

    name: str
    size: int
    signed: bool
    char: bool = False
    bool: bool = False


class Float(Record):
    name: str
    size: int


class Ptr(Record):
    to: Type | None


class Array(Record):
    """`count` 0 stands for a flexible or zero-length array."""

    of: Type
    count: int


class Const(Record):
    of: Type | None


class Volatile(Record):
    of: Type | None


class Restrict(Record):
    of: Type | None


class TypeTag(Record):
    """``__attribute__((btf_type_tag(...)))``: __user, __rcu, __percpu."""

    name: str
    of: Type | None


class Member(Record):
    """`offset` and `bits` count bits; `bits` is 0 for what is no bitfield. `name` is "" for an
    anonymous struct or union."""

    name: str
    type: Type
    offset: int
    bits: int = 0


class Nominal:
    """A type with an identity."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or '(anonymous)'}>"


class Struct(Nominal):
    """A struct or, with `union`, a union.

    `size` in bytes. `complete` is False for a forward declaration. `align` in bytes: BTF does not
    record it, so it is what the members' offsets and the size allow, unless the compiler knows
    better. `source` completes members on demand.
    """

    __slots__ = ("_align", "_members", "_source", "complete", "size", "union")

    def __init__(
        self,
        name: str,
        size: int = 0,
        members: tuple[Member, ...] = (),
        *,
        union: bool = False,
        complete: bool = True,
        align: int = 0,
        source: Callable[[], tuple[Member, ...]] | None = None,
    ) -> None:
        super().__init__(name)
        self.size = size
        self.union = union
        self.complete = complete
        self._members = members
        self._source = source
        self._align = align

    @property
    def members(self) -> tuple[Member, ...]:
        if self._source is not None:
            source, self._source = self._source, None
            self._members = source()
        return self._members

    def define(self, size: int, members: tuple[Member, ...], align: int) -> None:
        """Completes a forward declaration."""
        self.size, self._members, self._align, self.complete = size, members, align, True
        self._source = None

    @property
    def align(self) -> int:
        if not self._align:
            align = 1
            for member in self.members:
                if not member.bits:
                    wanted = align_of(member.type)
                    if member.offset % (wanted * 8) == 0:
                        align = max(align, wanted)
                else:
                    align = max(align, align_of(member.type))
            while align > 1 and self.size % align:
                align //= 2
            self._align = align
        return self._align


class Enum(Nominal):
    """`values` maps enumerators to their numbers; `size` in bytes."""

    __slots__ = ("_source", "_values", "complete", "signed", "size")

    def __init__(
        self,
        name: str,
        values: dict[str, int] | None = None,
        *,
        size: int = 4,
        signed: bool = False,
        complete: bool = True,
        source: Callable[[], dict[str, int]] | None = None,
    ) -> None:
        super().__init__(name)
        self._values = values or {}
        self._source = source
        self.size = size
        self.signed = signed
        self.complete = complete

    @property
    def values(self) -> dict[str, int]:
        if self._source is not None:
            source, self._source = self._source, None
            self._values = source()
        return self._values


class Typedef(Nominal):
    """`of` may be fetched on demand, like a struct's members."""

    __slots__ = ("_of", "_source")

    def __init__(
        self, name: str, of: Type | None = None, *, source: Callable[[], Type | None] | None = None
    ) -> None:
        super().__init__(name)
        self._of = of
        self._source = source

    @property
    def of(self) -> Type | None:
        if self._source is not None:
            source, self._source = self._source, None
            self._of = source()
        return self._of


class Param(Record):
    """`type` None with name "" is C's ``...`` (the last parameter of a variadic prototype)."""

    name: str
    type: Type | None


class FuncProto(Record):
    result: Type | None
    params: tuple[Param, ...]
    variadic: bool = False


class Func(Nominal):
    """A function: `linkage` 0 static, 1 global, 2 extern."""

    __slots__ = ("linkage", "proto")

    def __init__(self, name: str, proto: FuncProto, linkage: int = 1) -> None:
        super().__init__(name)
        self.proto = proto
        self.linkage = linkage


class Var(Nominal):
    """A global variable: `linkage` 0 static, 1 global, 2 extern."""

    __slots__ = ("linkage", "type")

    def __init__(self, name: str, type: Type, linkage: int = 1) -> None:
        super().__init__(name)
        self.type = type
        self.linkage = linkage


class SecVar(Record):
    var: Var
    offset: int
    size: int


class DataSec(Nominal):
    """A section of variables (``.maps``, ``.data``, ``license``)."""

    __slots__ = ("size", "vars")

    def __init__(self, name: str, size: int, vars: tuple[SecVar, ...]) -> None:
        super().__init__(name)
        self.size = size
        self.vars = vars


class DeclTag(Nominal):
    """``__attribute__((btf_decl_tag(...)))`` on `of`; `component` -1 is the whole."""

    __slots__ = ("component", "of")

    def __init__(self, name: str, of: Type, component: int = -1) -> None:
        super().__init__(name)
        self.of = of
        self.component = component


Type: TypeAlias = (
    Int
    | Float
    | Ptr
    | Array
    | Const
    | Volatile
    | Restrict
    | TypeTag
    | Struct
    | Enum
    | Typedef
    | FuncProto
    | Func
    | Var
    | DataSec
    | DeclTag
)


QUALIFIERS: Final = (Const, Volatile, Restrict, TypeTag)
ALIASES: Final = (*QUALIFIERS, Typedef)
"""What stands in front of a type. (Tuples: ``A | B`` is computed each time.)"""


def strip(type: Type | None) -> Type | None:
    """Without typedefs, qualifiers and type tags."""
    while isinstance(type, ALIASES):
        type = type.of
    return type


def size_of(type: Type | None) -> int:
    """Bytes; void counts 1, as in GNU C. Raises ValueError for an incomplete type."""
    type = strip(type)
    match type:
        case None | FuncProto() | Func():
            return 1
        case Ptr():
            return POINTER_SIZE
        case Array(of, count):
            return size_of(of) * count
        case Struct() | Enum() if not type.complete:
            raise ValueError(f"{type.name} is incomplete")
        case Int() | Float() | Struct() | Enum() | DataSec():
            return type.size
        case Var():
            return size_of(type.type)
    raise ValueError(f"{type!r} has no size")


def align_of(type: Type | None) -> int:
    """Bytes."""
    type = strip(type)
    match type:
        case Ptr():
            return POINTER_SIZE
        case Array(of, _):
            return align_of(of)
        case Struct():
            return type.align
        case Int() | Float() | Enum():
            return max(1, type.size)
    return 1


def same(a: Type | None, b: Type | None) -> bool:
    """Whether two types are the same up to typedefs; qualifiers count below the top."""
    a, b = strip(a), strip(b)
    if a is b:
        return True
    match a, b:
        case Int(), Int():
            return (a.size, a.signed, a.bool) == (b.size, b.signed, b.bool)
        case Ptr(x), Ptr(y):
            return same(x, y)
        case Array(x, n), Array(y, m):
            return n == m and same(x, y)
        case FuncProto(), FuncProto():
            return (
                len(a.params) == len(b.params)
                and a.variadic == b.variadic
                and same(a.result, b.result)
                and all(same(p.type, q.type) for p, q in zip(a.params, b.params, strict=True))
            )
        case Struct(), Struct():
            return bool(a.name) and a.name == b.name and a.union == b.union and a.size == b.size
        case Enum(), Enum():
            return bool(a.name) and a.name == b.name
    return False


def find_member(struct: Struct, name: str) -> tuple[Member, int] | None:
    """The member called `name`, looking into anonymous ones, and its offset in bits from the start
    of `struct`; None if there is none."""
    for member in struct.members:
        if member.name:
            if member.name == name:
                return member, member.offset
            continue
        inner = strip(member.type)
        if isinstance(inner, Struct):
            found = find_member(inner, name)
            if found is not None:
                return found[0], member.offset + found[1]
    return None
