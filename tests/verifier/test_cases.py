"""Programs with the verdict that Linux 6.18 gives them, from `cases/*.txt`; each also asked of the
live kernel.

A case is a line ``== name [program type] [no-gpl] [sleepable]``, the program as text, and a line
``-> ok`` or ``-> errno message``; ``-> not-decided`` where this verifier must say so. `written`
says how functions and maps are named.
"""

from __future__ import annotations

import errno
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from minibcc.abi.bpf import ProgFlags, ProgType
from minibcc.abi.helpers import helpers, name_of
from minibcc.isa.instruction import LD_IMM64
from minibcc.kernel.verifier.contract import Source
from minibcc.kernel.verifier.verify import verify
from minibcc.records import Record, replace
from tests import live
from tests.verifier import generate, oracle, written

CALL = 0x85
ERRNOS = {"ok": 0, "not-decided": 0, "ENOTSUPP": 524}
"""Words for numbers, beside user space's names."""


class Case(Record):
    name: str
    source: Source
    errno: int
    message: str
    decided: bool


def _cases() -> list[Case]:
    out = []
    for file in sorted(Path(__file__).parent.joinpath("cases").glob("*.txt")):
        for block in ("\n" + file.read_text("utf-8")).split("\n== ")[1:]:
            head, _, rest = block.partition("\n")
            text, _, result = rest.partition("\n-> ")
            name, *words = head.split(" [")
            options = [word.rstrip("]") for word in words]
            code, _, message = result.splitlines()[0].partition(" ")
            number = ERRNOS.get(code)
            if number is None:
                number = getattr(errno, code)
            source = _source(text, options)
            out.append(Case(f"{file.stem}: {name}", source, number, message, code != "not-decided"))
    return out


def _source(text: str, options: list[str]) -> Source:
    types = [word for word in options if word not in ("no-gpl", "sleepable")]
    slots, functions = written.program(text)
    named = {insn.imm for insn in slots if insn.code == LD_IMM64 and insn.src in (1, 2)}
    prog_type = ProgType[types[0].upper()] if types else ProgType.KPROBE
    return Source(
        slots,
        prog_type,
        live.DEFAULT_ATTACH.get(prog_type, 0),
        maps={fd: facts for fd, facts in written.MAPS.items() if fd in named},
        gpl="no-gpl" not in options,
        prog_flags=ProgFlags.SLEEPABLE if "sleepable" in options else 0,
        functions=functions,
        has_btf=bool(functions),
    )


CASES = _cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdict(case: Case) -> None:
    verdict = verify(case.source, generate.HERE)
    if not case.decided:
        assert verdict.refusal is not None
        assert verdict.refusal.code == "verify/not-decided"
        return
    message = verdict.refusal.message if verdict.refusal else ""
    assert (verdict.errno, message) == (case.errno, case.message)
    assert verdict.accepted == (not case.errno)
    assert (verdict.facts is None) != (verdict.refusal is None)


@pytest.mark.kernel
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_kernel_says_so(case: Case) -> None:
    if reason := oracle.available():
        pytest.skip(reason)
    if not case.decided:
        return
    number, log = oracle.load(case.source, 1)
    assert number == case.errno, log
    assert not case.message or case.message in log.split("\n")


def _comparable(log: str) -> list[str]:
    """A log's lines without addresses and counts of states."""
    out = []
    for line in log.split("\n"):
        wide = re.sub(r"(\(18\) r\d) = 0x\w+", r"\1 = ?", line)
        if wide != line:  # an address is as wide as it is, and the column behind it moves
            wide = re.sub(r" +;", " ;", wide)
        out.append(wide.split(" max_states")[0])
    return out


@pytest.mark.kernel
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_log_is_the_kernels(case: Case) -> None:
    if reason := oracle.available():
        pytest.skip(reason)
    if not case.decided or case.errno == errno.E2BIG:
        return
    _, log = oracle.load(case.source, 1)
    verdict = verify(replace(case.source, log_level=1), generate.HERE)
    assert _comparable(verdict.log) == _comparable(log)


@pytest.mark.kernel
def test_logs_of_random_programs() -> None:
    """Line by line, addresses and counts of states aside."""
    if reason := oracle.available():
        pytest.skip(reason)
    compared = 0
    for source in islice(generate.programs(7), 150):
        number, log = oracle.load(source, 1)
        verdict = verify(replace(source, log_level=1), generate.HERE)
        if number != errno.E2BIG and number == verdict.errno:
            assert _comparable(verdict.log) == _comparable(log)
            compared += 1
    assert compared > 120


def _walk(log: str) -> list[str]:
    """What a log of level 2 says, but for what the kernel notes of live stack slots."""
    return [line for line in _comparable(log) if not re.match(r"\([\d,]+\) (frame|live)", line)]


@pytest.mark.kernel
def test_long_logs() -> None:
    """Level 2, of cases that pass and of random programs: live registers, what became precise, each
    path. Not compared are programs with loops: the kernel says where they are entered and left."""
    if reason := oracle.available():
        pytest.skip(reason)
    sources = [case.source for case in CASES if case.decided and not case.errno]
    compared = 0
    for source in [*sources, *islice(generate.programs(21), 100)]:
        number, log = oracle.load(source, 2)
        verdict = verify(replace(source, log_level=2), generate.HERE)
        if "SCC enter" in log or " async_cb" in log or number == errno.E2BIG:
            continue
        if number == verdict.errno:
            assert _walk(verdict.log) == _walk(log)
            compared += 1
    assert compared > 120


@pytest.mark.kernel
def test_random_programs() -> None:
    """A few; `python -m tests.soak verifier` asks about more."""
    if reason := oracle.available():
        pytest.skip(reason)
    report = generate.run(150, 20)
    assert not report.counts["accepts"]
    assert not report.counts["refuses"]
    assert report.counts["agree"] >= 148


def test_every_helper_is_asked_about_and_decided() -> None:
    """All but one that a kernel may be locked down against."""
    asked = {
        insn.imm
        for case in CASES
        if case.decided
        for insn in case.source.instructions
        if insn.code == CALL and not insn.src
    }
    assert {name_of(number) for number in set(helpers()) - asked} == {"bpf_probe_write_user"}


@pytest.mark.kernel
def test_cases_with_a_mistake() -> None:
    """One instruction of a case changed, removed or moved."""
    if reason := oracle.available():
        pytest.skip(reason)
    rng = Random(11)
    cases = [case for case in CASES if case.decided and case.source.instructions]
    counts: Counter[str] = Counter()
    for case in rng.sample(cases, 300):
        outcome, found = generate.judge(generate.mutant(case.source, rng))
        assert outcome not in ("accepts", "refuses"), (case.name, found)
        counts[outcome] += 1
    assert counts["agree"] >= 295
