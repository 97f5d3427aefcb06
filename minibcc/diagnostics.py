"""What minibcc has to say about a program: place, code, cure.

A `Diagnostic` is data: severity, code (``verify/null-deref``), message, labelled spans, notes and
help. Compiler, dialect and verifier make them; this module alone renders them. The first line has
the form that editors parse (``file:line:column: error: message``); lower case, no full stop.

    opensnoop.c:14:27: error: pointer may be null [verify/null-deref]
       12 |     u64 *start = begin.lookup(&pid);
          |                  ------------------ comes from here
       14 |     u64 delta = now - *start;
          |                       ^~~~~~ read of 8 bytes
    note: on the path where line 12 found nothing
    help: test it first: if (!start) return 0;

Every code stands in the registry, `minibcc/codes/*.toml`, one file per stage, with an
explanation, a bad and a good example; `registry()` reads it (only what explains does: a refusal's
report, ``explain``, tests).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Span(Record):
    """A stretch of one source text: lines and columns count from 1, the end is exclusive.

    `end_line` 0 means the same line; `end_column` 0 means one character. `file` is the name under
    which `Sources` knows the text.
    """

    file: str
    line: int
    column: int
    end_line: int = 0
    end_column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def to(self, other: Span) -> Span:
        """From the start of this span to the end of `other`, where both lie in one file."""
        if other.file != self.file:
            return self
        end_line = other.end_line or other.line
        end_column = other.end_column or other.column + 1
        if (end_line, end_column) < (self.line, self.column):
            return self
        return Span(self.file, self.line, self.column, end_line, end_column)


class Label(Record):
    """A span with a word about it; the primary one is drawn with carets."""

    span: Span
    text: str = ""
    primary: bool = False


class Diagnostic(Record):
    """One thing to say. `labels[i].primary` marks the place; without one there is no place."""

    severity: Severity
    code: str
    message: str
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: tuple[str, ...] = ()

    @property
    def span(self) -> Span | None:
        """The place, or None if the diagnostic has none."""
        for label in self.labels:
            if label.primary:
                return label.span
        return None


def error(
    code: str,
    message: str,
    span: Span | None = None,
    text: str = "",
    *,
    labels: Iterable[Label] = (),
    notes: Iterable[str] = (),
    help: Iterable[str] = (),
    severity: Severity = Severity.ERROR,
) -> Diagnostic:
    """A diagnostic at `span`; `text` stands behind its carets, `labels` mark further places."""
    primary = () if span is None else (Label(span, text, True),)
    return Diagnostic(severity, code, message, (*primary, *labels), tuple(notes), tuple(help))


class Sources:
    """The texts that spans point into, by file name."""

    def __init__(self, texts: dict[str, str] | None = None) -> None:
        self._lines: dict[str, list[str]] = {}
        for name, text in (texts or {}).items():
            self.add(name, text)

    def add(self, name: str, text: str) -> None:
        self._lines[name] = text.split("\n")

    def line(self, file: str, line: int) -> str | None:
        """Line `line` (from 1) of `file` without its newline, None if unknown."""
        lines = self._lines.get(file)
        if lines is None or not 1 <= line <= len(lines):
            return None
        return lines[line - 1].rstrip("\r")

    def files(self) -> list[str]:
        return list(self._lines)


def render(diagnostic: Diagnostic, sources: Sources) -> str:
    """The diagnostic as text, without a final newline."""
    span = diagnostic.span
    place = f"{span}: " if span else ""
    code = f" [{diagnostic.code}]" if diagnostic.code else ""
    out = [f"{place}{diagnostic.severity.value}: {diagnostic.message}{code}"]
    out += _excerpt(diagnostic.labels, sources)
    out += [f"note: {note}" for note in diagnostic.notes]
    out += [f"help: {text}" for text in diagnostic.help]
    return "\n".join(out)


def render_all(diagnostics: Sequence[Diagnostic], sources: Sources) -> str:
    """All of them, one under the other."""
    return "\n".join(render(diagnostic, sources) for diagnostic in diagnostics)


def _excerpt(labels: Sequence[Label], sources: Sources) -> list[str]:
    """The source lines that the labels touch, each with its underlines, by file and line."""
    primary = next((label.span.file for label in labels if label.primary), "")
    rows: list[tuple[str, int, list[str]]] = []
    for label in sorted(
        labels, key=lambda label: (label.span.file != primary, label.span.file, label.span.line)
    ):
        span = label.span
        text = sources.line(span.file, span.line)
        if text is None:
            continue
        under = _underline(label, text)
        for file, line, lines in rows:
            if (file, line) == (span.file, span.line):
                lines.append(under)
                break
        else:
            rows.append((span.file, span.line, [text.expandtabs(8), under]))
    out = []
    current = primary
    for file, line, lines in rows:
        if file != current:
            out.append(f"  ::: {file}")
            current = file
        out.append(f"{line:5} | {lines[0]}".rstrip())
        out += [f"      | {under}" for under in lines[1:]]
    return out


def _underline(label: Label, text: str) -> str:
    """Spaces up to the span, then ``^~~~`` or ``----`` below it, then the label's text."""
    span = label.span
    before = len(text[: span.column - 1].expandtabs(8))
    stop = span.end_column - 1 if span.end_column else span.column
    if span.end_line and span.end_line != span.line:
        stop = len(text.rstrip())
    width = max(1, len(text[:stop].expandtabs(8)) - before)
    mark = "^" + "~" * (width - 1) if label.primary else "-" * width
    return f"{' ' * before}{mark} {label.text}".rstrip()


class Words(Record):
    """A message of the kernel's verifier, said to a person: what it needs and what holds instead.

    `says` is the message with ``{number}`` and ``<text>`` where it varies; `needs`, `state` and
    `help` may name these, and what `bcc.refusal.report` derives.
    """

    says: str
    needs: str = ""
    state: str = ""
    help: str = ""


class Explanation(Record):
    """A registry row: what a code means, with a bad and a good example (C texts), and for a code of
    the verifier the kernel's messages that it stands for."""

    code: str
    title: str
    text: str
    bad: str
    good: str
    kernel: tuple[Words, ...] = ()


def registry() -> dict[str, Explanation]:
    """Every code minibcc can print, from `minibcc/codes/*.toml`: a table ``[code]`` per code with
    ``title``, ``text``, ``bad``, ``good`` and, for the verifier's, ``kernel`` (`Words`)."""
    import tomllib
    from importlib.resources import files

    rows: dict[str, Explanation] = {}
    for file in sorted(files("minibcc").joinpath("codes").iterdir(), key=lambda item: item.name):
        if not file.name.endswith(".toml"):
            continue
        stage = file.name.removesuffix(".toml")
        for name, row in tomllib.loads(file.read_text("utf-8")).items():
            code = f"{stage}/{name}"
            words = tuple(Words(**fields) for fields in row.get("kernel", ()))
            rows[code] = Explanation(
                code, row["title"], row["text"], row["bad"], row["good"], words
            )
    return rows
