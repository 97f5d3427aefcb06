"""USDT: probes that programs carry with them, as notes in their ELF files.

A note of section .note.stapsdt says where a probe is and where its arguments lie at that moment: in
a register, in memory beside one, or nowhere because they are constant. `USDT` reads the notes of a
file, or of all files that a process has mapped, and writes C that reads the arguments;
``bpf_usdt_readarg(n, ctx, &value)`` in the program ``fn`` becomes a call of
``_bpf_readarg_fn_n(ctx, &value, sizeof(value))``.

Mirrors: libbcc's usdt.cc and usdt_args.cc, BCC's usdt.py; the notes are systemtap's
(sourceware.org/systemtap/wiki/UserSpaceProbeImplementation).
"""

from __future__ import annotations

import re
import struct
import sys
from typing import TYPE_CHECKING, Any

from minibcc import boot
from minibcc.bcc.elf import find_module
from minibcc.errors import MinibccError
from minibcc.records import Record
from minibcc.system.interface import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTE_TYPE = 3  # NT_STAPSDT

# x86-64's names of registers, by their field in struct pt_regs.
_LEGACY = {
    field: (f"r{field}", f"e{field}", field, low)
    for field, low in (
        ("ax", "al"), ("bx", "bl"), ("cx", "cl"), ("dx", "dl"), ("si", "sil"), ("di", "dil"),
        ("bp", "bpl"), ("sp", "spl"),
    )
}  # fmt: skip
REGISTERS = {name: field for field, names in _LEGACY.items() for name in names} | {
    f"r{number}{suffix}": f"r{number}" for number in range(8, 16) for suffix in ("", "d", "w", "b")
}
REGISTERS |= {"rip": "ip", "eip": "ip"}

# Compiled when first used: few scripts have USDT probes.
_ARGUMENT = r"""(?x)(?:(?P<size>-?\d+)f?@)?
    (?: \$(?P<constant>-?\d+)
      | (?P<symbol>[A-Za-z_.][\w.]*)?(?P<offset>[+-]?(?:0x)?[0-9a-f]+)?
        \(%(?P<base>\w+)(?:,%(?P<index>\w+)(?:,(?P<scale>\d+))?)?\)
      | %(?P<register>\w+)
    )$"""


class USDTException(MinibccError):  # BCC's name
    """A probe or a file that is not there, or that cannot be read."""


class USDTProbeArgument(Record):
    """Where an argument lies. `size` in bytes; exactly one of `constant`, `register` and
    `base_register_name` says how to get it."""

    size: int
    signed: bool
    constant: int | None = None
    register: str | None = None
    base_register_name: str | None = None
    index_register_name: str | None = None
    scale: int = 1
    deref_offset: int = 0
    deref_ident: str | None = None

    @property
    def ctype(self) -> str:
        """The C type: int8_t to uint64_t."""
        return f"{'' if self.signed else 'u'}int{self.size * 8}_t"

    def place(self) -> str:
        """In words: ``5``, ``ax``, ``*(bp - 20)``."""
        if self.constant is not None:
            return str(self.constant)
        if self.register is not None:
            return self.register
        sign = "+" if self.deref_offset >= 0 else "-"
        index = ""
        if self.index_register_name:
            index = f" + {self.index_register_name}"
            index += f" * {self.scale}" if self.scale != 1 else ""
        base = f"&{self.deref_ident}" if self.deref_ident else self.base_register_name
        return f"*({base} {sign} {abs(self.deref_offset)}{index})"

    def __str__(self) -> str:
        return f"{self.size} {'signed  ' if self.signed else 'unsigned'} bytes @ {self.place()}"

    def statements(self) -> str:
        """C that copies it to ``dest``."""
        if self.constant is not None:
            return f"*(({self.ctype} *)dest) = {self.constant};"
        if self.register is not None:
            return f"*(({self.ctype} *)dest) = ({self.ctype})ctx->{self.register};"
        address = f"ctx->{self.base_register_name} + ({self.deref_offset})"
        if self.index_register_name:
            address += f" + ctx->{self.index_register_name} * {self.scale}"
        return (
            f"u64 address = {address}; {self.ctype} value = 0; "
            "bpf_probe_read_user(&value, sizeof(value), (void *)address); "
            f"*(({self.ctype} *)dest) = value;"
        )


