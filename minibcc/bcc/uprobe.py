"""Uprobes: programs at the entry and the return of functions of executables and libraries."""

from __future__ import annotations

import errno
from typing import Any

from minibcc.abi.bpf import ProgType
from minibcc.bcc.probes import Attaching, check_quota, count, reason, similar
from minibcc.bcc.symbols import Symbols
from minibcc.bcc.utils import to_bytes, to_text
from minibcc.errors import AttachError


class Uprobes(Attaching):
    """The calls of class BPF about them."""

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
            check_quota(len(addresses))
            self._each(
                addresses,
                lambda one: self._uprobe(name, b"", b"", one, fn_name, pid, 0, at_return=at_return),
                f"no function of {to_text(name)} matches {to_text(sym_re)}",
            )
            return self
        check_quota(1)
        path, offset = _user_address(to_text(name), to_bytes(sym), addr, sym_off)
        fn = self.load_func(to_bytes(fn_name), ProgType.KPROBE)
        try:
            fd = self._probes.probe(fn.fd, "uprobe", path, offset, at_return, pid)
        except OSError as failure:
            message = f"cannot attach {to_text(fn_name)} to {path}+0x{offset:x}"
            raise AttachError(
                failure.errno or errno.EINVAL,
                f"{message}: {reason(failure)}",
                code="load/not-attached",
            ) from None
        self.uprobe_fds[_uprobe_name(at_return, path, offset, pid)] = fd
        count(1)
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
        count(-1)

    def num_open_uprobes(self) -> int:
        return len(self.uprobe_fds)


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
            help=similar(to_text(sym), names),
        )
    return path, symbols.file_offset(address) + sym_off
