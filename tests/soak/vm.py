"""Random programs on the interpreter and as native code of two levels: `count` of them."""

from __future__ import annotations

from random import Random
from typing import Any

from minibcc.kernel.vm.interpreter import Interpreter
from minibcc.kernel.vm.jit import Jit
from minibcc.kernel.vm.memory import Arena
from minibcc.kernel.vm.native import BEST, GOOD
from tests.vm import rig
from tests.vm.generator import program


def run(count: int, seed: int) -> dict[str, Any]:
    """How many programs, their slots, and those on which the engines differ."""
    arena, interpreter = Arena(), Interpreter()
    engines = {"GOOD": Jit(GOOD), "BEST": Jit(BEST)}
    slots = 0
    failures = []
    for number in range(count):
        case = {"instructions": program(Random(seed << 32 | number)), "memory": "80" * 64}
        slots += len(case["instructions"])
        expected = rig.execute(interpreter, case, arena)
        for level, jit in engines.items():
            if rig.execute(jit, case, arena) != expected:
                failures.append(f"program {number} differs at {level}")
    return {"programs": count, "slots": slots, "failures": failures}