def parse_argument(text: str) -> USDTProbeArgument:
    """An argument of a note: ``-4@%edi``, ``8@$5``, ``-4@-20(%rbp)``. Raises USDTException."""
    found = re.match(_ARGUMENT, text)
    if found is None:
        raise USDTException(f"a probe's argument is in a form that minibcc cannot read: {text}")
    size = int(found["size"] or 8)
    common: dict[str, Any] = {"size": abs(size), "signed": size < 0}
    try:
        if found["constant"] is not None:
            return USDTProbeArgument(**common, constant=int(found["constant"]))
        if found["register"] is not None:
            return USDTProbeArgument(**common, register=REGISTERS[found["register"]])
        return USDTProbeArgument(
            **common,
            base_register_name=REGISTERS[found["base"]],
            index_register_name=REGISTERS[found["index"]] if found["index"] else None,
            scale=int(found["scale"] or 1),
            deref_offset=int(found["offset"] or "0", 0),
            deref_ident=found["symbol"],
        )
    except KeyError as unknown:
        raise USDTException(f"{unknown} in {text} is no register that a probe can read") from None


class USDTProbeLocation(Record):
    """One place where a probe is: the file, the address in it, and its arguments there."""

    bin_path: bytes
    address: int
    arguments: tuple[str, ...]

    @property
    def num_arguments(self) -> int:
        return len(self.arguments)

    def get_argument(self, index: int) -> USDTProbeArgument:
        """Raises USDTException."""
        if not 0 <= index < len(self.arguments):
            raise USDTException(f"the probe has {len(self.arguments)} arguments, none {index}")
        return parse_argument(self.arguments[index])

    def __str__(self) -> str:
        return f"{self.bin_path.decode()} 0x{self.address:x}"


class USDTProbe:
    """A probe with all its places."""

    def __init__(self, provider: bytes, name: bytes, bin_path: bytes, semaphore: int) -> None:
        self.provider = provider
        self.name = name
        self.bin_path = bin_path
        self.semaphore = semaphore
        self.locations: list[USDTProbeLocation] = []

    @property
    def num_locations(self) -> int:
        return len(self.locations)

    @property
    def num_arguments(self) -> int:
        return self.locations[0].num_arguments

    def get_location(self, index: int) -> USDTProbeLocation:
        return self.locations[index]

    def short_name(self) -> str:
        return f"{self.provider.decode()}:{self.name.decode()}"

    def __str__(self) -> str:
        return f"{self.short_name()} [sema 0x{self.semaphore:x}]"

    def argument_type(self, index: int) -> str:
        """The C type that holds the argument at every place."""
        found = [location.get_argument(index) for location in self.locations]
        signed = any(argument.signed for argument in found)
        size = max(argument.size for argument in found)
        return f"{'' if signed else 'u'}int{size * 8}_t"

    def text(self, function: str) -> str:
        """C that reads the arguments for the program `function`, a function per argument."""
        parts = []
        for index in range(self.num_arguments):
            body = "".join(
                f"    if (ctx->ip == 0x{location.address:x}ULL) "
                f"{{ {location.get_argument(index).statements()} return 0; }}\n"
                for location in self.locations
            )
            if len(self.locations) == 1:
                body = f"    {{ {self.locations[0].get_argument(index).statements()} }}\n"
            parts.append(
                f"static inline int _bpf_readarg_{function}_{index + 1}"
                "(struct pt_regs *ctx, void *dest, size_t len)\n{\n"
                f"    if (len != sizeof({self.argument_type(index)})) return -1;\n"
                f"{body}    return {0 if len(self.locations) == 1 else -1};\n}}\n"
            )
        return "".join(parts)


