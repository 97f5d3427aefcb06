"""A user's script, run as Python would run it, in a world where BCC is minibcc.

``import bcc`` finds `minibcc.bcc` (the very module objects: a class must not exist twice), the
clock is the kernel's, and what the script leaves behind becomes an exit status: its own SystemExit,
1 for what is wrong with it, 0 for the KeyboardInterrupt that ends a scenario. Tracebacks show the
script's frames only; where minibcc refused something there is one message with its place instead.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import minibcc
from minibcc.cli.main import BUG, WRONG
from minibcc.diagnostics import Sources, Span, error, render
from minibcc.errors import CompileError, LoadError, MinibccError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from types import CodeType, FrameType, TracebackType

PACKAGE = os.path.dirname(os.path.abspath(minibcc.__file__))


class NoScript(MinibccError):
    """There is no such script, or it cannot be read."""


class Script:
    """A script and its arguments. Raises NoScript."""

    def __init__(self, path: str, arguments: Sequence[str]) -> None:
        self.path = path
        self.arguments = list(arguments)
        try:
            with open(path, "rb") as file:
                self._content = file.read()
        except OSError as wrong:
            raise NoScript(f"minibcc: cannot open {path}: {wrong.strerror}") from None
        self._interrupted = False

    def run(self, *, virtual: bool, redirected: bool | None = None) -> int:
        """Runs it; the exit status. With `virtual`, its clock is the kernel's; with `redirected`
        (if not given: the same) so are the files that it opens in /proc and tracefs."""
        try:
            code = compile(self._content, self.path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as wrong:
            import traceback

            traceback.print_exception(type(wrong), wrong, None)
            return WRONG
        sys.meta_path.insert(0, BccFinder())
        sys.argv = [self.path, *self.arguments]
        sys.path.insert(0, os.path.dirname(os.path.abspath(self.path)))
        if virtual:
            from minibcc.cli.clock import VirtualClock

            VirtualClock().install()
        if virtual if redirected is None else redirected:
            from minibcc.cli import kernelfiles

            kernelfiles.install()
        signal.signal(signal.SIGINT, self._interrupt)
        status = self._execute(code)
        _flush()
        return status

    def _execute(self, code: CodeType) -> int:
        module = ModuleType("__main__")
        module.__file__ = self.path
        module.__dict__["__builtins__"] = __builtins__
        sys.modules["__main__"] = module
        try:
            exec(code, module.__dict__)
        except SystemExit as end:
            return _status(end.code)
        except KeyboardInterrupt:
            # The end of a scenario, or somebody at the keyboard.
            return 130 if self._interrupted else 0
        except BrokenPipeError:
            raise
        except BaseException as wrong:
            _flush()
            return self._report(wrong)
        return 0

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        raise KeyboardInterrupt

    def _report(self, wrong: BaseException) -> int:
        """Says what is wrong, on standard error; the exit status."""
        if isinstance(wrong, MinibccError):
            print(self._message(wrong), file=sys.stderr)
            return WRONG
        ours, deepest = _is_bug(wrong)
        if ours:
            import traceback

            traceback.print_exception(wrong)
            print(
                f"minibcc: this is a bug in minibcc ({deepest}); please report it", file=sys.stderr
            )
            return BUG
        _strip(wrong)
        sys.excepthook(type(wrong), wrong, wrong.__traceback__)
        return WRONG

    def _message(self, wrong: MinibccError) -> str:
        """A refusal with its place: that in the C text if it has one, else that in the script."""
        if isinstance(wrong, CompileError) or (isinstance(wrong, LoadError) and wrong.diagnostics):
            return str(wrong)
        span = _place(wrong.__traceback__, self.path)
        first = str(getattr(wrong, "strerror", None) or getattr(wrong, "message", None) or wrong)
        message, _, log = first.partition("\n")
        sources = Sources({self.path: self._content.decode("utf-8", "replace")})
        found = error(getattr(wrong, "code", ""), message, span, help=getattr(wrong, "help", ()))
        return "\n".join(filter(None, (render(found, sources), log)))


class BccFinder:
    """Answers `minibcc.bcc` to ``import bcc``, and its modules to ``import bcc.table``.

    A finder by its methods: the base classes in importlib.abc cost more to import than minibcc.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "bcc" and not fullname.startswith("bcc."):
            return None
        return ModuleSpec(fullname, cast("Loader", BccLoader()), is_package=fullname == "bcc")


class BccLoader:
    """ "Loads" a module by finding the one that is there."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        try:
            module = importlib.import_module(f"minibcc.{spec.name}")
        except ModuleNotFoundError as wrong:
            if wrong.name != f"minibcc.{spec.name}":
                raise
            raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name) from None
        # The import machinery is about to give the module this spec; it keeps its own.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None and spec.loader_state is not None:
            module.__spec__ = spec.loader_state


def _status(code: Any) -> int:
    """What ``sys.exit(code)`` means."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return WRONG


def _is_ours(frame: FrameType) -> bool:
    return os.path.abspath(frame.f_code.co_filename).startswith(PACKAGE + os.sep)


def _is_bug(wrong: BaseException) -> tuple[bool, str]:
    """Whether an exception is minibcc's own fault, and the module that raised it. The library
    raises what BCC raises (KeyError, ValueError, OSError); from below it nothing else should."""
    from traceback import walk_tb

    frames = [frame for frame, _ in walk_tb(wrong.__traceback__)]
    frame = frames[-1] if frames else None
    if frame is None or not _is_ours(frame) or isinstance(wrong, OSError):
        return False, ""
    module = str(frame.f_globals.get("__name__", ""))
    return not module.startswith(("minibcc.bcc", "minibcc.cli")), module


def _strip(wrong: BaseException | None) -> None:
    """Takes minibcc's frames out of an exception's traceback, and out of those behind it. What
    only happened inside minibcc is not told at all."""
    while wrong is not None:
        wrong.__traceback__ = _without_ours(wrong.__traceback__)
        behind = wrong.__cause__ or wrong.__context__
        if behind is not None and _without_ours(behind.__traceback__) is None:
            wrong.__cause__, wrong.__suppress_context__, behind = None, True, None
        wrong = behind


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of minibcc."""
    if trace is None:
        return None
    rest = _without_ours(trace.tb_next)
    if _is_ours(trace.tb_frame):
        return rest
    trace.tb_next = rest
    return trace


def _place(trace: TracebackType | None, script: str) -> Span | None:
    """The expression of the script that led to an exception."""
    span: Span | None = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == script:
            positions = list(trace.tb_frame.f_code.co_positions())
            line, end_line, column, end_column = positions[trace.tb_lasti // 2]
            if line is not None and column is not None and end_column is not None:
                span = Span(script, line, column + 1, end_line or line, end_column + 1)
            else:
                span = Span(script, trace.tb_lineno, 1)
        trace = trace.tb_next
    return span


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
