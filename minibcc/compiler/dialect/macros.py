"""BCC's table macros: a row per macro, what its arguments are and what map it declares.

A macro whose types need a declaration is one of ``bcc/helpers.h`` over these (BPF_STACK_TRACE).
Source: BCC's reference guide, section "Maps"; defaults are the guide's.
"""

from __future__ import annotations

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.records import Record


class TableMacro(Record):
    """`arguments` are the kinds of its arguments in order: name, key, value, size, flags, path,
    inner (the name of another table), type (the string of BPF_TABLE); `required` how many of them
    must be given. `key`, `value` and `size` are defaults (C type names; "" for none)."""

    type: MapType
    arguments: tuple[str, ...]
    required: int
    key: str = ""
    value: str = ""
    size: int = 10240
    flags: int = 0
    scope: str = "own"

    def wants_name(self, position: int) -> bool:
        """Whether argument `position` is a bare name."""
        kinds = self.arguments
        return position < len(kinds) and kinds[position] in ("name", "inner")


_NAME_KEY_VALUE_SIZE = ("name", "key", "value", "size")
_NAME_VALUE_SIZE = ("name", "value", "size")
_NAME_SIZE = ("name", "size")
_QUEUE = ("type", "name", "value", "size", "flags")
_TABLE = ("type", "key", "value", "name", "size")

TABLE_MACROS: dict[str, TableMacro] = {
    "BPF_TABLE": TableMacro(MapType.UNSPEC, _TABLE, 5),
    "BPF_F_TABLE": TableMacro(MapType.UNSPEC, (*_TABLE, "flags"), 6),
    "BPF_TABLE_PUBLIC": TableMacro(MapType.UNSPEC, _TABLE, 5, scope="public"),
    "BPF_TABLE_SHARED": TableMacro(MapType.UNSPEC, _TABLE, 5, scope="shared"),
    "BPF_TABLE_PINNED": TableMacro(MapType.UNSPEC, (*_TABLE, "path", "flags"), 6),
    "BPF_HASH": TableMacro(MapType.HASH, _NAME_KEY_VALUE_SIZE, 1, "u64", "u64"),
    "BPF_PERCPU_HASH": TableMacro(MapType.PERCPU_HASH, _NAME_KEY_VALUE_SIZE, 1, "u64", "u64"),
    "BPF_ARRAY": TableMacro(MapType.ARRAY, _NAME_VALUE_SIZE, 1, "int", "u64"),
    "BPF_PERCPU_ARRAY": TableMacro(MapType.PERCPU_ARRAY, _NAME_VALUE_SIZE, 1, "int", "u64"),
    "BPF_HISTOGRAM": TableMacro(
        MapType.HASH, ("name", "key", "size"), 1, "int", "u64", 64
    ),  # an array if the key is int
    "BPF_LPM_TRIE": TableMacro(
        MapType.LPM_TRIE,
        _NAME_KEY_VALUE_SIZE,
        1,
        "u64",
        "u64",
        flags=MapFlags.NO_PREALLOC,
    ),
    "BPF_PERF_OUTPUT": TableMacro(MapType.PERF_EVENT_ARRAY, ("name",), 1, "int", "u32", 0),
    "BPF_PERF_ARRAY": TableMacro(MapType.PERF_EVENT_ARRAY, _NAME_SIZE, 2, "int", "u32", 0),
    "BPF_RINGBUF_OUTPUT": TableMacro(MapType.RINGBUF, _NAME_SIZE, 2),
    "BPF_CGROUP_ARRAY": TableMacro(MapType.CGROUP_ARRAY, _NAME_SIZE, 2, "int", "u32"),
    "BPF_PROG_ARRAY": TableMacro(MapType.PROG_ARRAY, _NAME_SIZE, 2, "u32", "u32"),
    "BPF_DEVMAP": TableMacro(MapType.DEVMAP, _NAME_SIZE, 2, "int", "int"),
    "BPF_CPUMAP": TableMacro(MapType.CPUMAP, _NAME_SIZE, 2, "u32", "u32"),
    "BPF_XSKMAP": TableMacro(MapType.XSKMAP, ("name", "size", "path"), 2, "int", "int"),
    "BPF_ARRAY_OF_MAPS": TableMacro(
        MapType.ARRAY_OF_MAPS, ("name", "inner", "size"), 3, "int", "int"
    ),
    "BPF_HASH_OF_MAPS": TableMacro(
        MapType.HASH_OF_MAPS, ("name", "key", "inner", "size"), 2, "int", "int"
    ),
    "BPF_SK_STORAGE": TableMacro(
        MapType.SK_STORAGE, ("name", "value"), 2, "int", "", 0, MapFlags.NO_PREALLOC
    ),
    "BPF_INODE_STORAGE": TableMacro(
        MapType.INODE_STORAGE, ("name", "value"), 2, "int", "", 0, MapFlags.NO_PREALLOC
    ),
    "BPF_TASK_STORAGE": TableMacro(
        MapType.TASK_STORAGE, ("name", "value"), 2, "int", "", 0, MapFlags.NO_PREALLOC
    ),
    "BPF_CGROUP_STORAGE": TableMacro(
        MapType.CGROUP_STORAGE, ("name", "value"), 2, "struct bpf_cgroup_storage_key", "", 0
    ),
    "BPF_PERCPU_CGROUP_STORAGE": TableMacro(
        MapType.PERCPU_CGROUP_STORAGE,
        ("name", "value"),
        2,
        "struct bpf_cgroup_storage_key",
        "",
        0,
    ),
    "BPF_SOCKMAP": TableMacro(MapType.SOCKMAP, _NAME_SIZE, 2, "u32", "u32"),
    "BPF_SOCKHASH": TableMacro(MapType.SOCKHASH, ("name", "key", "size"), 1, "u32", "u32"),
    "BPF_QUEUE": TableMacro(MapType.QUEUE, ("name", "value", "size", "flags"), 3, "", ""),
    "BPF_QUEUESTACK": TableMacro(MapType.UNSPEC, _QUEUE, 5),
    "BPF_QUEUESTACK_PUBLIC": TableMacro(MapType.UNSPEC, _QUEUE, 5, scope="public"),
    "BPF_QUEUESTACK_SHARED": TableMacro(MapType.UNSPEC, _QUEUE, 5, scope="shared"),
    "BPF_QUEUESTACK_PINNED": TableMacro(MapType.UNSPEC, (*_QUEUE, "path"), 6),
    "BPF_STACK": TableMacro(MapType.STACK, ("name", "value", "size", "flags"), 3, "", ""),
}

