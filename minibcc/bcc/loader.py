"""From a compiled object to descriptors: the maps are created, programs loaded when asked for.

`Module` is an object living in one kernel: its types go in first (BPF_BTF_LOAD), then a map per
`MapSpec`, then each program, with the descriptors of its maps written into its 64-bit loads. What
the kernel refuses becomes a `LoadError` that speaks of C lines: the verifier names an instruction,
and line information says where that came from.

Mirrors: libbcc's bpf_module.cc and bcc_func_load; bpf_object__load of libbpf.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from minibcc.abi.bpf import OBJ_NAME_LEN, LogLevel, MapType, ProgType, Pseudo
from minibcc.abi.requests import (
    BtfLoad,
    MapCreate,
    MapFreeze,
    MapUpdate,
    ObjGet,
    ObjPin,
    ProgLoad,
    ProgramRefused,
)
from minibcc.bcc.utils import get_possible_cpus
from minibcc.diagnostics import Sources
from minibcc.errors import LoadError
from minibcc.isa.instruction import Instruction, decode, encode
from minibcc.records import Record, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.btf.decode import Btf
    from minibcc.compiler.object import BpfObject, MapSpec, ProgramSpec
    from minibcc.system.interface import System

LOG_SIZE = 1 << 20

PREFIXES = {
    "kprobe__": ProgType.KPROBE,
    "kretprobe__": ProgType.KPROBE,
    "tracepoint__": ProgType.TRACEPOINT,
    "raw_tracepoint__": ProgType.RAW_TRACEPOINT,
    "kfunc__": ProgType.TRACING,
    "kretfunc__": ProgType.TRACING,
    "kmod_ret__": ProgType.TRACING,
    "lsm__": ProgType.LSM,
    "bpf_iter__": ProgType.TRACING,
}
"""What a function's name says about its program type; what follows is what it attaches to."""


WITHOUT_TYPES = {
    MapType.PROG_ARRAY,
    MapType.PERF_EVENT_ARRAY,
    MapType.CGROUP_ARRAY,
    MapType.STACK_TRACE,
    MapType.ARRAY_OF_MAPS,
    MapType.HASH_OF_MAPS,
    MapType.DEVMAP,
    MapType.DEVMAP_HASH,
    MapType.CPUMAP,
    MapType.XSKMAP,
    MapType.SOCKMAP,
    MapType.SOCKHASH,
    MapType.QUEUE,
    MapType.STACK,
}
"""Maps whose keys and values Linux does not let BTF describe (libbpf leaves it out for these)."""


class LoadedMap(Record):
    """A map in the kernel: where it stands in its object, what it is, its descriptor."""

    index: int
    spec: MapSpec
    fd: int
    max_entries: int


_shared: WeakKeyDictionary[System, dict[str, LoadedMap]] = WeakKeyDictionary()
"""Maps that one BPF object lends to later ones in this process (BPF_TABLE_PUBLIC), by kernel."""


