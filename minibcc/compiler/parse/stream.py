"""Preprocessing tokens to the tokens that pycparser's parser expects.

Each token gets the type by which the grammar knows it (a keyword, a kind of constant, a
punctuator). Attributes, ``__extension__`` and pragmas that are not for the parser are left out;
attributes and ``#pragma pack`` are kept aside.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from minibcc.compiler.depth import BRACKETS, refuse_brackets
from minibcc.compiler.parse.attributes import Attribute, double_brackets, read
from minibcc.compiler.parse.pragmas import Pack, Pragmas

if TYPE_CHECKING:
    from minibcc.compiler.preprocess import Token
    from minibcc.compiler.reporter import Reporter

_PLAIN = (
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while"
)

KEYWORDS = {word: word.upper() for word in _PLAIN.split()} | {
    "_Alignas": "_ALIGNAS",
    "_Alignof": "_ALIGNOF",
    "_Atomic": "_ATOMIC",
    "_Bool": "_BOOL",
    "_Complex": "_COMPLEX",
    "_Generic": "_GENERIC",
    "_Noreturn": "_NORETURN",
    "_Pragma": "_PRAGMA",
    "_Static_assert": "_STATIC_ASSERT",
    "static_assert": "_STATIC_ASSERT",
    "_Thread_local": "_THREAD_LOCAL",
    "__alignof": "_ALIGNOF",
    "__alignof__": "_ALIGNOF",
    "__builtin_offsetof": "OFFSETOF",
    "offsetof": "OFFSETOF",
    "__builtin_va_arg": "__BUILTIN_VA_ARG",
    "__const": "CONST",
    "__const__": "CONST",
    "__inline": "INLINE",
    "__inline__": "INLINE",
    "__int128": "__INT128",
    "__int128_t": "__INT128",
    "__restrict": "RESTRICT",
    "__restrict__": "RESTRICT",
    "__signed__": "SIGNED",
    "__signed": "SIGNED",
    "__thread": "_THREAD_LOCAL",
    "__typeof": "TYPEOF",
    "__typeof__": "TYPEOF",
    "typeof": "TYPEOF",
    "__typeof_unqual__": "TYPEOF_UNQUAL",
    "typeof_unqual": "TYPEOF_UNQUAL",
    "__volatile": "VOLATILE",
    "__volatile__": "VOLATILE",
    "__auto_type": "AUTO",
    "asm": "ASM",
    "__asm": "ASM",
    "__asm__": "ASM",
}

# The spelling that the parser keeps, where another one was written.
_SPELLING = {"INLINE": "inline", "CONST": "const", "VOLATILE": "volatile", "RESTRICT": "restrict"}
_SPELLING |= {"AUTO": "auto", "__INT128": "__int128", "SIGNED": "signed", "_ALIGNOF": "_Alignof"}
_SPELLING |= {"OFFSETOF": "offsetof", "TYPEOF": "typeof"}

PUNCTUATORS = {
    "...": "ELLIPSIS",
    "<<=": "LSHIFTEQUAL",
    ">>=": "RSHIFTEQUAL",
    "++": "PLUSPLUS",
    "--": "MINUSMINUS",
    "->": "ARROW",
    "&&": "LAND",
    "||": "LOR",
    "<<": "LSHIFT",
    ">>": "RSHIFT",
    "<=": "LE",
    ">=": "GE",
    "==": "EQ",
    "!=": "NE",
    "*=": "TIMESEQUAL",
    "/=": "DIVEQUAL",
    "%=": "MODEQUAL",
    "+=": "PLUSEQUAL",
    "-=": "MINUSEQUAL",
    "&=": "ANDEQUAL",
    "|=": "OREQUAL",
    "^=": "XOREQUAL",
    "=": "EQUALS",
    "+": "PLUS",
    "-": "MINUS",
    "*": "TIMES",
    "/": "DIVIDE",
    "%": "MOD",
    "|": "OR",
    "&": "AND",
    "~": "NOT",
    "^": "XOR",
    "!": "LNOT",
    "<": "LT",
    ">": "GT",
    "?": "CONDOP",
    "(": "LPAREN",
    ")": "RPAREN",
    "[": "LBRACKET",
    "]": "RBRACKET",
    "{": "LBRACE",
    "}": "RBRACE",
    ",": "COMMA",
    ".": "PERIOD",
    ";": "SEMI",
    ":": "COLON",
}

_SUFFIX = "(?:[uU](?:ll?|LL?)?|(?:ll?|LL?)[uU]?)?$"
_INTEGER = re.compile("(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)" + _SUFFIX)
_FLOAT = re.compile(
    r"(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|0[xX][0-9a-fA-F.]+[pP][-+]?\d+)[fFlL]?$"
)
_DROPPED = ("__extension__",)
_OPENING = ("LPAREN", "LBRACKET", "LBRACE")
_CLOSING = ("RPAREN", "RBRACKET", "RBRACE")


class Stream(NamedTuple):
    """The parser's tokens, and what stood among them: attributes, and alignments that
    ``#pragma pack`` set, each with the index of the token that follows."""

    tokens: list[Token]
    attributes: list[Attribute]
    packs: list[Pack]


