"""What watchers find in events: memory, stacks, switches, samples, structures behind pointers."""

from __future__ import annotations

import struct
from collections import Counter

import pytest

from minibcc.btf.types import Struct
from minibcc.machine.calls import PT_REGS
from minibcc.machine.hooks import Event, Point
from minibcc.machine.linux618 import Linux618
from minibcc.machine.machine import UPTIME, Machine
from minibcc.machine.memory import BadAddress
from minibcc.machine.sampling import SHORTEST, nanoseconds
from minibcc.machine.scenario import ARGUMENTS, SCENARIOS
from minibcc.machine.scheduler import Sleep, Wait, Work
from minibcc.machine.structures import locate
from minibcc.machine.tasks import TASK_DEAD, TASK_INTERRUPTIBLE
from tests.machine.test_machine import record

DATA = Linux618()
MILLISECOND = 1_000_000
EVERYWHERE = (
    *(Point("kprobe", name) for name in ("vfs_read", "schedule", "finish_task_switch", "do_exit")),
    *(Point("raw_tracepoint", name) for name in ("sched_switch", "sys_enter", "sched_wakeup")),
    *(Point("tracepoint", f"sched:{name}") for name in ("sched_switch", "sched_process_exec")),
    Point("perf", "1:0", 50 * MILLISECOND),
    Point("perf", "0:0", 7_777_777),
)


def machine_of(scenario: str = "shell", **options: object) -> Machine:
    return Machine(DATA, scenario=scenario, **options)  # type: ignore[arg-type]  # each by its name


def member(machine: Machine, address: int, struct_name: str, path: str) -> int:
    """An unsigned number behind a pointer, as a program reads it."""
    type = machine.type(struct_name)
    assert isinstance(type, Struct)
    found = locate(type, path)
    assert found is not None, (struct_name, path)
    from minibcc.btf.types import size_of

    content = machine.read_kernel(address + found[1] // 8, size_of(found[0].type))
    return int.from_bytes(content, "little")


def text(machine: Machine, address: int) -> str:
    """A C string in kernel memory."""
    return machine.read_kernel(address, 40).partition(b"\0")[0].decode()


def names(event: Event) -> list[str]:
    """The functions of a kernel stack."""
    found = [DATA.symbols.resolve(address) for address in event.kernel_stack]
    return [place[0] if place else "?" for place in found]


# --- that looking changes nothing ------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_activity_does_not_depend_on_who_watches(scenario):
    def history(watched: tuple[Point, ...], look: bool) -> list[object]:
        machine = machine_of(scenario)
        events = record(machine, Point("kprobe", "do_sys_openat2"))
        for point in watched:
            machine.hooks.attach(
                point,
                lambda event: machine.read_kernel(event.task.address, 8) and None if look else None,
            )
        machine.advance(None)
        return [(e.time, e.cpu, e.task.pid, e.registers, e.kernel_stack) for e in events]

    alone = history((), look=False)
    assert alone
    assert history(EVERYWHERE, look=True) == alone


# --- arguments in memory ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "point", [Point("kprobe", "__x64_sys_execve"), Point("tracepoint", "syscalls:sys_enter_execve")]
)
def test_execve_shows_its_arguments(point):
    machine = machine_of()
    seen: list[tuple[str, ...]] = []
    places: list[tuple[Event, int]] = []

    def pointers(event: Event) -> tuple[int, int]:
        if event.fields:
            return event.fields["filename"], event.fields["argv"]
        saved = machine.read_kernel(event.registers["di"], 168)
        registers = dict(zip(PT_REGS, struct.unpack("<21Q", saved), strict=True))
        return registers["di"], registers["si"]

    def look(event: Event) -> None:
        def string(address: int) -> str:
            # Tools read more than there is.
            return machine.read_user(event.task, address, 128).partition(b"\0")[0].decode()

        filename, argv = pointers(event)
        places.extend((event, address) for address in (filename, argv))
        argument = list(iter_pointers(machine, event, argv))
        assert string(argument[0]) == string(filename)
        seen.append(tuple(map(string, argument)))

    machine.hooks.attach(point, look)
    machine.advance(None)
    assert seen
    for program, *arguments in seen:
        assert tuple(arguments) == ARGUMENTS.get(program.removeprefix("/bin/"), ())
    for event, address in places:
        with pytest.raises(BadAddress):
            machine.read_user(event.task, address, 1)


def iter_pointers(machine: Machine, event: Event, argv: int):
    while pointer := int.from_bytes(machine.read_user(event.task, argv, 8), "little"):
        yield pointer
        argv += 8