class Module:
    """A compiled object in one kernel. `fds` are the programs loaded so far, by function name."""

    def __init__(self, system: System, object: BpfObject) -> None:
        self.object = object
        self.maps: dict[str, LoadedMap] = {}
        self.fds: dict[str, int] = {}
        self.sources = Sources(dict(object.sources))
        self._system = system
        self._btf: int | None = None
        self._types: Btf | None = None
        self._own: list[int] = []
        try:
            self._btf = self._load_btf()
            # An inner map is a template for the map of maps that names it, so it comes first.
            for spec in sorted(object.maps, key=lambda spec: bool(spec.inner)):
                self.maps[spec.name] = self._create(object.maps.index(spec), spec)
        except BaseException:
            self.close()
            raise

    @property
    def types(self) -> Btf:
        """The object's types, decoded."""
        if self._types is None:
            from minibcc.btf.decode import Btf

            self._types = Btf(self.object.btf)
        return self._types

    def _load_btf(self) -> int | None:
        if not self.object.btf:
            return None
        try:
            return self._keep(self._system.bpf(BtfLoad(self.object.btf)))
        except OSError as failure:
            # The types only describe; an old kernel does without them, as it does under BCC.
            if failure.errno == errno.EPERM:
                raise LoadError(failure.errno, "Need super-user privileges to run") from None
            return None

    def _keep(self, fd: int) -> int:
        self._own.append(fd)
        return fd

    # --- maps ---

    def _create(self, index: int, spec: MapSpec) -> LoadedMap:
        if spec.scope == "extern":
            shared = _shared.get(self._system, {}).get(spec.name)
            if shared is None:
                raise LoadError(
                    errno.ENOENT,
                    f"no map {spec.name!r} is shared: the BPF object that defines it with "
                    "BPF_TABLE_PUBLIC comes first",
                )
            return replace(shared, index=index)
        entries = spec.max_entries
        if spec.type is MapType.PERF_EVENT_ARRAY and not entries:
            entries = len(get_possible_cpus(self._system))
        try:
            fd = self._keep(self._open_or_create(spec, entries))
            if spec.initial:
                self._system.bpf(MapUpdate(fd, bytes(4), spec.initial))
            if spec.read_only:
                self._system.bpf(MapFreeze(fd))
        except OSError as failure:
            raise LoadError(
                failure.errno or errno.EINVAL,
                f"could not create map {spec.name!r}: {_reason(failure)}",
            ) from None
        loaded = LoadedMap(index, spec, fd, entries)
        if spec.scope in ("public", "shared"):
            _shared.setdefault(self._system, {})[spec.name] = loaded
        return loaded

    def _open_or_create(self, spec: MapSpec, entries: int) -> int:
        if spec.pin:
            try:
                return self._system.bpf(ObjGet(spec.pin))
            except OSError as failure:
                if failure.errno != errno.ENOENT:
                    raise
        typed = self._btf is not None and bool(spec.value_type) and spec.type not in WITHOUT_TYPES
        inner = self.maps[spec.inner].fd if spec.inner in self.maps else None
        request = MapCreate(
            map_type=spec.type,
            key_size=spec.key_size,
            value_size=spec.value_size,
            max_entries=entries,
            map_flags=spec.flags,
            map_name=spec.name[: OBJ_NAME_LEN - 1],
            inner_map_fd=inner,
            btf_fd=self._btf if typed else None,
            btf_key_type_id=spec.key_type if typed else 0,
            btf_value_type_id=spec.value_type if typed else 0,
        )
        try:
            fd = self._system.bpf(request)
        except OSError:
            if not typed:
                raise
            # The types only describe: a trie whose key is a number is refused for them alone.
            plain = replace(request, btf_fd=None, btf_key_type_id=0, btf_value_type_id=0)
            fd = self._system.bpf(plain)
        if spec.pin:
            self._system.bpf(ObjPin(spec.pin, fd))
        return fd

    # --- programs ---

    def load(
        self,
        name: str,
        prog_type: ProgType,
        *,
        log_level: int = 0,
        attach_type: int | None = None,
        kernel_function: Callable[[str, int], int] | None = None,
    ) -> int:
        """Loads function `name` as `prog_type`; its descriptor. The same function is loaded once.

        `kernel_function` answers the BTF id of what an fentry, fexit or LSM program attaches to.
        Raises LoadError, or KeyError if there is no such function.
        """
        if name in self.fds:
            return self.fds[name]
        fd, log = self.verify(
            name,
            prog_type,
            log_level=log_level,
            attach_type=attach_type,
            kernel_function=kernel_function,
        )
        if log:
            print(log, end="" if log.endswith("\n") else "\n")
        self.fds[name] = fd
        return fd

    def verify(
        self,
        name: str,
        prog_type: ProgType,
        *,
        log_level: int = 0,
        attach_type: int | None = None,
        kernel_function: Callable[[str, int], int] | None = None,
    ) -> tuple[int, str]:
        """Loads a function as `load` does, each time anew: a descriptor that the caller closes,
        and the log. Raises as `load` does."""
        spec = self.object.program(name)
        if spec is None:
            raise KeyError(name)
        wanted = spec.attach_type if attach_type is None else attach_type
        attach_btf_id = 0
        if prog_type in (ProgType.TRACING, ProgType.LSM) and kernel_function is not None:
            attach_btf_id = kernel_function(spec.attach_to, wanted)
        typed = self._btf is not None
        request = ProgLoad(
            prog_type=prog_type,
            insns=self._resolve(spec),
            license=self.object.license,
            prog_name=kernel_name(name),
            expected_attach_type=wanted,
            kern_version=self.object.version,
            log_level=log_level,
            log_size=LOG_SIZE if log_level else 0,
            prog_btf_fd=self._btf,
            func_info=spec.func_info if typed else b"",
            line_info=spec.line_info if typed else b"",
            attach_btf_id=attach_btf_id,
        )
        try:
            loaded = self._system.bpf(request)
        except OSError as failure:
            raise self._refused(spec, request, failure) from None
        return loaded.fd, loaded.log

    def _resolve(self, spec: ProgramSpec) -> bytes:
        """The bytecode with descriptors in place of symbols."""
        slots = decode(spec.insns)
        for relocation in spec.relocations:
            slot, index = slots[relocation.insn], relocation.insn
            fd = self.maps[relocation.symbol].fd
            kind = Pseudo.MAP_VALUE if relocation.value else Pseudo.MAP_FD
            slots[index] = Instruction(slot.code, slot.dst, kind, slot.off, fd)
            high = slots[index + 1]
            slots[index + 1] = high._replace(imm=relocation.offset if relocation.value else 0)
        return encode(slots)

    def _refused(self, spec: ProgramSpec, request: ProgLoad, failure: OSError) -> LoadError:
        """The refusal as an exception. The first try asked for no log; a second one fetches it,
        but for a program with too many paths, which would take as long again to say little."""
        number = failure.errno or errno.EINVAL
        log = getattr(failure, "log", "")
        shown = request.log_level & (LogLevel.BRANCHES | LogLevel.STATES)
        endless = number == errno.E2BIG and getattr(failure, "refusal", None) is not None
        if not shown and not endless:
            level = request.log_level | int(LogLevel.BRANCHES)
            again = replace(request, log_level=level, log_size=LOG_SIZE)
            try:
                self._system.close(self._system.bpf(again).fd)
            except ProgramRefused as second:
                log = second.log
            except OSError:
                pass
        message = f"Failed to load BPF program {spec.name}: {os.strerror(number)}"
        if number == errno.EPERM and not log:
            message = "Need super-user privileges to run"
        from minibcc.bcc.refusal.report import explain

        refusal = failure.refusal if isinstance(failure, ProgramRefused) else None
        found = explain(log, replace(spec, prog_type=request.prog_type), refusal)
        if found is not None:
            return LoadError(number, message, log=log, diagnostics=[found], sources=self.sources)
        return LoadError(number, f"{message}\n{log}".rstrip(), log=log)

    def close(self) -> None:
        """Closes everything. Attachments and maps that programs use live on by themselves."""
        for name in list(self.fds):
            self._system.close(self.fds.pop(name))
        shared = _shared.get(self._system, {})
        for name, loaded in list(shared.items()):
            if loaded.fd in self._own:
                del shared[name]
        while self._own:
            self._system.close(self._own.pop())
        self._btf = None


def kernel_name(function: str) -> str:
    """The name that the kernel shows for a function: without its prefix, 15 characters at most."""
    prefix = prefix_of(function)
    return function.removeprefix(prefix)[: OBJ_NAME_LEN - 1]


def prefix_of(function: str) -> str:
    """The prefix that says what a function attaches to by itself, "" if it has none."""
    return next((prefix for prefix in PREFIXES if function.startswith(prefix)), "")


def _reason(failure: OSError) -> str:
    return failure.strerror or os.strerror(failure.errno or errno.EINVAL)
