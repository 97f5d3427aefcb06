"""Dynamic pointers: a place, a length and a kind in 16 bytes of the program's stack.

Programs cannot look into one; the verifier sees to it that only helpers do. Mirrors the
``bpf_dynptr_*`` helpers of kernel/bpf/helpers.c and kernel/bpf/ringbuf.c.
"""

from __future__ import annotations

from errno import E2BIG, EAGAIN, EBUSY, EINVAL, ENODATA
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper
from minibcc.kernel.maps.ringbuf import FORCE_WAKEUP, NO_WAKEUP, RingBuffer

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

MASK32 = 0xFFFF_FFFF
POINTER_SIZE = 16
MAX_SIZE = (1 << 24) - 1


def _set(run: Run, pointer: int, data: int, size: int) -> None:
    store = run.memory.store
    store(pointer, 8, data)
    store(pointer + 8, 8, size)


def _get(run: Run, pointer: int) -> tuple[int, int]:
    """Address (0: no pointer) and size."""
    return run.memory.load(pointer, 8), run.memory.load(pointer + 8, 4)


@helper("dynptr_from_mem")
def dynptr_from_mem(run: Run, data: int, size: int, flags: int, pointer: int, r5: int) -> int:
    size &= MASK32
    if flags or size > MAX_SIZE:
        _set(run, pointer, 0, 0)
        return -EINVAL if flags else -E2BIG
    _set(run, pointer, data, size)
    return 0


def _place(run: Run, pointer: int, offset: int, size: int) -> int:
    """The address of some bytes, or a negative errno."""
    data, length = _get(run, pointer)
    if not data:
        return -EINVAL
    if offset + size > length:
        return -E2BIG
    return data + offset


@helper("dynptr_read")
def dynptr_read(run: Run, target: int, size: int, source: int, offset: int, flags: int) -> int:
    size, offset = size & MASK32, offset & MASK32
    place = -EINVAL if flags else _place(run, source, offset, size)
    if place < 0:
        return place
    run.memory.view(target, size)[:] = bytes(run.memory.view(place, size))
    return 0


@helper("dynptr_write")
def dynptr_write(run: Run, target: int, offset: int, source: int, size: int, flags: int) -> int:
    size, offset = size & MASK32, offset & MASK32
    place = _place(run, target, offset, size)
    if place >= 0 and flags:
        place = -EINVAL
    if place < 0:
        return place
    run.memory.view(place, size)[:] = bytes(run.memory.view(source, size))
    return 0


@helper("dynptr_data")
def dynptr_data(run: Run, pointer: int, offset: int, size: int, r4: int, r5: int) -> int:
    """The address of a slice, 0 if it is not all inside."""
    return max(0, _place(run, pointer, offset & MASK32, size & MASK32))


MAX_SAMPLES = 128 * 1024


@helper("user_ringbuf_drain")
def user_ringbuf_drain(run: Run, map: int, function: int, context: int, flags: int, r5: int) -> int:
    """Calls ``function(dynptr, context)`` for each record that user space gave, until it answers
    1; how many there were."""
    ring: RingBuffer = run.kernel.map_at[map]
    if flags & ~(NO_WAKEUP | FORCE_WAKEUP):
        return -EINVAL
    if ring.draining:
        return -EBUSY
    assert run.call is not None
    pointer = run.memory.allocate(POINTER_SIZE)
    ring.draining = True
    taken = used = 0
    error = 0
    try:
        while taken < MAX_SAMPLES:
            record, size = ring.given()
            if record < 0:
                if record != -EAGAIN:
                    error = 0 if record == -ENODATA else record
                    break
                ring.release_given(size)
                taken += 1
                continue
            _set(run, pointer, record, size)
            stop = run.call(function, pointer, context)
            ring.release_given(size)
            taken += 1
            used += 1
            if stop:
                break
    finally:
        ring.draining = False
        run.memory.free(pointer)
    if flags & FORCE_WAKEUP or (taken and not flags & NO_WAKEUP):
        ring.wake()
    return error or used


@helper("ringbuf_reserve_dynptr")
def ringbuf_reserve_dynptr(run: Run, map: int, size: int, flags: int, pointer: int, r5: int) -> int:
    ring = run.kernel.map_at[map]
    size &= MASK32
    record = 0 if flags or size > MAX_SIZE else ring.reserve(size)
    if not record:
        _set(run, pointer, 0, 0)
        return -E2BIG if size > MAX_SIZE and not flags else -EINVAL
    if run.references is None:
        run.references = {}
    run.references[record] = ring
    _set(run, pointer, record, size)
    return 0


def _finish(run: Run, pointer: int, flags: int, *, discard: bool) -> int:
    record, _ = _get(run, pointer)
    if record:
        ring: RingBuffer = run.references.pop(record)
        ring.commit(record, flags, discard=discard)
        _set(run, pointer, 0, 0)
    return 0


@helper("ringbuf_submit_dynptr")
def ringbuf_submit_dynptr(run: Run, pointer: int, flags: int, r3: int, r4: int, r5: int) -> int:
    return _finish(run, pointer, flags, discard=False)


@helper("ringbuf_discard_dynptr")
def ringbuf_discard_dynptr(run: Run, pointer: int, flags: int, r3: int, r4: int, r5: int) -> int:
    return _finish(run, pointer, flags, discard=True)
