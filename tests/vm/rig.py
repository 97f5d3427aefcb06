"""What the cases run on: helpers, kernel memory, packets and tail calls that they count with."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from minibcc.isa import opcodes
from minibcc.isa.instruction import Instruction, decode
from minibcc.isa.text import assemble
from minibcc.kernel.vm.decode import may_fault, starts
from minibcc.kernel.vm.execution import Image, Run
from minibcc.kernel.vm.memory import Arena

CASES = Path(__file__).parent / "cases"
PACKET = bytes(range(16))
KERNEL = 0xFFFF_8880_0000_0000
MASK = (1 << 64) - 1


class Failure(Exception):
    pass


def _sum(run: Run, *arguments: int) -> int:
    return sum(arguments)


def _twice(run: Run, function: int, value: int, *rest: int) -> int:
    return run.call(function, run.call(function, value))


def _fails(run: Run, *arguments: int) -> int:
    raise Failure("helper 7 fails")


HELPERS = {5: _sum, 6: _twice, 7: _fails}
KFUNCS = {9: lambda run, *arguments: 99}
TAILS = (
    "r0 += 1000\nr0 += r6\nr0 += r7\nexit",
    """
    r6 = *(u64 *)(r1 +0)
    r6 += 1
    *(u64 *)(r1 +0) = r6
    r2 = 0
    r3 = 1
    call tail_call#12
    r0 = r6
    r0 += 2000
    exit
    """,
)


def cases(name: str) -> dict[str, Any]:
    return tomllib.loads((CASES / f"{name}.toml").read_text())


def image(instructions: list[Instruction], given: list[int] | None = None) -> Image:
    """The program with the rig's helpers; functions start where calls say, or as given."""
    found = tuple(starts(instructions) if given is None else given)
    return Image("case", instructions, HELPERS, found, (512,) * len(found), kfuncs=KFUNCS)


def program(case: dict[str, Any]) -> Image:
    if "instructions" in case:
        return image(case["instructions"])
    code = bytes.fromhex(case["bytes"]) if "bytes" in case else b""
    instructions = decode(code) if code else assemble(case["program"])
    if case.get("probe"):
        instructions = [
            may_fault(insn) if insn.code & 7 == opcodes.LDX else insn for insn in instructions
        ]
    return image(instructions, case.get("starts"))


def execute(engine: Any, case: dict[str, Any], arena: Arena) -> tuple[int, bytes]:
    """R0 and the case's memory at the end."""
    tails = [image(assemble(text)) for text in TAILS]
    memory = bytes.fromhex(case.get("memory", "00" * 8))
    address = arena.allocate(len(memory))
    arena.view(address, len(memory))[:] = memory

    def probe(where: int, size: int) -> int:
        inside = KERNEL <= where <= KERNEL + 4096 - size
        return int.from_bytes(b"\x88" * size, "little") if inside else 0

    def packet(offset: int, size: int) -> int | None:
        part = PACKET[offset : offset + size] if offset >= 0 else b""
        return int.from_bytes(part, "big") if len(part) == size else None

    def tail_call(context: int, table: int, index: int) -> Image | None:
        return tails[index] if index < len(tails) else None

    run = Run(arena, probe=probe, packet=packet, tail_call=tail_call)
    try:
        result = engine.run(program(case), run, (address, len(memory)))
        return result, bytes(arena.view(address, len(memory)))
    finally:
        arena.free(address)
