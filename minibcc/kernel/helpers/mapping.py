"""Helpers on maps: what is behind ``map.lookup`` and its like.

Mirrors the first helpers of kernel/bpf/helpers.c.
"""

from __future__ import annotations

from errno import E2BIG, EINVAL, ENOENT
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.events import PerfEvent
    from minibcc.kernel.vm.execution import Run

INDEX_MASK = 0xFFFF_FFFF
"""``BPF_F_INDEX_MASK``; all of it is the processor that the program runs on."""
CURRENT_CPU = INDEX_MASK


@helper("map_lookup_elem")
def map_lookup_elem(run: Run, map: int, key: int, r3: int, r4: int, r5: int) -> int:
    target = run.kernel.map_at[map]
    address: int = target.lookup(bytes(run.memory.view(key, target.key_size)), run.cpu)
    return address


@helper("map_update_elem")
def map_update_elem(run: Run, map: int, key: int, value: int, flags: int, r5: int) -> int:
    target = run.kernel.map_at[map]
    view = run.memory.view
    error: int = target.update(
        bytes(view(key, target.key_size)), bytes(view(value, target.value_size)), flags, run.cpu
    )
    return error


@helper("map_delete_elem")
def map_delete_elem(run: Run, map: int, key: int, r3: int, r4: int, r5: int) -> int:
    target = run.kernel.map_at[map]
    error: int = target.delete(bytes(run.memory.view(key, target.key_size)))
    return error


@helper("map_lookup_percpu_elem")
def map_lookup_percpu_elem(run: Run, map: int, key: int, cpu: int, r4: int, r5: int) -> int:
    target = run.kernel.map_at[map]
    cpu &= 0xFFFF_FFFF
    if cpu >= target.cpus:
        return 0
    address: int = target.lookup(bytes(run.memory.view(key, target.key_size)), cpu)
    return address


@helper("map_push_elem")
def map_push_elem(run: Run, map: int, value: int, flags: int, r4: int, r5: int) -> int:
    target = run.kernel.map_at[map]
    error: int = target.push(bytes(run.memory.view(value, target.value_size)), flags)
    return error


@helper("map_pop_elem")
def map_pop_elem(run: Run, map: int, value: int, r3: int, r4: int, r5: int) -> int:
    target = run.kernel.map_at[map]
    error: int
    error, data = target.pop()
    run.memory.view(value, target.value_size)[:] = data
    return error


@helper("map_peek_elem")
def map_peek_elem(run: Run, map: int, value: int, r3: int, r4: int, r5: int) -> int:
    target = run.kernel.map_at[map]
    view = run.memory.view(value, target.value_size)
    error: int
    error, data = target.peek(bytes(view))
    view[:] = data
    return error


@helper("for_each_map_elem")
def for_each_map_elem(run: Run, map: int, function: int, context: int, flags: int, r5: int) -> int:
    """Calls ``function(map, key, value, context)`` for each element; how many calls were made."""
    if flags or run.call is None:
        return -EINVAL
    target = run.kernel.map_at[map]
    key_at = run.memory.allocate(target.key_size)
    calls = 0
    try:
        found = target.element(0, run.cpu)
        while found is not None:
            place, key, value = found
            run.memory.view(key_at, target.key_size)[:] = key
            calls += 1
            if run.call(function, map, key_at, value, context):
                break
            found = target.element(place + 1, run.cpu)
    finally:
        run.memory.free(key_at)
    return calls


@helper("perf_event_read")
def perf_event_read(run: Run, map: int, flags: int, r3: int, r4: int, r5: int) -> int:
    found = counting_event(run, map, flags)
    return found if isinstance(found, int) else found.count


def counting_event(run: Run, map: int, flags: int) -> PerfEvent | int:
    """The event that `flags` name, or a negative errno."""
    if flags & ~INDEX_MASK:
        return -EINVAL
    index = run.cpu if flags == CURRENT_CPU else flags
    target = run.kernel.map_at[map]
    if index >= target.max_entries:
        return -E2BIG
    return target.event_at(index) or -ENOENT


@helper("spin_lock", "spin_unlock")
def spin_lock(run: Run, lock: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Programs run one after the other: a lock is always free."""
    return 0
