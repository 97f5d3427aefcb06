"""What plain ``python3`` prints of a script that nobody runs under ``minibcc run``."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOOD = 'b = BPF(text="int f(void *ctx) { bpf_trace_printk(\\"hi\\"); return 0; }")\n'
ATTACHED = GOOD + 'b.attach_kprobe(event="do_sys_openat2", fn_name="f")\n'


def run(tmp_path, body: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(f"from minibcc import BPF\n{body}\n")
    environment = {**os.environ, "PYTHONPATH": ROOT, "XDG_CACHE_HOME": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "first"),
    [
        ('BPF(text="int f(void *ctx) { foo(); return 0; }")', "<text>:1:20: error: there is no"),
        ('BPF(src_file="nope.c")', "script.py:2:1: error: cannot find nope.c"),
        (
            GOOD + 'b.attach_kprobe(event="nope", fn_name="f")',
            "script.py:3:1: error: cannot attach",
        ),
        (GOOD + 'b["nope"]', "script.py:3:1: error: the C text defines no map 'nope'"),
    ],
)
def test_a_refusal_is_one_message_with_its_place(tmp_path, body, first):
    done = run(tmp_path, body)
    assert done.returncode == 1
    assert first in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("body", "last"),
    [
        (ATTACHED + "1 / 0", "ZeroDivisionError: division by zero"),
        (GOOD + "b.atach_kprobe()", "AttributeError: 'BPF' object has no attribute"),
        (GOOD + "b.get_table()", "TypeError: BPF.get_table() missing"),
    ],
)
def test_the_scripts_own_mistakes_are_told_as_python_does(tmp_path, body, last):
    done = run(tmp_path, body)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert 'script.py", line' in done.stderr
    assert os.path.join(ROOT, "minibcc") not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(last)


def test_the_scenarios_end_is_no_failure(tmp_path):
    done = run(tmp_path, f'import atexit\natexit.register(print, "bye")\n{ATTACHED}b.trace_print()')
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "bpf_trace_printk: hi" in lines[0]
    assert lines[-1] == "bye"


def test_a_hook_of_the_scripts_own_stays(tmp_path):
    body = "import sys\nsys.excepthook = lambda *_: print('mine')\n" + GOOD + 'b["nope"]'
    done = run(tmp_path, body)
    assert (done.returncode, done.stdout, done.stderr) == (1, "mine\n", "")