def test_the_arguments_stay_in_the_program():
    machine = machine_of()
    seen = []

    def look(event: Event) -> None:
        memory = member(machine, event.task.address, "task_struct", "mm")
        start, end = (
            member(machine, memory, "mm_struct", f"arg_{edge}") for edge in ("start", "end")
        )
        block = machine.read_user(event.task, start, end - start)
        seen.append(tuple(block.decode().split("\0")[:-1]) == event.task.argv)

    machine.hooks.attach(Point("tracepoint", "sched:sched_process_exec"), look)
    machine.advance(None)
    assert seen and all(seen)


# --- stacks -----------------------------------------------------------------------------------

SYSCALL = ["x64_sys_call", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"]


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (Point("kprobe", "__x64_sys_openat"), ["__x64_sys_openat", *SYSCALL]),
        (Point("kretprobe", "__x64_sys_openat"), SYSCALL),
        (
            Point("kprobe", "vfs_read"),
            ["vfs_read", "ksys_read", "__x64_sys_read", *SYSCALL],
        ),
        (Point("tracepoint", "syscalls:sys_enter_openat"), SYSCALL[1:]),
    ],
)
def test_a_kernel_stack_is_the_way_there(point, expected):
    machine = machine_of()
    events = record(machine, point)
    machine.advance(None)
    assert events
    for event in events:
        assert names(event) == expected
        assert len(event.user_stack) == 5
        assert all(address < 1 << 47 for address in event.user_stack)
        if point.kind == "kprobe":
            assert event.kernel_stack[0] == event.registers["ip"] == DATA.address_of(point.name)
    assert len({event.kernel_stack for event in events}) == 1
    assert len({event.user_stack for event in events}) > 1


# --- the scheduler ----------------------------------------------------------------------------


def test_switches_follow_each_other_on_each_processor():
    machine = machine_of("build", cpus=2)
    events = record(machine, Point("tracepoint", "sched:sched_switch"))
    raw = record(machine, Point("raw_tracepoint", "sched_switch"))
    machine.advance(None)
    on = {0: 0, 1: 0}
    assert len(raw) == len(events) > 30
    for event, twin in zip(events, raw, strict=True):
        fields = event.fields
        assert fields["prev_pid"] == on[event.cpu] == event.task.pid
        assert fields["next_pid"] != fields["prev_pid"]
        on[event.cpu] = fields["next_pid"]
        preempt, before, after, _ = twin.arguments
        assert preempt == 0 and before == event.task.address
        assert member(machine, after, "task_struct", "pid") == fields["next_pid"]
    assert on == {0: 0, 1: 0}
    states = Counter(twin.arguments[3] for twin in raw if twin.task.pid)
    assert states[TASK_INTERRUPTIBLE] and states[TASK_DEAD]


def test_a_waking_task_waits_for_a_busy_processor():
    machine = machine_of(cpus=1, duration=50 * MILLISECOND)
    events = record(
        machine,
        Point("tracepoint", "sched:sched_wakeup"),
        Point("tracepoint", "sched:sched_switch"),
    )

    def sleeper(process):
        yield Sleep(10 * MILLISECOND)
        yield Sleep(1 * MILLISECOND)

    def worker(process):
        yield Work(30 * MILLISECOND)

    sleeping = machine.new_task("sleeper")
    working = machine.new_task("worker")
    machine.start(sleeping, sleeper)
    machine.start(working, worker)
    machine.advance(None)
    woken = next(e for e in events if e.fields.get("pid") == sleeping.pid)
    runs = [e for e in events if e.fields.get("next_pid") == sleeping.pid]
    assert (woken.time - UPTIME, woken.task) == (10 * MILLISECOND, working)
    assert [event.time - UPTIME for event in runs[:2]] == [0, 30 * MILLISECOND]
    assert names(runs[1])[:2] == ["__schedule", "schedule"]
    assert runs[1].fields["prev_state"] == 0 and runs[1].fields["prev_comm"] == "worker"


def test_a_task_sleeps_in_its_system_call():
    machine = machine_of()
    leaving = record(machine, Point("kprobe", "schedule"))
    coming = record(machine, Point("kprobe", "finish_task_switch"))
    calls = record(machine, Point("tracepoint", "syscalls:sys_enter_clock_nanosleep"))
    machine.advance(None)
    assert len(calls) > 10
    ways = {tuple(names(event)) for event in leaving}
    ends = tuple(SYSCALL)
    assert (
        "schedule",
        "do_nanosleep",
        "hrtimer_nanosleep",
        "__x64_sys_clock_nanosleep",
        *ends,
    ) in ways
    assert ("schedule", "do_wait", "kernel_wait4", "__x64_sys_wait4", *ends) in ways
    assert {event.task.pid for event in coming} >= {event.task.pid for event in leaving}
    before = {member(machine, event.registers["di"], "task_struct", "pid") for event in coming}
    assert before >= {0, 303, 304}


