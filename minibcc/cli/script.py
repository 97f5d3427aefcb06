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

from minibcc.bcc import uncaught
from minibcc.cli.main import BUG, WRONG
from minibcc.errors import MinibccError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from types import CodeType, FrameType


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
        self.bug = False
        """Whether what ended it is minibcc's own fault."""

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
            print(uncaught.message(wrong, self.path, self._content), file=sys.stderr)
            return WRONG
        ours, deepest = uncaught.is_bug(wrong)
        if ours:
            self.bug = True
            import traceback

            traceback.print_exception(wrong)
            print(uncaught.BUG.format(deepest), file=sys.stderr)
            return BUG
        uncaught.strip(wrong)
        sys.excepthook(type(wrong), wrong, wrong.__traceback__)
        return WRONG


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


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
