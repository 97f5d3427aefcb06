"""Random C programs, compiled here and by gcc: `count` of them from `seed`, at cpu v2, v3 and v4,
on our two engines and in the live kernel. One in four is csmith's; see tests/compiler/random."""

from __future__ import annotations

from typing import Any

from tests.compiler.random import campaign, csmith, judge, program

CHUNK = 200
SHARE = 4
"""One program in so many is csmith's."""


def run(count: int, seed: int) -> dict[str, Any]:
    """How many of which kind came out how; failures carry a program each."""
    missing = [
        name
        for name, there in (
            ("gcc", program.COMPILER),
            ("csmith", csmith.COMMAND),
            ("the live kernel", judge.linux()),
        )
        if there is None
    ]
    if missing:
        return {"failures": [f"{name} is missing" for name in missing]}
    numbers = range(seed << 20, (seed << 20) + count)
    totals: dict[str, Any] = {}
    failures: list[str] = []
    for kind, source in campaign.SOURCES.items():
        ours = [n for n in numbers if (n % SHARE == 0) == (kind == "csmith")]
        report = campaign.check(ours, source, kind)
        totals |= report.counts
        failures += report.failures
        agreed = report.counts[f"{kind}: agreed"]
        if agreed < len(ours) // 2:
            failures.append(f"{kind}: of {len(ours)} programs, {agreed} were compared and agreed")
    return {**totals, "failures": failures}
