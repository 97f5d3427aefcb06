"""Which numbers mattered exactly.

Most numbers in a register are only carried along; pruning may then take any number for any other.
Where a number decides something (it moved a pointer, it was a size, it settled a branch), it and
all that it was made of must be *precise*: `mark` walks the instructions of this path backwards,
from where the number was needed to where it was made, and sets the mark in the checkpoints passed.
Mirrors ``mark_chain_precision`` and ``backtrack_insn`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EFAULT
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MAX_CALL_FRAMES
from minibcc.isa import opcodes
from minibcc.isa.opcodes import ALU, ALU64, CALL, EXIT, JMP, JMP32, LD, LDX, STX
from minibcc.kernel.verifier.arithmetic import END, MOV, NEG
from minibcc.kernel.verifier.form import CALLBACKS, TAIL_CALL
from minibcc.kernel.verifier.log import state_text
from minibcc.kernel.verifier.requires import ARGUMENTS, members, writes
from minibcc.kernel.verifier.state import EMPTY, SCALAR, SPILL, Link, Refused

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.explore import Walk
    from minibcc.kernel.verifier.state import Frame, State

_CALL = JMP | CALL
_NONE = Link()
_FP = 1 << 10
_ALWAYS = 1 << 16


_NOTHING = [0] * (MAX_CALL_FRAMES + 1)


class _Wanted:
    """Registers and stack slots to find the makers of: two masks per frame. `lost` is whether the
    walk back missed a function's end (`_at_entry`)."""

    __slots__ = ("frame", "lost", "registers", "slots")

    def __init__(self, frames: int) -> None:
        self.frame = frames - 1
        self.registers = _NOTHING.copy()
        self.slots = _NOTHING.copy()
        self.lost = False

    @property
    def empty(self) -> bool:
        return self.registers == _NOTHING == self.slots


class _Unclear(Exception):
    """The walk back lost its way: everything is to be precise then."""


def matters(insn: Instruction) -> int:
    """The registers at which the walk back must look at an instruction, if one of them is wanted;
    `_ALWAYS` for calls and returns between functions."""
    kind, operation = insn.code & 7, insn.code & 0xF0
    if kind == LD and insn.code & 0xE0 != opcodes.IMM:
        return _ALWAYS | 1
    if kind in (ALU, ALU64):
        plain = operation in (NEG, END) or (operation != MOV and not insn.code & opcodes.X)
        return 0 if plain else 1 << insn.dst
    if kind in (JMP, JMP32):
        if operation == EXIT or (operation == CALL and insn.src == 1) or calls_back(insn):
            return _ALWAYS
        if is_tail_call(insn):
            return _ALWAYS
        if operation == CALL:
            return 0b11_1111
        branch = operation not in (opcodes.JA, opcodes.JCOND) and insn.code & opcodes.X
        return 1 << insn.dst | 1 << insn.src if branch else 0
    return writes(insn) | 1 << insn.dst


def calls_back(insn: Instruction) -> bool:
    """Whether it is the call of a helper that calls a function of the program."""
    return insn.code == _CALL and not insn.src and insn.imm in CALLBACKS


def is_tail_call(insn: Instruction) -> bool:
    return insn.code == _CALL and not insn.src and insn.imm == TAIL_CALL


def _is_call(walk: Walk, slot: int) -> bool:
    insn = walk.shape.insns[slot]
    return insn.code == _CALL and insn.src == 1


def mark(walk: Walk, register: int) -> None:
    """A register of the current frame, whose value the current instruction uses."""
    if walk.registers[register].kind != SCALAR:
        return
    state = walk.state
    wanted = _Wanted(len(state.frames))
    wanted.registers[wanted.frame] = 1 << register
    _walk_back(walk, state, wanted, len(state.history) - 1)


def mark_slot(walk: Walk, frame: Frame, index: int) -> None:
    """A number spilled to a stack slot, which the current instruction uses."""
    wanted = _Wanted(len(walk.state.frames))
    wanted.slots[frame.number] = 1 << index
    _walk_back(walk, walk.state, wanted, len(walk.state.history) - 1)


