"""When a path needs no further walk: states that cover others.

A checkpoint is a state kept at a marked slot. If an earlier one, all of whose paths have ended
well, covers the current state (the same kinds of pointers; every number that mattered within the
old one's range), then all that can follow was seen. A checkpoint whose paths have not ended is the
body of a loop: to meet the very same state again is to loop for ever. Mirrors ``is_state_visited``
and ``states_equal`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.abi.bpf import STACK_SIZE
from minibcc.kernel.verifier import precision
from minibcc.kernel.verifier.requires import members
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    BASE,
    DYNPTR_BYTE,
    EMPTY,
    INVALID,
    MAP_KEY,
    MAP_VALUE,
    MEMORY,
    MISC,
    NOT_INIT,
    PACKET,
    PACKET_META,
    SCALAR,
    SPILL,
    Frame,
    Register,
    Slot,
    State,
)
from minibcc.kernel.verifier.values import within

if TYPE_CHECKING:
    from minibcc.kernel.verifier.explore import Walk

_CLEAN = bytes([MISC, INVALID])
_ALL_SLOTS = (1 << STACK_SIZE // 8) - 1
_LONG = 40


class Checkpoint:
    """A state kept for comparison, and how often that paid. `differs` and `misfit` are the
    registers of the last frame that told it from a state before, for two ways to compare, and
    `misplaced` (a mask) its stack slot that did: likely they tell it from the next one too. `live`
    are the live registers of each frame: at its call, those of the last one at the checkpoint."""

    __slots__ = ("differs", "hits", "live", "misfit", "misplaced", "misses", "state")

    def __init__(self, state: State, live: list[tuple[int, ...]]) -> None:
        self.state = state
        self.live = live
        self.hits = 0
        self.misses = 0
        self.differs = 0
        self.misfit = -1
        self.misplaced = 0


def finished(state: State | None) -> None:
    """A path that grew from this checkpoint has ended."""
    while state is not None:
        state.branches -= 1
        if state.branches:
            return
        state = state.parent


def earlier_visit(state: State, slot: int) -> State | None:
    """The latest checkpoint on this path at a slot, in the same functions."""
    old = state.parent
    while old is not None:
        if old.slot == slot and old.frame.chain == state.frame.chain:
            return old
        old = old.parent
    return None


def widen(old: State, state: State) -> None:
    """Numbers that changed since `old` and did not matter become any number."""
    ids = _Ids()
    for before, frame in zip(old.frames, state.frames, strict=False):
        for index, register in enumerate(frame.registers):
            was = before.registers[index]
            if _loosens(was, register, ids):
                frame.registers[index] = ANY_NUMBER
        for index, (types, spilled) in list(frame.stack.items()):
            was_spilled = before.stack.get(index, EMPTY)[1]
            if spilled is None or was_spilled is None:
                continue
            if types[7] == SPILL and _loosens(was_spilled, spilled, ids):
                frame.stack[index] = types, ANY_NUMBER


def _loosens(was: Register, now: Register, ids: _Ids) -> bool:
    return (
        was.kind == now.kind == SCALAR
        and not was.precise
        and not now.precise
        and not _exact(was, now, ids)
    )


def visited(walk: Walk) -> bool:
    """Whether an earlier visit covers the current state; else the state may be kept for later
    ones. Refuses an endless loop."""
    state, slot = walk.state, walk.slot
    jumps, processed = walk.last_checkpoint
    force = walk.often or slot in walk.shape.force or state.noted > _LONG
    keep = force or (walk.jumps - jumps >= 2 and walk.processed - processed >= 8)
    known = walk.explored.get(slot)
    if known is None:
        known = walk.explored[slot] = []
    back = slot in walk.shape.callbacks
    goto = not back and slot in walk.shape.force
    removed = False
    for checkpoint in known:
        old = checkpoint.state
        if old.branches:
            hit = False
            if (
                goto
                and old.goto_depth != state.goto_depth
                and _covers(walk, checkpoint, state, within_only=True)
            ) or (back and _covers(walk, checkpoint, state, within_only=True)):
                walk.looped = hit = True
            if not hit:
                if (
                    not back
                    and _may_loop(checkpoint, state)
                    and old.goto_depth == state.goto_depth
                    and old.unrolled == state.unrolled
                    and _entry(old) == _entry(state)
                    and _same(checkpoint, state)
                ):
                    walk.refuse_loop(old)
                if not force and walk.jumps - jumps < 20 and walk.processed - processed < 100:
                    keep = False
        else:
            hit = _covers(walk, checkpoint, state, within_only=walk.looped or walk.exact)
        if hit:
            checkpoint.hits += 1
            precision.mark_like(walk, old)
            return True
        if keep:
            checkpoint.misses += 1
        patience = 64 if old.branches and (goto or back) else 3
        if checkpoint.misses > checkpoint.hits * patience + patience:
            removed = True
            checkpoint.misses = -1
    if removed:
        known[:] = [checkpoint for checkpoint in known if checkpoint.misses >= 0]
    if keep:
        _keep(walk, known)
    state.noted += walk.shape.prune[slot] >> 1
    return False


def _keep(walk: Walk, known: list[Checkpoint]) -> None:
    state = walk.state
    kept = state.copy()
    kept.slot = walk.slot
    kept.branches = 1
    state.parent = kept
    state.history = []
    state.links = {}
    state.noted = 0
    live = [members(walk.live[slot]) for slot in (*kept.frame.chain[1:], kept.slot)]
    known.insert(0, Checkpoint(kept, live))
    walk.checkpoints += 1
    if walk.witness is not None:
        walk.witness.held.setdefault(walk.slot, []).append(kept)
    walk.last_checkpoint = walk.jumps, walk.processed


def _entry(state: State) -> int:
    """Which of the times a timer's function was set going this is."""
    callback = state.frame.callback
    return callback.entry if callback is not None else 0


