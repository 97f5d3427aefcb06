"""Interpreter and JIT give the same results, to the bit, on programs made by chance."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibcc.isa import text
from minibcc.kernel.vm.interpreter import Interpreter
from minibcc.kernel.vm.jit import Jit
from minibcc.kernel.vm.memory import Arena
from minibcc.kernel.vm.native import BEST, FAST, GOOD
from tests.vm import rig
from tests.vm.generator import program

PATTERN = bytes(range(0x80, 0xC0)).hex()


@pytest.fixture(scope="module")
def arena():
    arena = Arena()
    yield arena
    arena.close()


@pytest.mark.parametrize("level", [FAST, GOOD, BEST], ids=["fast", "good", "best"])
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
