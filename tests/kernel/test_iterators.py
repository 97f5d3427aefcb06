"""Iterators: programs that turn kernel objects into text, here and in the running kernel."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from minibcc import boot
from minibcc.abi.bpf import AttachType, LinkType, MapFlags, MapType, ProgType
from minibcc.abi.requests import (
    IterCreate,
    LinkCreate,
    LinkGetInfo,
    MapCreate,
    MapLookup,
    MapUpdate,
    ProgLoad,
)
from minibcc.bcc.kerneltypes import function_id
from minibcc.bcc.loader import Module
from minibcc.btf.decode import Btf
from minibcc.btf.layout import Kind
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.kernel import programs
from minibcc.system.interface import read_file
from tests import live
from tests.kernel.support import accept


@pytest.fixture(params=["interpreter", "jit"])
def system(request):
    return boot.system(boot.Options(engine=request.param))


def attach(system, text: str, **link: int) -> list[int]:
    """Descriptors of an iterator, its link and its program."""
    obj = compile(text, Target.from_system(system), file="iterator.c", cache=False)
    module = Module(system, obj)
    try:
        fd, _ = module.verify(
            obj.programs[0].name,
            ProgType.TRACING,
            kernel_function=lambda name, kind: function_id(system, name, kind),
        )
        found = system.bpf(LinkCreate(fd, 0, AttachType.TRACE_ITER, **link))
        return [system.bpf(IterCreate(found)), found, fd]
    finally:
        module.close()


@contextmanager
def iterator(system, text: str, **link: int):
    opened = attach(system, text, **link)
    yield opened[0]
    for fd in opened:
        system.close(fd)


def lines(system, text: str, *, size: int = 4096, **link: int) -> list[str]:
    with iterator(system, text, **link) as fd:
        return everything(system, fd, size).decode().splitlines()


def everything(system, fd: int, size: int = 4096) -> bytes:
    out = b""
    while part := system.read(fd, size):
        assert len(part) <= size
        out += part
    return out


PRINT = """
#define PRINT(format, ...) do { \\
    static const char text[] = format; \\
    u64 values[] = { __VA_ARGS__ }; \\
    bpf_seq_printf(ctx->meta->seq, text, sizeof(text), values, sizeof(values)); \\
} while (0)
"""
TASKS = (
    PRINT
    + """
BPF_ITER(task)
{
    struct task_struct *task = ctx->task;
    if (!task) {
        PRINT("end %d\\n", ctx->meta->seq_num);
        return 0;
    }
    PRINT("%d %d %s %d\\n", task->pid, task->tgid, (u64)task->comm, ctx->meta->seq_num);
    return 0;
}
"""
)


def test_tasks_by_their_ids(system):
    machine = system.machine
    rows = [
        f"{task.pid} {task.tgid} {task.comm} {number}"
        for number, (_, task) in enumerate(sorted(machine.tasks.items()))
    ]
    assert len(rows) >= 4
    assert lines(system, TASKS) == [*rows, f"end {len(rows) - 1}"]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_small_reads_give_the_same_text(system, size):
    assert lines(system, TASKS, size=size) == lines(system, TASKS)


def test_one_task_or_one_process(system):
    assert lines(system, TASKS, tid=1) == ["1 1 systemd 0", "end 0"]
    assert lines(system, TASKS, pid=1) == ["1 1 systemd 0", "end 0"]
    assert lines(system, TASKS, tid=99999) == ["end 0"]


@pytest.mark.kernel
def test_linux_prints_a_task_so():
    linux, pid = live.kernel(), os.getpid()
    comm = Path("/proc/self/comm").read_text().strip()
    assert lines(linux, TASKS, tid=pid) == [f"{pid} {pid} {comm} 0", "end 0"]
    assert lines(linux, TASKS, tid=(1 << 22) + 1) == ["end 0"]


FILES = (
    PRINT
    + """
BPF_ITER(task_file)
{
    struct task_struct *task = ctx->task;
    struct file *file = ctx->file;
    if (!task || !file)
        return 0;
    PRINT("%d %d %s\\n", task->pid, ctx->fd, (u64)file->f_path.dentry->d_name.name);
    return 0;
}
"""
)


def test_open_files(system):
    task = system.machine.tasks[1]
    task.files[5] = system.machine.files.open("/etc/passwd", 0)
    assert lines(system, FILES, tid=1) == ["1 0 0", "1 1 0", "1 2 0", "1 5 passwd"]


@pytest.mark.kernel
def test_linux_prints_files_so(tmp_path):
    path = tmp_path / "opened"
    path.touch()
    with open(path) as file:
        found = lines(live.kernel(), FILES, tid=os.getpid())
        assert f"{os.getpid()} {file.fileno()} opened" in found


AREAS = (
    PRINT
    + """