def _may_loop(checkpoint: Checkpoint, state: State) -> bool:
    """A quick look: the same registers at all."""
    frames, others = checkpoint.state.frames, state.frames
    if len(frames) != len(others):
        return False
    registers, now = frames[-1].registers, others[-1].registers
    if _unlike(registers[checkpoint.differs], now[checkpoint.differs]):
        return False
    for index, register in enumerate(registers):
        if _unlike(register, now[index]):
            checkpoint.differs = index
            return False
    return True


def _unlike(a: Register, b: Register) -> bool:
    return a is not b and (a.kind != b.kind or a.range != b.range or a.off != b.off)


# --- comparison -------------------------------------------------------------------------------


class _Ids:
    """Which id of the old state is which of the new one."""

    __slots__ = ("_unlinked", "new", "old")

    def __init__(self) -> None:
        self.old: dict[int, int] = {}
        self.new: dict[int, int] = {}
        self._unlinked = 0

    def same(self, a: int, b: int) -> bool:
        if not a or not b:
            return a == b
        if a in self.old or b in self.new:
            return self.old.get(a) == b
        self.old[a] = b
        self.new[b] = a
        return True

    def same_number(self, a: int, b: int) -> bool:
        """For numbers that mattered: one without an id is linked to none, as if it had its own."""
        if not a and not b:
            return True
        self._unlinked -= 1
        return self.same(a or self._unlinked, b or self._unlinked)


def _references(old: State, state: State, ids: _Ids) -> bool:
    if not old.references and not state.references:
        return True
    return len(old.references) == len(state.references) and all(
        a.lock is b.lock and ids.same(a.id, b.id)
        for a, b in zip(old.references, state.references, strict=True)
    )


def _covers(walk: Walk, checkpoint: Checkpoint, state: State, *, within_only: bool) -> bool:
    """Whether whatever `state` may hold, the kept one held when it was walked."""
    old = checkpoint.state
    last = old.frames[-1]
    misfit = checkpoint.misfit
    if misfit >= 0:
        x, y = last.registers[misfit], state.frames[-1].registers[misfit]
        if x is not y and not _register_covers(x, y, _Ids(), within_only):
            return False
    if last.chain != state.frames[-1].chain:
        return False
    ids = _Ids()
    if not _references(old, state, ids):
        return False
    for live, a, b in zip(checkpoint.live, old.frames, state.frames, strict=True):
        if a.rounds > b.rounds:
            return False
        then, now = a.registers, b.registers
        for index in live:
            x, y = then[index], now[index]
            same = x is y and not x.id | x.ref
            if not same and not _register_covers(x, y, ids, within_only):
                if a is last:
                    checkpoint.misfit = index
                return False
    if not last.stack and not last.number:
        return True
    slots = [_ALL_SLOTS] * len(old.frames) if within_only else walk.stack_notes.live(old)
    likely = slots[-1] & checkpoint.misplaced
    if likely and _stack_misfit(last, state.frames[-1], likely, _Ids(), within_only) >= 0:
        return False
    for used, a, b in zip(slots, old.frames, state.frames, strict=True):
        wrong = _stack_misfit(a, b, used, ids, within_only)
        if wrong >= 0:
            if a is last:
                checkpoint.misplaced = 1 << wrong
            return False
    return True


