"""What the verifier said about instructions, said about the C lines that they come from.

A refusal's log tells the path (`log`), `path` picks the steps that made the refused value,
and line information says where in the C these are: the report points to the line that was refused,
marks on the lines before it what the value was there and where branches led, and says in a
person's words what was needed and what held. Those words stand beside the kernel's own messages in
`codes/verify.toml`; one that the table lacks is given as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minibcc.abi.bpf import ProgType
from minibcc.bcc.refusal.lines import Lines, conditional
from minibcc.bcc.refusal.log import Place, Story, read
from minibcc.bcc.refusal.messages import classify
from minibcc.bcc.refusal.path import Mark, trace
from minibcc.bcc.refusal.words import FORMS, OF_REGISTER, said
from minibcc.diagnostics import Diagnostic, Label, Span, error, registry
from minibcc.isa import opcodes
from minibcc.isa.instruction import decode
from minibcc.records import replace

if TYPE_CHECKING:
    from minibcc.abi.requests import Refusal
    from minibcc.compiler.object import ProgramSpec

MOST_LABELS = 6
"""Lines that are marked besides the refused one: more would bury it."""
MOST_BRANCHES = 6


def explain(log: str, spec: ProgramSpec, refusal: Refusal | None) -> Diagnostic | None:
    """The report of a refused program, None if the log says nothing. `refusal` is what the
    simulated kernel adds (code and place), None from a real one."""
    story = read(log)
    if refusal is not None:
        story = replace(story, message=refusal.message, slot=refusal.insn)
    if not story.message:
        return None
    return _Report(story, spec, refusal.code if refusal is not None else None).diagnostic()


class _Report:
    """One refusal: the path, the program, and what is found out about both."""

    def __init__(self, story: Story, spec: ProgramSpec, code: str | None) -> None:
        self.story = story
        self.spec = spec
        self.code = decode(spec.insns)
        self.lines = Lines(spec.lines, self.code)
        self.match = classify(story.message)
        self.name = code or (self.match.code if self.match else "")
        self.variables: dict[Place, str] = {}
        self.told: dict[str, str] = {}
        self.names: dict[str, str] = {}

    def diagnostic(self) -> Diagnostic:
        primary, labels = self._places()
        title = self._title()
        phrases = self._phrases()
        notes = [f"the kernel's words: {self.story.message}"] * (title != self.story.message)
        if primary is None:
            notes = [*filter(None, ["; ".join(phrases)]), *notes, *self._in_bytecode()]
        elif path := self._path(labels):
            notes.append(path)
        place = f"instruction {self.story.slot} of {len(self.code)} in " * (self.story.slot >= 0)
        notes.append(f"{place or 'in program '}{self.spec.name}")
        help = [self._cure(self.match.words.help)] if self.match and self.match.words.help else []
        return error(
            self.name, title, primary, "; ".join(phrases), labels=labels, notes=notes, help=help
        )

    def _phrases(self) -> list[str]:
        """What was needed, and what held."""
        if self.match is None:
            return []
        words = self.match.words
        needs = f"needs {self._phrase(words.needs)}" if words.needs else ""
        return [part for part in (needs, self._phrase(words.state)) if part]

    def _in_bytecode(self) -> list[str]:
        """For a program without lines: the instructions that made the refused value."""
        steps = self.story.steps
        at = [mark.at for mark in trace(self.story, self.code, self._about())]
        if steps and steps[-1].slot == self.story.slot:
            at.append(len(steps) - 1)
        rows = []
        for step in (steps[number] for number in dict.fromkeys(at[-MOST_LABELS:])):
            told = [(name, said(raw)) for (_, name), raw in step.values.items()]
            values = ", ".join(f"{name} is {value}" for name, value in told if value)
            rows.append(f"{step.slot}: {step.text}" + f"  ({values})" * bool(values))
        return rows

    def _title(self) -> str:
        if self.name == "verify/not-decided":
            return self.story.message
        known = registry().get(self.name)
        return known.title if known is not None else self.story.message

    # --- which values it is about ---

    def _about(self) -> set[Place]:
        """The values that the refused instruction was refused for."""
        story = self.story
        if not story.steps or story.steps[-1].slot != story.slot:
            return set()
        frame = story.steps[-1].frame
        if named := re.search(r"\bR(\d+)\b", story.message):
            return {(frame, f"R{named[1]}")}
        insn = self.code[story.slot]
        row = opcodes.find(insn)
        if row is None:
            return set()
        used = {"load": [insn.src], "store": [insn.dst], "atomic": [insn.dst]}.get(row.kind)
        if row.kind == "alu":
            used = [insn.dst, *([insn.src] if row.by_reg else [])]
        if row.kind == "call" and row.op == "helper":
            used = self._pointers(frame)
        return {(frame, f"R{number}") for number in used or ()}

    def _pointers(self, frame: int) -> list[int]:
        """Of a call's arguments those that a message about memory may mean."""
        room = self.match.fields.get("room") if self.match else None
        if room is None:
            return []
        found = []
        for number in range(1, 6):
            value = self.story.value((frame, f"R{number}"))
            if value.startswith(("map_value", "mem", "ringbuf_mem", "pkt")):
                found.append(number)
        return found[:1]

    # --- where it is in the C ---

    def _places(self) -> tuple[Span | None, list[Label]]:
        """The refused place, and what else is marked."""
        primary = self.lines.near(self.story.slot)
        if self.name == "verify/unreleased" and self.match is not None:
            acquired = self.lines.near(int(self.match.fields["alloc"]))
            primary = acquired or primary
        marks = trace(self.story, self.code, self._about())
        labels: dict[tuple[str, int], Label] = {}
        for mark in marks:
            slot = self.story.steps[mark.at].slot
            span = self.lines.at(slot)
            text = self._mark(mark, slot)
            if span is None or not text or span == primary:
                continue
            labels.pop((span.file, span.line), None)
            labels[span.file, span.line] = Label(span, text)
        slot = self._locked() if self.name == "verify/lock" else -1
        locked = self.lines.at(slot) if slot >= 0 else None
        if locked is not None and locked != primary:
            labels[locked.file, locked.line] = Label(locked, "locked here")
        if not any(mark.branch for mark in marks):
            self._last_branch(labels, primary)
        return primary, list(labels.values())[-MOST_LABELS:]

    def _locked(self) -> int:
        """The slot at which the path took the lock that it holds, -1 if it holds none."""
        slot = -1
        for step in self.story.steps:
            called = re.search(r"call bpf_spin_(\w+)", step.text)
            if called and step.slot != self.story.slot:
                slot = step.slot if called[1].startswith("lock") else -1
        return slot

    def _mark(self, mark: Mark, slot: int) -> str:
        """``index is 0 to 31``; for a branch also where it leads."""
        step = self.story.steps[mark.at]
        raw = step.values.get(mark.place, "")
        value = said(raw)
        if mark.branch:
            name = self.variables.get(mark.place, "")
            news = f"{name} is {value}" if name and value != self.told.get(name) else ""
            self.told[name] = value
            return ", ".join(part for part in (self._onward(mark.at), news) if part)
        name = self.lines.variable(slot, self.story.slot)
        if not name and mark.source is not None:
            name = self.variables.get(mark.source, "")
        row = opcodes.find(self.code[slot])
        if not name and row is not None and row.kind == "alu" and row.op not in ("mov", "movsx"):
            name = self.variables.get(mark.place, "")
        self.variables[mark.place] = name
        self.told[name] = value
        if name:
            self.names["pointer" if raw.endswith(")") and "scalar" not in raw else "number"] = name
        return f"{name} is {value}" if name and value else value

    def _onward(self, at: int) -> str:
        """Where a path goes on after the branch of step `at`, "" if on the same line."""
        here = self.lines.at(self.story.steps[at].slot)
        for step in self.story.steps[at + 1 :]:
            span = self.lines.at(step.slot)
            if span is not None:
                same = here is not None and span.line == here.line
                return "" if same else f"goes on at line {span.line}"
        return "goes to the end"

    def _branches(self) -> dict[int, tuple[Span, str]]:
        """By line: the conditional jump of the path there, and where the last way through it led,
        in the order of the path."""
        found: dict[int, tuple[Span, str]] = {}
        for at, step in enumerate(self.story.steps[:-1]):
            if step.slot < len(self.code) and conditional(self.code[step.slot]):
                span = self.lines.at(step.slot)
                if span is not None and (way := self._onward(at)):
                    found.pop(span.line, None)
                    found[span.line] = (span, way)
        return found

    def _last_branch(self, labels: dict[tuple[str, int], Label], primary: Span | None) -> None:
        branches = self._branches()
        if branches:
            span, way = list(branches.values())[-1]
            if primary is None or span.line != primary.line:
                labels.setdefault((span.file, span.line), Label(span, way))

    def _path(self, labels: list[Label]) -> str:
        """``on the path on which line 4 goes on at line 6, line 7 goes to the end``."""
        told = {label.span.line for label in labels if "goes" in label.text}
        ways = [f"line {line} {way}" for line, (_, way) in self._branches().items()]
        ways = [way for line, way in zip(self._branches(), ways, strict=True) if line not in told]
        return f"on the path on which {', '.join(ways[-MOST_BRANCHES:])}" if ways else ""

    # --- in words ---

    def _phrase(self, template: str) -> str:
        return _FIELD.sub(self._field, template)

    def _field(self, found: re.Match[str]) -> str:
        name, _, form = found[1].partition(":")
        assert self.match is not None
        value = self.match.fields.get(name, "") or self._derived(name)
        if name == "reg" and form:
            frame = self.story.steps[-1].frame if self.story.steps else 0
            return OF_REGISTER[form](self.story.value((frame, f"R{value}")))
        return FORMS[form](value) if form else value

    def _derived(self, name: str) -> str:
        """What the message itself does not say: `type` and `context` of the program, `cause` of the
        log, `helper` and `size` of the refused instruction."""
        kind = self.spec.prog_type
        if name == "cause":
            return self.story.cause
        if name == "type":
            return f"this is one of type {kind.name.lower()}" if kind is not None else ""
        if name == "context":
            of = self.spec.attach_to.rpartition(":")[2]
            traced = kind in (ProgType.TRACING, ProgType.LSM) and of
            return f"an argument of {of}" if traced else "a field of this program type's context"
        if not 0 <= self.story.slot < len(self.code):
            return ""
        insn = self.code[self.story.slot]
        if name == "size":
            row = opcodes.nearest(insn)
            return str(row.size) if row is not None else ""
        if name == "helper" and self.story.steps:
            called = re.search(r"call (\w+)", self.story.steps[-1].text)
            return called[1] if called else "the helper"
        return ""

    def _cure(self, text: str) -> str:
        """The help, with the variables' names for ``{pointer}`` and ``{number|size}`` where they
        are known."""
        return self._phrase(
            _VARIABLE.sub(lambda found: self.names.get(found[1], found[2] or found[1]), text)
        )


_VARIABLE = re.compile(r"\{(pointer|number)(?:\|([\w ]+))?\}")
_FIELD = re.compile(r"\{(\w+(?::\w+)?)\}")
