"""An accepted program never faults, and is at every instruction where the verifier held it to be:
random programs on inputs of chance. And no bytes whatever make the verifier itself stumble."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibcc.abi.bpf import ProgType
from minibcc.isa.instruction import Instruction, decode
from minibcc.isa.opcodes import OPCODES
from minibcc.kernel.verifier.contract import Source, Witness
from minibcc.kernel.verifier.state import number
from minibcc.kernel.verifier.verify import verify
from tests.verifier import careful, generate
from tests.verifier.concrete import Bench, Unsound

I = Instruction  # noqa: E741  # programs are written in it, many on a line


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    made = Bench(generate.MAPS)
    yield made
    made.close()


@pytest.mark.parametrize("programs", (careful.programs, generate.programs))
@pytest.mark.parametrize(("every", "exact"), ((True, True), (True, False), (False, False)))
def test_accepted_programs_stay_where_the_verifier_held_them(
    bench: Bench, programs: Callable[[int], Iterator[Source]], every: bool, exact: bool
) -> None:
    accepted = compared = 0
    for index, source in enumerate(islice(programs(77), 150)):
        witness = Witness(every, exact, limit=3000)
        verdict = bench.judge(source, witness)
        if verdict.accepted:
            accepted += 1
            compared += bench.try_out(source, witness, verdict, range(2 * index, 2 * index + 2))
    assert accepted >= 40
    assert compared > accepted * (20 if every else 4)


def test_a_state_that_is_too_narrow_is_noticed(bench: Bench) -> None:
    code = (I(0x85, imm=7), I(0x57, 0, imm=0xFF), I(0xBF, 7, 0), I(0xB7, 0), I(0x95))
    source = Source(code, ProgType.KPROBE)
    witness = Witness(exact=True)
    verdict = bench.judge(source, witness)
    bench.try_out(source, witness, verdict, range(2))
    for state in witness.held[3]:
        state.frame.registers[7] = number(0x100)
    with pytest.raises(Unsound, match="R7="):
        bench.try_out(source, witness, verdict, range(2))


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
