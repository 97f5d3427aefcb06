"""Cuts a program down while it still shows what was found: lines and blocks go, one by one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.compiler.random.program import Program


def reduce(program: Program, shows: Callable[[Program], bool], until: float) -> Program:
    """The smallest found by `until` (monotonic seconds)."""
    progress = True
    while progress:
        progress = False
        lines = program.text.split("\n")
        for first, last in pieces(lines):
            if time.monotonic() > until:
                return program
            rest = "\n".join(lines[:first] + lines[last:])
            smaller = program._replace(text=rest)
            if shows(smaller):
                program, progress = smaller, True
                break
        else:
            for table in program.tables:
                smaller = program._replace(
                    tables=tuple(other for other in program.tables if other != table)
                )
                if shows(smaller):
                    program, progress = smaller, True
    return program


def pieces(lines: list[str]) -> Iterator[tuple[int, int]]:
    """What may go, the largest first: runs of lines whose braces are balanced."""
    spans = []
    for first in range(len(lines)):
        depth = 0
        for last in range(first, len(lines)):
            depth += lines[last].count("{") - lines[last].count("}")
            if depth < 0:
                break
            if depth == 0:
                spans.append((first, last + 1))
                if last - first > 24:
                    break
    return iter(sorted(spans, key=lambda span: span[0] - span[1]))
