"""Programs that run on what the machine does: contexts, maps, buffers, stacks, tail calls.

The programs are verified by the real verifier and attached as user space would.
"""

from __future__ import annotations

import errno
import os
import struct

import pytest

from minibcc.abi.bpf import AttachType, MapFlags, MapType, ProgType
from minibcc.abi.perf import PerfEventAttr, PerfIoctl, PerfSample, PerfSoftware, PerfType
from minibcc.abi.requests import (
    LinkCreate,
    LinkGetInfo,
    LinkGetNextId,
    MapCreate,
    MapDelete,
    MapGetInfo,
    MapGetNextId,
    MapLookup,
    MapNextKey,
    MapUpdate,
    ObjGet,
    ObjPin,
    ProgGetInfo,
    ProgLoad,
    ProgTestRun,
    RawTracepointOpen,
)
from minibcc.btf.decode import Btf
from minibcc.btf.layout import Kind
from minibcc.btf.types import find_member
from minibcc.isa.instruction import Instruction, encode
from minibcc.isa.text import assemble
from minibcc.kernel import programs
from minibcc.kernel.system import SimulatedSystem
from minibcc.machine.hooks import Event, Point
from minibcc.machine.linux618 import Linux618
from minibcc.machine.machine import Machine
from minibcc.records import replace
from minibcc.system.interface import read_file
from tests.kernel.support import accept

PAGE = 4096
SECOND = 1_000_000_000


@pytest.fixture
def machine():
    return Machine(Linux618(), cpus=2)


@pytest.fixture(params=["interpreter", "jit"])
def system(machine, request):
    return SimulatedSystem(machine, engine=request.param)


def load(system, prog_type, text, **symbols):
    return system.bpf(ProgLoad(prog_type, encode(assemble(text, symbols)), prog_name="test")).fd


def probe(system, program, function, *, at_return=False):
    event = system.perf_event_open(PerfEventAttr(6, int(at_return), function), -1, 0)
    system.ioctl(event, PerfIoctl.SET_BPF, program)
    return event


def fire(machine, kind, name, **what):
    """An event of the test's own."""
    event = Event(point=Point(kind, name), time=machine.now(), cpu=0, task=machine.current, **what)
    return machine.hooks.fire(event)


def store(value: str, place: int = 0) -> str:
    """Keeps a register in the map `out`."""
    return f"r9 = map[out][0]+{place}\n*(u64 *)(r9 +0) = {value}"


def out_map(system, size=64):
    return system.bpf(MapCreate(MapType.ARRAY, 4, size, 1))


def out_words(system, out, count=8):
    return struct.unpack_from(f"<{count}Q", system.bpf(MapLookup(out, bytes(4))))


# --- contexts ----------------------------------------------------------------------------------


def test_a_kprobe_sees_registers_in_their_places(system, machine):
    out = out_map(system)
    text = f"""
        r2 = *(u64 *)(r1 +112)
        {store("r2")}
        r2 = *(u64 *)(r1 +104)
        {store("r2", 8)}
        r2 = *(u64 *)(r1 +80)
        {store("r2", 16)}
        r2 = *(u64 *)(r1 +128)
        {store("r2", 24)}
        r0 = 0
        exit
    """
    probe(system, load(system, ProgType.KPROBE, text, out=out), "do_sys_openat2")
    fire(machine, "kprobe", "do_sys_openat2", registers={"di": 1, "si": 2, "ax": 3, "ip": 4})
    assert out_words(system, out, 4) == (1, 2, 3, 4)


def test_a_tracepoint_sees_its_record(system, machine):
    """The layout is what the format file says; text lies behind the record."""
    category, name = "sched", "sched_process_exec"
    out = out_map(system)
    folder = f"/sys/kernel/tracing/events/{category}/{name}"
    number = int(read_file(system, f"{folder}/id"))
    format = read_file(system, f"{folder}/format").decode()
    assert f"ID: {number}" in format
    offset = int(next(
        line.split("offset:")[1].split(";")[0]
        for line in format.splitlines()
        if "pid_t pid;" in line
    ))  # fmt: skip
    text = f"""
        r2 = *(u32 *)(r1 +8)
        {store("r2")}
        r2 = *(s32 *)(r1 +{offset})
        {store("r2", 8)}
        r6 = r1
        r3 = *(u32 *)(r1 +8)
        r3 &= 0xffff
        r6 = r1
        r0 = 0
        exit
    """.replace("(s32 *)", "(u32 *)")
    program = load(system, ProgType.TRACEPOINT, text, out=out)
    event = system.perf_event_open(PerfEventAttr(PerfType.TRACEPOINT, number), -1, 0)
    system.ioctl(event, PerfIoctl.SET_BPF, program)
    fire(machine, "tracepoint", f"{category}:{name}", fields={"filename": "/bin/ls", "pid": 77})
    location, pid = out_words(system, out, 2)
    assert pid == 77
    assert location >> 16 == len("/bin/ls") + 1