# The strings of BPF_TABLE's first argument.
TABLE_TYPES: dict[str, MapType] = {
    "hash": MapType.HASH,
    "array": MapType.ARRAY,
    "percpu_hash": MapType.PERCPU_HASH,
    "percpu_array": MapType.PERCPU_ARRAY,
    "lru_hash": MapType.LRU_HASH,
    "lru_percpu_hash": MapType.LRU_PERCPU_HASH,
    "lpm_trie": MapType.LPM_TRIE,
    "histogram": MapType.HASH,
    "histgram": MapType.HASH,
    "prog": MapType.PROG_ARRAY,
    "perf_output": MapType.PERF_EVENT_ARRAY,
    "perf_array": MapType.PERF_EVENT_ARRAY,
    "ringbuf": MapType.RINGBUF,
    "queue": MapType.QUEUE,
    "stack": MapType.STACK,
    "cgroup_array": MapType.CGROUP_ARRAY,
    "stacktrace": MapType.STACK_TRACE,
    "devmap": MapType.DEVMAP,
    "cpumap": MapType.CPUMAP,
    "xskmap": MapType.XSKMAP,
    "hash_of_maps": MapType.HASH_OF_MAPS,
    "array_of_maps": MapType.ARRAY_OF_MAPS,
    "sk_storage": MapType.SK_STORAGE,
    "inode_storage": MapType.INODE_STORAGE,
    "task_storage": MapType.TASK_STORAGE,
    "sockmap": MapType.SOCKMAP,
    "sockhash": MapType.SOCKHASH,
    "cgroup_storage": MapType.CGROUP_STORAGE,
    "percpu_cgroup_storage": MapType.PERCPU_CGROUP_STORAGE,
    "extern": MapType.UNSPEC,
}
