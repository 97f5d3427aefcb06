"""``minibcc run``: a script in its own process, what it sees, and what becomes of its errors."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture
def minibcc(tmp_path):
    """Runs a command line in a folder of its own; the finished process."""
    (tmp_path / "run").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": ROOT,
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "TZ": "UTC",
    }

    def run(*words, script=None, **options):
        if script is not None:
            (tmp_path / "script.py").write_text(script)
        return subprocess.run(
            [sys.executable, "-m", "minibcc", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, **options,
        )  # fmt: skip

    run.folder = tmp_path
    return run


HELLO = """
from bcc import BPF
b = BPF(text='int hello(void *ctx) { bpf_trace_printk("Hello, World!"); return 0; }')
"""


def test_a_script_runs_to_the_end_of_the_scenario(minibcc):
    done = minibcc("run", "script.py", script=HELLO + (
        'b.attach_kprobe(event="do_sys_openat2", fn_name="hello")\nb.trace_print()\n'
    ))  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) > 10
    assert all(line.endswith("bpf_trace_printk: Hello, World!'") for line in lines)


def test_one_seed_one_output(minibcc):
    script = HELLO + 'b.attach_kprobe(event="vfs_read", fn_name="hello")\nb.trace_print("{0} {4}")'
    first, again, other = (
        minibcc("run", "--seed", seed, "--duration", "3", "script.py", script=script).stdout
        for seed in ("1", "1", "2")
    )
    assert first == again != other


def test_bcc_is_minibcc_itself(minibcc):
    done = minibcc("run", "script.py", script="""
import sys
import bcc, bcc.table, bcc.utils
from bcc.utils import printb
from bcc.syscall import syscall_name
import minibcc.bcc, minibcc.bcc.table, minibcc.bcc.utils, minibcc.bcc.syscall
assert bcc is minibcc.bcc and bcc.table is minibcc.bcc.table
assert bcc.BPF is minibcc.bcc.BPF is minibcc.BPF and printb is minibcc.bcc.utils.printb
assert bcc.__name__ == bcc.__spec__.name == "minibcc.bcc"
assert bcc.table.__spec__.name == "minibcc.bcc.table"
try:
    import bcc.no_such_module
except ModuleNotFoundError as error:
    print(error)
printb(syscall_name(257))
""")  # fmt: skip
    assert (done.stdout, done.stderr) == ("No module named 'bcc.no_such_module'\nopenat\n", "")


def test_arguments_and_name(minibcc):
    done = minibcc("run", "script.py", "-x", "--seed", "9", "--help", script="""
import sys, os
print(sys.argv, __name__, os.path.basename(__file__))
import __main__
print(__main__.sys is sys)
""")  # fmt: skip
    assert done.stdout == (
        "['script.py', '-x', '--seed', '9', '--help'] __main__ script.py\nTrue\n"
    )


def test_files_are_the_simulated_kernels_also_for_writing(minibcc):
    """And no others: nothing of the computer's own is changed."""
    stats = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = stats.read_text() if stats.exists() else ""
    script = """
        STATS = "/proc/sys/kernel/bpf_stats_enabled"
        for content in "1", "0", "1":
            with open(STATS, "w") as file:
                file.write(content)
            print(open(STATS).read(), end="")
        for path in STATS, "/proc/kallsyms", "/sys/kernel/tracing/tracing_on":
            try:
                with open(path, "wb", buffering=0) as file:
                    file.write(b"x")
            except OSError as wrong:
                print(wrong)
    """
    done = minibcc("run", "script.py", script=dedent(script))
    assert done.stdout.splitlines() == [
        *"101",
        f"[Errno 22] Invalid argument: '{stats}'",
        "[Errno 13] Permission denied: '/proc/kallsyms'",
        "[Errno 13] Permission denied: '/sys/kernel/tracing/tracing_on'",
    ]
    assert (stats.read_text() if stats.exists() else "") == before


