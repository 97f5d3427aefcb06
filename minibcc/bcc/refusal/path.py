"""How a refused value came to be: the steps of a path that made it, or that say what it is.

`trace` walks a `Story` backwards from the values that the refusal is about: an instruction that
made one of them is kept, and what it was made from is followed on, through copies, arithmetic, the
stack and calls between functions; so is a branch that narrowed one. A helper's result and what a
load brought are where a value begins.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minibcc.isa import opcodes
from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minibcc.bcc.refusal.log import Place, Step, Story
    from minibcc.isa.instruction import Instruction

ARGUMENTS = ("R1", "R2", "R3", "R4", "R5")
_ON_STACK = re.compile(r"fp(?:\[(\d+)\])?(-?\d+)")


class Mark(Record):
    """Step number `at` of a path has to do with a value: it made what `place` holds, from `source`
    if that is one place, or (`branch`) narrowed it."""

    at: int
    place: Place
    source: Place | None = None
    branch: bool = False


def trace(story: Story, code: Sequence[Instruction], places: Iterable[Place]) -> list[Mark]:
    """What made the values of `places`, in the order of the path; `code` are the slots."""
    wanted = set(places)
    marks: list[Mark] = []
    for at in range(len(story.steps) - 2, -1, -1):
        if not wanted:
            break
        step = story.steps[at]
        if step.slot >= len(code):
            break
        following = story.steps[at + 1].frame
        if following != step.frame:
            wanted = _over(wanted, step.frame, following)
            continue
        insn = code[step.slot]
        row = opcodes.find(insn)
        if row is None:
            continue
        if row.kind == "jump":
            seen = sorted(wanted & set(step.values))
            marks += [Mark(at, place, branch=True) for place in seen[:1]]
            continue
        made = _made(row.kind, row.op, insn, step, wanted)
        if made is None:
            continue
        sources = _sources(row, insn, step, story, at)
        moved = row.op in ("mov", "mem") and len(sources) == 1
        marks.append(Mark(at, made, next(iter(sources)) if moved else None))
        wanted.discard(made)
        wanted |= sources
    return marks[::-1]


def _over(wanted: set[Place], frame: int, following: int) -> set[Place]:
    """What is asked of the values before a call or return between functions: arguments and the
    result pass, and what belongs to the caller stays."""
    out = set()
    for number, name in wanted:
        if number != following:
            out.add((number, name))
        elif (following > frame and name in ARGUMENTS) or (following < frame and name == "R0"):
            out.add((frame, name))
        elif following < frame and name not in ARGUMENTS:
            out.add((number, name))
    return out


def _made(kind: str, op: str, insn: Instruction, step: Step, wanted: set[Place]) -> Place | None:
    """The wanted place that a step gives its value to."""
    if kind in ("alu", "swap", "load", "imm64"):
        place = (step.frame, f"R{insn.dst}")
        return place if place in wanted else None
    if kind in ("call", "packet"):
        place = (step.frame, "R0")
        if place in wanted:
            return place
    if kind in ("store", "atomic", "call"):
        stack = [place for place in step.values if place in wanted and place[1].startswith("fp")]
        return stack[0] if stack else None
    return None


def _sources(
    row: opcodes.Opcode, insn: Instruction, step: Step, story: Story, at: int
) -> set[Place]:
    """The places that the value comes from."""
    frame = step.frame
    if row.kind == "alu":
        own = {(frame, f"R{insn.dst}")} if row.op not in ("mov", "movsx") else set()
        return own | ({(frame, f"R{insn.src}")} if row.by_reg and insn.src != 10 else set())
    if row.kind == "swap":
        return {(frame, f"R{insn.dst}")}
    if row.kind == "store" and row.by_reg:
        return {(frame, f"R{insn.src}")}
    if row.kind == "load":
        slot = stack_slot(story, at, f"R{insn.src}", insn.off)
        return {slot} if slot is not None else set()
    return set()


def stack_slot(story: Story, at: int, register: str, offset: int) -> Place | None:
    """The slot of the stack that `register` + `offset` points into before step `at`."""
    frame = story.steps[at].frame
    base = "fp0" if register == "R10" else story.value((frame, register), at)
    found = _ON_STACK.fullmatch(base)
    if found is None:
        return None
    place = int(found[2]) + offset
    if place >= 0:
        return None
    owner = int(found[1]) if found[1] is not None else frame
    return (owner, f"fp{place // 8 * 8}")
