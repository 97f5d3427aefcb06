"""The simulated kernel's BTF, minibcc/machine/data/linux-6.18.btf.

Made from a real kernel's BTF, /sys/kernel/btf/vmlinux (layouts are facts), reduced as
kernel/reduction.toml says, with the declarations of kernel/additions.c for what that kernel lacks,
and a function for each system call of minibcc/btf/data/syscalls.txt. The file is a plain BTF that
any reader takes, with its name index behind the string section. Run it where a kernel of the
version in the file's name runs; the result depends on its BTF and on those files alone.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

from minibcc.btf.decode import Btf
from minibcc.btf.encode import encode
from minibcc.btf.events import syscalls
from minibcc.btf.formats import named_type
from minibcc.btf.layout import Kind
from minibcc.btf.types import (
    Const,
    DeclTag,
    Enum,
    Func,
    FuncProto,
    Int,
    Param,
    Ptr,
    Struct,
    Type,
    Typedef,
)
from tests.build.declarations import declarations

LIVE = Path("/sys/kernel/btf/vmlinux")
HERE = Path(__file__).parent / "kernel"
BLOB = Path(__file__).parents[2] / "minibcc/machine/data/linux-6.18.btf"
TRACEPOINTS = ("trace_event_raw_", "btf_trace_", "syscall_trace_")


def build() -> None:
    BLOB.parent.mkdir(exist_ok=True)
    BLOB.write_bytes(reduced(LIVE.read_bytes()))
    print(f"{BLOB.name}: {BLOB.stat().st_size} bytes")


def reduced(live: bytes) -> bytes:
    """The reduction of a kernel's BTF, with its index behind it."""
    btf = Btf(live)
    rules = tomllib.loads((HERE / "reduction.toml").read_text())
    added = declarations((HERE / "additions.c").read_text(), btf, "additions.c")
    whole = [*_structs(btf, rules), *_tracepoints(btf), *_enums(btf, rules)]
    whole += [
        type
        for call in syscalls().values()
        for written, _ in call.params
        if (type := named_type(btf, written)) is not None
    ]
    whole += [type for type in added if isinstance(type, Struct | Enum | Typedef)]
    kept = _reachable(whole)
    functions = [*_functions(btf, rules), *added, *_syscalls(btf)]
    functions.sort(key=lambda type: (isinstance(type, DeclTag), getattr(type, "name", "")))
    data = encode([*whole, *functions], lambda s: bool(s.name) and id(s) not in kept).data
    return data + bytes(-len(data) % 4) + Btf(data).index


def _structs(btf: Btf, rules: dict[str, list[str]]) -> list[Type]:
    """What the rules name, where this kernel has it."""
    found = []
    for name in rules["structs"]:
        found += [btf.type(id) for id in btf.find_all(Kind.STRUCT, name)]
    return [type for type in found if type is not None]


def _tracepoints(btf: Btf) -> list[Type]:
    """The records and the prototypes of all tracepoints."""
    return [
        type
        for kind in (Kind.STRUCT, Kind.TYPEDEF)
        for type_id, name in btf.named(kind)
        if name.startswith(TRACEPOINTS) and (type := btf.type(type_id)) is not None
    ]


def _enums(btf: Btf, rules: dict[str, list[str]]) -> list[Type]:
    drop = _matcher(rules["drop_enumerators"])
    found: list[Type] = []
    for type_id, kind, *_ in btf.raw.walk():
        if kind in (Kind.ENUM, Kind.ENUM64):
            enum = btf.type(type_id)
            assert isinstance(enum, Enum)
            if enum.values and not drop(next(iter(enum.values))):
                found.append(enum)
    return found


def _functions(btf: Btf, rules: dict[str, list[str]]) -> list[Type]:
    """Functions that may be probed, and the tags of those that programs may call."""
    drop, keep = _matcher(rules["drop_functions"]), _matcher(rules["keep_functions"])
    tags = [btf.type(type_id) for type_id, _ in btf.named(Kind.DECL_TAG)]
    tagged = {id(tag.of) for tag in tags if tag is not None}
    found = []
    for type_id, name in btf.named(Kind.FUNC):
        type = btf.type(type_id)
        if type is not None and (keep(name) or id(type) in tagged or not drop(name)):
            found.append(type)
    return [*found, *[tag for tag in tags if tag is not None]]


def _syscalls(btf: Btf) -> list[Type]:
    """``__x64_sys_*`` of system calls whose function the kernel's BTF lacks: those without
    parameters share their code with another one there."""
    registers = btf.find(Kind.STRUCT, "pt_regs")
    result = btf.find(Kind.INT, "long int")
    assert isinstance(registers, Struct) and isinstance(result, Int)
    proto = FuncProto(result, (Param("regs", Ptr(Const(registers))),))
    names = [f"__x64_sys_{name}" for name in syscalls()]
    return [Func(name, proto) for name in names if btf.find_id(Kind.FUNC, name) is None]


def _matcher(patterns: list[str]) -> Callable[[str], object]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns)).match


def _reachable(roots: list[Type]) -> set[int]:
    """id() of every struct that the roots lead to."""
    structs = set()
    seen = set()
    stack: list[object] = list(roots)
    while stack:
        item = stack.pop()
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Struct):
            structs.add(id(item))
            stack += [member.type for member in item.members]
            continue
        for name in ("to", "of", "proto", "type", "result"):
            stack.append(getattr(item, name, None))
        stack += [param.type for param in getattr(item, "params", ())]
    return structs
