"""Whatever a text is, compiling it ends, with an object or with diagnostics."""

from __future__ import annotations

import pytest

from tests.soak import fuzz

COUNT = 50
"""Texts a test; `python -m tests.soak fuzz` takes more of them."""


@pytest.mark.parametrize("seed", range(8))
def test_no_text_brings_the_compiler_down(seed: int) -> None:
    report = fuzz.run(COUNT, seed)
    assert report["failures"] == []
    assert report["compiled"] + report["refused"] == COUNT
