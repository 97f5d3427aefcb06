"""BPF_PROG_TEST_RUN: a program on a packet or a context of user space's making.

Packet programs run `repeat` times on a copy of `data_in` (net/bpf/test_run.c). Linux tests neither
kprobe nor tracepoint programs; here those run too, on `ctx_in` as their context, because a
simulated kernel is for trying things.
"""

from __future__ import annotations

import time
from errno import EINVAL, ENOTSUP
from typing import TYPE_CHECKING

from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import TestRun
from minibcc.kernel.contexts import PT_REGS_SIZE, RAW_ARGUMENTS
from minibcc.kernel.errnos import failure
from minibcc.kernel.packets import PACKET_TYPES, Packet

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

PAGE_LIMIT = 4096 - 256 - 320
"""Bytes of a packet: a page without headroom and shared info."""


def test_run(kernel: Kernel, request: ProgTestRun) -> TestRun:
    """Raises EINVAL for what does not fit, ENOTSUP for types that cannot be tried."""
    program = kernel.program_of(request.prog_fd)
    kind = ProgType(program.request.prog_type)
    if kind in PACKET_TYPES:
        return _on_packet(kernel, program, request)
    size = CONTEXT_SIZES.get(kind)
    if size is None:
        raise failure(ENOTSUP)
    if request.data_in or request.data_size_out:
        raise failure(EINVAL)
    if len(request.ctx_in) > max(size, 4096):
        raise failure(EINVAL)
    return _on_context(kernel, program, request, size)


def _on_context(kernel: Kernel, program: Program, request: ProgTestRun, size: int) -> TestRun:
    data = request.ctx_in.ljust(size, b"\0") or bytes(8)
    started = time.perf_counter_ns()
    result = 0
    repeat = max(1, request.repeat)
    for _ in range(repeat):
        address = kernel.contexts.place(data)
        try:
            result = kernel.run(program, (address,))
            out = bytes(kernel.memory.view(address, len(request.ctx_in)))
        finally:
            kernel.contexts.give_back(address, len(data))
    duration = (time.perf_counter_ns() - started) // repeat
    return TestRun(result & 0xFFFF_FFFF, duration, b"", out[: request.ctx_size_out])


def _on_packet(kernel: Kernel, program: Program, request: ProgTestRun) -> TestRun:
    kind = ProgType(program.request.prog_type)
    if len(request.data_in) < 14:
        raise failure(EINVAL)
    if len(request.data_in) > PAGE_LIMIT:
        raise failure(EINVAL)
    repeat = max(1, request.repeat)
    packet = Packet(kernel, kind, request.data_in, request.ctx_in)
    try:
        started = time.perf_counter_ns()
        result = 0
        for _ in range(repeat):
            result = packet.run(program)
        duration = (time.perf_counter_ns() - started) // repeat
        data = packet.bytes(0, packet.length)
        context = packet.context_bytes()
    finally:
        packet.close()
    return TestRun(
        result & 0xFFFF_FFFF,
        duration,
        data if not request.data_size_out else data[: request.data_size_out],
        context[: request.ctx_size_out],
    )
