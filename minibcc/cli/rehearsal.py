"""A script in a world where its programs are compiled and verified, and nothing else happens.

``import bcc`` gives the script a class `BPF` that writes down what becomes of each text and of each
program, and goes on where BCC would stop: a refused program counts as loaded, the function or USDT
probe of a missing library or process as probed. The door is quiet (`cli.door`); processes and
signals are refused by an audit hook (PEP 578), or where Python does not audit them, by a function
in the place of Python's. What the script itself did not get to load is loaded at its end.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from minibcc import bcc, boot
from minibcc.abi.bpf import AttachType, ProgType
from minibcc.abi.requests import ProgLoad
from minibcc.bcc.bpf import BPF
from minibcc.bcc.loader import Module
from minibcc.bcc.usdt import USDT, USDTException, USDTProbe, USDTProbeLocation
from minibcc.bcc.utils import to_bytes, to_text
from minibcc.btf.types import Func, Ptr, Struct, strip
from minibcc.cli.door import QuietDoor, Waited
from minibcc.cli.main import WRONG
from minibcc.cli.script import Script
from minibcc.cli.waiting import Idle, Keyboard, quiet, replaced
from minibcc.diagnostics import Severity
from minibcc.errors import CompileError, LoadError
from minibcc.isa.instruction import SIZE, Instruction, encode
from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from minibcc.compiler.object import BpfObject, ProgramSpec
    from minibcc.system.interface import System

OK: Final = "ok"
REFUSED: Final = "refused"
NOT_DECIDED: Final = "not decided"
NOT_LOADED: Final = "not loaded"
NOT_HERE: Final = "not here"

UNDECIDED_CODE: Final = "verify/not-decided"

UNKNOWN: Final = "the script does not load it, and nothing says of what type it is"

CONTEXTS: Final = {
    "pt_regs": ProgType.KPROBE,
    "bpf_perf_event_data": ProgType.PERF_EVENT,
    "bpf_raw_tracepoint_args": ProgType.RAW_TRACEPOINT,
    "__sk_buff": ProgType.SCHED_CLS,
    "xdp_md": ProgType.XDP,
    "bpf_sock_ops": ProgType.SOCK_OPS,
    "sk_msg_md": ProgType.SK_MSG,
}
"""What a function's first parameter says about its type, for those that no script loads."""

ARGUMENTS: Final = ("8@%rdi", "8@%rsi", "8@%rdx", "8@%rcx", "8@%r8", "8@%r9")
"""Where a USDT probe that is not here has its arguments."""

NOTHING: Final = encode([Instruction(0xB7), Instruction(0x95)])
"""A program that does nothing: r0 = 0, exit."""

FORBIDDEN: Final = frozenset(
    (
        "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn",
        "os.spawn", "os.startfile", "pty.spawn", "os.kill", "os.killpg", "signal.pthread_kill",
    )
)  # fmt: skip
"""Audit events of what starts a process or sends a signal."""
UNAUDITED: Final = ((os, "abort"), (signal, "raise_signal"))
"""Functions that do so and say nothing."""
REFUSAL: Final = "a script that is only checked starts no process and sends no signal"


class Verdict(Record):
    """What became of a function: `verdict` one of the words above, `code` a diagnostic code,
    `message` the refusal as text. `type` is None where nothing says what it is; `loaded` tells
    whether the script itself loaded it; `instructions` are slots of 8 bytes."""

    name: str
    type: ProgType | None
    instructions: int
    maps: tuple[str, ...]
    verdict: str
    code: str = ""
    message: str = ""
    loaded: bool = True


class Text:
    """A C text that a script gave to `BPF`. `error` says why it has no programs: it does not
    compile, or one of its maps cannot be made; `code` is that refusal's diagnostic code."""

    def __init__(self, file: str, source: str, cflags: Sequence[str] = ()) -> None:
        self.file = file
        self.source = source
        self.cflags = tuple(cflags)
        self.code = ""
        self.error = ""
        self.object: BpfObject | None = None
        self.verdicts: list[Verdict] = []

    def fail(self, wrong: CompileError | LoadError) -> None:
        self.error = str(wrong)
        self.code = _code(wrong)

    @property
    def passed(self) -> bool:
        return (
            self.object is not None
            and not self.error
            and all(verdict.verdict not in (REFUSED, NOT_DECIDED) for verdict in self.verdicts)
        )


def _code(wrong: CompileError | LoadError) -> str:
    codes = [found.code for found in wrong.diagnostics if found.severity is Severity.ERROR]
    return codes[0] if codes else ""


