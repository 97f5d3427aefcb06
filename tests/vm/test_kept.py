"""Native code kept between runs, and what does not stay: libraries, modules, images."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from minibcc.abi.bpf import MapType, ProgType
from minibcc.abi.requests import MapCreate, MapLookup, ProgLoad, ProgTestRun
from minibcc.cache import SECRET, Cache
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.kernel.system import SimulatedSystem
from minibcc.kernel.vm.execution import Image, Run
from minibcc.kernel.vm.jit import Jit, Native
from minibcc.kernel.vm.kept import Objects
from minibcc.kernel.vm.memory import Arena
from minibcc.kernel.vm.native import BEST, LINKED, Level, Session, session
from minibcc.machine.machine import Machine
from tests.machine.fakes import FakeKernel
from tests.vm import rig

COUNT = """
*(u32 *)(r10 -4) = {key}
*(u64 *)(r10 -16) = 7
r1 = map[counts]
r2 = r10
r2 += -4
r3 = r10
r3 += -16
r4 = 0
call map_update_elem#2
r0 = {key}
exit
"""


@pytest.fixture
def made(monkeypatch):
    """The levels at which LLVM compiled since."""
    levels = []
    compile, careful = Session.compile, Session._careful

    def counting(llvm, text, level, **rest):
        levels.append(level)
        return compile(llvm, text, level, **rest)

    def counting_operations(llvm, text):
        levels.append("operations")
        return careful(llvm, text)

    monkeypatch.setattr(Session, "compile", counting)
    monkeypatch.setattr(Session, "_careful", counting_operations)
    return levels


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The process's LLVM with an empty cache, and nothing loaded yet."""
    cache = Cache(str(tmp_path / "native"))
    monkeypatch.setattr(session(), "objects", Objects("here", cache))
    monkeypatch.setattr(session(), "operations", {})
    return cache


class Case:
    """A program loaded and run in a new kernel: `said` is what it answered and counted."""

    def __init__(self, key=5):
        gc.collect()  # kernels of before give their addresses back
        self.system = system = SimulatedSystem(Machine(FakeKernel(), cpus=2), engine="jit")
        counts = system.bpf(MapCreate(MapType.HASH, 4, 8, 16))
        code = encode(assemble(COUNT.format(key=key), {"counts": counts}))
        fd = system.bpf(ProgLoad(ProgType.XDP, code)).fd
        self.image = system.kernel.program_of(fd).image
        answer = system.bpf(ProgTestRun(fd, bytes(64), repeat=3)).retval
        self.said = answer, system.bpf(MapLookup(counts, key.to_bytes(4, "little")))


def run(key=5):
    return Case(key).said


def test_a_second_kernel_compiles_nothing(cache, made, monkeypatch):
    first = run()
    assert len(made) == 3  # the way in, the program, the operations on maps
    monkeypatch.setattr(session(), "operations", {})
    assert run() == first == (5, (7).to_bytes(8, "little"))
    assert len(made) == 3
    assert run(6) == (6, first[1])
    assert len(made) == 4, "another program is compiled"
    case = Case()
    jit = case.system.kernel.engine
    jit.compile(case.image, BEST)
    jit.compile(case.image, Level((), 0, 0))
    others = [BEST, "operations", Level((), 0, 0)]
    assert made[4:] == others, "so are other levels"
    jit.compile(case.image, BEST)
    assert made[4:] == others


def test_another_cpu_or_llvm_finds_nothing(cache, made, monkeypatch):
    run()
    monkeypatch.setattr(session(), "objects", Objects("elsewhere", cache))
    run()
    assert len(made) == 5  # the operations on maps are loaded already


def test_damaged_entries_are_made_again(cache, made, tmp_path):
    first = run()
    for entry in (tmp_path / "native").iterdir():
        if entry.name != SECRET:
            entry.write_bytes(entry.read_bytes()[:-1] + b"?")
    assert run() == first
    assert len(made) == 5
    assert run() == first
    assert len(made) == 5


def test_only_programs_that_the_verifier_accepted_are_kept(cache, made, tmp_path):
    Jit()
    kept = len(list((tmp_path / "native").iterdir()))
    arena = Arena()
    for _ in range(2):
        assert Jit().run(rig.image(assemble("r0 = 3\nexit")), Run(arena)) == 3
    arena.close()
    assert len(list((tmp_path / "native").iterdir())) == kept
    assert len(made) == 3


def test_nothing_stays_of_what_is_unloaded():
    system = Case().system
    llvm = session().llvm

    def living():
        gc.collect()
        kinds = (Image, Native, llvm.ResourceTracker, llvm.ModuleRef)
        return Counter(type(each) for each in gc.get_objects() if isinstance(each, kinds))

    def linkers():
        return sum(isinstance(each, llvm.LLJIT) for each in gc.get_objects())

    before, linked = living(), linkers()
    allocations = len(system.kernel.memory._live)
    for number in range(2 * LINKED):
        code = encode(assemble(f"r0 = {number}\nexit"))
        fd = system.bpf(ProgLoad(ProgType.XDP, code)).fd
        assert system.bpf(ProgTestRun(fd, bytes(64), repeat=2)).retval == number
        system.close(fd)
    assert living() == before
    assert linkers() <= linked + 1
    assert len(system.kernel.memory._live) == allocations
