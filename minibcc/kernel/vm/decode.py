"""From slots to rows of the opcode table: what both engines do before anything else.

The table has what a program may contain. An image also has what Linux's verifier writes into a
program: loads that may fault. What is no instruction at all becomes a message, for whoever runs
into it: images of verified programs have none, raw bytecode may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.isa import opcodes
from minibcc.isa.instruction import LD_IMM64
from minibcc.kernel.vm.execution import PROBE_MEM, PROBE_MEMSX, TAIL_CALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minibcc.isa.instruction import Instruction
    from minibcc.isa.opcodes import Opcode
    from minibcc.kernel.vm.execution import Image

_PROBES = {PROBE_MEM: opcodes.MEM, PROBE_MEMSX: opcodes.MEMSX}
_WRITES_DST = ("alu", "swap", "load", "probe", "imm64")


def rows(image: Image) -> list[Opcode | str]:
    """Each slot's row, of kind ``probe`` for loads that may fault; or why it has none."""
    out: list[Opcode | str] = []
    second = False
    for slot, insn in enumerate(image.instructions):
        if second:
            out.append("the second half of an instruction")
            second = False
            continue
        second = insn.code == LD_IMM64
        if second and slot + 1 == len(image.instructions):
            out.append("half an instruction at the end of the program")
            continue
        row = _row(insn)
        out.append(row if isinstance(row, str) else _callable(image, slot, row) or row)
    return out


def _callable(image: Image, slot: int, row: Opcode) -> str:
    """Why a call cannot be made, "" if it can."""
    imm = image.instructions[slot].imm
    if row.op == "helper" and imm != TAIL_CALL and imm not in image.helpers:
        return f"no helper has number {imm}"
    if row.op == "kfunc" and imm not in image.kfuncs:
        return f"no kernel function has id {imm}"
    if row.op in ("function", "func") and target(image, slot, row) not in image.starts:
        return f"no function starts at {target(image, slot, row)}"
    return ""


def _row(insn: Instruction) -> Opcode | str:
    row = opcodes.find(insn)
    if row is None and insn.code & 7 == opcodes.LDX and insn.code & 0xE0 in _PROBES:
        plain = opcodes.find(insn._replace(code=insn.code & 0x1F | _PROBES[insn.code & 0xE0]))
        row = plain and plain._replace(code=insn.code, kind="probe")
    if row is None:
        return f"code {insn.code:#04x} with these fields is no instruction"
    if insn.dst > 10 or insn.src > 10:
        return f"no register r{max(insn.dst, insn.src)}"
    written = insn.dst if row.kind in _WRITES_DST else insn.src if fetches(row) else 0
    if written == 10 and row.op != "cmpxchg":
        return "r10 is only for reading"
    if row.op == "addr_space_cast":
        return "casts between address spaces need an arena map"
    return row


def fetches(row: Opcode) -> bool:
    """Whether an atomic operation's old value goes to its source register."""
    return row.kind == "atomic" and (row.op.startswith("fetch_") or row.op == "xchg")


def may_fault(insn: Instruction) -> Instruction:
    """The same load as one that may fault and then reads 0: what the kernel makes of a program's
    loads through pointers to kernel objects. Raises ValueError for what is no load."""
    for mode, plain in _PROBES.items():
        if insn.code & 7 == opcodes.LDX and insn.code & 0xE0 == plain:
            return insn._replace(code=insn.code & 0x1F | mode)
    raise ValueError(f"code {insn.code:#04x} is no load")


def starts(instructions: Sequence[Instruction]) -> tuple[int, ...]:
    """The slots at which functions begin in raw bytecode: those that calls and loads of a
    function's address name, and 0."""
    found = {0}
    second = False
    for slot, insn in enumerate(instructions):
        row = None if second else opcodes.find(insn)
        second = not second and insn.code == LD_IMM64
        if row is not None and row.op in ("function", "func"):
            found.add(slot + 1 + insn.imm)
    return tuple(sorted(start for start in found if 0 <= start < len(instructions)))


def target(image: Image, slot: int, row: Opcode) -> int:
    """The slot that a jump, a call of a function or a FUNC load names; the number of slots if it
    lies outside the program."""
    insn = image.instructions[slot]
    by_imm = row.op in ("ja32", "function", "func")
    there = slot + 1 + (insn.imm if by_imm else insn.off)
    return there if 0 <= there < len(image.instructions) else len(image.instructions)
