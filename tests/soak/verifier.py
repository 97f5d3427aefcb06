"""Random programs, judged here and by the live kernel: `count` programs from `seed`."""

from __future__ import annotations

from typing import Any

from tests.verifier import generate, oracle


def run(count: int, seed: int) -> dict[str, Any]:
    """How often which outcome (`generate.Report`); failures are verdicts that differ."""
    if reason := oracle.available():
        return {"failures": [reason]}
    report = generate.run(count, seed)
    failures = [
        f"kernel {case.kernel[0]}, here {case.verdict.errno}: {case.source.instructions}"
        for case in report.disagreements
        if case.verdict.accepted != (not case.kernel[0])
    ]
    return {**report.counts, "failures": failures}
