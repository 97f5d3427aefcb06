"""A terminal that nobody looks at, for scripts that draw on theirs while they are checked.

curses speaks to file descriptors 0 and 1 and refuses what is no terminal. Here both are one end of
a pseudo-terminal, whose other end is read and forgotten; nothing is ever typed. Python's own
``sys.stdout`` is left to the caller, and standard error stays what it is.

Mirrors: pty(7); script(1) does the like.
"""

from __future__ import annotations

import os
from typing import Final

KIND: Final = "vt100"
"""What the terminal is, where ``TERM`` names none that can be drawn on."""
DUMB: Final = ("", "dumb", "unknown")
SIZE: Final = (24, 80)


class Terminal:
    """Between `open` and `close`, descriptors 0 and 1 are a terminal; without pseudo-terminals
    they stay as they are."""

    def __init__(self) -> None:
        self._kept: list[int] = []

    def open(self) -> None:
        try:
            outside, inside = os.openpty()
        except (OSError, AttributeError):
            return
        import termios
        from threading import Thread

        termios.tcsetwinsize(inside, SIZE)
        if os.environ.get("TERM", "") in DUMB:
            os.environ["TERM"] = KIND
        self._kept = [os.dup(0), os.dup(1)]
        for number in (0, 1):
            os.dup2(inside, number)
        os.close(inside)
        Thread(target=_forget, args=(outside,), daemon=True).start()

    def close(self) -> None:
        """Gives the descriptors back; once is enough."""
        for number, kept in enumerate(self._kept):
            os.dup2(kept, number)
            os.close(kept)
        self._kept = []


def _forget(fd: int) -> None:
    """Reads until nobody writes any more."""
    try:
        while os.read(fd, 4096):
            pass
    except OSError:
        pass
    os.close(fd)
