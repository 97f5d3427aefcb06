"""The way of a first program: load, attach to a kernel function, read the trace pipe."""

from __future__ import annotations

import errno
import os

import pytest

from minibcc.abi.bpf import ProgType
from minibcc.abi.perf import PerfEventAttr, PerfIoctl
from minibcc.abi.requests import (
    EnableStats,
    MapCreate,
    ProgGetFdById,
    ProgGetInfo,
    ProgGetNextId,
    ProgLoad,
    RawTracepointOpen,
)
from minibcc.kernel import programs
from minibcc.system.interface import read_file
from tests.kernel.support import HELLO, accept, boot, program

KPROBE = "/sys/bus/event_source/devices/kprobe/type"
PIPE = "/sys/kernel/tracing/trace_pipe"


@pytest.fixture
def system(monkeypatch):
    monkeypatch.setattr(programs, "verify", accept)
    return boot()


def attach(system, loaded, function="do_sys_openat2", *, at_return=False):
    kind = int(read_file(system, KPROBE))
    event = system.perf_event_open(PerfEventAttr(kind, int(at_return), function), -1, 0)
    system.ioctl(event, PerfIoctl.SET_BPF, loaded.fd)
    system.ioctl(event, PerfIoctl.ENABLE)
    return event


def test_hello_world_prints_a_line_per_open(system):
    loaded = system.bpf(program(HELLO, name="hello_world"))
    assert loaded.fd == 3
    attach(system, loaded)
    pipe = system.open(PIPE)
    line = system.read(pipe, 4096).decode()
    name, rest = line[:16].strip(), line[16:]
    assert name
    assert rest.startswith("-")
    assert rest.endswith(": bpf_trace_printk: Hello, World!\n")
    assert "] ...21 " in rest


def test_the_end_of_the_scenario_interrupts_once_and_then_is_the_end_of_the_file(system):
    attach(system, system.bpf(program(HELLO)))
    pipe = system.open(PIPE)
    with pytest.raises(KeyboardInterrupt):
        while system.read(pipe, 1 << 20):
            pass
    assert system.read(pipe, 100) == b""
    system.wait(None)


def test_a_run_is_the_same_every_time(monkeypatch):
    monkeypatch.setattr(programs, "verify", accept)
    texts = []
    for _ in range(2):
        system = boot()
        attach(system, system.bpf(program(HELLO)))
        pipe = system.open(PIPE)
        lines = b""
        with pytest.raises(KeyboardInterrupt):
            while part := system.read(pipe, 1 << 20):
                lines += part
        texts.append(lines)
    assert texts[0] == texts[1]
    assert texts[0].count(b"Hello") > 10