def mark_like(walk: Walk, old: State) -> None:
    """The current state was found to be covered by `old`: what was precise there is here."""
    state = walk.state
    wanted = _Wanted(len(state.frames))
    for number, frame in enumerate(old.frames):
        for index, register in enumerate(frame.registers):
            if register.kind == SCALAR and register.precise:
                wanted.registers[number] |= 1 << index
        for index, (types, spilled) in frame.stack.items():
            if spilled is not None and types[7] == SPILL and spilled.precise:
                wanted.slots[number] |= 1 << index
    if wanted.empty:
        return
    if walk.log.keep:
        _show_likeness(walk, wanted)
    for number, frame in enumerate(state.frames):
        for index in members(wanted.registers[number]):
            if frame.registers[index].kind != SCALAR:
                wanted.registers[number] ^= 1 << index
        for index in members(wanted.slots[number]):
            spilled = frame.stack.get(index, EMPTY)[1]
            if spilled is None or spilled.kind != SCALAR:
                wanted.slots[number] ^= 1 << index
    _walk_back(walk, state, wanted, len(state.history))


def _walk_back(walk: Walk, start: State, wanted: _Wanted, end: int) -> None:
    """From before position `end` of the state's history back through its checkpoints. Where Linux
    would go on with less than it needs, everything is precise."""
    if not wanted.empty:
        _follow(walk, start, wanted, end)
    if wanted.lost:
        _mark_all(walk, start, told=False)


def _follow(walk: Walk, start: State, wanted: _Wanted, end: int) -> None:
    state: State | None = start
    insns, matters = walk.shape.insns, walk.matters
    after = start.history[end] if end < len(start.history) else walk.slot
    mask = wanted.registers[wanted.frame] | _ALWAYS
    show = walk.log.keep
    if show:
        _show_stretch(walk, wanted, after, start.history[0] if start.history else after, -1)
    try:
        while state is not None:
            history, links = state.history, state.links
            for position in range(end - 1, -1, -1):
                slot = history[position]
                if show:
                    _show_step(walk, wanted, slot)
                if not matters[slot] & mask and position not in links:
                    continue
                if position + 1 < len(history):
                    after = history[position + 1]
                _back(walk, insns[slot], slot, after, links.get(position, _NONE), wanted)
                if wanted.empty:
                    return
                mask = wanted.registers[wanted.frame] | _ALWAYS
            if state.parent is None and not history and _arguments_alone(start, wanted):
                return  # a checkpoint at the beginning of a function verified on its own
            state = state.parent
            if state is None:
                break
            _set_marks(state, wanted)
            if show:
                _show_marks(walk, state, wanted)
            if wanted.empty:
                return
            end = len(state.history)
            after = state.slot
            if show and state.history:
                _show_stretch(walk, wanted, state.history[-1], state.history[0], after)
            mask = wanted.registers[wanted.frame] | _ALWAYS
    except _Unclear:
        _mark_all(walk, start)
        return
    if not wanted.empty:
        _mark_all(walk, start)


# --- what the log says of it, at level 2 --------------------------------------------------------


def _names(registers: int, slots: int) -> str:
    names = ",".join(f"r{index}" for index in members(registers & ~_FP))
    return f"regs={names} stack={','.join(str(-8 * (index + 1)) for index in members(slots))}"


def _show_stretch(walk: Walk, wanted: _Wanted, last: int, first: int, after: int) -> None:
    walk.log.write(
        f"mark_precise: frame{wanted.frame}: last_idx {last} first_idx {first} "
        f"subseq_idx {after} \n"
    )


def _show_step(walk: Walk, wanted: _Wanted, slot: int) -> None:
    number = wanted.frame
    names = _names(wanted.registers[number], wanted.slots[number])
    walk.log.write(f"mark_precise: frame{number}: {names} before {slot}: {walk.insn_text(slot)}\n")


def _show_marks(walk: Walk, state: State, wanted: _Wanted) -> None:
    for number in range(wanted.frame, -1, -1):
        names = _names(wanted.registers[number], wanted.slots[number])
        text = state_text(state, state.frames[number])
        walk.log.write(f"mark_precise: frame{number}: parent state {names}: {text}\n")