class WrittenModule(Module):
    """A module that writes down each program's verdict, and takes a refused one for loaded."""

    def __init__(self, system: QuietDoor, object: BpfObject, text: Text) -> None:
        self._ready = False
        self._quiet = system
        self._text = text
        text.object = object
        super().__init__(system, object)
        self._ready = True

    def load(
        self,
        name: str,
        prog_type: ProgType,
        *,
        log_level: int = 0,
        attach_type: int | None = None,
        kernel_function: Callable[[str, int], int] | None = None,
    ) -> int:
        return self._load(name, prog_type, attach_type, kernel_function, loaded=True)

    def _load(
        self,
        name: str,
        prog_type: ProgType,
        attach_type: int | None,
        kernel_function: Callable[[str, int], int] | None,
        *,
        loaded: bool,
    ) -> int:
        if name in self.fds:
            return self.fds[name]
        spec = self.object.program(name)
        verdict, code, message = OK, "", ""
        try:
            with Idle.still():
                fd = super().load(
                    name, prog_type, attach_type=attach_type, kernel_function=kernel_function
                )
        except LoadError as wrong:
            assert spec is not None
            verdict, code, message = REFUSED, _code(wrong), str(wrong)
            if code == UNDECIDED_CODE:
                verdict = NOT_DECIDED
            elif reason := self._refused_to_everyone(spec, prog_type, attach_type, wrong):
                verdict, message = NOT_HERE, reason
            fd = self.fds[name] = self._quiet.descriptor()
        if spec is not None:
            self._text.verdicts.append(
                _verdict(spec, prog_type, verdict, code, message, loaded=loaded)
            )
        return fd

    def _refused_to_everyone(
        self, spec: ProgramSpec, prog_type: ProgType, attach_type: int | None, wrong: LoadError
    ) -> str:
        """Why this kernel takes no program of the type, not even one that does nothing; "" if it
        takes that one."""
        from minibcc.bcc.kerneltypes import function_id

        wanted = spec.attach_type if attach_type is None else attach_type
        nothing = ProgLoad(
            prog_type=prog_type, insns=NOTHING, expected_attach_type=wanted,
            attach_btf_id=_quietly(function_id, self._quiet, spec.attach_to, wanted),
            kern_version=self.object.version,
        )  # fmt: skip
        try:
            self._quiet.close(self._quiet.bpf(nothing).fd)
        except OSError as also:
            if also.errno != wrong.errno:
                return ""
            kind = prog_type.name
            if prog_type is ProgType.TRACING:
                kind = f"{kind} ({AttachType(wanted).name})"
            if not self._quiet.loads:
                return f"this process may load nothing into the kernel: {kind} is compiled only"
            return f"this kernel takes no program of type {kind} from anyone: {also.strerror}"
        return ""

    def finish(self) -> None:
        """Loads what the script has not."""
        from minibcc.bcc.kerneltypes import function_id

        if not self._ready:
            return
        self._ready = False
        for spec in self.object.programs:
            if spec.name in self.fds:
                continue
            kind = spec.prog_type or self._guess(spec)
            if kind is None:
                self._text.verdicts.append(
                    _verdict(spec, None, NOT_LOADED, "", f"{spec.name}: {UNKNOWN}")
                )
                continue

            def kernel_function(name: str, attach_type: int) -> int:
                return function_id(self._quiet, name, attach_type)

            self._load(spec.name, kind, None, kernel_function, loaded=False)

    def _guess(self, spec: ProgramSpec) -> ProgType | None:
        """The type that a function's first parameter belongs to."""
        function = self.types.type(spec.functions[0][2]) if spec.functions else None
        if not isinstance(function, Func) or not function.proto.params:
            return None
        context = strip(function.proto.params[0].type)
        if not isinstance(context, Ptr):
            return None
        pointed = strip(context.to)
        if pointed is None:
            return ProgType.KPROBE  # void *ctx
        return CONTEXTS.get(pointed.name) if isinstance(pointed, Struct) else None

    def close(self) -> None:
        self.finish()
        super().close()


def _verdict(
    spec: ProgramSpec,
    kind: ProgType | None,
    verdict: str,
    code: str,
    message: str,
    *,
    loaded: bool = False,
) -> Verdict:
    maps = dict.fromkeys(relocation.symbol for relocation in spec.relocations)
    return Verdict(
        spec.name, kind, len(spec.insns) // SIZE, tuple(maps), verdict, code, message, loaded
    )


def _quietly(function_id: Callable[[System, str, int], int], *arguments: Any) -> int:
    try:
        return function_id(*arguments)
    except LoadError:
        return 0


class WrittenBPF(BPF):
    """Class `BPF` as a checked script gets it; a `Rehearsal` makes a subclass of its own."""

    texts: list[Text]
    modules: list[WrittenModule]
    system: QuietDoor

    def _compile(self, name: str, source: str, cflags: list[str], cpu: str | None) -> None:
        text = Text(name, source, cflags)
        self.texts.append(text)
        try:
            super()._compile(name, source, cflags, cpu)
        except (CompileError, LoadError) as wrong:
            text.fail(wrong)
            raise
        except BaseException as wrong:
            text.error = f"{name} is not compiled: {type(wrong).__name__}: {wrong}"
            raise

    def _module(self, compiled: BpfObject) -> Module:
        module = WrittenModule(self.system, compiled, self.texts[-1])
        self.modules.append(module)
        return module

    def _each(self, matches: Iterable[Any], attach: Callable[[Any], object], nothing: str) -> None:
        for match in list(matches) or ["nothing:matches"]:
            attach(match)

    def _uprobe(self, name: str | bytes, sym: str | bytes, *where: Any, at_return: bool) -> Any:
        """Without looking for the executable: the machine at hand need not have it."""
        sym_re, addr, fn_name, pid, sym_off = where
        self.load_func(fn_name, ProgType.KPROBE)
        place = b":".join(to_bytes(str(to_text(part))) for part in (name, sym or sym_re))
        key = b"%s:%s:%d:%d:%d" % (b"r" if at_return else b"p", place, addr or 0, sym_off, pid)
        self.uprobe_fds[key] = self.system.descriptor()
        return self

    @staticmethod
    def attach_raw_socket(fn: Any, dev: str | bytes) -> None:
        fn.sock = fn.bpf.system.descriptor()

    @staticmethod
    def attach_xdp(dev: str | bytes, fn: Any, flags: int = 0) -> None:
        """No device is asked for."""

    @staticmethod
    def remove_xdp(dev: str | bytes, flags: int = 0) -> None:
        """None was attached."""


