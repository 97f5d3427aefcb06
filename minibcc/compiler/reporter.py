"""Where the passes of the front end put what they have to say.

A pass does not stop at its first error: it reports a `Diagnostic`, goes on with the most harmless
meaning, and so a beginner sees all mistakes of a text at once. `Reporter.check` ends the
compilation, between passes, where going on would only yield nonsense.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.diagnostics import Diagnostic, Severity, Sources, Span, error
from minibcc.errors import CompileError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minibcc.diagnostics import Label

LIMIT = 20


class Reporter:
    """Collects diagnostics; `sources` holds the texts that their spans point into.

    A second report of the same code at the same place is dropped (a macro or a template that is
    analysed twice would say everything twice). `quiet` drops warnings (clang's ``-w``).
    """

    def __init__(self, sources: Sources | None = None, *, quiet: bool = False) -> None:
        self.sources = sources if sources is not None else Sources()
        self.diagnostics: list[Diagnostic] = []
        self.quiet = quiet
        self._seen: set[tuple[str, str]] = set()
        self._errors = self._mended = 0
        self._notes: dict[Span, tuple[str, ...]] = {}

    def error(
        self,
        code: str,
        message: str,
        span: Span | None = None,
        text: str = "",
        *,
        labels: Iterable[Label] = (),
        notes: Iterable[str] = (),
        help: Iterable[str] = (),
    ) -> None:
        """Reports an error; the arguments are those of `diagnostics.error`. After 20 errors the
        compilation ends at once."""
        self.add(error(code, message, span, text, labels=labels, notes=notes, help=help))

    def warning(
        self,
        code: str,
        message: str,
        span: Span | None = None,
        text: str = "",
        *,
        labels: Iterable[Label] = (),
        notes: Iterable[str] = (),
        help: Iterable[str] = (),
    ) -> None:
        """Reports a warning: the text compiles all the same."""
        if not self.quiet:
            severity = Severity.WARNING
            self.add(
                error(
                    code,
                    message,
                    span,
                    text,
                    labels=labels,
                    notes=notes,
                    help=help,
                    severity=severity,
                )
            )

    def add(self, diagnostic: Diagnostic, *, mended: bool = False) -> None:
        """Reports a diagnostic made elsewhere; `mended` says that the pass has put right what it
        is about, so that others may go on with what came of it."""
        key = (diagnostic.code, str(diagnostic.span))
        if key in self._seen and diagnostic.span is not None:
            return
        self._seen.add(key)
        self.diagnostics.append(diagnostic)
        if diagnostic.severity is Severity.ERROR:
            self._errors += 1
            self._mended += mended
            if self._errors >= LIMIT:
                self.check()

    @property
    def failed(self) -> bool:
        """Whether an error was reported."""
        return self._errors > 0

    def check(self, *, last: bool = True) -> None:
        """Raises CompileError with everything reported so far if there was an error; before the
        `last` pass, if there was one that was not mended."""
        if self._errors > (0 if last else self._mended):
            raise CompileError(self._sorted(), self.sources)

    def warnings(self) -> tuple[Diagnostic, ...]:
        """Everything reported, in the order of the source."""
        return tuple(self._sorted())

    def _sorted(self) -> list[Diagnostic]:
        files = {name: index for index, name in enumerate(self.sources.files())}

        def place(diagnostic: Diagnostic) -> tuple[int, int, int]:
            span = diagnostic.span
            if span is None:
                return (len(files), 0, 0)
            return (files.get(span.file, len(files)), span.line, span.column)

        return sorted(self.diagnostics, key=place)