def _show_likeness(walk: Walk, wanted: _Wanted) -> None:
    for number in range(wanted.frame, -1, -1):
        names = [f"r{index}" for index in members(wanted.registers[number])]
        names += [f"fp{-8 * (index + 1)}" for index in members(wanted.slots[number])]
        if names:
            walk.log.write(f"frame {number}: propagating {','.join(names)}\n")


def _arguments_alone(start: State, wanted: _Wanted) -> bool:
    """At the beginning of a function that is verified on its own: its arguments are what they
    are."""
    first = start.frames[0]
    others = wanted.registers[0] & ~ARGUMENTS or any(wanted.registers[1:]) or any(wanted.slots)
    return bool(first.function) and not others


def _set_marks(state: State, wanted: _Wanted) -> None:
    """Marks what is wanted in a checkpoint; what it has marked before was followed before."""
    for number, frame in enumerate(state.frames):
        for index in members(wanted.registers[number]):
            register = frame.registers[index]
            if register.kind != SCALAR or register.precise:
                wanted.registers[number] ^= 1 << index
            else:
                frame.registers[index] = register._replace(precise=True)
        for index in members(wanted.slots[number]):
            types, spilled = frame.stack.get(index, EMPTY)
            if spilled is None or spilled.kind != SCALAR or types[7] != SPILL or spilled.precise:
                wanted.slots[number] ^= 1 << index
            else:
                frame.stack[index] = types, spilled._replace(precise=True)


def _mark_all(walk: Walk, start: State, *, told: bool = True) -> None:
    """Every number in the checkpoints of this path; `told` by the log, if it is kept."""
    log = walk.log
    told = told and log.keep
    if told:
        number = len(start.frames) - 1
        log.write(f"mark_precise: frame{number}: falling back to forcing all scalars precise\n")
    state = start.parent
    while state is not None:
        for frame in state.frames:
            for index, register in enumerate(frame.registers):
                if register.kind == SCALAR and not register.precise:
                    frame.registers[index] = register._replace(precise=True)
                    if told:
                        _show_forced(walk, frame, f"r{index}")
            for index, (types, spilled) in sorted(frame.stack.items()):
                if spilled is not None and spilled.kind == SCALAR and not spilled.precise:
                    frame.stack[index] = types, spilled._replace(precise=True)
                    if told:
                        _show_forced(walk, frame, f"fp{-8 * (index + 1)}")
        state = state.parent


def _show_forced(walk: Walk, frame: Frame, name: str) -> None:
    walk.log.write(f"force_precise: frame{frame.number}: forcing {name} to be precise\n")


def _sync(link: Link, wanted: _Wanted) -> None:
    """Numbers that were linked at a branch are wanted together."""
    for frame, index, on_stack in link.linked:
        masks = wanted.slots if on_stack else wanted.registers
        if masks[frame] >> index & 1:
            break
    else:
        return
    for frame, index, on_stack in link.linked:
        masks = wanted.slots if on_stack else wanted.registers
        masks[frame] |= 1 << index


def _back(
    walk: Walk, insn: Instruction, slot: int, after: int, link: Link, wanted: _Wanted
) -> None:
    """From what is wanted after an instruction to what is wanted before it; `after` is the slot
    that the path went to from it."""
    if link.linked:
        _sync(link, wanted)
    kind = insn.code & 7
    frame = wanted.frame
    mask = wanted.registers[frame]
    dst = 1 << insn.dst
    if kind in (ALU, ALU64):
        if mask & dst:
            _back_arithmetic(insn, wanted)
    elif kind == LDX:
        if mask & dst:
            wanted.registers[frame] = mask & ~dst
            if link.spill >= 0:
                wanted.slots[link.frame] |= 1 << link.spill
    elif kind in (JMP, JMP32):
        _back_jump(walk, insn, slot, after, wanted)
    elif kind == LD:
        if insn.code & 0xE0 != opcodes.IMM:
            wanted.lost |= after != slot + 1
            if mask & 1:
                raise _Unclear
        elif mask & dst:
            wanted.registers[frame] = mask & ~dst
    elif kind == STX and insn.code & 0xE0 == opcodes.ATOMIC and insn.imm != opcodes.STORE_RELEASE:
        _back_atomic(insn, link, wanted)
    else:
        if mask & dst:
            raise _Unclear
        if link.spill >= 0 and wanted.slots[link.frame] >> link.spill & 1:
            wanted.slots[link.frame] ^= 1 << link.spill
            if kind == STX:
                wanted.registers[frame] |= 1 << insn.src
    if link.linked:
        _sync(link, wanted)


