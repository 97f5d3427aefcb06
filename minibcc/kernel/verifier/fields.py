"""Parts of a map's values that only helpers may touch: spin locks and timers.

Which there are, the BTF of the map's values says. Loads, stores and helpers' memory keep off them;
the helpers that are for them are judged in `locks`. Mirrors ``btf_parse_fields`` of
kernel/bpf/btf.c and ``check_map_prog_compatibility`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING, NamedTuple

from minibcc.abi.bpf import MapType, ProgType
from minibcc.btf.types import Array, Ptr, Struct, TypeTag, size_of, strip
from minibcc.kernel.verifier.state import Refused, undecided

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minibcc.btf.types import Type
    from minibcc.kernel.verifier.contract import MapFacts

_DECIDED = ("bpf_spin_lock", "bpf_timer")
_SPECIAL = {
    *_DECIDED,
    "bpf_res_spin_lock",
    "bpf_wq",
    "bpf_task_work",
    "bpf_list_head",
    "bpf_list_node",
    "bpf_rb_root",
    "bpf_rb_node",
    "bpf_refcount",
}
_TRACING = (
    ProgType.KPROBE,
    ProgType.TRACEPOINT,
    ProgType.PERF_EVENT,
    ProgType.RAW_TRACEPOINT,
    ProgType.RAW_TRACEPOINT_WRITABLE,
)


_FOR_SLEEPERS = {
    *(MapType.HASH, MapType.LRU_HASH, MapType.ARRAY, MapType.PERCPU_HASH, MapType.PERCPU_ARRAY),
    *(MapType.LRU_PERCPU_HASH, MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS, MapType.RINGBUF),
    *(MapType.USER_RINGBUF, MapType.INODE_STORAGE, MapType.SK_STORAGE, MapType.TASK_STORAGE),
    *(MapType.CGRP_STORAGE, MapType.QUEUE, MapType.STACK, MapType.ARENA),
}


class Field(NamedTuple):
    """A part of a value: the structure's name ("kptr" for a tagged pointer), where, how long."""

    name: str
    offset: int
    size: int


def find(kind: Type | None, offset: int = 0) -> Iterator[Field]:
    """The fields of a type that lies `offset` bytes into the value."""
    stripped = strip(kind)
    if isinstance(stripped, Array):
        inner = tuple(find(stripped.of))
        if inner:
            size = size_of(stripped.of)
            for number in range(stripped.count):
                for field in inner:
                    yield field._replace(offset=offset + number * size + field.offset)
    elif isinstance(stripped, Ptr):
        if isinstance(stripped.to, TypeTag):
            yield Field("kptr", offset, 8)
    elif isinstance(stripped, Struct):
        if stripped.name in _SPECIAL:
            yield Field(stripped.name, offset, stripped.size)
            return
        for member in stripped.members:
            yield from find(member.type, offset + member.offset // 8)


def of_map(facts: MapFacts, known: dict[int, tuple[Field, ...]]) -> tuple[Field, ...]:
    """The fields of a map's values; `known` remembers them."""
    found = known.get(id(facts))
    if found is None:
        found = known[id(facts)] = tuple(find(facts.value_type))
    return found


def compatible(facts: MapFacts, prog_type: ProgType, sleeps: bool, slot: int) -> None:
    """Programs of some types may not use maps with such fields, those that sleep not all maps."""
    if sleeps and facts.type not in _FOR_SLEEPERS:
        message = "Sleepable programs can only use array, hash, ringbuf and local storage maps"
        raise Refused(EINVAL, "verify/sleep", message, slot=slot)
    names = {field.name for field in find(facts.value_type)}
    if not names <= set(_DECIDED):
        raise undecided("maps whose values hold kernel pointers, lists or trees")
    message = ""
    if "bpf_spin_lock" in names and prog_type == ProgType.SOCKET_FILTER:
        message = "socket filter progs cannot use bpf_spin_lock yet"
    elif names and prog_type in _TRACING:
        message = f"tracing progs cannot use {min(names)} yet"
    if message:
        raise Refused(EINVAL, "verify/map-field", message, slot=slot)
    if facts.inner is not None and any(find(facts.inner.value_type)):
        raise undecided("maps of maps whose values hold locks or timers")
