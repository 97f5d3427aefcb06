"""What native code costs besides running: compiling it, and the memory that stays.

Compiling: milliseconds of processor time for programs of several sizes, the least of some rounds:
Linux's load (verifier and JIT) beside our load (verifier), our JIT at its levels (the programs have
no loop; `loops` is what they would take if they had one), and the same code from the cache (in a
folder of the benchmark's own). The aims are for 120 instructions.

Memory: a program is loaded, compiled, run and unloaded a thousand times; the process's resident
memory on the way should stay what it is.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable

from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import ProgTestRun
from minibcc.bcc.loader import Module
from minibcc.boot import Options, system
from minibcc.cache import Cache
from minibcc.compiler.compile import compile
from minibcc.compiler.object import BpfObject
from minibcc.compiler.target import Target
from minibcc.kernel.system import SimulatedSystem
from minibcc.kernel.vm.native import BEST, GOOD, Level, session
from minibcc.system.interface import System
from tests.bench.programs import PACKET, PROLOGUE
from tests.bench.tables import table
from tests.conftest import why_no_kernel

BLOCK = """
    if (data[{at}] & {mask}) {{
        u32 key = data[{at} + 1] + {number};
        u64 *value = counts.lookup(&key);
        if (value)
            *value += seed >> data[{at} + 2];
    }}
"""
SIZES = (1, 3, 6, 14, 30, 60)
AIMED = 6
"""Blocks: how many a program has, and how many make some 120 instructions."""
ROUNDS = 15
AIM_MS, AIM_KEPT_MS = 10.0, 1.5
LOADS = (100, 500, 1000)
LOOPS = Level(GOOD.passes, GOOD.codegen, GOOD.codegen)
"""How programs with a loop are compiled first, whether they have one or not."""


def text(blocks: int) -> str:
    """A program that grows with its blocks: a branch, a look-up and a sum each."""
    parts = (BLOCK.format(at=5 * n + 20, mask=1 << n % 8, number=n) for n in range(blocks))
    return f"BPF_ARRAY(counts, u64, 512);\n{PROLOGUE}{''.join(parts)}\n    return seed;\n}}\n"


def loads(body: System, object: BpfObject) -> float:
    """Milliseconds of one load, without its maps."""
    module = Module(body, object)
    started = time.thread_time()
    module.load("program", ProgType.XDP)
    took = time.thread_time() - started
    module.close()
    return took * 1e3


def compiles(
    body: SimulatedSystem, object: BpfObject, level: Level, cache: Cache | None = None
) -> float:
    """Milliseconds of compiling one program to native code."""
    session().objects.cache = cache
    module = Module(body, object)
    image = body.kernel.program_of(module.load("program", ProgType.XDP)).image
    jit = body.kernel.native_engine()
    assert jit is not None
    started = time.thread_time()
    jit.compile(image, level)
    took = time.thread_time() - started
    module.close()
    return took * 1e3


def compiling() -> None:
    with tempfile.TemporaryDirectory() as folder:
        kept = session().objects.cache
        try:
            _compiling(Cache(os.path.join(folder, "native")))
        finally:
            session().objects.cache = kept


def _compiling(cache: Cache) -> None:
    simulated = system(Options(engine="jit"))
    assert isinstance(simulated, SimulatedSystem)
    linux = None if why_no_kernel() else system(Options(kernel="linux"))
    rows, aimed = [], [0.0]
    for blocks in SIZES:
        object = compile(text(blocks), Target.from_system(simulated), cache=False)
        sides: list[Callable[[], float]] = [
            *([lambda o=object: loads(linux, o)] if linux else []),
            lambda o=object: loads(simulated, o),
            lambda o=object: compiles(simulated, o, BEST),
            lambda o=object: compiles(simulated, o, LOOPS),
            lambda o=object: compiles(simulated, o, GOOD),
            lambda o=object: compiles(simulated, o, GOOD, cache),
        ]
        figures = [[side() for side in sides] for _ in range(ROUNDS)]
        least = [min(column) for column in zip(*figures, strict=True)]
        size = len(object.programs[0].insns) // 8
        rows.append((str(size), *(f"{figure:.2f}" for figure in least)))
        if blocks == AIMED:
            aimed = least
    head = ["Linux: load"] if linux else []
    head += ["ours: load", "compile well", "loops", "compile", "from the cache"]
    print(f"milliseconds of processor time, the least of {ROUNDS}")
    print(table(["instructions", *head], rows))
    for what, took, aim in (
        ("to compile 120 instructions", aimed[-2], AIM_MS),
        ("to find them in the cache", aimed[-1], AIM_KEPT_MS),
    ):
        print(f"{what}: {took:.2f} ms (aim {aim}: {'met' if took <= aim else 'MISSED'})")
    for what, store in (("compiled", None), ("kept now", cache), ("from the cache", cache)):
        session().objects.cache = store
        took = [operations(level) for level in (GOOD, BEST)]
        print(f"operations on maps, once a process, {what}: {took[0]:.1f} ms (well: {took[1]:.1f})")


def operations(level: Level) -> float:
    """Milliseconds until the operations on maps are there for programs of a level."""
    session().operations.clear()
    started = time.thread_time()
    session().natives(level)
    return 1e3 * (time.thread_time() - started)


def resident() -> float:
    """MiB of this process in memory."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def memory() -> None:
    body = system(Options(engine="jit"))
    object = compile(text(8), Target.from_system(body), cache=False)
    print(f"resident MiB; after the first load {round_trip(body, object):.1f}", end="")
    for number in range(2, LOADS[-1] + 1):
        now = round_trip(body, object, look=number in LOADS)
        if number in LOADS:
            print(f", {number} loads {now:.1f}", end="")
    print()


def round_trip(body: System, object: BpfObject, *, look: bool = True) -> float:
    """Loads a program, runs it in native code, unloads it."""
    module = Module(body, object)
    body.bpf(ProgTestRun(module.load("program", ProgType.XDP), PACKET, repeat=2))
    module.close()
    return resident() if look else 0.0
