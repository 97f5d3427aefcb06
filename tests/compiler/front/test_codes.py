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
OF_THE_BACK_END = (
    "type/atomic-result",
    "type/program-size",
    "type/unbounded-text",
    "type/undefined",
)


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
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "beside.h").write_text("int beside;\n")
    (inner / "nested.h").write_text('#if !__has_include("beside.h")\n#error where?\n#endif\n')
    assert codes_of('#include "inner/nested.h"\n', f"-I{tmp_path}") == []
    header.write_text("#pragma once\n#define N 3\n")
    text = '#include "round.h"\n#include "round.h"\n_Static_assert(N + M == 5, "");\n'
    assert codes_of(text, "-I", str(tmp_path), "-DM=2", "-O2", "-Wall") == []


def test_warnings_can_be_switched_off() -> None:
    assert codes_of("#warning untested\n") == ["parse/warning-directive"]
    assert codes_of("#warning untested\n", "-w") == []


SILENT = {
    "a lookup keeps an element of an LRU table": "recent.lookup(&key);",
    "nobody wants the result, and says so": "(void)counts.lookup(&key);",
    "a size": "u8 small = key; if (sizeof(key) > 8 || small < sizeof(key)) return 1;",
    "what a macro compares": "if (BELOW(key, 0) || key < LEAST || IS_NULL(&key)) return 1;",
    "the limits of a type": "u8 small = key; if (small <= 255 || key > 0xffffffff) return 1;",
    "minus one as C converts it": "if (key == -1 || (char)key == -1) return 1;",
    "an enumeration's numbers": "enum { ONE } one = key; if (one < 0) return 1;",
    "a pointer that was looked up": "u64 *p = counts.lookup(&key); if (p != NULL && !p) return 1;",
    "an offset": "return (u64)&((struct task_struct *)0)->pid;",
    "a key in a kernel structure of one's own": (
        "struct path path = {}; counts.lookup_or_try_init((u32 *)&path, (u64 *)&path.mnt);"
    ),
}


@pytest.mark.parametrize("body", SILENT.values(), ids=SILENT)
def test_left_alone(body: str) -> None:
    text = f"""
#define LEAST 0
#define BELOW(a, b) ((a) < (b))
#define IS_NULL(p) ((p) == NULL)
BPF_HASH(counts, u32, u64);
BPF_TABLE("lru_hash", u32, u64, recent, 16);
int f(struct pt_regs *ctx) {{ u32 key = PT_REGS_RC(ctx); {body} return 0; }}
"""
    assert codes_of(text) == []
