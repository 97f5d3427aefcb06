"""Class BPF: a C text, compiled, loaded and attached, as scripts written for BCC use it.

Making one compiles the text for the kernel in use, creates its maps, and attaches the functions
whose names say to what (``kprobe__do_sys_openat2``). What a program says comes back by `Output`,
its maps by ``b["name"]``, symbols by `Symbols`; `Attachments` hangs further functions on events.

Mirrors: src/python/bcc/__init__.py of BCC.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from minibcc import boot
from minibcc.abi.bpf import MapType, ProgType
from minibcc.bcc import constants, uncaught
from minibcc.bcc.attach import Attachments
from minibcc.bcc.constants import XDPAction, XDPFlags
from minibcc.bcc.loader import LoadedMap, Module, prefix_of
from minibcc.bcc.output import Output
from minibcc.bcc.probes import Function as Program
from minibcc.bcc.symbols import Symbols
from minibcc.bcc.table import Table
from minibcc.bcc.utils import ArgString, to_bytes, to_text
from minibcc.bcc.values import Classes
from minibcc.errors import MinibccError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from minibcc.compiler.object import BpfObject


Text: TypeAlias = str | bytes | ArgString


class NoSuchName(MinibccError, KeyError):
    """A map or a function that the C text does not define; `code` is a diagnostic code."""

    def __init__(self, kind: str, name: str, known: Iterable[str], code: str) -> None:
        names = sorted(known)
        self.code = code
        self.help = (f"it defines {', '.join(names)}",) if names else (f"it defines no {kind}",)
        self.message = f"the C text defines no {kind} {name!r}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return "\n".join([self.message, *(f"help: {text}" for text in self.help)])


class NoSuchFile(MinibccError, FileNotFoundError):
    """The file of a C text is not to be found."""

    code = "load/no-such-file"


class BPF(Attachments, Output, Symbols):
    """A BPF module. Exactly one of `text` and `src_file` is given.

    `cflags` are -D, -U, -I and -include; `usdt_contexts` are `USDT` objects whose enabled probes
    are attached; `debug` is a sum of DEBUG_* flags; `cpu` chooses the instruction set (v1 to v4).
    Raises CompileError, LoadError, AttachError.
    """

    SOCKET_FILTER = ProgType.SOCKET_FILTER
    KPROBE = ProgType.KPROBE
    SCHED_CLS = ProgType.SCHED_CLS
    SCHED_ACT = ProgType.SCHED_ACT
    TRACEPOINT = ProgType.TRACEPOINT
    XDP = ProgType.XDP
    PERF_EVENT = ProgType.PERF_EVENT
    CGROUP_SKB = ProgType.CGROUP_SKB
    CGROUP_SOCK = ProgType.CGROUP_SOCK
    LWT_IN = ProgType.LWT_IN
    LWT_OUT = ProgType.LWT_OUT
    LWT_XMIT = ProgType.LWT_XMIT
    SOCK_OPS = ProgType.SOCK_OPS
    SK_SKB = ProgType.SK_SKB
    SK_MSG = ProgType.SK_MSG
    RAW_TRACEPOINT = ProgType.RAW_TRACEPOINT
    CGROUP_DEVICE = ProgType.CGROUP_DEVICE
    CGROUP_SOCK_ADDR = ProgType.CGROUP_SOCK_ADDR
    CGROUP_SOCKOPT = ProgType.CGROUP_SOCKOPT
    TRACING = ProgType.TRACING
    LSM = ProgType.LSM

    XDP_ABORTED = XDPAction.XDP_ABORTED
    XDP_DROP = XDPAction.XDP_DROP
    XDP_PASS = XDPAction.XDP_PASS
    XDP_TX = XDPAction.XDP_TX
    XDP_REDIRECT = XDPAction.XDP_REDIRECT
    XDP_FLAGS_UPDATE_IF_NOEXIST = XDPFlags.UPDATE_IF_NOEXIST
    XDP_FLAGS_SKB_MODE = XDPFlags.SKB_MODE
    XDP_FLAGS_DRV_MODE = XDPFlags.DRV_MODE
    XDP_FLAGS_HW_MODE = XDPFlags.HW_MODE
    XDP_FLAGS_REPLACE = XDPFlags.REPLACE

    CLOCK_MONOTONIC = time.CLOCK_MONOTONIC
    Function = Program
    Table = staticmethod(Table)

    _auto_includes: ClassVar[dict[str, tuple[str, ...]]] = {
        "linux/time.h": ("time",),
        "linux/fs.h": ("fs", "file"),
        "linux/blkdev.h": ("bio", "request"),
        "linux/slab.h": ("alloc",),
        "linux/netdevice.h": ("sk_buff", "net_device"),
    }

    def __init__(
        self,
        src_file: Text = b"",
        hdr_file: Text = b"",
        text: Text | None = None,
        debug: int = 0,
        cflags: Sequence[Text] = (),
        usdt_contexts: Sequence[Any] = (),
        allow_rlimit: bool = True,
        device: Text | None = None,
        attach_usdt_ignore_pid: bool = False,
        *,
        cpu: str | None = None,
    ) -> None:
        if bool(src_file) == (text is not None):
            raise UsageError("BPF() wants either text= or src_file=")
        if device is not None:
            raise UsageError("programs run in the kernel, never on a device: leave device= out")
        self.system = boot.current()
        self.debug = debug
        self.funcs: dict[bytes, Program] = {}
        self.tables: dict[Any, Any] = {}
        self.module: Module | None = None
        self._classes = Classes()
        self._open_tables()
        self._open_outputs()
        atexit.register(self.cleanup)
        uncaught.install()
        try:
            name, source = _source(src_file, hdr_file, text)
            for usdt in usdt_contexts:
                source = usdt.get_text() + source
            self._compile(name, source, [to_text(flag) for flag in cflags], cpu)
            for usdt in usdt_contexts:
                usdt.attach_uprobes(self, attach_usdt_ignore_pid)
            self._attach_by_name()
        except BaseException:
            self.cleanup()
            raise

    def _compile(self, name: str, source: str, cflags: list[str], cpu: str | None) -> None:
        from minibcc.compiler.compile import compile
        from minibcc.compiler.target import Target

        target = Target.from_system(self.system)
        compiled = compile(source, target, file=name, cflags=cflags, cpu=cpu)
        for warning in compiled.warnings:
            print(warning, file=sys.stderr)
        if self.debug & ~constants.DEBUG_BPF & ~constants.DEBUG_BPF_REGISTER_STATE:
            from minibcc.bcc.debug import show

            show(self.debug, source, name, cflags, target, compiled)
        self.module = self._module(compiled)

    def _module(self, compiled: BpfObject) -> Module:
        return Module(self.system, compiled)

    def _attach_by_name(self) -> None:
        """Loads and attaches the functions whose names say to what."""
        for program in self._loaded().object.programs:
            prefix = prefix_of(program.name)
            if not prefix:
                continue
            event = program.name.removeprefix(prefix).encode()
            function = program.name.encode()
            match prefix:
                case "kprobe__":
                    self.attach_kprobe(event=self.fix_syscall_fnname(event), fn_name=function)
                case "kretprobe__":
                    self.attach_kretprobe(event=self.fix_syscall_fnname(event), fn_name=function)
                case "tracepoint__":
                    self.attach_tracepoint(tp=event.replace(b"__", b":", 1), fn_name=function)
                case "raw_tracepoint__":
                    self.attach_raw_tracepoint(tp=event, fn_name=function)
                case "kfunc__":
                    self.attach_kfunc(fn_name=function)
                case "kretfunc__":
                    self.attach_kretfunc(fn_name=function)
                case "kmod_ret__":
                    self.attach_fmod_ret(fn_name=function)
                case "lsm__":
                    self.attach_lsm(fn_name=function)

    def _loaded(self) -> Module:
        if self.module is None:
            raise UsageError("this BPF object is closed")
        return self.module

    # --- programs ---

    def load_func(
        self, func_name: Text, prog_type: int, device: Any = None, attach_type: int = -1
    ) -> Program:
        """Loads a function of the text as a program of `prog_type`; loading it again answers the
        same one. Raises LoadError, or NoSuchName (a KeyError)."""
        name = to_bytes(func_name)
        if name in self.funcs:
            return self.funcs[name]
        if device is not None:
            raise UsageError("programs run in the kernel, never on a device: leave device= out")
        module = self._loaded()
        self._program(name)
        log_level = 0
        if self.debug & constants.DEBUG_BPF_REGISTER_STATE:
            log_level = 2
        elif self.debug & constants.DEBUG_BPF:
            log_level = 1
        fd = module.load(
            to_text(name),
            ProgType(prog_type),
            log_level=log_level,
            attach_type=None if attach_type < 0 else attach_type,
            kernel_function=self._kernel_function,
        )
        function = self.funcs[name] = Program(self, name, fd)
        return function

    def _kernel_function(self, name: str, attach_type: int) -> int:
        from minibcc.bcc.kerneltypes import function_id

        return function_id(self.system, name, attach_type)

    def load_funcs(self, prog_type: int = ProgType.KPROBE) -> list[Program]:
        """Loads all functions of the text as programs of one type."""
        programs = self._loaded().object.programs
        return [self.load_func(program.name, prog_type) for program in programs]

    def _program(self, name: bytes) -> Any:
        compiled = self._loaded().object
        program = compiled.program(to_text(name))
        if program is None:
            known = (program.name for program in compiled.programs)
            raise NoSuchName("function", to_text(name), known, "load/no-such-program")
        return program

    def dump_func(self, func_name: Text) -> bytes:
        """A function's bytecode, before it is loaded."""
        return bytes(self._program(to_bytes(func_name)).insns)

    def disassemble_func(self, func_name: Text) -> str:
        """The same as text."""
        from minibcc.bcc.debug import disassemble

        return disassemble(self._program(to_bytes(func_name)))

    # --- tables ---

    def get_table(
        self, name: Text, keytype: Any = None, leaftype: Any = None, reducer: Any = None
    ) -> Any:
        """The table of a map, with key and leaf types from the C text unless given. Raises
        NoSuchName (a KeyError)."""
        module = self._loaded()
        loaded = module.maps.get(to_text(name))
        if loaded is None:
            raise NoSuchName("map", to_text(name), module.maps, "load/no-such-map")
        spec = loaded.spec
        if keytype is None and spec.type not in (MapType.QUEUE, MapType.STACK):
            keytype = self._class(spec.key_type, spec.key_size)
        if leaftype is None:
            leaftype = self._class(spec.value_type, spec.value_size)
        return Table(self, loaded, keytype, leaftype, reducer)

    def _class(self, type_id: int, size: int) -> Any:
        """The ctypes class of a BTF type; bytes, or a number of that size, where there is none."""
        import ctypes as ct

        if type_id:
            return self._classes.of(self._loaded().types.type(type_id))
        return {1: ct.c_ubyte, 2: ct.c_ushort, 4: ct.c_uint, 8: ct.c_ulonglong}.get(
            size, ct.c_ubyte * size
        )

    def event_class(self, loaded: LoadedMap) -> Any:
        """The ctypes class of the records that programs submit through a map."""
        if not loaded.spec.output_type:
            raise UsageError(
                f"no program submits a typed record through {loaded.spec.name!r}: "
                "describe it with ctypes and cast"
            )
        return self._class(loaded.spec.output_type, 0)

    def decode_table(self, table_name: Text, sizeinfo: bool = False) -> str:
        """The layout of a map's keys and values as text."""
        from minibcc.bcc.debug import layout

        return layout(self[to_text(table_name)], to_text(table_name), sizeinfo)

    def __getitem__(self, key: Any) -> Any:
        if key not in self.tables:
            self.tables[key] = self.get_table(key)
        return self.tables[key]

    def __setitem__(self, key: Any, leaf: Any) -> None:
        self.tables[key] = leaf

    def __delitem__(self, key: Any) -> None:
        del self.tables[key]

    def __len__(self) -> int:
        return len(self.tables)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tables)

    # --- the rest ---

    @classmethod
    def monotonic_time(cls) -> int:
        """The clock that bpf_ktime_get_ns reads, in ns."""
        return boot.current().now()

    @classmethod
    def generate_auto_includes(cls, program_words: Iterable[str]) -> str:
        """``#include`` lines for the kernel types that a program's words hint at."""
        words = list(program_words)
        return "".join(
            f"#include <{header}>\n"
            for header, hints in cls._auto_includes.items()
            if any(hint in word for hint in hints for word in words)
        )

    def free_bcc_memory(self) -> int:
        """BCC gives its compiler's memory back here; there is nothing to give back."""
        return 0

    def close(self) -> None:
        """Closes programs and maps; what is attached stays so."""
        self.funcs.clear()
        if self.module is not None:
            self.module.close()
            self.module = None

    def cleanup(self) -> None:
        """Detaches and closes everything; at the latest when the script ends."""
        self._detach_all()
        for table in list(self.tables.values()):
            getattr(table, "close", lambda: None)()
        self._close_outputs()
        self.close()
        atexit.unregister(self.cleanup)

    def __enter__(self) -> BPF:
        return self

    def __exit__(self, *exception: object) -> None:
        self.cleanup()


def _source(src_file: Text, hdr_file: Text, text: Text | None) -> tuple[str, str]:
    """Name and content of the C text."""
    if text is not None:
        return "<text>", to_text(text)
    path = _find(to_text(src_file))
    header = ""
    if hdr_file:
        header = f'#include "{os.path.abspath(_find(to_text(hdr_file)))}"\n#line 1\n'
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return path, header + file.read()


def _find(name: str) -> str:
    """A file by its path, or beside the script. Raises NoSuchFile."""
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), name)
    for path in (name, beside):
        if os.path.isfile(path):
            return path
    raise NoSuchFile(2, f"cannot find {name}: No such file or directory")


__all__ = ["BPF", "NoSuchFile", "NoSuchName"]
