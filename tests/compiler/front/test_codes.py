"""Each code of the front end is made by its bad example, and by nothing in its good one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minibcc.compiler.front import front
from minibcc.diagnostics import registry
from minibcc.errors import CompileError
from tests.btf.kernel import kernel_target

SOURCES = Path(__file__).parents[3] / "minibcc/compiler"
NOT_BY_TEXT = ("parse/include-depth", "parse/unknown-flag")  # need a file or a flag
OF_THE_BACK_END = ("type/atomic-result", "type/unbounded-text", "type/too-deep", "type/undefined")


def own_codes() -> list[str]:
    return [
        code
        for code in registry()
        if code.startswith(("parse/", "type/", "dialect/"))
        and code not in NOT_BY_TEXT + OF_THE_BACK_END
    ]


def codes_of(text: str, *cflags: str) -> list[str]:
    try:
        done = front(text, "text.c", kernel_target(), cflags)
    except CompileError as error:
        return [problem.code for problem in error.diagnostics]
    return [problem.code for problem in done.warnings]


@pytest.mark.parametrize("code", own_codes())
def test_examples(code: str) -> None:
    row = registry()[code]
    assert codes_of(row.bad) == [code]
    assert codes_of(row.good) == []


def test_every_code_has_a_row() -> None:
    found = set()
    for path in SOURCES.rglob("*.py"):
        if "lower" not in path.parts:
            found |= set(re.findall(r'"((?:parse|type|dialect)/[a-z-]+)"', path.read_text("utf-8")))
    assert found <= set(registry())


def test_flags_and_files(tmp_path: Path) -> None:
    header = tmp_path / "round.h"
    header.write_text('#include "round.h"\n')
    assert codes_of('#include "round.h"\n', f"-I{tmp_path}") == ["parse/include-depth"]
    assert codes_of("", "--optimise") == ["parse/unknown-flag"]
    header.write_text("#pragma once\n#define N 3\n")
    text = '#include "round.h"\n#include "round.h"\n_Static_assert(N + M == 5, "");\n'
    assert codes_of(text, "-I", str(tmp_path), "-DM=2", "-O2", "-Wall") == []


def test_warnings_can_be_switched_off() -> None:
    assert codes_of("#warning untested\n") == ["parse/warning-directive"]
    assert codes_of("#warning untested\n", "-w") == []
