"""Calls of the program's own functions, their returns, and the program's end.

A call of a function opens a frame and the walk goes on inside it, so that a function is checked for
each of its callers; a return closes it. At the program's end nothing acquired may be left, and R0
must be what the program's type may return. Mirrors ``check_func_call``, ``prepare_func_exit`` and
``check_return_code`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import E2BIG, EACCES, EINVAL
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MAX_CALL_FRAMES, ProgFlags, ProgType
from minibcc.kernel.verifier import context, locks, prototypes, prune
from minibcc.kernel.verifier.log import state_text
from minibcc.kernel.verifier.operands import clear_caller_saved, source
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    BASE,
    SCALAR,
    STACK,
    Frame,
    Refused,
    kind_name,
)
from minibcc.kernel.verifier.values import S64_MAX, S64_MIN

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.explore import Walk
    from minibcc.kernel.verifier.state import Callback, Register, State


def enter(walk: Walk, insn: Instruction) -> None:
    """Opens a frame for a function of the program."""
    state = walk.state
    start = walk.slot + insn.imm + 1
    if walk.is_global(start):
        if walk.state.references:
            locks.unlocked(
                walk,
                "global function calls are not allowed while holding a lock,",
                "use static function instead",
            )
        changes, sleeps = context.effects(walk, start)
        if sleeps and not walk.program.prog_flags & ProgFlags.SLEEPABLE:
            raise Refused(
                EINVAL,
                "verify/sleep",
                "global functions that may sleep are not allowed in non-sleepable context,",
                lead="i.e., in a RCU/IRQ/preempt-disabled section, or in\n"
                "a non-sleepable BPF program context",
            )
        prototypes.call_global(walk, start)
        if changes:
            context.forget_packet(walk)
        clear_caller_saved(walk)
        walk.registers[0] = ANY_NUMBER
        walk.slot += 1
        return
    prototypes.check_call(walk, start)
    caller = state.frame
    callee = opened(walk, state, start)
    callee.registers[1:6] = caller.registers[1:6]
    clear_caller_saved(walk)
    state.frames.append(callee)
    walk.enter(state)
    if walk.log.detail:
        above, below = state_text(state, caller), state_text(state, callee)
        walk.log.write(f"caller:\n{above}\ncallee:\n{below}\n")
        walk.log.after(start, below)
    walk.slot = start


def opened(walk: Walk, state: State, start: int) -> Frame:
    """A frame for the function at a slot, not yet put upon the others."""
    if len(state.frames) >= MAX_CALL_FRAMES:
        raise Refused(
            E2BIG,
            "verify/call-depth",
            f"the call stack of {len(state.frames) + 1} frames is too deep",
        )
    return Frame(walk.shape.function_at(start), state.frame, walk.slot)


def leave_early(walk: Walk, result: Register) -> None:
    """Ends a function with `result` before its exit: a tail call, a load from beyond the packet."""
    walk.registers[0] = result
    _close(walk)


def leave(walk: Walk) -> bool:
    """An exit; whether it ends the path."""
    state = walk.state
    if len(state.frames) == 1:
        leaks(walk, "BPF_EXIT instruction in main prog")
        _check_result(walk)
        return True
    _close(walk)
    walk.returned()
    return False


def _close(walk: Walk) -> None:
    """Goes back to where a function was called."""
    state = walk.state
    callee, caller = state.frames[-1], state.frames[-2]
    result = callee.registers[0]
    if result.kind & BASE == STACK:
        raise Refused(EINVAL, "verify/stack-escape", "cannot return stack pointer to the caller")
    if callee.callback is not None:
        back = callee.callsite  # the helper calls again, or goes on
        _callback_result(walk, callee.callback)
    else:
        back = callee.callsite + 1
        caller.registers[0] = result
    if walk.log.detail:
        walk.log.write(f"returning from callee:\n{state_text(state, callee)}\n")
    state.frames.pop()
    if walk.log.detail:
        walk.log.write(f"to caller at {back}:\n{state_text(state, caller)}\n")
    if callee.callback is not None:
        earlier = prune.earlier_visit(state, back)
        if earlier is not None:
            prune.widen(earlier, state)
    walk.enter(state)
    walk.slot = back


def _callback_result(walk: Walk, callback: Callback) -> None:
    result = walk.registers[0]
    if result.kind != SCALAR:
        raise Refused(EACCES, "verify/return-value", "R0 not a scalar value")
    walk.mark_precise(0)
    _in_range(result, callback.low, callback.high, "At callback return")


def leaks(walk: Walk, where: str) -> None:
    """Nothing that was acquired may be left by the main program; a function may leave it to its
    caller, but for a lock."""
    if not walk.state.references:
        return
    locks.unlocked(walk, f"{where} cannot be used inside bpf_spin_lock-ed region")
    if len(walk.state.frames) > 1:
        return
    references = walk.state.references
    lines = [f"Unreleased reference id={held.id} alloc_insn={held.slot}" for held in references]
    raise Refused(
        EINVAL,
        "verify/unreleased",
        lines[0],
        lead="\n".join([*lines[1:], f"{where} would lead to reference leak"]),
    )


def _check_result(walk: Walk) -> None:
    """R0 at the end of the program, of a function that is verified on its own, of a timer's."""
    frame = walk.state.frame
    if not frame.function and context.returns_nothing(walk):
        return
    register = source(walk, 0)
    where = "At program exit"
    if frame.callback is not None:
        allowed: tuple[int, int] | None = frame.callback[:2]
        where = "At async callback return"
    elif frame.function:
        if register.kind != SCALAR:
            kind = kind_name(register.kind)
            raise Refused(
                EINVAL,
                "verify/return-value",
                f"At subprogram exit the register R0 is not a scalar value ({kind})",
            )
        return
    else:
        allowed = context.returns(walk)
    if allowed is None:
        return
    if register.kind != SCALAR:
        kind = kind_name(register.kind)
        raise Refused(
            EINVAL, "verify/return-value", f"{where} the register R0 is not a known value ({kind})"
        )
    walk.mark_precise(0)
    # What an LSM hook returns is an int.
    _in_range(register, *allowed, where, walk.program.prog_type == ProgType.LSM)


def _in_range(register: Register, low: int, high: int, where: str, narrow: bool = False) -> None:
    value = register.range
    smin, smax = (value.smin32, value.smax32) if narrow else (value.smin, value.smax)
    if low <= smin and smax <= high:
        return
    held = ""
    if value.smin > S64_MIN:
        held += f" smin={value.smin}"
    if value.smax < S64_MAX:
        held += f" smax={value.smax}"
    held = held or " unknown scalar value"
    raise Refused(
        EINVAL,
        "verify/return-value",
        f"{where} the register R0 has{held} should have been in [{low}, {high}]",
    )