BPF_ITER(task_vma)
{
    struct vm_area_struct *area = ctx->vma;
    if (!area || !ctx->task || ctx->task->pid != PID)
        return 0;
    struct file *file = area->vm_file;
    u64 name = file ? (u64)file->f_path.dentry->d_name.name : (u64)ctx->task->comm;
    PRINT("%lx-%lx %d %s\\n", area->vm_start, area->vm_end, area->vm_flags & 7, name);
    return 0;
}
"""
)


def test_memory_areas(system):
    found = lines(system, AREAS.replace("PID", "1"))
    assert found[0] == "400000-410000 5 systemd"
    assert "7f0000200000-7f0000400000 5 libc.so.6" in found
    assert found[-1].startswith("7fffffdff000-7ffffffff000 3 ")


@pytest.mark.kernel
def test_linux_prints_areas_so():
    found = lines(live.kernel(), AREAS.replace("PID", str(os.getpid())))
    shown = Path("/proc/self/maps").read_text().splitlines()
    starts = {line.partition("-")[0] for line in shown}
    assert len(starts & {line.partition("-")[0] for line in found}) > len(starts) * 9 // 10


MAPS = (
    PRINT
    + """
BPF_ITER(bpf_map)
{
    struct bpf_map *map = ctx->map;
    if (map && map->key_size == 4 && map->value_size == 136) {
        PRINT("%s %d %d %d %d ", (u64)map->name, map->map_type, map->key_size, map->value_size,
              map->max_entries);
        PRINT("%x %d %d\\n", map->map_flags, map->refcnt.counter, map->usercnt.counter);
    }
    return 0;
}
"""
)


def map_rows(system) -> list[str]:
    request = MapCreate(MapType.HASH, 4, 136, 9, int(MapFlags.NO_PREALLOC), "many")
    fd = system.bpf(request)
    try:
        return lines(system, MAPS)
    finally:
        system.close(fd)


def test_maps(system):
    assert map_rows(system) == ["many 1 4 136 9 1 2 1"]


@pytest.mark.kernel
def test_linux_prints_maps_so():
    assert map_rows(live.kernel()) == ["many 1 4 136 9 1 2 1"]


PROGRAMS = (
    PRINT
    + """
BPF_ITER(bpf_prog)
{
    struct bpf_prog *prog = ctx->prog;
    if (!prog)
        return 0;
    struct bpf_prog_aux *aux = prog->aux;
    if (prog->expected_attach_type != 28 || !aux->attach_func_name)
        return 0;
    PRINT("%s %d %s %d\\n", (u64)aux->name, prog->type, (u64)aux->attach_func_name,
          prog->gpl_compatible);
    return 0;
}
"""
)
LINKS = (
    PRINT
    + """
BPF_ITER(bpf_link)
{
    struct bpf_link *link = ctx->link;
    if (link && link->type == 4)
        PRINT("%d %d\\n", link->prog->type, link->prog->expected_attach_type);
    return 0;
}
"""
)


def test_programs_and_links(system):
    assert lines(system, PROGRAMS) == ["bpf_prog 26 bpf_iter_bpf_prog 1"]
    assert lines(system, LINKS) == ["26 28"]


@pytest.mark.kernel
def test_linux_prints_programs_and_links_so():
    linux = live.kernel()
    assert "bpf_prog 26 bpf_iter_bpf_prog 1" in lines(linux, PROGRAMS)
    assert "26 28" in lines(linux, LINKS)


SYMBOLS = (
    PRINT
    + """
