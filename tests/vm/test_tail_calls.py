"""Tail calls through a program array, in both engines: native code remembers where programs begin,
and must forget it in time."""

from __future__ import annotations

import pytest

from minibcc.abi.bpf import MAX_TAIL_CALLS, MapType, ProgType
from minibcc.abi.requests import MapCreate, MapDelete, MapLookup, MapUpdate, ProgLoad, ProgTestRun
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.kernel import programs
from minibcc.kernel.helpers.registry import implementation
from minibcc.kernel.system import SimulatedSystem
from minibcc.kernel.vm.decode import starts
from minibcc.kernel.vm.native import BEST, GOOD, Session
from minibcc.machine.machine import Machine
from minibcc.records import replace
from tests.kernel.support import accept
from tests.machine.fakes import FakeKernel

JUMP = "r2 = map[programs]\nr3 = {index}\ncall tail_call#12\n"


@pytest.fixture(params=["interpreter", "jit"])
def system(request):
    return SimulatedSystem(Machine(FakeKernel(), cpus=2), engine=request.param)


class Chain:
    """A program array, and a map in which programs count."""

    def __init__(self, system):
        self.system = system
        self.programs = system.bpf(MapCreate(MapType.PROG_ARRAY, 4, 4, 3))
        self.counts = system.bpf(MapCreate(MapType.ARRAY, 4, 8, 1))
        self.asked = 0
        find = system.kernel._tail_call

        def asking(*arguments):
            self.asked += 1
            return find(*arguments)

        system.kernel._tail_call = asking

    def load(self, text):
        maps = {"programs": self.programs, "counts": self.counts}
        return self.system.bpf(ProgLoad(ProgType.XDP, encode(assemble(text, maps)))).fd

    def set(self, index, fd):
        self.system.bpf(
            MapUpdate(self.programs, index.to_bytes(4, "little"), fd.to_bytes(4, "little"))
        )

    def run(self, fd, repeat=1):
        return self.system.bpf(ProgTestRun(fd, bytes(64), repeat=repeat)).retval

    def count(self):
        return int.from_bytes(self.system.bpf(MapLookup(self.counts, bytes(4))), "little")


COUNT = "r6 = map[counts][0]+0\nr7 = *(u64 *)(r6 +0)\nr7 += 1\n*(u64 *)(r6 +0) = r7\n"


def test_the_array_says_where_calls_lead(system):
    chain = Chain(system)
    first = chain.load(JUMP.format(index=1) + "r0 = 7\nexit")
    five, six = (chain.load(f"r0 = {number}\nexit") for number in (5, 6))
    assert chain.run(first) == 7
    chain.set(1, five)
    assert [chain.run(first) for _ in range(3)] == [5] * 3
    asked = chain.asked
    assert chain.run(first, repeat=50) == 5
    if system.kernel.engine.name == "jit":
        assert chain.asked == asked, "native code knows the way by now"
    chain.set(1, six)
    assert [chain.run(first) for _ in range(2)] == [6, 6]
    system.bpf(MapDelete(chain.programs, (1).to_bytes(4, "little")))
    assert chain.run(first) == 7
    outside = chain.load(JUMP.format(index=3) + "r0 = 8\nexit")
    assert chain.run(outside, repeat=2) == 8


def test_a_chain_ends_after_so_many_calls(system):
    chain = Chain(system)
    again = chain.load("r9 = r1\n" + COUNT + "r1 = r9\n" + JUMP.format(index=0) + "r0 = 9\nexit")
    chain.set(0, again)
    assert chain.run(again) == 9
    assert chain.count() == 1 + MAX_TAIL_CALLS
    assert chain.run(again, repeat=10) == 9
    assert chain.count() == 11 * (1 + MAX_TAIL_CALLS)


@pytest.fixture
def believing(monkeypatch):
    """Linux takes tail calls out of functions only from programs with BTF; that is not the point
    here, so everything is accepted."""

    def verify(source, environment):
        verdict = accept(source, environment)
        found = starts(source.instructions)
        facts = replace(verdict.facts, starts=found, stacks=(512,) * len(found))
        return replace(verdict, facts=facts)

    monkeypatch.setattr(programs, "verify", verify)


def test_a_called_function_comes_back_with_what_its_tail_call_gave(system, believing):
    chain = Chain(system)
    chain.set(2, chain.load("r0 = 40\nexit"))
    caller = chain.load(
        "r6 = r1\ncall pc+3\nr0 += 2\nexit\n" + "r0 = 0\n" + JUMP.format(index=2) + "r0 = 1\nexit"
    )
    assert [chain.run(caller, repeat=repeat) for repeat in (1, 2, 5)] == [42] * 3


def test_helpers_see_the_program_that_runs(system, monkeypatch, believing):
    chain = Chain(system)
    seen = []
    helper = implementation(5)

    def spying(run, *arguments):
        seen.append(run.image.program.request.prog_name)
        return helper(run, *arguments)

    monkeypatch.setattr("minibcc.kernel.images.implementation", lambda number: spying)
    maps = {"programs": chain.programs}
    ask = "call ktime_get_ns#5\n"

    def load(name, text):
        code = encode(assemble(text, maps))
        return system.bpf(ProgLoad(ProgType.XDP, code, prog_name=name)).fd

    chain.set(0, load("inner", ask + "r0 = 3\nexit"))
    outer = load(
        "outer",
        f"r6 = r1\n{ask}r1 = r6\ncall pc+4\n{ask}r0 = 4\nexit\nr0 = 0\n{JUMP.format(index=0)}exit",
    )
    for _ in range(2):
        assert chain.run(outer) == 4
    assert seen == ["outer", "inner", "outer"] * 2


def test_better_code_is_where_calls_lead_from_then_on(monkeypatch):
    monkeypatch.setattr("minibcc.kernel.vm.jit.HOT_NS", 1 << 62)
    system = SimulatedSystem(Machine(FakeKernel(), cpus=2), engine="jit")
    chain = Chain(system)
    inner = chain.load(COUNT + "r0 = 3\nexit")
    outer = chain.load(JUMP.format(index=1) + "r0 = 7\nexit")
    chain.set(1, inner)
    images = [system.kernel.program_of(fd).image for fd in (outer, inner)]
    assert chain.run(outer) == 3
    assert [image.native.level for image in images] == [GOOD, GOOD]
    older = images[1].native
    made = []
    compile = Session.compile

    def counting(session, text, level, **rest):
        made.append(level)
        return compile(session, text, level, **rest)

    monkeypatch.setattr(Session, "compile", counting)
    monkeypatch.setattr("minibcc.kernel.vm.jit.HOT_NS", 0)
    assert [chain.run(outer, repeat=10) for _ in range(3)] == [3] * 3
    assert made == [BEST, BEST], "each is compiled well once"
    assert [image.native.level for image in images] == [BEST, BEST]
    (layout,) = (map.known for map in images[0].program.maps if hasattr(map, "known"))
    assert system.kernel.memory.load(layout.entries + 8, 8) == images[1].native.address
    assert older.address != images[1].native.address
    assert chain.count() == 31
