"""A text twice as long takes about twice the work, whatever it is long of.

Work is counted in calls of functions, Python's and its own in C: the same at each run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from minibcc.compiler.depth import deep
from minibcc.compiler.front import front
from minibcc.compiler.lower.module import lower
from minibcc.errors import CompileError
from tests.btf.kernel import kernel_target

FEW = 60
SLACK = 2.4
"""What twice as much may cost: some sorting, and steps of dictionaries that grow."""

# What is long: before, the part for each number from 0 on, behind.
_F = "int f(struct pt_regs *ctx) { "
_TASK = "struct task_struct *t = (void *)bpf_get_current_task(); "
FORMS = {
    "functions": ("", "static int g%d(int x) { return x; }\n", _F + "return g0(1); }"),
    "programs": ("", "int g%d(struct pt_regs *ctx) { return 0; }\n", ""),
    "globals": ("", "static int g%d = 1;\n", _F + "return g0; }"),
    "members": ("struct s { ", "int m%d; ", "}; static struct s v; " + _F + "return v.m0; }"),
    "enumerators": ("enum e { ", "E%d, ", "}; " + _F + "return E0; }"),
    "typedefs": ("", "typedef int t%d; static t%d v%d;\n", _F + "return v0; }"),
    "structs": ("", "struct s%d { int a; } __attribute__((packed));\n", _F + "return 0; }"),
    "tables": ("", "BPF_HASH(m%d, u64, u64);\n", _F + "u64 k = 0; m0.increment(k); return 0; }"),
    "macros": ("", "#define M%d 1\n", _F + "return M0; }"),
    "conditions": ("", "#if %d + 1\nint a%d;\n#endif\n", _F + "return 0; }"),
    "statements": (_F + "volatile int a = 0; ", "a += %d;\n", "return a; }"),
    "variables": (_F, "u64 a%d = ctx->di + %d;\n", "return a0; }"),
    "cases": (_F + "switch (ctx->di) {", "case %d: return %d;\n", "} return 0; }"),
    "labels": (_F + "u64 a = ctx->di; ", "if (a == %d) goto l%d; l%d: a++;\n", "return a; }"),
    "a ladder of if": (_F + "u64 a = ctx->di; ", "if (a == %d) return %d; else\n", "return 1; }"),
    "a sum": (_F + "return ctx->di", " + ctx->si * %d", "; }"),
    "logic": (_F + "return ctx->di", " && ctx->si != %d", "; }"),
    "assignments": (_F + "u64 a = 0; ", "a = ", "1; return a; }"),
    "assignments in turn": (_F + "u64 v0 = 0; ", "{ u64 w%d = v0; v0 = w%d; }\n", "return v0; }"),
    "choices": (_F + "return ", "ctx->di == %d ? %d : ", "0; }"),
    "signs": (_F + "return ", "- ~ ", "ctx->di; }"),
    "members of members": (_F + _TASK + "return t", "->real_parent", "->pid; }"),
    "reads": (_F + _TASK + "u64 a = 0; ", "a += t->pid;\n", "return a; }"),
    "messages": (_F, 'bpf_trace_printk("%%d\\n", %d);\n', "return 0; }"),
    "elements": ("static const int v[] = {", "%d, ", "}; " + _F + "return v[ctx->di & 1]; }"),
    "attributes": ("int x ", "__attribute__((aligned(8))) ", "; " + _F + "return x; }"),
    "dimensions": ("int x", "[1]", "; " + _F + "return 0; }"),
    "pieces of a string": ("static const char s[] = ", '"a%d" ', "; " + _F + "return s[1]; }"),
    "mistakes": ("", "int g%d(void *ctx) { return nothing; }\n", ""),
    "forgotten semicolons": (_F + "int a = 0;\n", "a++\n", "return a; }"),
    "recursion": (_F + "return ", "f(ctx) + ", "0; }"),
}


def chain(count: int) -> str:
    """Functions that call the one before."""
    links = (f"static int g{n + 1}(int x) {{ return g{n}(x); }}\n" for n in range(count))
    first = "static int g0(int x) { return x; }\n"
    return first + "".join(links) + f"{_F}return g{count}(1); }}"


def backwards(count: int) -> str:
    """Pointers that come to each other in the order against the text's."""
    variables = "".join(f"struct task_struct *p{n} = 0;" for n in range(count + 1))
    steps = "".join(f"p{n} = p{n + 1};" for n in range(count))
    start = f"p{count} = (void *)bpf_get_current_task();"
    return f"{_F}{variables} while (ctx->di) {{ {steps} {start} }} return p0->pid; }}"


def text(form: tuple[str, str, str], count: int) -> str:
    before, part, behind = form
    if "%" in part:
        parts = (part % ((number,) * part.replace("%%", "").count("%")) for number in range(count))
    else:
        parts = iter((part,) * count)
    return before + "".join(parts) + behind


def work(source: str) -> int:
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        with deep("long.c", source):
            done = front(source, "long.c", kernel_target())
            lower(done.unit, "v2", done.sources)
    except CompileError:
        pass
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("name", FORMS)
def test_work_grows_with_the_text(name: str) -> None:
    check(lambda count: text(FORMS[name], count))


@pytest.mark.parametrize("make", (chain, backwards))
def test_work_grows_with_the_way_through_the_text(make: Callable[[int], str]) -> None:
    check(make)


def check(make: Callable[[int], str]) -> None:
    work(make(1))  # what is loaded and read once
    start, few, many = (work(make(count)) for count in (1, FEW, 2 * FEW))
    assert few > start
    assert many - start < SLACK * (few - start)
