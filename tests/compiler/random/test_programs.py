"""Random C gives on every engine what it gives natively, and what once went wrong still does.

``found/*.c`` are programs that were compiled wrongly; long campaigns find more
(``python -m tests.soak compile``).
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from tests.compiler.random import campaign, csmith, own
from tests.compiler.random.judge import judge
from tests.compiler.random.program import INPUTS, Program, native
from tests.compiler.random.reduce import reduce, run

FOUND = sorted((Path(__file__).parent / "found").glob("*.c"))


def found(path: Path) -> Program:
    text = path.read_text("utf-8")
    inputs = re.search(r"// inputs: (.*)", text)
    assert inputs is not None
    given = [int(word, 0) for word in inputs[1].split()]
    return Program(path.stem, 1, text, inputs=(*given, *[0] * (INPUTS - len(given))))


@pytest.mark.tool("gcc")
@pytest.mark.kernel
@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found(path: Path, tmp_path: Path) -> None:
    program = found(path)
    expected = native([program], tmp_path)[1]
    assert expected is not None
    assert {cpu: tuple(got) for cpu, got in judge(program, expected).items()} == dict.fromkeys(
        program.cpus, ("same", "")
    )


@pytest.mark.tool("gcc")
@pytest.mark.kernel
@pytest.mark.parametrize("first", range(0, 150, 25))
def test_programs_of_our_own(first: int) -> None:
    _agree(campaign.check(list(range(first, first + 25)), own.program, "own", patience=0), 25)


@pytest.mark.tool("gcc")
@pytest.mark.kernel
@pytest.mark.tool("csmith")
@pytest.mark.parametrize("first", range(0, 60, 20))
def test_programs_of_csmith(first: int) -> None:
    numbers = list(range(first, first + 20))
    _agree(campaign.check(numbers, csmith.program, "csmith", patience=0), 20)


def _agree(report: campaign.Report, count: int) -> None:
    assert report.failures == []
    [agreed] = [n for name, n in report.counts.items() if name.endswith(": agreed")]
    assert agreed > count * 3 // 4, report.counts


def test_the_generator_is_deterministic() -> None:
    assert own.program(7) == own.program(7) != own.program(8)


def test_a_program_is_cut_down_to_what_shows_it() -> None:
    lines = ["int a;", "if (x) {", "    y = 1;", "    here;", "}", "while (z) {", "    b;", "}"]
    program = Program("long", 1, "\n".join(lines))
    smaller = reduce(program, lambda p: "here" in p.text, math.inf)
    assert smaller.text.split("\n") == ["if (x) {", "    here;", "}"]


def test_a_run_of_lines_ends_with_its_block() -> None:
    lines = ["if (x) {", "    y = 1;", "}", "}"]
    assert [run(lines, 0, length) for length in (4, 2)] == [3, 0]
    assert run(lines, 3, 1) == 3
