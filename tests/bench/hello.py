"""How long Hello, World! takes: from process start to its first line, and `BPF()` alone.

The real BCC stands beside it, in the same run, where it is installed: its import and its `BPF()`,
which compiles and no more (without kprobes it could not print).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.tables import measure, spread, table, where
from tests.conftest import why_no_bcc

ROOT = Path(__file__).parent.parent.parent
PROGRAM = (ROOT / "examples" / "hello.c").read_text()

INSIDE = """
import time
start = time.perf_counter()
from {module} import BPF
imported = time.perf_counter()
BPF(text={text!r})
print(imported - start, time.perf_counter() - imported)
"""


def first_line(environment: dict[str, str]) -> float:
    """Seconds from process start to the first printed line of ``minibcc run hello.py``."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "minibcc", "run", str(ROOT / "examples" / "hello.py")],
        stdout=subprocess.PIPE,
        env=environment,
        cwd=ROOT,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    took = time.perf_counter() - start
    process.stdout.close()
    process.wait()
    assert b"Hello, World!" in line, line
    return took


def inside(python: str, module: str, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds that the import and `BPF()` take, told by the process itself."""
    done = subprocess.run(
        [python, "-c", INSIDE.format(module=module, text=PROGRAM)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=ROOT,
    )
    imported, made = done.stdout.split()[-2:]
    return float(imported), float(made)


def main(arguments: list[str]) -> None:
    runs = int(arguments[0]) if arguments else 9
    with tempfile.TemporaryDirectory() as cache:
        # As installed: with compiled modules beside the sources.
        base = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        cold = {**base, "MINIBCC_CACHE": "0"}
        warm = {**base, "XDG_CACHE_HOME": cache}
        sides: dict[str, Callable[[], float]] = {
            "first line, compiled": lambda: first_line(cold),
            "first line, from the cache": lambda: first_line(warm),
            "import and BPF(), compiled": lambda: sum(inside(sys.executable, "minibcc", cold)),
            "import and BPF(), from the cache": lambda: sum(
                inside(sys.executable, "minibcc", warm)
            ),
            "BPF() alone, compiled": lambda: inside(sys.executable, "minibcc", cold)[1],
            "BPF() alone, from the cache": lambda: inside(sys.executable, "minibcc", warm)[1],
        }
        if reason := why_no_bcc():
            print(f"the real BCC is not measured: {reason}")
        else:
            sides["real BCC: import and BPF()"] = lambda: sum(
                inside("/usr/bin/python3", "bcc", dict(os.environ))
            )
        figures = measure(sides, runs)
    rows = [(name, *spread(values)) for name, values in figures.items()]
    print(f"Hello, World!, seconds; {runs} runs after one to warm up; {where()}")
    print(table(("", "min", "median", "max"), rows))
