"""What compiling costs: the texts of Debian's BCC tools, ours beside the real BCC in the same run.

The texts are harvested once (`tests.bench.texts`), with the running kernel's answers, so that both
compilers get the same. Printed are

- how many compile, for the simulated kernel's target and for the running kernel's, and of how many
  the running kernel takes every function; TRACING and LSM programs aside where it takes none from
  anyone. A function that neither its tool nor its name gives a type is loaded as KPROBE, as in BCC;
- milliseconds, on the clock and of the processor: ours in a process that has compiled before,
  without a cache and from it, the real BCC's of `BPF()` alone, in a process of its own (it may end
  it), nothing attached. On a machine with other work the clock says more of that work than of a
  compiler, so the aims are held against both;
- peak memory (VmHWM) of a fresh process that makes a `BPF` of one text, ours without a cache and
  from it, the real BCC's;
- instructions of the functions that both have, in texts where both have the same.

Then the figures beside their aims. Ours are for the simulated kernel's target where nothing else is
said. ``python -m tests.bench compile [COUNT]`` takes the first COUNT tools only; all of them take a
few minutes on a quiet machine.
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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from minibcc import boot
from minibcc.abi.bpf import ProgType
from minibcc.bcc.loader import Module
from minibcc.cache import Cache
from minibcc.compiler.compile import compile
from minibcc.compiler.object import BpfObject
from minibcc.compiler.target import Target
from minibcc.errors import CompileError, LoadError
from minibcc.system.interface import System
from tests.bench.tables import table, where
from tests.bench.texts import Harvested, harvest, tools
from tests.conftest import why_no_bcc, why_no_kernel
from tests.tools.test_tools import Worker, outcome

ROOT = Path(__file__).parent.parent.parent

OURS = """
import json, sys
from minibcc.bcc import BPF
BPF._attach_by_name = lambda self: None
_, text, cflags, _ = json.load(open(sys.argv[1]))
BPF(text=text, cflags=cflags)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""

THEIRS = """
import json, sys, time
from bcc import BPF, lib
BPF._trace_autoload = lambda self: None
_, text, cflags, types = json.load(open(sys.argv[1]))
starts = time.perf_counter(), time.process_time()
b = BPF(text=text, cflags=cflags)
took = [(time.perf_counter() - starts[0]) * 1e3, (time.process_time() - starts[1]) * 1e3]
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
names = [lib.bpf_function_name(b.module, n) for n in range(lib.bpf_num_functions(b.module))]
sizes = {name.decode(): len(b.dump_func(name)) // 8 for name in names}
print(json.dumps([took, sizes, int(peak)]), flush=True)
refused, aside = [], json.loads(sys.argv[2])
for name in names:
    kind = types.get(name.decode(), BPF.KPROBE)
    if kind not in aside:
        try:
            b.load_func(name, kind)
        except Exception as wrong:
            refused.append(name.decode())
print(json.dumps(refused), flush=True)
"""

ASIDE = (ProgType.TRACING, ProgType.LSM)
CPUS = ("v2", "v4")
RUNS = 3
"""Of our own compiles, whose median counts."""
PATIENCE = 300
"""Seconds that the real BCC may take for a text."""
SIMULATED, RUNNING, REAL = (
    "minibcc, simulated kernel's target",
    "minibcc, running kernel's target",
    "real BCC",
)


TRACEFS = (
    "unshare", "--mount", "sh", "-c",
    'mount -t tracefs nodev /sys/kernel/tracing; exec "$@"', "with-tracefs",
)  # fmt: skip
"""Runs a command that sees tracefs: BCC reads the tracepoints' formats there. The mount is seen by
that command alone and goes with it."""


class Took(NamedTuple):
    """Milliseconds: on the clock, and of the processor."""

    wall: float = 0.0
    cpu: float = 0.0


class Side(NamedTuple):
    """A compiler's word on a text. `error` says why it does not compile; `sizes` are instructions
    by function, `refused` the functions that the running kernel does not take."""

    error: str = ""
    sizes: dict[str, int] = {}  # noqa: RUF012  # never changed
    refused: tuple[str, ...] = ()
    cold: Took = Took()
    cached: Took = Took()
    peak: int = 0
    peak_cached: int = 0
    sizes_v4: dict[str, int] = {}  # noqa: RUF012  # never changed


