"""Nanoseconds a run: the same bytecode in the live kernel's JIT and in both of our engines.

Every program of `programs` is compiled once and goes through the same door to both kernels, as an
XDP program over the same packet (BPF_PROG_TEST_RUN with repeat); the empty program's time is
subtracted on both sides. Each figure is the least of several rounds, with the spread (median over
minimum). The kernel's maps are safe for many processors at once; ours run under one lock.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

from minibcc.abi.bpf import MapType, ProgType
from minibcc.abi.requests import MapUpdate, ProgTestRun
from minibcc.bcc.loader import Module
from minibcc.boot import Options, system
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from minibcc.system.interface import System
from tests.bench.programs import PACKET, PROGRAMS, Program
from tests.bench.tables import table, where
from tests.conftest import why_no_kernel

EMPTY = Program("empty", "alu", "    return seed;")
ROUNDS = 41
PAGE = 4096
TARGET_NS = 3_000_000
"""How long one round should take: little, so that some are not interrupted on a busy machine."""


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
    for name, made in module.maps.items():
        if made.spec.type is MapType.LPM_TRIE:
            for length in range(8, 33, 4):
                key = length.to_bytes(4, "little") + bytes([length, 3, 7, 11])
                body.bpf(MapUpdate(made.fd, key, length.to_bytes(8, "little")))
        if made.spec.type is MapType.PROG_ARRAY:
            body.bpf(MapUpdate(made.fd, bytes(4), fd.to_bytes(4, "little")))
        assert name


def drain(body: System, module: Module) -> None:
    """Reads all that lies in the ring buffers, as a consumer does: by saying so."""
    for made in module.maps.values():
        if made.spec.type is MapType.RINGBUF:
            consumer = body.mmap(made.fd, PAGE, 0, writable=True)
            producer = body.mmap(made.fd, PAGE, PAGE)
            consumer[:8] = producer[:8]


def rounds(body: System, program: Program) -> tuple[float, float, int]:
    """Nanoseconds a run: minimum, median; and what the program answered."""
    with loaded(body, program) as (module, fd):
        first = body.bpf(ProgTestRun(fd, PACKET, repeat=50))
        again = body.bpf(ProgTestRun(fd, PACKET, repeat=50))
        count = max(50, min(2_000_000, TARGET_NS // max(1, again.duration)))
        number = ROUNDS
        if program.most:
            number = min(200, max(ROUNDS, ROUNDS * count // program.most))
            count = program.most
        figures = []
        for _ in range(number):
            drain(body, module)
            answer = body.bpf(ProgTestRun(fd, PACKET, repeat=count))
            assert program.answer in (None, answer.retval), (program.name, answer.retval)
            figures.append(answer.duration)
        if max(figures) < 100:
            # The kernel tells whole nanoseconds: what is shorter needs many runs to be seen, and
            # has none to subtract.
            figures = [max(1, figure) for figure in figures]
        return min(figures), statistics.median(figures), first.retval


def main(arguments: list[str]) -> None:
    engines = arguments or ["jit"]
    bodies: dict[str, System] = {engine: system(Options(engine=engine)) for engine in engines}
    if reason := why_no_kernel():
        print(f"the live kernel is not measured: {reason}")
    else:
        bodies = {"Linux": system(Options(kernel="linux")), **bodies}
    empty = {name: rounds(body, EMPTY)[0] for name, body in bodies.items()}
    print(f"ns a run, net of the empty program ({empty}); {ROUNDS} rounds; {where()}")
    rows = []
    ratios: dict[str, list[float]] = {}
    for program in PROGRAMS:
        net: dict[str, float] = {}
        row = [program.name]
        answers = set()
        for name, body in bodies.items():
            least, median, answer = rounds(body, program)
            net[name] = max(1.0, least - empty[name])
            row.append(f"{net[name]:.0f} (+{100 * (median / max(least, 1) - 1):.0f}%)")
            answers.add(answer)
        if "Linux" in net:
            ratio = net["Linux"] / net[engines[0]]
            ratios.setdefault(program.group, []).append(ratio)
            row.append(f"{ratio:.2f}")
        row.append("" if len(answers) == 1 else "answers differ")
        rows.append(row)
    heading = ["", *bodies, *([f"Linux/{engines[0]}"] if "Linux" in bodies else []), ""]
    print(table(heading, rows))
    for group, values in ratios.items():
        mean = math.exp(statistics.fmean(math.log(value) for value in values))
        print(f"{group}: geometric mean {mean:.2f}, least {min(values):.2f}")


if __name__ == "__main__":
    main([])
