"""The simulated kernel's BTF, minibcc/machine/data/linux-6.18.btf.

Made from a real kernel's BTF, /sys/kernel/btf/vmlinux (layouts are facts), reduced as
kernel/reduction.toml says. The file is a plain BTF that any reader takes, with its name index
behind the string section. Run it on a machine that runs the kernel version of the file's name; the
result depends on that kernel's BTF and on the files in kernel/ alone.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from minibcc.btf.decode import Btf
from minibcc.btf.encode import encode
from minibcc.btf.layout import Kind
from minibcc.btf.types import Enum, Struct, Type

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
    whole = [*_structs(btf, rules), *_tracepoints(btf), *_enums(btf, rules)]
    kept = _reachable(whole)
    roots = [*whole, *_functions(btf, rules)]
    data = encode(roots, lambda struct: bool(struct.name) and id(struct) not in kept).data
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


def _matcher(patterns: list[str]):
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
