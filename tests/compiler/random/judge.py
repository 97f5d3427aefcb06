"""A random C program on four machines: natively, interpreted, as native code of ours, in Linux.

Our compiler makes it at each cpu level; our verifier and the live one judge it; all that run must
give the same. Either verifier may find a program too complex, which is told and not held against
anybody, but they must be of one mind.
"""

from __future__ import annotations

import re
import traceback
from errno import ENOENT
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from minibcc.abi.bpf import LogLevel, MapType, ProgType
from minibcc.abi.requests import (
    MapDelete,
    MapLookup,
    MapLookupAndDelete,
    MapNextKey,
    MapUpdate,
    ProgTestRun,
)
from minibcc.bcc.loader import Module
from minibcc.bcc.refusal.log import read
from minibcc.boot import Options, system
from minibcc.compiler.compile import back
from minibcc.compiler.depth import deep
from minibcc.compiler.front import front
from minibcc.compiler.lower.module import lower
from minibcc.compiler.target import Target
from minibcc.errors import CompileError, LoadError, SystemUnavailable
from minibcc.kernel.vm.interpreter import Interpreter
from minibcc.kernel.vm.jit import Jit
from tests.compiler.random.program import Answer, Program, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.compiler.object import BpfObject
    from minibcc.system.interface import System

PROCESSED = 30_000
"""Instructions that the live verifier may walk before a program is too much for a campaign."""
ENGINES = (Interpreter(), Jit())


class Outcome(NamedTuple):
    """`kind` is "same", a reason to skip ("skipped: ..."), or a finding; `detail` says more."""

    kind: str
    detail: str = ""

    @property
    def finding(self) -> bool:
        return self.kind != "same" and not self.kind.startswith("skipped")


@cache
def simulated() -> System:
    return system(Options())


@cache
def linux() -> System | None:
    """The live kernel, None where it cannot be asked."""
    try:
        return system(Options(kernel="linux"))
    except SystemUnavailable:
        return None


@cache
def target() -> Target:
    return Target.from_system(simulated(), cache=False)


def judge(program: Program, expected: Answer, *, live: bool = True) -> dict[str, Outcome]:
    """The outcome at each cpu level."""
    text = program.bpf()
    try:
        with deep("random.c", text):
            done = front(text, "random.c", target(), ("-w",))
    except CompileError as error:
        return dict.fromkeys(program.cpus, refused(error))
    except Exception:  # any is a finding
        return dict.fromkeys(program.cpus, Outcome("front fails", traceback.format_exc()))
    outcomes = {}
    for cpu in program.cpus:
        try:
            with deep("random.c", text):
                obj = back(done, lower(done.unit, cpu, done.sources), cpu)
            outcomes[cpu] = run(obj, program, expected, live=live)
        except CompileError as error:
            outcomes[cpu] = refused(error)
        except Exception:  # any is a finding
            outcomes[cpu] = Outcome("exception", traceback.format_exc())
    return outcomes


def refused(error: CompileError) -> Outcome:
    first = error.diagnostics[0]
    if first.code == "type/stack":
        return Outcome("skipped: stack")
    return Outcome(f"compiler refuses: {first.code}", str(error))


def run(obj: BpfObject, program: Program, expected: Answer, *, live: bool) -> Outcome:
    """The live kernel first: it tells what is too complex to be walked here."""
    kernel = linux() if live else None
    real = None
    if kernel:
        with Loaded(kernel, obj, program) as there:
            real = there.refusal
            if "too large" in (real or "") or there.processed > PROCESSED:
                return Outcome("skipped: complexity", f"{there.processed} instructions")
            if real is None and (found := there.answer()) != expected:
                return differs("Linux", found, expected)
    sim = simulated()
    with Loaded(sim, obj, program) as here:
        ours = here.refusal
        if kernel and (ours is None) != (real is None):
            return Outcome("verdict differs", f"Linux: {real}\nours: {ours}")
        if ours is not None:
            if real is not None and _core(ours) != _core(real):
                return Outcome("reason differs", f"Linux: {real}\nours: {ours}")
            return Outcome(f"skipped: both refuse: {_core(ours)}", ours)
        for engine in ENGINES:
            sim.kernel.engine = engine  # type: ignore[attr-defined]  # the simulated one's
            if (found := here.answer()) != expected:
                return differs(engine.name, found, expected)
    return Outcome("same")


def differs(where: str, found: Answer, expected: Answer) -> Outcome:
    places = [
        f"out[{i}] {a:#x}, natively {b:#x}"
        for i, (a, b) in enumerate(zip(found.results, expected.results, strict=True))
        if a != b
    ]
    if found.value != expected.value:
        places.insert(0, f"returns {found.value:#x}, natively {expected.value:#x}")
    return Outcome(f"{where} differs", "; ".join(places))


class Loaded:
    """A program in a kernel, or why it is not (`refusal`); `processed` counts the instructions
    that the verifier walked."""

    def __init__(self, kernel: System, obj: BpfObject, program: Program) -> None:
        self.kernel = kernel
        self.program = program
        self.module = Module(kernel, obj)
        self.refusal: str | None = None
        self._ran = False
        try:
            self._fd, log = self.module.verify("prog", program.type, log_level=LogLevel.STATS)
            self.module.fds["prog"] = self._fd  # to be closed with the rest
        except LoadError as error:
            log = error.log
            self.refusal = read(log).message or str(error)
        found = re.search(r"processed (\d+) insns", log)
        self.processed = int(found[1]) if found else 0

    def __enter__(self) -> Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        self.module.close()

    def answer(self) -> Answer:
        """One run, on maps as they are at the start."""
        if self._ran:
            self._clear()
        self._ran = True
        given = b"".join(value.to_bytes(8, "little") for value in self.program.inputs)
        kernel, maps = self.kernel, self.module.maps
        kernel.bpf(MapUpdate(maps["in"].fd, bytes(4), given))
        if self.program.type is ProgType.RAW_TRACEPOINT:
            request = ProgTestRun(self._fd, ctx_in=given)
        else:
            request = ProgTestRun(self._fd, data_in=self.program.packet)
        value = kernel.bpf(request).retval & 0xFFFF_FFFF
        return Answer(value, words(kernel.bpf(MapLookup(maps["out"].fd, bytes(4)))))

    def _clear(self) -> None:
        for held in self.module.maps.values():
            spec, fd = held.spec, held.fd
            if spec.read_only:
                continue
            if spec.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
                for index in range(spec.max_entries):
                    key = index.to_bytes(4, "little")
                    size = len(self.kernel.bpf(MapLookup(fd, key)))
                    self.kernel.bpf(MapUpdate(fd, key, spec.initial or bytes(size)))
            elif spec.type in (MapType.HASH, MapType.PERCPU_HASH):
                self._until_empty(
                    lambda fd=fd: self.kernel.bpf(  # type: ignore[misc]  # a lambda
                        MapDelete(fd, self.kernel.bpf(MapNextKey(fd, None)))
                    )
                )
            else:
                self._until_empty(
                    lambda fd=fd: self.kernel.bpf(  # type: ignore[misc]  # a lambda
                        MapLookupAndDelete(fd, b"")
                    )
                )

    def _until_empty(self, take: Callable[[], object]) -> None:
        try:
            while True:
                take()
        except OSError as error:
            if error.errno != ENOENT:
                raise


def _core(reason: str) -> str:
    """A message without its numbers."""
    return re.sub(r"-?\b(0x)?[0-9a-f]*\d[0-9a-f]*\b|(?<=\bR)\d+", "N", reason)
