"""Forms of C that read kernel memory without saying so: how many reads each becomes, and that the
value is right, in the simulated kernel and in the running one.

A form of ``forms.c`` is a few statements of a program that has `task`, the current one, and `ctx`;
``GOT(condition)`` says what must hold. What stands before the first statement (functions, structs,
tables, macros) is the text's. ``reads`` is the number of calls of the helpers that read in the
text; `helpers` of them are the form's own.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from minibcc import boot
from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import ProgTestRun
from minibcc.bcc.loader import Module
from minibcc.compiler import tree
from minibcc.compiler.compile import compile
from minibcc.compiler.dialect.walk import nodes
from minibcc.compiler.front import front
from minibcc.compiler.target import Target
from tests.live import kernel

FORMS = {
    title: body
    for part in re.split(r"\n\n(?=/// )", (Path(__file__).parent / "forms.c").read_text())
    for title, _, body in [part.strip().removeprefix("/// ").partition("\n")]
}
_OUTSIDE = re.compile(
    r"^(?:#[^\n]*|(?:struct|union) \w+ \{[^\n]*\};|BPF_\w+\([^\n]*\);"
    r"|static (?:struct \w+ \*\w+;|[^\n]*\)(?: \{[^\n]*\}|\n\{\n(?:    [^\n]*\n)*\})))\n",
    re.MULTILINE,
)


def text_of(form: str) -> str:
    body = "".join(line for line in form.splitlines(True) if not line.startswith("/// "))
    outside = "".join(match[0] for match in _OUTSIDE.finditer(body))
    inside = _OUTSIDE.sub("", body)
    return f"""
#define GOT(condition) return (condition) ? 1 : 2;
{outside}
int f(struct bpf_raw_tracepoint_args *ctx)
{{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
{inside}
}}
"""


def said(form: str, word: str) -> int:
    found = re.search(rf"^/// {word} (\d+)", form, re.MULTILINE)
    return int(found[1]) if found else 0


@cache
def simulated():
    return boot.system(boot.Options())


@pytest.mark.parametrize("title", FORMS)
def test_reads(title: str):
    form = FORMS[title]
    unit = front(text_of(form), "form.c", Target.from_system(simulated())).unit
    reads = [
        node.callee.name
        for function in unit.functions
        for node in nodes(function.body)
        if isinstance(node, tree.Call) and isinstance(node.callee, tree.Helper)
        if node.callee.name.startswith("bpf_probe_read")
    ]
    assert len(reads) - said(form, "helpers") == said(form, "reads")
    assert not any("user" in name for name in reads)


@pytest.mark.parametrize("title", FORMS)
def test_simulated(title: str):
    assert run(FORMS[title], simulated()) == 1


@pytest.mark.kernel
@pytest.mark.parametrize("title", FORMS)
def test_running_kernel(title: str):
    assert run(FORMS[title], kernel()) == 1


def run(form: str, system) -> int:
    obj = compile(text_of(form), Target.from_system(system), cache=False)
    assert not obj.warnings
    module = Module(system, obj)
    try:
        fd = module.load("f", ProgType.RAW_TRACEPOINT)
        return system.bpf(ProgTestRun(fd, ctx_in=bytes(96))).retval
    finally:
        module.close()
