"""The expressions of ``#if`` (C11 section 6.10.1): integers of 64 bits, names that are no macros
are 0, ``defined`` and ``__has_*`` answered before expansion."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.compiler.preprocess.lexer import Token
    from minibcc.compiler.preprocess.macros import Macros

_MASK = (1 << 64) - 1
_PRECEDENCE = {
    "||": 1,
    "&&": 2,
    "|": 3,
    "^": 4,
    "&": 5,
    "==": 6,
    "!=": 6,
    "<": 7,
    "<=": 7,
    ">": 7,
    ">=": 7,
    "<<": 8,
    ">>": 8,
    "+": 9,
    "-": 9,
    "*": 10,
    "/": 10,
    "%": 10,
}
_ESCAPES = {"n": 10, "t": 9, "r": 13, "0": 0, "a": 7, "b": 8, "f": 12, "v": 11}


class BadCondition(Exception):
    """An ``#if`` that is no integer expression, and the token where that shows, if there is one."""

    def __init__(self, message: str, token: Token | None) -> None:
        super().__init__(message)
        self.token = token


def evaluate(tokens: list[Token], macros: Macros, has_include: Callable[[str, bool], bool]) -> bool:
    """Whether the condition holds. Raises BadCondition."""
    ready = _answer(tokens, macros, has_include)
    parser = _Parser(macros.expand(ready))
    value, _ = parser.conditional()
    if parser.peek() is not None:
        raise BadCondition("this does not belong to the condition", parser.peek())
    return value != 0


def _answer(
    tokens: list[Token], macros: Macros, has_include: Callable[[str, bool], bool]
) -> list[Token]:
    """Replaces ``defined X`` and ``__has_...(...)`` by 0 and 1."""
    out: list[Token] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        if token.value != "defined" and not token.value.startswith("__has_"):
            out.append(token)
            continue
        inside = []
        if position < len(tokens) and tokens[position].value == "(":
            position += 1
            while position < len(tokens) and tokens[position].value != ")":
                inside.append(tokens[position])
                position += 1
            position += 1
        elif position < len(tokens):
            inside.append(tokens[position])
            position += 1
        if not inside:
            raise BadCondition(f"a name belongs behind '{token.value}'", token)
        if token.value == "defined":
            yes = macros.defined(inside[0].value)
        elif token.value == "__has_include":
            text = "".join(item.value for item in inside)
            yes = has_include(text.strip('<>"'), text.startswith("<"))
        elif token.value == "__has_builtin":
            yes = inside[0].value.startswith(("__builtin_", "__sync_", "__atomic_"))
        else:
            yes = inside[0].value.strip("_") in ("packed", "aligned", "always_inline", "section")
        answer = token.at(token, token.origin) if token.origin else _number(token)
        answer.type, answer.value = "NUMBER", "1" if yes else "0"
        out.append(answer)
    return out


def _number(token: Token) -> Token:
    from minibcc.compiler.preprocess.lexer import Token as Fresh

    return Fresh("NUMBER", "0", token.lineno, token.column, token.filename, token.space)


