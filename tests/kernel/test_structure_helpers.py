"""Helpers on the kernel's own structures: paths, memory areas, names, packets of traced functions,
records of user space's making."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from minibcc import boot
from minibcc.abi.bpf import AttachType, MapType, ProgFlags, ProgType
from minibcc.abi.requests import (
    IterCreate,
    LinkCreate,
    MapCreate,
    MapLookup,
    MapUpdate,
    ProgLoad,
    ProgTestRun,
    RawTracepointOpen,
)
from minibcc.bcc.kerneltypes import function_id
from minibcc.bcc.loader import Module
from minibcc.btf.types import Struct
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.kernel import programs
from minibcc.kernel.helpers.registry import implementations
from minibcc.machine.hooks import Event, Point
from minibcc.machine.structures import fill
from tests import live
from tests.kernel.support import accept
from tests.kernel.test_running import perf_buffer, perf_records


@pytest.fixture(params=["interpreter", "jit"])
def system(request):
    return boot.system(boot.Options(engine=request.param))


class Loaded:
    """A C text's only program, loaded, and its maps."""

    def __init__(self, system, text: str) -> None:
        obj = compile(text, Target.from_system(system), file="structures.c", cache=False)
        self.system = system
        self.module = Module(system, obj)
        self.fd, _ = self.module.verify(
            obj.programs[0].name,
            ProgType.TRACING,
            kernel_function=lambda name, kind: function_id(system, name, kind),
        )

    def map(self, name: str) -> int:
        return self.module.maps[name].fd

    def close(self) -> None:
        self.system.close(self.fd)
        self.module.close()


def fire(machine, name: str, *arguments: int) -> None:
    task = machine.tasks[1]
    machine.hooks.pass_by(
        Event(point=Point("fentry", name), time=machine.now(), cpu=0, task=task,
              arguments=arguments)
    )  # fmt: skip


# --- paths

PATHS = """
struct out { int length; char path[60]; };
BPF_ARRAY(out, struct out, 1);
KFUNC_PROBE(filp_close, struct file *file)
{
    int zero = 0;
    struct out *found = out.lookup(&zero);
    if (found)
        found->length = bpf_d_path(&file->f_path, found->path, SIZE);
    return 0;
}
"""


@pytest.mark.parametrize(
    ("size", "removed", "wanted"),
    [
        (60, False, (12, b"/etc/passwd\0")),
        (60, True, (22, b"/etc/passwd (deleted)\0")),
        (12, False, (12, b"/etc/passwd\0")),
        (11, False, (-36, b"\0" * 11)),
    ],
)
def test_the_path_of_a_file(system, size, removed, wanted):
    machine = system.machine
    machine.files.add("/etc/passwd")
    file = machine.files.open("/etc/passwd", 0)
    if removed:
        machine.files.remove("/etc/passwd")
    loaded = Loaded(system, PATHS.replace("SIZE", str(size)))
    link = system.bpf(RawTracepointOpen("", loaded.fd))
    fire(machine, "filp_close", file.address, 0)
    data = system.bpf(MapLookup(loaded.map("out"), bytes(4)))
    length, text = struct.unpack_from("<i60s", data)
    assert (length, text[: len(wanted[1])]) == wanted
    if size == 60 and length > 0:  # where it was made first
        assert text[60 - length :] == wanted[1]
    system.close(link)
    loaded.close()


# --- memory areas

AREA = """
struct out { long answers[4]; u64 start; u64 end; u64 task; };
BPF_ARRAY(out, struct out, 1);
static int found(struct task_struct *task, struct vm_area_struct *area, struct out *out)
{
    out->start = area->vm_start;
    out->end = area->vm_end;
    out->task = task->pid;
    return 0;
}
BPF_ITER(task)
{
    int zero = 0;
    struct out *to = out.lookup(&zero);
    struct out here = {};
    struct task_struct *task = ctx->task;
    if (!to || !task)
        return 0;
    here.answers[0] = bpf_find_vma(task, ADDRESS, found, &here, 0);
    here.answers[1] = bpf_find_vma(task, ADDRESS, found, &here, 1);
    here.answers[2] = bpf_find_vma(task, 8, found, &here, 0);
    *to = here;
    return 0;
}
"""


def area(system, pid: int, address: int) -> tuple[int, ...]:
    loaded = Loaded(system, AREA.replace("ADDRESS", f"{address:#x}"))
    link = system.bpf(LinkCreate(loaded.fd, 0, AttachType.TRACE_ITER, tid=pid))
    opened = system.bpf(IterCreate(link))
    try:
        system.read(opened, 100)
        return struct.unpack("<4q3Q", system.bpf(MapLookup(loaded.map("out"), bytes(4))))
    finally:
        for fd in (opened, link):
            system.close(fd)
        loaded.close()


def test_the_area_of_an_address(system):
    assert area(system, 1, 0x40_1234) == (0, -22, -2, 0, 0x40_0000, 0x41_0000, 1)


