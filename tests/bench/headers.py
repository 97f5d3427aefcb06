"""What including a header costs: each shipped header over an empty text, beside none.

Milliseconds of the front end alone (preprocess, parse, analyze and the passes behind), the header
read, indexed and included for the first time: what earlier texts left in memory of any header is
dropped before each run. The processor's time counts, so that a busy machine matters less.
A header's cost is the quickest of its runs less the quickest without an include, in the same turns.
``python -m tests.bench headers [RUNS]``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from minibcc import boot
from minibcc.compiler.front import front
from minibcc.compiler.preprocess import headers
from minibcc.compiler.target import Target
from tests.bench.tables import measure, spread, table, where

RUNS = 5
AIM = 5.0
"""Milliseconds that any header may cost."""


def main(arguments: list[str]) -> None:
    runs = int(arguments[0]) if arguments else RUNS
    target = Target.from_system(boot.system(boot.Options()))
    folder = Path(headers.folder())
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.h"))

    def cold(text: str) -> Callable[[], float]:
        def run() -> float:
            headers._read.cache_clear()
            headers._btf_only.cache_clear()
            start = time.process_time()
            front(text, "text.c", target)
            return (time.process_time() - start) * 1e3

        return run

    empty = "int f(void *ctx) { return 0; }\n"
    sides = {name: cold(f"#include <{name}>\n{empty}") for name in names}
    figures = measure({"": cold(empty), **sides}, runs)
    without = figures.pop("")
    costs = {name: min(times) - min(without) for name, times in figures.items()}
    ordered = sorted(names, key=lambda name: -costs[name])
    rows = [(name, *spread(figures[name], 2), f"{costs[name]:.2f}") for name in ordered]
    rows.append(("no header", *spread(without, 2), ""))
    print(f"front end of an empty text with one #include, cold, ms of {runs} runs; {where()}\n")
    print(table(("", "min", "median", "max", "header"), rows))
    most = costs[ordered[0]]
    word = "holds" if most < AIM else "FALLS SHORT"
    print(f"\nmost for a header: {most:.2f} ms ({ordered[0]}); aim: under {AIM:.0f} ms: {word}")
