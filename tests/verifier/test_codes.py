"""Every code that the verifier gives has its row in the registry, and every row is given."""

from __future__ import annotations

import re
from pathlib import Path

import minibcc.kernel.verifier
from minibcc.diagnostics import registry


def test_codes_and_rows_are_the_same() -> None:
    given = set()
    for file in Path(minibcc.kernel.verifier.__path__[0]).glob("*.py"):
        given |= set(re.findall(r'"(verify/[a-z-]+)"', file.read_text("utf-8")))
    assert given == {code for code in registry() if code.startswith("verify/")}
