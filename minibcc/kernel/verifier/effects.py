"""What an instruction changes: arithmetic and immediates here, memory in `memory`.

One function per class of instruction; each asks `operands`, `grants` and `pointers` whether the
state grants what the instruction requires, then makes the new registers. `EFFECTS` is the table by
class. Jumps are in `branches`, calls in `calls`. Mirrors ``do_check_insn`` and ``check_alu_op`` of
kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapType, Pseudo
from minibcc.isa import opcodes
from minibcc.kernel.verifier import callbacks, context, memory, pointers, stack
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
    checked,
    constant,
    sign_extend,
    sign_extend32,
    unsigned_of,
    zero_extend,
)

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.explore import Walk


# --- arithmetic -------------------------------------------------------------------------------


def arithmetic(walk: Walk, insn: Instruction) -> None:
    operation = insn.code & 0xF0
    if operation == MOV:
        _move(walk, insn)
    elif operation in (NEG, END):
        old = source(walk, insn.dst)
        target(walk, insn.dst)
        wide = insn.code & 7 == opcodes.ALU64
        value = None
        if old.kind != SCALAR:
            pass
        elif operation == NEG:
            value = compute(NEG, wide, old.range, old.range)
        else:
            value = swap(old.range, insn.imm, wide or bool(insn.code & opcodes.X))
        walk.registers[insn.dst] = scalar(ANY if value is None else checked(value))
    else:
        _binary(walk, insn, operation)


def _move(walk: Walk, insn: Instruction) -> None:
    registers = walk.registers
    wide = insn.code & 7 == opcodes.ALU64
    if not insn.code & opcodes.X:
        target(walk, insn.dst)
        registers[insn.dst] = number(insn.imm if wide else insn.imm & 0xFFFF_FFFF)
        return
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
    registers[insn.dst] = value._replace(range=changed)


def _cast(walk: Walk, insn: Instruction) -> None:
    """A pointer between an arena and the rest; without an arena there is nothing to cast."""
    if insn.imm not in (1, 1 << 16):
        message = "addr_space_cast insn can only convert between address space 1 and 0"
    elif any(facts.type == MapType.ARENA for facts in walk.shape.maps.values()):
        raise undecided("arenas")
    else:
        message = "addr_space_cast insn can only be used in a program that has an associated arena"
    raise malformed(walk.slot, message)


def _binary(walk: Walk, insn: Instruction, operation: int) -> None:
    by_register = insn.code & opcodes.X
    right = source(walk, insn.src) if by_register else None
    left = source(walk, insn.dst)
    wide = insn.code & 7 == opcodes.ALU64
    if right is None:
        if operation in (DIV, MOD) and not insn.imm:
            raise Refused(EINVAL, "verify/div-by-zero", "div by zero")
        if operation in (LSH, RSH, ARSH) and not 0 <= insn.imm < (64 if wide else 32):
            message = f"invalid shift {insn.imm}"
            raise Refused(EINVAL, "verify/bad-shift", message)
    target(walk, insn.dst)
    if left.kind != SCALAR or (right is not None and right.kind != SCALAR):
        walk.registers[insn.dst] = _with_pointer(walk, insn, operation, left, right)
        return
    if right is None:
        other = constant(insn.imm)
    else:
        other = right.range
        if left.precise:
            walk.mark_precise(insn.src)
    value = compute(operation, wide, left.range, other)
    result = ANY if value is None else checked(value)
    delta = _delta(operation, wide, left, other)
    if delta is not None and not (by_register and insn.src == insn.dst):
        walk.registers[insn.dst] = left._replace(range=result, off=delta, ahead=64 if wide else 32)
        return
    walk.registers[insn.dst] = Register(SCALAR, result, precise=left.precise and value is not None)


def _delta(operation: int, wide: bool, left: Register, other: Range) -> int | None:
    """How far ``left op other`` is ahead of the copies of `left`; None where that is not kept."""
    if operation not in (ADD, SUB) or not left.id or left.ahead:
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
    walk: Walk, insn: Instruction, operation: int, left: Register, right: Register | None
) -> Register:
    if right is None:
        return pointers.move(walk, insn, left, number(insn.imm), False)
    if left.kind == SCALAR:
        walk.mark_precise(insn.dst)
        return pointers.move(walk, insn, right, walk.registers[insn.dst], True)
    if right.kind == SCALAR:
        walk.mark_precise(insn.src)
        return pointers.move(walk, insn, left, walk.registers[insn.src], False)
    if operation == SUB:
        return ANY_NUMBER
    symbol = pointers.SYMBOLS[operation >> 4]
    message = f"R{insn.dst} pointer {symbol} pointer prohibited"
    raise pointers.refused(message)


def immediate(walk: Walk, insn: Instruction) -> None:
    """64-bit constants, maps, functions; and the packet loads of classic BPF."""
    if insn.code & 0xE0 != opcodes.IMM:
        context.packet_load(walk, insn)
        return
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


EFFECTS = {
    opcodes.ALU: arithmetic,
    opcodes.ALU64: arithmetic,
    opcodes.LDX: memory.load,
    opcodes.ST: memory.store,
    opcodes.STX: memory.store,
    opcodes.LD: immediate,
}
"""The transfer function of each class but jumps."""