def test_reading_without_blocking_says_eagain(system):
    pipe = system.open(PIPE, os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        system.read(pipe, 100)


def test_what_is_not_attached_any_more_does_not_run(system):
    system.bpf(EnableStats())
    loaded = system.bpf(program(HELLO))
    event = attach(system, loaded)
    system.close(event)
    pipe = system.open(PIPE)
    with pytest.raises(KeyboardInterrupt):
        system.read(pipe, 100)
    assert system.bpf(ProgGetInfo(loaded.fd)).run_cnt == 0


def test_a_disabled_event_does_not_run_its_program(system):
    system.bpf(EnableStats())
    loaded = system.bpf(program(HELLO))
    event = attach(system, loaded)
    system.ioctl(event, PerfIoctl.DISABLE)
    system.wait(system.now() + 2_000_000_000)
    assert system.bpf(ProgGetInfo(loaded.fd)).run_cnt == 0
    system.ioctl(event, PerfIoctl.ENABLE)
    system.wait(system.now() + 2_000_000_000)
    assert system.bpf(ProgGetInfo(loaded.fd)).run_cnt > 0


def test_there_is_no_such_function(system):
    with pytest.raises(FileNotFoundError):
        attach(system, system.bpf(program(HELLO)), "no_such_function")


def test_a_kprobe_wants_a_kprobe_program(system):
    loaded = system.bpf(program(HELLO, ProgType.TRACEPOINT))
    with pytest.raises(OSError) as raised:
        attach(system, loaded)
    assert raised.value.errno == errno.EINVAL


def test_an_event_takes_one_program(system):
    loaded = system.bpf(program(HELLO))
    event = attach(system, loaded)
    with pytest.raises(FileExistsError):
        system.ioctl(event, PerfIoctl.SET_BPF, loaded.fd)


def test_a_raw_tracepoint_is_open_while_its_link_is(system):
    system.bpf(EnableStats())
    loaded = system.bpf(program(HELLO, ProgType.RAW_TRACEPOINT))
    link = system.bpf(RawTracepointOpen("sys_enter", loaded.fd))
    system.wait(system.now() + 3_000_000_000)
    ran = system.bpf(ProgGetInfo(loaded.fd)).run_cnt
    assert ran > 0
    system.close(link)
    system.wait(system.now() + 1_000_000_000)
    assert system.bpf(ProgGetInfo(loaded.fd)).run_cnt == ran


def test_programs_are_found_by_id_and_go_with_their_last_holder(system):
    first = system.bpf(program(HELLO, name="one")).fd
    second = system.bpf(program(HELLO, name="two")).fd
    assert system.bpf(ProgGetNextId(0)) == 1
    assert system.bpf(ProgGetNextId(1)) == 2
    with pytest.raises(FileNotFoundError):
        system.bpf(ProgGetNextId(2))
    again = system.bpf(ProgGetFdById(1))
    system.close(first)
    assert system.bpf(ProgGetInfo(again)).name == "one"
    system.close(again)
    with pytest.raises(FileNotFoundError):
        system.bpf(ProgGetFdById(1))
    assert system.bpf(ProgGetInfo(second)).id == 2


def test_info_knows_how_a_program_was_loaded(system):
    loaded = system.bpf(program(HELLO, name="hello_world"))
    info = system.bpf(ProgGetInfo(loaded.fd))
    assert (info.type, info.name, info.gpl_compatible) == (ProgType.KPROBE, "hello_world", True)
    assert len(info.xlated_prog_insns) == 104
    assert info.load_time == system.now()
    text = read_file(system, f"/proc/self/fdinfo/{loaded.fd}").decode()
    assert "memlock:\t4096\n" in text
    assert f"prog_tag:\t{info.tag.hex()}\n" in text


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"insns": b""}, errno.E2BIG),
        ({"insns": bytes(8) * 1_000_001}, errno.E2BIG),
        ({"prog_name": "a-b"}, errno.EINVAL),
        ({"prog_name": "sixteen_letters_"}, errno.EINVAL),
        ({"prog_type": 77}, errno.EINVAL),
        ({"prog_type": 0}, errno.EINVAL),
        ({"prog_flags": 1 << 30}, errno.EINVAL),
        ({"attach_btf_id": 1}, errno.EINVAL),
        ({"prog_type": ProgType.CGROUP_SOCK_ADDR}, errno.EINVAL),
        ({"prog_type": ProgType.TRACING}, errno.EINVAL),
        ({"log_level": 16}, errno.EINVAL),
    ],
)
def test_a_request_that_cannot_be_meant(system, change, number):
    good = program(HELLO)
    request = ProgLoad(
        **{
            "prog_type": good.prog_type,
            "insns": good.insns,
            **change,
        }
    )
    with pytest.raises(OSError) as raised:
        system.bpf(request)
    assert raised.value.errno == number


def test_a_descriptor_is_not_a_program_and_a_closed_one_is_nothing(system):
    map = system.bpf(MapCreate(2, 4, 4, 1))
    with pytest.raises(OSError) as raised:
        system.bpf(ProgGetInfo(map))
    assert raised.value.errno == errno.EINVAL
    system.close(map)
    with pytest.raises(OSError) as raised:
        system.bpf(ProgGetInfo(map))
    assert raised.value.errno == errno.EBADF
