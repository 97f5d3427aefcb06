"""Scenarios: what the simulated machine's processes do.

A scenario is a function that starts behaviours on a machine; a behaviour is a generator (see
`scheduler`). Everything random comes from the machine's seeded source. `SCENARIOS` is the table
that ``--scenario`` chooses from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from minibcc.machine.scheduler import Sleep, Wait, Work

if TYPE_CHECKING:
    from minibcc.machine.machine import Machine
    from minibcc.machine.process import Process
    from minibcc.machine.scheduler import Behaviour

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000

Scenario: TypeAlias = Callable[["Machine"], None]

PAGES = (
    "/var/www/html/index.html",
    "/var/www/html/style.css",
    "/var/www/html/missing.png",
)
MISSING = ("/usr/lib/python3.11/missing.py", "/var/www/html/missing.png", "/etc/locale.alias")
"""Paths that somebody asks for in vain."""

LIBRARIES = ("/etc/ld.so.cache", "/lib/x86_64-linux-gnu/libc.so.6")
"""What the dynamic linker opens before main() runs."""

COMMANDS: dict[str, tuple[str, ...]] = {
    "ls": ("/proc/filesystems", "/etc/locale.alias", "."),
    "cat": ("/etc/hostname",),
    "grep": ("/etc/passwd", "/etc/group"),
    "ps": ("/proc/self/stat", "/proc/uptime", "/proc/meminfo", "/proc/1/stat", "/proc/1/status"),
    "date": ("/etc/localtime",),
    "id": ("/etc/nsswitch.conf", "/etc/passwd", "/etc/group"),
    "python3": (
        "/usr/lib/python3.11/os.py",
        "/usr/lib/python3.11/site.py",
        "/usr/lib/python3.11/missing.py",
    ),
}
"""Files that a short command opens after its libraries."""
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "ls": ("--color=auto",),
    "cat": ("/etc/hostname",),
    "grep": ("root", "/etc/passwd", "/etc/group"),
    "ps": ("-ef",),
    "python3": ("-c", "import missing"),
}
"""What a short command is called with."""


def shell(machine: Machine) -> None:
    """Somebody types commands; cron and the journal work beside it. About ten seconds."""
    init = machine.new_task("systemd", executable="/usr/lib/systemd/systemd")
    journal = machine.new_task("systemd-journal", parent=init)
    cron = machine.new_task("cron", parent=init)
    bash = machine.new_task("bash", parent=init, executable="/bin/bash", uid=1000)
    machine.start(init, lambda process: _idle(process, 10 * SECOND))
    machine.start(bash, _typing)
    machine.start(journal, lambda process: _journal(process, 5))
    machine.start(cron, _cron)


def web(machine: Machine) -> None:
    """A web server answers requests from files and a database. About five seconds."""
    init = machine.new_task("systemd", executable="/usr/lib/systemd/systemd")
    for number in range(2):
        worker = machine.new_task("nginx", parent=init, uid=33)
        machine.start(worker, _web_worker(number))
    database = machine.new_task("postgres", parent=init, uid=114)
    machine.start(database, _database)


def build(machine: Machine) -> None:
    """make compiles eight files, two at a time. About four seconds."""
    init = machine.new_task("systemd", executable="/usr/lib/systemd/systemd")
    make = machine.new_task("make", parent=init, uid=1000)
    machine.start(make, _make)


SCENARIOS: dict[str, Scenario] = {"shell": shell, "web": web, "build": build}


def furnish(machine: Machine) -> None:
    """Puts on the disk what the scenarios' processes look for."""
    add = machine.files.add
    add(*LIBRARIES, *PAGES, *(f"/bin/{name}" for name in COMMANDS))
    add(*(path for paths in COMMANDS.values() for path in paths))
    add("/etc/crontab", "/proc/1/cgroup", "/usr/bin/cc", "Makefile")
    add("/usr/include/stdio.h", "/usr/include/stdlib.h", size=30_000)
    add(*(f"/proc/{pid}/comm" for pid in range(1, 12)), size=16)
    add(*(f"/var/lib/postgresql/base/5/{number}" for number in range(1200, 1220)), size=8192)
    add(*(f"src/{name}.c" for name in ("link", *(f"file{n}" for n in range(8)))))
    for path in MISSING:
        machine.files.remove(path)


