"""Random programs on both engines: `count` programs from `seed`."""

from __future__ import annotations

from random import Random
from typing import Any

from minibcc.kernel.vm.interpreter import Interpreter
from minibcc.kernel.vm.jit import Jit
from minibcc.kernel.vm.memory import Arena
from tests.vm import rig
from tests.vm.generator import program


def run(count: int, seed: int) -> dict[str, Any]:
    """How many programs, their slots, and those on which the engines differ."""
    arena, interpreter, jit = Arena(), Interpreter(), Jit()
    slots = 0
    failures = []
    for number in range(count):
        case = {"instructions": program(Random(seed << 32 | number)), "memory": "80" * 64}
        slots += len(case["instructions"])
        if rig.execute(interpreter, case, arena) != rig.execute(jit, case, arena):
            failures.append(f"program {number} differs")
    return {"programs": count, "slots": slots, "failures": failures}
