"""Runs a command under a tool: held back until the tool is ready (BCC's ``bcc.exec``).

The command waits for a byte on a pipe before it starts, so that probes are in place by then.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_pid = 0
_go = -1
_ended = False


def run_cmd(args: Sequence[str]) -> int:
    """Starts a program with its arguments, held back; its process id."""
    global _pid, _go, _ended
    wait, _go = os.pipe()
    _ended = False
    _pid = os.fork()
    if _pid:
        os.close(wait)
        return _pid
    os.close(_go)
    try:
        if os.read(wait, 1):
            os.execvp(args[0], list(args))
    except OSError as error:
        print(f"cannot run {args[0]}: {error.strerror}", file=sys.stderr)
    os._exit(127)


def cmd_ready() -> None:
    """Lets the command go."""
    global _go
    if _go >= 0:
        os.write(_go, b"!")
        os.close(_go)
        _go = -1


def cmd_exited() -> bool:
    """Whether the command has ended."""
    global _ended
    if _pid and not _ended:
        _ended = os.waitpid(_pid, os.WNOHANG)[0] == _pid
    return _ended
