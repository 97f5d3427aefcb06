"""Somebody else's scripts, unmodified: the first examples that come with BCC in Debian."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = Path("/usr/share/doc/bpfcc-tools/examples")

LINE = r"b' {0,15}[\w.-]+-\d+ +\[00\d\] \.\.\.21 +\d+\.\d{6}: bpf_trace_printk: Hello, World!'"
SCRIPTS = {
    # The C text of this one ends its message with a newline, as the kernel's event does: the
    # second one is a line of its own, as it is with BCC.
    "hello_world.py": ("", rf"{LINE}|b''"),
    "tracing/hello_fields.py": (
        r"TIME\(s\) +COMM +PID +MESSAGE",
        r"\d+\.\d{9} +\w+ +\d+ +Hello, World!",
    ),
    "tracing/trace_fields.py": ("PID MESSAGE", r"\d+ b'Hello, World!'"),
}
"""Script to what its first line matches, if it is another, and every other."""


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_of_bcc_runs_unmodified(name, tmp_path):
    if not (DEBIAN / name).exists():
        pytest.skip("needs Debian's bpfcc-tools")
    done = subprocess.run(
        [sys.executable, "-m", "minibcc", "run", str(DEBIAN / name)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    head, row = SCRIPTS[name]
    lines = done.stdout.splitlines()
    if head:
        assert re.fullmatch(head, lines.pop(0))
    assert len(lines) > 5
    assert [line for line in lines if not re.fullmatch(row, line)] == []
