"""Loads, stores and atomic operations: checked by `grants`, then done to the state.

Which memory an instruction touches is for the register to say that it goes through; each kind of
memory has its rules, and for a load the value that it gives. Mirrors ``check_mem_access`` and
``check_atomic_rmw`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags
from minibcc.isa import opcodes
from minibcc.kernel.verifier import (
    context,
    dynptrs,
    grants,
    kptrs,
    locks,
    sockets,
    stack,
    structures,
)
from minibcc.kernel.verifier.log import tnum_text
from minibcc.kernel.verifier.operands import source, target
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    BASE,
    BTF,
    CTX,
    FLOW_KEYS,
    MAP,
    MAP_KEY,
    MAP_VALUE,
    MAYBE_NULL,
    MEMORY,
    PACKET,
    PACKET_META,
    READ_ONLY,
    SCALAR,
    SOCKETS,
    STACK,
    UNTRUSTED,
    Refused,
    Register,
    kind_name,
    number,
)
from minibcc.kernel.verifier.values import (
    sign_extend,
    truncate,
)

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.explore import Walk

_SIZES = {opcodes.B: 1, opcodes.H: 2, opcodes.W: 4, opcodes.DW: 8}
_PACKETS = (PACKET, PACKET_META)


def load(walk: Walk, insn: Instruction) -> None:
    base = source(walk, insn.src)
    target(walk, insn.dst)
    signed = insn.code & 0xE0 == opcodes.MEMSX
    size = _SIZES[insn.code & 0x18]
    value = read_memory(walk, base, insn.src, insn.off, size, insn)
    if size < 8 and value.kind == SCALAR:
        if signed and value.range.umax >> (8 * size - 1):
            # Another number than what was spilled. Linux 6.18 takes it for a copy, and so -1 for
            # 0xffffffff; not followed, since what passes here may run as native code.
            value = value._replace(id=0, off=0, ahead=0)
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
            where = tnum_text(base.range.bits)
            message = (
                "variable offset stack pointer cannot be passed into helper function;"
                f" var_off={where} off={inside} size={size}"
            )
            raise Refused(EACCES, "verify/bad-pointer", message)
        dynptrs.unread(frame, register, base, low, high + size, size)
        return stack.read_somewhere(walk, frame, low, high + size)
    if kind == MAP_VALUE:
        facts = base.object
        grants.map_rights(facts, inside, size, False)
        grants.region(base, register, inside, size, facts.value_size)
        if facts.value_type is not None:
            field = locks.untouched(walk, base, inside, size)
            if field is not None:
                return kptrs.load(walk, field, insn)
        if facts.read is not None and base.range.known and facts.flags & MapFlags.RDONLY_PROG:
            data = facts.read(inside + base.range.value, size)
            return number(int.from_bytes(data, "little"))
        return ANY_NUMBER
    if kind == MAP_KEY:
        grants.region(base, register, inside, size, base.object.key_size)
        return ANY_NUMBER
    if kind == CTX:
        grants.unmodified(base, register)
        return context.load(walk, inside, size)
    base_kind = kind & BASE
    if kind & MAYBE_NULL:
        raise grants.no_memory(base, register)
    if base_kind == MEMORY:
        if not kind & UNTRUSTED:  # else it is read by loads that may fault: there are no bounds
            grants.region(base, register, inside, size, base.room)
        return ANY_NUMBER
    if kind in _PACKETS:
        grants.packet(base, register, inside, size)
        return ANY_NUMBER
    if kind == MAP:
        return context.map_field(walk, base, register, inside, size)
    if kind == FLOW_KEYS:
        grants.flow_keys(inside, size)
        return ANY_NUMBER
    if base_kind in SOCKETS:
        return sockets.load(base, register, inside, size)
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
        if facts.value_type is not None:
            field = locks.untouched(walk, base, inside, size)
            if field is not None:
                kptrs.store(walk, field, insn, value)
        return
    if kind == CTX:
        grants.unmodified(base, register)
        context.store(walk, inside, size)
        return
    if kind & MAYBE_NULL:
        raise grants.no_memory(base, register)
    if kind == MAP_KEY:
        message = f"write to change key R{register} not allowed"
        raise Refused(EACCES, "verify/read-only", message)
    if kind & BASE == MEMORY:
        if kind & READ_ONLY:
            message = f"R{register} cannot write into {kind_name(kind)}"
            raise Refused(EACCES, "verify/read-only", message)
        grants.region(base, register, inside, size, base.room)
        return
    if kind in _PACKETS:
        context.packet_write(walk)
        grants.packet(base, register, inside, size)
        return
    if kind == MAP:
        structure = context.map_structure(base.object)
        message = f"only read from {structure} is supported"
        raise Refused(EACCES, "verify/bad-pointer", message)
    if kind & BASE == BTF:
        message = "only read is supported"
        raise Refused(EACCES, "verify/read-only", message)
    if kind == FLOW_KEYS:
        grants.flow_keys(inside, size)
        return
    if kind & BASE in SOCKETS:
        message = f"R{register} cannot write into {kind_name(kind)}"
        raise Refused(EACCES, "verify/read-only", message)
    raise grants.no_memory(base, register)


def store(walk: Walk, insn: Instruction) -> None:
    size = _SIZES[insn.code & 0x18]
    if insn.code & 7 == opcodes.ST:
        _store(walk, insn, size, -1)
    elif insn.code & 0xE0 == opcodes.ATOMIC:
        atomic(walk, insn, size)
    else:
        source(walk, insn.src)
        _store(walk, insn, size, insn.src)


def _store(walk: Walk, insn: Instruction, size: int, value: int) -> None:
    base = source(walk, insn.dst)
    walk.written = 0
    write_memory(walk, base, insn.dst, insn.off, size, insn, value)
    walk.stack_notes.wrote(walk.state, walk.slot, walk.written)
    walk.save_access(base.kind)


def _atomic_place(base: Register, register: int, load: bool = False) -> None:
    if base.kind in (CTX, PACKET, PACKET_META, FLOW_KEYS, *SOCKETS):
        kind = kind_name(base.kind)
        message = f"BPF_ATOMIC stores into R{register} {kind} is not allowed"
        if load:
            message = f"BPF_ATOMIC loads from R{register} {kind} is not allowed"
        raise Refused(EACCES, "verify/bad-pointer", message)


def atomic(walk: Walk, insn: Instruction, size: int) -> None:
    """Read, change and write back at once; acquire and release are a load and a store. All of
    them must be aligned."""
    strict, walk.strict = walk.strict, True
    try:
        if insn.imm == opcodes.LOAD_ACQUIRE:
            load(walk, insn)
            # As Linux does, when the load is done: it may have replaced the pointer.
            _atomic_place(walk.registers[insn.src], insn.src, load=True)
        elif insn.imm == opcodes.STORE_RELEASE:
            source(walk, insn.src)
            _store(walk, insn, size, insn.src)
            _atomic_place(walk.registers[insn.dst], insn.dst)
        else:
            _exchange(walk, insn, size)
    finally:
        walk.strict = strict


def _exchange(walk: Walk, insn: Instruction, size: int) -> None:
    source(walk, insn.src)
    base = source(walk, insn.dst)
    if insn.imm == opcodes.CMPXCHG:
        source(walk, 0)
    _atomic_place(base, insn.dst)
    fetched = insn.imm & opcodes.FETCH
    loaded = 0 if insn.imm == opcodes.CMPXCHG else insn.src
    if fetched:
        target(walk, loaded)
        walk.registers[loaded] = ANY_NUMBER
        base = walk.registers[insn.dst]
    value = read_memory(walk, base, insn.dst, insn.off, size, insn, False)
    if fetched:
        value = read_memory(walk, base, insn.dst, insn.off, size, insn)
    write_memory(walk, base, insn.dst, insn.off, size, insn, -2)
    if fetched:
        if value.kind == SCALAR and size < 8:
            value = value._replace(range=truncate(value.range, size))
        walk.registers[loaded] = value
    walk.save_access(base.kind)