def test_time_is_the_kernels(minibcc):
    done = minibcc("run", "script.py", script="""
import time, datetime
from time import sleep, strftime
from datetime import datetime as moment
start, since = time.time(), time.monotonic()
sleep(2.5)
print(round(time.time() - start, 3), round(time.monotonic() - since, 3))
print(strftime("%Y-%m-%d %H:%M:%S"), moment.now(), datetime.date.today())
print(time.strftime("%H:%M", time.localtime(0)), isinstance(moment.now(), datetime.datetime))
print(time.time_ns() // 10**9, time.clock_gettime(time.CLOCK_MONOTONIC) == time.monotonic())
try:
    sleep(99999)
except KeyboardInterrupt:
    print("over")
""")  # fmt: skip
    assert done.stdout.splitlines() == [
        "2.5 2.5",
        "2026-01-01 00:00:02 2026-01-01 00:00:02.500000 2026-01-01",
        "00:00 True",
        "1767225602 True",
        "over",
    ], done.stderr


@pytest.mark.parametrize(
    ("script", "status", "out", "err"),
    [
        ("raise SystemExit", 0, "", ""),
        ("import sys; sys.exit(7)", 7, "", ""),
        ("exit('that is all')", 1, "", "that is all\n"),
        ("raise KeyboardInterrupt", 0, "", ""),
        ("import atexit; atexit.register(print, 'bye')", 0, "bye\n", ""),
    ],
)
def test_how_scripts_end(minibcc, script, status, out, err):
    done = minibcc("run", "script.py", script=script)
    assert (done.returncode, done.stdout, done.stderr) == (status, out, err)


def test_a_traceback_shows_the_scripts_frames_only(minibcc):
    done = minibcc("run", "script.py", script=HELLO + """
def ask():
    return {}["nothing"]
ask()
""")  # fmt: skip
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert [line.strip() for line in lines if "File" in line] == [
        'File "script.py", line 7, in <module>',
        'File "script.py", line 6, in ask',
    ]
    assert lines[-1] == "KeyError: 'nothing'"


def test_an_exception_of_the_library_hides_the_library(minibcc):
    done = minibcc("run", "script.py", script="""
from bcc import BPF
b = BPF(text="BPF_HASH(counts, u32);")
print(b["counts"][5])
""")  # fmt: skip
    assert done.returncode == 1
    assert "minibcc" not in done.stderr
    assert done.stderr.endswith("KeyError: 5\n")


def test_a_syntax_error_is_pythons(minibcc):
    done = minibcc("run", "script.py", script="x = = 1\n")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, '  File "script.py", line 1')
    assert done.stderr.endswith("SyntaxError: invalid syntax\n")


