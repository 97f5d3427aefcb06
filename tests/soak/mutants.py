"""Mutants of real programs, judged here and by the live kernel: `count` of them from `seed`.

The functions of Debian's BCC tools, as compiled by this compiler, with one or two instructions
changed; and first of all the functions as they are. It fails where a whole function's verdict
differs, where fewer than 99 % of the mutants' do, or the main messages of more than one refusal in
ten.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from typing import Any

from tests.soak import verifier
from tests.verifier import generate, messages, oracle, tools

CHUNK = 500
_FOLDER = tempfile.TemporaryDirectory()


def prepare() -> None:
    """Compiles the tools once for all children."""
    tools.keep(f"{_FOLDER.name}/tools")


def run(count: int, seed: int) -> dict[str, Any]:
    """How often which outcome; the first child asks about the functions as they are, too."""
    if reason := oracle.available():
        return {"failures": [reason]}
    found = tools.kept()
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    failures: list[str] = []
    if seed % 1000 == 0:
        whole: Counter[str] = Counter()
        for label, source in found:
            verifier.judge(source, whole, label)
        counts["functions"] = whole["programs"]
        counts["functions of the same verdict"] = whole["same verdict"]
        failures += [f"a function: {key}" for key in whole if key.startswith("differs|")]
    for number in range(count):
        label, source = rng.choice(found)
        for _ in range(rng.choice((1, 1, 2))):
            source = generate.mutant(source, rng)
        verifier.judge(source, counts, f"seed {seed}, mutant {number} of {label}")
    return {**counts, "failures": failures}


def conclude(totals: dict[str, int]) -> list[str]:
    """Prints the sums; what falls short of the aims."""
    for key in ("functions", "functions of the same verdict"):
        print(f"  {key}: {totals.get(key, 0)}")
    failures = verifier.agreement(totals)
    known = messages.weights()
    for text in known:
        if met := totals.get(f"template|{text}", 0):
            print(f"  {met:5}  {totals.get(f'equal|{text}', 0):5}   {text}")
    return failures
