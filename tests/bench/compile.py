"""What compiling costs: the texts of Debian's BCC tools, ours beside the real BCC in the same run.

The texts are what the tools give to `BPF` under ``minibcc check``; they stay in a temporary folder.
Ours: milliseconds without a cache in a process that has compiled before, milliseconds from the
cache, instructions, and the peak memory of a process that compiles one text. The real BCC compiles
each in a process of its own (it may end it), without attaching; its milliseconds are those of
`BPF()` alone, and its instructions are what ``dump_func`` gives.

``python -m tests.bench compile [COUNT]`` takes the first COUNT tools only.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench.tables import table, where
from tests.conftest import why_no_bcc
from tests.tools.test_tools import PLACE, SUFFIX, rows

ROOT = Path(__file__).parent.parent.parent

HARVEST = """
import json, shlex, sys
from minibcc import boot
from minibcc.cli.rehearsal import Rehearsal
out = sys.stdout
sys.stdout = sys.stderr
script = Rehearsal(sys.argv[1], sys.argv[2:])
try:
    script.rehearse(boot.system(boot.Options()), lambda: sys.exit(0), simulated=True)
finally:
    json.dump([(text.source, text.cflags) for text in script.texts if text.source], out)
"""

OURS = """
import json, resource, sys
from minibcc import boot
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
text, cflags = json.load(open(sys.argv[1]))
compile(text, Target.from_system(boot.current()), cflags=cflags, cache=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

THEIRS = """
import json, resource, sys, time
from bcc import BPF, lib
BPF._trace_autoload = lambda self: None
text, cflags = json.load(open(sys.argv[1]))
start = time.perf_counter()
b = BPF(text=text, cflags=cflags)
took = time.perf_counter() - start
names = [lib.bpf_function_name(b.module, n) for n in range(lib.bpf_num_functions(b.module))]
sizes = {name.decode(): len(b.dump_func(name)) // 8 for name in names}
print(json.dumps([took * 1e3, sizes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def harvest(folder: Path, limit: int | None = None) -> dict[str, Path]:
    """Label of each text to its file: JSON of the text and its flags. Texts that differ only, of
    the first command line of a tool that makes any."""
    commands: dict[str, list[str]] = {}
    for tool, words, outcome in rows():
        if outcome[0].isdigit():
            commands.setdefault(tool, shlex.split(words))
    found: dict[str, Path] = {}
    known: set[str] = set()
    chosen = list(commands.items())[:limit]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        every = pool.map(lambda command: _texts(*command), chosen)
        for (tool, _), texts in zip(chosen, every, strict=True):
            for number, (text, cflags) in enumerate(texts):
                key = json.dumps([text, cflags])
                if key not in known:
                    known.add(key)
                    path = folder / f"{len(known)}.json"
                    path.write_text(key)
                    found[f"{tool} {number}" if number else tool] = path
    return found


def _texts(tool: str, words: list[str]) -> list[tuple[str, list[str]]]:
    command = [sys.executable, "-c", HARVEST, str(PLACE / f"{tool}{SUFFIX}"), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=120, stdin=subprocess.DEVNULL
    )
    try:
        texts: list[tuple[str, list[str]]] = json.loads(done.stdout)
    except ValueError:
        return []
    return texts


def ours(paths: Sequence[Path], folder: Path) -> list[dict[str, Any]]:
    """Figures of each text: ms, cached (ms), sizes (by function), memory (KiB)."""
    from minibcc import boot
    from minibcc.compiler.cache import Cache
    from minibcc.compiler.compile import compile
    from minibcc.compiler.target import Target

    target = Target.from_system(boot.system(boot.Options()))
    compile("int f(struct pt_regs *ctx) { return 0; }", target, cache=False)
    cache = Cache(str(folder / "cache"))
    figures = []
    for path in paths:
        text, cflags = json.loads(path.read_text())
        start = time.perf_counter()
        made = compile(text, target, cflags=cflags, cache=False)
        cold = time.perf_counter() - start
        compile(text, target, cflags=cflags, cache=cache)
        start = time.perf_counter()
        compile(text, target, cflags=cflags, cache=cache)
        cached = time.perf_counter() - start
        fresh = subprocess.run(
            [sys.executable, "-c", OURS, str(path)],
            capture_output=True, text=True, cwd=ROOT, check=True,
        )  # fmt: skip
        sizes = {spec.name: len(spec.insns) // 8 for spec in made.programs}
        figures.append(
            {"ms": cold * 1e3, "cached": cached * 1e3, "sizes": sizes, "memory": int(fresh.stdout)}
        )
    return figures


def theirs(path: Path) -> dict[str, Any] | None:
    """The same of the real BCC; None for a text that it does not compile."""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", THEIRS, str(path)],
        capture_output=True, text=True, timeout=120, cwd=path.parent,
    )  # fmt: skip
    if done.returncode:
        return None
    took, sizes, memory = json.loads(done.stdout.splitlines()[-1])
    return {"ms": took, "sizes": sizes, "memory": memory}


def spread(name: str, values: Sequence[float]) -> tuple[str, ...]:
    ordered = sorted(values)
    ninth = ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)]
    return (name, *(f"{n:.1f}" for n in (statistics.median(ordered), ninth, ordered[-1])))


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = harvest(folder, int(arguments[0]) if arguments else None)
        mine = ours(list(texts.values()), folder)
        reason = why_no_bcc()
        real = [None if reason else theirs(path) for path in texts.values()]
    print(f"{len(texts)} texts of BCC's tools; {where()}")
    if reason:
        print(f"the real BCC is not measured: {reason}")
    print(table(("", "median", "p90", "max"), _figures(mine, real)))
    _compare(list(texts), mine, real)


def _figures(
    mine: list[dict[str, Any]], real: list[dict[str, Any] | None]
) -> list[tuple[str, ...]]:
    beside = [figure for figure in real if figure is not None]
    figures = [
        spread("ms, no cache", [figure["ms"] for figure in mine]),
        spread("ms, from the cache", [figure["cached"] for figure in mine]),
        spread("instructions", [sum(figure["sizes"].values()) for figure in mine]),
        spread("peak memory, MiB", [figure["memory"] / 1024 for figure in mine]),
    ]
    if beside:
        figures += [
            spread("real BCC: ms", [figure["ms"] for figure in beside]),
            spread("real BCC: instructions", [sum(f["sizes"].values()) for f in beside]),
            spread("real BCC: peak memory, MiB", [figure["memory"] / 1024 for figure in beside]),
        ]
    return figures


def _compare(
    labels: list[str], mine: list[dict[str, Any]], real: list[dict[str, Any] | None]
) -> None:
    """Instructions of the functions that both have, and the texts where ours are many more."""
    more, total = [], [0, 0]
    for label, figure, beside in zip(labels, mine, real, strict=True):
        if beside is None:
            continue
        both = figure["sizes"].keys() & beside["sizes"].keys()
        counts = [sum(side["sizes"][name] for name in both) for side in (figure, beside)]
        total = [before + now for before, now in zip(total, counts, strict=True)]
        if counts[0] > 1.2 * counts[1]:
            more.append((counts[0] / counts[1], label, *counts))
    if total[1]:
        print(f"instructions of functions that both have: {total[0] / total[1]:.3f} of BCC's")
        print(f"texts with more than 1.2 times BCC's: {len(more)}")
        for ratio, label, ours_, theirs_ in sorted(more, reverse=True):
            print(f"  {ratio:.2f}  {label}  {ours_} / {theirs_}")
        if missing := [label for label, one in zip(labels, real, strict=True) if one is None]:
            print(f"texts that the real BCC does not compile: {', '.join(missing)}")
