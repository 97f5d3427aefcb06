"""The README tells the truth: its session prints what it says, its commands do what they should.

A block of a session is what a terminal shows: `$` and a command, then what it prints, where a line
`...` stands for any lines. `cat` shows a file: one that the repository lacks is made from it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()

VARIES = [(r"\bpython3\(\d+\)", "python3(N)"), (r"\bjited \d+B", "jited NB")]
"""What depends on the run and on the computer."""


def steps() -> list[tuple[str, str]]:
    """The commands of the session, each with its output."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = step.partition("\n")
            found.append((command, output))
    return found


def same(shown: str, printed: str) -> None:
    """Asserts that a command printed what is shown of it."""
    for pattern, word in VARIES:
        shown, printed = re.sub(pattern, word, shown), re.sub(pattern, word, printed)
    parts = re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE)
    if len(parts) == 1:
        assert printed == shown
        return
    position = 0
    for number, part in enumerate(parts):
        start = printed.find(part, position)
        assert start >= 0 and (number or start == 0), f"{part!r} is not in {printed[position:]!r}"
        position = start + len(part)
    assert not parts[-1] or printed.endswith(parts[-1])


@pytest.fixture
def folder(tmp_path):
    """The repository as far as a user's session touches it."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "run").mkdir()
    return tmp_path


def test_the_session(folder):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "TZ": "UTC",
    }
    running = None
    session = steps()
    assert len(session) >= 8
    try:
        for command, shown in session:
            program, *words = command.split()
            if program == "cat":
                path = folder / words[0]
                if path.exists():
                    same(shown, path.read_text())
                else:
                    path.write_text(shown)
                continue
            assert program == "minibcc"
            process = subprocess.Popen(
                [sys.executable, "-u", "-m", "minibcc", *words],
                cwd=folder, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            if "--realtime" in words:
                running = process
                same(shown.removesuffix("...\n"), process.stdout.readline())
            else:
                same(shown, process.communicate(timeout=120)[0])
    finally:
        if running is not None:
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=120)


def set_up_commands() -> list[str]:
    """The lines that set up and run, as a machine with Python alone can."""
    return [line for line in re.findall(r"^    (.*)$", README, re.MULTILINE) if "venv" in line]


def test_both_commands_do_their_own_set_up():
    first, second = set_up_commands()
    assert first.endswith("-m venv .venv && .venv/bin/pip install -q -e . && "
                          ".venv/bin/minibcc run examples/hello.py")  # fmt: skip
    assert second.endswith(".venv/bin/pip install -q -e '.[dev]' && .venv/bin/python -m pytest")


def test_what_the_first_command_runs(folder):
    """Its inner part, without the installing."""
    words = set_up_commands()[0].rpartition(".venv/bin/")[2].split()
    assert words[0] == "minibcc"
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "examples" / "hello.txt").read_text()


def test_what_the_second_command_runs():
    """These tests, by their one command; here only that they are all found."""
    words = set_up_commands()[1].rpartition(".venv/bin/python ")[2].split()
    done = subprocess.run(
        [sys.executable, *words, "-n", "0", "--collect-only", "tests/test_readme.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "test_what_the_second_command_runs" in done.stdout
