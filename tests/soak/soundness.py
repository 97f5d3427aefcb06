"""Soundness of the verifier: `count` accepted programs from `seed`, run against the states it held.

Two in three come from the generator that aims at acceptable programs. In turn all of a state must
hold at every instruction, or what is live and precise at every instruction, or that at those
where states are compared anyway. Each program gets two inputs of chance.
"""

from __future__ import annotations

import random
from typing import Any

from minibcc.kernel.verifier.contract import Witness
from minibcc.kernel.vm.execution import Fault
from tests.verifier import careful, generate
from tests.verifier.concrete import Bench, Unsound

CHUNK = 2000
LIMIT = 3000
"""Instructions that the verifier walks before a program is given up."""
INPUTS = 2


def run(count: int, seed: int) -> dict[str, Any]:
    """How many were generated, accepted, run; how often which way of looking compared an
    instruction with a state; what was not sound."""
    bench = Bench(generate.MAPS)
    chance = random.Random(seed)
    sources = careful.programs(seed << 1), generate.programs(seed << 1 | 1)
    totals = dict.fromkeys(("programs", "accepted", "runs", "all", "needed", "needed, kept"), 0)
    failures: list[str] = []
    while totals["accepted"] < count:
        number = totals["programs"]
        source = next(sources[chance.random() < 1 / 3])
        totals["programs"] += 1
        way = ("all", "needed", "needed, kept")[number % 3]
        witness = Witness(every=way != "needed, kept", exact=way == "all", limit=LIMIT)
        verdict = bench.judge(source, witness)
        if not verdict.accepted:
            continue
        totals["accepted"] += 1
        first = number * INPUTS
        try:
            totals[way] += bench.try_out(source, witness, verdict, range(first, first + INPUTS))
            totals["runs"] += INPUTS
        except (Unsound, Fault) as wrong:
            failures.append(f"program {number} ({way}): {wrong!r}: {source.instructions}")
    bench.close()
    return {**totals, "failures": failures}
