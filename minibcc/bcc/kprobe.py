"""Kprobes: programs at the entry and the return of kernel functions."""

from __future__ import annotations

import errno
from typing import Any

from minibcc.abi.bpf import ProgType
from minibcc.bcc.probes import Attaching, check_quota, count, reason, similar
from minibcc.bcc.symbols import Symbols, kernel_symbols
from minibcc.bcc.utils import to_bytes, to_text
from minibcc.errors import AttachError


class Kprobes(Attaching):
    """The calls of class BPF about them."""

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
            check_quota(len(matches))
            word = f"kernel function that matches {to_text(event_re)}"
            self._each(
                matches,
                lambda name: self._kprobe(name, b"", fn_name, offset, at_return=at_return),
                f"no {word} can be probed",
            )
            return self
        name, function = to_bytes(event), to_bytes(fn_name)
        check_quota(1)
        fn = self.load_func(function, ProgType.KPROBE)
        try:
            fd = self._probes.probe(fn.fd, "kprobe", to_text(name), offset, at_return)
        except OSError as failure:
            raise self._no_kprobe(function, name, failure, at_return) from None
        self.kprobe_fds.setdefault(_kprobe_name(name, at_return), {})[function] = fd
        count(1)
        return self

    def _no_kprobe(
        self, function: bytes, event: bytes, failure: OSError, at_return: bool
    ) -> AttachError:
        kind = "kretprobe" if at_return else "kprobe"
        message = f"cannot attach {to_text(function)} to {kind} {to_text(event)}: "
        if event in kernel_symbols(self.system).addresses:
            message += reason(failure)
            return AttachError(failure.errno or errno.EINVAL, message, code="load/not-attached")
        message += "this kernel has no such function"
        names = [to_text(name) for name in kernel_symbols(self.system).functions]
        return AttachError(
            failure.errno or errno.ENOENT,
            message,
            code="load/no-such-function",
            help=similar(to_text(event), names),
        )

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
            count(-1)
        if not functions:
            del self.kprobe_fds[name]

    def num_open_kprobes(self) -> int:
        """How many kernel functions are probed."""
        return len(self.kprobe_fds)


def _kprobe_name(event: bytes, at_return: bool) -> bytes:
    """BCC's name for a probe: ``p_`` or ``r_`` and the function."""
    prefix = b"r_" if at_return else b"p_"
    return prefix + event.replace(b"+", b"_").replace(b".", b"_")