def test_a_raw_tracepoint_sees_its_arguments(system, machine):
    out = out_map(system)
    text = f"r2 = *(u64 *)(r1 +8)\n{store('r2')}\nr0 = 0\nexit"
    program = load(system, ProgType.RAW_TRACEPOINT, text, out=out)
    link = system.bpf(RawTracepointOpen("sys_enter", program))
    fire(machine, "raw_tracepoint", "sys_enter", arguments=(5, 257))
    assert out_words(system, out, 1) == (257,)
    info = system.bpf(LinkGetInfo(link))
    assert info.target == "sys_enter"
    assert system.bpf(LinkGetNextId(0)) == info.id


def test_an_unknown_raw_tracepoint(system):
    program = load(system, ProgType.RAW_TRACEPOINT, "r0 = 0\nexit")
    with pytest.raises(FileNotFoundError):
        system.bpf(RawTracepointOpen("no_such_tracepoint", program))


def test_a_packet_at_a_device_gets_a_verdict(system, machine):
    text = """
        r2 = *(u32 *)(r1 +0)
        r3 = *(u32 *)(r1 +4)
        r4 = r2
        r4 += 14
        r0 = 2
        if r4 > r3 goto out
        r5 = *(u8 *)(r2 +12)
        if r5 != 8 goto out
        r0 = 1
      out:
        exit
    """
    program = load(system, ProgType.XDP, text)
    link = system.bpf(LinkCreate(program, 1, AttachType.XDP))
    assert fire(machine, "xdp", "lo", data=bytes(12) + b"\x08\x00" + bytes(20)) == [1]
    assert fire(machine, "xdp", "lo", data=bytes(34)) == [2]
    assert fire(machine, "xdp", "lo", data=bytes(3)) == [2]
    with pytest.raises(OSError) as raised:
        system.bpf(LinkCreate(program, 1, AttachType.XDP))
    assert raised.value.errno == errno.EBUSY
    with pytest.raises(OSError) as raised:
        system.bpf(LinkCreate(program, 99, AttachType.XDP))
    assert raised.value.errno == errno.ENODEV
    system.close(link)
    assert fire(machine, "xdp", "lo", data=bytes(34)) == []


def test_an_uprobe_of_one_process_leaves_the_others_alone(system, machine):
    out = out_map(system)
    text = f"r2 = 1\n{store('r2')}\nr0 = 0\nexit"
    program = load(system, ProgType.KPROBE, text, out=out)
    system.wait(system.now() + SECOND)
    pid = next(iter(machine.tasks))
    event = system.perf_event_open(PerfEventAttr(7, 0, "/bin/bash", 64), pid, -1)
    system.ioctl(event, PerfIoctl.SET_BPF, program)
    point = Point("uprobe", "/bin/bash", 64)
    for task in machine.tasks.values():
        if task.tgid != pid:
            machine.hooks.fire(Event(point=point, time=0, cpu=0, task=task))
    assert out_words(system, out, 1) == (0,)
    machine.hooks.fire(Event(point=point, time=0, cpu=0, task=machine.tasks[pid]))
    assert out_words(system, out, 1) == (1,)


def test_there_is_no_such_process(system):
    with pytest.raises(ProcessLookupError):
        system.perf_event_open(PerfEventAttr(7, 0, "/bin/bash", 64), 999_999, -1)


# --- who runs ----------------------------------------------------------------------------------


def test_a_program_knows_who_runs(system, machine):
    out = out_map(system)
    text = f"""
        call bpf_get_current_pid_tgid
        {store("r0")}
        call bpf_get_current_uid_gid
        {store("r0", 8)}
        r1 = map[out][0]+16
        r2 = 16
        call bpf_get_current_comm
        call bpf_get_smp_processor_id
        {store("r0", 32)}
        call bpf_ktime_get_ns
        {store("r0", 40)}
        r0 = 0
        exit
    """
    probe(system, load(system, ProgType.KPROBE, text, out=out), "do_sys_openat2")
    task = machine.new_task("a-long-name-of-a-task", uid=1000)
    point = Point("kprobe", "do_sys_openat2")
    machine.hooks.fire(Event(point=point, time=machine.now(), cpu=1, task=task))
    words = out_words(system, out, 6)
    assert words[0] == task.tgid << 32 | task.pid
    assert words[1] == 1000 << 32 | 1000
    assert system.bpf(MapLookup(out, bytes(4)))[16:32] == b"a-long-name-of-\0"
    assert words[4] == 1
    assert words[5] == machine.now()


