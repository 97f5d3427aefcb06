"""What a load or a store does to the stack: spills, fills, and plain bytes.

An aligned store of a register keeps the register (a spill), and a matching load brings it back
with its identity, so that what is later learnt of one copy is learnt of all. Any other store leaves
bytes of which only "zero" is remembered. Mirrors ``check_stack_write_fixed_off`` and its siblings
in kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING

from minibcc.kernel.verifier import dynptrs
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    DYNPTR_BYTE,
    EMPTY,
    INVALID,
    MISC,
    SCALAR,
    SPILL,
    STACK,
    ZEROED,
    Frame,
    Link,
    Refused,
    Register,
    is_null,
    number,
    spilled,
)
from minibcc.kernel.verifier.values import ZERO

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.explore import Walk
    from minibcc.kernel.verifier.state import Slot

_SPILL, _MISC, _ZEROED = bytes([SPILL]), bytes([MISC]), bytes([ZEROED])
_UNKNOWN = _MISC * 8
_BESIDE = bytes(kind if kind in (ZEROED, INVALID) else MISC for kind in range(256))
"""What the bytes beside a spilled register become."""
_PRECISE_ZERO = Register(SCALAR, ZERO, precise=True)


def linked(walk: Walk, register: Register) -> Register:
    """`register` with an id of its own, if it is a number that a copy could be told apart by."""
    if register.kind != SCALAR or register.range.known:
        return register
    if register.ahead:
        register = register._replace(id=0, off=0, ahead=0)
    return register if register.id else register._replace(id=walk.new_id())


def width(register: Register) -> int:
    """The bits that the value needs."""
    return register.range.umax.bit_length()


def _spill(old: Slot, register: Register, size: int) -> Slot:
    """The slot after `size` low bytes of `register` were stored at its start."""
    return old[0][: 8 - size].translate(_BESIDE) + _SPILL * size, register


def _scrubbed(slot: Slot) -> bytes:
    """The bytes of a slot whose spilled register is no more."""
    return slot[0].replace(_SPILL, _MISC)


def write(walk: Walk, frame: Frame, offset: int, size: int, insn: Instruction, source: int) -> None:
    """Stores register `source` (-1: the instruction's immediate; -2: bytes of unknown content) at
    a fixed offset of `frame`."""
    current = walk.state.frame
    register = current.registers[source] if source >= 0 else None
    index = (-offset - 1) >> 3
    aligned = not offset % 8
    slot = frame.stack.get(index, EMPTY)
    if slot[0][0] == DYNPTR_BYTE:
        dynptrs.overwritten(walk, frame, index)
        current = walk.state.frame
        register, slot = current.registers[source] if source >= 0 else None, EMPTY
    if register is not None and aligned and register.kind == SCALAR:
        fits = width(register) <= 8 * size
        if fits:
            register = linked(walk, register)
            current.registers[source] = register
            kept = register
        else:
            kept = register._replace(id=0, off=0, ahead=0)
        frame.stack[index] = _spill(slot, kept, size)
        walk.link = Link(frame.number, index)
    elif source == -1 and aligned:
        frame.stack[index] = _spill(slot, number(insn.imm), size)
        walk.link = Link(frame.number, index)
    elif register is not None and register.kind != SCALAR:
        if size != 8:
            raise Refused(EACCES, "verify/spill", "invalid size of register spill")
        if frame is not current and register.kind == STACK:
            raise Refused(
                EINVAL,
                "verify/spill",
                "cannot spill pointers to stack into stack frame of the caller",
            )
        frame.stack[index] = _spill(slot, register, 8)
        walk.link = Link(frame.number, index)
    else:
        kind = MISC
        if (register is not None and is_null(register)) or (source == -1 and not insn.imm):
            if register is not None:
                walk.mark_precise(source)
            kind = ZEROED
        types, end = _scrubbed(slot), (-offset - 1) % 8 + 1
        frame.stack[index] = types[: end - size] + bytes([kind]) * size + types[end:], None
    walk.wrote_stack(frame, index, aligned and size == 8)


def write_somewhere(
    walk: Walk, frame: Frame, low: int, high: int, insn: Instruction, source: int
) -> None:
    """Stores at any of the offsets ``[low, high)``: every slot there may have changed, but for a
    zero that is stored where only zeros are."""
    register = walk.state.frame.registers[source] if source >= 0 else None
    zero = (register is not None and is_null(register)) or (source == -1 and not insn.imm)
    zero_used = False
    for index in range((-high) >> 3, ((-low - 1) >> 3) + 1):
        dynptrs.overwritten(walk, frame, index)
    for offset in range(low, high):
        index, byte = (-offset - 1) >> 3, (-offset - 1) % 8
        walk.touch(frame, index)
        slot = frame.stack.get(index, EMPTY)
        held = spilled(slot)
        types = bytearray(slot[0])
        if zero and types[byte] == SPILL and held is not None and is_null(held):
            zero_used = True
            continue
        if zero and types[byte] == ZEROED:
            zero_used = True
        else:
            types[byte] = MISC
        frame.stack[index] = bytes(types).replace(_SPILL, _MISC), None
    if zero_used and source >= 0:
        walk.mark_precise(source)


def fill(walk: Walk, frame: Frame, low: int, high: int) -> None:
    """A helper fills ``[low, high)``, which may be empty, with bytes of unknown content."""
    if low == high:
        return
    for index in range((-high) >> 3, ((-low - 1) >> 3) + 1):
        dynptrs.overwritten(walk, frame, index)
        first, last = _bytes_of(index, low, high)
        types = _scrubbed(frame.stack.get(index, EMPTY))
        frame.stack[index] = types[:first] + _UNKNOWN[first:last] + types[last:], None
        walk.touch(frame, index)


def _bytes_of(index: int, low: int, high: int) -> tuple[int, int]:
    """Which bytes of a slot, as it counts them (from the highest address), lie in ``[low, high)``:
    the first of them, and the one behind the last."""
    top = -8 * index
    return max(top - high, 0), min(top - low, 8)


def read(walk: Walk, frame: Frame, offset: int, size: int, wanted: bool) -> Register:
    """What a load of `size` bytes at a fixed offset of `frame` gives; with `wanted` False the value
    goes nowhere (an atomic's first half)."""
    index, end = (-offset - 1) >> 3, (-offset - 1) % 8 + 1
    types, register = frame.stack.get(index, EMPTY)
    walk.read_stack(frame, index)
    if register is None or types[7] != SPILL:
        if not types[end - size : end].strip(_ZEROED):
            return _PRECISE_ZERO
        if types[0] == DYNPTR_BYTE:
            message = f"invalid read from stack off {offset}+0 size {size}"
            raise Refused(EACCES, "verify/dynptr", message)
        return ANY_NUMBER
    spilled_size = types.count(SPILL)
    link = Link(frame.number, index)
    if size == 8 and spilled_size == 8:
        walk.link = link
        return register
    if register.kind != SCALAR:
        raise Refused(EACCES, "verify/spill", "invalid size of register fill")
    if not wanted:
        return register
    if size <= spilled_size and not offset % 8:
        walk.link = link
        if size == 4 and spilled_size == 4 and width(register) <= 32:
            register = linked(walk, register)
            frame.stack[index] = types, register
        if width(register) > 8 * size:
            return register._replace(id=0, off=0, ahead=0)
        return register
    kinds = types[end - size : end]
    if kinds.count(SPILL) == size and is_null(register):
        walk.link = link
        return number(0)
    if kinds.count(ZEROED) == size:
        return number(0)
    return ANY_NUMBER


def read_somewhere(walk: Walk, frame: Frame, low: int, high: int) -> Register:
    """What a load from somewhere in ``[low, high)`` gives: zero if all of that is."""
    zero = True
    for offset in range(low, high):
        index, byte = (-offset - 1) >> 3, (-offset - 1) % 8
        walk.read_stack(frame, index)
        zero = zero and frame.stack.get(index, EMPTY)[0][byte] == ZEROED
    return _PRECISE_ZERO if zero else ANY_NUMBER


def use(walk: Walk, frame: Frame, low: int, high: int, write: bool) -> None:
    """A helper reads ``[low, high)``, or (`write`) reads and may change it."""
    for index in range((-high) >> 3, ((-low - 1) >> 3) + 1):
        slot = frame.stack.get(index, EMPTY)
        walk.read_stack(frame, index, False)
        if not write:
            continue
        types, register = slot
        if types[7] == SPILL and register is not None:
            types, register = _scrubbed(slot), None
        first, last = _bytes_of(index, low, high)
        frame.stack[index] = types[:first] + _UNKNOWN[first:last] + types[last:], register
