"""Programs hung on events: the attach and detach calls of class BPF.

Mirrors: BCC's class BPF (src/python/bcc/__init__.py).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from minibcc import boot
from minibcc.abi.bpf import AttachType, ProgType
from minibcc.abi.perf import PerfEventAttr
from minibcc.abi.requests import LinkCreate, ProgAttach, ProgDetach
from minibcc.bcc.kprobe import Kprobes
from minibcc.bcc.probes import Function, probe_limit, reason, similar
from minibcc.bcc.symbols import Symbols
from minibcc.bcc.uprobe import Uprobes
from minibcc.bcc.utils import get_online_cpus, to_bytes, to_text
from minibcc.errors import AttachError
from minibcc.system.interface import read_file

if TYPE_CHECKING:
    from collections.abc import Container

    from minibcc.bcc.perf import Perf


_KERNEL = b"vmlinux__"


class Attachments(Kprobes, Uprobes):
    """All of them: kprobes and uprobes from their modules, and what follows."""

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
                message += reason(failure)
                raise AttachError(
                    failure.errno or errno.EINVAL, message, code="load/not-attached"
                ) from None
            raise AttachError(
                errno.ENOENT,
                message + "this kernel has no such tracepoint",
                code="load/no-such-tracepoint",
                help=similar(f"{category}:{event}", Symbols.get_tracepoints(b"")),
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
        programs = {program.name.encode() for program in self._loaded().object.programs}
        name = self._traced(prefix, fn_name, programs)
        fn = self.load_func(name, kind)
        self._open(table, name, fn, "", "kernel function")
        return self

    def detach_kfunc(self, fn_name: str | bytes = b"") -> None:
        name = self._traced(b"kfunc__", fn_name, self.kfunc_entry_fds)
        self._detach(self.kfunc_entry_fds, name, "Kernel entry func")

    def detach_kretfunc(self, fn_name: str | bytes = b"") -> None:
        name = self._traced(b"kretfunc__", fn_name, self.kfunc_exit_fds)
        self._detach(self.kfunc_exit_fds, name, "Kernel exit func")

    def detach_lsm(self, fn_name: str | bytes = b"") -> None:
        self._detach(self.lsm_fds, self.add_prefix(b"lsm__", to_bytes(fn_name)), "LSM")

    def _traced(self, prefix: bytes, fn_name: str | bytes, known: Container[bytes]) -> bytes:
        """The name, of those that are `known`, of the program for a kernel function: BCC's macros
        have written the kernel's name between prefix and function since 0.29, and not before."""
        name = self.add_prefix(prefix, to_bytes(fn_name))
        event = name.removeprefix(prefix).removeprefix(_KERNEL)
        for other in (name, prefix + event, prefix + _KERNEL + event):
            if other in known:
                return other
        return name

    @staticmethod
    def add_prefix(prefix: bytes, name: bytes) -> bytes:
        return name if name.startswith(prefix) else prefix + name

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
                f"{attr.type}:{attr.config}: {reason(failure)}",
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

    # Static, as BCC has them: scripts call ``BPF.attach_raw_socket(fn, dev)``.

    @staticmethod
    def attach_xdp(dev: str | bytes, fn: Function, flags: int = 0) -> None:
        """Runs a function of `load_func(..., BPF.XDP)` on each packet that a device receives."""
        name, system = to_bytes(dev), fn.bpf.system
        try:
            index = int(read_file(system, f"/sys/class/net/{to_text(name)}/ifindex"))
            fd = system.bpf(LinkCreate(fn.fd, index, AttachType.XDP, flags))
        except OSError as failure:
            raise _not_attached(fn, f"device {to_text(name)}", failure) from None
        _xdp_links[id(system), name] = (fn.bpf, fd)

    @staticmethod
    def remove_xdp(dev: str | bytes, flags: int = 0) -> None:
        system = boot.current()
        found = _xdp_links.pop((id(system), to_bytes(dev)), None)
        if found is None:
            raise AttachError(errno.ENOENT, f"no XDP program is attached to {to_text(dev)}")
        system.close(found[1])

    @staticmethod
    def attach_raw_socket(fn: Function, dev: str | bytes) -> None:
        """Sockets are not among what the door carries. Raises AttachError."""
        raise AttachError(
            errno.EOPNOTSUPP,
            f"cannot attach {to_text(fn.name)} to a socket on {to_text(dev)}: minibcc's kernels "
            "open no sockets",
            code="load/not-attached",
            help=("attach it as an XDP program",),
        )

    @staticmethod
    def attach_func(fn: Function, attachable_fd: int, attach_type: int, flags: int = 0) -> None:
        """Attaches a function to what a descriptor stands for (a cgroup, a map of sockets)."""
        request = ProgAttach(attachable_fd, fn.fd, AttachType(attach_type), flags)
        try:
            fn.bpf.system.bpf(request)
        except OSError as failure:
            raise _not_attached(fn, request.attach_type.name, failure) from None

    @staticmethod
    def detach_func(fn: Function, attachable_fd: int, attach_type: int) -> None:
        request = ProgDetach(attachable_fd, AttachType(attach_type), fn.fd)
        try:
            fn.bpf.system.bpf(request)
        except OSError as failure:
            raise AttachError(
                failure.errno or errno.EINVAL,
                f"cannot detach {to_text(fn.name)} from {request.attach_type.name}: "
                f"{reason(failure)}",
            ) from None

    # --- all of them ---

    @staticmethod
    def get_probe_limit() -> int:
        """How many kprobes and uprobes a process may open; BCC_PROBE_LIMIT says otherwise."""
        return probe_limit()

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
        )
        for table in tables:
            while table:
                self.system.close(table.popitem()[1])
        for event in list(self.open_perf_events):
            self.detach_perf_event(*event)
        for place, (owner, fd) in list(_xdp_links.items()):
            if owner is self:
                del _xdp_links[place]
                self.system.close(fd)


_xdp_links: dict[tuple[int, bytes], tuple[object, int]] = {}
"""Kernel and device to the object that attached an XDP program there, and the link."""


def _not_attached(fn: Function, where: str, failure: OSError) -> AttachError:
    return AttachError(
        failure.errno or errno.EINVAL,
        f"cannot attach {to_text(fn.name)} to {where}: {reason(failure)}",
        code="load/not-attached",
    )
