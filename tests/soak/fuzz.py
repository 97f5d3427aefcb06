"""Texts that nobody would write, through the whole compiler: `count` of them from `seed`.

Whatever the text, the compiler ends in time with an object, or with a CompileError whose
diagnostics can be shown. It runs in a process of its own, for LLVM and the C of Python can end
one: then the text that did it is counted, and another process goes on behind it.
``python -m tests.soak fuzz --show NUMBER`` is not needed: `mutants.mutant(NUMBER)` is the text.
"""

from __future__ import annotations

import os
import resource
import signal
import traceback
from typing import Any

from tests.compiler.front.mutants import mutant

SECONDS = 20
"""Of processor time a text."""
MEMORY = 3 << 30
_CPUS = ("v1", "v2", "v3", "v4")


def run(count: int, seed: int) -> dict[str, Any]:
    """How many texts compiled, how many were refused, and those on which the compiler failed."""
    totals = {"compiled": 0, "refused": 0}
    failures = []
    number, stop = seed << 20, (seed << 20) + count
    while number < stop:
        reports, status = _in_a_child(number, stop)
        for report in reports:
            if report in totals:
                totals[report] += 1
            else:
                failures.append(f"text {number}: {report}")
            number += 1
        if number < stop:
            failures.append(f"text {number}: the process ended with status {status}")
            number += 1
    return {**totals, "failures": failures}


def _in_a_child(first: int, stop: int) -> tuple[list[str], int]:
    """What became of the texts from `first` on as far as a child came, and its exit status."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            for number in range(first, stop):
                # Its signal ends the process.
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                os.write(writing, judge(mutant(number), number).replace("\n", " ").encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as lines:
        reports = lines.read().splitlines()
    return reports, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def judge(text: str | bytes, number: int) -> str:
    """`compiled`, `refused`, or what went wrong."""
    from minibcc.compiler.compile import compile
    from minibcc.errors import CompileError
    from tests.btf.kernel import kernel_target

    try:
        compile(text, kernel_target(), file="fuzz.c", cpu=_CPUS[number % len(_CPUS)], cache=False)
    except CompileError as refused:
        return _read(refused, text)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {str(error)[:200]}"
        return f"{what} at {os.path.basename(where.filename)}:{where.lineno}"
    return "compiled"


def _read(refused: Any, text: str | bytes) -> str:
    """`refused` if the diagnostics are sound: known codes, messages, places that exist."""
    from minibcc.diagnostics import registry, render

    if not refused.diagnostics:
        return "no diagnostic"
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    lines = len(text.split("\n")) + 1
    known = registry()
    for problem in refused.diagnostics:
        if problem.code not in known or not problem.message:
            return f"unknown code {problem.code}"
        span = problem.span
        if span is None:
            return f"no place: {problem.message}"
        if span.file == "fuzz.c" and not 1 <= span.line <= lines:
            return f"no such line: {span}"
        render(problem, refused.sources)
    return "refused"
