"""Interpreter and JIT give the same results, to the bit, on programs made by chance."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibcc.isa import text
from minibcc.kernel.vm.interpreter import Interpreter
from minibcc.kernel.vm.jit import Jit
from minibcc.kernel.vm.memory import Arena
from minibcc.kernel.vm.native import BEST, GOOD
from tests.vm import rig
from tests.vm.generator import program

ROOT = Path(__file__).parents[2]
PATTERN = bytes(range(0x80, 0xC0)).hex()


@pytest.fixture(scope="module")
def arena():
    arena = Arena()
    yield arena
    arena.close()


@pytest.mark.parametrize("level", [GOOD, BEST], ids=["good", "best"])
def test_engines_agree(arena, level):
    jit = Jit(level)

    @settings(max_examples=80, deadline=None)
    @given(st.randoms(use_true_random=False))
    def agree(random: Random):
        case = {"instructions": program(random), "memory": PATTERN}
        expected = rig.execute(Interpreter(), case, arena)
        assert rig.execute(jit, case, arena) == expected, "\n".join(
            f"{slot}: {words}" for slot, words in text.dump(case["instructions"])
        )

    agree()


@pytest.mark.parametrize("seed", [1, 2])
def test_engines_agree_on_verified_programs_and_their_maps(seed):
    """R0, packet, context and the content of the maps: a hundred programs of any type and twenty
    of raw bytecode, in a process of its own, since it forks (`tests.vm.world`)."""
    command = [sys.executable, "-m", "tests.soak", "vm", "--child", "--count", "100"]
    done = subprocess.run(
        [*command, "--seed", str(seed)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["failures"] == []
    assert report["verified"] == 100
    assert report.get("refused", 0) < 3
