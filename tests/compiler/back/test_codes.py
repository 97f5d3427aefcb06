"""Each code of the back end is made by its bad example, and its good example compiles."""

from __future__ import annotations

import pytest

from minibcc.btf.decode import Btf
from minibcc.btf.encode import encode
from minibcc.btf.types import Int
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from minibcc.diagnostics import registry
from minibcc.errors import CompileError

CODES = (
    "type/wide-arithmetic",
    "type/atomic-result",
    "type/program-size",
    "type/undefined-function",
    "type/unbounded-text",
    "type/undefined",
)


@pytest.fixture(scope="module")
def target() -> Target:
    btf = Btf(encode([Int("int", 4, True)]).data)
    return Target(btf, (6, 18, 0), lambda category, event: None)


@pytest.mark.parametrize("code", CODES)
def test_examples(target: Target, code: str) -> None:
    row = registry()[code]
    with pytest.raises(CompileError) as caught:
        compile(row.bad, target, file="bad.c", cache=False)
    assert [problem.code for problem in caught.value.diagnostics] == [code]
    assert compile(row.good, target, file="good.c", cache=False).programs


def test_some_nesting_compiles(target: Target) -> None:
    some = "int f(void *ctx) { return " + "-(" * 150 + "1" + ")" * 150 + "; }"
    assert compile(some, target, cache=False).programs


def test_a_block_may_declare_what_is_defined_below(target: Target) -> None:
    text = "int f(void *ctx) { extern int x; return x; }\n"
    [data] = compile(text + "int x = 3;", target, cache=False).maps
    assert (data.name, data.initial) == (".data", b"\3\0\0\0")
    for mistake, code in (("", "type/extern"), ("long x = 3;", "type/redefined")):
        with pytest.raises(CompileError, match=code):
            compile(text + mistake, target, cache=False)
