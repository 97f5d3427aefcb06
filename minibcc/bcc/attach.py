"""Programs hung on events, by the system calls that BCC makes.

A kprobe is a perf event: its type is what /sys/bus/event_source/devices/kprobe/type says, the
function's name goes into the attributes, and an ioctl binds the program to it. Uprobes, tracepoints
and sampling are perf events too; raw tracepoints, fentry, fexit and LSM hooks are one bpf(2) call.

`PerfProbes` is the mechanism; `Attachments` the calls of class BPF on top of it, with BCC's tables
of what is open (``kprobe_fds`` and so on), which tools count.

Mirrors: libbcc's libbpf.c (bpf_attach_kprobe and its kin) and BCC's class BPF.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import AttachType, ProgType
from minibcc.abi.perf import PerfEventAttr, PerfIoctl, PerfSample, PerfType
from minibcc.abi.requests import LinkCreate, ProgAttach, ProgDetach, RawTracepointOpen
from minibcc.bcc.symbols import Symbols, kernel_symbols, tracefs
from minibcc.bcc.utils import get_online_cpus, to_bytes, to_text
from minibcc.errors import AttachError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from minibcc.bcc.perf import Perf
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


class Attachments:
    """The attach and detach calls of class BPF."""

    if TYPE_CHECKING:
        system: System

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
        self._xdp_links: dict[bytes, int] = {}
        self._probes = PerfProbes(self.system)

    # --- kprobes ---

    def attach_kprobe(
        self,
        event: str | bytes = b"",
        event_off: int = 0,
        fn_name: str | bytes = b"",
        event_re: str | bytes = b"",
    ) -> Any:
        """Runs `fn_name` when the kernel function `event` is entered (`event_off` bytes into it),
        or each one that `event_re` matches. Raises AttachError."""
        return self._kprobe(event, event_re, fn_name, event_off, at_return=False)

    def attach_kretprobe(
        self,
        event: str | bytes = b"",
        fn_name: str | bytes = b"",
        event_re: str | bytes = b"",
        maxactive: int = 0,
    ) -> Any:
        """Runs `fn_name` when the kernel function returns; `maxactive` is the kernel's choice."""
        return self._kprobe(event, event_re, fn_name, 0, at_return=True)

    def _kprobe(
        self,
        event: str | bytes,
        event_re: str | bytes,
        fn_name: str | bytes,
        offset: int,
        *,
        at_return: bool,
    ) -> Any:
        if event_re:
            matches = sorted(Symbols.get_kprobe_functions(event_re))
            _check_quota(len(matches))
            word = f"kernel function that matches {to_text(event_re)}"
            self._each(
                matches,
                lambda name: self._kprobe(name, b"", fn_name, offset, at_return=at_return),
                f"no {word} can be probed",
            )
            return self
        name, function = to_bytes(event), to_bytes(fn_name)
        _check_quota(1)
        fn = self.load_func(function, ProgType.KPROBE)
        try:
            fd = self._probes.probe(fn.fd, "kprobe", to_text(name), offset, at_return)
        except OSError as failure:
            raise self._no_kprobe(function, name, failure, at_return) from None
        self.kprobe_fds.setdefault(_kprobe_name(name, at_return), {})[function] = fd
        _count(1)
        return self

    def _no_kprobe(
        self, function: bytes, event: bytes, failure: OSError, at_return: bool
    ) -> AttachError:
        kind = "kretprobe" if at_return else "kprobe"
        message = f"cannot attach {to_text(function)} to {kind} {to_text(event)}: "
        if event in kernel_symbols(self.system).addresses:
            message += _reason(failure)
            return AttachError(failure.errno or errno.EINVAL, message, code="load/not-attached")
        message += "this kernel has no such function"
        names = [to_text(name) for name in kernel_symbols(self.system).functions]
        return AttachError(
            failure.errno or errno.ENOENT,
            message,
            code="load/no-such-function",
            help=_similar(to_text(event), names),
        )

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

    def detach_kprobe(self, event: str | bytes, fn_name: str | bytes | None = None) -> None:
        """Detaches `fn_name`, or all, from the entry of a kernel function."""
        self._detach_kprobe(_kprobe_name(to_bytes(event), False), fn_name)

    def detach_kretprobe(self, event: str | bytes, fn_name: str | bytes | None = None) -> None:
        self._detach_kprobe(_kprobe_name(to_bytes(event), True), fn_name)

    def detach_kprobe_event(self, ev_name: str | bytes) -> None:
        """By BCC's own name of the event: ``p_do_sys_openat2``."""
        self._detach_kprobe(to_bytes(ev_name), None)

    def _detach_kprobe(self, name: bytes, fn_name: str | bytes | None) -> None:
        functions = self.kprobe_fds.get(name, {})
        wanted = list(functions) if fn_name is None else [to_bytes(fn_name)]
        if not functions or any(function not in functions for function in wanted):
            raise AttachError(errno.ENOENT, f"Kprobe {to_text(name)} is not attached")
        for function in wanted:
            self.system.close(functions.pop(function))
            _count(-1)
        if not functions:
            del self.kprobe_fds[name]

    def num_open_kprobes(self) -> int:
        """How many kernel functions are probed."""
        return len(self.kprobe_fds)

    # --- uprobes ---

    def attach_uprobe(
        self,
        name: str | bytes = b"",
        sym: str | bytes = b"",
        sym_re: str | bytes = b"",
        addr: int | None = None,
        fn_name: str | bytes = b"",
        pid: int = -1,
        sym_off: int = 0,
    ) -> Any:
        """Runs `fn_name` when a function of an executable or library `name` is entered: `sym`
        (plus `sym_off` bytes), each that `sym_re` matches, or the one at `addr`; in all processes
        or in `pid`. Raises AttachError."""
        return self._uprobe(name, sym, sym_re, addr, fn_name, pid, sym_off, at_return=False)

    def attach_uretprobe(
        self,
        name: str | bytes = b"",
        sym: str | bytes = b"",
        sym_re: str | bytes = b"",
        addr: int | None = None,
        fn_name: str | bytes = b"",
        pid: int = -1,
    ) -> Any:
        """The same at the return."""
        return self._uprobe(name, sym, sym_re, addr, fn_name, pid, 0, at_return=True)

    def _uprobe(
        self,
        name: str | bytes,
        sym: str | bytes,
        sym_re: str | bytes,
        addr: int | None,
        fn_name: str | bytes,
        pid: int,
        sym_off: int,
        *,
        at_return: bool,
    ) -> Any:
        if sym_re:
            addresses = sorted(Symbols.get_user_addresses(name, sym_re))
            _check_quota(len(addresses))
            self._each(
                addresses,
                lambda one: self._uprobe(name, b"", b"", one, fn_name, pid, 0, at_return=at_return),
                f"no function of {to_text(name)} matches {to_text(sym_re)}",
            )
            return self
        _check_quota(1)
        path, offset = _user_address(to_text(name), to_bytes(sym), addr, sym_off)
        fn = self.load_func(to_bytes(fn_name), ProgType.KPROBE)
        try:
            fd = self._probes.probe(fn.fd, "uprobe", path, offset, at_return, pid)
        except OSError as failure:
            message = f"cannot attach {to_text(fn_name)} to {path}+0x{offset:x}"
            raise AttachError(
                failure.errno or errno.EINVAL,
                f"{message}: {_reason(failure)}",
                code="load/not-attached",
            ) from None
        self.uprobe_fds[_uprobe_name(at_return, path, offset, pid)] = fd
        _count(1)
        return self

    def detach_uprobe(
        self,
        name: str | bytes = b"",
        sym: str | bytes = b"",
        addr: int | None = None,
        pid: int = -1,
        sym_off: int = 0,
    ) -> None:
        path, offset = _user_address(to_text(name), to_bytes(sym), addr, sym_off)
        self.detach_uprobe_event(_uprobe_name(False, path, offset, pid))

    def detach_uretprobe(
        self,
        name: str | bytes = b"",
        sym: str | bytes = b"",
        addr: int | None = None,
        pid: int = -1,
    ) -> None:
        path, offset = _user_address(to_text(name), to_bytes(sym), addr, 0)
        self.detach_uprobe_event(_uprobe_name(True, path, offset, pid))

    def detach_uprobe_event(self, ev_name: bytes) -> None:
        if ev_name not in self.uprobe_fds:
            raise AttachError(errno.ENOENT, f"Uprobe {to_text(ev_name)} is not attached")
        self.system.close(self.uprobe_fds.pop(ev_name))
        _count(-1)

    def num_open_uprobes(self) -> int:
        return len(self.uprobe_fds)

    # --- tracepoints ---

    def attach_tracepoint(
        self, tp: str | bytes = b"", tp_re: str | bytes = b"", fn_name: str | bytes = b""
    ) -> Any:
        """Runs `fn_name` at the tracepoint ``category:event``, or at each that `tp_re` matches.
        Raises AttachError."""
        if tp_re:
            self._each(
                Symbols.get_tracepoints(tp_re),
                lambda name: self.attach_tracepoint(name, b"", fn_name),
                f"no tracepoint matches {to_text(tp_re)}",
            )
            return self
        point = to_bytes(tp)
        category, colon, event = to_text(point).partition(":")
        if not colon:
            raise AttachError(
                errno.EINVAL,
                f"a tracepoint is written category:event, not {category}",
                code="load/no-such-tracepoint",
            )
        fn = self.load_func(to_bytes(fn_name), ProgType.TRACEPOINT)
        try:
            fd = self._probes.tracepoint(fn.fd, category, event)
        except OSError as failure:
            message = f"cannot attach {to_text(fn.name)} to tracepoint {category}:{event}: "
            if failure.errno != errno.ENOENT:
                message += _reason(failure)
                raise AttachError(
                    failure.errno or errno.EINVAL, message, code="load/not-attached"
                ) from None
            raise AttachError(
                errno.ENOENT,
                message + "this kernel has no such tracepoint",
                code="load/no-such-tracepoint",
                help=_similar(f"{category}:{event}", Symbols.get_tracepoints(b"")),
            ) from None
        self.tracepoint_fds[point] = fd
        return self

    def detach_tracepoint(self, tp: str | bytes = b"") -> None:
        self._detach(self.tracepoint_fds, to_bytes(tp), "Tracepoint")

    def num_open_tracepoints(self) -> int:
        return len(self.tracepoint_fds)

    def attach_raw_tracepoint(self, tp: str | bytes = b"", fn_name: str | bytes = b"") -> Any:
        """Runs `fn_name` at the tracepoint `tp` (without a category), with its raw arguments."""
        fn = self.load_func(to_bytes(fn_name), ProgType.RAW_TRACEPOINT)
        self._open(self.raw_tracepoint_fds, to_bytes(tp), fn, to_text(tp), "raw tracepoint")
        return self

    def detach_raw_tracepoint(self, tp: str | bytes = b"") -> None:
        self._detach(self.raw_tracepoint_fds, to_bytes(tp), "Raw tracepoint")

    # --- fentry, fexit, LSM ---

    def attach_kfunc(self, fn_name: str | bytes = b"") -> Any:
        """Runs ``kfunc__NAME`` (KFUNC_PROBE) at the entry of kernel function NAME."""
        return self._trampoline(self.kfunc_entry_fds, b"kfunc__", fn_name, ProgType.TRACING)

    def attach_kretfunc(self, fn_name: str | bytes = b"") -> Any:
        return self._trampoline(self.kfunc_exit_fds, b"kretfunc__", fn_name, ProgType.TRACING)

    def attach_fmod_ret(self, fn_name: str | bytes = b"") -> Any:
        return self._trampoline(self.kfunc_entry_fds, b"kmod_ret__", fn_name, ProgType.TRACING)

    def attach_lsm(self, fn_name: str | bytes = b"") -> Any:
        """Runs ``lsm__HOOK`` (LSM_PROBE) at that hook."""
        return self._trampoline(self.lsm_fds, b"lsm__", fn_name, ProgType.LSM)

    def _trampoline(
        self, table: dict[bytes, int], prefix: bytes, fn_name: str | bytes, kind: ProgType
    ) -> Any:
        name = self.add_prefix(prefix, to_bytes(fn_name))
        fn = self.load_func(name, kind)
        self._open(table, name, fn, "", "kernel function")
        return self

    def detach_kfunc(self, fn_name: str | bytes = b"") -> None:
        name = self.add_prefix(b"kfunc__", to_bytes(fn_name))
        self._detach(self.kfunc_entry_fds, name, "Kernel entry func")

    def detach_kretfunc(self, fn_name: str | bytes = b"") -> None:
        name = self.add_prefix(b"kretfunc__", to_bytes(fn_name))
        self._detach(self.kfunc_exit_fds, name, "Kernel exit func")

    def detach_lsm(self, fn_name: str | bytes = b"") -> None:
        self._detach(self.lsm_fds, self.add_prefix(b"lsm__", to_bytes(fn_name)), "LSM")

    @staticmethod
    def add_prefix(prefix: bytes, name: bytes) -> bytes:
        return name if name.startswith(prefix) else prefix + name

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
                f"{_reason(failure)}",
                code="load/not-attached",
            ) from None

    def _detach(self, table: dict[bytes, int], name: bytes, word: str) -> None:
        if name not in table:
            raise AttachError(errno.ENOENT, f"{word} {to_text(name)} is not attached")
        self.system.close(table.pop(name))

    # --- sampling ---

    def attach_perf_event(
        self,
        ev_type: int = -1,
        ev_config: int = -1,
        fn_name: str | bytes = b"",
        sample_period: int = 0,
        sample_freq: int = 0,
        pid: int = -1,
        cpu: int = -1,
        group_fd: int = -1,
    ) -> None:
        """Runs `fn_name` every `sample_period` events, or `sample_freq` times a second, on all
        CPUs or one. Raises AttachError."""
        attr = PerfEventAttr(
            type=ev_type,
            config=ev_config,
            sample_period=sample_freq or sample_period,
            freq=bool(sample_freq),
            inherit=pid > 0,
        )
        self._sample(attr, fn_name, pid, cpu, group_fd)

    def attach_perf_event_raw(
        self,
        attr: Perf.perf_event_attr,
        fn_name: str | bytes = b"",
        pid: int = -1,
        cpu: int = -1,
        group_fd: int = -1,
    ) -> None:
        """The same with attributes of the caller's (`perf.Perf.perf_event_attr`)."""
        self._sample(attr.request(), fn_name, pid, cpu, group_fd)

    def _sample(
        self, attr: PerfEventAttr, fn_name: str | bytes, pid: int, cpu: int, group_fd: int
    ) -> None:
        fn = self.load_func(to_bytes(fn_name), ProgType.PERF_EVENT)
        fds: dict[int, int] = {}
        try:
            for one in [cpu] if cpu >= 0 else get_online_cpus():
                fds[one] = self._probes.sampling(fn.fd, attr, pid, one, group_fd)
        except OSError as failure:
            for fd in fds.values():
                self.system.close(fd)
            raise AttachError(
                failure.errno or errno.EINVAL,
                f"cannot attach {to_text(fn.name)} to perf event "
                f"{attr.type}:{attr.config}: {_reason(failure)}",
                code="load/not-attached",
            ) from None
        self.open_perf_events[attr.type, attr.config] = fds

    def detach_perf_event(self, ev_type: int = -1, ev_config: int = -1) -> None:
        fds = self.open_perf_events.pop((ev_type, ev_config), None)
        if fds is None:
            message = f"Perf event type {ev_type} config {ev_config} not attached"
            raise AttachError(errno.ENOENT, message)
        for fd in fds.values():
            self.system.close(fd)

    # --- network and cgroups ---

    def attach_xdp(self, dev: str | bytes, fn: Function, flags: int = 0) -> None:
        """Runs a function of `load_func(..., BPF.XDP)` on each packet that a device receives."""
        name = to_bytes(dev)
        try:
            index = int(self._probes._line(f"/sys/class/net/{to_text(name)}/ifindex"))
            self._xdp_links[name] = self.system.bpf(LinkCreate(fn.fd, index, AttachType.XDP, flags))
        except OSError as failure:
            raise AttachError(
                failure.errno or errno.EINVAL,
                f"cannot attach {to_text(fn.name)} to device {to_text(name)}: {_reason(failure)}",
                code="load/not-attached",
            ) from None

    def remove_xdp(self, dev: str | bytes, flags: int = 0) -> None:
        self._detach(self._xdp_links, to_bytes(dev), "XDP program on device")

    def attach_func(
        self, fn: Function, attachable_fd: int, attach_type: int, flags: int = 0
    ) -> None:
        """Attaches a function to what a descriptor stands for (a cgroup, a map of sockets)."""
        try:
            self.system.bpf(ProgAttach(attachable_fd, fn.fd, AttachType(attach_type), flags))
        except OSError as failure:
            raise AttachError(
                failure.errno or errno.EINVAL,
                f"Failed to attach BPF function with attach_type {attach_type}: {_reason(failure)}",
                code="load/not-attached",
            ) from None

    def detach_func(self, fn: Function, attachable_fd: int, attach_type: int) -> None:
        try:
            self.system.bpf(ProgDetach(attachable_fd, AttachType(attach_type), fn.fd))
        except OSError as failure:
            raise AttachError(
                failure.errno or errno.EINVAL,
                f"Failed to detach BPF function with attach_type {attach_type}: {_reason(failure)}",
            ) from None

    # --- all of them ---

    @staticmethod
    def get_probe_limit() -> int:
        """How many kprobes and uprobes a process may open; BCC_PROBE_LIMIT says otherwise."""
        limit = os.environ.get("BCC_PROBE_LIMIT", "")
        return int(limit) if limit.isdigit() else DEFAULT_PROBE_LIMIT

    def _detach_all(self) -> None:
        for name in list(self.kprobe_fds):
            self.detach_kprobe_event(name)
        for uprobe in list(self.uprobe_fds):
            self.detach_uprobe_event(uprobe)
        tables = (
            self.tracepoint_fds,
            self.raw_tracepoint_fds,
            self.kfunc_entry_fds,
            self.kfunc_exit_fds,
            self.lsm_fds,
            self._xdp_links,
        )
        for table in tables:
            while table:
                self.system.close(table.popitem()[1])
        for event in list(self.open_perf_events):
            self.detach_perf_event(*event)