def _back_arithmetic(insn: Instruction, wanted: _Wanted) -> None:
    frame = wanted.frame
    operation = insn.code & 0xF0
    if operation in (NEG, END):
        return
    if operation == MOV:
        wanted.registers[frame] &= ~(1 << insn.dst)
    if insn.code & opcodes.X:
        wanted.registers[frame] |= 1 << insn.src & ~_FP


def _back_atomic(insn: Instruction, link: Link, wanted: _Wanted) -> None:
    """What it fetched came from memory: from the stack slot, if that was one."""
    frame = wanted.frame
    if insn.imm == opcodes.LOAD_ACQUIRE:
        loaded = 1 << insn.dst
    elif insn.imm == opcodes.CMPXCHG:
        loaded = 1
    elif insn.imm & opcodes.FETCH:
        loaded = 1 << insn.src
    else:
        return
    if wanted.registers[frame] & loaded:
        wanted.registers[frame] &= ~loaded
        if link.spill >= 0:
            wanted.slots[link.frame] |= 1 << link.spill


def _at_entry(wanted: _Wanted, what: str) -> None:
    """At a function's beginning only its arguments can still be wanted. Linux gets lost where a
    load from beyond the packet ended a function: it takes that for the caller's code, and so comes
    to the call with the caller's registers, or forgets what the function's code overwrites."""
    frame = wanted.frame
    others, slots = wanted.registers[frame] & ~ARGUMENTS, wanted.slots[frame]
    if others:
        message = f"verifier bug: {what} unexpected regs {others:x}"
    elif slots:
        message = f"verifier bug: {what} leftover stack slots {slots:x}"
    elif frame == 0:
        message = "verifier bug: subprog exit from frame 0"
    else:
        return
    raise Refused(EFAULT, "verify/bad-function", message)


def _back_jump(walk: Walk, insn: Instruction, slot: int, after: int, wanted: _Wanted) -> None:
    frame = wanted.frame
    operation = insn.code & 0xF0
    if operation == CALL:
        if calls_back(insn) and after != slot + 1:
            _at_entry(wanted, "callback")
            wanted.registers[frame] = 0  # what the helper gave to the function
            wanted.frame -= 1
            return
        if insn.src != 1 or walk.is_global(slot + insn.imm + 1):
            if is_tail_call(insn) and after != slot + 1:
                wanted.frame += 1  # it ended the function that it is in
                frame = wanted.frame
            if wanted.registers[frame] & 0b11_1110:
                raise _Unclear
            wanted.registers[frame] &= ~1
            return
        _at_entry(wanted, "static subprog")
        wanted.registers[frame - 1] |= wanted.registers[frame]
        wanted.registers[frame] = 0
        wanted.frame -= 1
    elif operation == EXIT:
        if after in walk.shape.callbacks:
            wanted.registers[frame] &= ~ARGUMENTS
        if wanted.registers[frame] & 0b11_1110:
            raise _Unclear
        result = wanted.registers[frame] & 1 if _is_call(walk, after - 1) else 0
        wanted.registers[frame] &= ~1
        wanted.frame += 1
        wanted.registers[wanted.frame] = result
    elif operation not in (opcodes.JA, opcodes.JCOND) and insn.code & opcodes.X:
        both = 1 << insn.dst | 1 << insn.src
        if wanted.registers[frame] & both:
            wanted.registers[frame] |= both
