"""What can go wrong, as exceptions.

    MinibccError
    +-- CompileError         the C is wrong: diagnostics with their places
    +-- LoadError            the kernel refused a program or a map (also an OSError)
    +-- AttachError          the kernel refused an attachment (also an OSError)
    +-- SystemUnavailable    the body behind the door is not to be had here
    |   +-- NotPermitted     ... for this process
    +-- UsageError           a call or a command line that cannot be meant

`ScenarioEnd` is a KeyboardInterrupt: what a simulated machine raises where user space would wait
for ever.

All of them are plain `Exception` subclasses, so handlers in scripts written for BCC
(``except Exception``) work. Text for a person is in ``str(error)``; a `CompileError` and a
`LoadError` print their diagnostics with source lines and carets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minibcc.diagnostics import Diagnostic, Sources


class MinibccError(Exception):
    """The root of everything minibcc raises on purpose."""


class CompileError(MinibccError):
    """The C does not compile.

    `diagnostics` holds all of them, in source order, at least one of them an error; `sources` the
    texts that their spans point into.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic], sources: Sources) -> None:
        self.diagnostics = list(diagnostics)
        self.sources = sources
        super().__init__(diagnostics, sources)

    def __str__(self) -> str:
        from minibcc.diagnostics import render_all

        return render_all(self.diagnostics, self.sources)


class LoadError(MinibccError, OSError):
    """The kernel refused to create a map or to load a program.

    `errno` is the kernel's; `log` the verifier's log ("" if it wrote none); `diagnostics` what of
    it could be said in C lines.
    """

    def __init__(
        self,
        errno: int,
        message: str,
        *,
        log: str = "",
        diagnostics: Sequence[Diagnostic] = (),
        sources: Sources | None = None,
    ) -> None:
        OSError.__init__(self, errno, message)
        self.log = log
        self.diagnostics = list(diagnostics)
        self.sources = sources

    def __str__(self) -> str:
        if not self.diagnostics or self.sources is None:
            return str(self.strerror)
        from minibcc.diagnostics import render_all

        return f"{self.strerror}\n{render_all(self.diagnostics, self.sources)}"


class AttachError(MinibccError, OSError):
    """The kernel refused to attach a program; `errno` is the kernel's, `code` a diagnostic code
    (``load/...``), `help` what to do about it."""

    def __init__(
        self, errno: int, message: str, *, code: str = "", help: Sequence[str] = ()
    ) -> None:
        OSError.__init__(self, errno, message)
        self.code = code
        self.help = tuple(help)

    def __str__(self) -> str:
        return "\n".join([str(self.strerror), *(f"help: {text}" for text in self.help)])


class SystemUnavailable(MinibccError):
    """The body behind the door is not to be had here (no Linux, no permission, no such script)."""


class NotPermitted(SystemUnavailable):
    """The kernel is there, and this process may not load programs into it."""


class UsageError(MinibccError):
    """A call or a command line that cannot be meant; the text says what to write instead."""


class ScenarioEnd(KeyboardInterrupt):
    """The simulated machine's scenario is over; raised once, as if by Ctrl-C, so that a tool prints
    its summary. Uncaught it is the end of the script, not a failure."""
