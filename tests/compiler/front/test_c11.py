"""C's forms: c11.txt says what is to become of each, other compilers whether it is C."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from minibcc.compiler.compile import compile
from minibcc.errors import CompileError
from minibcc.records import Record, replace
from tests.btf.kernel import kernel_target
from tests.compiler.back import live

TABLE = Path(__file__).with_name("c11.txt")
NATIVE = """\
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef signed char s8; typedef short s16; typedef int s32;
typedef long long s64; struct pt_regs { unsigned long di, si; };
static volatile u64 opaque = 12345;
static u64 bpf_ktime_get_ns(void) { return opaque; }
static long bpf_get_current_comm(void *p, int n) { return __builtin_memset(p, 0, n) != p; }
static int bpf_trace_printk(const char *format, ...) { return 0; }
#define BPF_ARRAY(name, type, n) \\
    static type name##_cells[n]; static type *name##_lookup(int *k) { return name##_cells + *k; } \\
    struct name##_t { type *(*lookup)(int *); }; static struct name##_t name = {name##_lookup}
"""
OURS = """\
static volatile u64 opaque = 12345;
#define bpf_ktime_get_ns() (*(u64 *)&opaque)
"""
UNLIKE = {
    "__func__",  # its name differs
    "alignment",  # of an address
    "aligned struct on the stack",
}
"""What need not have the same value natively."""


class Row(Record):
    """`verdict` is valid, invalid or beyond; `code` what we say of the latter two."""

    verdict: str
    code: str
    name: str
    text: str


def rows() -> list[Row]:
    pattern = re.compile(r"^== (\w+) ?(\S*) \| (.*)\n((?:(?!== ).*\n)*)", re.MULTILINE)
    return [Row(*found) for found in pattern.findall(TABLE.read_text("utf-8"))]


ROWS = rows()
PROGRAMS = [row for row in ROWS if row.verdict == "valid" and " f(" in row.text]


def test_no_form_has_two_rows() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_form(row: Row) -> None:
    try:
        compile(row.text, kernel_target(), file="form.c", cache=False)
        codes = set()
    except CompileError as error:
        codes = {problem.code for problem in error.diagnostics}
    assert codes == ({row.code} if row.code else set())


@cache
def compilers() -> tuple[str, ...]:
    return tuple(name for name in ("gcc", "clang") if shutil.which(name))


def standard(row: Row) -> str:
    return "-std=gnu2x" if "[[" in row.text else "-std=gnu11"


@pytest.mark.native
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_other_compilers_agree(row: Row) -> None:
    """One takes what is C, one refuses what is none: their extensions differ."""
    accepted = []
    for compiler in compilers():
        command = [compiler, standard(row), "-w", "-fsyntax-only", "-xc", "-"]
        text = f'{NATIVE}#line 1 "form.c"\n{row.text}'
        done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
        accepted.append(done.returncode == 0)
    assert accepted
    assert not all(accepted) if row.verdict == "invalid" else any(accepted)


@pytest.mark.native
@pytest.mark.kernel
@pytest.mark.parametrize("row", PROGRAMS, ids=lambda row: row.name)
def test_values(row: Row, tmp_path: Path) -> None:
    """What a program returns in Linux is what it returns natively."""
    if row.name in UNLIKE:
        assert "f(" in row.text
        return
    library = tmp_path / "form.so"
    command = [compilers()[0], standard(row), "-w", "-O1", "-fwrapv", "-shared", "-fPIC"]
    command += ["-Wl,-Bsymbolic", "-xc", "-", "-o", str(library)]
    subprocess.run(command, input=NATIVE + row.text, text=True, check=True, capture_output=True)
    context = ctypes.create_string_buffer(64)
    wanted = ctypes.CDLL(str(library)).f(context)
    made = compile(OURS + row.text, kernel_target(), cache=False)
    (program,) = [program for program in made.programs if program.name == "f"]
    answer, _ = live.result_of(replace(made, programs=(program,)))
    assert ctypes.c_int(answer).value == wanted
