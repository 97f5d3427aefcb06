"""Conditional jumps: which ways to go, and what is known on each.

A comparison that the state decides has one way on; otherwise the state forks, and each side learns
what the outcome says: ranges narrow (with all copies of the compared number), a pointer that was
compared with null is null or is not, a packet pointer that was compared with the packet's end has
room. Mirrors ``check_cond_jmp_op`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapType
from minibcc.isa.opcodes import JCOND, JEQ, JGE, JGT, JLE, JLT, JMP, JNE, X
from minibcc.kernel.verifier import fields
from minibcc.kernel.verifier.arithmetic import ADD, compute
from minibcc.kernel.verifier.compare import OPPOSITE, SWAPPED, refine, taken
from minibcc.kernel.verifier.operands import source
from minibcc.kernel.verifier.state import (
    BASE,
    BTF,
    MAP,
    MAP_VALUE,
    MAYBE_NULL,
    MEMORY,
    PACKET,
    PACKET_END,
    PACKET_META,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    SPILL,
    TCP_SOCK,
    TRUSTED,
    UNTRUSTED,
    XDP_SOCK,
    Link,
    Register,
    State,
    number,
)
from minibcc.kernel.verifier.values import constant

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.contract import MapFacts
    from minibcc.kernel.verifier.explore import Walk

AT_END, BEYOND_END = -1, -2
_PACKETS = (PACKET, PACKET_META, PACKET_END)
_NEVER_NULL = {SOCKET, TCP_SOCK, SOCK_COMMON, MAP_VALUE, MEMORY, MAP}
_SOCKETS_OF_MAPS = {
    MapType.SOCKMAP: SOCKET,
    MapType.SOCKHASH: SOCKET,
    MapType.XSKMAP: XDP_SOCK,
}
"""What the values of these maps are to a program that looked one up."""
_MAX_LINKED = 6
_MAX_PACKET = 0xFFFF


def branch(walk: Walk, insn: Instruction) -> None:
    """Moves the walk on, and puts the other way aside where both are possible."""
    operation = insn.code & 0xF0
    if operation == JCOND:
        walk.may_goto(insn)
        return
    wide = insn.code & 7 == JMP
    by_register = bool(insn.code & X)
    left = source(walk, insn.dst)
    right = source(walk, insn.src) if by_register else number(insn.imm)
    decided = _decide(operation, wide, left, right)
    if decided is not None:
        if left.kind == SCALAR:
            walk.mark_precise(insn.dst)
        if by_register and right.kind == SCALAR:
            walk.mark_precise(insn.src)
        walk.show_effect(insn)
        walk.slot += insn.off + 1 if decided else 1
        return
    here = walk.state
    linked_right = _linked(walk, right) if by_register else ()
    linked_left = _linked(walk, left)
    if len(linked_left) > 1 or len(linked_right) > 1:
        walk.link = Link(linked=tuple(dict.fromkeys((*linked_right, *linked_left))))
        walk.note_link()
    jumps = walk.fork(walk.slot + insn.off + 1)
    left, right = (
        here.frame.registers[insn.dst],
        here.frame.registers[insn.src] if by_register else right,
    )
    if left.kind == SCALAR and right.kind == SCALAR and not (by_register and insn.src == insn.dst):
        for state, outcome in ((here, OPPOSITE[operation]), (jumps, operation)):
            a, b = refine(outcome, wide, left.range, right.range)
            registers = state.frame.registers
            registers[insn.dst] = left.ranged(a)
            if by_register:
                registers[insn.src] = right.ranged(b)
                if right.id:
                    _tell_copies(state, registers[insn.src], linked_right)
            if left.id:
                _tell_copies(state, registers[insn.dst], linked_left)
    elif wide:
        _compare_pointers(insn, operation, by_register, left, right, here, jumps)
    walk.show_effect(insn)
    walk.slot += 1


def _decide(operation: int, wide: bool, left: Register, right: Register) -> bool | None:
    if left.kind in _PACKETS and right.kind in _PACKETS:
        return _packet_decided(operation, left, right) if wide else None
    if left.kind == SCALAR and right.kind == SCALAR:
        return taken(operation, wide, left.range, right.range)
    if right.kind != SCALAR:
        left, right = right, left
        operation = SWAPPED[operation]
    known = right.kind == SCALAR and (right.range.known if wide else right.range.known32)
    if not known or right.range.value & (-1 if wide else 0xFFFF_FFFF):
        return None
    trusted = left.kind & BASE == BTF and bool(left.ref or left.kind & TRUSTED)
    if left.kind & (MAYBE_NULL | UNTRUSTED):
        return None
    if not (trusted or left.kind & BASE in _NEVER_NULL):
        return None
    return {JEQ: False, JNE: True}.get(operation)


def _packet_decided(operation: int, left: Register, right: Register) -> bool | None:
    """A packet pointer that was found at or beyond the end stays there."""
    if right.kind == PACKET_END:
        register = left
    elif left.kind == PACKET_END:
        register, operation = right, SWAPPED[operation]
    else:
        return None
    if register.room == BEYOND_END and operation in (JLE, JGT):
        return operation == JGT
    if register.room < 0 and operation in (JLT, JGE):
        return operation == JGE
    return None


# --- numbers ----------------------------------------------------------------------------------


def _linked(walk: Walk, register: Register) -> tuple[tuple[int, int, bool], ...]:
    """Where copies of a number are that may still be read, itself among them; those beyond the
    sixth are cut off."""
    if register.kind != SCALAR or not register.id:
        return ()
    state = walk.state
    slots = [frame.callsite for frame in state.frames[1:]] + [walk.slot]
    found: list[tuple[int, int, bool]] = []
    for frame, index, on_stack, other in state.copies(register.id):
        if other.kind != SCALAR:
            continue
        if not on_stack and not walk.live[slots[frame.number]] >> index & 1:
            continue
        if len(found) < _MAX_LINKED:
            found.append((frame.number, index, on_stack))
        else:
            frame.put(index, on_stack, other._replace(id=0, off=0, ahead=0))
    return tuple(found)


def _get(state: State, place: tuple[int, int, bool]) -> Register | None:
    frame = state.frames[place[0]]
    return frame.stack[place[1]][1] if place[2] else frame.registers[place[1]]


def _tell_copies(state: State, known: Register, places: tuple[tuple[int, int, bool], ...]) -> None:
    """What was learnt of one copy holds for the others, ahead by a constant or not."""
    for place in places:
        other = _get(state, place)
        if other is None or other.kind != SCALAR or other.id != known.id or other is known:
            continue
        if known.ahead and other.ahead and known.ahead != other.ahead:
            continue  # a distance of 64 bits says nothing of one of 32
        if other.off == known.off or not other.ahead | known.ahead:
            changed = known
        else:
            wide = 32 not in (known.ahead, other.ahead)
            moved = compute(ADD, wide, known.range, constant(other.off - known.off))
            assert moved is not None
            changed = other._replace(range=moved, precise=known.precise)
        state.frames[place[0]].put(place[1], place[2], changed)


# --- pointers ---------------------------------------------------------------------------------


def _compare_pointers(
    insn: Instruction,
    operation: int,
    by_register: bool,
    left: Register,
    right: Register,
    here: State,
    jumps: State,
) -> None:
    if by_register and left.kind != SCALAR and right.kind != SCALAR:
        null_left, null_right = left.kind & MAYBE_NULL, right.kind & MAYBE_NULL
        if (
            null_left != null_right
            and operation in (JEQ, JNE)
            and BTF not in (left.kind & BASE, right.kind & BASE)
        ):
            equal = jumps if operation == JEQ else here
            index = insn.dst if null_left else insn.src
            registers = equal.frame.registers
            registers[index] = not_null(registers[index])
    if not by_register and not insn.imm and operation in (JEQ, JNE) and left.kind & MAYBE_NULL:
        null_check(here, left, operation == JNE)
        null_check(jumps, left, operation == JEQ)
    elif by_register:
        _packet_room(operation, left, right, insn, here, jumps)


def not_null(register: Register) -> Register:
    """A pointer that was found not to be null."""
    kind = register.kind & ~MAYBE_NULL
    if kind & BASE == MAP_VALUE:
        facts = register.object
        if facts.inner is not None:
            return register._replace(kind=MAP, object=facts.inner)
        if facts.type in _SOCKETS_OF_MAPS:
            return register._replace(kind=_SOCKETS_OF_MAPS[facts.type], object=None)
    return register._replace(kind=kind)


def has_lock(facts: MapFacts) -> bool:
    return facts.value_type is not None and any(
        field.name == "bpf_spin_lock" for field in fields.find(facts.value_type)
    )


def null_check(state: State, register: Register, null: bool) -> None:
    """All copies of a pointer that may be null become a zero, or a pointer."""
    if register.ref and register.ref == register.id and null:
        state.references = tuple(ref for ref in state.references if ref.id != register.ref)

    for frame, index, on_stack, other in state.copies(register.id):
        if not other.kind & MAYBE_NULL:
            continue
        known = number(0) if null else not_null(other)
        if not null and not (known.kind == MAP_VALUE and has_lock(known.object)):
            known = known._replace(id=0)  # but locks are told apart by the value that they are in
        frame.put(index, on_stack, known)


def every(state: State, change: Callable[[Register], Register]) -> None:
    """Replaces every register and spilled register by what `change` makes of it."""
    for frame in state.frames:
        frame.registers[:] = [change(register) for register in frame.registers]
        for index, (types, register) in list(frame.stack.items()):
            if register is not None and types[7] == SPILL:
                frame.stack[index] = types, change(register)


def _packet_room(
    operation: int, left: Register, right: Register, insn: Instruction, here: State, jumps: State
) -> None:
    """A packet pointer against the packet's end (or metadata against the packet's start)."""
    index = insn.dst
    if _is_end(right, left):
        bounded = left
    elif _is_end(left, right):
        bounded, operation, index = right, SWAPPED[operation], insn.src
    else:
        return
    # On one side the pointer is below the end (or at it), on the other beyond (or at it).
    if operation in (JGT, JGE):
        below, beyond = here, jumps
    elif operation in (JLT, JLE):
        below, beyond = jumps, here
    else:
        return
    strictly = operation in (JGE, JLT)
    _has_room(below, bounded, strictly)
    if bounded.kind == PACKET:
        registers = beyond.frame.registers
        registers[index] = registers[index]._replace(room=AT_END if strictly else BEYOND_END)


def _is_end(end: Register, pointer: Register) -> bool:
    if pointer.kind == PACKET:
        return end.kind == PACKET_END
    start = end.kind == PACKET and not end.id and not end.off and end.range.bits == (0, 0)
    return pointer.kind == PACKET_META and start


def _has_room(state: State, bounded: Register, strictly: bool) -> None:
    """All bytes up to `bounded` (and, if it is strictly below the end, one more) are there."""
    if bounded.off < 0 or (not bounded.off and strictly):
        return
    if bounded.range.umax + bounded.off > _MAX_PACKET:
        return
    room = bounded.off + strictly

    for frame, index, on_stack, other in state.copies(bounded.id):
        if other.kind == bounded.kind and other.room < room:
            frame.put(index, on_stack, other._replace(room=room))