MISTAKES = {
    "an event that does not exist": (
        HELLO + 'b.attach_kprobe(event="do_sys_openat3", fn_name="hello")',
        "script.py:4:1: error: cannot attach hello to kprobe do_sys_openat3: this kernel has no "
        "such function [load/no-such-function]",
        "help: did you mean do_sys_openat2",
    ),
    "a function that does not exist": (
        HELLO + 'b.attach_kprobe(event="vfs_read", fn_name="helo")',
        "script.py:4:1: error: the C text defines no function 'helo' [load/no-such-program]",
        "help: it defines hello",
    ),
    "a map that does not exist": (
        HELLO + 'print(b["counts"])',
        "script.py:4:7: error: the C text defines no map 'counts' [load/no-such-map]",
        "help: it defines no map",
    ),
    "a file that does not exist": (
        'from bcc import BPF\nb = BPF(src_file="helo.c")',
        "script.py:2:5: error: cannot find helo.c: No such file or directory [load/no-such-file]",
        '    2 | b = BPF(src_file="helo.c")',
    ),
    "an unknown variable": (
        'from bcc import BPF\nBPF(text="int hello(void *ctx) { return x; }")',
        "<text>:1:",
        "[type/undeclared]",
    ),
    "a missing brace": (
        'from bcc import BPF\nBPF(text="int hello(void *ctx) { return 0;")',
        "<text>:1:",
        "[parse/",
    ),
    "both a text and a file": (
        'from bcc import BPF\nBPF(text="", src_file="x.c")',
        "script.py:2:1: error: BPF() wants either text= or src_file=",
        "    2 | BPF(",
    ),
    "an unsafe program": (
        """
from bcc import BPF
text = "BPF_HASH(h, u32); int hello(void *ctx) { u32 key = 1; return *h.lookup(&key); }"
BPF(text=text).load_func("hello", BPF.KPROBE)
""",
        "Failed to load BPF program hello: ",
        "[verify/",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_message_with_its_place(minibcc, name):
    script, head, part = MISTAKES[name]
    done = minibcc("run", "script.py", script=script)
    assert done.returncode == 1
    assert done.stderr.startswith(head)
    assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_no_such_script(minibcc):
    done = minibcc("run", "nowhere.py")
    assert (done.returncode, done.stderr) == (
        1, "minibcc: cannot open nowhere.py: No such file or directory\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("frobnicate",), "no command 'frobnicate'"),
        (("run", "--scenario", "nowhere", "script.py"), "no scenario 'nowhere'"),
        (("run",), "required"),
        (("run", "--seed", "x", "script.py"), "invalid int value"),
        (("prog", "frobnicate"), "no such command: frobnicate"),
        (("explain", "verify/no-such-code"), "no code 'verify/no-such-code'"),
    ],
)
def test_usage_errors_are_status_2(minibcc, words, part):
    done = minibcc(*words, script="")
    assert done.returncode == 2, done.stderr
    assert part in done.stderr


def test_strace_goes_to_standard_error(minibcc):
    script = (
        HELLO + 'b.attach_kprobe(event="vfs_read", fn_name="hello")\nprint(b.trace_fields()[5])'
    )
    done = minibcc("run", "--strace", "script.py", script=script)
    assert done.stdout == "b'Hello, World!'\n"
    assert "ioctl(5, PERF_EVENT_IOC_SET_BPF, 4) = 0\n" in done.stderr
    done = minibcc("run", "--strace=bpf", "script.py", script=script)
    starts = {line.partition("(")[0] for line in done.stderr.splitlines() if line[:1].isalpha()}
    assert starts == {"bpf"}


def test_a_reader_that_goes_away_is_no_error(minibcc):
    script = HELLO + 'b.attach_kprobe(event="vfs_read", fn_name="hello")\nb.trace_print()'
    (minibcc.folder / "script.py").write_text(script)
    done = subprocess.run(
        f"{sys.executable} -m minibcc run script.py | head -1",
        shell=True, cwd=minibcc.folder, env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("line", "status", "error"),
    [
        ("--help | true", 0, ""),
        ("--help >/dev/full", 1, "minibcc: No space left on device\n"),
        ("run script.py >&-", 0, ""),
        ("run script.py 2>&-", 0, ""),
        ("vm <&-", 1, "minibcc: error: an empty program\n"),
    ],
)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's devices")
def test_output_may_go_nowhere(minibcc, line, status, error):
    (minibcc.folder / "script.py").write_text("print(1)")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m minibcc {line}"],
        cwd=minibcc.folder, env={**os.environ, "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": ""},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (status, error)


def test_help_and_version(minibcc):
    done = minibcc("--help")
    assert done.returncode == 0 and "run a BCC script" in done.stdout
    assert minibcc("--version").stdout.startswith("minibcc ")
    assert minibcc("prog", "help").stdout.startswith("usage: minibcc prog")
    assert minibcc("run", "--help").returncode == 0


def test_importing_minibcc_is_light(minibcc):
    heavy = [
        "pycparser", "llvmlite", "rich", "elftools", "capstone", "asyncio", "inspect",
        "dataclasses",
    ]  # fmt: skip
    code = (
        "import sys; base = set(sys.modules); import minibcc; "
        f"print([m for m in {heavy!r} if m in sys.modules], len(set(sys.modules) - base))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names, count = done.stdout.rsplit(" ", 1)
    assert names == "[]"
    assert int(count) < 5


def test_a_script_of_minibcc_runs_under_plain_python(minibcc):
    (minibcc.folder / "script.py").write_text(
        HELLO.replace("bcc", "minibcc", 1)
        + 'b.attach_kprobe(event="vfs_read", fn_name="hello")\nprint(b.trace_fields()[5])'
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=minibcc.folder,
        env={**os.environ, "PYTHONPATH": ROOT}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("b'Hello, World!'\n", "")
