"""A reader follows the text that explains eBPF by one program: each listing of it, by minibcc.

The script runs in a process of its own, paced by the clock; the views are other processes, as from
another terminal.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.article import listings
from tests.article.listings import DIFFERENCES, compare, lines

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


class Terminal:
    """Commands of one user, in the folder of examples."""

    def __init__(self, runtime: Path) -> None:
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_RUNTIME_DIR": str(runtime),
            "TZ": "UTC",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "minibcc", *words],
            cwd=EXAMPLES, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __call__(self, *words: str) -> str:
        """What a command prints; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "minibcc", *words],
            cwd=EXAMPLES, env=self.environment, text=True, capture_output=True, timeout=120,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def strace(self, option: str) -> str:
        """What strace's view says of the first program, from its loading on."""
        done = subprocess.run(
            [sys.executable, "-m", "minibcc", "run", "--duration", "1", option, "hello.py"],
            cwd=EXAMPLES, env=self.environment, text=True, capture_output=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def terminal(tmp_path_factory):
    return Terminal(tmp_path_factory.mktemp("run"))


def running(terminal, script, ready):
    """A script that runs until it is interrupted, once it has printed what `ready` says."""
    process = terminal.start("run", "--realtime", script)
    printed = []
    for line in process.stdout:
        printed.append(line)
        if ready in line:
            break
    return process, printed


@pytest.fixture(scope="module")
def hello(terminal):
    """The first program while it runs; a view of it."""
    process, printed = running(terminal, "hello.py", "Hello, World!")
    assert printed, process.communicate()[1]
    yield terminal
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (130, "")
    assert all("bpf_trace_printk: Hello, World!" in line for line in rest.splitlines())


def test_each_difference_is_one_of_a_listing():
    texts = {
        "prog list": listings.PROG_LIST,
        "xlated": listings.XLATED,
        "jited": listings.JITED,
        "strace bpf": listings.STRACE_BPF,
        "strace": listings.STRACE,
    }
    for each in DIFFERENCES:
        assert each.theirs in texts[each.where].splitlines()
        assert each.why


def test_the_c():
    compare("c", listings.C, (EXAMPLES / "hello.c").read_text())


def test_the_python():
    compare("python", listings.PYTHON, (EXAMPLES / "hello.py").read_text())


def test_prog_list(hello):
    compare("prog list", listings.PROG_LIST, hello("prog", "list"))


def test_prog_show_tells_both_tags(hello):
    shown = hello("prog", "show", "id", "1")
    compare("prog list", listings.PROG_LIST, shown.replace("\ttag_sha1 38dd440716c4900f\n", ""))
    assert "tag_sha1 38dd440716c4900f" in shown
    row = json.loads(hello("prog", "show", "name", "hello_world", "-j"))
    assert (row["tag"], row["tag_sha1"]) == ("c21893ee8040b45c", "38dd440716c4900f")


def test_prog_list_as_json(hello):
    (row,) = json.loads(hello("-j", "prog", "list"))
    assert row == {
        "id": 1,
        "type": "kprobe",
        "name": "hello_world",
        "tag": "c21893ee8040b45c",
        "gpl_compatible": True,
        "loaded_at": row["loaded_at"],
        "uid": 0,
        "bytes_xlated": 104,
        "jited": True,
        "bytes_jited": row["bytes_jited"],
        "bytes_memlock": 4096,
        "btf_id": row["btf_id"],
        "pids": [{"pid": row["pids"][0]["pid"], "comm": "python3"}],
    }
    pretty = hello("-p", "prog", "list")
    assert json.loads(pretty) == [row]
    assert pretty.startswith('[{\n        "id": 1,\n')


def test_prog_dump_xlated(hello):
    compare("xlated", listings.XLATED, hello("prog", "dump", "xlated", "id", "1"))


def test_prog_dump_xlated_with_opcodes(hello):
    plain = hello("prog", "dump", "xlated", "id", "1").splitlines()
    both = hello("prog", "dump", "xlated", "id", "1", "opcodes").splitlines()
    added = [line for line in both if line not in plain]
    assert [line for line in both if line not in added] == plain
    assert sum(len(bytes.fromhex(line)) for line in added) == 104


@pytest.mark.parametrize("kind", ["xlated", "jited"])
def test_dumps_with_line_numbers(hello, kind):
    plain = hello("prog", "dump", kind, "id", "1")
    numbered = hello("prog", "dump", kind, "id", "1", "linum")
    place = re.compile(r" \[file:hello\.c line_num:(\d) line_col:5\]$", re.MULTILINE)
    assert place.findall(numbered) == ["1", "3", "4"]
    assert place.sub("", numbered) == plain


def test_prog_dump_jited(hello):
    """What is native is ours; heads and C lines are the text's, and so is what the code does."""
    native = re.compile(r"[0-9a-f]+: .*")

    def parts(listing):
        every = lines(listing)
        code = [line for line in every if native.fullmatch(line)]
        return "\n".join(line for line in every if line not in code), code

    text, ours = parts(hello("prog", "dump", "jited", "id", "1"))
    theirs_text, theirs = parts(listings.JITED)
    compare("jited", theirs_text, text)
    offsets = [int(line.partition(":")[0], 16) for line in ours]
    assert offsets[0] == 0 and offsets == sorted(set(offsets))
    (row,) = json.loads(hello("-j", "prog", "list"))
    assert offsets[-1] < row["bytes_jited"]
    for constant in ("0x21,", "0x646c726f,", "0x57202c6f6c6c6548,", "0xe,"):
        for code in (ours, theirs):
            assert any(f"${constant}" in line for line in code), constant
    assert theirs[-1].endswith(": ret") and ours[-1].endswith(": ret")


def test_strace_of_bpf(terminal):
    found = terminal.strace("--strace=bpf")
    calls = [line for line in found.splitlines() if line[:1].isalpha()]
    assert {line.partition("(")[0] for line in calls} == {"bpf"}
    # Types are loaded before the program; the text does not show them.
    compare("strace bpf", listings.STRACE_BPF, found[found.index("bpf(BPF_PROG_LOAD") :])


def test_strace(terminal):
    compare("strace", listings.STRACE, terminal.strace("--strace"))


def test_maps_from_another_terminal(terminal, tmp_path):
    """The example that counts, looked at while it counts."""
    process = terminal.start("run", "--realtime", "opencount.py")
    try:
        entries = []
        while not entries:
            done = subprocess.run(
                [sys.executable, "-m", "minibcc", "-j", "map", "dump", "name", "counts"],
                env=terminal.environment, text=True, capture_output=True, timeout=120,
            )  # fmt: skip
            entries = json.loads(done.stdout or "[]") if done.returncode == 0 else []
            assert process.poll() is None, process.communicate()[1]
        (row,) = (row for row in json.loads(terminal("map", "list", "-j")))
        assert (row["type"], row["name"], row["bytes_key"], row["bytes_value"]) == (
            "hash", "counts", 20, 8,
        )  # fmt: skip
        listed = terminal("map", "list")
        assert lines(listed)[0] == f"{row['id']}: hash name counts flags 0x0"
        assert lines(listed)[1].startswith("key 20B value 8B max_entries 10240 memlock ")
        assert re.fullmatch(r"pids python3\(\d+\)", lines(listed)[-1])
        key = entries[0]["formatted"]["key"]
        assert key["pid"] > 300 and key["comm"]
        assert entries[0]["formatted"]["value"] >= 1
        dumped = json.loads(terminal("map", "dump", "id", str(row["id"])))
        assert key in [entry["key"] for entry in dumped]
        assert "r1 = map[id:" in terminal("prog", "dump", "xlated", "name", "count_open")
    finally:
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=120)
    assert errors == "" and out.startswith("PID ")
