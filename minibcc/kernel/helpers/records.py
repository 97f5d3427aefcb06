"""Helpers of the ring buffer. Mirrors the helpers of kernel/bpf/ringbuf.c."""

from __future__ import annotations

from errno import EAGAIN, EINVAL
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper
from minibcc.kernel.maps.ringbuf import FORCE_WAKEUP, NO_WAKEUP, RingBuffer, ring_of

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

_FLAGS = NO_WAKEUP | FORCE_WAKEUP


def _ring(run: Run, record: int) -> RingBuffer:
    """The buffer that a record lies in."""
    ring: RingBuffer = run.kernel.map_at[ring_of(run.memory, record)]
    return ring


@helper("ringbuf_output")
def ringbuf_output(run: Run, map: int, data: int, size: int, flags: int, r5: int) -> int:
    ring = run.kernel.map_at[map]
    if flags & ~_FLAGS:
        return -EINVAL
    record = ring.reserve(size)
    if not record:
        return -EAGAIN
    if size:
        run.memory.view(record, size)[:] = run.memory.view(data, size)
    ring.commit(record, flags, discard=False)
    return 0


@helper("ringbuf_reserve")
def ringbuf_reserve(run: Run, map: int, size: int, flags: int, r4: int, r5: int) -> int:
    ring = run.kernel.map_at[map]
    if flags:
        return 0
    record: int = ring.reserve(size)
    return record


@helper("ringbuf_submit")
def ringbuf_submit(run: Run, record: int, flags: int, r3: int, r4: int, r5: int) -> int:
    _ring(run, record).commit(record, flags, discard=False)
    return 0


@helper("ringbuf_discard")
def ringbuf_discard(run: Run, record: int, flags: int, r3: int, r4: int, r5: int) -> int:
    _ring(run, record).commit(record, flags, discard=True)
    return 0


@helper("ringbuf_query")
def ringbuf_query(run: Run, map: int, flags: int, r3: int, r4: int, r5: int) -> int:
    answer: int = run.kernel.map_at[map].query(flags)
    return answer
