"""How benchmarks measure and print: several runs, alternating, minimum, median and maximum."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence


def measure(sides: Mapping[str, Callable[[], float]], runs: int) -> dict[str, list[float]]:
    """Every side once per round, in turn, so that a slower hour hits all alike; one round warms
    up and is not counted."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(runs + 1):
        for name, side in sides.items():
            figure = side()
            if turn:
                figures[name].append(figure)
    return figures


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns, the first aligned left, the others right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = []
    for row in (head, *rows):
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join((first, *rest)).rstrip())
    return "\n".join(lines)


def spread(figures: Sequence[float], digits: int = 3) -> tuple[str, str, str]:
    """Minimum, median and maximum."""
    values = (min(figures), statistics.median(figures), max(figures))
    return tuple(f"{value:.{digits}f}" for value in values)  # type: ignore[return-value]  # three


def where() -> str:
    """What the figures were taken on."""
    return (
        f"{platform.system()} {platform.release()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}"
    )
