"""BPF_PROG_TEST_RUN: a program on a packet or a context of user space's making.

Packet programs run `repeat` times on a copy of `data_in` (net/bpf/test_run.c). Linux tests neither
kprobe nor tracepoint programs; here those run too, on `ctx_in` as their context, because a
simulated kernel is for trying things.
"""

from __future__ import annotations

import time
from errno import EINVAL, ENOSPC, ENXIO
from typing import TYPE_CHECKING

from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import TestRun
from minibcc.kernel.contexts import PT_REGS_SIZE, RAW_ARGUMENTS
from minibcc.kernel.errnos import ENOTSUPP, failure
from minibcc.kernel.packets import ETHERNET, PACKET_TYPES, Packet

if TYPE_CHECKING:
    from minibcc.abi.requests import ProgTestRun
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.objects import Program

CONTEXT_SIZES = {
    ProgType.KPROBE: PT_REGS_SIZE,
    ProgType.TRACEPOINT: 8192,
    ProgType.RAW_TRACEPOINT: 8 * RAW_ARGUMENTS,
    ProgType.RAW_TRACEPOINT_WRITABLE: 8 * RAW_ARGUMENTS,
    ProgType.TRACING: 8 * RAW_ARGUMENTS,
    ProgType.LSM: 8 * RAW_ARGUMENTS,
    ProgType.PERF_EVENT: PT_REGS_SIZE + 16,
    ProgType.SYSCALL: 0,
}
"""Bytes that a program of the type may read of its context; what is not given is zero."""

RAW = (ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE)
SYSCALL_CONTEXT = 0xFFFF
PACKET_MAX = 4096 - 256 - 320
"""Bytes of a packet: a page without headroom and shared info."""
FRAGMENTS_MAX = 17 * 4096
"""Bytes that XDP may have behind that, in further pages; here all lie in one piece."""


ON_CPU = 1
"""``BPF_F_TEST_RUN_ON_CPU``."""
CHECKSUM_COMPLETE = 4


def test_run(kernel: Kernel, request: ProgTestRun) -> TestRun:
    """Raises EINVAL for what does not fit, ENOTSUPP for types that cannot be tried."""
    program = kernel.program_of(request.prog_fd)
    kind = ProgType(program.request.prog_type)
    if kind in PACKET_TYPES:
        return _on_packet(kernel, program, request)
    size = CONTEXT_SIZES.get(kind)
    if size is None:
        raise failure(ENOTSUPP)
    if request.data_in or request.data_size_out:
        raise failure(EINVAL)
    if request.cpu and not request.flags & ON_CPU:
        raise failure(EINVAL)
    if kind in RAW:
        if request.repeat or request.ctx_size_out:
            raise failure(EINVAL)
        if request.cpu >= kernel.cpus:
            raise failure(ENXIO)
        if not program.reach <= len(request.ctx_in) <= 8 * RAW_ARGUMENTS:
            raise failure(EINVAL)
    elif len(request.ctx_in) > max(size, SYSCALL_CONTEXT):
        raise failure(EINVAL)
    return _on_context(kernel, program, request, size)


def _on_context(kernel: Kernel, program: Program, request: ProgTestRun, size: int) -> TestRun:
    data = request.ctx_in.ljust(size, b"\0") or bytes(8)
    repeat = max(1, request.repeat)
    address = kernel.contexts.place(data)
    started = time.perf_counter_ns()
    try:
        result = kernel.run(program, (address,), repeat=repeat)
        out = bytes(kernel.memory.view(address, len(request.ctx_in)))
    finally:
        kernel.contexts.give_back(address, len(data))
    duration = (time.perf_counter_ns() - started) // repeat
    return TestRun(result & 0xFFFF_FFFF, duration, b"", out[: request.ctx_size_out])


def _on_packet(kernel: Kernel, program: Program, request: ProgTestRun) -> TestRun:
    kind = ProgType(program.request.prog_type)
    is_xdp = kind == ProgType.XDP
    if not ETHERNET <= len(request.data_in) <= PACKET_MAX + (FRAGMENTS_MAX if is_xdp else 0):
        raise failure(EINVAL)
    if request.flags & ~(0 if is_xdp else CHECKSUM_COMPLETE) or (request.cpu and not is_xdp):
        raise failure(EINVAL)
    repeat = max(1, request.repeat)
    packet = Packet(kernel, kind, request.data_in, request.ctx_in)
    try:
        started = time.perf_counter_ns()
        result = packet.run(program, repeat=repeat)
        duration = (time.perf_counter_ns() - started) // repeat
        data = packet.whole()
        context = packet.context_bytes()
    finally:
        packet.close()
    if request.data_size_out and len(data) > request.data_size_out:
        raise failure(ENOSPC)
    return TestRun(
        result & 0xFFFF_FFFF,
        duration,
        data if request.data_size_out else b"",
        context[: request.ctx_size_out],
    )
