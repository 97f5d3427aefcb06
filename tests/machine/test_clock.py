"""The clock at the scenario's end, and what an interruption leaves behind."""

from __future__ import annotations

import pytest

from minibcc.kernel.system import SimulatedSystem
from minibcc.machine.hooks import Point
from minibcc.machine.machine import UPTIME, Machine
from minibcc.machine.scenario import SCENARIOS
from tests.machine.fakes import FakeKernel

FOREVER = 99_999_999 * 1_000_000_000
SECOND = 1_000_000_000


def end_of(scenario: str) -> int:
    machine = Machine(FakeKernel(), scenario=scenario)
    machine.advance(None)
    return machine.now()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_wait_beyond_the_end_stops_at_the_end(scenario):
    machine = Machine(FakeKernel(), scenario=scenario)
    assert not machine.advance(UPTIME + FOREVER)
    assert machine.finished and machine.now() == end_of(scenario)
    assert not machine.advance(UPTIME + FOREVER)
    assert machine.now() == UPTIME + FOREVER


@pytest.mark.parametrize("seconds", [1, 2, 60])
def test_a_duration_is_the_end_however_long_the_wait(seconds):
    end = UPTIME + seconds * SECOND
    for until in (None, UPTIME + FOREVER, end):
        machine = Machine(FakeKernel(), duration=seconds * SECOND)
        assert not machine.advance(until)
        assert machine.finished and machine.now() == end
    machine = Machine(FakeKernel(), duration=seconds * SECOND)
    assert machine.advance(end - 1) and machine.now() == end - 1 and not machine.finished


@pytest.mark.parametrize("duration", [None, 3 * SECOND])
def test_the_interrupt_comes_at_the_end(duration):
    system = SimulatedSystem(Machine(FakeKernel(), duration=duration))
    with pytest.raises(KeyboardInterrupt):
        system.wait(UPTIME + FOREVER)
    assert system.now() == (end_of("shell") if duration is None else UPTIME + duration)
    system.wait(system.now() + SECOND)  # only once


def test_an_end_that_was_reached_by_the_way_interrupts_where_it_is():
    system = SimulatedSystem(Machine(FakeKernel()))
    system.machine.advance(None)
    end = system.machine.now()
    with pytest.raises(KeyboardInterrupt):
        system.wait(UPTIME + FOREVER)
    assert system.now() == end


class Interrupting:
    """Raises KeyboardInterrupt every `nth` time that it is called."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.calls = 0

    def __call__(self, *what: object) -> None:
        self.calls += 1
        if self.calls % self.nth == 0:
            raise KeyboardInterrupt


def play(machine: Machine) -> tuple[list[tuple[int, int, str]], int]:
    """What is opened when, by whom, and how often playing was interrupted."""
    seen: list[tuple[int, int, str]] = []
    interrupts = 0
    machine.hooks.attach(
        Point("kprobe", "do_sys_openat2"),
        lambda event: seen.append((event.time, event.task.pid, event.task.comm)),
    )
    while not machine.finished:
        try:
            machine.advance(None)
        except KeyboardInterrupt:
            interrupts += 1
    return seen, interrupts


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("nth", [2, 3, 7])
def test_an_interrupted_pace_loses_nothing(scenario, nth):
    whole, none = play(Machine(FakeKernel(), scenario=scenario))
    parts, some = play(Machine(FakeKernel(), scenario=scenario, pace=Interrupting(nth)))
    assert none == 0 and some > 0
    assert parts == whole


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_interrupted_callback_loses_nothing(scenario):
    whole, _ = play(Machine(FakeKernel(), scenario=scenario))
    machine = Machine(FakeKernel(), scenario=scenario)
    machine.hooks.attach(Point("kprobe", "do_sys_openat2"), Interrupting(5))
    parts, some = play(machine)
    assert some > 3
    assert parts == whole


def test_whoever_waits_for_a_task_that_dies_of_a_bug_goes_on():
    machine = Machine(FakeKernel(), scenario="build")
    make = next(task for task in machine.tasks.values() if task.comm == "make")
    machine.files.openable = Interrupting(20)  # type: ignore[method-assign]  # a bug, for once
    interrupts = 0
    while not machine.finished:
        try:
            machine.advance(None)
        except KeyboardInterrupt:
            interrupts += 1
    assert interrupts and make.pid not in machine.tasks
