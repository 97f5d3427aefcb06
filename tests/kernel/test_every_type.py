"""BPF_PROG_TEST_RUN on programs of every type: each reads and writes all that it may of its
context, in either engine, again and again."""

from __future__ import annotations

import errno
import struct

import pytest

from minibcc.abi.bpf import AttachType, MapType, ProgFlags, ProgType
from minibcc.abi.contexts import context_of
from minibcc.abi.requests import MapCreate, MapLookup, ProgLoad, ProgramRefused, ProgTestRun
from minibcc.btf.layout import Kind
from minibcc.isa import opcodes
from minibcc.isa.instruction import Instruction, encode
from minibcc.isa.text import assemble
from minibcc.kernel.packets import PACKET_TYPES
from minibcc.kernel.system import SimulatedSystem
from minibcc.machine.linux618 import Linux618
from minibcc.machine.machine import Machine
from tests.vm.verified import TYPES
from tests.vm.world import HOOK, ITERATOR, RAW, TRACED

KINDS = [key for key in TYPES if key[0] != ProgType.LSM] + [
    (ProgType.NETFILTER, int(AttachType.NETFILTER)),
    (ProgType.LWT_SEG6LOCAL, 0),
    *((ProgType.CGROUP_SOCK_ADDR, int(kind)) for kind in (AttachType.CGROUP_UDP6_SENDMSG,)),
]
"""All but those that the verifier does not decide: LSM, which the kernel that is simulated lacks,
and remote controls."""
FAR = 64
"""Bytes of a large context that are tried."""
REPEAT = 3


def accesses(kind: ProgType, attach: int) -> list[Instruction]:
    """A read of each field of numbers at its start, and a write to each that may be written."""
    slots = []
    for field in context_of(kind, attach).fields:
        if field.yields != "scalar":
            continue
        for off in range(field.off, field.off + min(field.size, FAR), 8):
            for size in field.read:
                if off % size == 0 and field.allows(off, size):
                    row = opcodes.of("load", "mem", size=size)
                    slots.append(Instruction(row.code, 2, 6, off))
                    slots += assemble("r7 += r2")
            for size in field.write:
                if field.read and field.allows(off, size, write=True):
                    row = opcodes.of("load", "mem", size=size)
                    if not field.allows(off, size):
                        continue
                    slots.append(Instruction(row.code, 2, 6, off))
                    row = opcodes.of("store", "mem", size=size, by_reg=True)
                    slots.append(Instruction(row.code, 6, 2, off))
    return slots


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
@pytest.mark.parametrize(("kind", "attach"), KINDS, ids=lambda value: getattr(value, "name", value))
def test_a_program_of_any_type_is_tried(kind, attach, engine):
    system = SimulatedSystem(Machine(Linux618()), engine=engine)
    counts = system.bpf(MapCreate(MapType.ARRAY, 4, 8, 1))
    low = (context_of(kind, attach).returns or (0, 0))[0]
    count = assemble(
        "r1 = map[counts][0]+0\nr2 = 1\nlock *(u64 *)(r1 +0) += r2", {"counts": counts}
    )
    slots = [
        *assemble("r6 = r1\nr7 = 0"),
        *accesses(kind, attach),
        *count,
        *assemble(f"r0 = {low}\nexit"),
    ]
    target = {AttachType.TRACE_ITER: ITERATOR, AttachType.TRACE_RAW_TP: RAW}.get(attach, TRACED)
    found = 0
    if kind == ProgType.TRACING:
        btf_kind = Kind.TYPEDEF if target == RAW else Kind.FUNC
        found = system.kernel.vmlinux.types().find_id(btf_kind, target)
    fd = system.bpf(
        ProgLoad(
            kind,
            encode(slots),
            expected_attach_type=attach,
            attach_btf_id=found,
            prog_flags=ProgFlags.SLEEPABLE if kind == ProgType.SYSCALL else 0,
        )
    ).fd
    packet = kind in PACKET_TYPES
    raw = kind in (ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE)
    given = b"" if packet else bytes(range(96))
    if kind == ProgType.SK_LOOKUP:  # Linux, too, has a test of it, and looks at what it is given
        given = bytes(8) + struct.pack("<2I", 2, 17) + bytes(range(44)) + bytes(12)
    run = ProgTestRun(
        fd,
        data_in=bytes(64) if packet else b"",
        ctx_in=given,
        ctx_size_out=0 if raw else len(given),
        repeat=0 if raw else REPEAT,
    )
    result = system.bpf(run)
    assert result.retval == low
    ran = struct.unpack("<Q", system.bpf(MapLookup(counts, bytes(4))))[0]
    assert ran == (1 if raw else REPEAT)
    if kind == ProgType.SK_LOOKUP:
        assert result.ctx_out == given
    elif not packet and not raw:
        kept = bytearray(given)
        for field in context_of(kind, attach).fields:
            if field.yields != "scalar":
                kept[field.off : field.off + field.size] = bytes(field.size)
        assert result.ctx_out == bytes(kept[: len(given)])
    system.shut_down()


@pytest.mark.parametrize(
    ("function", "license", "message"),
    [
        (HOOK, "GPL", ""),
        (HOOK, "Proprietary", "LSM programs must have a GPL compatible license"),
        (TRACED, "GPL", "attach_btf_id {} points to wrong type name " + TRACED),
        (TRACED, "", "LSM programs must have a GPL compatible license"),
    ],
)
def test_programs_of_security_hooks(function, license, message):
    """By the words of Linux's source: the kernels that tests run on have no such hooks."""
    system = SimulatedSystem(Machine(Linux618()), engine="interpreter")
    number = system.kernel.vmlinux.types().find_id(Kind.FUNC, function)
    request = ProgLoad(
        ProgType.LSM,
        encode(assemble("r0 = 0\nexit")),
        license,
        expected_attach_type=AttachType.LSM_MAC,
        attach_btf_id=number,
        log_level=1,
    )
    if not message:
        system.close(system.bpf(request).fd)
        return
    with pytest.raises(ProgramRefused) as refused:
        system.bpf(request)
    assert refused.value.errno == errno.EINVAL
    assert message.format(number) + "\n" in refused.value.log