def _same(checkpoint: Checkpoint, state: State) -> bool:
    """Whether the two states are one, up to the names of ids."""
    old = checkpoint.state
    if old.frame.chain != state.frame.chain:
        return False
    ids = _Ids()
    if not _references(old, state, ids):
        return False
    for live, a, b in zip(checkpoint.live, old.frames, state.frames, strict=True):
        if a.rounds > b.rounds:
            return False
        for index in live:
            if not _exact(a.registers[index], b.registers[index], ids):
                return False
        for index in a.stack.keys() | b.stack.keys():
            (types, x), (others, y) = a.stack.get(index, EMPTY), b.stack.get(index, EMPTY)
            if types != others:
                return False
            if x is not None and y is not None and types[7] == SPILL and not _exact(x, y, ids):
                return False
            if types[7] == DYNPTR_BYTE and not _same_dynptr(x, y, ids):
                return False
    return True


def _exact(a: Register, b: Register, ids: _Ids) -> bool:
    return (
        a.kind == b.kind
        and a.range == b.range
        and a.off == b.off
        and a.object is b.object
        and a.room == b.room
        and a.frame == b.frame
        and a.ahead == b.ahead
        and ids.same(a.id, b.id)
        and ids.same(a.ref, b.ref)
    )


def _register_covers(old: Register, new: Register, ids: _Ids, within_only: bool) -> bool:
    kind = old.kind
    if kind == NOT_INIT:
        return not within_only or new.kind == NOT_INIT
    if kind != new.kind:
        return False
    if kind == SCALAR:
        if not old.precise and not within_only:
            return True
        if old.ahead != new.ahead or (old.ahead and old.off != new.off):
            return False
        return within(old.range, new.range) and ids.same_number(old.id, new.id)
    base = kind & BASE
    if base in (MAP_KEY, MAP_VALUE, MEMORY):
        return (
            old.off == new.off
            and old.object is new.object
            and old.room == new.room
            and within(old.range, new.range)
            and old.frame == new.frame
            and ids.same(old.id, new.id)
            and ids.same(old.ref, new.ref)
        )
    if base in (PACKET, PACKET_META):
        return (
            old.room <= new.room
            and not (old.room < 0 and old.room != new.room)
            and old.off == new.off
            and ids.same(old.id, new.id)
            and within(old.range, new.range)
        )
    return _exact(old, new, ids)


def _as_register(slot: Slot) -> Register | None:
    """A slot as the number that a load of all of it gives, if it is one."""
    types, register = slot
    if register is not None and register.kind == SCALAR and types == b"rrrrrrrr":
        return register
    return None if types.strip(_CLEAN) else ANY_NUMBER


def _same_dynptr(old: Register | None, new: Register | None, ids: _Ids) -> bool:
    return (
        old is not None
        and new is not None
        and (old.object, old.room) == (new.object, new.room)
        and ids.same(old.ref, new.ref)
    )


def _stack_misfit(old: Frame, new: Frame, used: int, ids: _Ids, within_only: bool) -> int:
    """The first slot in which the new frame may hold what the old one did not, -1 if there is none;
    `used` are the slots of the old frame that may still be read."""
    stack, depth = new.stack, new.depth
    for index in members(used):
        slot, other = old.stack.get(index, EMPTY), stack.get(index, EMPTY)
        if other is slot and (slot[1] is None or not slot[1].id | slot[1].ref):
            continue
        if not _slot_covers(slot, other, 8 * index < depth, ids, within_only):
            return index
    return -1


def _slot_covers(old: Slot, new: Slot, reached: bool, ids: _Ids, within_only: bool) -> bool:
    """`reached` is whether the new path has come so far down its stack; as Linux asks."""
    types, spilled = old
    if not types.strip(_CLEAN):
        return True
    if not reached:
        return False
    x, y = _as_register(old), _as_register(new)
    if x is not None and y is not None:
        return _register_covers(x, y, ids, within_only)
    others, filled = new
    if types != others:
        for kind, new_kind in zip(types, others, strict=True):
            if kind != new_kind and kind not in _CLEAN:
                return False
    if types[7] == DYNPTR_BYTE:
        return _same_dynptr(spilled, filled, ids)
    if types[7] != SPILL:
        return True
    if spilled is None or filled is None:
        return False
    return _register_covers(spilled, filled, ids, within_only)