def test_a_program_reads_the_tasks_own_memory(system, machine):
    out = out_map(system)
    text = f"""
        r3 = *(u64 *)(r1 +104)
        r1 = map[out][0]+8
        r2 = 16
        call bpf_probe_read_user_str
        {store("r0")}
        r0 = 0
        exit
    """
    probe(system, load(system, ProgType.KPROBE, text, out=out), "do_sys_openat2")
    task = machine.new_task("reader")
    address = task.memory.place(b"/etc/passwd\0")
    registers = {"si": address}
    point = Point("kprobe", "do_sys_openat2")
    machine.hooks.fire(Event(point=point, time=0, cpu=0, task=task, registers=registers))
    value = system.bpf(MapLookup(out, bytes(4)))
    assert struct.unpack_from("<Q", value) == (12,)
    assert value[8:20] == b"/etc/passwd\0"


def test_a_failed_read_clears_its_target(system, machine):
    out = out_map(system)
    system.bpf(MapUpdate(out, bytes(4), b"\xff" * 64))
    text = f"""
        r3 = 0x123456
        r1 = map[out][0]+8
        r2 = 16
        call bpf_probe_read_user
        {store("r0")}
        r0 = 0
        exit
    """
    probe(system, load(system, ProgType.KPROBE, text, out=out), "do_sys_openat2")
    fire(machine, "kprobe", "do_sys_openat2")
    value = system.bpf(MapLookup(out, bytes(4)))
    assert struct.unpack_from("<q", value) == (-errno.EFAULT,)
    assert value[8:24] == bytes(16)
    assert value[24:32] == b"\xff" * 8


# --- output ------------------------------------------------------------------------------------

OUTPUT = """
    r6 = r1
    *(u64 *)(r10 -8) = 0
    r2 = *(u64 *)(r1 +112)
    *(u64 *)(r10 -8) = r2
    r1 = r6
    r2 = map[events]
    r3 = 0xffffffff
    r4 = r10
    r4 += -8
    r5 = 8
    call bpf_perf_event_output
    r0 = 0
    exit
"""


def perf_buffer(system, pages=1, wakeup=1):
    attr = PerfEventAttr(
        PerfType.SOFTWARE,
        PerfSoftware.BPF_OUTPUT,
        sample_type=PerfSample.RAW,
        sample_period=1,
        wakeup_events=wakeup,
    )
    event = system.perf_event_open(attr, -1, 0)
    return event, system.mmap(event, (1 + pages) * PAGE, writable=True)


def perf_records(view):
    """Type and body of each record, as a reader of the ring takes them."""
    head, tail, offset, size = struct.unpack_from("<4Q", view, 1024)
    data = bytes(view[offset : offset + size]) * 2
    records = []
    while tail < head:
        at = tail % size
        kind, _, length = struct.unpack_from("<IHH", data, at)
        records.append((kind, data[at + 8 : at + length]))
        tail += length
    struct.pack_into("<Q", view, 1032, tail)
    return records


def test_a_perf_buffer_gets_records_and_wakes(system, machine):
    events = system.bpf(MapCreate(MapType.PERF_EVENT_ARRAY, 4, 4, 2))
    event, view = perf_buffer(system)
    system.bpf(MapUpdate(events, bytes(4), struct.pack("<I", event)))
    program = load(system, ProgType.KPROBE, OUTPUT, events=events)
    probe(system, program, "do_sys_openat2")
    for number in (7, 8):
        fire(machine, "kprobe", "do_sys_openat2", registers={"di": number})
    assert system.poll([event], 0) == [event]
    assert system.poll([event], 0) == []
    records = perf_records(view)
    assert [kind for kind, _ in records] == [9, 9]
    assert [struct.unpack_from("<IQ", body) for _, body in records] == [(12, 7), (12, 8)]


