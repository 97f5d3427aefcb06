"""Reads the verifier's log: the path that was refused, step by step, with what every value was.

The simulated kernel and the real one write the same text, so that what is told of a refusal does
not depend on which of them refused. At log level 1 the text of paths that ended well is taken
back: what is left is the one path that did not. Format: kernel/bpf/log.c and ``do_check`` of
kernel/bpf/verifier.c (Linux 6.18).
"""

from __future__ import annotations

import re

from minibcc.records import Record

Place = tuple[int, str]
"""A frame's number and a register or stack slot in it: ``(0, "R6")``, ``(1, "fp-8")``."""

MOST_STEPS = 4000
"""A loop may fill a log; what led to its end is at its end."""


class Step(Record):
    """An instruction of the path: its slot, its text, the number of its function's frame, and what
    the log says of values after it (the ones that it touched)."""

    slot: int
    text: str
    frame: int
    values: dict[Place, str]


class Story(Record):
    """`steps` lead to the refusal (the last one is refused, unless the program's form was).
    `message` is the kernel's main line, "" in a log without one; `slot` what it refused, -1 if that
    is no one instruction; `cause` the line before the message that says why, "" if none does."""

    steps: tuple[Step, ...]
    message: str
    slot: int
    cause: str = ""

    def value(self, place: Place, before: int | None = None) -> str:
        """What a place last held before step `before` (default: the refused one), "" if unsaid."""
        for step in reversed(self.steps[: -1 if before is None else before]):
            if place in step.values:
                return step.values[place]
        return ""


_STEP = re.compile(r"(\d+): (?:\([0-9a-f]{2}\) |(?=BUG_))(.*)")
"""A code that no instruction has is written as ``BUG_`` and the code."""
_AFTER = re.compile(r"\s*;(?= (?:frame\d+: )?(?:R\d|fp-|refs=))| \d+:(?= (?:frame\d+: )?R\d)")
_STATE = re.compile(r"(?:from \d+ to )?(?:\d+:)? (?:frame\d+:|R\d|fp-).*")
_VALUE = re.compile(r"(?:(?<=\s)|^)(R\d+|fp-\d+|refs)(?:_[a-zA-Z]+)?=")
_FRAME = re.compile(r"\bframe(\d+):")
_ASIDE = re.compile(
    r"; |arg#\d+ reference type|func#|Func#|Func |Validating |caller:|callee:"
    r"|returning from callee:|to caller at |mark_precise:|cur state:|old state:"
    r"|verification time |stack depth |processed |Live regs "
    r"|\s*\d+: [.\d]{10} |from \d+ to \d+|func '"
)
_GLUED = re.compile(r"(?<=\S)(?: (?=infinite loop detected)|(?=processed \d+ insns))")
"""Where Linux forgets to end a line before it goes on."""
_IN_ALL = re.compile(r"Caller passes invalid args |R\d+ is of type ")
"""What is said after its cause; of all else the cause comes first."""
_NAMED = re.compile(r"\binsn (\d+)")


def read(log: str) -> Story:
    """The story of a log of level 1 (of level 2, that of its last path, with those before it)."""
    steps: list[Step] = []
    said: list[str] = []
    frame = 0
    for line in _GLUED.sub("\n", log).split("\n"):
        if found := _STEP.match(line):
            text, values = _halves(found[2])
            steps.append(Step(int(found[1]), text, frame, _values(values, frame)))
            frame += text.startswith("call pc")
            said = []
            if len(steps) > 2 * MOST_STEPS:
                del steps[:MOST_STEPS]
        elif _STATE.fullmatch(line):
            if number := _FRAME.search(line):
                frame = int(number[1])
            if steps:
                steps[-1].values.update(_values(line, frame))
        elif line.startswith("to caller at "):
            frame -= 1
        elif line and not _ASIDE.match(line):
            said.append(line)
    message = next(filter(_IN_ALL.match, said), said[0] if said else "")
    cause = said[0] if said and said[0] != message else ""
    slot = steps[-1].slot if steps else -1
    if number := _NAMED.search(message):
        slot = int(number[1])
    return Story(tuple(steps), message, slot, cause)


def _halves(text: str) -> tuple[str, str]:
    """An instruction's text and the values behind it."""
    found = _AFTER.search(text)
    if found is None:
        return text.rstrip(), ""
    return text[: found.start()].rstrip(), text[found.end() :]


def _values(text: str, frame: int) -> dict[Place, str]:
    """``R1=scalar(umax=7) fp-8=0`` by place."""
    if number := _FRAME.search(text):
        frame = int(number[1])
    marks = list(_VALUE.finditer(text))
    found: dict[Place, str] = {}
    end = len(text)
    for mark in reversed(marks):
        found[frame, mark[1]] = text[mark.end() : end].strip()
        end = mark.start()
    return found