def _command(name: str) -> Callable[[Process], Behaviour]:
    """A short-lived command: exec, libraries, its files, some work, exit."""

    def behaviour(process: Process) -> Behaviour:
        yield Work(process.random.randrange(50, 200) * MICROSECOND)
        process.execve(f"/bin/{name}", *ARGUMENTS.get(name, ()))
        for library in LIBRARIES:
            process.look_at(library, size=832)
            yield Work(process.random.randrange(20, 120) * MICROSECOND)
        for path in COMMANDS[name]:
            process.look_at(path)
            yield Work(process.random.randrange(100, 900) * MICROSECOND)
        process.write(1, process.random.randrange(20, 400))
        process.exit(0)

    return behaviour


def _typing(process: Process) -> Behaviour:
    names = sorted(COMMANDS)
    for _ in range(8):
        yield Sleep(process.random.randrange(300, 1_500) * MILLISECOND)
        child = process.fork(_command(process.random.choice(names)))
        yield Wait(child)
    process.exit(0)


def _journal(process: Process, times: int) -> Behaviour:
    for _ in range(times):
        yield Sleep(process.random.randrange(1_200, 2_400) * MILLISECOND)
        process.look_at(f"/proc/{process.random.randrange(1, 20)}/comm", "/proc/1/cgroup")
        process.write(4, process.random.randrange(80, 600))


def _cron(process: Process) -> Behaviour:
    for _ in range(2):
        yield Sleep(4 * SECOND)
        process.look_at("/etc/crontab", "/var/spool/cron/crontabs/root")


def _idle(process: Process, ns: int) -> Behaviour:
    yield Sleep(ns)


def _web_worker(number: int) -> Callable[[Process], Behaviour]:
    def behaviour(process: Process) -> Behaviour:
        yield Sleep(number * 7 * MILLISECOND)
        for _ in range(40):
            yield Sleep(process.random.randrange(20, 200) * MILLISECOND)
            process.read(3, 512)
            process.look_at(process.random.choice(PAGES), size=65536)
            yield Work(process.random.randrange(100, 600) * MICROSECOND)
            process.write(3, process.random.randrange(300, 9_000))

    return behaviour


def _database(process: Process) -> Behaviour:
    for _ in range(60):
        yield Sleep(process.random.randrange(10, 150) * MILLISECOND)
        process.look_at(f"/var/lib/postgresql/base/5/{process.random.randrange(1200, 1220)}")
        yield Work(process.random.randrange(200, 2_000) * MICROSECOND)


def _make(process: Process) -> Behaviour:
    process.look_at(*LIBRARIES, "Makefile")
    for first in range(0, 8, 2):
        children = [process.fork(_compiler(f"file{n}")) for n in (first, first + 1)]
        for child in children:
            yield Wait(child)
    process.fork(_compiler("link"))
    yield Sleep(200 * MILLISECOND)
    process.exit(0)


def _compiler(name: str) -> Callable[[Process], Behaviour]:
    def behaviour(process: Process) -> Behaviour:
        process.execve("/usr/bin/cc", "-c", f"src/{name}.c", comm="cc1")
        process.look_at(
            *LIBRARIES, f"src/{name}.c", "/usr/include/stdio.h", "/usr/include/stdlib.h"
        )
        yield Work(process.random.randrange(200, 900) * MILLISECOND)
        fd = process.open(f"build/{name}.o", 0o101, 0o644)
        process.write(fd, process.random.randrange(2_000, 40_000))
        process.close(fd)
        process.exit(0)

    return behaviour