def test_what_does_not_fit_into_a_perf_buffer_is_counted(system, machine):
    events = system.bpf(MapCreate(MapType.PERF_EVENT_ARRAY, 4, 4, 2))
    event, view = perf_buffer(system)
    system.bpf(MapUpdate(events, bytes(4), struct.pack("<I", event)))
    probe(system, load(system, ProgType.KPROBE, OUTPUT, events=events), "do_sys_openat2")
    for number in range(200):  # 24 bytes each: 170 fit
        fire(machine, "kprobe", "do_sys_openat2", registers={"di": number})
    assert len(perf_records(view)) == 170
    fire(machine, "kprobe", "do_sys_openat2", registers={"di": 1000})
    lost, sample = perf_records(view)
    assert lost[0] == 2
    assert struct.unpack_from("<QQ", lost[1])[1] == 30
    assert struct.unpack_from("<IQ", sample[1]) == (12, 1000)


def test_a_poll_lets_the_machine_run_until_somebody_writes(system):
    events = system.bpf(MapCreate(MapType.PERF_EVENT_ARRAY, 4, 4, 2))
    buffers = [perf_buffer(system)]
    attr = PerfEventAttr(
        PerfType.SOFTWARE, PerfSoftware.BPF_OUTPUT, sample_type=PerfSample.RAW, wakeup_events=1
    )
    other = system.perf_event_open(attr, -1, 1)
    buffers.append((other, system.mmap(other, 2 * PAGE, writable=True)))
    for cpu, (event, _) in enumerate(buffers):
        system.bpf(MapUpdate(events, struct.pack("<I", cpu), struct.pack("<I", event)))
    probe(system, load(system, ProgType.KPROBE, OUTPUT, events=events), "do_sys_openat2")
    before = system.now()
    ready = system.poll([event for event, _ in buffers])
    assert len(ready) == 1
    assert system.now() > before
    assert perf_records(dict(buffers)[ready[0]])


def test_a_poll_gives_up_at_its_time(system):
    event, _ = perf_buffer(system)
    before = system.now()
    assert system.poll([event], SECOND) == []
    assert system.now() == before + SECOND


RING = """
    r7 = *(u64 *)(r1 +112)
    r1 = map[ring]
    r2 = 1000
    r3 = 0
    call bpf_ringbuf_reserve
    if r0 == 0 goto out
    *(u64 *)(r0 +0) = r7
    *(u64 *)(r0 +992) = r7
    r1 = r0
    r2 = 0
    call bpf_ringbuf_submit
  out:
    r0 = 0
    exit
"""


def test_a_ring_buffer_goes_round(system, machine):
    """Records of 1008 bytes in 4096: every fifth runs over the end, in one piece for the reader."""
    ring = system.bpf(MapCreate(MapType.RINGBUF, 0, 0, PAGE))
    probe(system, load(system, ProgType.KPROBE, RING, ring=ring), "do_sys_openat2")
    consumer = system.mmap(ring, PAGE, writable=True)
    producer = system.mmap(ring, 3 * PAGE, PAGE)
    position = 0
    for number in range(20):
        fire(machine, "kprobe", "do_sys_openat2", registers={"di": number})
        assert system.poll([ring], 0) == [ring]
        at = PAGE + position % PAGE
        length, _ = struct.unpack_from("<II", producer, at)
        assert length == 1000
        assert struct.unpack_from("<Q", producer, at + 8) == (number,)
        assert struct.unpack_from("<Q", producer, at + 8 + 992) == (number,)
        position += 1008
        struct.pack_into("<Q", consumer, 0, position)
        assert system.poll([ring], 0) == []


def test_a_full_ring_buffer_has_no_room(system, machine):
    ring = system.bpf(MapCreate(MapType.RINGBUF, 0, 0, PAGE))
    probe(system, load(system, ProgType.KPROBE, RING, ring=ring), "do_sys_openat2")
    producer = system.mmap(ring, 3 * PAGE, PAGE)
    for _ in range(10):
        fire(machine, "kprobe", "do_sys_openat2")
    assert struct.unpack_from("<Q", producer) == (4 * 1008,)


# --- stacks --------------------------------------------------------------------------------------


