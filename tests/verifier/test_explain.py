"""The examples of ``minibcc explain``: each bad one is refused with its code, each good one runs.

An example is C, or, for what no compiler writes, bytecode as text (it has no braces). The program's
type follows from its context, or is the one that the example names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from minibcc import boot
from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import ProgLoad, ProgramRefused
from minibcc.bcc.loader import Module
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from minibcc.diagnostics import Explanation, registry
from minibcc.errors import LoadError
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.system.interface import System

ROWS = [row for code, row in registry().items() if code.startswith("verify/")]
CONTEXTS = {
    "__sk_buff": ProgType.SCHED_CLS,
    "xdp_md": ProgType.XDP,
    "bpf_perf_event_data": ProgType.PERF_EVENT,
}
CLOSED = 99


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    boot.choose(boot.Options())
    yield boot.current()
    boot.choose(boot.Options())


def program_type(text: str) -> ProgType:
    """The type of program that a C text or bytecode means."""
    if found := re.search(r"a program of type (\w+)", text):
        return ProgType[found[1]]
    return next((kind for word, kind in CONTEXTS.items() if word in text), ProgType.KPROBE)


def _code(system: System, text: str) -> str:
    """The code that the text is refused with, "" if it is not."""
    if "{" not in text:
        insns = encode(assemble(text, {"closed": CLOSED}))
        try:
            system.close(system.bpf(ProgLoad(program_type(text), insns)).fd)
        except ProgramRefused as refused:
            assert refused.refusal is not None
            return refused.refusal.code
        return ""
    module = Module(system, compile(text, target=Target.from_system(system), file="example.c"))
    try:
        for program in module.object.programs:
            module.load(program.name, program.prog_type or program_type(text))
    except LoadError as wrong:
        return wrong.diagnostics[0].code
    finally:
        module.close()
    return ""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_examples_do_what_they_say(system: System, row: Explanation) -> None:
    assert _code(system, row.bad) == row.code
    assert _code(system, row.good) == ""
