"""Files that Linux makes up when they are read, as far as they say nothing of BPF.

Tables from path to function: what a kernel's data alone say, and what takes a machine. BPF's own
files (trace_pipe, the PMU types) belong to the kernel above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.machine.kerneldata import KernelData
    from minibcc.machine.machine import Machine

TRACEFS = ("/sys/kernel/tracing/", "/sys/kernel/debug/tracing/")
"""Where tracefs is mounted."""


def read(machine: Machine, path: str) -> bytes | memoryview:
    """The whole content. Raises FileNotFoundError."""
    made = FILES.get(path)
    return read_data(machine.data, path) if made is None else made(machine)


def read_data(data: KernelData, path: str) -> bytes | memoryview:
    """The whole content of a file that needs no machine. Raises FileNotFoundError."""
    for place in TRACEFS:
        if path.startswith(place):
            return data.tracefs.read(path.removeprefix(place))
    made = DATA_FILES.get(path)
    if made is None:
        raise FileNotFoundError(2, "No such file or directory", path)
    return made(data)


def listdir(data: KernelData, path: str) -> list[str]:
    """The names in a directory, sorted. Raises FileNotFoundError."""
    folder = path.rstrip("/") + "/"
    for place in TRACEFS:
        if folder.startswith(place):
            return data.tracefs.listdir(folder.removeprefix(place).rstrip("/"))
    names = {
        file.removeprefix(folder).partition("/")[0]
        for file in (*DATA_FILES, *FILES, *(place + "." for place in TRACEFS))
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


DATA_FILES: dict[str, Callable[[KernelData], bytes | memoryview]] = {
    "/sys/kernel/btf/vmlinux": lambda data: data.btf_bytes,
    "/proc/kallsyms": lambda data: data.kallsyms(),
    "/proc/sys/kernel/osrelease": lambda data: data.release.encode() + b"\n",
    "/sys/kernel/debug/kprobes/blacklist": lambda data: b"",
}

FILES: dict[str, Callable[[Machine], bytes | memoryview]] = {
    "/proc/uptime": _uptime,
    "/sys/devices/system/cpu/online": _cpus,
    "/sys/devices/system/cpu/possible": _cpus,
    "/sys/devices/system/cpu/present": _cpus,
}


class DataFiles:
    """The files of a kernel that nobody runs, behind descriptors: its data, read in a moment."""

    def __init__(self, data: KernelData) -> None:
        self._data = data
        self._opened: dict[int, memoryview] = {}

    def open(self, path: str, flags: int = 0) -> int:
        """Raises FileNotFoundError."""
        fd = max(self._opened, default=2) + 1
        self._opened[fd] = memoryview(read_data(self._data, path))
        return fd

    def read(self, fd: int, size: int) -> bytes:
        rest = self._opened[fd]
        self._opened[fd] = rest[size:]
        return bytes(rest[:size])

    def listdir(self, path: str) -> list[str]:
        """Raises FileNotFoundError."""
        return listdir(self._data, path)

    def close(self, fd: int) -> None:
        del self._opened[fd]
