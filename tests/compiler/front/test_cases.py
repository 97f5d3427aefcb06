"""Case files: C with ``// error: code`` on each bad line, and C whose plain form is kept beside it.

``cases/NAME.c`` with errors must yield exactly those; without any, the plain tree as C must equal
``cases/NAME.plain``, which ``--bless`` rewrites.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minibcc.compiler import show
from minibcc.compiler.front import front
from minibcc.errors import CompileError
from tests.btf.kernel import kernel_target

CASES = sorted((Path(__file__).parents[1] / "cases").glob("*.c"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_case(case: Path, bless: bool) -> None:
    text = case.read_text("utf-8")
    wanted = [
        (number, code)
        for number, line in enumerate(text.split("\n"), 1)
        for code in re.findall(r"// (?:error|warning): ([a-z/-]+)", line)
    ]
    try:
        done = front(text, case.name, kernel_target())
        found = done.warnings
    except CompileError as error:
        found = tuple(error.diagnostics)
    assert [(item.span.line if item.span else 0, item.code) for item in found] == wanted
    if wanted:
        return
    golden = case.with_suffix(".plain")
    plain = show.unit(done.unit)
    if bless:
        golden.write_text(plain, "utf-8")
    assert plain == golden.read_text("utf-8")


def test_every_node_can_be_shown() -> None:
    for case in CASES:
        text = case.read_text("utf-8")
        if "// error:" not in text:
            assert show.dump(front(text, case.name, kernel_target()).tree)
