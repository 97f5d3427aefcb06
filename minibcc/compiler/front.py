"""From a text to the plain typed tree: the passes of the front end in their order.

    preprocess   text            -> tokens, macros expanded, each with its place
    parse        tokens          -> pycparser's syntax tree
    analyze      syntax tree     -> the typed tree: names, types and conversions made explicit
    dialect      typed tree      -> the same without BCC's dialect: plain C for eBPF
    check        typed tree      -> an error at its place for what eBPF cannot carry

Each is a pure function in a file named for it. `front` runs them all and hands on what the back
end and ``--show`` need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.compiler.reporter import Reporter
from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minibcc.compiler.preprocess import Preprocessed
    from minibcc.compiler.target import Target
    from minibcc.compiler.tree import Unit
    from minibcc.diagnostics import Diagnostic, Sources


class Front(Record):
    """What the front end made of a text.

    `unit` is the plain tree that lowering reads, `tree` the one before the dialect, `preprocessed`
    the tokens. `warnings` are the diagnostics that did not stop it.
    """

    unit: Unit
    tree: Unit
    preprocessed: Preprocessed
    sources: Sources
    warnings: tuple[Diagnostic, ...] = ()


def front(text: str, file: str, target: Target, cflags: Sequence[str] = ()) -> Front:
    """The plain typed tree of `text`, called `file` in messages; `cflags` as clang would take
    them: ``-D``, ``-U``, ``-I``, ``-include``, ``-w``. Raises CompileError with every error."""
    from minibcc.compiler.depth import deep

    with deep(file, text):
        return _front(text, file, target, cflags)


def _front(text: str, file: str, target: Target, cflags: Sequence[str]) -> Front:
    from minibcc.compiler.analyze import analyze
    from minibcc.compiler.check import check
    from minibcc.compiler.dialect import plain
    from minibcc.compiler.parse import parse
    from minibcc.compiler.preprocess import preprocess

    reporter = Reporter(quiet="-w" in cflags)
    preprocessed = preprocess(text, file, target, cflags, reporter)
    syntax = parse(preprocessed, target, reporter)
    if syntax.broken:
        reporter.check()
    tree = analyze(syntax, target, reporter)
    reporter.check(last=False)
    unit = plain(tree, target, reporter)
    reporter.check(last=False)
    check(unit, reporter)
    reporter.check()
    return Front(unit, tree, preprocessed, reporter.sources, reporter.warnings())