@pytest.mark.kernel
def test_linux_finds_areas_so():
    rows = Path("/proc/self/maps").read_text().splitlines()
    program = next(row for row in rows if "python" in row)
    start, end = (int(word, 16) for word in program.split()[0].split("-"))
    pid = os.getpid()
    assert area(live.kernel(), pid, start + 5) == (0, -22, -2, 0, start, end, pid)


# --- names

NAME = """
*(u64 *)(r10 -8) = 0
r1 = {word}
*(u64 *)(r10 -16) = r1
r1 = r10
r1 += -16
{call}
exit
"""
SYMBOL = "r2 = {size}\nr3 = {flags}\nr4 = r10\nr4 += -24\ncall bpf_kallsyms_lookup_name"
TYPE = "r2 = {size}\nr3 = {kind}\nr4 = {flags}\ncall bpf_btf_find_by_name_kind"
FD = "r1 = {fd}\ncall bpf_sys_close"
NAMES = {
    # name, what is asked: what is answered (None: any number above 0)
    "a function": ("vfs_read", SYMBOL.format(size=9, flags=0), 0),
    "no function": ("vfs_rea-", SYMBOL.format(size=9, flags=0), -2),
    "a name without end": ("vfs_read", SYMBOL.format(size=8, flags=0), -22),
    "a function, with flags": ("vfs_read", SYMBOL.format(size=9, flags=1), -22),
    "a type": ("qstr", TYPE.format(size=5, kind=4, flags=0), None),
    "a type of another kind": ("qstr", TYPE.format(size=5, kind=6, flags=0), -2),
    "an impossible kind": ("qstr", TYPE.format(size=5, kind=99, flags=0), -2),
    "a type, with flags": ("qstr", TYPE.format(size=5, kind=4, flags=1), -22),
    "no name": ("qstr", TYPE.format(size=1, kind=4, flags=0), -22),
    "no descriptor": ("", FD.format(fd=9999), -9),
}


def answer(system, name: str) -> int:
    text, call, _ = NAMES[name]
    word = int.from_bytes(text.encode().ljust(8, b"\0"), "little")
    code = encode(assemble(NAME.format(word=f"{word:#x}", call=call)))
    fd = system.bpf(ProgLoad(ProgType.SYSCALL, code, prog_flags=ProgFlags.SLEEPABLE)).fd
    try:
        found = system.bpf(ProgTestRun(fd)).retval
        return found - (found >> 31 << 32)
    finally:
        system.close(fd)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_looked_up(system, name):
    found, wanted = answer(system, name), NAMES[name][2]
    assert found > 0 if wanted is None else found == wanted


@pytest.mark.kernel
@pytest.mark.parametrize("name", NAMES)
def test_linux_looks_names_up_so(name):
    found, wanted = answer(live.kernel(), name), NAMES[name][2]
    assert found > 0 if wanted is None else found == wanted


def test_a_descriptor_is_closed(system):
    fd = system.bpf(MapCreate(MapType.ARRAY, 4, 4, 1))
    code = encode(assemble(f"r1 = {fd}\ncall bpf_sys_close\nexit"))
    program = system.bpf(ProgLoad(ProgType.SYSCALL, code, prog_flags=ProgFlags.SLEEPABLE)).fd
    assert system.bpf(ProgTestRun(program)).retval == 0
    with pytest.raises(OSError):
        system.bpf(MapLookup(fd, bytes(4)))


# --- what a system call is to give

RETVAL = """
call bpf_get_retval
r6 = map[out][0]+0
*(u32 *)(r6 +0) = r0
r1 = -13
call bpf_set_retval
*(u32 *)(r6 +4) = r0
call bpf_get_retval
*(u32 *)(r6 +8) = r0
r0 = 0
exit
"""


def test_what_the_system_call_gives(system):
    out = system.bpf(MapCreate(MapType.ARRAY, 4, 12, 1))
    request = ProgLoad(
        ProgType.CGROUP_SOCK,
        encode(assemble(RETVAL, {"out": out})),
        expected_attach_type=AttachType.CGROUP_INET_SOCK_CREATE,
    )
    fd = system.bpf(request).fd
    for _ in range(2):  # each run begins anew
        system.bpf(ProgTestRun(fd))
        assert struct.unpack("<3i", system.bpf(MapLookup(out, bytes(4)))) == (0, 0, -13)


# --- pointers kept in maps


def test_a_pointer_is_exchanged(system, monkeypatch):
    monkeypatch.setattr(programs, "verify", accept)
    map = system.bpf(MapCreate(MapType.ARRAY, 4, 8, 1))
    system.bpf(MapUpdate(map, bytes(4), struct.pack("<Q", 77)))
    text = "r1 = map[kept][0]+0\nr2 = 5\ncall bpf_kptr_xchg\nexit"
    fd = system.bpf(ProgLoad(ProgType.XDP, encode(assemble(text, {"kept": map})))).fd
    assert system.bpf(ProgTestRun(fd, bytes(64))).retval == 77
    assert system.bpf(MapLookup(map, bytes(4))) == struct.pack("<Q", 5)