def test_stack_traces_have_numbers(system, machine):
    stacks = system.bpf(MapCreate(MapType.STACK_TRACE, 4, 32, 16))
    out = out_map(system)
    text = f"""
        r2 = map[stacks]
        r3 = 1
        call bpf_get_stackid
        {store("r0")}
        r0 = 0
        exit
    """
    program = load(system, ProgType.KPROBE, text, stacks=stacks, out=out)
    probe(system, program, "do_sys_openat2")
    fire(machine, "kprobe", "do_sys_openat2", kernel_stack=(1, 2, 3, 4, 5, 6))
    (number,) = out_words(system, out, 1)
    trace = system.bpf(MapLookup(stacks, struct.pack("<I", number)))
    assert struct.unpack("<4Q", trace) == (2, 3, 4, 5)
    assert system.bpf(MapNextKey(stacks)) == struct.pack("<I", number)
    fire(machine, "kprobe", "do_sys_openat2", kernel_stack=(9, 2, 3, 4, 5, 6))
    assert out_words(system, out, 1) == (number,)
    fire(machine, "kprobe", "do_sys_openat2")
    assert out_words(system, out, 1) == ((1 << 64) - errno.EFAULT,)
    system.bpf(MapDelete(stacks, struct.pack("<I", number)))
    with pytest.raises(FileNotFoundError):
        system.bpf(MapNextKey(stacks))


# --- tail calls and maps of maps -----------------------------------------------------------------


def test_tail_calls_go_on_in_another_program(system, machine):
    jumps = system.bpf(MapCreate(MapType.PROG_ARRAY, 4, 4, 2))
    out = out_map(system)
    target = load(
        system, ProgType.KPROBE, f"r2 = 42\n{store('r2', 8)}\nr0 = 0\nexit", out=out
    )  # fmt: skip
    text = f"""
        r2 = map[jumps]
        r3 = 1
        call bpf_tail_call
        r2 = 7
        {store("r2")}
        r0 = 0
        exit
    """
    first = load(system, ProgType.KPROBE, text, jumps=jumps, out=out)
    probe(system, first, "do_sys_openat2")
    fire(machine, "kprobe", "do_sys_openat2")
    assert out_words(system, out, 2) == (7, 0)
    system.bpf(MapUpdate(jumps, struct.pack("<I", 1), struct.pack("<I", target)))
    system.bpf(MapUpdate(out, bytes(4), bytes(64)))
    fire(machine, "kprobe", "do_sys_openat2")
    assert out_words(system, out, 2) == (0, 42)
    shown = system.bpf(MapLookup(jumps, struct.pack("<I", 1)))
    assert struct.unpack("<I", shown) == (system.bpf(ProgGetInfo(target)).id,)


def test_a_program_array_takes_programs_of_one_type(system):
    jumps = system.bpf(MapCreate(MapType.PROG_ARRAY, 4, 4, 2))
    kprobe = load(system, ProgType.KPROBE, "r0 = 0\nexit")
    tracepoint = load(system, ProgType.TRACEPOINT, "r0 = 0\nexit")
    system.bpf(MapUpdate(jumps, bytes(4), struct.pack("<I", kprobe)))
    with pytest.raises(OSError) as raised:
        system.bpf(MapUpdate(jumps, struct.pack("<I", 1), struct.pack("<I", tracepoint)))
    assert raised.value.errno == errno.EINVAL


def test_programs_find_the_maps_in_a_map(system, machine):
    inner = system.bpf(MapCreate(MapType.ARRAY, 4, 8, 1))
    outer = system.bpf(MapCreate(MapType.HASH_OF_MAPS, 4, 4, 4, inner_map_fd=inner))
    key = struct.pack("<I", 3)
    text = """
        *(u32 *)(r10 -4) = 3
        *(u32 *)(r10 -8) = 0
        r1 = map[outer]
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto out
        r1 = r0
        r2 = r10
        r2 += -8
        call bpf_map_lookup_elem
        if r0 == 0 goto out
        r1 = 1
        lock *(u64 *)(r0 +0) += r1
      out:
        r0 = 0
        exit
    """
    program = load(system, ProgType.KPROBE, text, outer=outer)
    probe(system, program, "do_sys_openat2")
    fire(machine, "kprobe", "do_sys_openat2")
    system.bpf(MapUpdate(outer, key, struct.pack("<I", inner)))
    for _ in range(3):
        fire(machine, "kprobe", "do_sys_openat2")
    assert system.bpf(MapLookup(inner, bytes(4))) == struct.pack("<Q", 3)
    wrong = system.bpf(MapCreate(MapType.ARRAY, 4, 16, 1))
    with pytest.raises(OSError) as raised:
        system.bpf(MapUpdate(outer, key, struct.pack("<I", wrong)))
    assert raised.value.errno == errno.EINVAL
    identity = system.bpf(MapGetInfo(inner)).id
    system.close(inner)
    assert struct.unpack("<I", system.bpf(MapLookup(outer, key))) == (identity,)
    system.bpf(MapDelete(outer, key))


