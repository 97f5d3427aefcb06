"""Names and addresses: of the kernel by its kallsyms, of programs by their maps and ELF symbols.

Everything that describes the kernel is a file behind the door (/proc/kallsyms, tracefs,
/proc/PID/maps), so a script asks the simulated kernel and the real one in the same way. Tables are
read when first asked for and kept per kernel.

Mirrors: libbcc's bcc_syms.cc and the symbol calls of BCC's class BPF.
"""

from __future__ import annotations

import bisect
import os
import re
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from minibcc import boot
from minibcc.bcc.utils import to_bytes, to_text
from minibcc.system.interface import read_file

if TYPE_CHECKING:
    from minibcc.bcc.elf import ElfSymbols
    from minibcc.system.interface import System

SYSCALL_PREFIXES = (
    b"sys_",
    b"__x64_sys_",
    b"__x32_compat_sys_",
    b"__ia32_compat_sys_",
    b"__arm64_sys_",
    b"__s390x_sys_",
    b"__s390_sys_",
    b"__riscv_sys_",
)

TRACEFS_PLACES = ("/sys/kernel/debug/tracing", "/sys/kernel/tracing")


class KernelSymbols:
    """/proc/kallsyms: names to addresses and back."""

    def __init__(self, text: bytes) -> None:
        self.addresses: dict[bytes, int] = {}
        self.functions: list[bytes] = []
        rows: list[tuple[int, bytes, bytes]] = []
        for line in text.splitlines():
            fields = line.split(None, 3)
            if len(fields) < 3:
                continue
            address, kind, name = int(fields[0], 16), fields[1], fields[2]
            module = fields[3].strip(b"[]") if len(fields) > 3 else b"kernel"
            self.addresses.setdefault(name, address)
            if kind in b"tTwW":
                rows.append((address, name, module))
                self.functions.append(name)
        rows.sort(key=lambda row: row[0])
        self._rows = rows
        self._starts = [row[0] for row in rows]

    def resolve(self, address: int) -> tuple[bytes, int, bytes] | None:
        """Function, offset in it and module of an address; None if no function lies there."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0 or not self._starts[index]:
            return None
        start, name, module = self._rows[index]
        return name, address - start, module


_tables: WeakKeyDictionary[System, KernelSymbols] = WeakKeyDictionary()


def kernel_symbols(system: System | None = None) -> KernelSymbols:
    """The symbols of a kernel (the current one)."""
    system = system or boot.current()
    table = _tables.get(system)
    if table is None:
        table = _tables[system] = KernelSymbols(read_file(system, "/proc/kallsyms"))
    return table


def tracefs(system: System) -> str:
    """Where tracefs is mounted behind the door."""
    for place in TRACEFS_PLACES:
        try:
            system.listdir(place)
        except OSError:
            continue
        return place
    return TRACEFS_PLACES[-1]


class SymbolCache:
    """The symbols of a process; pid -1 is the kernel."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._files: dict[str, ElfSymbols | None] = {}
        self._areas: list[tuple[int, int, int, str]] | None = None

    def resolve(self, addr: int, demangle: bool = True) -> tuple[bytes | None, int, bytes | None]:
        """Function, offset in it and module; no function: the module and the offset in it, or,
        where nothing is mapped, the address itself."""
        if self.pid < 0:
            return kernel_symbols().resolve(addr) or (None, addr, None)
        for start, end, offset, path in self._mapped():
            if start <= addr < end:
                position = addr - start + offset
                symbols = self._symbols(path)
                found = symbols.at_offset(position) if symbols else None
                name = found[0] if found else None
                return name, found[1] if found else position, os.fsencode(path)
        return None, addr, None

    def resolve_name(self, module: bytes | None, name: str | bytes) -> int:
        """The address of a kernel function, -1 if there is none of that name."""
        return kernel_symbols().addresses.get(to_bytes(name), -1)

    def _mapped(self) -> list[tuple[int, int, int, str]]:
        """Start, end, file offset and path of the executable areas of the process."""
        if self._areas is None:
            self._areas = []
            try:
                text = read_file(boot.current(), f"/proc/{self.pid}/maps")
            except OSError:
                text = b""
            for line in text.decode(errors="replace").splitlines():
                fields = line.split(None, 5)
                if len(fields) == 6 and "x" in fields[1]:
                    start, _, end = fields[0].partition("-")
                    area = (int(start, 16), int(end, 16), int(fields[2], 16), fields[5])
                    self._areas.append(area)
        return self._areas

    def _symbols(self, path: str) -> ElfSymbols | None:
        from minibcc.bcc.elf import ElfSymbols

        if path not in self._files:
            try:
                self._files[path] = ElfSymbols(path)
            except (OSError, ValueError):
                self._files[path] = None
        return self._files[path]


