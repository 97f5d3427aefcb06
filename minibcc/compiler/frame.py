"""Sums of addresses on the stack that LLVM writes as ``|``.

LLVM writes ``|`` for ``+`` where no bit can carry: on the address of an aligned object and an index
below the alignment. The verifier takes only ``+`` there, so such an OR becomes the sum that it was,
where both are shown to be the same; an OR that may be one, because C says so, is left for the
verifier to refuse.

What is shown: per register, which bits may be set, at each instruction, over all ways there. The
domain is a mask; ways join by OR, so the masks only grow and the search ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from minibcc.isa import opcodes as o
from minibcc.isa.instruction import LD_IMM64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minibcc.isa.instruction import Instruction

_ALL = (1 << 64) - 1
_FRAME = 10
_BASE = ~15 & _ALL
"""The frame pointer is aligned to 16 bytes for LLVM ("S128" of BPF's data layout)."""
_MOV64_X = o.ALU64 | o.MOV | o.X
_OR64_X = o.ALU64 | o.OR | o.X
_ADD64_X = o.ALU64 | o.ADD | o.X
_WIDTH = {o.B: 8, o.H: 16, o.W: 32, o.DW: 64}


class Value(NamedTuple):
    """A register: whether it may hold an address on the stack, and the bits that may be set."""

    frame: bool
    bits: int


_UNKNOWN = Value(False, _ALL)
_START = (_UNKNOWN,) * _FRAME + (Value(True, _BASE),)
_Registers = tuple[Value, ...]


def add_to_frame(insns: list[Instruction]) -> None:
    """Rewrites each ``|=`` with an address on the stack that can only be a sum to ``+=``."""
    if not _candidates(insns):
        return
    for at, registers in enumerate(_explore(insns)):
        insn = insns[at]
        if registers is None or insn.code != _OR64_X:
            continue
        left, right = registers[insn.dst], registers[insn.src]
        if (left.frame or right.frame) and not left.bits & right.bits:
            insns[at] = insn._replace(code=_ADD64_X)


def _candidates(insns: list[Instruction]) -> bool:
    """Whether any OR has a register that holds an address on the stack anywhere."""
    copies = {(insn.dst, insn.src) for insn in insns if insn.code == _MOV64_X}
    holders = {_FRAME}
    while more := {dst for dst, src in copies if src in holders} - holders:
        holders |= more
    return any(i.code == _OR64_X and (i.dst in holders or i.src in holders) for i in insns)


def _explore(insns: list[Instruction]) -> list[_Registers | None]:
    """The registers before each instruction, None where none leads to it."""
    before: list[_Registers | None] = [None] * (len(insns) + 1)
    before[0] = _START
    waiting = {0}
    while waiting:
        at = min(waiting)
        waiting.remove(at)
        known = before[at]
        if at == len(insns) or known is None:
            continue
        after = _after(insns[at], known)
        for following in _following(insns[at], at):
            old = before[following]
            new = after if old is None else tuple(map(_join, old, after))
            if new != old:
                before[following] = new
                waiting.add(following)
    return before[:-1]


def _join(a: Value, b: Value) -> Value:
    return a if a == b else Value(a.frame or b.frame, a.bits | b.bits)


def _following(insn: Instruction, at: int) -> Iterator[int]:
    kind, operation = insn.code & 7, insn.code & 0xF0
    if kind not in (o.JMP, o.JMP32) or operation == o.CALL:
        yield at + 2 if insn.code == LD_IMM64 else at + 1
    elif operation == o.JA:
        yield at + 1 + (insn.imm if kind == o.JMP32 else insn.off)
    elif operation != o.EXIT:
        yield at + 1
        yield at + 1 + insn.off


def _after(insn: Instruction, before: _Registers) -> _Registers:
    code, dst, src, _, _ = insn
    registers = list(before)
    match code & 7:
        case o.ALU | o.ALU64:
            registers[dst] = _arithmetic(insn, before)
        case o.LDX:
            signed = code & 0xE0 == o.MEMSX
            registers[dst] = _UNKNOWN if signed else Value(False, _below(_WIDTH[code & 0x18]))
        case o.LD if code == LD_IMM64:
            registers[dst] = _UNKNOWN
        case o.STX if code & 0xE0 == o.ATOMIC:
            registers[0] = registers[src] = registers[dst] = _UNKNOWN
        case o.LD | o.JMP if code & 7 == o.LD or code & 0xF0 == o.CALL:
            registers[:6] = [_UNKNOWN] * 6
    registers[_FRAME] = before[_FRAME]
    return tuple(registers)


def _arithmetic(insn: Instruction, before: _Registers) -> Value:
    """What an instruction of arithmetic leaves in its destination."""
    wide = insn.code & 7 == o.ALU64
    mask, count = (_ALL, 63) if wide else (_below(32), 31)
    left = before[insn.dst]
    constant = None if insn.code & o.X else insn.imm & mask
    right = before[insn.src] if constant is None else Value(False, constant)
    a, b = left.bits & mask, right.bits & mask
    frame = wide and (left.frame or right.frame)
    match insn.code & 0xF0:
        case o.MOV:
            return _moved(insn, right, mask) if insn.off else Value(wide and right.frame, b)
        case o.ADD:
            return Value(frame, _sum(a, b, mask))
        case o.AND:
            return Value(False, a & b)
        case o.OR:
            return Value(frame, a | b)
        case o.XOR:
            return Value(False, a | b)
        case o.LSH if constant is not None:
            return Value(False, a << (constant & count) & mask)
        case o.RSH if constant is not None:
            return Value(False, a >> (constant & count))
        case o.END:
            return Value(False, _below(insn.imm))
        case o.MOD if constant and not insn.off:
            return Value(False, a & _below((constant - 1).bit_length()))
        case o.DIV if not insn.off:
            return Value(False, _below(a.bit_length()))
        case o.MUL:
            product = _below(min(a.bit_length() + b.bit_length(), 64))
            return Value(False, product & mask if a and b else 0)
    return Value(frame, mask)


def _moved(insn: Instruction, source: Value, mask: int) -> Value:
    """A move that extends the sign of the low `off` bits."""
    low = source.bits & _below(insn.off)
    return Value(False, mask if low >> (insn.off - 1) else low)


def _sum(a: int, b: int, mask: int) -> int:
    """The bits that a sum may have: those of both below the first that they share, where nothing
    carries yet, and none above the largest sum."""
    first = a & b & -(a & b) or mask + 1
    return (a | b) & (first - 1) | _below((a + b).bit_length()) & mask & -first


def _below(bits: int) -> int:
    return (1 << bits) - 1
