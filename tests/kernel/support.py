"""A simulated kernel for tests: a machine of names, the interpreter, and programs by hand."""

from __future__ import annotations

from collections.abc import Iterable

from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import ProgLoad
from minibcc.isa.instruction import LD_IMM64, Instruction, encode
from minibcc.kernel.system import SimulatedSystem
from minibcc.kernel.verifier.contract import Environment, Facts, Source, Verdict
from minibcc.machine.machine import Machine
from tests.machine.fakes import FakeKernel

KERNEL_FILES = ("/sys/kernel/tracing/", "/sys/kernel/debug/tracing/")


def boot(**options: object) -> SimulatedSystem:
    """A fresh kernel on a machine that plays the shell scenario."""
    machine = Machine(FakeKernel(), cpus=2)
    return SimulatedSystem(machine, engine="interpreter", **options)  # type: ignore[arg-type]  # passed on


def accept(source: Source, environment: Environment | None = None) -> Verdict:
    """A verifier that believes everything: for tests of what comes after it."""
    maps = {
        slot: source.maps[insn.imm]
        for slot, insn in enumerate(source.instructions)
        if insn.code == LD_IMM64 and insn.src in (1, 2)
    }
    count = len(source.instructions)
    facts = Facts((0,), (512,), 512, frozenset(), {}, maps, count, 1)
    return Verdict(True, "", 0, facts)


def load_64(dst: int, value: int, src: int = 0) -> list[Instruction]:
    """A 64-bit load: two slots."""
    low = value & 0xFFFF_FFFF
    return [
        Instruction(LD_IMM64, dst, src, 0, low - (low >> 31 << 32)),
        Instruction(0, imm=value >> 32),
    ]


def program(
    instructions: Iterable[Instruction], prog_type: ProgType = ProgType.KPROBE, name: str = "probe"
) -> ProgLoad:
    return ProgLoad(prog_type, encode(instructions), prog_name=name)


HELLO = [
    Instruction(0xB7, 1, imm=0x21),
    Instruction(0x6B, 10, 1, -4),
    Instruction(0xB7, 1, imm=0x646C726F),
    Instruction(0x63, 10, 1, -8),
    *load_64(1, 0x57202C6F6C6C6548),
    Instruction(0x7B, 10, 1, -16),
    Instruction(0xBF, 1, 10),
    Instruction(0x07, 1, imm=-16),
    Instruction(0xB7, 2, imm=14),
    Instruction(0x85, imm=6),
    Instruction(0xB7, 0),
    Instruction(0x95),
]
"""The program that prints "Hello, World!" and returns 0."""


def possible_cpus() -> int:
    """As many processors as the running kernel may have; 2 where nobody says."""
    try:
        with open("/sys/devices/system/cpu/possible") as file:
            return int(file.read().strip().replace(",", "-").split("-")[-1]) + 1
    except OSError:
        return 2
