"""What a person reads of the refusals that are most frequent in practice: `cases/c/NAME.c` (or
`NAME.bpf`, bytecode as text, for what no compiler writes) is refused, and the report is `NAME.txt`,
which ``--bless`` rewrites. The running kernel's refusal of the same program reads the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from minibcc import boot
from minibcc.abi.bpf import ProgType
from minibcc.bcc.loader import Module
from minibcc.bcc.refusal.report import explain
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


PROGRAM = ProgramSpec(
    "probe", "", ProgType.KPROBE, encode(assemble("call pc+1\nexit\nr0 = 0\nexit"))
)


def _told(spec: ProgramSpec, *log: str) -> str:
    """What is said of a refusal in a log of Linux."""
    found = explain("\n".join(log), spec, None)
    assert found is not None
    return "\n".join((f"{found.message} [{found.code}]", *found.notes))


def test_of_a_bad_argument_the_line_before_the_message_is_the_cause() -> None:
    told = _told(
        PROGRAM,
        "0: R1=ctx() R10=fp0",
        "0: (85) call pc+1",
        "arg#0 expects pointer to ctx",
        "Caller passes invalid args into func#1 ('first')",
        "processed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0",
    )
    assert "[verify/argument-type]" in told
    assert "needs arguments of the kinds that first declares; arg#0 expects pointer to ctx" in told


def test_of_a_traced_function_the_context_is_its_arguments() -> None:
    spec = replace(PROGRAM, prog_type=ProgType.TRACING, attach_to="vfs_read")
    told = _told(
        spec,
        "0: R1=ctx() R10=fp0",
        "0: (79) r0 = *(u64 *)(r1 +72)",
        "func 'vfs_read' doesn't have 10-th argument",
        "invalid bpf_context access off=72 size=8",
    )
    assert "[verify/context-access]" in told
    assert "needs an argument of vfs_read, whole; 8 bytes at offset 72" in told
