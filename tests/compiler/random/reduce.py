"""Cuts a program down while it still shows what was found: long runs of lines go first, then
shorter ones; a block goes with its braces."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.compiler.random.program import Program

LONGEST = 64
"""Lines that are tried at once."""


def reduce(program: Program, shows: Callable[[Program], bool], until: float) -> Program:
    """The smallest found by `until` (monotonic seconds)."""
    length = LONGEST
    while length:
        lines, first = program.text.split("\n"), 0
        while first < len(lines) and time.monotonic() < until:
            last = run(lines, first, length)
            rest = lines[:first] + lines[last:]
            smaller = program._replace(text="\n".join(rest))
            if last > first and shows(smaller):
                program, lines = smaller, rest
            else:
                first += 1
        length //= 2
    for table in program.tables:
        rest_of_them = tuple(other for other in program.tables if other != table)
        smaller = program._replace(tables=rest_of_them)
        if time.monotonic() < until and shows(smaller):
            program = smaller
    return program


def run(lines: list[str], first: int, length: int) -> int:
    """Where the longest run of at most so many lines ends that starts at `first` and whose braces
    are balanced; `first` where there is none."""
    depth, end = 0, first
    for position, line in enumerate(lines[first : first + length], first):
        depth += line.count("{") - line.count("}")
        if depth < 0:
            break
        if depth == 0:
            end = position + 1
    return end