def _count(change: int) -> None:
    global _open_probes
    _open_probes += change


def _check_quota(wanted: int) -> None:
    if _open_probes + wanted > Attachments.get_probe_limit():
        raise AttachError(errno.EMFILE, "Number of open probes would exceed global quota")


def _kprobe_name(event: bytes, at_return: bool) -> bytes:
    """BCC's name for a probe: ``p_`` or ``r_`` and the function."""
    prefix = b"r_" if at_return else b"p_"
    return prefix + event.replace(b"+", b"_").replace(b".", b"_")


def _uprobe_name(at_return: bool, path: str, offset: int, pid: int) -> bytes:
    """BCC's name for a user probe: prefix, path, offset, and the process if there is one."""
    plain = "".join(c if c.isalnum() or c == "_" else "_" for c in path)
    name = f"{'r' if at_return else 'p'}_{plain}_0x{offset:x}"
    return (name if pid == -1 else f"{name}_{pid}").encode()


def _user_address(name: str, sym: bytes, addr: int | None, sym_off: int) -> tuple[str, int]:
    """File and offset in it of what a user probe names. Raises AttachError."""
    from minibcc.bcc.elf import ElfSymbols, find_module

    try:
        path = find_module(name)
        symbols = ElfSymbols(path)
    except (OSError, ValueError) as failure:
        raise AttachError(
            errno.ENOENT,
            f"could not determine address of symbol {to_text(sym)} in {name}: "
            f"{getattr(failure, 'strerror', None) or failure}",
            code="load/no-such-symbol",
        ) from None
    address = addr if addr else symbols.address(sym)
    if address is None:
        names = [to_text(known) for known, _ in symbols.functions()]
        raise AttachError(
            errno.ENOENT,
            f"could not determine address of symbol {to_text(sym)} in {name}",
            code="load/no-such-symbol",
            help=_similar(to_text(sym), names),
        )
    return path, symbols.file_offset(address) + sym_off


def _similar(wanted: str, names: list[str]) -> list[str]:
    """``did you mean ...?``, if there is anything of the kind."""
    import difflib

    # Comparing with 100,000 names takes a second, so only those that begin or end alike are.
    near = [n for n in names if n[:3] == wanted[:3] or n[-5:] == wanted[-5:]]
    close = difflib.get_close_matches(wanted, near, n=3, cutoff=0.75)
    return [f"did you mean {' or '.join(close)}?"] if close else []


def _reason(failure: OSError) -> str:
    return failure.strerror or os.strerror(failure.errno or errno.EINVAL)