_caches: dict[int, SymbolCache] = {}


class Symbols:
    """The calls of class BPF that answer what a kernel is made of."""

    @staticmethod
    def sym(
        addr: int,
        pid: int,
        show_module: bool = False,
        show_offset: bool = False,
        demangle: bool = True,
    ) -> bytes:
        """The function at an address of process `pid` (below 0: of the kernel), as
        ``name+0x1f [module]`` with what is asked for; ``[unknown]`` if there is none."""
        pid = max(pid, -1)
        cache = _caches.setdefault(pid, SymbolCache(pid))
        name, offset, module = cache.resolve(addr, demangle)
        text = name or b"[unknown]"
        if show_offset and name is not None:
            text += b"+0x%x" % offset
        if show_module and module is not None:
            text += b" [%s]" % os.path.basename(module)
        return text

    @staticmethod
    def ksym(addr: int, show_module: bool = False, show_offset: bool = False) -> bytes:
        """The kernel function at an address: ``default_idle``, or ``default_idle+0x0 [kernel]``."""
        return Symbols.sym(addr, -1, show_module, show_offset, False)

    @staticmethod
    def ksymname(name: str | bytes) -> int:
        """The address of a kernel function, -1 if there is none of that name."""
        return kernel_symbols().addresses.get(to_bytes(name), -1)

    @staticmethod
    def get_syscall_prefix() -> bytes:
        """What this kernel puts before the names of system calls: ``__x64_sys_``."""
        known = kernel_symbols().addresses
        return next((p for p in SYSCALL_PREFIXES if p + b"bpf" in known), SYSCALL_PREFIXES[0])

    @staticmethod
    def get_syscall_fnname(name: str | bytes) -> bytes:
        """The kernel function of a system call: ``__x64_sys_clone`` for ``clone``."""
        return Symbols.get_syscall_prefix() + to_bytes(name)

    @staticmethod
    def fix_syscall_fnname(name: str | bytes) -> bytes:
        """``sys_clone`` (or with any other kernel's prefix) by this kernel's name."""
        name = to_bytes(name)
        for prefix in SYSCALL_PREFIXES:
            if name.startswith(prefix):
                return Symbols.get_syscall_fnname(name.removeprefix(prefix))
        return name

    @staticmethod
    def get_kprobe_functions(event_re: str | bytes) -> set[bytes]:
        """The kernel functions whose names match, without those that cannot be probed."""
        system = boot.current()
        try:
            lines = read_file(system, "/sys/kernel/debug/kprobes/blacklist").splitlines()
            excluded = {fields[1] for line in lines if len(fields := line.split()) > 1}
        except OSError:
            excluded = set()
        pattern = re.compile(to_bytes(event_re))
        return {
            name
            for name in kernel_symbols(system).functions
            if pattern.match(name) and name not in excluded and not re.match(_UNPROBED, name)
        }

    @staticmethod
    def get_tracepoints(tp_re: str | bytes) -> list[str]:
        """The tracepoints whose ``category:event`` matches."""
        system = boot.current()
        events = f"{tracefs(system)}/events"
        pattern = re.compile(to_text(tp_re))
        return [
            f"{category}:{event}"
            for category in _listdir(system, events)
            for event in _listdir(system, f"{events}/{category}")
            if pattern.match(f"{category}:{event}")
            and _listdir(system, f"{events}/{category}/{event}")
        ]

    @staticmethod
    def tracepoint_exists(category: str | bytes, event: str | bytes) -> bool:
        system = boot.current()
        folder = f"{tracefs(system)}/events/{to_text(category)}/{to_text(event)}"
        return bool(_listdir(system, folder))

    @staticmethod
    def support_kfunc() -> bool:
        """Whether fentry and fexit programs (KFUNC_PROBE) can be attached."""
        return _has_btf() and Symbols.ksymname(b"bpf_trampoline_link_prog") != -1

    @staticmethod
    def support_fmod_ret() -> bool:
        return Symbols.support_kfunc()

    @staticmethod
    def support_lsm() -> bool:
        return _has_btf() and Symbols.ksymname(b"bpf_lsm_bpf") != -1

    @staticmethod
    def support_raw_tracepoint() -> bool:
        names = (b"bpf_find_raw_tracepoint", b"bpf_get_raw_tracepoint")
        return any(Symbols.ksymname(name) != -1 for name in names)

    @staticmethod
    def support_raw_tracepoint_in_module() -> bool:
        return Symbols.ksymname(b"bpf_trace_modules") != -1

    @staticmethod
    def kernel_struct_has_field(struct_name: str | bytes, field_name: str | bytes) -> int:
        """1 if the kernel's structure has that field, 0 if not, -1 if there is no such one."""
        from minibcc.bcc.kerneltypes import struct_has_field

        return struct_has_field(to_text(struct_name), to_text(field_name))

    @staticmethod
    def kernel_enum_has_val(enum_name: str | bytes, value_name: str | bytes) -> int:
        """1 if the kernel's enum has that enumerator, 0 if not, -1 if there is no such enum."""
        from minibcc.bcc.kerneltypes import enum_has_value

        return enum_has_value(to_text(enum_name), to_text(value_name))

    # --- executables and libraries ---

    @staticmethod
    def find_exe(bin_path: str | bytes) -> bytes | None:
        """The full path of a program that is looked up in PATH, None if there is none."""
        import shutil

        found = shutil.which(os.fsdecode(bin_path))
        return None if found is None else os.fsencode(found)

    @staticmethod
    def find_library(libname: str | bytes) -> bytes | None:
        """The full path of a library by its name (``c``), None if there is none."""
        from minibcc.bcc.elf import find_library

        found = find_library(to_text(libname))
        return None if found is None else os.fsencode(found)

    @staticmethod
    def get_user_functions_and_addresses(
        name: str | bytes, sym_re: str | bytes
    ) -> list[tuple[bytes, int]]:
        """Name and address of the functions of an executable or library that match."""
        from minibcc.bcc.elf import ElfSymbols, find_module

        pattern = re.compile(to_bytes(sym_re))
        symbols = ElfSymbols(find_module(to_text(name)))
        return [(n, address) for n, address in symbols.functions() if pattern.match(n)]

    @staticmethod
    def get_user_functions(name: str | bytes, sym_re: str | bytes) -> set[bytes]:
        return {n for n, _ in Symbols.get_user_functions_and_addresses(name, sym_re)}

    @staticmethod
    def get_user_addresses(name: str | bytes, sym_re: str | bytes) -> set[int]:
        """The distinct addresses: several names may stand for one."""
        return {a for _, a in Symbols.get_user_functions_and_addresses(name, sym_re)}

    @staticmethod
    def add_module(modname: str) -> None:
        """Names a library for stacks of build ids; symbols are found without it here."""


# Functions that Linux does not let be probed, by how they are named.
_UNPROBED = rb"_kbl_addr_|__perf|perf_|__SCT__|.*\.cold(\.\d+)?$"


def _listdir(system: System, path: str) -> list[str]:
    try:
        return system.listdir(path)
    except OSError:
        return []


def _has_btf() -> bool:
    return "vmlinux" in _listdir(boot.current(), "/sys/kernel/btf")