def convert(tokens: list[Token], reporter: Reporter) -> Stream:
    """Preprocessing tokens as the parser takes them."""
    out: list[Token] = []
    attributes: list[Attribute] = []
    pragmas = Pragmas(reporter)
    position = depth = 0
    count = len(tokens)
    while position < count:
        token = tokens[position]
        position += 1
        kind = token.type
        if kind == "ID":
            value = token.value
            if value in ("__attribute__", "__attribute"):
                found, position = (
                    read([_typed(item) for item in tokens[position : position + 200]], 0, len(out))[
                        0
                    ],
                    _skip(tokens, position),
                )
                attributes.extend(found)
                continue
            if value in _DROPPED:
                continue
            if value == "_Pragma" and pragmas.operator(tokens, position, len(out)):
                position += 3
                continue
            keyword = KEYWORDS.get(value)
            if keyword is not None:
                token.type = keyword
                if value == "__int128_t":
                    token.value = "__int128"
                elif keyword in _SPELLING:
                    token.value = _SPELLING[keyword]
        elif kind == "PUNCT":
            name = PUNCTUATORS.get(token.value)
            if name == "LBRACKET" and position < count and tokens[position].value == "[":
                inside, position = double_brackets(tokens, position + 1)
                attributes.extend(read([_typed(item) for item in inside], 0, len(out))[0])
                continue
            if name is None:
                reporter.error(
                    "parse/stray-character",
                    f"'{token.value}' has no meaning here",
                    token.span,
                )
                continue
            token.type = name
            depth = max(depth + (name in _OPENING) - (name in _CLOSING), 0)
            if depth > BRACKETS:
                refuse_brackets(token, reporter)
        elif kind == "NUMBER":
            _typed(token)
            if token.type == "NUMBER":
                reporter.error("parse/bad-number", f"'{token.value}' is no number of C", token.span)
                token.type, token.value = "INT_CONST_DEC", "0"
        elif kind == "STRING":
            token.type = "STRING_LITERAL"
        elif kind == "CHAR":
            token.type = "CHAR_CONST"
            if token.value.lstrip("uUL8") == "''":
                reporter.error(
                    "parse/empty-character", "a character is missing between the quotes", token.span
                )
                token.value = "'0'"
        elif kind == "PPPRAGMA":
            if pragmas.directive(tokens[position], len(out)):
                position += 1
                continue
        elif kind == "OTHER":
            if token.value in "\"'":
                reporter.error(
                    "parse/unterminated",
                    f"this {'string' if token.value == chr(34) else 'character'} is not closed on "
                    "its line",
                    token.span,
                    help=[f"end it with {token.value}"],
                )
                return Stream(out, attributes, pragmas.packs)
            reporter.error(
                "parse/stray-character", f"'{token.value}' has no meaning here", token.span
            )
            continue
        out.append(token)
    return Stream(out, attributes, pragmas.packs)


def _typed(token: Token) -> Token:
    if token.type == "NUMBER":
        if _INTEGER.match(token.value):
            token.type = "INT_CONST_DEC"
        elif _FLOAT.match(token.value):
            token.type = "FLOAT_CONST"
    return token


def _skip(tokens: list[Token], position: int) -> int:
    """Behind the parentheses that begin at `position`."""
    depth = 0
    while position < len(tokens):
        value = tokens[position].value
        depth += (value == "(") - (value == ")")
        position += 1
        if depth == 0:
            break
    return position
