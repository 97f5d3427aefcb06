"""What the virtual machine costs: nanoseconds a run beside the live kernel, compiling, memory.

Speed: every program of `programs` is compiled once and goes through the same door to both kernels,
as an XDP program over the same packet (BPF_PROG_TEST_RUN with repeat). Both sides run before they
are measured, so that what runs all the time has its best code; then they are measured in turn, in
short rounds, so that a busy moment hits both and the least of many rounds has seen none. The empty
program's time is subtracted on either side. A figure is the least of the rounds, beside it by how
much the median lies above.

``python -m tests.bench vm [speed] [compiling] [memory]`` measures those only; what the other two
are is said in `costs`.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from minibcc.abi.bpf import MapType, ProgType
from minibcc.abi.requests import MapUpdate, ProgTestRun
from minibcc.bcc.loader import Module
from minibcc.boot import Options, system
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from minibcc.system.interface import System
from tests.bench import costs
from tests.bench.programs import PACKET, PROGRAMS, Program
from tests.bench.tables import table, where
from tests.conftest import why_no_kernel

EMPTY = Program("empty", "apart", "    return seed;")
PAGE = 4096
ROUND_NS = 2_000_000
"""How long one round should take: little, so that some are not interrupted on a busy machine."""
WARM_NS, WARM = 100_000_000, 60
"""How long, and in how many rounds at least, a side runs before it is measured."""
SIDE_NS = 200_000_000
"""How long one side of a program is measured in all, in `LEAST` to `MOST` rounds."""
LEAST, MOST = 31, 3000
SLOW = 3
"""Rounds of the interpreter, which needs no minimum of many."""

AIMS = (
    ("no maps", ("alu",), 1.3, 0.9),
    ("hash operations", ("hash",), 0.0, 5.0),
    ("ring buffer", ("ring",), 0.0, 3.0),
    ("all maps", ("hash", "ring", "map"), 0.0, 1.0),
)
"""Groups of programs: what the geometric mean of Linux's time over ours should be at least, and
every single ratio; 0 where nothing is said."""


class Side:
    """A program in one kernel: `body`, loaded as `module` and `fd`. `figures` are nanoseconds a
    run, one of each round of `count` runs."""

    def __init__(self, name: str, body: System, module: Module, fd: int, program: Program) -> None:
        self.name = name
        self.body = body
        self.fd = fd
        self.program = program
        self.figures: list[int] = []
        self.answer = 0
        self.spent = 0
        self.count = 1
        self.rings = [
            (body.mmap(made.fd, PAGE, 0, writable=True), body.mmap(made.fd, PAGE, PAGE))
            for made in module.maps.values()
            if made.spec.type is MapType.RINGBUF
        ]
        self.slow = name == "interpreter"

    def run(self, count: int) -> int:
        """Nanoseconds a run. Before, all that lies in ring buffers is read, as by a consumer: by
        saying so."""
        for consumer, producer in self.rings:
            consumer[:8] = producer[:8]
        started = time.perf_counter_ns()
        answer = self.body.bpf(ProgTestRun(self.fd, PACKET, repeat=count))
        self.spent += time.perf_counter_ns() - started
        self.answer = answer.retval
        expected = self.program.answer
        assert expected in (None, answer.retval), (self.program.name, self.name, answer.retval)
        return max(1, answer.duration)

    def warm(self) -> None:
        """Runs until there is nothing left to gain, and settles how long a round is."""
        most = self.program.most or 2_000_000
        self.count = 1 if self.slow else min(50, most)
        took, rounds = ROUND_NS, 0
        while not self.slow and (self.spent < WARM_NS or rounds < WARM):
            rounds += 1
            took = min(took, self.run(self.count))
            self.count = max(1, min(most, ROUND_NS // took))
        self.spent = 0

    def round(self) -> None:
        """Measures for some time at a stretch, so that the memory it works on is near again."""
        end = self.spent + ROUND_NS // 2
        while not self.done:
            self.figures.append(self.run(self.count))
            if self.spent >= end:
                return

    @property
    def done(self) -> bool:
        rounds = len(self.figures)
        if self.slow:
            return rounds >= SLOW
        return rounds >= MOST or (rounds >= LEAST and self.spent >= SIDE_NS)

    @property
    def least(self) -> int:
        return min(self.figures)

    @property
    def above(self) -> str:
        """By how much the median lies above the least."""
        return f"+{100 * (statistics.median(self.figures) / self.least - 1):.0f}%"


@contextmanager
def loaded(body: System, program: Program) -> Iterator[tuple[Module, int]]:
    """The program in a kernel, ready to run: its module and descriptor."""
    object = compile(program.text, Target.from_system(body), file=program.name, cache=False)
    module = Module(body, object)
    try:
        fd = module.load("program", ProgType.XDP)
        prepare(body, module, fd)
        yield module, fd
    finally:
        module.close()


def prepare(body: System, module: Module, fd: int) -> None:
    """What a program finds in its maps: a route per prefix, itself to call."""
    for made in module.maps.values():
        if made.spec.type is MapType.LPM_TRIE:
            for length in range(8, 33, 4):
                key = length.to_bytes(4, "little") + bytes([length, 3, 7, 11])
                body.bpf(MapUpdate(made.fd, key, length.to_bytes(8, "little")))
        if made.spec.type is MapType.PROG_ARRAY:
            body.bpf(MapUpdate(made.fd, bytes(4), fd.to_bytes(4, "little")))


def measured(bodies: dict[str, System], program: Program) -> dict[str, Side]:
    """The program's figures on every side, taken in turn."""
    with ExitStack() as stack:
        sides = {
            name: Side(name, body, *stack.enter_context(loaded(body, program)), program)
            for name, body in bodies.items()
        }
        for side in sides.values():
            side.warm()
        while waiting := [side for side in sides.values() if not side.done]:
            for side in waiting:
                side.round()
        return sides


