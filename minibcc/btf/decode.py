"""BTF bytes to the object graph of `minibcc.btf.types`, as much of it as is asked for.

A kernel's BTF has 100,000 types and a program uses thirty, so nothing is read before it is wanted:
opening one checks its header, `find` goes through the index to the few types that may bear the
name, a struct's members and what a typedef stands for are decoded when first asked. Each id has
one object, for ever, but for equal records, which are equal.

What the type classes rely on is checked before an object can be had: chains of typedefs end, a
struct does not contain itself, a member lies inside its struct. A malformed BTF raises
`ValueError` with its place, at once or when the malformed part is first asked for.

Mirrors the reading half of the kernel's kernel/bpf/btf.c and of libbpf's btf.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from minibcc.btf.layout import MAX_CHAIN, MAX_DEPTH, MODIFIERS, Kind, kind_of
from minibcc.btf.objects import MAKERS, Source
from minibcc.btf.raw import Raw
from minibcc.btf.types import Enum, Type


class Btf:
    """A decoded BTF.

    `data` is a whole BTF (bytes, or a memoryview of a mapped file); `base` the BTF that it
    continues, for a module's; `index` what `index` of the same BTF was, else the one that stands
    behind the string section, else it is built when first needed. Type ids count from 1, or on
    from the base's last one.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        base: Btf | None = None,
        index: bytes | memoryview | None = None,
    ) -> None:
        self.raw: Raw = Raw(data, base.raw if base else None, index)
        self.base = base
        self._objects: dict[int, Type] = {}
        self._ids: dict[int, int] = {}  # Python's id() of an object, kept in _objects, to type id
        self._sound: set[tuple[int, bool]] = (
            set()
        )  # structs that are known not to contain themselves
        self._ending: set[int] = set()  # types that are known not to be made of themselves

    @property
    def data(self) -> memoryview:
        """The BTF itself, without what may stand behind it."""
        return self.raw.data

    @property
    def index(self) -> bytes:
        """The index as bytes, to be kept for the next time (see `minibcc.btf.index`)."""
        return self.raw.index.data

    @property
    def indexed(self) -> bool:
        """Whether the index is there already, so that looking up costs nothing to begin with."""
        return self.raw.indexed

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that name this BTF: its SHA-256; at no cost where there is an index."""
        return self.raw.fingerprint

    @property
    def first(self) -> int:
        """The lowest id that is not the base's."""
        return self.raw.first

    @property
    def count(self) -> int:
        """How many types there are, without void and without the base's."""
        return self.raw.count

    def find(self, kind: Kind, name: str) -> Type | None:
        """The first type of that kind and name, None if there is none."""
        type_id = self.find_id(kind, name)
        return None if type_id is None else self.type(type_id)

    def find_id(self, kind: Kind, name: str) -> int | None:
        """The id of the first type of that kind and name, None if there is none."""
        return next(self.raw.find(kind, name), None)

    def find_all(self, kind: Kind, name: str) -> list[int]:
        """The ids of all types of that kind and name, the base's first."""
        return list(self.raw.find(kind, name))

    def find_enumerator(self, name: str) -> tuple[Enum, int] | None:
        """The enumeration that defines a constant, and its number; None if there is none."""
        type_id = self.raw.find_enumerator(name)
        if type_id is None:
            return None
        enum = self.type(type_id)
        assert isinstance(enum, Enum)
        return enum, enum.values[name]

    def named(self, kind: Kind) -> Iterator[tuple[int, str]]:
        """Ids and names of all types of a kind but the base's, by id."""
        return self.raw.named(kind)

    def span(self, kind: Kind) -> tuple[int, int, int]:
        """The lowest and the highest id of a kind, and how many there are, without the base's."""
        return self.raw.index.span(kind)

    def kind(self, type_id: int) -> Kind:
        """Raises KeyError if there is no such id."""
        if not type_id:
            return Kind.VOID
        at, _, info, _ = self.raw.record(type_id)
        return self.raw.kind(info, at)

    def type(self, type_id: int) -> Type | None:
        """The type of that id; None for 0, void. Raises KeyError if there is no such id."""
        return self.fetch(type_id, 0)

    def id_of(self, type: Type | None) -> int:
        """The id of a type that came from here; another one with a name is looked up by kind and
        name. Raises KeyError if it is not to be found."""
        if type is None:
            return 0
        found = self._ids.get(id(type))
        if found is None and self.base is not None:
            found = self.base._ids.get(id(type))
        if found is None and (name := getattr(type, "name", "")):
            found = self.find_id(kind_of(type), name)
        if found is None:
            raise KeyError(f"{type!r} is not in this BTF")
        return found

    def fetch(self, type_id: int, depth: int) -> Type | None:
        """`type`, `depth` references below what was asked for (used while objects are made)."""
        if not type_id:
            return None
        found = self._objects.get(type_id)
        if found is not None:
            return found
        if self.base is not None and type_id < self.raw.first:
            return self.base.fetch(type_id, depth)
        at, name, info, word = self.raw.record(type_id)
        if depth > MAX_DEPTH:
            self.raw.fail(at, f"BTF type {type_id} is nested too deeply")
        make = MAKERS[self.raw.kind(info, at)]
        made = make(Source(self, type_id, at, self.raw.name(name, at), info, word, depth))
        self._objects[type_id] = made
        self._ids[id(made)] = type_id
        return made

    def check_containment(
        self, struct_id: int, size: int, at: int, path: tuple[int, ...] = (), all: bool = False
    ) -> None:
        """Refuses a struct that lies in itself. What it contains is not larger, so a way round
        leads through members of its own size, and only these are followed; but for what an empty
        array consists of, from where `all` are."""
        if (struct_id, all) in self._sound:
            return
        if struct_id in path:
            self.raw.fail(at, f"BTF type {struct_id} contains itself")
        if len(path) > MAX_CHAIN:
            self.raw.fail(at, f"BTF type {struct_id} is nested too deeply")
        info = self.raw.followed(struct_id)[2]
        for _, member, _ in self.raw.tail(struct_id, "<III", info & 0xFFFF):
            inner, kind = self.raw.bottom(member)
            empty = False
            for _ in range(MAX_DEPTH):
                if kind is not Kind.ARRAY:
                    break
                of, _, count = next(self.raw.tail(inner, "<III"))
                empty |= not count
                inner, kind = self.raw.bottom(of)
            if kind is Kind.STRUCT or kind is Kind.UNION:
                place, _, _, inner_size = self.raw.followed(inner)
                if inner_size > size and not empty:
                    self.raw.fail(at, f"BTF type {struct_id} contains something larger")
                if all or empty or inner_size == size:
                    way = (*path, struct_id)
                    self.check_containment(inner, inner_size, place, way, all or empty)
        self._sound.add((struct_id, all))

    def check_circle(self, type_id: int) -> None:
        """Refuses a typedef that is made of itself, not by way of a struct, such as a pointer to
        itself: whoever walks types counts on coming to an end."""
        path: list[int] = [type_id]
        stack: list[Iterator[int]] = [self._made_of(type_id)]
        while stack:
            below = next(stack[-1], None)
            if below is None:
                stack.pop()
                self._ending.add(path.pop())
            elif below in path:
                self.raw.fail(self.raw.followed(below)[0], f"BTF type {below} is made of itself")
            elif below not in self._ending:
                if len(path) > MAX_CHAIN:
                    self.raw.fail(self.raw.followed(below)[0], f"BTF type {below} is nested deeply")
                path.append(below)
                stack.append(self._made_of(below))

    def _made_of(self, type_id: int) -> Iterator[int]:
        at, _, info, word = self.raw.followed(type_id)
        match self.raw.kind(info, at):
            case kind if kind in MODIFIERS or kind is Kind.PTR:
                parts = [word]
            case Kind.ARRAY:
                parts = [next(self.raw.tail(type_id, "<III"))[0]]
            case Kind.FUNC_PROTO:
                params = self.raw.tail(type_id, "<II", info & 0xFFFF)
                parts = [word, *(param for _, param in params)]
            case _:
                parts = []
        return iter([part for part in parts if part])
