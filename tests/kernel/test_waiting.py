"""Time behind the door: what lets it pass, what ends a wait, and who may look meanwhile."""

from __future__ import annotations

import threading

import pytest

from minibcc.abi.perf import PerfEventAttr, PerfIoctl, PerfSoftware, PerfType
from minibcc.abi.requests import EnableStats, MapCreate, MapGetNextId, ProgGetInfo
from minibcc.kernel import programs
from minibcc.kernel.system import SimulatedSystem
from minibcc.machine.machine import Machine
from tests.kernel.support import HELLO, accept, boot, program
from tests.machine.fakes import FakeKernel

SECOND = 1_000_000_000


@pytest.fixture
def system(monkeypatch):
    monkeypatch.setattr(programs, "verify", accept)
    return boot()


def to_the_end(system):
    with pytest.raises(KeyboardInterrupt):
        system.wait(None)


def test_time_stands_still_while_nobody_waits(system):
    before = system.now()
    system.bpf(MapCreate(2, 4, 4, 1))
    assert system.now() == before


def test_a_wait_takes_its_time(system):
    before = system.now()
    system.wait(before + SECOND)
    assert system.now() == before + SECOND
    system.wait(before)
    assert system.now() == before + SECOND


def test_a_long_sleep_ends_with_the_scenario(system):
    with pytest.raises(KeyboardInterrupt):
        system.wait(system.now() + 100_000 * SECOND)


def test_after_the_end_waits_do_not_interrupt_again(system):
    to_the_end(system)
    before = system.now()
    system.wait(before + SECOND)
    assert system.now() == before + SECOND
    system.wait(None)


def test_after_the_end_polls_find_nothing(system):
    event = system.perf_event_open(
        PerfEventAttr(PerfType.SOFTWARE, PerfSoftware.BPF_OUTPUT, wakeup_events=1), -1, 0
    )
    with pytest.raises(KeyboardInterrupt):
        system.poll([event])
    assert system.poll([event]) == []
    assert system.poll([event], SECOND) == []


def test_what_came_before_the_end_is_read_before_the_interrupt(system):
    system.bpf(EnableStats())
    loaded = system.bpf(program(HELLO))
    event = system.perf_event_open(PerfEventAttr(6, 0, "do_sys_openat2"), -1, 0)
    system.ioctl(event, PerfIoctl.SET_BPF, loaded.fd)
    pipe = system.open("/sys/kernel/debug/tracing/trace_pipe")
    lines = 0
    with pytest.raises(KeyboardInterrupt):
        while part := system.read(pipe, 4096):
            lines += part.count(b"\n")
    assert lines == system.bpf(ProgGetInfo(loaded.fd)).run_cnt


def test_a_small_read_gets_a_line_in_pieces(system):
    loaded = system.bpf(program(HELLO))
    event = system.perf_event_open(PerfEventAttr(6, 0, "do_sys_openat2"), -1, 0)
    system.ioctl(event, PerfIoctl.SET_BPF, loaded.fd)
    pipe = system.open("/sys/kernel/tracing/trace_pipe")
    line = b""
    while not line.endswith(b"\n"):
        piece = system.read(pipe, 10)
        assert 0 < len(piece) <= 10
        line += piece
    assert line.endswith(b"bpf_trace_printk: Hello, World!\n")


def test_the_machine_catches_up_with_the_wall(monkeypatch):
    system = SimulatedSystem(Machine(FakeKernel()), engine="interpreter", catch_up=True)
    clock = [system._wall]
    monkeypatch.setattr("minibcc.kernel.system.time.monotonic_ns", lambda: clock[0])
    before = system.now()
    clock[0] += 5 * SECOND
    assert system.now() == before + 5 * SECOND
    assert system.now() == before + 5 * SECOND


def test_another_thread_may_look_but_moves_nothing(monkeypatch):
    system = SimulatedSystem(Machine(FakeKernel()), engine="interpreter", catch_up=True)
    clock = [system._wall]
    monkeypatch.setattr("minibcc.kernel.system.time.monotonic_ns", lambda: clock[0])
    system.bpf(MapCreate(2, 4, 4, 1))
    before = system.machine.now()
    clock[0] += 5 * SECOND
    seen = []

    def look():
        with system.lock:
            seen.append(system.bpf(MapGetNextId(0)))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [1]
    assert system.machine.now() == before


def test_files_of_the_kernel_and_of_the_machine_stand_together(system):
    assert "possible" in system.listdir("/sys/devices/system/cpu")
    assert system.listdir("/sys/bus/event_source/devices/kprobe") == ["format", "type"]
    assert system.listdir("/sys/class/net") == ["eth0", "lo"]
    with pytest.raises(FileNotFoundError):
        system.listdir("/no/such/folder")
    with pytest.raises(PermissionError):
        system.open("/sys/class/net/lo/ifindex", 1)
