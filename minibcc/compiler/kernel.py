"""What a text may name without declaring it: the target's types and the kernel's helpers.

Looks names up in the target's BTF, and knows the handful of typedefs that C for the kernel takes
for granted (u64, size_t, bool) where a target lacks them.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from minibcc.btf.layout import Kind
from minibcc.btf.types import Const, Enum, Func, FuncProto, Param, Ptr, Struct, Typedef
from minibcc.compiler import arithmetic as c
from minibcc.compiler.tree import Helper

if TYPE_CHECKING:
    from minibcc.btf.types import Type
    from minibcc.compiler.target import Target

_BASIC: dict[str, Type] = {
    "u8": c.UCHAR,
    "u16": c.USHORT,
    "u32": c.UINT,
    "u64": c.ULLONG,
    "s8": c.SCHAR,
    "s16": c.SHORT,
    "s32": c.INT,
    "s64": c.LLONG,
    "bool": c.BOOL,
    "size_t": c.ULONG,
    "ssize_t": c.LONG,
    "pid_t": c.INT,
    "uid_t": c.UINT,
    "gid_t": c.UINT,
    "dev_t": c.UINT,
    "loff_t": c.LLONG,
    "uintptr_t": c.ULONG,
    "intptr_t": c.LONG,
    "ptrdiff_t": c.LONG,
    "__uint128_t": c.UINT128,
    "u_int": c.UINT,
    "uint": c.UINT,
    "ulong": c.ULONG,
}
_BASIC |= {f"__{name}": _BASIC[name] for name in ("u8", "u16", "u32", "u64")}
_BASIC |= {f"__{name}": _BASIC[name] for name in ("s8", "s16", "s32", "s64")}
_BASIC |= {f"uint{n}_t": _BASIC[f"u{n}"] for n in (8, 16, 32, 64)}
_BASIC |= {f"int{n}_t": _BASIC[f"s{n}"] for n in (8, 16, 32, 64)}
_BASIC |= {f"__{e}{n}": _BASIC[f"u{n}"] for e in ("be", "le") for n in (16, 32, 64)}
_BASIC |= {"__wsum": c.UINT, "__sum16": c.USHORT}


class KernelNames:
    """Names that come from the target; each is looked up once."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._btf = target.btf
        self._typedefs: dict[str, Type | None] = {}
        self._structs: dict[tuple[str, bool], Struct | None] = {}
        self._enumerators: dict[str, tuple[Enum, int] | None] = {}

    @property
    def cpus(self) -> int:
        """How many processors the target has."""
        return self._target.cpus

    def is_typedef(self, name: str) -> bool:
        return self.typedef(name) is not None

    def typedef(self, name: str) -> Type | None:
        """The type that a typedef's name stands for."""
        if name not in self._typedefs:
            found = self._btf.find(Kind.TYPEDEF, name)
            if found is None and name in _BASIC:
                found = _basic(name)
            self._typedefs[name] = found
        return self._typedefs[name]

    def struct(self, name: str, union: bool) -> Struct | None:
        """A struct (or union) by its tag; for a name like ``tracepoint__sched__sched_switch`` the
        record of that tracepoint."""
        key = (name, union)
        if key not in self._structs:
            found = self._find_struct(name, union)
            if found is None and name.startswith("tracepoint__") and not union:
                category, _, event = name.removeprefix("tracepoint__").partition("__")
                found = self._target.tracepoint(category, event)
            self._structs[key] = found
        return self._structs[key]

    def _find_struct(self, name: str, union: bool) -> Struct | None:
        found = self._btf.find(Kind.UNION if union else Kind.STRUCT, name)
        return found if isinstance(found, Struct) else None

    def enum(self, name: str) -> Enum | None:
        found = self._btf.find(Kind.ENUM, name) or self._btf.find(Kind.ENUM64, name)
        return found if isinstance(found, Enum) else None

    def enumerator(self, name: str) -> tuple[Enum, int] | None:
        """An enumeration constant: its type and value."""
        if name not in self._enumerators:
            self._enumerators[name] = self._btf.find_enumerator(name)
        return self._enumerators[name]

    def function(self, name: str) -> Func | None:
        """A function of the kernel, with its prototype."""
        found = self._btf.find(Kind.FUNC, name)
        return found if isinstance(found, Func) else None

    def common_types(self) -> list[str]:
        """Names of types worth suggesting."""
        return list(_BASIC)

    def helper(self, name: str) -> Helper | None:
        """A helper, by the name that C calls it by (``bpf_ktime_get_ns``)."""
        from minibcc.abi.helpers import number_of, row

        if not name.startswith("bpf_"):
            return None
        number = number_of(name)
        if number is None:
            return None
        return Helper(name, number, self._prototype(row(number).prototype))

    def helper_names(self) -> list[str]:
        from minibcc.abi.helpers import helpers

        return [f"bpf_{row.name}" for row in helpers().values()]

    def _prototype(self, text: str) -> FuncProto:
        """A prototype without its name: ``void *(struct bpf_map *map, const void *key)``."""
        result, _, rest = text.partition("(")
        params: list[Param] = []
        variadic = False
        for part in rest.rstrip(")").split(","):
            part = part.strip()
            if part == "...":
                variadic = True
            elif part and part != "void":
                params.append(self._parameter(part))
        return FuncProto(self._parameter(result).type, tuple(params), variadic)

    def _parameter(self, text: str) -> Param:
        words = re.findall(r"\w+|\*", text)
        constant = "const" in words
        words = [word for word in words if word not in ("const", "volatile")]
        stars = words.count("*")
        words = [word for word in words if word != "*"]
        name = ""
        if words[0] in ("struct", "union", "enum"):
            base: Type | None = self.struct(words[1], words[0] == "union")
            if words[0] == "enum":
                base = self.enum(words[1]) or c.INT
            elif base is None:
                base = Struct(words[1], complete=False, union=words[0] == "union")
            name = words[2] if len(words) > 2 else ""
        else:
            known = [word for word in words if word in _WORDS]
            if known:
                base = _WORDS_TO_TYPE[" ".join(known)]
                name = words[len(known)] if len(words) > len(known) else ""
            else:
                base = self.typedef(words[0]) or c.ULLONG
                name = words[1] if len(words) > 1 else ""
        if constant and stars:
            base = Const(base)
        for _ in range(stars):
            base = Ptr(base)
        return Param(name, base)


_WORDS = {"void", "char", "short", "int", "long", "unsigned", "signed", "_Bool"}
_WORDS_TO_TYPE: dict[str, Type | None] = {
    "void": None,
    "char": c.CHAR,
    "unsigned char": c.UCHAR,
    "short": c.SHORT,
    "unsigned short": c.USHORT,
    "int": c.INT,
    "unsigned int": c.UINT,
    "unsigned": c.UINT,
    "long": c.LONG,
    "unsigned long": c.ULONG,
    "long long": c.LLONG,
    "unsigned long long": c.ULLONG,
}


@cache
def _basic(name: str) -> Typedef:
    return Typedef(name, _BASIC[name])
