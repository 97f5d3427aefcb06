"""GNU attributes, set aside before parsing.

``__attribute__((...))`` may stand nearly anywhere in a declaration, and pycparser knows it nowhere.
So the token stream leaves attributes out and notes between which tokens each stood; the parser
asks for those inside the stretch of the struct or declaration that it has just read.
"""

from __future__ import annotations

from minibcc.compiler.preprocess.lexer import Token
from minibcc.records import Record


class Attribute(Record):
    """One attribute: its name without underscores around it, the tokens of its arguments, and the
    index of the token that follows it."""

    name: str
    arguments: list[Token]
    token: Token
    index: int

    def number(self, default: int) -> int:
        """The argument of ``aligned(8)``, `default` if there is none."""
        if len(self.arguments) == 1 and self.arguments[0].type.startswith("INT_CONST"):
            return int(self.arguments[0].value.rstrip("uUlL"), 0)
        return default

    def text(self) -> str:
        """The argument of ``section("x")``."""
        return "".join(token.value.strip('"') for token in self.arguments)


def read(tokens: list[Token], start: int, index: int) -> tuple[list[Attribute], int]:
    """The attributes of the group whose outer ``(`` is at `start`, and where it ends."""
    found: list[Attribute] = []
    depth = 0
    position = start
    while position < len(tokens):
        token = tokens[position]
        if token.value == "(":
            depth += 1
        elif token.value == ")":
            depth -= 1
            if depth == 0:
                return found, position + 1
        elif depth == 2 and token.type not in ("PUNCT", "COMMA"):
            arguments: list[Token] = []
            if position + 1 < len(tokens) and tokens[position + 1].value == "(":
                inner = 0
                while position + 1 < len(tokens):
                    position += 1
                    value = tokens[position].value
                    if value == ")":
                        inner -= 1
                        if inner == 0:
                            break
                    if inner:
                        arguments.append(tokens[position])
                    if value == "(":
                        inner += 1
            found.append(Attribute(token.value.strip("_"), arguments, token, index))
        position += 1
    return found, position


def double_brackets(tokens: list[Token], start: int) -> tuple[list[Token], int]:
    """C23's ``[[gnu::packed, maybe_unused]]`` from behind ``[[``: the tokens as `read` takes them,
    and the position behind ``]]``."""
    inside: list[Token] = []
    position = start
    while position < len(tokens) and tokens[position].value != "]":
        if tokens[position].value == ":":
            del inside[-1:]  # the vendor's name
            position += 1
        else:
            inside.append(tokens[position])
        position += 1
    around = tokens[start]
    opening, closing = (Token("PUNCT", sign, 0, 0, around.filename) for sign in "()")
    return [opening, opening, *inside, closing, closing], position + 2
