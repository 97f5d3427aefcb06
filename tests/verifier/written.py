"""Programs with functions, as text.

`program` reads what `isa.text.assemble` does, and lines that give a function its BTF:

    @ static long each(u32 index, void *context)

A function begins there, and its name is a label. Types are the few that `TYPES` names, and
pointers to them. `MAPS` are the maps that such programs name, by the descriptors of `NAMES`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.btf.types import (
    Array,
    Const,
    Func,
    FuncProto,
    Int,
    Member,
    Param,
    Ptr,
    Struct,
    TypeTag,
    Volatile,
)
from minibcc.isa.text import assemble
from minibcc.kernel.verifier.contract import MapFacts
from tests.verifier import generate

if TYPE_CHECKING:
    from minibcc.btf.types import Type
    from minibcc.isa.instruction import Instruction

U32 = Int("unsigned int", 4, False)
U64 = Int("unsigned long long", 8, False)
LOCK = Struct("bpf_spin_lock", 4, (Member("val", U32, 0),))
TIMER = Struct("bpf_timer", 16, (Member("__opaque", Array(U64, 2), 0),))
DYNPTR = Struct("bpf_dynptr", 16, (Member("__opaque", Array(U64, 2), 0),))
PAIR = Struct("pair", 16, (Member("first", U64, 0), Member("second", U64, 64)))
LOCKED = Struct("locked", 16, (Member("lock", LOCK, 0), Member("a", U32, 32), Member("b", U64, 64)))
TIMED = Struct("timed", 24, (Member("n", U64, 0), Member("timer", TIMER, 64)))
TASK, GROUP = Struct("task_struct"), Struct("cgroup")
KEPT = Struct(
    "kept",
    40,
    (
        Member("n", U64, 0),
        Member("loose", Ptr(TypeTag("kptr_untrusted", TASK)), 64),
        Member("task", Ptr(TypeTag("kptr", TASK)), 128),
        Member("group", Ptr(TypeTag("kptr", GROUP)), 192),
        Member("other", Ptr(TypeTag("kptr", TASK)), 256),
    ),
)
FILE = Ptr(TypeTag("kptr_untrusted", Struct("file")))
FILED = Struct("filed", 16, (Member("n", U64, 0), Member("file", FILE, 64)))
GUARDED = Struct(
    "guarded", 16, (Member("lock", LOCK, 0), Member("task", Ptr(TypeTag("kptr", TASK)), 64))
)
USER = Struct("user_pointer", 8, (Member("text", Ptr(TypeTag("user", U64)), 0),))
VOLATILE = Struct("volatile_pointer", 8, (Member("file", Volatile(FILE), 0),))
CONSTANT = Struct("constant_pointer", 8, (Member("file", Const(FILE), 0),))
MANY = Struct("many_pointers", 96, (Member("files", Array(FILE, 12), 0),))
ROW = Struct("row_of_pointers", 88, (Member("files", Array(FILE, 11), 0),))
TYPES: dict[str, Type | None] = {
    "void": None,
    "int": Int("int", 4, True),
    "long": Int("long", 8, True),
    "u32": U32,
    "u64": U64,
    "struct pair": PAIR,
    "struct bpf_dynptr": DYNPTR,
    "struct __sk_buff": Struct("__sk_buff", complete=False),
    "struct pt_regs": Struct("pt_regs", complete=False),
    "struct task_struct": Struct("task_struct", complete=False),
    "struct unheard": Struct("unheard", complete=False),
}
MAPS = {
    **generate.MAPS,
    8: MapFacts(MapType.HASH, 4, 16, 8, value_type=LOCKED),
    9: MapFacts(MapType.ARRAY, 4, 24, 2, value_type=TIMED),
    10: MapFacts(MapType.ARRAY, 4, 16, 1, value_type=LOCKED),
    11: MapFacts(MapType.USER_RINGBUF, 0, 0, 4096),
    12: MapFacts(MapType.PERCPU_ARRAY, 4, 16, 2),
    13: MapFacts(MapType.LRU_HASH, 8, 8, 4),
    14: MapFacts(MapType.HASH, 4, 24, 8, value_type=TIMED),
    15: MapFacts(MapType.LPM_TRIE, 8, 8, 4, MapFlags.NO_PREALLOC),
    16: MapFacts(MapType.SOCKMAP, 4, 4, 4),
    17: MapFacts(MapType.SOCKHASH, 8, 8, 4),
    18: MapFacts(MapType.XSKMAP, 4, 4, 4),
    19: MapFacts(MapType.SK_STORAGE, 4, 16, 0, MapFlags.NO_PREALLOC, value_type=PAIR),
    20: MapFacts(MapType.REUSEPORT_SOCKARRAY, 4, 8, 4),
    21: MapFacts(MapType.TASK_STORAGE, 4, 16, 0, MapFlags.NO_PREALLOC, value_type=PAIR),
    22: MapFacts(MapType.CGRP_STORAGE, 4, 16, 0, MapFlags.NO_PREALLOC, value_type=PAIR),
    24: MapFacts(MapType.QUEUE, 0, 8, 4),
    25: MapFacts(MapType.DEVMAP, 4, 4, 4),
    26: MapFacts(MapType.CGROUP_ARRAY, 4, 4, 4),
    27: MapFacts(MapType.CGROUP_STORAGE, 8, 16, 0),
    28: MapFacts(MapType.ARRAY, 4, 40, 1, value_type=KEPT),
    29: MapFacts(MapType.HASH, 4, 40, 8, value_type=KEPT),
    30: MapFacts(MapType.ARRAY, 4, 16, 1, value_type=FILED),
    31: MapFacts(MapType.ARRAY, 4, 16, 1, value_type=GUARDED),
    32: MapFacts(MapType.ARRAY, 4, 8, 1, value_type=USER),
    33: MapFacts(MapType.ARRAY, 4, 8, 1, value_type=VOLATILE),
    34: MapFacts(MapType.ARRAY, 4, 8, 1, value_type=CONSTANT),
    35: MapFacts(MapType.ARRAY, 4, 96, 1, value_type=MANY),
    36: MapFacts(MapType.ARRAY, 4, 88, 1, value_type=ROW),
    23: MapFacts(MapType.INODE_STORAGE, 4, 16, 0, MapFlags.NO_PREALLOC, value_type=PAIR),
}
NAMES = {
    "hash": 1,
    "array": 2,
    "perf": 3,
    "ringbuf": 4,
    "tails": 5,
    "stacks": 6,
    "globals": 7,
    "locks": 8,
    "timers": 9,
    "lock": 10,
    "user": 11,
    "percpu": 12,
    "lru": 13,
    "timed": 14,
    "trie": 15,
    "sockets": 16,
    "sockhash": 17,
    "xsks": 18,
    "storage": 19,
    "reuseport": 20,
    "tasks": 21,
    "groups": 22,
    "inodes": 23,
    "queue": 24,
    "devices": 25,
    "cgroups": 26,
    "cgroup_storage": 27,
    "kept": 28,
    "keeps": 29,
    "filed": 30,
    "guarded": 31,
    "user_pointer": 32,
    "volatile_pointer": 33,
    "constant_pointer": 34,
    "many_pointers": 35,
    "row_of_pointers": 36,
}


def _type(text: str) -> Type | None:
    text = text.strip()
    if text.endswith("*"):
        return Ptr(_type(text[:-1]))
    return TYPES[text]


def _param(text: str) -> Param:
    found = re.fullmatch(r"\s*(.*?)(\w+)\s*", text)
    assert found is not None, text
    return Param(found[2], _type(found[1]))


def function(text: str) -> Func:
    """``static long each(u32 index, void *context)`` as a BTF function."""
    found = re.fullmatch(r"(static |)\s*(.*?)(\w+)\((.*)\)", text.strip())
    assert found is not None, text
    params = () if found[4] in ("", "void") else tuple(map(_param, found[4].split(",")))
    return Func(found[3], FuncProto(_type(found[2]), params), 0 if found[1] else 1)


def program(text: str) -> tuple[tuple[Instruction, ...], tuple[tuple[int, Func], ...]]:
    """The slots, and the functions with where they begin (the first one's too)."""
    functions: list[tuple[int, Func]] = []
    lines = []
    slot = 0
    for line in text.splitlines():
        words = line.split(";")[0].strip()
        if words.startswith("@"):
            found = function(words[1:])
            functions.append((slot, found))
            lines.append(f"{found.name}:")
            continue
        lines.append(line)
        if words and not words.startswith("#") and not re.fullmatch(r"[\w.]+:", words):
            slot += 2 if "(18)" in words or "= map[" in words else 1
    return tuple(assemble("\n".join(lines), NAMES)), tuple(functions)
