"""What an instruction changes: arithmetic and immediates here, memory in `memory`.

One function per kind of instruction; each asks `operands`, `grants` and `pointers` whether the
state grants what the instruction requires, then makes the new registers. `EFFECTS` is the table by
opcode. Jumps are in `branches`, calls in `calls`. Mirrors ``do_check_insn`` and ``check_alu_op`` of
kernel/bpf/verifier.c.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from minibcc.abi.bpf import MapType, Pseudo
from minibcc.isa import opcodes
from minibcc.isa.instruction import LD_IMM64
from minibcc.kernel.verifier import callbacks, memory, pointers, stack
from minibcc.kernel.verifier.arithmetic import (
    ADD,
    ARSH,
    DIV,
    END,
    LSH,
    MOD,
    MOV,
    NEG,
    RSH,
    SUB,
    compute,
    swap,
)
from minibcc.kernel.verifier.form import malformed
from minibcc.kernel.verifier.operands import source, target
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    MAP,
    MAP_VALUE,
    SCALAR,
    Refused,
    Register,
    number,
    pointer,
    scalar,
    undecided,
)
from minibcc.kernel.verifier.tnum import U32
from minibcc.kernel.verifier.values import (
    ANY,
    S32_MAX,
    S32_MIN,
    Range,
    sign_extend,
    sign_extend32,
    unsigned_of,
    zero_extend,
)

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.explore import Walk


# --- arithmetic -------------------------------------------------------------------------------


def _unary(walk: Walk, insn: Instruction) -> None:
    old = source(walk, insn.dst)
    target(walk, insn.dst)
    wide = insn.code & 7 == opcodes.ALU64
    register = ANY_NUMBER
    if old.kind != SCALAR:
        pass
    elif insn.code & 0xF0 == NEG:
        register = _result(NEG, wide, old.range, old.range)
    else:
        register = scalar(swap(old.range, insn.imm, wide or bool(insn.code & opcodes.X)))
    walk.registers[insn.dst] = register


def _set(walk: Walk, insn: Instruction) -> None:
    target(walk, insn.dst)
    wide = insn.code & 7 == opcodes.ALU64
    walk.registers[insn.dst] = number(insn.imm if wide else insn.imm & 0xFFFF_FFFF)


def _move(walk: Walk, insn: Instruction) -> None:
    registers = walk.registers
    wide = insn.code & 7 == opcodes.ALU64
    if insn.off == 1:
        _cast(walk, insn)
    value = source(walk, insn.src)
    target(walk, insn.dst)
    if wide and not insn.off:
        if value.kind == SCALAR and not value.id | value.ahead and value.range.bits[1]:
            value = registers[insn.src] = value._replace(id=walk.new_id())
        elif value.ahead:
            value = registers[insn.src] = stack.linked(walk, value)
        registers[insn.dst] = value
        return
    if value.kind != SCALAR:
        registers[insn.dst] = scalar(ANY if wide else unsigned_of(4))
        return
    kept = value.range.umax < (1 << (insn.off - 1)) if insn.off else stack.width(value) <= 32
    if kept:
        value = registers[insn.src] = stack.linked(walk, value)
    else:
        value = value._replace(id=0, off=0, ahead=0)
    if not insn.off:
        changed = zero_extend(value.range)
    elif wide:
        changed = sign_extend(value.range, insn.off >> 3)
    else:
        changed = sign_extend32(value.range, insn.off >> 3)
    registers[insn.dst] = value.ranged(changed)


def _cast(walk: Walk, insn: Instruction) -> None:
    """A pointer between an arena and the rest; without an arena there is nothing to cast."""
    if insn.imm not in (1, 1 << 16):
        message = "addr_space_cast insn can only convert between address space 1 and 0"
    elif any(facts.type == MapType.ARENA for facts in walk.shape.maps.values()):
        raise undecided("arenas")
    else:
        message = "addr_space_cast insn can only be used in a program that has an associated arena"
    raise malformed(walk.slot, message)


def _binary(walk: Walk, insn: Instruction) -> None:
    code = insn.code
    operation, wide, by_register = code & 0xF0, code & 7 == opcodes.ALU64, code & opcodes.X
    if by_register:
        right = source(walk, insn.src)
        left = source(walk, insn.dst)
    else:
        left, right = source(walk, insn.dst), number(insn.imm)
        if operation in (DIV, MOD) and not insn.imm:
            raise Refused(EINVAL, "verify/div-by-zero", "div by zero")
        if operation in (LSH, RSH, ARSH) and not 0 <= insn.imm < (64 if wide else 32):
            message = f"invalid shift {insn.imm}"
            raise Refused(EINVAL, "verify/bad-shift", message)
    target(walk, insn.dst)
    if left.kind != SCALAR or right.kind != SCALAR:
        walk.registers[insn.dst] = _with_pointer(walk, insn, operation, left, right)
        return
    if by_register and left.precise:
        walk.mark_precise(insn.src)
    result = _result(operation, wide, left.range, right.range)
    delta = None
    if left.id and not (by_register and insn.src == insn.dst):
        delta = _delta(operation, wide, left, right.range)
    if delta is not None:
        result = left._replace(range=result.range, off=delta, ahead=64 if wide else 32)
    elif left.precise and result is not ANY_NUMBER:
        result = result._replace(precise=True)
    walk.registers[insn.dst] = result


@lru_cache(1 << 15)
def _result(operation: int, wide: bool, a: Range, b: Range) -> Register:
    """The number that ``a op b`` is; `ANY_NUMBER` itself where nothing can be said."""
    value = compute(operation, wide, a, b)
    return ANY_NUMBER if value is None else scalar(value)


def _delta(operation: int, wide: bool, left: Register, other: Range) -> int | None:
    """How far ``left op other`` is ahead of the copies of `left`; None where that is not kept."""
    if operation not in (ADD, SUB) or left.ahead:
        return None
    if wide:
        delta = other.smin if other.known else S32_MIN - 1
    else:
        delta = other.smin32 if other.known32 and left.range.umax <= U32 else S32_MIN - 1
    if not S32_MIN <= delta <= S32_MAX:
        return None
    if operation == SUB:
        return -delta if delta != S32_MIN else None
    return delta


def _with_pointer(
    walk: Walk, insn: Instruction, operation: int, left: Register, right: Register
) -> Register:
    if left.kind == SCALAR:
        walk.mark_precise(insn.dst)
        return pointers.move(walk, insn, right, left, True)
    if right.kind == SCALAR:
        if insn.code & opcodes.X:
            walk.mark_precise(insn.src)
        return pointers.move(walk, insn, left, right, False)
    if operation == SUB:
        return ANY_NUMBER
    symbol = pointers.SYMBOLS[operation >> 4]
    message = f"R{insn.dst} pointer {symbol} pointer prohibited"
    raise pointers.refused(message)


def _immediate(walk: Walk, insn: Instruction) -> None:
    """64-bit constants, maps, functions."""
    target(walk, insn.dst)
    slot = walk.slot
    if insn.src == Pseudo.VALUE:
        high = walk.shape.insns[slot + 1].imm
        value = (insn.imm & 0xFFFF_FFFF) | (high & 0xFFFF_FFFF) << 32
        register = number(value)
    elif insn.src == Pseudo.FUNC:
        register = callbacks.function(walk, slot + insn.imm + 1)
    else:
        facts = walk.shape.maps[slot]
        if insn.src == Pseudo.MAP_FD:
            register = pointer(MAP, object=facts)
        else:
            offset = walk.shape.insns[slot + 1].imm & 0xFFFF_FFFF
            register = pointer(MAP_VALUE, object=facts, off=offset)
    walk.registers[insn.dst] = register


Effect: TypeAlias = Callable[["Walk", "Instruction"], None]

_OF_CLASS: dict[int, Effect] = {
    opcodes.LDX: memory.load,
    opcodes.ST: memory.store,
    opcodes.STX: memory.store,
}
_ARITHMETIC: dict[int, Effect] = {
    MOV | opcodes.K: _set,
    MOV | opcodes.X: _move,
    NEG | opcodes.K: _unary,
    NEG | opcodes.X: _unary,
    END | opcodes.K: _unary,
    END | opcodes.X: _unary,
}
EFFECTS = tuple(
    _ARITHMETIC.get(code & 0xF8, _binary)
    if code & 7 in (opcodes.ALU, opcodes.ALU64)
    else _immediate
    if code == LD_IMM64
    else _OF_CLASS.get(code & 7)
    for code in range(256)
)
"""The transfer function of each opcode; None for jumps, and for the packet loads of classic BPF,
which may end a function."""
