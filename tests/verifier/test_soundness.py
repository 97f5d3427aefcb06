"""An accepted program never faults: random programs that the verifier takes run on packets. And no
bytes whatever make the verifier itself stumble."""

from __future__ import annotations

from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import MapCreate, ProgLoad, ProgramRefused, ProgTestRun
from minibcc.isa.instruction import LD_IMM64, Instruction, decode, encode
from minibcc.isa.opcodes import OPCODES
from minibcc.kernel.verifier.contract import Source
from minibcc.kernel.verifier.verify import verify
from tests.kernel.support import boot
from tests.verifier import generate

RUNNABLE = (ProgType.SOCKET_FILTER, ProgType.SCHED_CLS, ProgType.XDP)
PACKETS = (bytes(range(14)), bytes(60), bytes(range(256)))


def test_accepted_programs_do_not_fault() -> None:
    system = boot()
    fds = {
        number: system.bpf(
            MapCreate(facts.type, facts.key_size, facts.value_size, facts.max_entries)
        )
        for number, facts in generate.MAPS.items()
    }
    accepted = 0
    for source in islice(generate.programs(77), 600):
        if source.prog_type not in RUNNABLE:
            continue
        slots = [
            insn._replace(imm=fds[insn.imm]) if insn.code == LD_IMM64 and insn.src else insn
            for insn in source.instructions
        ]
        try:
            loaded = system.bpf(ProgLoad(source.prog_type, encode(slots)))
        except ProgramRefused:
            continue
        accepted += 1
        for data in PACKETS:
            system.bpf(ProgTestRun(loaded.fd, data))
        system.close(loaded.fd)
    for fd in fds.values():
        system.close(fd)
    assert accepted >= 25


SMALL = st.sampled_from((0, 1, 2, 3, 4, 8, 16, 25, 131, -1, -8, -16))


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    """Some row of the instruction set, its free fields filled with small numbers."""
    row = draw(st.sampled_from(OPCODES))
    register = st.integers(0, 10)
    dst, src, off, imm = draw(st.tuples(register, register, SMALL, SMALL))
    wanted = (row.dst, row.src, row.off, row.imm)
    given_ = (dst, src, off, imm)
    fields = [b if a is None else a for a, b in zip(wanted, given_, strict=True)]
    return Instruction(row.code, *fields)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(instructions(), max_size=12)
    | st.binary(min_size=8, max_size=64).map(lambda data: decode(data[: len(data) // 8 * 8])),
    st.sampled_from(list(ProgType)),
    st.integers(0, 60),
    st.sampled_from((0, 1, 2, 7)),
)
def test_the_verifier_answers_whatever_it_is_asked(
    body: list[Instruction], prog_type: ProgType, attach: int, level: int
) -> None:
    start = [Instruction(0xB7, number, imm=number) for number in (0, 2, 3, 7)]
    slots = (*start, *body, Instruction(0x95))
    verdict = verify(Source(slots, prog_type, attach, maps=generate.MAPS, log_level=level))
    assert verdict.accepted == (verdict.refusal is None)
