"""C text to preprocessing tokens, by one regular expression (C11 section 6.4).

A `Token` carries the attributes that pycparser's parser asks of its tokens (`type`, `value`,
`lineno`, `column`, `filename`), so that the very same objects go through preprocessor and parser
and end as the coordinates of the syntax tree: nothing is lexed twice and no column is lost.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minibcc.diagnostics import Span
from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.compiler.reporter import Reporter

_TOKEN = re.compile(
    r"""
  (?P<space>   (?: [ \t\f\v\r]+ | \\\r?\n )+ )
| (?P<newline> \n )
| (?P<comment> // (?: [^\\\n] | \\\r?\n | \\. )* | /\* [\s\S]*? \*/ )
| (?P<STRING>  (?: u8 | [LuU] )? " (?: [^"\\\n] | \\ (?: \r?\n | . ) )* " )
| (?P<CHAR>    (?: u8 | [LuU] )? ' (?: [^'\\\n] | \\ . )* ' )
| (?P<ID>      [A-Za-z_$] [\w$]* )
| (?P<NUMBER>  \.? \d (?: [eEpP][+-] | [\w.] )* )
| (?P<open>    /\* )
| (?P<digraph> <% | %> | <: | :> | %:%: | %: )
| (?P<PUNCT>   \.\.\. | <<= | >>= | -> | \+\+ | -- | << | >> | && | \|\| | \#\#
             | [-+*/%&|^<>=!]= | [][(){};,.:?<>=!~+*/%&|^\#-] )
| (?P<OTHER>   . )
""",
    re.VERBOSE,
)

_DIGRAPHS = {"<%": "{", "%>": "}", "<:": "[", ":>": "]", "%:": "#", "%:%:": "##"}


class Expansion(Record):
    """Where a token came from that the user did not write at its place: macro `name`, defined at
    `definition`, used inside `outer`."""

    name: str
    definition: Span
    outer: Expansion | None


class Token:
    """One token. `lineno` and `column` count from 1; `width` is the number of characters at that
    place (of the macro's name, for what came out of a macro). `space` says that white space
    stands before it; `painted` that it is a macro's name which must not be expanded again."""

    __slots__ = (
        "column",
        "filename",
        "lineno",
        "origin",
        "painted",
        "space",
        "type",
        "value",
        "width",
    )

    def __init__(
        self,
        type: str,
        value: str,
        lineno: int,
        column: int,
        filename: str,
        space: bool = False,
        width: int = 0,
        origin: Expansion | None = None,
    ) -> None:
        self.type = type
        self.value = value
        self.lineno = lineno
        self.column = column
        self.filename = filename
        self.space = space
        self.width = width or len(value)
        self.origin = origin
        self.painted = False

    def __repr__(self) -> str:
        return f"<{self.type} {self.value!r} {self.filename}:{self.lineno}:{self.column}>"

    @property
    def span(self) -> Span:
        line = self.lineno
        return Span(self.filename, line, self.column, line, self.column + self.width)

    def at(self, site: Token, origin: Expansion) -> Token:
        """The same token, moved to where a macro was used."""
        token = Token(
            self.type,
            self.value,
            site.lineno,
            site.column,
            site.filename,
            self.space,
            site.width,
            origin,
        )
        token.painted = self.painted
        return token


def lex(text: str, file: str, reporter: Reporter, line: int = 1) -> list[list[Token]]:
    """The lines of `text` that hold tokens, each a list; a line that ends in a backslash goes on
    in the next, as does one that ends inside a comment. `line` is the number of the first."""
    lines: list[list[Token]] = []
    current: list[Token] = []
    start = 0  # where the present line starts in the text
    space = False
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "space":
            space = True
            if "\n" in match[0]:
                line += match[0].count("\n")
                start = match.start() + match[0].rindex("\n") + 1
            continue
        if kind == "newline":
            if current:
                lines.append(current)
                current = []
            line += 1
            start = match.end()
            space = False
            continue
        if kind == "comment":
            space = True
            if "\n" in match[0]:
                line += match[0].count("\n")
                start = match.start() + match[0].rindex("\n") + 1
            continue
        value = match[0]
        token = Token(kind or "OTHER", value, line, match.start() - start + 1, file, space)
        space = False
        if kind == "STRING" and "\n" in value:
            line += value.count("\n")
            start = match.start() + value.rindex("\n") + 1
            token.value = re.sub(r"\\\r?\n", "", value)
        elif kind == "digraph":
            token.type, token.value = "PUNCT", _DIGRAPHS[value]
        elif kind == "open":
            reporter.error(
                "parse/unterminated",
                "this comment is never closed",
                token.span,
                help=["end it with */"],
            )
            break
        current.append(token)
    if current:
        lines.append(current)
    return lines


def spell(tokens: list[Token]) -> str:
    """Tokens as text, with one space where white space stood."""
    return "".join((" " if token.space else "") + token.value for token in tokens).strip()
