"""From the program as it came to the program that runs: what Linux does after verification.

Branches that only go one way become plain jumps, what no path reaches is taken out, and jumps that
then lead to the next instruction go too, with every jump, call and record of positions moved
along. Mirrors ``opt_hard_wire_dead_code_branches``, ``opt_remove_dead_code`` and
``opt_remove_nops`` of kernel/bpf/verifier.c.

What programs read of the kernel's own memory lies outside the arena, and native code checks no
address: such loads become ones that may fault (``convert_ctx_accesses``, BPF_PROBE_MEM).

Positions are slots; a jump's target is its slot + 1 + distance.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from minibcc.abi.bpf import Pseudo, PseudoCall
from minibcc.isa.instruction import LD_IMM64, Instruction

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

JMP, JMP32 = 0x05, 0x06
JA, CALL, EXIT, JCOND = 0x00, 0x80, 0x90, 0xE0
GOTO, GOTO_LONG = JMP | JA, JMP32 | JA


def jump_target(insn: Instruction, slot: int) -> int | None:
    """The slot that a jump, a call of a function or a load of one's address names; None for other
    instructions."""
    kind, operation = insn.code & 7, insn.code & 0xF0
    if kind in (JMP, JMP32):
        if operation == CALL:
            return slot + 1 + insn.imm if insn.src == PseudoCall.CALL else None
        if operation == EXIT and kind == JMP:
            return None
        return slot + 1 + (insn.imm if insn.code == GOTO_LONG else insn.off)
    if insn.code == LD_IMM64 and insn.src == Pseudo.FUNC:
        return slot + 1 + insn.imm
    return None


def with_target(insn: Instruction, slot: int, target: int) -> Instruction:
    """The same instruction, at `slot`, leading to `target`."""
    distance = target - slot - 1
    is_jump = insn.code & 7 in (JMP, JMP32) and insn.code & 0xF0 != CALL
    if is_jump and insn.code != GOTO_LONG:
        return insn._replace(off=distance)
    return insn._replace(imm=distance)


def is_conditional(insn: Instruction) -> bool:
    """Whether it is a jump that may or may not be taken."""
    operation = insn.code & 0xF0
    return insn.code & 7 in (JMP, JMP32) and operation not in (JA, CALL, EXIT, JCOND)


KERNEL_MEMORY = ("ptr_", "sock", "sock_common", "tcp_sock", "map_ptr")
"""Ends of the verifier's names for pointers to what is the kernel's own."""


def is_kernel_memory(kind: str) -> bool:
    """Whether an access of that kind (`Facts.accesses`) leaves what is the program's."""
    return "untrusted" in kind or kind.endswith(KERNEL_MEMORY)


class Compaction:
    """A program without its dead slots.

    `instructions` are what remains, `moved` says where each of the old slots is now (that of the
    next remaining one for those that went), `kept` which old slots remain.
    """

    def __init__(self, program: Sequence[Instruction], dead: Collection[int]) -> None:
        wired = [_hard_wired(insn, slot, dead) for slot, insn in enumerate(program)]
        gone = set(dead)
        gone |= _needless_jumps(wired, gone)
        self.kept = [slot for slot in range(len(wired)) if slot not in gone]
        self.moved: list[int] = []
        count = 0
        for slot in range(len(wired) + 1):
            self.moved.append(count)
            count += slot not in gone
        self.instructions: list[Instruction] = []
        for slot in self.kept:
            insn = wired[slot]
            target = jump_target(insn, slot)
            if target is not None:
                insn = with_target(insn, self.moved[slot], self.moved[target])
            self.instructions.append(insn)

    def starts(self, starts: Sequence[int]) -> list[int]:
        """Indexes of the functions that still have instructions."""
        ends = [*starts[1:], len(self.moved) - 1]
        return [
            index
            for index, (start, end) in enumerate(zip(starts, ends, strict=True))
            if self.moved[start] < self.moved[end]
        ]

    def records(self, data: bytes, size: int) -> bytes:
        """func_info or line_info: records of `size` bytes that begin with a slot. A record whose
        code went is dropped, unless it is the last that speaks of code that remains."""
        records = [data[offset : offset + size] for offset in range(0, len(data), size)]
        out: dict[int, bytes] = {}
        last = self.moved[-1]
        for record in records:
            slot = self.moved[struct.unpack_from("<I", record)[0]]
            if slot < last:
                out[slot] = struct.pack("<I", slot) + record[4:]
        return b"".join(out.values())


def _hard_wired(insn: Instruction, slot: int, dead: Collection[int]) -> Instruction:
    if insn.code == LD_IMM64 and insn.src == Pseudo.FUNC and jump_target(insn, slot) in dead:
        return insn._replace(src=0, imm=0)  # nothing ever calls it
    if slot in dead or not is_conditional(insn):
        return insn
    target = slot + 1 + insn.off
    if slot + 1 in dead:
        return Instruction(GOTO, off=insn.off)
    if target in dead:
        return Instruction(GOTO, off=0)
    return insn


def _needless_jumps(program: Sequence[Instruction], dead: Collection[int]) -> set[int]:
    """Plain jumps that lead to what comes next anyway without the dead slots. One that does so
    only because another of them goes stays, as in Linux."""
    found = set()
    for slot, insn in enumerate(program):
        if slot in dead or insn.code != GOTO or insn.off < 0:
            continue
        if all(between in dead for between in range(slot + 1, slot + 1 + insn.off)):
            found.add(slot)
    return found
