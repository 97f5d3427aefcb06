"""The table of contexts, compared with the running kernel: every offset, size and direction."""

from __future__ import annotations

import re

import pytest

from minibcc.abi.bpf import AttachType, ProgType
from minibcc.abi.contexts import ATTACHED, context_of
from minibcc.isa.instruction import Instruction
from minibcc.isa.opcodes import LDX, MEM, SIZES, STX
from minibcc.isa.text import assemble
from tests.live import DEFAULT_ATTACH, LOADABLE, kernel, verdict

pytestmark = pytest.mark.kernel

PLACES = sorted(
    {(prog_type, int(DEFAULT_ATTACH.get(prog_type, 0))) for prog_type in LOADABLE}
    | {(prog_type, int(attach)) for prog_type, attach in ATTACHED if prog_type in LOADABLE}
)
each_place = pytest.mark.parametrize(
    ("prog_type", "attach_type"), PLACES, ids=lambda value: str(int(value))
)


def _accepted_end(prog_type: ProgType, attach_type: int) -> list[Instruction]:
    """Instructions that end a program of this type well."""
    returns = context_of(prog_type, attach_type).returns or (0, 0)
    return [Instruction(0xB7, imm=returns[0]), Instruction(0x95)]


def _offsets(size: int) -> list[int]:
    """All of a structure and a little more; of a long region its two ends."""
    if size <= 256:
        return list(range(size + 16))
    return [*range(64), *range(size // 2, size // 2 + 8), *range(size - 16, min(size + 16, 0x7FF9))]


@each_place
def test_reads(prog_type: ProgType, attach_type: int) -> None:
    kernel()
    context, end = context_of(prog_type, attach_type), _accepted_end(prog_type, attach_type)
    for off in _offsets(min(context.size, 0x7FE0)):
        for size, code in SIZES.items():
            load = Instruction(LDX | MEM | code, 2, 1, off)
            errno, log = verdict([load, *end], prog_type, attach_type, log_level=2)
            field = context.access(off, size)
            assert (errno == 0) == (field is not None), f"{size} bytes at {off}: {log}"
            if field is not None:
                found = re.search(r"R2=([a-z_]+)", log.replace("R2=scalar(", "R2=scalar;"))
                assert found, log
                assert found[1] == field.yields, f"{size} bytes at {off}: {log}"


@each_place
def test_writes(prog_type: ProgType, attach_type: int) -> None:
    kernel()
    context, end = context_of(prog_type, attach_type), _accepted_end(prog_type, attach_type)
    for off in _offsets(min(context.size, 0x7FE0)):
        for size, code in SIZES.items():
            store = [Instruction(0xB7, 2), Instruction(STX | MEM | code, 1, 2, off)]
            errno, log = verdict([*store, *end], prog_type, attach_type)
            allowed = context.access(off, size, write=True) is not None
            assert (errno == 0) == allowed, f"{size} bytes at {off}: {log}"


@each_place
def test_results(prog_type: ProgType, attach_type: int) -> None:
    kernel()
    returns = context_of(prog_type, attach_type).returns
    for value in (-1, 0, 1, 2, 3, 4, 100):
        errno, log = verdict(
            [Instruction(0xB7, imm=value), Instruction(0x95)], prog_type, attach_type
        )
        assert (errno == 0) == (returns is None or returns[0] <= value <= returns[1]), log


@each_place
def test_packets(prog_type: ProgType, attach_type: int) -> None:
    """What programs may do with the memory between two pointers of their context."""
    kernel()
    context = context_of(prog_type, attach_type)
    starts = {field.yields: field for field in context.fields if field.yields.startswith("pkt")}
    if "pkt" not in starts:
        return
    start, stop = starts["pkt"], starts["pkt_end"]
    text = f"""
        r2 = *(u{start.size * 8} *)(r1 +{start.off})
        r3 = *(u{stop.size * 8} *)(r1 +{stop.off})
        r4 = r2
        r4 += 8
        if r4 > r3 goto out
        ACCESS
      out:
        r0 = {(context.returns or (0, 0))[0]}
        exit
    """
    access = {"r": "r5 = *(u8 *)(r2 +0)", "w": "*(u8 *)(r2 +0) = 1"}
    for letter, insn in access.items():
        errno, log = verdict(assemble(text.replace("ACCESS", insn)), prog_type, attach_type)
        # Programs on sockets' operations may look, though they may not lend it to helpers.
        allowed = letter in context.packet or (letter == "r" and prog_type is ProgType.SOCK_OPS)
        assert (errno == 0) == allowed, log


@each_place
def test_old_packet_loads(prog_type: ProgType, attach_type: int) -> None:
    kernel()
    end = (context_of(prog_type, attach_type).returns or (0, 0))[0]
    text = f"r6 = r1\nr0 = *(u8 *)skb[0]\nr0 = {end}\nexit"
    errno, log = verdict(assemble(text), prog_type, attach_type)
    assert (errno == 0) == context_of(prog_type, attach_type).legacy, log


def test_attachments_of_the_table_are_known() -> None:
    assert all(attach in AttachType for _, attach in ATTACHED)