def test_lives_of_processes():
    machine = machine_of()
    kinds = ("sched_process_fork", "sched_wakeup_new", "sched_process_exec", "sched_process_exit")
    events = record(machine, *(Point("tracepoint", f"sched:{kind}") for kind in kinds))
    raw = record(machine, Point("raw_tracepoint", "sched_process_exec"))
    machine.advance(None)
    lives: dict[int, list[str]] = {}
    for event in events:
        pid = event.fields.get("child_pid") or event.fields["pid"]
        lives.setdefault(pid, []).append(event.point.name.partition(":")[2])
    assert list(kinds) in lives.values()
    assert all(life == list(kinds)[: len(life)] or life == [kinds[3]] for life in lives.values())
    executed = [event for event in events if event.point.name.endswith("exec")]
    assert {event.fields["filename"] for event in executed} >= {"/bin/cat", "/bin/ls"}
    # The last argument leads to the program's name while the task is that program.
    assert len(raw) == len(executed)
    # Who never exits stays: it sleeps.
    assert {"systemd", "cron"} <= {task.comm for task in machine.tasks.values()}
    assert all(task.state == TASK_INTERRUPTIBLE for task in machine.tasks.values())


def test_a_parent_goes_on_when_its_child_has_exited():
    machine = machine_of(cpus=1, duration=50 * MILLISECOND)
    events = record(machine, Point("tracepoint", "sched:sched_wakeup"))
    order = []

    def child(process):
        yield Work(2 * MILLISECOND)
        order.append("child")
        process.exit(3)

    def parent(process):
        yield Wait(process.fork(child, "child"))
        order.append("parent")
        process.exit(0)

    machine.start(task := machine.new_task("parent"), parent)
    machine.advance(None)
    assert order == ["child", "parent"]
    woken = next(event for event in events if event.fields["pid"] == task.pid)
    assert woken.task.comm == "child" and "do_exit" in names(woken)


# --- clocks -----------------------------------------------------------------------------------


def test_a_clock_ticks_on_each_processor():
    machine = machine_of("build", cpus=2)
    ticks = record(machine, Point("perf", "1:0", 10 * MILLISECOND))
    machine.advance(UPTIME + 2_000 * MILLISECOND)
    assert [event.time % (10 * MILLISECOND) for event in ticks] == [0] * len(ticks)
    assert Counter(event.cpu for event in ticks) == {0: 200, 1: 200}
    busy = Counter(event.task.comm for event in ticks)
    assert busy["cc1"] > 100 and busy["swapper/0"] + busy["swapper/1"] > 0
    for event in ticks:
        if event.task.comm == "cc1":
            assert event.registers["ip"] == event.user_stack[0] and event.kernel_stack == ()
        if event.task.pid == 0:
            assert names(event)[-1] == "cpu_startup_entry" and event.user_stack == ()


def test_a_counter_counts_while_a_processor_is_busy():
    machine = machine_of()
    counted = record(machine, Point("perf", "0:2", nanoseconds("0:2", 100)))
    machine.advance(UPTIME + 2_000 * MILLISECOND)
    assert counted and all(event.task.pid for event in counted)
    in_kernel = [event for event in counted if event.kernel_stack]
    assert any("do_sys_openat2" in names(event) for event in in_kernel)
    assert nanoseconds("0:0", 3_000_000) == MILLISECOND
    assert nanoseconds("0:0", 1) == SHORTEST


def test_a_clock_without_period_never_fires():
    machine = machine_of()
    ticks = record(machine, Point("perf", "1:0"))
    machine.advance(None)
    assert ticks == []


def test_a_clock_stops_with_its_watcher():
    machine = machine_of()
    detach = machine.hooks.attach(Point("perf", "1:0", MILLISECOND), lambda event: None)
    assert machine.hooks.sampled and machine.hooks.names
    detach()
    assert not machine.hooks.sampled and not machine.hooks.names


# --- structures -------------------------------------------------------------------------------