class WrittenUSDT(USDT):
    """Class `USDT` as a checked script gets it: where the process or file is not here, every probe
    counts as found, with arguments where a function's would be."""

    def __init__(self, pid: int | None = None, path: str | None = None) -> None:
        try:
            super().__init__(pid, path)
            self._here = True
        except USDTException:
            if not path and self.pid < 0:
                raise
            self._here = False
            self._probes = {}

    def _find(self, probe: str) -> USDTProbe:
        if self._here:
            return super()._find(probe)
        provider, _, name = probe.rpartition(":")
        path = os.fsencode(self.path or f"/proc/{self.pid}/exe")
        found = USDTProbe(provider.encode(), name.encode(), path, 0)
        found.locations.append(USDTProbeLocation(path, 0, ARGUMENTS))
        return found


class Rehearsal(Script):
    """Runs a script up to where it would wait. `texts` is what it gave to `BPF`, `status` what it
    left with if it left behind Python's back (``os._exit``)."""

    def __init__(self, path: str, arguments: Sequence[str]) -> None:
        super().__init__(path, arguments)
        self.texts: list[Text] = []
        self.status = 0
        self._modules: list[WrittenModule] = []
        self._auditing = False

    def rehearse(
        self, system: System, stuck: Callable[[], None], *, simulated: bool, loads: bool = True
    ) -> int:
        """Runs it in front of `system`, and what it registered for its end; its exit status, 0
        where it waited. `stuck` is called, and must not return, where it would never end or has
        left (`status`). Without `loads`, the kernel loads nothing for this process."""

        def end() -> None:
            instead.close()
            self._finish()
            stuck()

        def leave(status: int) -> None:
            self.status = status & 0xFF
            end()

        def type_nothing() -> None:
            if self.texts:
                door.waited()

        door = QuietDoor(system, end, loads=loads)
        boot.use(door)
        facts = {"texts": self.texts, "modules": self._modules, "__doc__": BPF.__doc__}
        before = bcc.BPF, bcc.USDT
        bcc.BPF = type("BPF", (WrittenBPF,), facts)  # type: ignore[assignment,misc]  # the script's
        bcc.USDT = WrittenUSDT  # type: ignore[misc]  # the same
        sys.addaudithook(self._audit)
        self._auditing = True
        keyboard = io.TextIOWrapper(io.BufferedReader(Keyboard(type_nothing)), "utf-8")
        instead = ExitStack()
        try:
            for module, name in UNAUDITED:
                instead.enter_context(replaced(module, name, _refuse))
            instead.enter_context(replaced(os, "_exit", leave))
            instead.enter_context(replaced(sys, "stdin", keyboard))
            instead.enter_context(replaced(threading, "excepthook", quiet(threading.excepthook)))
            instead.enter_context(replaced(sys, "unraisablehook", quiet(sys.unraisablehook)))
            with Idle(door):
                status = self.run(virtual=True, redirected=simulated)
                self._finish()
                atexit._run_exitfuncs()
        finally:
            self._auditing = False
            bcc.BPF, bcc.USDT = before  # type: ignore[misc]  # puts the classes back
            instead.close()
            self._finish()
        return 0 if door.waits and not self.bug else status

    def _finish(self) -> None:
        for module in self._modules:
            module.finish()

    def _report(self, wrong: BaseException) -> int:
        if isinstance(wrong, Waited):
            return 0
        if any(text.error and text.error == str(wrong) for text in self.texts):
            return WRONG  # the text's own report tells it
        return super()._report(wrong)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "signal.pthread_kill" and arguments[1] == Idle.SIGNAL:
            return
        if self._auditing and event in FORBIDDEN and not _compiling():
            _refuse()


def _refuse(*arguments: object) -> None:
    raise PermissionError(errno.EPERM, REFUSAL)


def _compiling() -> bool:
    """Whether the compiler asks: it keeps LLVM apart where LLVM might end the process."""
    frame = sys._getframe(2)
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith("minibcc.compiler."):
            return True
        if os.path.basename(frame.f_code.co_filename) == "script.py":
            return False
        frame = frame.f_back  # type: ignore[assignment]  # None at the end
    return False
