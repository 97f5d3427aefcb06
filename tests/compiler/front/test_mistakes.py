"""What people get wrong who begin, and what they read then: mistakes.txt, message by message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minibcc.compiler.compile import compile
from minibcc.errors import CompileError
from minibcc.records import Record
from tests.btf.kernel import kernel_target

TABLE = Path(__file__).with_name("mistakes.txt")
AROUND = """\
struct event { u32 pid; char comm[16]; };
BPF_HASH(counts, u32, u64);
BPF_PERF_OUTPUT(events);
int f(struct pt_regs *ctx)
{
%s}
"""
_ROW = re.compile(r"^== (.*)\n((?:(?!-{4}\n|== ).*\n)*)-{4}\n((?:(?!== ).*\n)*)", re.MULTILINE)


class Row(Record):
    name: str
    text: str
    said: str


def rows() -> list[Row]:
    found = [Row(*row) for row in _ROW.findall(TABLE.read_text("utf-8"))]
    whole = [row.name for row in found].index("whole texts")
    bodies = [Row(row.name, AROUND % row.text, row.said) for row in found[:whole]]
    return bodies + found[whole + 1 :]


ROWS = rows()


def messages(text: str, *cflags: str) -> str:
    try:
        made = compile(text, kernel_target(), file="f.c", cflags=cflags, cache=False)
    except CompileError as error:
        return f"{error}\n"
    return "".join(f"{warning}\n" for warning in made.warnings)


def test_there_are_many() -> None:
    assert len(ROWS) > 60
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_mistake_reads_as_it_should(row: Row, bless: bool) -> None:
    said = messages(row.text)
    assert said
    if bless:
        content = TABLE.read_text("utf-8")
        before = next(match for match in _ROW.finditer(content) if match[1] == row.name)
        start, end = before.span(3)
        TABLE.write_text(content[:start] + said + content[end:], "utf-8")
        return
    assert said == row.said
    if "error: " not in said:
        assert messages(row.text, "-w") == ""