def test_a_task_leads_to_its_parent_credentials_and_namespaces():
    machine = machine_of()
    seen = []

    def look(event: Event) -> None:
        def task(path: str, address: int = event.task.address) -> int:
            return member(machine, address, "task_struct", path)

        parent = event.task.parent
        assert parent is not None
        assert task("tgid", task("real_parent")) == parent.tgid
        assert task("tgid", task("real_parent", task("real_parent"))) == 1
        assert member(machine, task("cred"), "cred", "uid.val") == event.task.uid == 1000
        proxy = task("nsproxy")
        for struct_name, link, number in (
            ("mnt_namespace", "mnt_ns", 4026531832),
            ("pid_namespace", "pid_ns_for_children", 4026531836),
            ("uts_namespace", "uts_ns", 4026531838),
            ("net", "net_ns", 4026531833),
        ):
            there = member(machine, proxy, "nsproxy", link)
            assert member(machine, there, struct_name, "ns.inum") == number
        pid = task("thread_pid")
        level = member(machine, pid, "pid", "level")
        assert level == 0
        type = machine.type("pid")
        assert isinstance(type, Struct)
        number, _, space = struct.unpack("<IIQ", machine.read_kernel(pid + type.size, 16))
        assert number == event.task.pid
        assert member(machine, space, "pid_namespace", "ns.inum") == 4026531836
        node = member(
            machine, member(machine, task("cgroups"), "css_set", "dfl_cgrp"), "cgroup", "kn"
        )
        assert member(machine, node, "kernfs_node", "id") == event.task.cgroup_id
        seen.append(event.task.comm)

    machine.hooks.attach(Point("kprobe", "bprm_execve"), look)
    machine.advance(None)
    assert len(seen) == 8


def test_the_dead_can_still_be_read():
    machine = machine_of()
    ended = record(machine, Point("tracepoint", "sched:sched_process_exit"))
    machine.advance(None)
    for event in ended:
        assert event.task.pid not in machine.tasks
        assert member(machine, event.task.address, "task_struct", "pid") == event.task.pid
        assert machine.task_at(event.task.address) is event.task


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_file_leads_to_its_name(scenario):
    machine = machine_of(scenario)
    seen: set[tuple[str, str, str]] = set()

    def look(event: Event) -> None:
        file = event.registers["di"]
        dentry = member(machine, file, "file", "f_path.dentry")
        name = text(machine, member(machine, dentry, "dentry", "d_name.name"))
        assert len(name) == member(machine, dentry, "dentry", "d_name.len")
        parent = member(machine, dentry, "dentry", "d_parent")
        folder = text(machine, member(machine, parent, "dentry", "d_name.name"))
        inode = member(machine, file, "file", "f_inode")
        assert inode == member(machine, dentry, "dentry", "d_inode")
        assert member(machine, inode, "inode", "i_mode") & 0o170000 in (0o100000, 0o020000)
        assert member(machine, inode, "inode", "i_ino")
        block = member(machine, inode, "inode", "i_sb")
        assert block == member(machine, dentry, "dentry", "d_sb")
        kind = member(machine, block, "super_block", "s_type")
        mount = member(machine, file, "file", "f_path.mnt")
        assert member(machine, mount, "vfsmount", "mnt_sb") == block
        operations = member(machine, file, "file", "f_op")
        assert member(machine, operations, "file_operations", "read_iter")
        seen.add((text(machine, member(machine, kind, "file_system_type", "name")), folder, name))

    for function in ("vfs_read", "vfs_write"):
        machine.hooks.attach(Point("kprobe", function), look)
    machine.advance(None)
    expected = {
        "shell": {
            ("ext4", "etc", "hostname"),
            ("proc", "proc", "filesystems"),
            ("devpts", "pts", "0"),
        },
        "web": {("ext4", "html", "index.html")},
        "build": {("ext4", "build", "file0.o"), ("ext4", "/", "Makefile")},
    }
    assert expected[scenario] <= seen


def test_a_transfer_has_a_kiocb():
    machine = machine_of()
    files = []

    def look(event: Event) -> None:
        transfer = event.registers["di"]
        file = member(machine, transfer, "kiocb", "ki_filp")
        position = member(machine, transfer, "kiocb", "ki_pos")
        assert position == member(machine, file, "file", "f_pos") == 0
        files.append(file)

    machine.hooks.attach(Point("kprobe", "ext4_file_read_iter"), look)
    machine.advance(None)
    assert len(set(files)) > 10


def test_what_is_not_there_cannot_be_read():
    machine = machine_of()
    task = machine.idle[0].address
    for address in (
        task + 0x4000 * 4,
        task - 8,
        0xFFFF_8887_0000_0000 + (1 << 31),
        0x1000,
        1 << 63,
    ):
        with pytest.raises(BadAddress):
            machine.read_kernel(address, 8)


def test_an_injected_result_keeps_the_body_from_running():
    machine = machine_of()
    machine.hooks.attach(Point("kprobe", "__x64_sys_openat"), lambda event: -12)
    deeper = record(machine, Point("kprobe", "do_sys_openat2"))
    results = record(machine, Point("tracepoint", "syscalls:sys_exit_openat"))
    machine.advance(None)
    assert deeper == [] and {event.fields["ret"] for event in results} == {-12}