# --- what lives how long -------------------------------------------------------------------------


def test_maps_go_with_their_last_holder(system):
    out = out_map(system)
    program = load(system, ProgType.KPROBE, f"r2 = 1\n{store('r2')}\nr0 = 0\nexit", out=out)
    identity = system.bpf(MapGetInfo(out)).id
    system.close(out)
    assert system.bpf(MapGetNextId(0)) == identity
    assert system.bpf(ProgGetInfo(program)).map_ids == (identity,)
    system.close(program)
    with pytest.raises(FileNotFoundError):
        system.bpf(MapGetNextId(0))


def test_a_program_array_and_its_program_do_not_keep_each_other(system):
    jumps = system.bpf(MapCreate(MapType.PROG_ARRAY, 4, 4, 1))
    text = "r2 = map[jumps]\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit"
    program = load(system, ProgType.KPROBE, text, jumps=jumps)
    system.bpf(MapUpdate(jumps, bytes(4), struct.pack("<I", program)))
    system.close(program)
    system.close(jumps)
    with pytest.raises(FileNotFoundError):
        system.bpf(MapGetNextId(0))


def test_a_pin_keeps_a_map(system):
    out = out_map(system)
    system.bpf(ObjPin("/sys/fs/bpf/counts", out))
    identity = system.bpf(MapGetInfo(out)).id
    system.close(out)
    assert system.listdir("/sys/fs/bpf") == ["counts"]
    again = system.bpf(ObjGet("/sys/fs/bpf/counts"))
    assert system.bpf(MapGetInfo(again)).id == identity
    with pytest.raises(FileExistsError):
        system.bpf(ObjPin("/sys/fs/bpf/counts", again))
    with pytest.raises(FileNotFoundError):
        system.bpf(ObjGet("/sys/fs/bpf/nothing"))


def test_an_attached_program_outlives_its_descriptor(system, machine):
    out = out_map(system)
    program = load(system, ProgType.KPROBE, f"r2 = 1\n{store('r2')}\nr0 = 0\nexit", out=out)
    event = probe(system, program, "do_sys_openat2")
    system.close(program)
    fire(machine, "kprobe", "do_sys_openat2")
    assert out_words(system, out, 1) == (1,)
    system.close(event)
    fire(machine, "kprobe", "do_sys_openat2")


def test_shutting_down_leaves_nothing(system):
    system.bpf(ObjPin("/sys/fs/bpf/counts", out_map(system)))
    probe(system, load(system, ProgType.KPROBE, "r0 = 0\nexit"), "do_sys_openat2")
    system.shut_down()
    kernel = system.kernel
    assert (len(kernel.maps), len(kernel.programs), len(kernel.descriptors)) == (0, 0, 0)
    assert not list(system.machine.hooks.points())


# --- constants and dead code ---------------------------------------------------------------------


def test_what_a_frozen_map_rules_out_is_not_in_the_program(system):
    """A branch that a constant decides goes, and with it what the verifier would not have."""
    constants = system.bpf(MapCreate(MapType.ARRAY, 4, 8, 1, map_flags=MapFlags.RDONLY_PROG))
    system.bpf(MapUpdate(constants, bytes(4), struct.pack("<Q", 1)))
    from minibcc.abi.requests import MapFreeze

    system.bpf(MapFreeze(constants))
    text = """
        r1 = map[constants][0]+0
        r1 = *(u64 *)(r1 +0)
        if r1 == 1 goto good
        r0 = *(u64 *)(r0 +0)
        r0 = 5
        exit
      good:
        r0 = 6
        exit
    """
    program = load(system, ProgType.RAW_TRACEPOINT, text, constants=constants)
    shown = system.bpf(ProgGetInfo(program)).xlated_prog_insns
    assert len(shown) < len(encode(assemble(text, {"constants": constants})))
    assert system.bpf(ProgTestRun(program)).retval == 6


COUNT = """
    r2 = *(u64 *)(r1 +112)
    *(u32 *)(r10 -4) = r2
    r1 = map[counts]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 == 0 goto new
    r1 = 1
    lock *(u64 *)(r0 +0) += r1
    r0 = 0
    exit
  new:
    *(u64 *)(r10 -16) = 1
    r1 = map[counts]
    r2 = r10
    r2 += -4
    r3 = r10
    r3 += -16
    r4 = 0
    call bpf_map_update_elem
    r0 = 0
    exit
"""


