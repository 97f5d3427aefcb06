"""Files that Linux makes up when they are read, as far as they say nothing of BPF.

A table from path to function; a path that ends in ``/`` stands for all below it, whose rest the
function gets. BPF's own files (trace_pipe, the PMU types) belong to the kernel above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.machine.machine import Machine

TRACEFS = ("/sys/kernel/tracing/", "/sys/kernel/debug/tracing/")
"""Where tracefs is mounted."""


def read(machine: Machine, path: str) -> bytes | memoryview:
    """The whole content. Raises FileNotFoundError."""
    for place in TRACEFS:
        if path.startswith(place):
            return machine.data.tracefs.read(path.removeprefix(place))
    made = FILES.get(path)
    if made is None:
        raise FileNotFoundError(2, "No such file or directory", path)
    return made(machine)


def listdir(machine: Machine, path: str) -> list[str]:
    """The names in a directory, sorted. Raises FileNotFoundError."""
    folder = path.rstrip("/") + "/"
    for place in TRACEFS:
        if folder.startswith(place):
            return machine.data.tracefs.listdir(folder.removeprefix(place).rstrip("/"))
    names = {
        file.removeprefix(folder).partition("/")[0]
        for file in (*FILES, *(place + "." for place in TRACEFS))
        if file.startswith(folder)
    }
    if not names:
        raise FileNotFoundError(2, "No such file or directory", path)
    return sorted(names)


def _cpus(machine: Machine) -> bytes:
    return b"0\n" if machine.cpus == 1 else f"0-{machine.cpus - 1}\n".encode()


def _uptime(machine: Machine) -> bytes:
    seconds = machine.now() / 1e9
    return f"{seconds:.2f} {seconds * machine.cpus * 0.9:.2f}\n".encode()


FILES: dict[str, Callable[[Machine], bytes | memoryview]] = {
    "/sys/kernel/btf/vmlinux": lambda machine: machine.data.btf_bytes,
    "/proc/kallsyms": lambda machine: machine.data.kallsyms(),
    "/proc/sys/kernel/osrelease": lambda machine: machine.data.release.encode() + b"\n",
    "/proc/uptime": _uptime,
    "/sys/devices/system/cpu/online": _cpus,
    "/sys/devices/system/cpu/possible": _cpus,
    "/sys/devices/system/cpu/present": _cpus,
    "/sys/kernel/debug/kprobes/blacklist": lambda machine: b"",
}