# --- packets of traced functions

OUTPUT = """
r1 = *(u64 *)(r1 +0)
*(u64 *)(r10 -8) = 7
r2 = map[events]
r3 = {flags:#x}
r4 = r10
r4 += -8
r5 = 8
call bpf_{helper}
r1 = map[out][0]+0
*(u64 *)(r1 +0) = r0
r0 = 0
exit
"""
CURRENT = 0xFFFF_FFFF


@pytest.mark.parametrize("structure", ["sk_buff", "xdp_buff"])
def test_bytes_of_a_packet_follow_the_data(system, structure, monkeypatch):
    monkeypatch.setattr(programs, "verify", accept)
    machine = system.machine
    memory = machine.kernel_memory
    bytes_at = memory.place(b"a packet")
    kind = machine.type(structure)
    assert isinstance(kind, Struct)
    packet = memory.place(bytes(fill(kind, {"data": bytes_at, "len": 8, "data_end": bytes_at + 8})))
    events = system.bpf(MapCreate(MapType.PERF_EVENT_ARRAY, 4, 4, machine.cpus))
    out = system.bpf(MapCreate(MapType.ARRAY, 4, 8, 1))
    event, view = perf_buffer(system)
    system.bpf(MapUpdate(events, bytes(4), struct.pack("<I", event)))
    helper = {"sk_buff": "skb_output", "xdp_buff": "xdp_output"}[structure]
    target = function_id(system, "vfs_read", AttachType.TRACE_FENTRY)
    answers = []
    for flags in (CURRENT | 5 << 32, CURRENT | 9 << 32, CURRENT | 1 << 60):
        text = OUTPUT.format(flags=flags, helper=helper)
        code = encode(assemble(text, {"events": events, "out": out}))
        kind_of = AttachType.TRACE_FENTRY
        request = ProgLoad(
            ProgType.TRACING, code, expected_attach_type=kind_of, attach_btf_id=target
        )
        link = system.bpf(RawTracepointOpen("", system.bpf(request).fd))
        fire(machine, "vfs_read", packet)
        answers += struct.unpack("<q", system.bpf(MapLookup(out, bytes(4))))
        system.close(link)
    assert answers == [0, -14, -22]
    ((_, body),) = perf_records(view)
    assert body[4:17] == struct.pack("<Q", 7) + b"a pac"


# --- records of user space's making

BUSY, DISCARD = 1 << 31, 1 << 30


def drain(system, records: bytes, produced: int | None = None, *, stop_at: int = 99, flags=0):
    """What the helper answers, the records that it gave, and how far it came."""
    fd = system.bpf(MapCreate(MapType.USER_RINGBUF, 0, 0, 4096))
    data = system.mmap(fd, 3 * 4096, 4096, writable=True)
    data[4096 : 4096 + len(records)] = records
    data[:8] = struct.pack("<Q", len(records) if produced is None else produced)
    kernel = system.kernel
    ring = kernel.map_of(fd)
    run = kernel.new_run(None)
    seen = []

    def call(function: int, pointer: int, context: int) -> int:
        address, size = kernel.memory.load(pointer, 8), kernel.memory.load(pointer + 8, 4)
        seen.append(bytes(kernel.memory.view(address, size)))
        return int(len(seen) == stop_at)

    run.call = call
    answer = implementations()["user_ringbuf_drain"](run, ring.address, 0, 0, flags, 0)
    consumer = system.mmap(fd, 4096)
    place = struct.unpack_from("<Q", consumer)[0]
    system.close(fd)
    return answer, seen, place


def record(data: bytes, marks: int = 0) -> bytes:
    return struct.pack("<II", len(data) | marks, 0) + data.ljust(-(-len(data) // 8) * 8, b"\0")


def test_records_of_user_space_are_drained():
    system = boot.system(boot.Options())
    three = record(b"one") + record(b"gone", DISCARD) + record(b"the third")
    assert drain(system, three) == (2, [b"one", b"the third"], len(three))
    assert drain(system, three, stop_at=1) == (1, [b"one"], 16)
    assert drain(system, record(b"one") + record(b"two", BUSY)) == (1, [b"one"], 16)
    assert drain(system, b"") == (0, [], 0)
    assert drain(system, record(b"one"), 4) == (-22, [], 0)
    assert drain(system, record(b"far too long"), 16) == (-22, [], 0)
    assert drain(system, struct.pack("<II", 5000, 0), 8192) == (-7, [], 0)
    assert drain(system, b"", flags=4) == (-22, [], 0)


def test_only_the_producers_side_may_be_written():
    system = boot.system(boot.Options())
    fd = system.bpf(MapCreate(MapType.USER_RINGBUF, 0, 0, 4096))
    with pytest.raises(PermissionError):
        system.mmap(fd, 4096, writable=True)
    assert system.mmap(fd, 4096).readonly
    system.close(fd)
