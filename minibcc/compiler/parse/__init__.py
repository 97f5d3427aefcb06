"""Tokens to pycparser's syntax tree.

pycparser's recursive-descent parser does the work; a subclass of it (`grammar`) takes its tokens
from our preprocessor, takes typedef names from the target's BTF, knows the GNU forms that kernel C
uses and BCC's table macros, and goes on after an error. `stream` turns preprocessing tokens into
those that the parser expects; `mistakes` puts what it refuses into words.

A node's `coord` is a `Token`: file, line, column, and the macro that it came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.diagnostics import Span
from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.compiler.parse.attributes import Attribute
    from minibcc.compiler.preprocess import Preprocessed, Token
    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.target import Target


class Syntax(Record):
    """A parsed text: pycparser's nodes of file level, the stretch of tokens that each expression
    and statement covers, the attributes of declarations and structs, the alignment that ``#pragma
    pack`` gives structs (all by ``id(node)``), and what preprocessing knew.
    `broken` says that something could not be parsed and is missing."""

    nodes: list[Any]
    stretches: dict[int, tuple[Token, Token]]
    attributes: dict[int, list[Attribute]]
    packs: dict[int, int]
    preprocessed: Preprocessed
    broken: bool = False

    def span(self, node: Any) -> Span:
        """The place of a node."""
        first, last = self.stretch(node)
        return first.span.to(last.span) if first and last else Span("<built-in>", 1, 1)

    def stretch(self, node: Any) -> tuple[Token | None, Token | None]:
        """The first and last token of a node; None for what is built in."""
        found = self.stretches.get(id(node))
        if found is not None:
            return found
        if type(node).__name__ != "BinaryOp":
            return node.coord, node.coord
        (first, _), (_, last) = self.stretch(node.left), self.stretch(node.right)
        if first is not None and last is not None:
            self.stretches[id(node)] = first, last
        return first, last


def parse(preprocessed: Preprocessed, target: Target, reporter: Reporter) -> Syntax:
    """The syntax tree. Errors go to `reporter`; what could be parsed is in the result. Raises
    CompileError if the preprocessor reported errors."""
    from minibcc.compiler.parse.grammar import Parser

    return Parser(preprocessed, target, reporter).run()
