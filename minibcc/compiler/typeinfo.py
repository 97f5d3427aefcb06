"""The BTF of an object: its maps' types, its functions, and the strings of its lines.

Only what user space and the kernel ask for is written: keys, values, submitted records, and the
prototypes of functions. A struct that is merely pointed to becomes a declaration, else one pointer
into the kernel's structures would pull in ten thousand types.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from minibcc.btf.types import (
    Array,
    Const,
    Func,
    FuncProto,
    Int,
    Param,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Volatile,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minibcc.btf.encode import Encoded
    from minibcc.btf.types import Type
    from minibcc.compiler.tree import Function, Map

_INT = Int("int", 4, signed=True)
_HEADER = struct.Struct("<HBBIIIII")


class TypeInfo:
    """Collects functions and strings, then is `encode`d once; ids and offsets are known then."""

    def __init__(self, maps: Iterable[Map]) -> None:
        self._roots = [
            type for map in maps for type in (map.key, map.value, map.output) if type is not None
        ]
        self._functions: dict[tuple[str, bool], Func] = {}
        self._strings: dict[str, int] = {}
        self._encoded: Encoded | None = None
        self.data = b""

    def add_function(self, function: Function, *, main: bool) -> None:
        """A program's own function keeps its linkage; one linked in behind it is static, so that
        the verifier follows its calls instead of judging it alone."""
        key = (function.name, main)
        if key not in self._functions:
            parameters = tuple(
                Param(variable.name or f"arg{number}", variable.type)
                for number, variable in enumerate(function.parameters)
            )
            proto = FuncProto(function.type.result, parameters)
            linkage = int(main and function.linkage == "global")
            self._functions[key] = Func(function.name, proto, linkage)

    def add_string(self, text: str) -> None:
        self._strings.setdefault(text, 0)

    def encode(self) -> None:
        from minibcc.btf.encode import encode

        protos = [func.proto for func in self._functions.values()]
        passed = [type for p in protos for type in (p.result, *(one.type for one in p.params))]
        whole = embedded([*self._roots, *passed])
        roots = [*self._roots, *self._functions.values()] or [_INT]  # no kernel takes an empty BTF
        self._encoded = encode(roots, lambda type: id(type) not in whole)
        self.data = with_strings(self._encoded.data, self._strings)

    def function(self, name: str, *, main: bool) -> int:
        """The id of a function's type."""
        return self.id_of(self._functions[name, main])

    def id_of(self, type: Type | None) -> int:
        assert self._encoded is not None
        return self._encoded.id_of(type)

    def string(self, text: str) -> int:
        """A string's offset."""
        return self._strings[text]


def embedded(roots: Iterable[Type | None]) -> set[int]:
    """The structs (by identity) that lie inside of the roots, not behind a pointer."""
    found: set[int] = set()
    stack: list[Type | None] = list(roots)
    while stack:
        match stack.pop():
            case Struct() as type if id(type) not in found:
                found.add(id(type))
                stack += [member.type for member in type.members]
            case Array(of, _) | Const(of) | Volatile(of) | Restrict(of) | TypeTag(_, of):
                stack.append(of)
            case Typedef() as type:
                stack.append(type.of)
    return found


def with_strings(data: bytes, strings: dict[str, int]) -> bytes:
    """The same BTF with more strings at its end; `strings` learns their offsets."""
    magic, version, flags, head, type_off, type_len, str_off, size = _HEADER.unpack_from(data)
    more = bytearray()
    for text in strings:
        strings[text] = size + len(more) if text else 0
        more += text.encode() + b"\0"
    header = (magic, version, flags, head, type_off, type_len, str_off, size + len(more))
    return _HEADER.pack(*header) + data[_HEADER.size :] + bytes(more)
