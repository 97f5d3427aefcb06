"""Perf events with programs on them: the mechanism below class BPF's attach calls.

A kprobe is a perf event: its type is what /sys/bus/event_source/devices/kprobe/type says, the
function's name goes into the attributes, and an ioctl binds the program to it. Uprobes, tracepoints
and sampling are perf events too; raw tracepoints, fentry, fexit and LSM hooks are one bpf(2) call.

Mirrors: libbcc's libbpf.c (bpf_attach_kprobe and its kin).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from minibcc.abi.perf import PerfEventAttr, PerfIoctl, PerfSample, PerfType
from minibcc.abi.requests import RawTracepointOpen
from minibcc.bcc.symbols import tracefs
from minibcc.bcc.utils import to_text
from minibcc.errors import AttachError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from minibcc.bcc.loader import Module
    from minibcc.system.interface import System

DEFAULT_PROBE_LIMIT = 1000

_open_probes = 0


def _get_num_open_probes() -> int:
    """How many kprobes and uprobes this process has open (BCC's tests ask)."""
    return _open_probes


class Function:
    """A loaded program: its object, its name and its descriptor."""

    def __init__(self, bpf: Any, name: bytes, fd: int) -> None:
        self.bpf = bpf
        self.name = name
        self.fd = fd
        self.sock = -1


class PerfProbes:
    """Programs on perf events; each call answers the event's descriptor, or raises OSError."""

    def __init__(self, system: System) -> None:
        self._system = system

    def probe(
        self, prog_fd: int, kind: str, target: str, offset: int, at_return: bool, pid: int = -1
    ) -> int:
        """`kind` is "kprobe" or "uprobe"; `target` a kernel function or a file."""
        device = f"/sys/bus/event_source/devices/{kind}"
        attr = PerfEventAttr(
            type=int(self._line(f"{device}/type")),
            config=1 << self._return_bit(device) if at_return else 0,
            target=target,
            offset=offset,
            sample_period=1,
            wakeup_events=1,
        )
        # One event covers all CPUs, or, for a process's uprobe, wherever that process runs.
        return self._bind(attr, prog_fd, pid, -1 if pid > 0 else 0)

    def tracepoint(self, prog_fd: int, category: str, event: str) -> int:
        number = self._line(f"{tracefs(self._system)}/events/{category}/{event}/id")
        attr = PerfEventAttr(
            type=PerfType.TRACEPOINT,
            config=int(number),
            sample_type=PerfSample.RAW | PerfSample.CALLCHAIN,
            sample_period=1,
            wakeup_events=1,
        )
        return self._bind(attr, prog_fd, -1, 0)

    def sampling(self, prog_fd: int, attr: PerfEventAttr, pid: int, cpu: int, group_fd: int) -> int:
        return self._bind(attr, prog_fd, pid, cpu, group_fd)

    def _line(self, path: str) -> str:
        """A short file, read the way the C library reads it."""
        fd = self._system.open(path, os.O_RDONLY)
        try:
            return self._system.read(fd, 4096).decode().strip()
        finally:
            self._system.close(fd)

    def _return_bit(self, device: str) -> int:
        """Which bit of `config` says "at the return": ``config:0``."""
        return int(self._line(f"{device}/format/retprobe").partition(":")[2] or 0)

    def _bind(
        self, attr: PerfEventAttr, prog_fd: int, pid: int, cpu: int, group_fd: int = -1
    ) -> int:
        fd = self._system.perf_event_open(attr, pid, cpu, group_fd)
        try:
            self._system.ioctl(fd, PerfIoctl.SET_BPF, prog_fd)
            self._system.ioctl(fd, PerfIoctl.ENABLE, 0)
        except BaseException:
            self._system.close(fd)
            raise
        return fd


class Attaching:
    """What the attach calls of class BPF have in common: its tables of what is open (tools count
    them), and how things get in and out of them."""

    if TYPE_CHECKING:
        system: System

        def _loaded(self) -> Module: ...

        def load_func(
            self, func_name: str | bytes, prog_type: int, device: Any = None, attach_type: int = -1
        ) -> Function: ...

    def _open_tables(self) -> None:
        self.kprobe_fds: dict[bytes, dict[bytes, int]] = {}
        self.uprobe_fds: dict[bytes, int] = {}
        self.tracepoint_fds: dict[bytes, int] = {}
        self.raw_tracepoint_fds: dict[bytes, int] = {}
        self.kfunc_entry_fds: dict[bytes, int] = {}
        self.kfunc_exit_fds: dict[bytes, int] = {}
        self.lsm_fds: dict[bytes, int] = {}
        self.open_perf_events: dict[tuple[int, int], dict[int, int]] = {}
        self._probes = PerfProbes(self.system)

    def _each(self, matches: Iterable[Any], attach: Callable[[Any], object], nothing: str) -> None:
        """Attaches to all that can be; raises where that is none."""
        attached = 0
        for match in matches:
            try:
                attach(match)
                attached += 1
            except AttachError:
                continue
        if not attached:
            raise AttachError(errno.ENOENT, nothing, code="load/no-such-function")

    def _open(
        self, table: dict[bytes, int], name: bytes, fn: Function, target: str, word: str
    ) -> None:
        """One bpf(2) call attaches what is no perf event."""
        if name in table:
            raise AttachError(errno.EEXIST, f"{word} {to_text(name)} has been attached")
        try:
            table[name] = self.system.bpf(RawTracepointOpen(target, fn.fd))
        except OSError as failure:
            raise AttachError(
                failure.errno or errno.EINVAL,
                f"cannot attach {to_text(fn.name)} to {word} {target or to_text(name)}: "
                f"{reason(failure)}",
                code="load/not-attached",
            ) from None

    def _detach(self, table: dict[bytes, int], name: bytes, word: str) -> None:
        if name not in table:
            raise AttachError(errno.ENOENT, f"{word} {to_text(name)} is not attached")
        self.system.close(table.pop(name))


def count(change: int) -> None:
    global _open_probes
    _open_probes += change


def probe_limit() -> int:
    """How many kprobes and uprobes a process may open; BCC_PROBE_LIMIT says otherwise."""
    limit = os.environ.get("BCC_PROBE_LIMIT", "")
    return int(limit) if limit.isdigit() else DEFAULT_PROBE_LIMIT


def check_quota(wanted: int) -> None:
    if _open_probes + wanted > probe_limit():
        raise AttachError(errno.EMFILE, "Number of open probes would exceed global quota")


def similar(wanted: str, names: list[str]) -> list[str]:
    """``did you mean ...?``, if there is anything of the kind."""
    import difflib

    # Comparing with 100,000 names takes a second, so only those that begin or end alike are.
    near = [n for n in names if n[:3] == wanted[:3] or n[-5:] == wanted[-5:]]
    close = difflib.get_close_matches(wanted, near, n=3, cutoff=0.75)
    return [f"did you mean {' or '.join(close)}?"] if close else []


def reason(failure: OSError) -> str:
    """The kernel's words, with the file that they are about if there is one."""
    words = failure.strerror or os.strerror(failure.errno or errno.EINVAL)
    return f"{words}: {failure.filename}" if failure.filename else words
