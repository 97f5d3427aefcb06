"""Types in C's words, as bpftool prints them above a function: ``int hello_world(void * ctx)``.

Mirrors: btf_dumper_type_only of tools/bpf/bpftool/btf_dumper.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.btf.types import (
    Array,
    Const,
    Enum,
    FuncProto,
    Ptr,
    Restrict,
    Struct,
    TypeTag,
    Volatile,
)

if TYPE_CHECKING:
    from minibcc.btf.types import Func, Type


def prototype(function: Func) -> str:
    """A function's head, without a colon."""
    proto = function.proto
    params = [
        "..." if param.type is None and not param.name else words(param.type) + param.name
        for param in proto.params
    ]
    inside = ", ".join(params) if params else "void"
    return f"{words(proto.result)}{function.name}({inside})"


def words(type: Type | None) -> str:
    """A type with a blank behind it, for a name to follow."""
    match type:
        case None:
            return "void "
        case Ptr(to):
            return words(to) + "* "
        case Const(of):
            return "const " + words(of)
        case Volatile(of):
            return "volatile " + words(of)
        case Restrict(of):
            return "restrict " + words(of)
        case TypeTag(_, of):
            return words(of)
        case Array(of, count):
            return f"{words(of)}[{count}] "
        case Struct():
            return f"{'union' if type.union else 'struct'} {type.name} "
        case Enum():
            return f"enum {type.name} "
        case FuncProto():
            inside = ", ".join(words(param.type).strip() for param in type.params)
            return f"{words(type.result)}(*)({inside}) "
    return f"{type.name} "
