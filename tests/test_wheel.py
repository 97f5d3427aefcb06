"""The package as people install it: a wheel that works away from the repository.

It is built here and unpacked, which is what installing it does; its dependencies are those of the
running Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COUNT = """
#include <uapi/linux/ptrace.h>
#include <linux/sched.h>
BPF_HASH(opens, u32);
int count(struct pt_regs *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    opens.increment(task->tgid);
    return 0;
}
"""
SCRIPT = f'''
from bcc import BPF
import minibcc
b = BPF(text="""{COUNT}""")
b.attach_kprobe(event="do_sys_openat2", fn_name="count")
try:
    b.trace_print()
except KeyboardInterrupt:
    print(minibcc.__file__)
    print(b["opens"][b["opens"].Key(309)].value)
'''


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The path of a wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("minibcc-*-py3-none-any.whl")
    return made


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder that holds the unpacked wheel."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def minibcc(site, tmp_path):
    """Runs a command line of the unpacked wheel, in an empty folder."""
    (tmp_path / "run").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "minibcc", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    run.folder = tmp_path
    return run


def files(folder: Path) -> set[str]:
    """The files below a folder that a wheel should carry."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_what_a_wheel_carries(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "minibcc = minibcc.cli.main:main" in archive.read(entry).decode()
    wanted = {f"minibcc/{name}" for name in files(ROOT / "minibcc")}
    wanted |= {f"minibcc/include/{name}" for name in files(ROOT / "include")}
    assert names == wanted


def test_the_first_program_runs_from_a_wheel(minibcc):
    for name in ("hello.c", "hello.py"):
        shutil.copy(ROOT / "examples" / name, minibcc.folder)
    done = minibcc("run", "hello.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "examples" / "hello.txt").read_text()


def test_headers_are_found_in_a_wheel(minibcc, site):
    (minibcc.folder / "count.py").write_text(SCRIPT)
    done = minibcc("run", "count.py")
    assert (done.returncode, done.stderr) == (0, "")
    place, count = done.stdout.splitlines()
    assert place == str(site / "minibcc" / "__init__.py")
    assert int(count) > 0
