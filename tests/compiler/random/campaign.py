"""Many random programs: made, run natively in batches, judged in processes that may die.

A process that dies is a finding of the program that it was at, and the next one goes on behind it.
A finding is checked for undefined behaviour, which would be the generator's fault, and cut down.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.compiler.random import csmith, own
from tests.compiler.random.judge import Outcome, judge, linux
from tests.compiler.random.program import RESULTS, Answer, Program, native, undefined
from tests.compiler.random.reduce import reduce

EMPTY = """\
int prog(struct __sk_buff *ctx)
{
    u32 zero = 0;
    return in.lookup(&zero) && out.lookup(&zero) ? 3 : 4;
}
"""
BATCH = 50
"""Programs that one run of the native compiler takes."""
PATIENCE = 60.0
"""Seconds that cutting one finding down may take."""


class Report(NamedTuple):
    """`counts` by kind of program and outcome; a failure is told with its reproducer."""

    counts: Counter[str]
    failures: list[str]


def check(
    numbers: list[int],
    source: Callable[[int], Program | str],
    kind: str,
    *,
    live: bool = True,
    patience: float = PATIENCE,
) -> Report:
    """All programs of these numbers; `source` makes one, or says why it cannot."""
    report = Report(Counter(), [])
    for first in range(0, len(numbers), BATCH):
        programs = []
        for number in numbers[first : first + BATCH]:
            made = source(number)
            report.counts[f"{kind}: programs"] += 1
            if isinstance(made, str):
                report.counts[f"{kind}: skipped: {made}"] += 1
            else:
                programs.append(made)
        with tempfile.TemporaryDirectory() as folder:
            _batch(programs, Path(folder), kind, report, live, patience)
    return report


def _batch(
    programs: list[Program], folder: Path, kind: str, report: Report, live: bool, patience: float
) -> None:
    expected: dict[int, Answer] = {}
    for number, answer in _native(programs, folder, report).items():
        if answer is None:
            report.counts[f"{kind}: skipped: does not end natively"] += 1
        else:
            expected[number] = answer
    cases = [
        (program, expected[program.number]) for program in programs if program.number in expected
    ]
    for program, outcomes in apart(cases, live=live):
        agreed = all(not outcome.finding for outcome in outcomes.values())
        ran = any(outcome.kind == "same" for outcome in outcomes.values())
        report.counts[f"{kind}: agreed"] += agreed and ran
        for cpu, outcome in outcomes.items():
            report.counts[f"{kind}: {cpu}: {outcome.kind}"] += 1
        found = [(cpu, outcome) for cpu, outcome in outcomes.items() if outcome.finding]
        if not found:
            continue
        cpu, outcome = found[0]
        if words := undefined(program, folder):
            report.counts[f"{kind}: undefined behaviour"] += 1
            if kind == "own":
                report.failures.append(f"{program.label} is undefined: {words[-600:]}")
            continue
        text = program
        if len(report.failures) < 3:
            text = reduce(
                program,
                lambda p, c=cpu, o=outcome: _still(p, c, o, folder, live),
                time.monotonic() + patience,
            )
        levels = ", ".join(cpu for cpu, _ in found)
        report.failures.append(
            f"{program.label} at {levels}: {outcome.kind}: {outcome.detail[-1500:]}\n"
            f"{program.type.name}, inputs {program.inputs}\n{text.bpf()}"
        )


def _native(programs: list[Program], folder: Path, report: Report) -> dict[int, Answer | None]:
    """What they give natively. Where the compiler refuses the batch, each goes by itself."""
    if not programs:
        return {}
    try:
        return native(programs, folder)
    except subprocess.CalledProcessError as error:
        if len(programs) == 1:
            report.failures.append(f"{programs[0].label} is no C: {error.stderr[-1500:]}")
            return {}
    answers: dict[int, Answer | None] = {}
    for program in programs:
        answers |= _native([program], folder, report)
    return answers


def _still(program: Program, cpu: str, outcome: Outcome, folder: Path, live: bool) -> bool:
    """Whether a changed program shows the same."""
    only = program._replace(cpus=(cpu,))
    try:
        answer = native([only], folder)[only.number]
    except subprocess.CalledProcessError:
        return False
    if answer is None:
        return False
    [(_, outcomes)] = apart([(only, answer)], live=live)
    return outcomes[cpu].kind == outcome.kind and not undefined(only, folder)


def apart(
    cases: list[tuple[Program, Answer]], *, live: bool = True
) -> Iterator[tuple[Program, dict[str, Outcome]]]:
    """Each program with its outcomes, judged in a process of its own kind."""
    warm()
    at = 0
    while at < len(cases):
        reader, writer = os.pipe()
        process = os.fork()
        if not process:
            _work(cases[at:], reader, writer, live)
        os.close(writer)
        with os.fdopen(reader) as lines:
            for line in lines:
                if not line.endswith("\n"):
                    break
                outcomes = {cpu: Outcome(*fields) for cpu, fields in json.loads(line).items()}
                yield cases[at][0], outcomes
                at += 1
        _, status = os.waitpid(process, 0)
        if status and at < len(cases):
            program = cases[at][0]
            crash = Outcome("crash", f"the process ended with status {status}")
            yield program, dict.fromkeys(program.cpus, crash)
            at += 1


@cache
def warm() -> None:
    """Loads what each process of a batch needs, so that it does not do so itself."""
    linux()
    judge(Program("nothing", 0, EMPTY), Answer(3, (0,) * RESULTS))
    gc.freeze()


def _work(cases: list[tuple[Program, Answer]], reader: int, writer: int, live: bool) -> None:
    """The child: a line of JSON a program. It never returns."""
    status = 1
    gc.disable()  # it does not live long
    try:
        os.close(reader)
        with os.fdopen(writer, "w") as out:
            for program, expected in cases:
                print(json.dumps(judge(program, expected, live=live)), file=out, flush=True)
        status = 0
    finally:
        os._exit(status)


SOURCES: dict[str, Callable[[int], Program | str]] = {
    "own": own.program,
    "csmith": csmith.program,
}