# --- measuring -------------------------------------------------------------------------------


class Ours:
    """Our compiler for one system's target, and the kernel that takes the programs; without
    `timed`, a text is only compiled and loaded."""

    def __init__(
        self, system: System, kernel: System | None, folder: Path, *, timed: bool = True
    ) -> None:
        self.timed = timed
        self.target = Target.from_system(system)
        self.kernel = kernel
        self.cache = Cache(str(folder / "cache"))
        compile("int f(struct pt_regs *ctx) { return 0; }", self.target, cache=False)

    def side(self, text: Harvested) -> Side:
        target, kernel, cache = self.target, self.kernel, self.cache

        def cold() -> object:
            return compile(text.text, target, cflags=text.cflags, cache=False)

        def cached() -> object:
            return compile(text.text, target, cflags=text.cflags, cache=cache)

        try:
            made = compile(text.text, target, cflags=text.cflags, cache=cache)
            if not self.timed:
                return Side(refused=_refused(made, text.types, kernel) if kernel else ())
            other = compile(text.text, target, cflags=text.cflags, cpu=CPUS[1], cache=False)
        except CompileError as wrong:
            return Side(_first(str(wrong)))
        refused = _refused(made, text.types, kernel) if kernel is not None else ()
        sides = (_sizes(made), refused, _milliseconds(cold), _milliseconds(cached))
        return Side("", *sides, sizes_v4=_sizes(other))


