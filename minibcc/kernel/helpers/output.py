"""Helpers that send records to user space through perf buffers.

Mirrors ``bpf_perf_event_output`` of kernel/trace/bpf_trace.c and its like for packets.
"""

from __future__ import annotations

import struct
from errno import E2BIG, EFAULT, EINVAL, ENOENT, EOPNOTSUPP
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.copying import read_kernel
from minibcc.kernel.helpers.mapping import CURRENT_CPU, INDEX_MASK, counting_event
from minibcc.kernel.helpers.registry import helper
from minibcc.machine.memory import BadAddress

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

CONTEXT_LENGTH_MASK = 0xFFFFF << 32
"""``BPF_F_CTXLEN_MASK``: bytes of the packet to append."""


def _send(run: Run, map: int, flags: int, data: bytes) -> int:
    index = flags & INDEX_MASK
    if index == CURRENT_CPU:
        index = run.cpu
    target = run.kernel.map_at[map]
    if index >= target.max_entries:
        return -E2BIG
    event = target.event_at(index)
    if event is None:
        return -ENOENT
    if not event.is_output:
        return -EINVAL
    if event.cpu != run.cpu:
        return -EOPNOTSUPP
    result: int = event.output(data)
    return result


@helper("perf_event_output")
def perf_event_output(run: Run, context: int, map: int, flags: int, data: int, size: int) -> int:
    appended = b""
    packet = run.kernel.packets.get(run.context)
    if packet is None:
        if flags & ~INDEX_MASK:
            return -EINVAL
    else:
        if flags & ~(INDEX_MASK | CONTEXT_LENGTH_MASK):
            return -EINVAL
        length = (flags & CONTEXT_LENGTH_MASK) >> 32
        if length > packet.length:
            return -EFAULT
        appended = packet.bytes(0, length)
    return _send(run, map, flags, bytes(run.memory.view(data, size)) + appended)


def _with_packet(
    run: Run, structure: str, context: int, map: int, flags: int, data: int, size: int
) -> int:
    """For a program that traces a function with a packet: some of its bytes follow the data."""
    if flags & ~(INDEX_MASK | CONTEXT_LENGTH_MASK):
        return -EINVAL
    objects = run.kernel.machine.objects
    length = (flags & CONTEXT_LENGTH_MASK) >> 32

    def field(name: str, size: int) -> int:
        place = context + objects.offset(structure, name)
        return int.from_bytes(read_kernel(run, place, size), "little")

    try:
        start = field("data", 8)
        whole = field("len", 4) if structure == "sk_buff" else field("data_end", 8) - start
        if length > whole:
            return -EFAULT
        appended = read_kernel(run, start, length) if length else b""
    except BadAddress:
        return -EFAULT
    return _send(run, map, flags, bytes(run.memory.view(data, size)) + appended)


@helper("skb_output")
def skb_output(run: Run, packet: int, map: int, flags: int, data: int, size: int) -> int:
    return _with_packet(run, "sk_buff", packet, map, flags, data, size)


@helper("xdp_output")
def xdp_output(run: Run, packet: int, map: int, flags: int, data: int, size: int) -> int:
    return _with_packet(run, "xdp_buff", packet, map, flags, data, size)


@helper("perf_event_read_value")
def perf_event_read_value(run: Run, map: int, flags: int, buffer: int, size: int, r5: int) -> int:
    view = run.memory.view(buffer, size & INDEX_MASK)
    found = counting_event(run, map, flags) if len(view) == 24 else -EINVAL
    if isinstance(found, int):
        view[:] = bytes(len(view))
        return found
    now = run.kernel.machine.now()
    view[:] = struct.pack("<QQQ", found.count, now, now)
    return 0


@helper("perf_prog_read_value")
def perf_prog_read_value(run: Run, context: int, buffer: int, size: int, r4: int, r5: int) -> int:
    view = run.memory.view(buffer, size & INDEX_MASK)
    if len(view) != 24:
        view[:] = bytes(len(view))
        return -EINVAL
    now = run.kernel.machine.now()
    view[:] = struct.pack("<QQQ", run.memory.load(context + 168, 8), now, now)
    return 0