@pytest.mark.parametrize(
    "map_type", [MapType.HASH, MapType.LRU_HASH, MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH]
)
def test_deleting_starts_the_count_anew(system, machine, map_type):
    """Also where native code remembers where a value was."""
    counts = system.bpf(MapCreate(map_type, 4, 8, 64))
    probe(system, load(system, ProgType.KPROBE, COUNT, counts=counts), "do_sys_openat2")

    def count(number):
        value = system.bpf(MapLookup(counts, struct.pack("<I", number)))
        return sum(struct.unpack(f"<{len(value) // 8}Q", value))

    for number in (1, 2, 1, 1, 2):
        fire(machine, "kprobe", "do_sys_openat2", registers={"di": number})
    assert (count(1), count(2)) == (3, 2)
    system.bpf(MapDelete(counts, struct.pack("<I", 1)))
    fire(machine, "kprobe", "do_sys_openat2", registers={"di": 3})
    for number in (1, 2):
        fire(machine, "kprobe", "do_sys_openat2", registers={"di": number})
    assert (count(1), count(2), count(3)) == (1, 3, 1)


def test_the_least_recently_used_goes_first(system, machine):
    counts = system.bpf(MapCreate(MapType.LRU_HASH, 4, 8, 3))
    probe(system, load(system, ProgType.KPROBE, COUNT, counts=counts), "do_sys_openat2")
    for number in (1, 2, 3, 1, 4):
        fire(machine, "kprobe", "do_sys_openat2", registers={"di": number})
    left = []
    key = None
    for _ in range(3):
        key = system.bpf(MapNextKey(counts, key))
        left.append(struct.unpack("<I", key)[0])
    assert sorted(left) == [1, 3, 4]
    with pytest.raises(FileNotFoundError):
        system.bpf(MapNextKey(counts, key))


def test_time_is_measured_where_that_is_asked_for(system, machine):
    program = load(system, ProgType.KPROBE, "r0 = 0\nexit")
    probe(system, program, "do_sys_openat2")
    fire(machine, "kprobe", "do_sys_openat2")
    assert system.bpf(ProgGetInfo(program)).run_time_ns == 0
    fd = system.open("/proc/sys/kernel/bpf_stats_enabled", os.O_RDWR)
    assert system.read(fd, 10) == b"0\n"
    system.write(fd, b"1\n")
    fire(machine, "kprobe", "do_sys_openat2")
    info = system.bpf(ProgGetInfo(program))
    assert info.run_cnt == 1, "runs from then on"
    assert info.run_time_ns > 0


def test_a_program_may_read_past_the_end_of_a_record(system, machine):
    """User space declares the structure itself; what the record lacks is zero."""
    out = out_map(system)
    text = f"r2 = 1\n{store('r2', 8)}\nr2 = *(u64 *)(r1 +4000)\n{store('r2')}\nr0 = 0\nexit"
    program = load(system, ProgType.TRACEPOINT, text, out=out)
    folder = "/sys/kernel/tracing/events/sched/sched_process_exec"
    number = int(read_file(system, f"{folder}/id"))
    event = system.perf_event_open(PerfEventAttr(PerfType.TRACEPOINT, number), -1, 0)
    system.ioctl(event, PerfIoctl.SET_BPF, program)
    fire(machine, "tracepoint", "sched:sched_process_exec", fields={"pid": 77})
    assert out_words(system, out, 2) == (0, 1)


def test_traced_functions_give_arguments_and_results(system, machine, monkeypatch):
    monkeypatch.setattr(programs, "verify", accept)
    number = machine.data.btf.find_id(Kind.FUNC, "do_sys_openat2")
    assert number
    out = out_map(system)
    text = f"""
        r2 = *(u64 *)(r1 +0)
        {store("r2")}
        r2 = *(u64 *)(r1 +24)
        {store("r2", 8)}
        r0 = 0
        exit
    """
    request = ProgLoad(
        ProgType.TRACING,
        encode(assemble(text, {"out": out})),
        expected_attach_type=AttachType.TRACE_FEXIT,
        attach_btf_id=number,
    )
    program = system.bpf(request).fd
    link = system.bpf(RawTracepointOpen("", program))
    fire(machine, "fexit", "do_sys_openat2", arguments=(5, 6, 7, 3))
    assert out_words(system, out, 2) == (5, 3)
    assert system.bpf(LinkGetInfo(link)).target == "do_sys_openat2"


