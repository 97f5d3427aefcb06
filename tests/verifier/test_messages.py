"""The table of the kernel's messages: each that the verifier gives stands in it, under the code
that the verifier gives with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import minibcc.kernel.verifier
from minibcc.abi.bpf import ProgType
from minibcc.bcc.refusal.log import read
from minibcc.bcc.refusal.messages import classify
from minibcc.isa.instruction import Instruction
from minibcc.kernel.verifier.contract import Source
from minibcc.kernel.verifier.verify import verify
from minibcc.records import replace
from tests.verifier import generate
from tests.verifier.test_cases import CASES

GENERATED = 600
GIVERS = {"Refused", "malformed", "refused", "_bad", "_bad_field", "unlocked"}
"""Functions that a message is given to; it is the first argument with a space in it."""


def test_every_message_is_in_the_table_under_its_code() -> None:
    sources = [case.source for case in CASES]
    sources += islice(generate.programs(5), GENERATED)
    refusals = [found for source in sources if (found := verify(source, generate.HERE).refusal)]
    assert len(refusals) > GENERATED // 3
    wrong = {
        (found.message, found.code, known.code if known else None)
        for found in refusals
        if found.message
        and ((known := classify(found.message)) is None or known.code != found.code)
    }
    assert not wrong


def test_of_a_log_the_message_is_read_that_the_verifier_gave() -> None:
    unknown = (Instruction(0xB7, dst=1), Instruction(0xDB, dst=10, src=1, off=-8, imm=-1))
    sources = [case.source for case in CASES]
    sources += [*islice(generate.programs(6), GENERATED // 2), Source(unknown, ProgType.KPROBE)]
    refused = [
        (verdict.refusal.message, read(verdict.log).message)
        for source in sources
        if (verdict := verify(replace(source, log_level=1), generate.HERE)).refusal is not None
        and verdict.refusal.code != "verify/not-decided"
    ]
    assert len(refused) > GENERATED // 4
    assert [pair for pair in refused if pair[0] != pair[1]] == []


def _text(value: ast.expr) -> str:
    """A message as it is written, with a 1 wherever it varies; "" if it is not written there, or
    begins with what varies."""
    if isinstance(value, ast.Constant):
        return str(value.value)
    if not isinstance(value, ast.JoinedStr) or isinstance(value.values[0], ast.FormattedValue):
        return ""
    parts = (part.value if isinstance(part, ast.Constant) else "1" for part in value.values)
    return re.sub("1(?=[a-z])", "1 ", "".join(map(str, parts)))


def _messages(tree: ast.AST) -> Iterator[str]:
    """Those written out in a module."""
    for node in ast.walk(tree):
        given: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            given = node.args if name in GIVERS else []
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "message":
            given = [node.value]
        yield from islice((text for text in map(_text, given) if " " in text), 1)


def test_every_message_written_in_the_source_is_in_the_table() -> None:
    found = set()
    for file in Path(minibcc.kernel.verifier.__path__[0]).glob("*.py"):
        found |= set(_messages(ast.parse(file.read_text("utf-8"))))
    assert len(found) > 80
    assert not {text for text in found if classify(text) is None}
