"""BPF_PROG_TEST_RUN: a program on a packet or a context of user space's making.

Packet programs run `repeat` times on a copy of `data_in` (net/bpf/test_run.c). Linux tests few of
the other types; here all run, on `ctx_in` as their context, because a simulated kernel is for
trying things. Where a context holds pointers, user space cannot say them: an object that must be
there is one of zeros, one that may be missing is, and of a packet there is nothing.
"""

from __future__ import annotations

import struct
import time
from errno import E2BIG, EAFNOSUPPORT, EINVAL, ENOMEM, ENOSPC, ENXIO, ERANGE
from typing import TYPE_CHECKING

from minibcc.abi.bpf import ProgType
from minibcc.abi.contexts import context_of
from minibcc.abi.requests import TestRun
from minibcc.kernel.contexts import PT_REGS_SIZE, RAW_ARGUMENTS, SK_BUFF_SIZE, XDP_MD_SIZE
from minibcc.kernel.errnos import failure
from minibcc.kernel.packets import (
    ETHERNET,
    FLOW_KEYS_SIZE,
    GSO_MAX,
    HEADROOM,
    IFINDEX,
    IP_HEADERS,
    LINK_LEVEL,
    META_MAX,
    PACKET_TYPES,
    PAGE,
    SKB_FROM_USER,
    WIRE_LENGTH,
    XDP_PAGE,
    Packet,
    device_name,
)
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
SKB_MAX = PAGE - 64 - 320
"""Bytes of a packet: a page without headroom and shared info."""
FRAGMENTS_MAX = 17 * PAGE
"""Bytes that XDP may have behind its first page."""
FLOW_FLAGS = 48
"""Offset of ``flags`` in struct bpf_flow_keys, all that a test may set."""
LOOKUP_SIZE = 72
"""Bytes of struct bpf_sk_lookup."""
FAMILIES = (2, 10)


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
    if kind == ProgType.FLOW_DISSECTOR:
        return _on_flow(kernel, program, request)
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
    elif kind == ProgType.SK_LOOKUP:
        return _on_lookup(kernel, program, request, described)
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


def _on_lookup(
    kernel: Kernel, program: Program, request: ProgTestRun, described: Context
) -> TestRun:
    """``bpf_prog_test_run_sk_lookup``: the context comes back as it was, without a socket."""
    if request.flags:
        raise failure(EINVAL)
    context = _given(request, LOOKUP_SIZE)
    if context is None or any(context[:8]) or any(context[64:]):
        raise failure(EINVAL)
    if any(context[62:64]):
        raise failure(ERANGE)
    if int.from_bytes(context[8:10], "little") not in FAMILIES:
        raise failure(EAFNOSUPPORT)
    run = _on_context(kernel, program, request, LOOKUP_SIZE, described)
    return _finish(request, run.retval, run.duration, b"", context)


def _given(request: ProgTestRun, size: int) -> bytes | None:
    """The context of `size` bytes that a test gives, or only wants back (``bpf_ctx_init``)."""
    given = request.ctx_in
    if len(given) > max(size, PAGE) or any(given[size:]):
        raise failure(E2BIG)
    if not given and not request.ctx_size_out:
        return None
    return given[:size].ljust(size, b"\0")


def _finish(
    request: ProgTestRun, result: int, duration: int, data: bytes, context: bytes | None
) -> TestRun:
    """What comes back, if there is room for it where there is room at all."""
    data_room, context_room = request.data_size_out, request.ctx_size_out
    kept = context or b""
    if (data_room and len(data) > data_room) or (context_room and len(kept) > context_room):
        raise failure(ENOSPC)
    return TestRun(
        result & 0xFFFF_FFFF,
        duration,
        data if data_room else b"",
        kept if context_room else b"",
    )


