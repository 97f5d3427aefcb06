"""The cases' answers are Linux's: the same programs on the live kernel's JIT."""

from __future__ import annotations

from random import Random

import pytest

from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import ProgLoad, ProgTestRun
from minibcc.isa import opcodes
from minibcc.isa.instruction import LD_IMM64, Instruction, encode
from minibcc.isa.text import assemble
from minibcc.kernel.vm.execution import Run
from minibcc.kernel.vm.interpreter import Interpreter
from minibcc.kernel.vm.memory import Arena
from tests.live import kernel
from tests.vm import rig
from tests.vm.test_cases import JUMPS, OPERATIONS

pytestmark = pytest.mark.kernel

HALVES = ("w0 = w0", "r0 >>= 32")
"""What shows each half of R0 in a result of 32 bits."""


@pytest.fixture(scope="module")
def linux():
    return kernel()


def answer(linux, slots):
    """R0 of a program, all 64 bits. The slots end with an exit, the only one."""
    halves = []
    for half in HALVES:
        code = encode([*slots[:-1], *assemble(half), slots[-1]])
        fd = linux.bpf(ProgLoad(ProgType.XDP, code)).fd
        try:
            halves.append(linux.bpf(ProgTestRun(fd, bytes(64))).retval)
        finally:
            linux.close(fd)
    return halves[0] | halves[1] << 32


@pytest.mark.parametrize("cases", [OPERATIONS, JUMPS], ids=["operations", "jumps"])
def test_cases(linux, cases):
    wrong = {}
    for name, case in cases.items():
        got = answer(linux, assemble(case["program"]))
        if got != case["r0"]:
            wrong[name] = hex(got)
    assert not wrong


ROWS = [
    row
    for row in opcodes.OPCODES
    if row.kind in ("alu", "swap") and row.op not in ("addr_space_cast",)
]


def arithmetic(random: Random) -> list[Instruction]:
    """Straight arithmetic on R0 to R9, as the verifier takes it."""
    slots = []
    for register in range(10):
        low, high = (random.getrandbits(32) - (1 << 31) for _ in range(2))
        slots += [Instruction(LD_IMM64, register, 0, 0, low), Instruction(0, imm=high)]
    for _ in range(random.randrange(10, 60)):
        row = random.choice(ROWS)
        imm = random.choice((1, -1, 7, random.getrandbits(32) - (1 << 31)))
        if row.op in ("lsh", "rsh", "arsh"):
            imm = random.randrange(row.bits)
        elif row.imm is not None:
            imm = row.imm
        src = random.randrange(10) if row.by_reg else 0
        slots.append(
            Instruction(row.code, random.randrange(10), src, row.off or 0, 0 if row.by_reg else imm)
        )
    for register in range(1, 10):
        slots += assemble(f"r0 *= 31\nr0 ^= r{register}")
    return [*slots, *assemble("exit")]


def test_arithmetic_by_chance(linux):
    arena = Arena()
    for seed in range(60):
        slots = arithmetic(Random(seed))
        expected = Interpreter().run(rig.image(slots), Run(arena))
        assert hex(answer(linux, slots)) == hex(expected), seed
    arena.close()
