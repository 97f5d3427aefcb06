"""What an instruction changes: arithmetic, loads, stores, atomics.

One function per class of instruction; each asks `grants` and `pointers` whether the state grants
what the instruction requires, then makes the new registers. `EFFECTS` is the table by class.
Jumps are in `branches`, calls in `calls`. Mirrors ``do_check_insn``, ``check_alu_op`` and
``check_mem_access`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags, Pseudo
from minibcc.isa import opcodes
from minibcc.kernel.verifier import context, grants, pointers, stack, structures
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
from minibcc.kernel.verifier.state import (
    BASE,
    BTF,
    CTX,
    MAP,
    MAP_VALUE,
    MAYBE_NULL,
    MEMORY,
    NOT_INIT,
    PACKET,
    PACKET_META,
    READ_ONLY,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    STACK,
    TCP_SOCK,
    UNINITIALISED,
    Refused,
    Register,
    kind_name,
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
    truncate,
    unsigned_of,
    zero_extend,
)

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.explore import Walk

_SIZES = {opcodes.B: 1, opcodes.H: 2, opcodes.W: 4, opcodes.DW: 8}
_PACKETS = (PACKET, PACKET_META)


def source(walk: Walk, register: int) -> Register:
    """The value of a register that an instruction reads."""
    if register > 10:
        raise malformed(walk.slot, f"R{register} is invalid")
    value = walk.registers[register]
    if value.kind == NOT_INIT:
        raise Refused(
            EACCES,
            "verify/uninitialised",
            f"R{register} !read_ok",
            needs=f"a value in R{register}",
            state="nothing was put there on this path",
        )
    return value


def target(walk: Walk, register: int) -> None:
    """A register that an instruction writes."""
    if register > 10:
        raise malformed(walk.slot, f"R{register} is invalid")
    if register == 10:
        raise Refused(
            EACCES,
            "verify/frame-pointer",
            "frame pointer is read only",
            needs="one of R0 to R9",
            state="R10 always points to the stack",
        )


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
        walk.registers[insn.dst] = scalar(ANY if value is None else checked(value), walk.slot)
    else:
        _binary(walk, insn, operation)


def _move(walk: Walk, insn: Instruction) -> None:
    registers = walk.registers
    wide = insn.code & 7 == opcodes.ALU64
    if not insn.code & opcodes.X:
        target(walk, insn.dst)
        registers[insn.dst] = number(insn.imm if wide else insn.imm & 0xFFFF_FFFF, walk.slot)
        return
    if insn.off == 1:
        raise undecided("casts between address spaces")
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
        registers[insn.dst] = scalar(ANY if wide else unsigned_of(4), walk.slot)
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
    registers[insn.dst] = value._replace(range=changed, origin=walk.slot)


def _binary(walk: Walk, insn: Instruction, operation: int) -> None:
    by_register = insn.code & opcodes.X
    right = source(walk, insn.src) if by_register else None
    left = source(walk, insn.dst)
    wide = insn.code & 7 == opcodes.ALU64
    if right is None:
        if operation in (DIV, MOD) and not insn.imm:
            raise Refused(EINVAL, "verify/div-by-zero", "div by zero", state="the divisor is 0")
        if operation in (LSH, RSH, ARSH) and not 0 <= insn.imm < (64 if wide else 32):
            message = f"invalid shift {insn.imm}"
            raise Refused(EINVAL, "verify/bad-shift", message, state=f"it shifts by {insn.imm}")
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
        walk.registers[insn.dst] = left._replace(
            range=result, off=delta, ahead=64 if wide else 32, origin=walk.slot
        )
        return
    walk.registers[insn.dst] = Register(
        SCALAR, result, precise=left.precise and value is not None, origin=walk.slot
    )


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
        return scalar(ANY, walk.slot)
    symbol = pointers.SYMBOLS[operation >> 4]
    message = f"R{insn.dst} pointer {symbol} pointer prohibited"
    raise pointers.refused(message, EACCES, left, right)


# --- memory -----------------------------------------------------------------------------------


def load(walk: Walk, insn: Instruction) -> None:
    base = source(walk, insn.src)
    target(walk, insn.dst)
    signed = insn.code & 0xE0 == opcodes.MEMSX
    size = _SIZES[insn.code & 0x18]
    value = read_memory(walk, base, insn.src, insn.off, size, insn)
    if size < 8 and value.kind == SCALAR:
        cut = sign_extend(value.range, size) if signed else truncate(value.range, size)
        value = value._replace(range=cut)
    walk.registers[insn.dst] = value
    walk.save_access(base.kind)


def read_memory(
    walk: Walk,
    base: Register,
    register: int,
    offset: int,
    size: int,
    insn: Instruction,
    wanted: bool = True,
) -> Register:
    """Checks a load of `size` bytes and gives what it loads, before it is cut to size."""
    grants.alignment(base, offset, size, walk.strict)
    kind = base.kind
    inside = offset + base.off
    if kind == STACK:
        low, high = grants.stack(base, register, inside, size, False)
        frame = walk.grow(base.frame, low)
        if low == high and base.range.known:
            return stack.read(walk, frame, low, size, wanted)
        if not wanted:
            raise undecided("atomic operations at a variable place of the stack")
        return stack.read_somewhere(walk, frame, low, high + size)
    if kind == MAP_VALUE:
        facts = base.object
        grants.map_rights(facts, inside, size, False)
        grants.region(base, register, inside, size, facts.value_size)
        if facts.read is not None and base.range.known and facts.flags & MapFlags.RDONLY_PROG:
            data = facts.read(inside + base.range.value, size)
            return number(int.from_bytes(data, "little"), walk.slot)
        return scalar(ANY, walk.slot)
    if kind == CTX:
        grants.unmodified(base, register)
        return context.load(walk, inside, size)
    base_kind = kind & BASE
    if kind & MAYBE_NULL:
        raise grants.no_memory(base, register)
    if base_kind == MEMORY:
        grants.region(base, register, inside, size, base.room)
        return scalar(ANY, walk.slot)
    if kind in _PACKETS:
        grants.packet(base, register, inside, size)
        return scalar(ANY, walk.slot)
    if kind == MAP:
        return context.map_field(walk, base, register, inside, size)
    if base_kind in (SOCKET, SOCK_COMMON, TCP_SOCK):
        raise undecided("fields of sockets")
    if base_kind == BTF:
        return structures.load(walk, base, register, inside, size)
    raise grants.no_memory(base, register)


def write_memory(
    walk: Walk, base: Register, register: int, offset: int, size: int, insn: Instruction, value: int
) -> None:
    """Checks a store of `size` bytes and does it; `value` as for `stack.write`."""
    grants.alignment(base, offset, size, walk.strict)
    kind = base.kind
    inside = offset + base.off
    if kind == STACK:
        low, high = grants.stack(base, register, inside, size, True)
        frame = walk.grow(base.frame, low)
        if low == high and base.range.known:
            stack.write(walk, frame, low, size, insn, value)
        else:
            stack.write_somewhere(walk, frame, low, high + size, insn, value)
        return
    if kind == MAP_VALUE:
        facts = base.object
        grants.map_rights(facts, inside, size, True)
        grants.region(base, register, inside, size, facts.value_size)
        return
    if kind == CTX:
        grants.unmodified(base, register)
        context.store(walk, inside, size)
        return
    if kind & MAYBE_NULL:
        raise grants.no_memory(base, register)
    if kind & BASE == MEMORY:
        if kind & READ_ONLY:
            message = f"R{register} cannot write into {kind_name(kind)}"
            raise Refused(EACCES, "verify/read-only", message, origins=grants.origin(base))
        grants.region(base, register, inside, size, base.room)
        return
    if kind in _PACKETS:
        context.packet_write(walk)
        grants.packet(base, register, inside, size)
        return
    if kind == MAP:
        structure = context.map_structure(base.object)
        message = f"only read from {structure} is supported"
        raise Refused(EACCES, "verify/bad-pointer", message, origins=grants.origin(base))
    if kind & BASE == BTF:
        message = "only read is supported"
        raise Refused(EACCES, "verify/read-only", message, origins=grants.origin(base))
    if kind & BASE in (SOCKET, SOCK_COMMON, TCP_SOCK):
        raise undecided("writes to sockets")
    raise grants.no_memory(base, register)


def store(walk: Walk, insn: Instruction) -> None:
    size = _SIZES[insn.code & 0x18]
    if insn.code & 7 == opcodes.ST:
        base = source(walk, insn.dst)
        value = -1
    elif insn.code & 0xE0 == opcodes.ATOMIC:
        atomic(walk, insn, size)
        return
    else:
        source(walk, insn.src)
        base = source(walk, insn.dst)
        value = insn.src
    write_memory(walk, base, insn.dst, insn.off, size, insn, value)
    walk.save_access(base.kind)


def _atomic_place(base: Register, register: int) -> None:
    kind = base.kind & BASE
    if kind in (CTX, PACKET, PACKET_META, SOCKET, SOCK_COMMON, TCP_SOCK):
        message = f"BPF_ATOMIC stores into R{register} {kind_name(base.kind)} is not allowed"
        raise Refused(EACCES, "verify/bad-pointer", message, origins=grants.origin(base))


def atomic(walk: Walk, insn: Instruction, size: int) -> None:
    """Read, change and write back at once; acquire and release are a load and a store."""
    if insn.imm in (opcodes.LOAD_ACQUIRE, opcodes.STORE_RELEASE):
        number_, other = (
            (insn.src, insn.dst) if insn.imm == opcodes.LOAD_ACQUIRE else (insn.dst, insn.src)
        )
        if insn.imm == opcodes.STORE_RELEASE:
            source(walk, other)
        base = source(walk, number_)
        if insn.imm == opcodes.LOAD_ACQUIRE:
            target(walk, other)
        _atomic_place(base, number_)
        if insn.imm == opcodes.STORE_RELEASE:
            write_memory(walk, base, number_, insn.off, size, insn, other)
        else:
            value = read_memory(walk, base, number_, insn.off, size, insn)
            if size < 8 and value.kind == SCALAR:
                value = value._replace(range=truncate(value.range, size))
            walk.registers[other] = value
        walk.save_access(base.kind)
        return
    source(walk, insn.src)
    base = source(walk, insn.dst)
    if insn.imm == opcodes.CMPXCHG:
        source(walk, 0)
    _atomic_place(base, insn.dst)
    strict, walk.strict = walk.strict, True
    fetched = insn.imm & opcodes.FETCH
    loaded = 0 if insn.imm == opcodes.CMPXCHG else insn.src
    if fetched:
        target(walk, loaded)
        walk.registers[loaded] = scalar(ANY, walk.slot)
        base = walk.registers[insn.dst]
    try:
        value = read_memory(walk, base, insn.dst, insn.off, size, insn, bool(fetched))
        write_memory(walk, base, insn.dst, insn.off, size, insn, -2)
    finally:
        walk.strict = strict
    if fetched:
        if value.kind == SCALAR and size < 8:
            value = value._replace(range=truncate(value.range, size))
        walk.registers[loaded] = value
    walk.save_access(base.kind)


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
        register = number(value, slot)
    elif insn.src == Pseudo.FUNC:
        raise undecided("callbacks")
    else:
        facts = walk.shape.maps[slot]
        if insn.src == Pseudo.MAP_FD:
            register = pointer(MAP, slot, object=facts)
        else:
            offset = walk.shape.insns[slot + 1].imm & 0xFFFF_FFFF
            register = pointer(MAP_VALUE, slot, object=facts, off=offset)
    walk.registers[insn.dst] = register


def clear_caller_saved(walk: Walk) -> None:
    """A call leaves R1 to R5, and R0 until it says otherwise, without a value."""
    walk.registers[:6] = [UNINITIALISED] * 6


EFFECTS = {
    opcodes.ALU: arithmetic,
    opcodes.ALU64: arithmetic,
    opcodes.LDX: load,
    opcodes.ST: store,
    opcodes.STX: store,
    opcodes.LD: immediate,
}
"""The transfer function of each class but jumps."""