def _sizes(made: BpfObject) -> dict[str, int]:
    return {spec.name: len(spec.insns) // 8 for spec in made.programs}


def _milliseconds(run: Callable[[], object]) -> Took:
    walls, cpus = [], []
    for _ in range(RUNS):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Took(statistics.median(walls) * 1e3, statistics.median(cpus) * 1e3)


def _refused(made: BpfObject, types: dict[str, int], kernel: System) -> tuple[str, ...]:
    """The functions that the kernel does not take, and its last word on each."""
    try:
        module = Module(kernel, made)
    except LoadError as wrong:
        return (f"no maps: {_first(str(wrong))}",)
    refused = []
    try:
        for spec in made.programs:
            kind = spec.prog_type or ProgType(types.get(spec.name, ProgType.KPROBE))
            if kind not in ASIDE:
                try:
                    module.load(spec.name, kind)
                except LoadError as wrong:
                    refused.append(f"{spec.name}: {_last(wrong)}")
    finally:
        module.close()
    return tuple(refused)


def _first(message: str) -> str:
    return next((line for line in message.splitlines() if "error" in line), message[:200])


def _last(wrong: LoadError) -> str:
    said = [line for line in wrong.log.splitlines() if line and not line.startswith("processed ")]
    return said[-1] if said else str(wrong).splitlines()[0]


def fresh(path: Path, environment: dict[str, str]) -> int:
    """Peak memory, in KiB, of a process of ours that makes a `BPF`."""
    done = subprocess.run(
        [sys.executable, "-c", OURS, str(path)],
        capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    return int(done.stdout) if not done.returncode else 0


def theirs(path: Path) -> Side:
    """The real BCC's word on the text in a file."""
    try:
        done = subprocess.run(
            [*TRACEFS, "/usr/bin/python3", "-c", THEIRS, str(path), json.dumps([*map(int, ASIDE)])],
            capture_output=True, text=True, errors="replace", timeout=PATIENCE, cwd=path.parent,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Side(f"it takes more than {PATIENCE} s")
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    if not lines:
        return Side(_first(done.stderr) or "it ends the process")
    took, sizes, peak = json.loads(lines[0])
    refused = json.loads(lines[1]) if len(lines) > 1 else ["it ends the process"]
    return Side("", sizes, tuple(refused), Took(*took), peak=peak)


def checked(limit: int | None) -> tuple[int, list[str]]:
    """How many of the tools pass ``minibcc check`` with all that they load, and the rest."""
    worker = Worker()
    others = []
    chosen = list(tools().items())[:limit]
    for tool, words in chosen:
        said = outcome(*worker.check(tool, shlex.join(words)))
        if any(not word.endswith((" ok", " not loaded")) for word in said.split(", ")):
            others.append(f"{tool}: {said}")
    worker.close()
    return len(chosen), others


# --- telling ---------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    limit = int(arguments[0]) if arguments else None
    no_kernel, no_bcc = why_no_kernel(), why_no_bcc()
    running = None if no_kernel else boot.system(boot.Options(kernel="linux"))
    texts, without = harvest(limit, ("sim",) if no_kernel else ("linux", "sim"))
    sides: dict[str, list[Side]] = {SIMULATED: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulated = Ours(boot.system(boot.Options()), running, folder)
        here = Ours(running, running, folder, timed=False) if running is not None else None
        # Side by side for each text, so that a slower minute hits all alike.
        for number, text in enumerate(texts):
            print(f"\r{number} of {len(texts)} texts", end="", file=sys.stderr, flush=True)
            path = folder / "text.json"
            path.write_text(json.dumps(text))
            sides[SIMULATED].append(_with_memory(simulated.side(text), path))
            if here is not None:
                sides.setdefault(RUNNING, []).append(here.side(text))
            if not no_bcc:
                sides.setdefault(REAL, []).append(theirs(path))
        print(end="\r", file=sys.stderr, flush=True)
    print(f"{len(texts)} texts of {len(tools())} BCC tools; {where()}")
    for reason in dict.fromkeys(filter(None, (no_kernel, no_bcc))):
        print(f"not all is measured: {reason}")
    print(f"tools that give none: {', '.join(without) or 'none'}\n")
    _tell_counts(texts, sides)
    mine, real = sides[SIMULATED], sides.get(REAL)
    both = [
        (text.label, one, other)
        for text, one, other in zip(texts, mine, real or mine, strict=True)
        if not one.error and not other.error
    ]
    print(f"\nof the {len(both)} texts that compile on every side:")
    _tell_spreads(both, real is not None)
    if real is not None:
        _tell_worst(both)
        _tell_aims(both, mine)
    _tell_checks(*checked(limit))


def _with_memory(side: Side, path: Path) -> Side:
    """The same with the peaks of fresh processes that read the text from `path`."""
    if side.error:
        return side
    cold = {**os.environ, "MINIBCC_CACHE": "0", "MINIBCC_KERNEL": "sim"}
    warm = {**cold, "MINIBCC_CACHE": "1", "XDG_CACHE_HOME": str(path.parent)}
    fresh(path, warm)
    return side._replace(peak=fresh(path, cold), peak_cached=fresh(path, warm))


def _tell_counts(texts: Sequence[Harvested], sides: dict[str, list[Side]]) -> None:
    rows = []
    for name, figures in sides.items():
        compiled = [side for side in figures if not side.error]
        full = sum(not side.refused for side in compiled)
        rows.append((name, str(len(texts)), str(len(compiled)), str(full)))
    print(table(("", "texts", "compiled", "every function loads"), rows))
    aside = [text.label for text in texts if set(text.types.values()) & {int(k) for k in ASIDE}]
    print(f"texts with functions of type TRACING or LSM, not loaded here: {', '.join(aside)}")
    for name, figures in sides.items():
        for text, side in zip(texts, figures, strict=True):
            if side.error or side.refused:
                why = side.error or "; ".join(side.refused)
                word = "does not compile" if side.error else "does not load"
                print(f"  {name}: {text.label} {word}: {why[:200]}")


def _tell_spreads(both: Sequence[tuple[str, Side, Side]], beside: bool) -> None:
    def row(name: str, values: Iterable[float]) -> tuple[str, ...]:
        ordered = sorted(values)
        ninth = ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)]
        figures = (ordered[0], statistics.median(ordered), ninth, ordered[-1])
        return (name, *(f"{figure:.1f}" for figure in figures))

    mine, real = [one for _, one, _ in both], [other for _, _, other in both]
    rows = [
        row("ms, no cache", (side.cold.wall for side in mine)),
        row("ms of the processor, no cache", (side.cold.cpu for side in mine)),
        row("ms, from the cache", (side.cached.wall for side in mine)),
        row("ms of the processor, from the cache", (side.cached.cpu for side in mine)),
        row("peak memory, no cache, MiB", (side.peak / 1024 for side in mine)),
        row("peak memory, from the cache, MiB", (side.peak_cached / 1024 for side in mine)),
        row("instructions, v2", (sum(side.sizes.values()) for side in mine)),
        row("instructions, v4", (sum(side.sizes_v4.values()) for side in mine)),
    ]
    if beside:
        rows += [
            row("real BCC: ms", (side.cold.wall for side in real)),
            row("real BCC: ms of the processor", (side.cold.cpu for side in real)),
            row("real BCC: peak memory, MiB", (side.peak / 1024 for side in real)),
            row("real BCC: instructions", (sum(side.sizes.values()) for side in real)),
        ]
    print(table(("", "min", "median", "p90", "max"), rows))


def _ratios(both: Sequence[tuple[str, Side, Side]]) -> list[tuple[float, float, str, list[int]]]:
    """Of each text with the same functions on both sides: ours over BCC's at v2 and v4, its label,
    and the three sums."""
    found = []
    for label, one, other in both:
        if one.sizes.keys() == other.sizes.keys() and one.sizes:
            sums = [sum(sizes.values()) for sizes in (one.sizes, one.sizes_v4, other.sizes)]
            found.append((sums[0] / sums[2], sums[1] / sums[2], label, sums))
    return found


def _tell_worst(both: Sequence[tuple[str, Side, Side]]) -> None:
    ratios = _ratios(both)
    rows = [
        (label, *map(str, sums), f"{at_v2:.3f}", f"{at_v4:.3f}")
        for at_v2, at_v4, label, sums in sorted(ratios, reverse=True)[:12]
    ]
    head = ("most instructions", "v2", "v4", "BCC", "v2 / BCC", "v4 / BCC")
    print(f"\ninstructions, of the {len(ratios)} texts with the same functions on both sides:")
    print(table(head, rows))
    differ = [
        f"{label} ({', '.join(sorted(one.sizes.keys() ^ other.sizes.keys()))})"
        for label, one, other in both
        if one.sizes.keys() != other.sizes.keys()
    ]
    if differ:
        print(f"texts with other functions on one side: {'; '.join(differ)}")


def _tell_aims(both: Sequence[tuple[str, Side, Side]], mine: Sequence[Side]) -> None:
    def middle(figure: Callable[[Side, Side], float]) -> float:
        return statistics.median(figure(one, other) for _, one, other in both)

    ratios = _ratios(both)
    sums = [sum(column) for column in zip(*(each[3] for each in ratios), strict=True)]
    real = middle(lambda one, other: other.peak)
    compiled, needed = sum(not side.error for side in mine), round(len(mine) * 97 / 99)
    figures = [
        ("texts that do not compile for the simulated kernel", len(mine) - compiled,
         len(mine) - needed),
        ("median ms, no cache / BCC's", middle(lambda one, other: one.cold.wall)
         / middle(lambda one, other: other.cold.wall), 1 / 15),
        ("the same in ms of the processor", middle(lambda one, other: one.cold.cpu)
         / middle(lambda one, other: other.cold.cpu), 1 / 15),
        ("median ms, from the cache / BCC's", middle(lambda one, other: one.cached.wall)
         / middle(lambda one, other: other.cold.wall), 1 / 100),
        ("the same in ms of the processor", middle(lambda one, other: one.cached.cpu)
         / middle(lambda one, other: other.cold.cpu), 1 / 100),
        ("median peak memory, no cache / BCC's", middle(lambda one, other: one.peak) / real, 0.75),
        ("median peak memory, from the cache / BCC's",
         middle(lambda one, other: one.peak_cached) / real, 0.3),
        ("instructions at v2 / BCC's, in sum", sums[0] / sums[2], 0.98),
        ("instructions at v4 / BCC's, in sum", sums[1] / sums[2], 0.95),
        ("instructions at v2 / BCC's, worst text", max(each[0] for each in ratios), 1.2),
        ("instructions at v4 / BCC's, worst text", max(each[1] for each in ratios), 1.2),
    ]  # fmt: skip
    rows = [
        (name, f"{found:.4g}", f"{aim:.3g}", "holds" if found <= aim else "FALLS SHORT")
        for name, found, aim in figures
    ]
    print()
    print(table(("aim", "found", "at most", ""), rows))


def _tell_checks(count: int, others: list[str]) -> None:
    print(f"\ntools that pass `minibcc check` as they are: {count - len(others)} of {count}")
    for other in others:
        print(f"  {other}")
