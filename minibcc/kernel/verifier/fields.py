"""Parts of a map's values that are more than bytes: spin locks, timers, pointers of the kernel's.

Which there are, the BTF of the map's values says. Loads, stores and helpers' memory keep off them
(`locks`), but for kernel pointers, which have rules of their own (`kptrs`). Mirrors
``btf_parse_fields`` of kernel/bpf/btf.c and ``check_map_prog_compatibility`` of
kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING, NamedTuple

from minibcc.abi.bpf import MapType, ProgType
from minibcc.btf.types import Array, Ptr, Struct, TypeTag, Volatile, size_of, strip
from minibcc.kernel.verifier.state import Refused, undecided

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minibcc.btf.types import Type
    from minibcc.kernel.verifier.contract import MapFacts

KPTR, UNTRUSTED_KPTR = "kptr", "kptr_untrusted"
_TAGS = {KPTR: "kptr", UNTRUSTED_KPTR: "kptr", "percpu_kptr": "percpu_kptr", "uptr": "uptr"}
"""Tags of pointers that the kernel knows, and what its messages call such a pointer."""
_LOCKS = ("bpf_spin_lock", "bpf_timer")
_DECIDED = {*_LOCKS, KPTR}
_SPECIAL = {
    *_LOCKS,
    "bpf_res_spin_lock",
    "bpf_wq",
    "bpf_task_work",
    "bpf_list_head",
    "bpf_list_node",
    "bpf_rb_root",
    "bpf_rb_node",
    "bpf_refcount",
}
_MOST = 11
"""How many fields a value may have (``BTF_FIELDS_MAX``)."""
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
    """A part of a value: the structure's name (for a pointer the kernel's word), where, how long;
    of a pointer its tag, and to what."""

    name: str
    offset: int
    size: int
    tag: str = ""
    target: Struct | None = None


def find(kind: Type | None) -> tuple[Field, ...]:
    """The fields of a value of that type: none if it is no structure, or if one of them is not as
    it must be."""
    value = strip(kind)
    if not isinstance(value, Struct) or value.union:
        return ()
    try:
        found = tuple(_inside(value, 0))
    except _Malformed:
        return ()
    return found if len(found) <= _MOST else ()


class _Malformed(Exception):
    """A field that makes Linux see none of the fields."""


def _inside(struct: Struct, start: int) -> Iterator[Field]:
    for member in struct.members:
        yield from _of(member.type, start + member.offset // 8)


def _of(kind: Type | None, offset: int) -> Iterator[Field]:
    """The fields of a member's type, where it lies; behind typedefs and in unions Linux sees
    none."""
    match kind:
        case Array(of, count):
            inner = tuple(_of(of, 0))
            for number in range(count if inner else 0):
                start = offset + number * size_of(of)
                yield from (field._replace(offset=start + field.offset) for field in inner)
        case Ptr(TypeTag(tag, to)) | Volatile(Ptr(TypeTag(tag, to))) if tag in _TAGS:
            target = strip(to)
            if isinstance(to, TypeTag) or not isinstance(target, Struct):
                raise _Malformed
            if target.union or not target.complete:
                raise _Malformed
            yield Field(_TAGS[tag], offset, 8, tag, target)
        case Struct() if kind.name in _SPECIAL:
            yield Field(kind.name, offset, kind.size)
        case Struct() if not kind.union:
            yield from _inside(kind, offset)


def of_map(facts: MapFacts, known: dict[int, tuple[Field, ...]]) -> tuple[Field, ...]:
    """The fields of a map's values; `known` remembers them."""
    found = known.get(id(facts))
    if found is None:
        found = known[id(facts)] = find(facts.value_type)
    return found


def compatible(facts: MapFacts, prog_type: ProgType, sleeps: bool, slot: int) -> None:
    """Programs of some types may not use maps with such fields, those that sleep not all maps."""
    if sleeps and facts.type not in _FOR_SLEEPERS:
        message = "Sleepable programs can only use array, hash, ringbuf and local storage maps"
        raise Refused(EINVAL, "verify/sleep", message, slot=slot)
    names = {field.name for field in find(facts.value_type)}
    if not names <= _DECIDED:
        raise undecided(f"maps whose values hold {min(names - _DECIDED)}")
    message = ""
    if "bpf_spin_lock" in names and prog_type == ProgType.SOCKET_FILTER:
        message = "socket filter progs cannot use bpf_spin_lock yet"
    elif (barred := names & set(_LOCKS)) and prog_type in _TRACING:
        message = f"tracing progs cannot use {min(barred)} yet"
    if message:
        raise Refused(EINVAL, "verify/map-field", message, slot=slot)
    if facts.inner is not None:
        inner = {field.name for field in find(facts.inner.value_type)} - {KPTR}
        if inner:
            raise undecided(f"maps of maps whose values hold {min(inner)}")
