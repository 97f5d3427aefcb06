"""What a person reads of the refusals that are most frequent in practice: `cases/c/NAME.c` (or
`NAME.bpf`, bytecode as text, for what no compiler writes) is refused, and the report is `NAME.txt`,
which ``--bless`` rewrites. The running kernel's refusal of the same program reads the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from minibcc import boot
from minibcc.abi.bpf import ProgType
from minibcc.bcc.loader import Module
from minibcc.compiler.compile import compile
from minibcc.compiler.object import BpfObject, ProgramSpec
from minibcc.compiler.target import Target
from minibcc.errors import LoadError
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.records import replace
from minibcc.system.interface import System
from tests import live
from tests.verifier.test_explain import program_type

PLACE = Path(__file__).parent.joinpath("cases", "c")
CASES = sorted([*PLACE.glob("*.c"), *PLACE.glob("*.bpf")])
names = pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)


def _made(case: Path, system: System) -> BpfObject:
    """The case as an object to load."""
    text = case.read_text("utf-8")
    if case.suffix == ".c":
        return compile(text, target=Target.from_system(system), file=case.name)
    empty = compile("", target=Target.from_system(system))
    program = ProgramSpec("probe", "", ProgType.KPROBE, encode(assemble(text)))
    return replace(empty, programs=(program,))


def report(case: Path, system: System) -> str:
    made = _made(case, system)
    module = Module(system, made)
    try:
        for program in made.programs:
            kind = program.prog_type or program_type(case.read_text("utf-8"))
            module.load(program.name, kind)
    except LoadError as wrong:
        return f"{wrong}\n"
    finally:
        module.close()
    pytest.fail("accepted")


@names
def test_the_report(case: Path, bless: bool) -> None:
    boot.choose(boot.Options())
    try:
        found = report(case, boot.current())
    finally:
        boot.choose(boot.Options())
    golden = case.with_suffix(".txt")
    if bless:
        golden.write_text(found, "utf-8")
    assert found == golden.read_text("utf-8")


@pytest.mark.kernel
@pytest.mark.parametrize(
    "case",
    # Of a path of a million instructions Linux keeps the end, and the simulated kernel nothing.
    [case for case in CASES if case.stem != "too_large"],
    ids=lambda case: case.stem,
)
def test_the_report_of_the_running_kernels_refusal(case: Path) -> None:
    assert report(case, live.kernel()) == case.with_suffix(".txt").read_text("utf-8")
