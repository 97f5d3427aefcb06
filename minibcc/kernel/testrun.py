"""BPF_PROG_TEST_RUN: a program on a packet or a context of user space's making.

Packet programs run `repeat` times on a copy of `data_in` (net/bpf/test_run.c). Linux tests few of
the other types; here all run, on `ctx_in` as their context, because a simulated kernel is for
trying things. Where a context holds pointers, user space cannot say them: an object that must be
there is one of zeros, one that may be missing is, and of a packet there is nothing.
"""

from __future__ import annotations

import time
from errno import EINVAL, ENOMEM, ENOSPC, ENXIO
from typing import TYPE_CHECKING

from minibcc.abi.bpf import ProgType
from minibcc.abi.contexts import context_of
from minibcc.abi.requests import TestRun
from minibcc.kernel.contexts import PT_REGS_SIZE, RAW_ARGUMENTS
from minibcc.kernel.errnos import failure
from minibcc.kernel.helpers.packet import IP_HEADERS
from minibcc.kernel.packets import ETHERNET, PACKET_TYPES, Packet
from minibcc.kernel.programs import ATTACH_NUMBERS

if TYPE_CHECKING:
    from minibcc.abi.contexts import Context
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
SKB_MAX = 4096 - 64 - 320
"""Bytes of a packet: a page without headroom and shared info."""
XDP_MAX = 4096 - 256 - 320 + 17 * 4096
"""The same for XDP, which has more headroom, and as much as fragments may hold behind it."""


OBJECTS = ("sock", "sock_common", "flow_keys", "tp_buffer")
"""What a context's pointer leads to without a test for NULL (`abi.contexts`)."""
OBJECT_SIZE = 4096

ON_CPU = 1
"""``BPF_F_TEST_RUN_ON_CPU``."""
CHECKSUM_COMPLETE = 4


def test_run(kernel: Kernel, request: ProgTestRun) -> TestRun:
    """Raises EINVAL for what does not fit."""
    program = kernel.program_of(request.prog_fd)
    kind = ProgType(program.request.prog_type)
    if kind in PACKET_TYPES:
        return _on_packet(kernel, program, request)
    described = context_of(kind, _attach_type(program))
    size = CONTEXT_SIZES.get(kind, (described.size + 7) // 8 * 8)
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
    elif len(request.ctx_in) > max(size, SYSCALL_CONTEXT) or (
        kind == ProgType.SYSCALL and len(request.ctx_in) < program.reach
    ):
        raise failure(EINVAL)
    return _on_context(kernel, program, request, size, described)


def _attach_type(program: Program) -> int:
    """What the program is to be attached to; 0 for a number that means nothing."""
    attach = program.request.expected_attach_type
    return attach if attach in ATTACH_NUMBERS else 0


def _on_context(
    kernel: Kernel, program: Program, request: ProgTestRun, size: int, described: Context
) -> TestRun:
    data = bytearray(request.ctx_in.ljust(size, b"\0") or bytes(8))
    repeat = max(1, request.repeat)
    kernel.retval = 0
    memory = kernel.memory
    pointers = [field for field in described.fields if field.yields != "scalar"]
    thing = memory.allocate(OBJECT_SIZE)
    address = memory.allocate(len(data), writable=any(field.write for field in described.fields))
    try:
        for field in pointers:
            value = thing if field.yields in OBJECTS else 0
            data[field.off : field.off + field.size] = value.to_bytes(field.size, "little")
        memory.view(address, len(data))[:] = data
        started = time.perf_counter_ns()
        result = kernel.run(program, (address,), repeat=repeat)
        duration = (time.perf_counter_ns() - started) // repeat
        for field in pointers:  # addresses are nobody's business
            memory.view(address + field.off, field.size)[:] = bytes(field.size)
        out = bytes(memory.view(address, len(request.ctx_in)))
    finally:
        memory.free(address)
        memory.free(thing)
    return TestRun(result & 0xFFFF_FFFF, duration, b"", out[: request.ctx_size_out])


def _on_packet(kernel: Kernel, program: Program, request: ProgTestRun) -> TestRun:
    kind = ProgType(program.request.prog_type)
    is_xdp = kind == ProgType.XDP
    if not ETHERNET <= len(request.data_in) <= (XDP_MAX if is_xdp else SKB_MAX):
        raise failure(ENOMEM if is_xdp and request.data_in[ETHERNET:] else EINVAL)
    if request.flags & ~(0 if is_xdp else CHECKSUM_COMPLETE) or (request.cpu and not is_xdp):
        raise failure(EINVAL)
    repeat = max(1, request.repeat)
    given = request.ctx_in or bytes(min(request.ctx_size_out, 4))
    packet = Packet(kernel, kind, request.data_in, given)
    try:
        header = IP_HEADERS.get(request.data_in[12:ETHERNET], 0)
        if not is_xdp and len(request.data_in) < ETHERNET + header:
            raise failure(EINVAL)
        started = time.perf_counter_ns()
        result = packet.run(program, repeat=repeat)
        duration = (time.perf_counter_ns() - started) // repeat
        data = packet.whole()
        context = packet.context_bytes(given)
    finally:
        packet.close()
    if request.data_size_out and len(data) > request.data_size_out:
        raise failure(ENOSPC)
    if request.ctx_size_out and len(context) > request.ctx_size_out:
        raise failure(ENOSPC)
    return TestRun(
        result & 0xFFFF_FFFF,
        duration,
        data if request.data_size_out else b"",
        context[: request.ctx_size_out],
    )