class Row:
    """A program's figures, net of the empty program's; `ratio` is Linux's over native code's, 0
    where Linux is not measured."""

    def __init__(self, program: Program, sides: dict[str, Side], empty: dict[str, Side]) -> None:
        self.program = program
        self.net = {name: max(1, side.least - empty[name].least) for name, side in sides.items()}
        self.ratio = self.net["Linux"] / self.net["jit"] if "Linux" in self.net else 0.0
        remarks = []
        if len({side.answer for side in sides.values()}) > 1:
            remarks.append("answers differ")
        if self.net.get("Linux", 1000) < 1000:
            remarks.append("under 1 us")
        self.cells = [program.name]
        for name, side in sides.items():
            self.cells.append(f"{self.net[name]}" + ("" if side.slow else f" ({side.above})"))
        self.cells += [f"{self.ratio:.2f}" if self.ratio else "", ", ".join(remarks)]


def speed() -> None:
    bodies: dict[str, System] = {}
    if reason := why_no_kernel():
        print(f"the live kernel is not measured: {reason}")
    else:
        bodies["Linux"] = system(Options(kernel="linux"))
    bodies |= {engine: system(Options(engine=engine)) for engine in ("jit", "interpreter")}
    empty = measured(bodies, EMPTY)
    taken = ", ".join(f"{name} {side.least}" for name, side in empty.items())
    print(f"ns a run (+ median over least), net of the empty program's ({taken})")
    print("Linux's maps are safe for many processors at once; ours run under one lock")
    rows = [Row(program, measured(bodies, program), empty) for program in PROGRAMS]
    heading = ["", *bodies, "Linux/jit", ""]
    print(table(heading, [row.cells for row in rows if row.program.group != "apart"]))
    if "Linux" in bodies:
        for line in verdicts(rows):
            print(line)
    print("\napart from the means:")
    print(table(heading, [row.cells for row in rows if row.program.group == "apart"]))


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """Each group's figures beside what is aimed at."""
    for name, groups, mean_aim, least_aim in AIMS:
        found = [row for row in rows if row.program.group in groups]
        ratios = [row.ratio for row in found]
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        least = min(found, key=lambda row: row.ratio)
        text = f"{name}: geometric mean {mean:.2f}"
        if mean_aim:
            text += f" (aim {mean_aim}: {_met(mean, mean_aim)})"
        text += f", median {statistics.median(ratios):.2f}, least {least.ratio:.2f}"
        text += f" (aim {least_aim}: {_met(least.ratio, least_aim)}"
        yield text + (f"; {least.program.name})" if len(found) > 1 else ")")


def _met(value: float, aim: float) -> str:
    return "met" if value >= aim else "MISSED"


PARTS = {"speed": speed, "compiling": costs.compiling, "memory": costs.memory}


def main(arguments: list[str]) -> None:
    wrong = [name for name in arguments if name not in PARTS]
    if wrong:
        raise SystemExit(f"no part is called {wrong[0]!r}: choose {', '.join(PARTS)}")
    print(where())
    for name in arguments or PARTS:
        print(f"\n{name}\n", flush=True)
        PARTS[name]()
