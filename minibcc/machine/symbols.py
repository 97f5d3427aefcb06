"""The kernel's symbols: which name lies at which address, /proc/kallsyms.

Functions are those of the kernel's BTF: the one with the lowest type id lies at the start of the
kernel's text, and each next id `PITCH` bytes behind, as if the kernel had not moved itself
(``nokaslr``). So a name is an id is an address, and no table is made before somebody reads the
whole. The few data symbols that tools look for follow behind the text. A function that has a tag
``module:NAME`` in the BTF belongs to that module. Mirrors kernel/kallsyms.c.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from minibcc.btf.layout import Kind
from minibcc.btf.types import Func

if TYPE_CHECKING:
    from minibcc.btf.decode import Btf

TEXT = 0xFFFF_FFFF_8100_0000
DATA = 0xFFFF_FFFF_8240_0000
PITCH = 0x200
"""Bytes from one function to the next."""

MODULE = "module:"
# Data symbols: name, size in bytes, kallsyms' letter.
_FILE_OPERATIONS = (
    "ext4_file_operations",
    "ext4_dir_operations",
    "btrfs_file_operations",
    "xfs_file_operations",
    "nfs_file_operations",
    "nfs4_file_operations",
    "shmem_file_operations",
    "ramfs_file_operations",
    "kernfs_file_fops",
    "proc_pid_cmdline_ops",
    "socket_file_ops",
    "pipefifo_fops",
    "tty_fops",
    "null_fops",
    "zero_fops",
    "random_fops",
    "urandom_fops",
    "def_blk_fops",
    "eventpoll_fops",
)
DATA_SYMBOLS = (
    ("__start_rodata", 0, "D"),
    *((name, 0x140, "R") for name in _FILE_OPERATIONS),
    ("sys_call_table", 8 * 512, "D"),
    ("init_task", 16384, "D"),
    ("init_mm", 4096, "D"),
    ("init_net", 8192, "D"),
    ("init_nsproxy", 128, "D"),
    ("init_pid_ns", 256, "D"),
    ("init_user_ns", 1024, "D"),
    ("init_uts_ns", 512, "D"),
    ("init_css_set", 512, "D"),
    ("cgrp_dfl_root", 8192, "D"),
    ("tcp_prot", 512, "D"),
    ("tcpv6_prot", 512, "D"),
    ("udp_prot", 512, "D"),
    ("udpv6_prot", 512, "D"),
    ("jiffies", 0, "D"),
    ("jiffies_64", 8, "D"),
    ("system_state", 64, "D"),
    ("panic_on_oops", 64, "D"),
    ("nr_cpu_ids", 64, "D"),
    ("tcp_hashinfo", 1024, "D"),
    ("udp_table", 64, "D"),
    ("dentry_hashtable", 64, "d"),
    ("inode_hashtable", 64, "d"),
    ("_edata", 0, "D"),
    ("__bss_start", 0, "B"),
    ("vm_zone_stat", 128, "B"),
    ("vm_numa_event", 64, "B"),
    ("vm_node_stat", 512, "B"),
    ("_end", 0, "B"),
)
# Entries in assembly, which have no type: they follow the functions, `PITCH` bytes each.
ASSEMBLY = (
    "entry_SYSCALL_64_after_hwframe",
    "ret_from_fork_asm",
    "asm_sysvec_apic_timer_interrupt",
)
# Names that mark where the text starts and ends.
TEXT_START = ("_stext", "_text")
TEXT_END = "_etext"


class Symbols:
    """The symbol table of the kernel whose types are `btf`."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._first, self._last, _ = btf.span(Kind.FUNC)
        typed = TEXT + (self._last + 1 - self._first) * PITCH
        self._assembly = {name: typed + place * PITCH for place, name in enumerate(ASSEMBLY)}
        self._end = typed + len(ASSEMBLY) * PITCH
        self._marks = dict.fromkeys(TEXT_START, TEXT) | {TEXT_END: self._end} | self._assembly
        at = max(DATA, -(-self._end // 0x20_0000) * 0x20_0000)
        for name, size, _ in DATA_SYMBOLS:
            self._marks[name] = at
            at += -(-size // 64) * 64

    @cached_property
    def modules(self) -> dict[int, str]:
        """The modules of functions, by type id."""
        raw = self._btf.raw
        return {
            raw.record(tag)[3]: name.removeprefix(MODULE)
            for tag, name in self._btf.named(Kind.DECL_TAG)
            if name.startswith(MODULE)
        }

    def module(self, name: str) -> str:
        """The module that a function belongs to, "" for the kernel itself."""
        number = self._btf.find_id(Kind.FUNC, name)
        return self.modules.get(number, "") if number is not None else ""

    def address(self, name: str) -> int | None:
        """Where a symbol lies; None if there is none of that name."""
        number = self._btf.find_id(Kind.FUNC, name)
        return self._marks.get(name) if number is None else self._place(number)

    def _place(self, number: int) -> int:
        return TEXT + (number - self._first) * PITCH

    def resolve(self, address: int) -> tuple[str, int] | None:
        """The function that an address lies in and the offset in it; None outside the text."""
        if not TEXT <= address < self._end:
            return None
        for name, place in self._assembly.items():
            if place <= address < place + PITCH:
                return name, address - place
        number = self._first + (address - TEXT) // PITCH
        while not isinstance(function := self._btf.type(number), Func):
            number -= 1  # ends: the first one is a function
        return function.name, address - self._place(number)

    def names(self) -> list[str]:
        """The names of all functions, by address."""
        return [name for _, name in self._btf.named(Kind.FUNC)]

    def kallsyms(self) -> bytes:
        """The content of /proc/kallsyms, by address."""
        rows = [f"{TEXT:016x} T {name}\n" for name in TEXT_START]
        labels = {number: f"\t[{name}]" for number, name in self.modules.items()}
        rows += [
            f"{self._place(number):016x} T {name}{labels.get(number, '')}\n"
            for number, name in self._btf.named(Kind.FUNC)
        ]
        rows += [f"{place:016x} T {name}\n" for name, place in self._assembly.items()]
        rows.append(f"{self._end:016x} T {TEXT_END}\n")
        rows += [f"{self._marks[name]:016x} {letter} {name}\n" for name, _, letter in DATA_SYMBOLS]
        return "".join(rows).encode()
