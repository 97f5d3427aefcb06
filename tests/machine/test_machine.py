"""The simulated computer: what it fires, when, and that it always does the same."""

from __future__ import annotations

import struct

import pytest

from minibcc.machine.calls import PT_REGS, SYSTEM_CALLS
from minibcc.machine.hooks import Event, Point
from minibcc.machine.machine import UPTIME, Machine
from minibcc.machine.memory import AddressSpace, BadAddress
from minibcc.machine.scenario import SCENARIOS
from minibcc.machine.scheduler import Sleep, Work
from tests.machine.fakes import FUNCTIONS, FakeKernel


def record(machine: Machine, *points: Point) -> list[Event]:
    events: list[Event] = []
    for point in points:
        machine.hooks.attach(point, lambda event: events.append(event))
    return events


def history(scenario: str, seed: int) -> list[tuple[int, int, int, str]]:
    machine = Machine(FakeKernel(), scenario=scenario, seed=seed)
    events = record(machine, Point("kprobe", "do_sys_openat2"))
    machine.advance(None)
    return [(event.time, event.cpu, event.task.pid, event.task.comm) for event in events]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_seed_decides_everything(scenario):
    first = history(scenario, 1)
    assert len(first) > 20
    assert history(scenario, 1) == first
    assert history(scenario, 2) != first


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_time_never_goes_back(scenario):
    times = [time for time, *_ in history(scenario, 3)]
    assert times == sorted(times)
    assert times[0] > UPTIME


def test_nothing_happens_before_somebody_waits():
    machine = Machine(FakeKernel())
    events = record(machine, Point("kprobe", "do_sys_openat2"))
    assert events == [] and machine.now() == UPTIME
    machine.advance(UPTIME)
    assert events == [] and machine.now() == UPTIME


def test_advance_stops_at_its_time_and_on_request():
    machine = Machine(FakeKernel())
    events = record(machine, Point("kprobe", "do_sys_openat2"))
    assert machine.advance(UPTIME + 1_000_000) and machine.now() == UPTIME + 1_000_000
    assert machine.advance(None, stop=lambda: bool(events))
    assert events and not machine.finished


def test_an_endless_scenario_begins_anew():
    machine = Machine(FakeKernel(), duration=25_000_000_000, endless=True)
    events = record(machine, Point("kprobe", "do_sys_openat2"))
    machine.advance(None)
    assert machine.finished and machine.now() == UPTIME + 25_000_000_000
    late = [event for event in events if event.time > UPTIME + 20_000_000_000]
    assert {"cat", "cron"} & {event.task.comm for event in late}
    assert {event.task.pid for event in late if event.task.comm == "cron"} == {302}


def test_duration_ends_the_scenario():
    machine = Machine(FakeKernel(), duration=2_000_000_000)
    assert not machine.advance(None)
    assert machine.finished and machine.now() == UPTIME + 2_000_000_000


def test_an_open_passes_the_functions_of_linux_in_order():
    machine = Machine(FakeKernel())
    events = record(
        machine,
        Point("raw_tracepoint", "sys_enter"),
        Point("tracepoint", "syscalls:sys_enter_openat"),
        Point("kprobe", "__x64_sys_openat"),
        Point("kprobe", "do_sys_openat2"),
        Point("kretprobe", "do_sys_openat2"),
        Point("tracepoint", "syscalls:sys_exit_openat"),
    )
    seen: list[bytes] = []

    def look(event: Event) -> None:
        name = machine.read_user(event.task, event.registers["si"], 4)
        nested = machine.read_kernel(event.task.registers, 8 * len(PT_REGS))
        registers = dict(zip(PT_REGS, struct.unpack("<21Q", nested), strict=True))
        seen.append(name)
        assert registers["si"] == event.registers["si"]
        assert registers["orig_ax"] == SYSTEM_CALLS["openat"][0]
        assert event.registers["ip"] == FUNCTIONS["do_sys_openat2"]

    machine.hooks.attach(Point("kprobe", "do_sys_openat2"), look)
    machine.advance(None, stop=lambda: len(events) >= 12)
    one = [event for event in events if event.point.kind != "raw_tracepoint" or
           event.arguments[1] == SYSTEM_CALLS["openat"][0]]  # fmt: skip
    kinds = [f"{event.point.kind} {event.point.name}" for event in one[:6]]
    assert kinds == [
        "raw_tracepoint sys_enter",
        "tracepoint syscalls:sys_enter_openat",
        "kprobe __x64_sys_openat",
        "kprobe do_sys_openat2",
        "kretprobe do_sys_openat2",
        "tracepoint syscalls:sys_exit_openat",
    ]
    assert seen[0].startswith(b"/")


def test_a_file_that_is_not_there_fails_with_enoent():
    machine = Machine(FakeKernel(), scenario="web")
    events = record(machine, Point("kretprobe", "do_sys_openat2"))
    machine.advance(None)
    results = {event.registers["ax"] for event in events}
    assert (1 << 64) - 2 in results
    assert any(result < 100 for result in results)


def test_a_task_is_what_its_structure_says():
    machine = Machine(FakeKernel())
    seen = []

    def look(event: Event) -> None:
        task = event.task
        content = machine.read_kernel(task.address, 64)
        pid, tgid = struct.unpack_from("<ii", content, 4)
        seen.append((pid, tgid, content[32:48].rstrip(b"\0").decode()))
        assert seen[-1] == (task.pid, task.tgid, task.comm)

    machine.hooks.attach(Point("kprobe", "do_sys_openat2"), look)
    machine.advance(None)
    assert len({comm for _, _, comm in seen}) > 3


def test_a_detached_watcher_hears_nothing_more():
    machine = Machine(FakeKernel())
    events: list[Event] = []
    point = Point("kprobe", "__x64_sys_clone")
    detach = machine.hooks.attach(point, lambda event: events.append(event))
    assert machine.hooks.watched(point)
    detach()
    detach()
    assert not machine.hooks.watched(point)
    machine.advance(None)
    assert events == []


def test_busy_processors_make_tasks_wait():
    machine = Machine(FakeKernel(), cpus=1)
    order: list[tuple[str, int]] = []

    def worker(process):
        for _ in range(2):
            order.append((process.task.comm, machine.now() - UPTIME))
            yield Work(100)
        yield Sleep(10)

    for name in ("first", "second"):
        machine.start(machine.new_task(name), worker)
    machine.advance(UPTIME + 1_000)
    assert order == [("first", 0), ("second", 100), ("first", 200), ("second", 300)]


def test_address_space():
    space = AddressSpace(0x1000)
    made = []
    first = space.place(b"hello\0")
    second = space.place(b"world")
    space.map(0x9000, lambda: made.append(1) or bytearray(16), 16)
    assert (first, second) == (0x1000, 0x1008)
    assert space.read(first, 6) == b"hello\0"
    assert made == []
    space.write(0x9008, b"x")
    assert space.read(0x9000, 16) == bytes(8) + b"x" + bytes(7)
    assert made == [1]
    for address, size in ((0xFFF, 1), (first, 7), (0x9000, 17), (0x5000, 1)):
        with pytest.raises(BadAddress):
            space.read(address, size)
    space.unmap(first)
    with pytest.raises(BadAddress):
        space.read(first, 1)
    with pytest.raises(BadAddress):
        space.unmap(first)
