"""The object graph of `minibcc.btf.types` to BTF bytes.

Three steps: collect what can be reached, merge what is equal, write it out. Equal means that
nobody who follows the references can tell two types apart; that is found by splitting classes
until they are stable (first by kind, name and numbers, then by the classes of what is referred
to), so that two copies of ``struct list_head``, which points to itself, become one type. Types are
written after what they refer to, in the order of the roots, functions, variables and sections
behind all types, so equal input gives equal bytes. A name that ends another one shares its bytes.

Mirrors what LLVM's BTFDebug.cpp writes and what `btf__dedup` of libbpf merges.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from minibcc.btf.layout import (
    HEADER,
    HEADER_SIZE,
    INT_BOOL,
    INT_CHAR,
    INT_SIGNED,
    MAGIC,
    MAX_COUNT,
    MAX_NAME,
    VERSION,
    Kind,
    info_word,
    kind_of,
)
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
    Param,
    Ptr,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Var,
    Volatile,
)

_LAST = {Kind.FUNC: 1, Kind.VAR: 2, Kind.DATASEC: 3, Kind.DECL_TAG: 4}
_ARRAY_INDEX = Int("__ARRAY_SIZE_TYPE__", 4, signed=False)


class _Node:
    """A collected type: what tells it apart by itself, and what it refers to.

    `refs` are types (None is void), `names` those of members, enumerators and parameters, and
    `numbers` what else is behind the record's three words. `word` is the third of these, None if
    that is the first of `refs`.
    """

    __slots__ = ("count", "flag", "kind", "name", "names", "numbers", "refs", "type", "word")

    def __init__(
        self,
        type: Type,
        kind: Kind,
        *,
        name: str = "",
        refs: tuple[Type | None, ...] = (),
        names: tuple[str, ...] = (),
        numbers: tuple[int, ...] = (),
        word: int | None = None,
        count: int = 0,
        flag: bool = False,
    ) -> None:
        if count > MAX_COUNT:
            raise ValueError(f"{type!r} has more than {MAX_COUNT} parts, too many for BTF")
        self.type = type
        self.kind = kind
        self.name = name
        self.refs = refs
        self.names = names
        self.numbers = numbers
        self.word = word
        self.count = count
        self.flag = flag


class Encoded:
    """`data` is a whole BTF; `id_of` says where a type went."""

    def __init__(self, data: bytes, ids: dict[int, int], types: list[Type]) -> None:
        self.data = data
        self._ids = ids
        self._types = types  # keeps alive what `ids` knows by address

    def id_of(self, type: Type | None) -> int:
        """The id of a type that was encoded: that very object, or an equal record. Raises
        KeyError."""
        if type is None:
            return 0
        found = self._ids.get(id(type))
        if found is None:
            for known in self._types:
                if known.__class__ is type.__class__ and known == type:
                    return self._ids[id(known)]
            raise KeyError(f"{type!r} was not encoded")
        return found


def encode(roots: Iterable[Type], forward: Callable[[Struct], bool] | None = None) -> Encoded:
    """All types that can be reached from `roots`. A struct for which `forward` is true is written
    as a declaration without members.

    Raises ValueError for what BTF cannot say.
    """
    nodes = _collect(list(roots), forward or (lambda _: False))
    alias = _completed(nodes)
    classes = _merge(nodes, alias)
    ids: dict[int, int] = {}  # class to type id
    first: list[_Node] = []  # the node that is written for each type id
    # A stable sort: types first, then functions side by side, variables, sections, tags.
    for key, node in sorted(nodes.items(), key=lambda item: _LAST.get(item[1].kind, 0)):
        if classes[key] not in ids and key not in alias:
            ids[classes[key]] = len(ids) + 1
            first.append(node)
    of = {key: ids[number] for key, number in classes.items()}
    texts, strings = _strings(node for node in first)
    types = b"".join(_record(node, of, texts) for node in first)
    header = struct.pack(
        HEADER, MAGIC, VERSION, 0, HEADER_SIZE, 0, len(types), len(types), len(strings)
    )
    return Encoded(header + types + strings, of, [node.type for node in nodes.values()])


# --- collecting --------------------------------------------------------------------------------


def _collect(roots: list[Type], forward: Callable[[Struct], bool]) -> dict[int, _Node]:
    """Everything that can be reached, by id(), each after what it refers to (but in circles)."""
    nodes: dict[int, _Node] = {}
    open_: dict[int, _Node] = {}
    for root in roots:
        stack: list[tuple[Type, bool]] = [(root, False)]
        while stack:
            type, left = stack.pop()
            key = id(type)
            if left:
                nodes[key] = open_[key]
            elif key not in open_:
                open_[key] = node = _node(type, forward)
                stack.append((type, True))
                stack += [(ref, False) for ref in reversed(node.refs) if ref is not None]
    return nodes


def _node(type: Type, forward: Callable[[Struct], bool]) -> _Node:
    kind = kind_of(type)
    match type:
        case Struct() if not type.complete or forward(type):
            return _Node(type, Kind.FWD, name=type.name, word=0, flag=type.union)
        case Struct():
            return _struct(type, kind)
        case Enum():
            return _enum(type)
        case Int(name, size, signed, char, bool_):
            # The kernel takes one of them only; like LLVM, a signed char is just signed.
            flags = INT_BOOL if bool_ else INT_SIGNED if signed else INT_CHAR if char else 0
            return _Node(type, kind, name=name, word=size, numbers=(flags << 24 | size * 8,))
        case Float(name, size):
            return _Node(type, kind, name=name, word=size)
        case Ptr(of) | Const(of) | Volatile(of) | Restrict(of):
            return _Node(type, kind, refs=(of,))
        case TypeTag(name, of):
            return _Node(type, kind, name=name, refs=(of,))
        case Array(of, count):
            return _Node(type, kind, refs=(of, _ARRAY_INDEX), numbers=(count,), word=0)
        case Typedef():
            return _Node(type, kind, name=type.name, refs=(type.of,))
        case FuncProto():
            return _prototype(type)
        case Func():
            return _Node(type, kind, name=type.name, refs=(type.proto,), count=type.linkage)
        case Var():
            return _Node(type, kind, name=type.name, refs=(type.type,), numbers=(type.linkage,))
        case DataSec():
            return _Node(
                type,
                kind,
                name=type.name,
                refs=tuple(entry.var for entry in type.vars),
                numbers=tuple(n for entry in type.vars for n in (entry.offset, entry.size)),
                word=type.size,
                count=len(type.vars),
            )
        case DeclTag():
            return _Node(type, kind, name=type.name, refs=(type.of,), numbers=(type.component,))
    raise ValueError(f"{type!r} is no type")


def _struct(type: Struct, kind: Kind) -> _Node:
    flag = any(member.bits for member in type.members)
    numbers = []
    for member in type.members:
        place = member.offset
        if flag:
            if place >> 24 or member.bits >> 8:
                raise ValueError(f"{type!r}: BTF cannot place its bit field {member.name!r}")
            place |= member.bits << 24
        numbers.append(place)
    return _Node(
        type,
        kind,
        name=type.name,
        refs=tuple(member.type for member in type.members),
        names=tuple(member.name for member in type.members),
        numbers=tuple(numbers),
        word=type.size,
        count=len(numbers),
        flag=flag,
    )


def _enum(type: Enum) -> _Node:
    kind = kind_of(type)
    bits = 64 if kind is Kind.ENUM64 else 32
    lowest, highest = (-1 << bits - 1, 1 << bits - 1) if type.signed else (0, 1 << bits)
    for name, value in type.values.items():
        if not lowest <= value < highest:
            raise ValueError(f"{type!r}: {name} = {value} does not fit into {bits} bits")
    return _Node(
        type,
        kind,
        name=type.name,
        names=tuple(type.values),
        numbers=tuple(value % (1 << bits) for value in type.values.values()),
        word=type.size,
        count=len(type.values),
        flag=type.signed,
    )


def _prototype(type: FuncProto) -> _Node:
    params = type.params
    if type.variadic and (not params or params[-1].type is not None):
        params = (*params, Param("", None))
    return _Node(
        type,
        Kind.FUNC_PROTO,
        refs=(type.result, *(param.type for param in params)),
        names=tuple(param.name for param in params),
        count=len(params),
    )


# --- merging -----------------------------------------------------------------------------------


def _merge(nodes: dict[int, _Node], alias: dict[int, int]) -> dict[int, int]:
    """A class for each node, the same for equal ones; nodes in `alias` have that of another."""
    numbers: dict[object, int] = {}
    classes = {
        key: numbers.setdefault(
            (node.kind, node.name, node.names, node.word, node.count, node.flag, node.numbers),
            len(numbers),
        )
        for key, node in nodes.items()
    }
    refs = {key: [alias.get(id(ref), id(ref)) for ref in node.refs] for key, node in nodes.items()}
    none = id(None)
    while True:
        classes[none] = -1
        finer: dict[object, int] = {}
        split = {
            key: finer.setdefault((classes[key], *[classes[ref] for ref in refs[key]]), len(finer))
            for key in nodes
        }
        if len(finer) == len(numbers):
            break
        classes, numbers = split, finer
    classes |= {key: classes[to] for key, to in alias.items()}
    del classes[none]
    return classes


def _completed(nodes: dict[int, _Node]) -> dict[int, int]:
    """For each forward declaration the one struct of its name that is complete, if there is."""
    complete: dict[tuple[str, bool], list[int]] = {}
    for key, node in nodes.items():
        if node.kind in (Kind.STRUCT, Kind.UNION) and node.name:
            complete.setdefault((node.name, node.kind is Kind.UNION), []).append(key)
    return {
        key: found[0]
        for key, node in nodes.items()
        if node.kind is Kind.FWD and len(found := complete.get((node.name, node.flag), [])) == 1
    }


# --- writing -----------------------------------------------------------------------------------


def _strings(nodes: Iterable[_Node]) -> tuple[dict[str, int], bytes]:
    """Name to offset, and the string section."""
    names: set[str] = set()
    for node in nodes:
        names.add(node.name)
        names.update(node.names)
    names.discard("")
    offsets = {"": 0}
    section = bytearray(1)
    last, last_offset = b"", 0
    backwards = sorted((name.encode() for name in names), key=lambda text: text[::-1])
    for text in reversed(backwards):
        if b"\0" in text:
            raise ValueError(f"a name cannot hold a NUL: {text!r}")
        if not last.endswith(text):
            last, last_offset = text, len(section)
            section += text + b"\0"
        offsets[text.decode()] = last_offset + len(last) - len(text)
    if len(section) > MAX_NAME:
        raise ValueError("the names are too long for BTF")
    return offsets, bytes(section)


def _record(node: _Node, ids: dict[int, int], texts: dict[str, int]) -> bytes:
    refs = [0 if ref is None else ids[id(ref)] for ref in node.refs]
    names = [texts[name] for name in node.names]
    numbers = node.numbers
    word = refs[0] if node.word is None else node.word
    parts: Iterable[tuple[int, ...]] = ()
    match node.kind:
        case Kind.STRUCT | Kind.UNION:
            parts = zip(names, refs, numbers, strict=True)
        case Kind.ENUM:
            parts = zip(names, numbers, strict=True)
        case Kind.ENUM64:
            low = [number & 0xFFFFFFFF for number in numbers]
            parts = zip(names, low, [number >> 32 for number in numbers], strict=True)
        case Kind.FUNC_PROTO:
            parts = zip(names, refs[1:], strict=True)
        case Kind.DATASEC:
            parts = zip(refs, numbers[::2], numbers[1::2], strict=True)
        case Kind.ARRAY:
            parts = [(*refs, *numbers)]
        case Kind.INT | Kind.VAR | Kind.DECL_TAG:
            parts = [(numbers[0] % (1 << 32),)]
    words = [texts[node.name], info_word(node.kind, node.count, node.flag), word]
    words += [number for part in parts for number in part]
    return struct.pack(f"<{len(words)}I", *words)
