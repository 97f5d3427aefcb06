"""BCC's own tools compile, and the verifier takes them: Debian's, each as tools.txt says."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("tools.txt")
ROOT = Path(__file__).resolve().parents[2]
PLACE = Path("/usr/sbin")
SUFFIX = "-bpfcc"


def rows() -> list[tuple[str, str, str]]:
    """Tool, arguments, outcome."""
    lines = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    return [(tool, words, said) for tool, words, said in map(fields, lines)]


def fields(line: str) -> tuple[str, str, str]:
    tool, _, rest = line.partition(" | ")
    words, _, said = rest.rpartition("| ")
    return tool.strip(), words.strip(), said.strip()


class Worker:
    """A `worker` process, talked to by lines."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.tools.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "MINIBCC_CACHE": "0", "TERM": "dumb"},
            text=True,
        )

    def check(self, tool: str, words: str) -> tuple[int, str, str]:
        assert self.process.stdin is not None and self.process.stdout is not None
        line = json.dumps([str(PLACE / f"{tool}{SUFFIX}"), *shlex.split(words)])
        print(line, file=self.process.stdin, flush=True)
        status, out, err = json.loads(self.process.stdout.readline())
        return status, out, err

    def close(self) -> None:
        with self.process:
            assert self.process.stdin is not None
            self.process.stdin.close()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    if not list(PLACE.glob(f"*{SUFFIX}")):
        pytest.skip("needs BCC's tools (Debian's bpfcc-tools)")
    made = Worker()
    yield made
    made.close()


REASONS = {
    "starts no process": "starts a process",
    "_curses.error": "needs a terminal",
    "usage:": "wants other arguments",
}


def outcome(status: int, out: str, err: str) -> str:
    """In the table's words."""
    try:
        report = json.loads(out)
    except ValueError:
        return next((reason for words, reason in REASONS.items() if words in err), "no report")
    programs = [program for text in report["texts"] for program in text["programs"]]
    counts = Counter(program["verdict"] for program in programs)
    for text in report["texts"]:
        if text["error"]:
            counts[text["code"] or "error"] += 1
    if not counts:
        why = (reason for words, reason in REASONS.items() if words in err.lower() or words in err)
        return next(why, f"no BPF object, status {report['status']}")
    words = [f"{number} {word}" for word, number in sorted(counts.items(), key=lambda c: c[0])]
    if report["status"]:
        words.append(f"status {report['status']}")
    if "minibcc" in err:
        words.append("warnings")
    assert status == (0 if report["passed"] else 1)
    return ", ".join(words)


@pytest.mark.parametrize(("tool", "words", "said"), rows(), ids=lambda value: value or "-")
def test_a_tool(worker, tool, words, said, bless):
    if not (PLACE / f"{tool}{SUFFIX}").exists():
        pytest.skip(f"needs {tool}{SUFFIX} (Debian's bpfcc-tools)")
    status, out, err = worker.check(tool, words)
    found = outcome(status, out, err)
    if bless:
        content = TABLE.read_text()
        before = next(line for line in content.splitlines() if fields(line)[:2] == (tool, words))
        TABLE.write_text(content.replace(f"{before}\n", f"{tool} | {words} | {found}\n"))
        return
    assert found == said, f"{out}\n{err}"


def test_every_tool_stands_in_the_table():
    there = {
        path.name.removesuffix(SUFFIX)
        for path in PLACE.glob(f"*{SUFFIX}")
        if b"python" in path.read_bytes().partition(b"\n")[0]
    }
    assert there <= {tool for tool, _, _ in rows()}
