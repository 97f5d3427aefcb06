"""What a person reads of the refusals that are most frequent in practice: `cases/c/NAME.c` is
refused, and the report is `NAME.txt`, which ``--bless`` rewrites."""

from __future__ import annotations

from pathlib import Path

import pytest

from minibcc import boot
from minibcc.bcc.loader import Module
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from minibcc.errors import LoadError
from tests.verifier.test_explain import program_type

CASES = sorted(Path(__file__).parent.joinpath("cases", "c").glob("*.c"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_report(case: Path, bless: bool) -> None:
    boot.choose(boot.Options())
    system = boot.current()
    text = case.read_text("utf-8")
    made = compile(text, target=Target.from_system(system), file=case.name)
    module = Module(system, made)
    try:
        for program in made.programs:
            module.load(program.name, program.prog_type or program_type(text))
    except LoadError as wrong:
        report = f"{wrong}\n"
    else:
        pytest.fail("accepted")
    finally:
        module.close()
        boot.choose(boot.Options())
    golden = case.with_suffix(".txt")
    if bless:
        golden.write_text(report, "utf-8")
    assert report == golden.read_text("utf-8")
