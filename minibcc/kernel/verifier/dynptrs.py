"""Dynptrs: places of two stack slots in which the kernel keeps an address, a size and a kind.

A helper makes one in uninitialised stack, others read, write or slice what it stands for, and the
ones of a ring buffer must be given back. A program's own store into its slots destroys it, with
all slices of it; none may destroy one that must be given back. A callback gets a pointer to one of
the kernel's own. Mirrors ``process_dynptr_func`` and its siblings of kernel/bpf/verifier.c.

A slot of one holds a `Register` of kind `DYNPTR`: `object` is the type ("local", "ringbuf"), `room`
1 in the slot at the lower address, which is the first, `id` its name and `ref` its reference.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING, NamedTuple

from minibcc.kernel.verifier import branches, memory
from minibcc.kernel.verifier.log import tnum_text
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    DYNPTR,
    DYNPTR_BYTE,
    EMPTY,
    MAYBE_NULL,
    MEMORY,
    STACK,
    Frame,
    Reference,
    Refused,
    Register,
    pointer,
)

if TYPE_CHECKING:
    from minibcc.abi.helpers import ValueType
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.explore import Walk

_SLOT = bytes([DYNPTR_BYTE]) * 8
_TYPES = {"dynptr_local": "local", "dynptr_ringbuf": "ringbuf"}
_REFERENCED = ("ringbuf",)
_SLOTS = 2


class _Place(NamedTuple):
    """Where a register says that a dynptr is: its first slot, or what is wrong with that (""
    where the stack has no such slots yet)."""

    slot: int
    wrong: str | None = None


def _place(register: Register) -> _Place:
    if not register.range.known:
        return _Place(0, "dynptr has to be at a constant offset")
    offset = register.off + register.range.smin
    slot = (-offset - 1) >> 3
    if offset % 8 or slot + 1 < _SLOTS:
        return _Place(0, f"cannot pass in dynptr at an offset={offset}")
    return _Place(slot)


def _found(walk: Walk, register: Register) -> Register | None:
    """The dynptr that is there, if one is."""
    if register.kind == DYNPTR:
        return register
    where = _place(register)
    if where.wrong is not None:
        return None
    stack = walk.state.frames[register.frame].stack
    first, second = stack.get(where.slot, EMPTY), stack.get(where.slot - 1, EMPTY)
    if first[0] != _SLOT or second[0] != _SLOT or first[1] is None or not first[1].room:
        return None
    return first[1]


def _refused(register: Register, message: str) -> Refused:
    """What is wrong with the place is told first."""
    wrong = _place(register).wrong if register.kind == STACK else None
    return Refused(EINVAL, "verify/dynptr", wrong or message, lead=message if wrong else "")


def type_of(wanted: ValueType) -> str:
    """The type that an argument is to have, "" for any."""
    return next((name for flag, name in _TYPES.items() if flag in wanted.flags), "")


def acquired(walk: Walk, number: int, register: Register) -> None:
    """A dynptr that a helper is to give back was acquired."""
    if register.kind != STACK:
        message = "cannot release unowned const bpf_dynptr"
        raise Refused(EINVAL, "verify/dynptr", message)
    where = _place(register)
    slot = walk.state.frames[register.frame].stack.get(where.slot, EMPTY)
    if where.wrong is not None or slot[1] is None or not slot[1].ref:
        raise _refused(register, f"arg {number} is an unacquired reference")


def argument(walk: Walk, number: int, register: Register, wanted: ValueType) -> Register | None:
    """Checks an argument, and gives the dynptr that it is; None where the helper is to make it."""
    if "uninit" in wanted.flags:
        _make(walk, number, register, type_of(wanted))
        return None
    if register.kind == DYNPTR and "rdonly" not in wanted.flags:
        message = "cannot pass pointer to const bpf_dynptr, the helper mutates it"
        raise Refused(EINVAL, "verify/dynptr", message)
    found = _found(walk, register)
    if found is None:
        message = f"Expected an initialized dynptr as arg #{number - 1}"
        raise _refused(register, message)
    kind = type_of(wanted)
    if kind and found.object != kind:
        message = f"Expected a dynptr of type {kind} as arg #{number - 1}"
        raise Refused(EINVAL, "verify/dynptr", message)
    if register.kind == STACK:
        frame, slot = walk.state.frames[register.frame], _place(register).slot
        walk.read_stack(frame, slot)
        walk.read_stack(frame, slot - 1)
    return found


def _make(walk: Walk, number: int, register: Register, kind: str) -> None:
    if register.kind != STACK or _place(register).wrong is not None:
        raise _refused(register, "Dynptr has to be an uninitialized dynptr")
    insn: Instruction = walk.shape.insns[walk.slot]
    for offset in (0, 8):
        memory.write_memory(walk, register, number, offset, 8, insn, -2)
    frame, slot = walk.state.frames[register.frame], _place(register).slot
    made = pointer(DYNPTR, object=kind, id=walk.new_id())
    if kind in _REFERENCED:
        made = made._replace(ref=walk.new_id())
        walk.state.references = (*walk.state.references, Reference(made.ref, walk.slot))
    frame.stack[slot] = _SLOT, made._replace(room=1)
    frame.stack[slot - 1] = _SLOT, made


def release(walk: Walk, register: Register) -> None:
    """A helper gave the dynptr back; its slices were forgotten with its reference."""
    frame = walk.state.frames[register.frame]
    found = frame.stack[_place(register).slot][1]
    for index, (types, other) in list(frame.stack.items()):
        if types == _SLOT and found is not None and other is not None and other.ref == found.ref:
            frame.stack[index] = EMPTY


def overwritten(walk: Walk, frame: Frame, index: int) -> None:
    """A store into a slot: what dynptr was there is none any more."""
    types, found = frame.stack.get(index, EMPTY)
    if types != _SLOT or found is None:
        return
    if found.object in _REFERENCED:
        raise Refused(EINVAL, "verify/dynptr", "cannot overwrite referenced dynptr")
    other = index - 1 if found.room else index + 1
    frame.stack[index] = frame.stack[other] = EMPTY
    walk.touch(frame, index)
    walk.touch(frame, other)
    name = found.id

    def forget(register: Register) -> Register:
        slice_ = register.kind & ~MAYBE_NULL == MEMORY and register.frame == name
        return ANY_NUMBER if slice_ else register

    branches.every(walk.state, forget)


def overlapped(frame: Frame, low: int, high: int) -> int | None:
    """The first of the offsets ``[low, high)`` that is of a dynptr."""
    for index in range((-low - 1) >> 3, ((-high) >> 3) - 1, -1):
        if frame.stack.get(index, EMPTY)[0] == _SLOT:
            return max(low, -8 * index - 8)
    return None


def unread(frame: Frame, number: int, register: Register, low: int, high: int, size: int) -> None:
    """A helper, or a load at a variable offset, reads none of a dynptr."""
    found = overlapped(frame, low, high)
    if found is None:
        return
    value = register.range
    into = found - low
    if value.known:
        message = f"invalid read from stack R{number} off {low}+{into} size {size}"
    else:
        where = tnum_text(value.bits)
        message = f"invalid read from stack R{number} var_off {where}+{into} size {size}"
    raise Refused(EACCES, "verify/dynptr", message)


def slice_of(found: Register, size: int, number: int) -> Register:
    """`size` bytes of what a dynptr stands for, or null, by the id `number`."""
    kind = MEMORY | MAYBE_NULL
    return pointer(kind, id=number, ref=found.ref, frame=found.id, room=size)
