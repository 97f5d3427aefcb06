"""Timers in maps: set, rung and forgotten as in Linux."""

from __future__ import annotations

import struct
import time
from contextlib import contextmanager

import pytest

from minibcc import boot
from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import MapDelete, MapLookup, MapUpdate, ProgTestRun
from minibcc.bcc.loader import Module
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from tests import live

TEXT = """
struct clock { u64 rounds; struct bpf_timer timer; u64 at[4]; int answers[4]; };
BPF_KIND(clocks, KEYTYPE, struct clock, 4);

static int ring(void *map, KEYTYPE *key, struct clock *clock)
{
    u64 now = bpf_ktime_get_ns();
    clock->at[clock->rounds & 3] = now;
    clock->rounds++;
    clock->answers[3] = *key;
    if (clock->rounds == 1)
        clock->answers[0] = bpf_timer_cancel(&clock->timer);
    if (clock->rounds < ROUNDS)
        bpf_timer_start(&clock->timer, 1000000, 0);
    return 0;
}

int begin(struct __sk_buff *skb)
{
    KEYTYPE key = 2;
    MAKE
    struct clock *clock = clocks.lookup(&key);
    if (!clock)
        return 99;
    BODY
    return 0;
}
"""
SET = """
    bpf_timer_init(&clock->timer, &clocks, 1);
    bpf_timer_set_callback(&clock->timer, ring);
    clock->at[0] = bpf_ktime_get_ns();
    bpf_timer_start(&clock->timer, 1000000, 0);
"""
SIZE = 8 + 16 + 32 + 16


@contextmanager
def loaded(system, body: str, *, kind: str = "ARRAY", rounds: int = 3):
    """Descriptors of the program and the map."""
    text = TEXT.replace("BODY", body).replace("ROUNDS", str(rounds))
    make, arguments = "", "ARRAY(clocks"
    if kind == "HASH":
        make = "struct clock empty = {}; clocks.update(&key, &empty);"
        arguments = "HASH(clocks, int"
    text = text.replace("KIND(clocks, KEYTYPE", arguments)
    text = text.replace("MAKE", make).replace("KEYTYPE", "int")
    obj = compile(text, Target.from_system(system), file="timer.c", cache=False)
    module = Module(system, obj)
    fd, _ = module.verify("begin", ProgType.SCHED_CLS)
    try:
        yield fd, module.maps["clocks"].fd
    finally:
        system.close(fd)
        module.close()


def value(system, map: int) -> tuple[int, ...]:
    """rounds, at, answers; the timer's own bytes are nobody's business."""
    data = system.bpf(MapLookup(map, struct.pack("<i", 2)))
    assert not any(data[8:24])
    return struct.unpack("<Q16x4Q4i", data)


def begin(system, fd: int) -> int:
    return system.bpf(ProgTestRun(fd, bytes(64))).retval


def pause(system, ns: int) -> None:
    if system.name == "linux":
        time.sleep(ns / 1e9)
    else:
        system.wait(system.now() + ns)


@pytest.fixture(params=["interpreter", "jit"])
def system(request):
    return boot.system(boot.Options(engine=request.param))


def rings(system, kind: str) -> tuple[int, ...]:
    with loaded(system, SET, kind=kind) as (fd, map):
        assert begin(system, fd) == 0
        pause(system, 60_000_000)
        return value(system, map)


@pytest.mark.parametrize("kind", ["ARRAY", "HASH"])
def test_a_timer_rings_and_is_set_again(system, kind):
    before = system.now()
    rounds, first, second, third, _, *answers = rings(system, kind)
    assert rounds == 3
    assert (first - before, second - first, third - second) == (1_000_000,) * 3
    assert answers == [-35, 0, 0, 2]


@pytest.mark.kernel
@pytest.mark.parametrize("kind", ["ARRAY", "HASH"])
def test_linux_rings_so(kind):
    rounds, first, second, third, _, *answers = rings(live.kernel(), kind)
    assert rounds == 3
    assert second - first >= 1_000_000 and third - second >= 1_000_000
    assert answers == [-35, 0, 0, 2]


A = "clock->answers"
BODIES = {
    # body: answers
    "clocks that are none": (
        f"{A}[0] = bpf_timer_init(&clock->timer, &clocks, 2);"
        f"{A}[1] = bpf_timer_init(&clock->timer, &clocks, 16);"
        f"{A}[2] = bpf_timer_init(&clock->timer, &clocks, 7);"
        f"{A}[3] = bpf_timer_init(&clock->timer, &clocks, 1);",
        (-22, -22, 0, -16),
    ),
    "out of order": (
        f"{A}[0] = bpf_timer_start(&clock->timer, 0, 0);"
        f"{A}[1] = bpf_timer_set_callback(&clock->timer, ring);"
        f"{A}[2] = bpf_timer_cancel(&clock->timer);"
        f"bpf_timer_init(&clock->timer, &clocks, 1);"
        f"{A}[3] = bpf_timer_start(&clock->timer, 0, 0);",
        (-22, -22, -22, -22),
    ),
    "set, and cancelled twice": (
        f"{SET}"
        f"{A}[0] = bpf_timer_start(&clock->timer, 1000000000, 4);"
        f"{A}[1] = bpf_timer_cancel(&clock->timer);"
        f"{A}[2] = bpf_timer_cancel(&clock->timer);"
        f"{A}[3] = bpf_timer_start(&clock->timer, 0, 0);",
        (-22, 1, 0, -22),
    ),
}


def answers(system, body: str) -> tuple[int, ...]:
    with loaded(system, body) as (fd, map):
        begin(system, fd)
        return value(system, map)[-4:]


@pytest.mark.parametrize("name", BODIES)
def test_what_the_helpers_answer(system, name):
    body, wanted = BODIES[name]
    assert answers(system, body) == wanted


@pytest.mark.kernel
@pytest.mark.parametrize("name", BODIES)
def test_linux_answers_so(name):
    body, wanted = BODIES[name]
    assert answers(live.kernel(), body) == wanted


def rounds_after(system, kind: str, change) -> int:
    """How often it rang although its element was changed."""
    with loaded(system, SET.replace("1000000", "20000000"), kind=kind, rounds=1) as (fd, map):
        begin(system, fd)
        change(system, map)
        pause(system, 60_000_000)
        try:
            return value(system, map)[0]
        except FileNotFoundError:
            return 0


KEY = struct.pack("<i", 2)
CHANGES = {
    "not": ("ARRAY", lambda system, map: None, 1),
    "updated": ("ARRAY", lambda system, map: system.bpf(MapUpdate(map, KEY, bytes(SIZE))), 0),
    "replaced": ("HASH", lambda system, map: system.bpf(MapUpdate(map, KEY, bytes(SIZE))), 0),
    "deleted": ("HASH", lambda system, map: system.bpf(MapDelete(map, KEY)), 0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_timer_goes_with_its_element(system, name):
    kind, change, wanted = CHANGES[name]
    assert rounds_after(system, kind, change) == wanted


@pytest.mark.kernel
@pytest.mark.parametrize("name", CHANGES)
def test_linux_forgets_timers_so(name):
    kind, change, wanted = CHANGES[name]
    assert rounds_after(live.kernel(), kind, change) == wanted


def test_a_timer_goes_with_its_map(system):
    with loaded(system, SET) as (fd, _):
        begin(system, fd)
        assert system.machine.alarms.next() is not None
    assert system.machine.alarms.next() is None
    system.wait(system.now() + 10_000_000)