@pytest.mark.parametrize("kind", ["ptr_", "trusted_ptr_", "untrusted_ptr_", "sock", "map_ptr"])
def test_what_is_the_kernels_own_is_read_without_danger(system, machine, monkeypatch, kind):
    """Loads through kernel pointers, in a program that the verifier lets through, read what the
    machine has there and 0 where it has nothing: native code must not go there by itself."""
    monkeypatch.setattr(programs, "verify", believing({2: kind, 3: kind, 4: kind}))
    there = machine.kernel_memory.place(struct.pack("<Qi", 0x1234_5678_9ABC_DEF0, -5))
    text = f"""
    r1 = {there:#x}
    r3 = *(u64 *)(r1 +0)
    r0 = *(s32 *)(r1 +8)
    r4 = *(u16 *)(r1 -4096)
    r0 += r3
    r0 += r4
    exit
    """
    fd = load(system, ProgType.XDP, text)
    result = system.bpf(ProgTestRun(fd, bytes(64), repeat=3)).retval
    assert result == (0x9ABC_DEF0 - 5) & 0xFFFF_FFFF
    shown = system.bpf(ProgGetInfo(fd)).xlated_prog_insns
    assert shown == encode(assemble(text, {})), "views show plain loads, as Linux's do"


def believing(accesses):
    """A verifier that accepts all and says of slots what memory they touch."""

    def verify(source, environment=None):
        verdict = accept(source, environment)
        return replace(verdict, facts=replace(verdict.facts, accesses=accesses))

    return verify


def test_a_traced_tracepoint_follows_pointers_to_tasks(system, machine):
    """Through the real verifier: a task's own fields, and a pointer that leads nowhere."""
    out = out_map(system)
    types = Btf(read_file(system, "/sys/kernel/btf/vmlinux"))
    _, offset = find_member(types.find(Kind.STRUCT, "task_struct"), "pid")
    pid = offset // 8
    text = f"""
    r6 = r1
    r7 = *(u64 *)(r6 +16)
    r8 = *(u32 *)(r7 +{pid})
    {store("r8")}
    r7 = *(u64 *)(r6 +8)
    r8 = *(u32 *)(r7 +{pid})
    {store("r8", 8)}
    r0 = 0
    exit
    """
    program = system.bpf(
        ProgLoad(
            ProgType.TRACING,
            encode(assemble(text, {"out": out})),
            expected_attach_type=AttachType.TRACE_RAW_TP,
            attach_btf_id=types.find_id(Kind.TYPEDEF, "btf_trace_sched_switch"),
        )
    ).fd
    system.bpf(RawTracepointOpen("", program))
    current = machine.current
    kind = "raw_tracepoint"
    fire(machine, kind, "sched_switch", arguments=(0, 0x1234, current.address, 0))
    assert out_words(system, out, 2) == (current.pid, 0)


def test_fields_of_a_map_are_those_of_the_map(system):
    fd = system.bpf(MapCreate(MapType.HASH, 4, 16, 8))
    code = assemble(
        """
        r1 = map[counts]
        r0 = *(u32 *)(r1 +76)
        r2 = *(u32 *)(r1 +72)
        r0 *= r2
        exit
        """,
        {"counts": fd},
    )
    program = system.bpf(ProgLoad(ProgType.SCHED_CLS, encode(code), "GPL")).fd
    try:
        assert system.bpf(ProgTestRun(program, bytes(64))).retval == 8 * 16
    finally:
        system.close(program)
        system.close(fd)


def test_an_exit_with_an_offset_is_an_exit(system):
    """Linux looks at the other fields of the instruction alone."""
    code = encode([*assemble("r0 = 7"), Instruction(0x95, off=-1)])
    program = system.bpf(ProgLoad(ProgType.SCHED_CLS, code, "GPL")).fd
    try:
        assert system.bpf(ProgTestRun(program, bytes(64))).retval == 7
    finally:
        system.close(program)


def test_a_flow_dissector_fills_its_keys(system):
    code = """
        r2 = *(u64 *)(r1 +144)
        *(u16 *)(r2 +0) = 14
        r0 = *(u16 *)(r2 +0)
        r3 = *(u32 *)(r2 +52)
        r0 += r3
        exit
    """
    program = system.bpf(ProgLoad(ProgType.FLOW_DISSECTOR, encode(assemble(code)), "GPL")).fd
    try:
        assert system.bpf(ProgTestRun(program, bytes(64))).retval == 14
    finally:
        system.close(program)
