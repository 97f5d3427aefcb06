"""Every example prints what its NAME.txt says; views and strace of the first program likewise.

``--bless`` rewrites the expected outputs.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minibcc import boot
from minibcc.bcc import BPF
from minibcc.cli import show
from minibcc.cli.show import Kernel

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def minibcc(tmp_path, *words):
    """Runs a command line in the folder of examples; the finished process."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "TZ": "UTC",
    }
    return subprocess.run(
        [sys.executable, "-m", "minibcc", *words],
        cwd=EXAMPLES, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def agree(path, found, bless):
    """Compares with a file of expected output, or writes it."""
    if bless:
        path.write_text(found)
    assert found == path.read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_example(script, tmp_path, bless):
    done = minibcc(tmp_path, "run", "--seed", "0", script.name)
    assert (done.returncode, done.stderr) == (0, "")
    agree(script.with_suffix(".txt"), done.stdout, bless)


def test_each_expected_output_has_its_example():
    names = {path.name.partition(".")[0] for path in EXAMPLES.glob("*.txt")}
    assert names == {path.stem for path in SCRIPTS}


def test_the_first_program_is_the_articles():
    assert (EXAMPLES / "hello.c").read_text() == (
        'int hello_world(void *ctx)\n{\n    bpf_trace_printk("Hello, World!");\n    return 0;\n}\n'
    )
    assert (EXAMPLES / "hello.py").read_text().splitlines()[2:] == [
        "from bcc import BPF",
        "# load BPF program",
        'b = BPF(src_file="hello.c")',
        'b.attach_kprobe(event="do_sys_openat2", fn_name="hello_world")',
        "b.trace_print()",
    ]


def test_compiling_the_first_program(tmp_path, bless):
    done = minibcc(tmp_path, "compile", "hello.c")
    assert "tag 38dd440716c4900f (SHA-1)" in done.stdout
    agree(EXAMPLES / "hello.compile.txt", done.stdout, bless)


def test_tracing_the_first_program(tmp_path, bless):
    done = minibcc(tmp_path, "trace", "--event", "do_sys_openat2", "hello.c")
    agree(EXAMPLES / "hello.trace.txt", done.stdout, bless)


def test_the_strace_view_of_the_first_program(tmp_path, bless):
    done = minibcc(tmp_path, "run", "--seed", "0", "--duration", "0.01", "--strace", "hello.py")
    assert done.returncode == 0
    # What is read before is the kernel's own types, and how long the encoded types of the program
    # are is the compiler's affair.
    found = done.stderr[done.stderr.index("bpf(BPF_BTF_LOAD") :]
    found = re.sub(r"btf(_size)?=[^,]*", r"btf\1=...", found)
    agree(EXAMPLES / "hello.strace.txt", found, bless)


@pytest.fixture
def loaded(monkeypatch):
    """The first program in a kernel of this process, as the views see it."""
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setenv("TZ", "UTC")
    boot.use(boot.system(boot.Options()))
    with BPF(src_file="hello.c") as b:
        b.attach_kprobe(event="do_sys_openat2", fn_name="hello_world")
        yield Kernel(b.system, {"pid": 152027, "boot_time": 1638019245 - 1000})
    boot.choose(boot.Options())


def test_the_views_of_the_first_program(loaded, capsys, bless):
    assert show.main(["prog", "list"], [loaded]) == 0
    # How long the native code is depends on the computer.
    listed = re.sub(r"jited \d+B", "jited 70B", capsys.readouterr().out)
    agree(EXAMPLES / "hello.prog-list.txt", listed, bless)
    assert show.main(["prog", "dump", "xlated", "id", "1"], [loaded]) == 0
    agree(EXAMPLES / "hello.xlated.txt", capsys.readouterr().out, bless)
    assert show.main(["prog", "dump", "jited", "id", "1"], [loaded]) == 0
    lines = capsys.readouterr().out.splitlines()
    # So does the code: what stays are the heads and the C lines.
    kept = [line for line in lines if not re.match(r" *[0-9a-f]+:\t", line)]
    agree(EXAMPLES / "hello.jited.txt", "\n".join(kept) + "\n", bless)
    assert lines[-1].endswith("\tret")