class USDT:
    """The probes of a process, or of a file. Raises USDTException where there are none to read."""

    def __init__(self, pid: int | None = None, path: str | None = None) -> None:
        self.pid = pid if pid and pid > 0 else -1
        self.path = path
        self._enabled: list[tuple[USDTProbe, str]] = []
        if path:
            paths = [self._file(path)]
        elif self.pid > 0:
            paths = list(self._mapped())
        else:
            raise USDTException("either a pid or a binary path must be specified")
        self._probes: dict[tuple[bytes, bytes, bytes], USDTProbe] = {}
        for file in paths:
            for probe in read_notes(file):
                self._probes[probe.bin_path, probe.provider, probe.name] = probe

    @staticmethod
    def _file(path: str) -> str:
        try:
            return find_module(path)
        except FileNotFoundError:
            raise USDTException(f"USDT failed to instrument path {path}") from None

    def _mapped(self) -> Iterator[str]:
        try:
            text = read_file(boot.current(), f"/proc/{self.pid}/maps").decode(errors="replace")
        except OSError:
            raise USDTException(f"USDT failed to instrument PID {self.pid}") from None
        seen = set()
        for line in text.splitlines():
            fields = line.split(None, 5)
            if len(fields) == 6 and "x" in fields[1] and fields[5].startswith("/"):
                if fields[5] not in seen:
                    yield fields[5]
                seen.add(fields[5])

    def enumerate_probes(self) -> list[USDTProbe]:
        return list(self._probes.values())

    def _find(self, probe: str) -> USDTProbe:
        """By ``provider:name`` or ``name``. Raises USDTException."""
        provider, _, name = probe.rpartition(":")
        found = [
            each
            for each in self._probes.values()
            if each.name.decode() == name and provider in ("", each.provider.decode())
        ]
        if len(found) != 1:
            raise USDTException(
                f"Failed to enable USDT probe '{probe}': "
                + (
                    f"several are meant ({', '.join(each.short_name() for each in found)})"
                    if found
                    else "no file of that process carries it; tplist shows those that are there"
                )
            )
        return found[0]

    def enable_probe(self, probe: str, fn_name: str) -> None:
        """Has the program `fn_name` run at a probe, once `BPF` is given this object."""
        self._enabled.append((self._find(probe), fn_name))

    def enable_probe_or_bail(self, probe: str, fn_name: str) -> None:
        """The same; where that fails, prints why and ends the script."""
        try:
            self.enable_probe(probe, fn_name)
        except USDTException as wrong:
            print(wrong, file=sys.stderr)
            sys.exit(1)

    def get_text(self) -> str:
        """C that reads the arguments of the enabled probes."""
        return "".join(probe.text(function) for probe, function in self._enabled)

    def get_probe_arg_ctype(self, probe_name: str, arg_index: int) -> str:
        return self._find(probe_name).argument_type(arg_index)

    def enumerate_active_probes(self) -> list[tuple[bytes, bytes, int, int]]:
        """File, function, address and pid of what is to be attached."""
        return [
            (location.bin_path, function.encode(), location.address, self.pid)
            for probe, function in self._enabled
            for location in probe.locations
        ]

    def attach_uprobes(self, bpf: Any, attach_usdt_ignore_pid: bool) -> None:
        """What `BPF` does with its ``usdt_contexts``."""
        for path, function, address, pid in self.enumerate_active_probes():
            bpf.attach_uprobe(
                name=path,
                fn_name=function,
                addr=address,
                pid=-1 if attach_usdt_ignore_pid else pid,
            )


def read_notes(path: str) -> list[USDTProbe]:
    """The probes of an ELF file; none if it is no such file."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with open(path, "rb") as file:
            elf = ELFFile(file)
            section = elf.get_section_by_name(".note.stapsdt")
            base = elf.get_section_by_name(".stapsdt.base")
            if section is None:
                return []
            return _probes(path, section.data(), base["sh_addr"] if base is not None else 0)
    except (OSError, ELFError):
        return []


def _probes(path: str, notes: bytes, real_base: int) -> list[USDTProbe]:
    found: dict[tuple[bytes, bytes], USDTProbe] = {}
    position = 0
    while position + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<3I", notes, position)
        start = position + 12 + (name_size + 3 & ~3)
        name = notes[position + 12 : position + 12 + name_size]
        position = start + (size + 3 & ~3)
        if kind != NOTE_TYPE or name != b"stapsdt\0":
            continue
        address, base, semaphore = struct.unpack_from("<3Q", notes, start)
        provider, probe_name, arguments = notes[start + 24 : start + size].split(b"\0")[:3]
        # A file that was prelinked after the note was written has moved by as much as this.
        moved = real_base - base if real_base else 0
        probe = found.setdefault(
            (provider, probe_name),
            USDTProbe(provider, probe_name, path.encode(), semaphore + moved if semaphore else 0),
        )
        probe.locations.append(
            USDTProbeLocation(path.encode(), address + moved, tuple(arguments.decode().split()))
        )
    return list(found.values())
