"""How deep C may be nested: the passes call themselves for what stands inside of something."""

from __future__ import annotations

import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minibcc.diagnostics import Sources, Span, error
from minibcc.errors import CompileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minibcc.compiler.preprocess import Token
    from minibcc.compiler.reporter import Reporter

BRACKETS = 256
"""How many brackets of any kind may be open at once: clang's number."""
_DEPTH = 20_000
"""Python calls that may be nested during a compile: a dozen a level of C."""


@contextmanager
def deep(file: str, text: str) -> Iterator[None]:
    """Room for a compile of `text`; what is nested deeper than that is an error at its place."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEPTH))
    try:
        yield
    except RecursionError as problem:
        place = _place(problem, file) or Span(file, 1, 1)
        message = "expressions or statements are nested too deeply to compile"
        help = ("break the deepest expression into parts with variables of their own",)
        raise CompileError(
            [error("type/too-deep", message, place, help=help)], Sources({file: text})
        ) from None
    finally:
        sys.setrecursionlimit(limit)


def refuse_brackets(bracket: Token, reporter: Reporter) -> None:
    """Ends the compilation: `bracket` stands inside of `BRACKETS` others."""
    reporter.error(
        "type/too-deep",
        f"this bracket stands inside of {BRACKETS} others",
        bracket.span,
        help=["give the inner parts a variable or a function of their own"],
    )
    reporter.check()


def _place(problem: RecursionError, file: str) -> Span | None:
    """Where in `file` the passes were: some caller holds a node of the syntax tree or of the typed
    tree, or is the parser at a token."""
    for frame, _ in reversed(list(traceback.walk_tb(problem.__traceback__))):
        for value in (*frame.f_locals.values(), getattr(frame.f_locals.get("self"), "here", None)):
            for holder in (value, getattr(value, "coord", None)):
                span = getattr(holder, "span", None)
                if isinstance(span, Span) and span.file == file:
                    return span
    return None