def _on_packet(kernel: Kernel, program: Program, request: ProgTestRun) -> TestRun:
    kind = ProgType(program.request.prog_type)
    is_xdp = kind == ProgType.XDP
    context = _xdp_context(request) if is_xdp else _skb_context(request, kind)
    repeat = max(1, request.repeat)
    packet = Packet(kernel, kind, request.data_in, context or b"")
    try:
        started = time.perf_counter_ns()
        result = packet.run(program, repeat=repeat)
        duration = (time.perf_counter_ns() - started) // repeat
        data = packet.whole()
        if context is not None:
            context = packet.context_bytes(context)
    finally:
        packet.close()
    return _finish(request, result, duration, data, context)


def _xdp_context(request: ProgTestRun) -> bytes | None:
    """What ``bpf_prog_test_run_xdp`` wants of packet and context."""
    size = len(request.data_in)
    if request.flags:
        raise failure(EINVAL)
    context = _given(request, XDP_MD_SIZE)
    meta, end = 0, size
    if context is not None:
        meta, end, before, device, queue, out = struct.unpack("<6I", context)
        if before or end > size or meta > end or meta % 4 or meta > META_MAX:
            raise failure(EINVAL)
    if size - meta < ETHERNET:
        raise failure(EINVAL)
    if context is not None:
        if out or (queue and not device):
            raise failure(EINVAL)
        if device:
            device_name(device)
        if queue:
            raise failure(EINVAL)
    if size - min(end, XDP_PAGE - HEADROOM + meta) > FRAGMENTS_MAX:
        raise failure(ENOMEM)
    return context


def _skb_context(request: ProgTestRun, kind: ProgType) -> bytes | None:
    """What ``bpf_prog_test_run_skb`` wants of packet and context."""
    data = request.data_in
    if request.flags & ~CHECKSUM_COMPLETE or request.cpu or not ETHERNET <= len(data) <= SKB_MAX:
        raise failure(EINVAL)
    context = _given(request, SK_BUFF_SIZE)
    if context is not None:
        device = int.from_bytes(context[IFINDEX : IFINDEX + 4], "little")
        if device:
            device_name(device)
    if len(data) - ETHERNET < IP_HEADERS.get(data[12:ETHERNET], 0):
        raise failure(EINVAL)
    if context is not None:
        rest = bytearray(context)
        for offset, count in SKB_FROM_USER:
            rest[offset : offset + count] = bytes(count)
        wire, segments = struct.unpack_from("<2I", context, WIRE_LENGTH)
        length = len(data) - (0 if kind in LINK_LEVEL else ETHERNET)
        if any(rest) or segments >= GSO_MAX or (wire and not length <= wire <= GSO_MAX):
            raise failure(EINVAL)
    return context


def _on_flow(kernel: Kernel, program: Program, request: ProgTestRun) -> TestRun:
    """``bpf_prog_test_run_flow_dissector``: what comes back is the flow that was found."""
    data, repeat = request.data_in, max(1, request.repeat)
    if request.flags or request.cpu or not ETHERNET <= len(data) <= PAGE:
        raise failure(EINVAL)
    context = _given(request, FLOW_KEYS_SIZE)
    begin = struct.pack("<2H6x", ETHERNET, ETHERNET) + data[12:14]
    begin = begin.ljust(FLOW_KEYS_SIZE, b"\0")
    if context is not None:
        if any(context[:FLOW_FLAGS]) or any(context[FLOW_FLAGS + 4 :]):
            raise failure(EINVAL)
        begin = begin[:FLOW_FLAGS] + context[FLOW_FLAGS:]
    packet = Packet(kernel, ProgType.FLOW_DISSECTOR, data)
    try:
        keys = packet.flow_keys()
        started = time.perf_counter_ns()
        for _ in range(repeat):
            keys[:] = begin
            result = packet.run(program)
        duration = (time.perf_counter_ns() - started) // repeat
        network, transport = struct.unpack_from("<2H", keys)
        network = min(max(network, ETHERNET), len(data))
        transport = min(max(transport, network), len(data))
        found = struct.pack("<2H", network, transport) + bytes(keys[4:])
    finally:
        packet.close()
    return _finish(request, result, duration, found, context)