class _Parser:
    """Precedence climbing; a value goes with whether it is unsigned. `_idle` counts the operators
    around that have decided already: what they skip may divide by zero."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._position = 0
        self._idle = 0

    def peek(self) -> Token | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _next(self) -> Token:
        token = self.peek()
        if token is None:
            raise BadCondition("the condition ends too early", None)
        self._position += 1
        return token

    def _accept(self, value: str) -> bool:
        token = self.peek()
        if token is not None and token.value == value:
            self._position += 1
            return True
        return False

    def conditional(self) -> tuple[int, bool]:
        condition = self._binary(1)
        if not self._accept("?"):
            return condition
        yes = self._skipping(condition[0] == 0, self.conditional)
        if not self._accept(":"):
            raise BadCondition("the ':' of '?' is missing", self.peek())
        no = self._skipping(condition[0] != 0, self.conditional)
        value = (yes if condition[0] else no)[0]
        return _wrap(value, yes[1] or no[1])

    def _binary(self, least: int) -> tuple[int, bool]:
        left = self._unary()
        while True:
            token = self.peek()
            level = _PRECEDENCE.get(token.value, 0) if token is not None else 0
            if token is None or level < least:
                return left
            self._position += 1
            decided = token.value == ("||" if left[0] else "&&")
            right = self._skipping(decided, partial(self._binary, level + 1))
            if token.value in ("/", "%") and right[0] == 0:
                if not self._idle:
                    raise BadCondition("division by zero in a condition", token)
                right = (1, right[1])
            left = _apply(token, left, right)

    def _skipping(self, skip: bool, read: Callable[[], tuple[int, bool]]) -> tuple[int, bool]:
        self._idle += skip
        value = read()
        self._idle -= skip
        return value

    def _unary(self) -> tuple[int, bool]:
        token = self._next()
        match token.value:
            case "!":
                return int(self._unary()[0] == 0), False
            case "-":
                value, unsigned = self._unary()
                return _wrap(-value, unsigned)
            case "~":
                value, unsigned = self._unary()
                return _wrap(~value, unsigned)
            case "+":
                return self._unary()
            case "(":
                inner = self.conditional()
                if not self._accept(")"):
                    raise BadCondition("a ')' is missing", self.peek() or token)
                return inner
        if token.type == "ID":
            if self.peek() is not None and self._tokens[self._position].value == "(":
                raise BadCondition(f"'{token.value}' is no macro that takes arguments", token)
            return (1 if token.value == "true" else 0), False
        if token.type == "CHAR":
            text = token.value[token.value.index("'") + 1 : -1]
            if text.startswith("\\"):
                return _ESCAPES.get(text[1], ord(text[1])), False
            return ord(text[0]), False
        if token.type == "NUMBER":
            return _integer(token)
        raise BadCondition(f"'{token.value}' cannot stand in a condition", token)


def _integer(token: Token) -> tuple[int, bool]:
    text = token.value.lower()
    digits = text.rstrip("ul")
    try:
        if digits.startswith("0") and digits.isdigit():
            value = int(digits, 8)
        else:
            value = int(digits, 0)
    except ValueError:
        raise BadCondition(f"'{token.value}' is no integer", token) from None
    return _wrap(value, "u" in text[len(digits) :] or value >> 63 != 0)


def _wrap(value: int, unsigned: bool) -> tuple[int, bool]:
    value &= _MASK
    if not unsigned and value >> 63:
        value -= 1 << 64
    return value, unsigned


def _apply(token: Token, left: tuple[int, bool], right: tuple[int, bool]) -> tuple[int, bool]:
    unsigned = left[1] or right[1]
    a, b = _wrap(left[0], unsigned)[0], _wrap(right[0], unsigned)[0]
    match token.value:
        case "||":
            return int(left[0] != 0 or right[0] != 0), False
        case "&&":
            return int(left[0] != 0 and right[0] != 0), False
        case "|":
            return _wrap(a | b, unsigned)
        case "^":
            return _wrap(a ^ b, unsigned)
        case "&":
            return _wrap(a & b, unsigned)
        case "==":
            return int(a == b), False
        case "!=":
            return int(a != b), False
        case "<":
            return int(a < b), False
        case "<=":
            return int(a <= b), False
        case ">":
            return int(a > b), False
        case ">=":
            return int(a >= b), False
        case "<<":
            return _wrap(left[0] << (right[0] & 63), left[1])
        case ">>":
            return _wrap(left[0] >> (right[0] & 63), left[1])
        case "+":
            return _wrap(a + b, unsigned)
        case "-":
            return _wrap(a - b, unsigned)
        case "*":
            return _wrap(a * b, unsigned)
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return _wrap(quotient if token.value == "/" else a - quotient * b, unsigned)
