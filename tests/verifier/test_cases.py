"""Programs with the verdict that Linux 6.18 gives them, from `cases/*.txt`; each also asked of the
live kernel.

A case is a line ``== name [program type] [no-gpl]``, the program as text, and a line ``-> ok`` or
``-> errno message``; ``-> not-decided`` where this verifier must say so. Maps are those of
`generate.MAPS`, by name.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from minibcc.abi.bpf import ProgType
from minibcc.isa.text import assemble
from minibcc.kernel.verifier.contract import Source
from minibcc.kernel.verifier.verify import verify
from minibcc.records import Record, replace
from tests.verifier import generate, oracle

NAMES = {
    "hash": 1,
    "array": 2,
    "perf": 3,
    "ringbuf": 4,
    "tails": 5,
    "stacks": 6,
    "globals": 7,
}


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
            gpl = "no-gpl" not in options
            types = [word for word in options if word != "no-gpl"]
            prog_type = ProgType[types[0].upper()] if types else ProgType.KPROBE
            code, _, message = result.splitlines()[0].partition(" ")
            number = 0 if code in ("ok", "not-decided") else getattr(errno, code)
            slots = tuple(assemble(text, NAMES))
            source = Source(slots, prog_type, maps=generate.MAPS, gpl=gpl)
            out.append(Case(f"{file.stem}: {name}", source, number, message, code != "not-decided"))
    return out


CASES = _cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdict(case: Case) -> None:
    verdict = verify(case.source)
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
def test_random_programs() -> None:
    """A few; `python -m tests.soak verifier` asks about more."""
    if reason := oracle.available():
        pytest.skip(reason)
    report = generate.run(150, 20)
    assert not report.counts["accepts"]
    assert not report.counts["refuses"]
    assert report.counts["agree"] >= 148
