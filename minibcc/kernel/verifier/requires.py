"""What an instruction requires of registers, and which it leaves changed.

Three passes need the same knowledge: the walk (what must be initialised, what may be written),
the liveness of registers (which values can still matter), and precision (where a value came from).
So it stands here once, as masks of registers: bit n is Rn. The values that memory, calls and
pointer arithmetic require are for `memory`, `calls` and `pointers` to judge.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from minibcc.isa import opcodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.isa.instruction import Instruction

CALLER_SAVED = 0b0011_1111
ARGUMENTS = 0b0011_1110


def reads(insn: Instruction, arguments: Callable[[Instruction], int]) -> int:
    """The registers whose values it uses; `arguments` says how many a helper takes."""
    code, dst, src = insn.code, 1 << insn.dst, 1 << insn.src
    operation = code & 0xF0
    match code & 7:
        case opcodes.LDX:
            return src
        case opcodes.ST:
            return dst
        case opcodes.STX:
            if code & 0xE0 == opcodes.ATOMIC:
                if insn.imm == opcodes.LOAD_ACQUIRE:
                    return src
                return dst | src | (insn.imm == opcodes.CMPXCHG)
            return dst | src
        case opcodes.LD:
            if code & 0xE0 == opcodes.IND:
                return src | 1 << 6
            return 1 << 6 if code & 0xE0 == opcodes.ABS else 0
        case opcodes.ALU | opcodes.ALU64:
            by_register = src if code & opcodes.X and operation != opcodes.END else 0
            return by_register if operation == opcodes.MOV else by_register | dst
    if operation == opcodes.CALL:
        if insn.src:
            return ARGUMENTS
        return (1 << arguments(insn) + 1) - 2
    if operation == opcodes.EXIT:
        return 1
    if operation in (opcodes.JA, opcodes.JCOND):
        return 0
    return dst | (src if code & opcodes.X else 0)


def writes(insn: Instruction) -> int:
    """The registers that hold something else afterwards."""
    match insn.code & 7:
        case opcodes.LDX | opcodes.ALU | opcodes.ALU64:
            return 1 << insn.dst
        case opcodes.LD:
            return 1 << insn.dst if insn.code & 0xE0 == opcodes.IMM else CALLER_SAVED
        case opcodes.STX if insn.code & 0xE0 == opcodes.ATOMIC:
            if insn.imm == opcodes.CMPXCHG:
                return 1
            if insn.imm == opcodes.LOAD_ACQUIRE:
                return 1 << insn.dst
            return 1 << insn.src if insn.imm & opcodes.FETCH else 0
        case opcodes.JMP if insn.code == opcodes.JMP | opcodes.CALL:
            return CALLER_SAVED
    return 0


_RESERVED = {"MOV": opcodes.MOV, "NEG": opcodes.NEG, "END": opcodes.END}


def reserved(insn: Instruction) -> str:
    """The kernel's word for an instruction whose fields are not as its opcode wants them, "" for a
    good one. It is said when a path comes there, not before."""
    if opcodes.find(insn) is not None:
        return ""
    operation = insn.code & 0xF0
    match insn.code & 7:
        case opcodes.ALU | opcodes.ALU64:
            name = next((name for name, code in _RESERVED.items() if code == operation), "ALU")
            return f"BPF_{name} uses reserved fields"
        case opcodes.LD:
            kind = "LD_IMM64" if insn.code & 0xE0 == opcodes.IMM else "LD_[ABS|IND]"
            return f"BPF_{kind} uses reserved fields"
        case opcodes.ST:
            return "BPF_ST uses reserved fields"
        case opcodes.STX:
            if insn.code & 0xE0 != opcodes.ATOMIC:
                return "BPF_STX uses reserved fields"
            if insn.code & 0x18 in (opcodes.B, opcodes.H) and _classic_atomic(insn.imm):
                return "invalid atomic operand size"
            return f"BPF_ATOMIC uses invalid atomic opcode {insn.imm & 0xFFFF_FFFF:02x}"
    match operation:
        case opcodes.CALL:
            return "BPF_CALL uses reserved fields"
        case opcodes.EXIT if insn.imm or insn.dst or insn.src:  # `off` nobody asks for
            return "BPF_EXIT uses reserved fields"
        case opcodes.EXIT:
            return ""
        case opcodes.JA:
            return "BPF_JA uses reserved fields"
        case opcodes.JCOND:
            return f"invalid may_goto imm {insn.imm}"
    return "BPF_JMP/JMP32 uses reserved fields"


def _classic_atomic(imm: int) -> bool:
    return any(row.imm == imm for row in opcodes.BY_CODE[opcodes.STX | opcodes.ATOMIC | opcodes.DW])


@lru_cache(1 << 12)
def members(mask: int) -> tuple[int, ...]:
    """The numbers of the registers, or of the stack slots, in a mask, ascending."""
    return tuple([number for number in range(mask.bit_length()) if mask >> number & 1])
