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


def test_a_load_that_extends_the_sign_makes_no_copy() -> None:
    """Linux 6.18 lets this pass and read 4 GiB above the stack: it links the loaded number to the
    spilled one, so that 0xffffffff beside -1 passes for 0xffffffff beside itself."""
    code = (
        I(0x61, 9, 1, 64),  # r9 = a u32 of the context
        I(0x7B, 10, 9, -40),
        I(0x81, 7, 10, -40),  # r7 = (s32) r9
        I(0xB4, 2, imm=0x7FFFFFFF),
        I(0x2D, 9, 2, 2),  # if r9 > r2: r7 is negative
        I(0xB7),
        I(0x95),
        I(0x77, 7, imm=32),
        I(0x0F, 7, 10),
        I(0x79, 0, 7, -40),
        I(0x95),
    )
    refusal = verify(Source(code, ProgType.SCHED_CLS), generate.HERE).refusal
    assert refusal is not None
    assert "(0x0; 0xffffffff)+0+-40" in refusal.message
    low = I(0x57, 9, imm=0x7FFFFFFF)  # where no sign is there to extend, it is a copy
    assert verify(Source((code[0], low, *code[1:]), ProgType.SCHED_CLS), generate.HERE).accepted


def test_the_caller_of_a_function_that_a_short_packet_ends(bench: Bench) -> None:
    """Linux 6.18 looks for the makers of the caller's r7 among what the function does, finds one
    there, and does not know any more that r7 matters when it compares states before it."""
    code = (
        *(I(0xBF, 6, 1), I(0x85, imm=14), I(0xBF, 7, 0), I(0xBF, 1, 7), I(0xBF, 3, 6)),
        I(0x85, src=1, imm=9),
        *(I(0xBF, 1, 7), I(0xB5, 1, 0, 2, 56), I(0xB7, 0), I(0x95)),  # r7 is at most 56
        *(I(0x18, 1, 2, 0, 7), I(0), I(0x0F, 1, 7), I(0xB7, 0), I(0x95)),
        *(I(0xBF, 7, 1), I(0xBF, 6, 3), I(0x62, 10, 0, -24, 32)),
        *(I(0xD5, 7, 0, 2, 15), I(0xB7, 7, imm=15), I(0x05, off=1), I(0xB7, 8)),
        *(I(0x61, 7, 10, -24), I(0x28, imm=20), I(0xB7, 0), I(0x95)),
    )
    functions = (0, careful.PROGRAM), (15, careful.CALLED)
    kind = ProgType.SOCKET_FILTER
    source = Source(code, kind, maps=generate.MAPS, functions=functions, has_btf=True)
    witness = Witness(every=True, limit=3000)
    verdict = bench.judge(source, witness)
    assert verdict.accepted, verdict.refusal
    assert bench.try_out(source, witness, verdict, range(20))


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