BPF_ITER(ksym)
{
    struct kallsym_iter *symbol = ctx->ksym;
    if (symbol && symbol->name[1] == 'f' && symbol->name[4] == 'r' && symbol->name[7] == 'd'
        && !symbol->name[8])
        PRINT("%016lx %c %s\\n", symbol->value, symbol->type, (u64)symbol->name);
    return 0;
}
"""
)


def vfs_read(system) -> list[str]:
    rows = bytes(read_file(system, "/proc/kallsyms")).decode().splitlines()
    return [row for row in rows if row.endswith(" vfs_read")]


def test_symbols():
    system = boot.system(boot.Options(engine="jit"))
    assert vfs_read(system) == lines(system, SYMBOLS)


@pytest.mark.kernel
def test_linux_prints_symbols_so():
    assert set(vfs_read(live.kernel())) <= set(lines(live.kernel(), SYMBOLS))


@pytest.mark.parametrize("target", ["tcp", "udp", "unix", "netlink"])
def test_there_are_no_sockets(system, target):
    text = f'{PRINT}BPF_ITER({target}) {{ PRINT("end %d\\n", ctx->meta->seq_num); return 0; }}'
    assert lines(system, text) == ["end 0"]


# --- text that does not fit, and programs that ask for another try

MUCH = """
BPF_ARRAY(state, u32, 2);
BPF_ARRAY(room, char[16000], 1);
BPF_ITER(task)
{
    int zero = 0, one = 1;
    char *text = (char *)room.lookup(&zero);
    u32 *count = state.lookup(&zero), *sum = state.lookup(&one);
    if (!text || !count || !sum || !ctx->task)
        return 0;
    *count += 1;
    text[0] = 'a' + (*count & 7);
    int failed = 0;
    for (int i = 0; i < TIMES; i++)
        failed = bpf_seq_write(ctx->meta->seq, text, 16000);
    *sum = failed;
    return ANSWER;
}
"""


def much(system, times: int, answer: str = "0", **link: int):
    text = MUCH.replace("TIMES", str(times)).replace("ANSWER", answer)
    with iterator(system, text, **link) as fd:
        return outcome(system, fd), outcome(system, fd)


def outcome(system, fd: int) -> tuple[int, bytes] | str:
    try:
        data = system.read(fd, 60000)
        return len(data), data[:1]
    except OSError as error:
        return errno.errorcode[error.errno or 0]


CASES = {
    # times, answer: what two reads give
    (1, "0"): ((16000, b"b"), (0, b"")),
    (2, "0"): ((32000, b"b"), (0, b"")),
    (3, "0"): ("E2BIG", "E2BIG"),
    (1, "1"): ("EAGAIN", "EAGAIN"),
    (1, "*count == 1"): ("EAGAIN", (16000, b"c")),
}


@pytest.mark.parametrize(("times", "answer"), CASES)
def test_text_that_does_not_fit(system, times, answer):
    assert much(system, times, answer, tid=1) == CASES[times, answer]


@pytest.mark.kernel
@pytest.mark.parametrize(("times", "answer"), CASES)
def test_linux_reads_so(times, answer):
    assert much(live.kernel(), times, answer, tid=os.getpid()) == CASES[times, answer]


def test_an_object_that_does_not_fit_comes_with_the_next_read(system):
    text = MUCH.replace("TIMES", "1").replace("ANSWER", "0")
    with iterator(system, text) as fd:
        parts = [system.read(fd, 60000) for _ in range(3)]
    assert [len(part) for part in parts] == [32000, 32000, 0]
    # The third object was run twice: what it wrote first was forgotten.
    assert parts[0][::16000] + parts[1][::16000] == b"bcef"


TYPED = """
BPF_ITER(task)
{
    if (ctx->task)
        return 0;
    struct upid value = { .nr = 5 };
    struct btf_ptr pointer = { .ptr = &value, .type_id = TYPE };
    long failed = bpf_seq_printf_btf(ctx->meta->seq, &pointer, sizeof(pointer), 1);
    return failed ? 1 : 0;
}
"""


def typed(system) -> list[str]:
    number = Btf(read_file(system, "/sys/kernel/btf/vmlinux")).find_id(Kind.STRUCT, "upid")
    return lines(system, TYPED.replace("TYPE", str(number)))


def test_values_by_their_types(system):
    assert typed(system) == ["(struct upid){.nr = (int)5,}"]


@pytest.mark.kernel
def test_linux_prints_values_so():
    assert typed(live.kernel()) == ["(struct upid){.nr = (int)5,}"]


# --- elements of a map

ELEMENT = """
r6 = r1
*(u64 *)(r10 -8) = 0
r7 = *(u64 *)(r6 +16)
if r7 == 0 goto out
r8 = *(u64 *)(r6 +24)
r3 = *(u64 *)(r6 +0)
r1 = r10
r1 += -8
r2 = 8
call probe_read_kernel#113
r1 = *(u64 *)(r10 -8)
r2 = r7
r3 = 4
call seq_write#127
r1 = *(u64 *)(r10 -8)
r2 = r8
r3 = SIZE
call seq_write#127
r1 = *(u32 *)(r8 +0)
r1 += 100
*(u32 *)(r8 +0) = r1
out:
r0 = 0
exit
"""


def elements(system, map: int, size: int) -> bytes:
    target = function_id(system, "bpf_map_elem", AttachType.TRACE_ITER)
    code = encode(assemble(ELEMENT.replace("SIZE", str(size))))
    request = ProgLoad(
        ProgType.TRACING,
        code,
        expected_attach_type=AttachType.TRACE_ITER,
        attach_btf_id=target,
    )
    program = system.bpf(request).fd
    link = system.bpf(LinkCreate(program, 0, AttachType.TRACE_ITER, map_fd=map))
    opened = system.bpf(IterCreate(link))
    try:
        assert system.bpf(LinkGetInfo(link)).type == LinkType.ITER
        return everything(system, opened)
    finally:
        for fd in (opened, link, program):
            system.close(fd)


@pytest.mark.parametrize(
    ("kind", "size"),
    [(MapType.ARRAY, 4), (MapType.HASH, 4), (MapType.LRU_HASH, 4), (MapType.PERCPU_ARRAY, 32)],
)
def test_elements_are_given_and_may_be_changed(system, kind, size, monkeypatch):
    """A verifier that believes everything: ours does not yet follow an iterator's buffers."""
    monkeypatch.setattr(programs, "verify", accept)
    map = system.bpf(MapCreate(kind, 4, 4, 2))
    unit = 8 * system.machine.cpus if kind == MapType.PERCPU_ARRAY else 4
    for number in range(2):
        value = (7 + number).to_bytes(unit, "little")
        system.bpf(MapUpdate(map, number.to_bytes(4, "little"), value))
    rows = elements(system, map, size)
    pitch = 4 + size
    assert {rows[at : at + 8] for at in range(0, len(rows), pitch)} == {
        bytes.fromhex("00000000 07000000"),
        bytes.fromhex("01000000 08000000"),
    }
    assert len(rows) == 2 * pitch
    first = system.bpf(MapLookup(map, bytes(4)))[:4]
    assert first[0] == (7 if kind == MapType.PERCPU_ARRAY else 107)
    system.close(map)


