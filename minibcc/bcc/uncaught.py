"""What the author of a script sees of an exception that nobody caught.

The script's own frames are shown, minibcc's are not; where minibcc refused something there is one
message with its place instead: that in the C text if it has one, else that in the script. Under
``minibcc run`` the runner calls these functions; under plain ``python3`` they stand behind
``sys.excepthook``, which the first `BPF` sets unless somebody else has.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import minibcc
from minibcc.diagnostics import Sources, Span, error, render
from minibcc.errors import CompileError, LoadError, MinibccError, ScenarioEnd

if TYPE_CHECKING:
    from types import FrameType, TracebackType

PACKAGE = os.path.dirname(os.path.abspath(minibcc.__file__))
BUG = "minibcc: this is a bug in minibcc ({}); please report it"


def install() -> None:
    """Puts `_hook` behind ``sys.excepthook``, once, where that is still Python's own."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _hook


def _hook(kind: type[BaseException], wrong: BaseException, trace: TracebackType | None) -> None:
    if isinstance(wrong, ScenarioEnd):
        _end()
    if isinstance(wrong, MinibccError):
        path = str(getattr(sys.modules.get("__main__"), "__file__", ""))
        print(message(wrong, path, _content(path)), file=sys.stderr)
        return
    ours, deepest = is_bug(wrong)
    if not ours:
        strip(wrong)
    sys.__excepthook__(kind, wrong, wrong.__traceback__)
    if ours:
        print(BUG.format(deepest), file=sys.stderr)


def _end() -> None:
    """The scenario is over and the script did not ask what happens then: that is no failure. Python
    would end the process as if by a signal, so it is ended here, behind what was registered."""
    import atexit

    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def message(wrong: MinibccError, path: str, content: bytes) -> str:
    """A refusal with its place; `path` and `content` are the script's."""
    if isinstance(wrong, CompileError) or (isinstance(wrong, LoadError) and wrong.diagnostics):
        return str(wrong)
    span = _place(wrong.__traceback__, path)
    first = str(getattr(wrong, "strerror", None) or getattr(wrong, "message", None) or wrong)
    text, _, log = first.partition("\n")
    sources = Sources({path: content.decode("utf-8", "replace")})
    found = error(getattr(wrong, "code", ""), text, span, help=getattr(wrong, "help", ()))
    return "\n".join(filter(None, (render(found, sources), log)))


def is_ours(frame: FrameType) -> bool:
    return os.path.abspath(frame.f_code.co_filename).startswith(PACKAGE + os.sep)


def is_bug(wrong: BaseException) -> tuple[bool, str]:
    """Whether an exception is minibcc's own fault, and the module that raised it. The library
    raises what BCC raises (KeyError, ValueError, OSError); from below it nothing else should."""
    from traceback import walk_tb

    frames = [frame for frame, _ in walk_tb(wrong.__traceback__)]
    frame = frames[-1] if frames else None
    if frame is None or not is_ours(frame) or isinstance(wrong, OSError):
        return False, ""
    module = str(frame.f_globals.get("__name__", ""))
    return not module.startswith(("minibcc.bcc", "minibcc.cli")), module


def strip(wrong: BaseException | None) -> None:
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
    kept = []
    while trace is not None:
        if not is_ours(trace.tb_frame):
            kept.append(trace)
        trace = trace.tb_next
    rest = None
    for trace in reversed(kept):
        trace.tb_next, rest = rest, trace
    return rest


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