REFUSED = {
    "no map": (lambda system: {}, errno.EBADF),
    "a queue": (
        lambda system: {"map_fd": system.bpf(MapCreate(MapType.QUEUE, 0, 4, 2))},
        errno.EINVAL,
    ),
    "flags": (lambda system: {"flags": 1}, errno.EINVAL),
    "a target": (lambda system: {"target_fd": 1}, errno.EINVAL),
}


def refusal(system, options) -> int | None:
    given = options(system)
    target = function_id(system, "bpf_map_elem", AttachType.TRACE_ITER)
    code = encode(assemble("r0 = 0\nexit"))
    kind = AttachType.TRACE_ITER
    request = ProgLoad(ProgType.TRACING, code, expected_attach_type=kind, attach_btf_id=target)
    fd = system.bpf(request).fd
    try:
        with pytest.raises(OSError) as caught:
            system.bpf(LinkCreate(fd, **{"target_fd": 0, "attach_type": kind, **given}))
        return caught.value.errno
    finally:
        for opened in {fd, given.get("map_fd", fd)}:
            system.close(opened)


@pytest.mark.parametrize("name", REFUSED)
def test_links_that_are_refused(name):
    options, error = REFUSED[name]
    assert refusal(boot.system(boot.Options()), options) == error


@pytest.mark.kernel
@pytest.mark.parametrize("name", REFUSED)
def test_linux_refuses_them_so(name):
    options, error = REFUSED[name]
    assert refusal(live.kernel(), options) == error


def test_only_iterators_are_opened(system):
    fd = system.bpf(MapCreate(MapType.ARRAY, 4, 4, 1))
    with pytest.raises(OSError) as caught:
        system.bpf(IterCreate(fd))
    assert caught.value.errno == errno.EINVAL
