"""Macros and their expansion (C11 section 6.10.3, and GNU's variadic forms).

Expansion works on a stack of tokens. A macro is asleep while tokens of its own expansion are still
on the stack (a marker above them wakes it), and its name met meanwhile is painted for good: the
standard's rule against recursion, without a set of names on every token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.compiler.depth import BRACKETS, refuse_brackets
from minibcc.compiler.preprocess.lexer import Expansion, Token, lex, spell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minibcc.compiler.reporter import Reporter
    from minibcc.diagnostics import Span


class Macro:
    """A definition. `parameters` is None for an object-like macro; `variadic` names the parameter
    that takes the rest, "" if there is none. `body` is lexed when first asked for, if the macro
    was given as text."""

    __slots__ = ("_body", "_parameters", "_text", "name", "span", "variadic")

    def __init__(
        self,
        name: str,
        span: Span,
        body: Sequence[Token] = (),
        parameters: list[str] | None = None,
        variadic: str = "",
    ) -> None:
        self.name = name
        self.span = span
        self._body = list(body)
        self._parameters = parameters
        self.variadic = variadic
        self._text: str | None = None

    @classmethod
    def lazy(cls, name: str, text: str, span: Span) -> Macro:
        """A macro of a shipped header: `text` is what follows ``#define NAME``."""
        macro = cls(name, span)
        macro._text = text
        return macro

    def _lex(self) -> None:
        from minibcc.compiler.reporter import Reporter

        assert self._text is not None
        lines = lex(self._text, self.span.file, Reporter(), self.span.line)
        self._text = None
        tokens = [token for line in lines for token in line]
        parameters, variadic, body = split(tokens)
        self._parameters, self.variadic, self._body = parameters, variadic, body

    @property
    def body(self) -> list[Token]:
        if self._text is not None:
            self._lex()
        return self._body

    @property
    def parameters(self) -> list[str] | None:
        if self._text is not None:
            self._lex()
        return self._parameters

    def same(self, other: Macro) -> bool:
        """Whether a second definition may stand beside this one."""
        return (
            self.parameters == other.parameters
            and self.variadic == other.variadic
            and spell(self.body) == spell(other.body)
        )


class BadDefinition(Exception):
    """A parameter list that is none; the token where that shows, and what is wrong."""

    def __init__(self, token: Token | None, message: str) -> None:
        super().__init__(message)
        self.token = token


def split(tokens: list[Token]) -> tuple[list[str] | None, str, list[Token]]:
    """What follows a macro's name: (parameters, variadic parameter, body). Raises BadDefinition."""
    if not tokens or tokens[0].value != "(" or tokens[0].space:
        return None, "", tokens
    parameters: list[str] = []
    variadic = ""
    position = 1
    while True:
        token = tokens[position] if position < len(tokens) else None
        if token is not None and token.value == ")" and not parameters:
            break
        if token is not None and token.value == "...":
            variadic = "__VA_ARGS__"
            position += 1
        elif token is not None and token.type == "ID":
            parameters.append(token.value)
            position += 1
            if position < len(tokens) and tokens[position].value == "...":
                variadic = parameters.pop()
                position += 1
        else:
            raise BadDefinition(token, "a macro's parameters are names between commas")
        end = tokens[position] if position < len(tokens) else None
        if end is not None and end.value == ")":
            break
        if end is None or end.value != "," or variadic:
            raise BadDefinition(end, "the macro's parameter list is not closed")
        position += 1
    return parameters, variadic, tokens[position + 1 :]


MAX_TOKENS = 400_000
"""What the macros of a text may expand to: a dozen that double each other would fill any memory."""
_PLACE = "PLACE"  # the type of a token that stands for nothing, beside ##


class Macros:
    """The macros in force: those of the text above those of shipped headers.

    `dynamic` gives the value of names like ``__LINE__`` from the token that uses them.
    """

    def __init__(
        self, reporter: Reporter, dynamic: dict[str, Callable[[Token], Token]] | None = None
    ) -> None:
        self.own: dict[str, Macro | None] = {}
        self.shipped: dict[str, Macro] = {}
        self.dynamic = dynamic or {}
        self._reporter = reporter
        self._asleep: set[str] = set()
        self._room = MAX_TOKENS

    def get(self, name: str) -> Macro | None:
        if name in self.own:
            return self.own[name]
        return self.shipped.get(name)

    def defined(self, name: str) -> bool:
        return self.get(name) is not None or name in self.dynamic

    def expand(self, tokens: Sequence[Token]) -> list[Token]:
        """`tokens` with every macro expanded."""
        own, shipped, dynamic = self.own, self.shipped, self.dynamic
        out: list[Token] = []
        stack: list[Token | str] = list(reversed(tokens))
        while stack:
            token = stack.pop()
            if isinstance(token, str):
                self._asleep.discard(token)
                continue
            if token.type != "ID" or token.painted:
                out.append(token)
                continue
            name = token.value
            macro = own[name] if name in own else shipped.get(name)
            if macro is None:
                if name in dynamic:
                    out.append(dynamic[name](token))
                else:
                    out.append(token)
                continue
            if name in self._asleep:
                token.painted = True
                out.append(token)
                continue
            if macro.parameters is None:
                result = self._substitute(macro, macro.body, {}, token)
            else:
                arguments = self._arguments(macro, token, stack)
                if arguments is None:
                    out.append(token)
                    continue
                result = self._substitute(macro, macro.body, arguments, token)
            if result:
                result[0].space = token.space
                self._room -= len(result)
                if self._room < 0:
                    self._too_many(token)
            self._asleep.add(name)
            stack.append(name)
            stack.extend(reversed(result))
        return out

    def _too_many(self, token: Token) -> None:
        """Ends the compilation."""
        self._reporter.error(
            "parse/macro-size",
            f"the macros expand to more than {MAX_TOKENS} tokens",
            token.span,
            notes=[f"'{token.value}' is where that was reached"],
            help=["macros that double each other grow fast: write a function or a loop"],
        )
        self._reporter.check()

    def _arguments(
        self, macro: Macro, name: Token, stack: list[Token | str]
    ) -> dict[str, list[Token]] | None:
        """Takes a call's arguments off the stack; None if no ``(`` follows."""
        position = len(stack) - 1
        while position >= 0 and isinstance(stack[position], str):
            position -= 1
        opening = stack[position] if position >= 0 else None
        if not isinstance(opening, Token) or opening.value != "(":
            return None
        while isinstance(marker := stack.pop(), str):
            self._asleep.discard(marker)
        parameters = macro.parameters or []
        arguments: list[list[Token]] = [[]]
        depth = 0
        while True:
            if not stack:
                self._reporter.error(
                    "parse/macro-arguments",
                    f"the call of macro '{name.value}' is never closed",
                    name.span,
                    help=["add the missing )"],
                )
                break
            token = stack.pop()
            if isinstance(token, str):
                self._asleep.discard(token)
                continue
            value = token.value
            if value == ")" and token.type == "PUNCT":
                if depth == 0:
                    break
                depth -= 1
            elif value == "(":
                depth += 1
                if depth >= BRACKETS:
                    refuse_brackets(token, self._reporter)
            elif (
                value == ","
                and depth == 0
                and not (macro.variadic and len(arguments) > len(parameters))
            ):
                arguments.append([])
                continue
            arguments[-1].append(token)
        return self._bind(macro, name, arguments)

    def _bind(
        self, macro: Macro, name: Token, arguments: list[list[Token]]
    ) -> dict[str, list[Token]]:
        parameters = macro.parameters or []
        if not parameters and len(arguments) == 1 and (macro.variadic or not arguments[0]):
            bound: dict[str, list[Token]] = {}
            if macro.variadic:
                bound[macro.variadic] = arguments[0]
            return bound
        wanted = len(parameters)
        if len(arguments) < wanted or (len(arguments) > wanted and not macro.variadic):
            self._reporter.error(
                "parse/macro-arguments",
                f"macro '{name.value}' takes {wanted} argument{'s' * (wanted != 1)}, "
                f"not {len(arguments)}",
                name.span,
                notes=[f"'{name.value}' is defined at {macro.span}"],
            )
        bound = {
            parameter: arguments[index] if index < len(arguments) else []
            for index, parameter in enumerate(parameters)
        }
        if macro.variadic:
            rest = arguments[wanted:]
            bound[macro.variadic] = rest[0] if rest else []
        return bound

    def _substitute(
        self, macro: Macro, body: list[Token], arguments: dict[str, list[Token]], site: Token
    ) -> list[Token]:
        """The body with its parameters replaced, ``#`` and ``##`` done."""
        origin = Expansion(macro.name, macro.span, site.origin)
        expanded: dict[str, list[Token]] = {}
        out: list[Token] = []
        position = 0
        count = len(body)
        while position < count:
            token = body[position]
            following = body[position + 1] if position + 1 < count else None
            value = token.value
            if value == "#" and following is not None and following.value in arguments:
                text = spell(arguments[following.value]).replace("\\", "\\\\").replace('"', '\\"')
                # Quotes and backslashes are escaped inside literals only; elsewhere there are none.
                out.append(Token("STRING", f'"{text}"', 0, 0, "", token.space).at(site, origin))
                position += 2
                continue
            if value == "##" and out and following is not None:
                right = (
                    self._raw(arguments[following.value])
                    if following.value in arguments
                    else [following.at(site, origin)]
                )
                left = out.pop()
                out.append(self._paste(left, right[0], site, origin))
                out.extend(right[1:])
                position += 2
                continue
            if (
                value == ","
                and following is not None
                and following.value == "##"
                and position + 2 < count
                and body[position + 2].value == macro.variadic
                and macro.variadic
            ):
                rest = arguments[macro.variadic]
                if rest:
                    out.append(token.at(site, origin))
                    out.extend(self._full(macro.variadic, arguments, expanded))
                position += 3
                continue
            if value == "__VA_OPT__" and macro.variadic and following is not None:
                end = _closing(body, position + 1)
                if arguments[macro.variadic]:
                    inner = body[position + 2 : end]
                    out.extend(self._substitute(macro, inner, arguments, site))
                position = end + 1
                continue
            if value in arguments and token.type == "ID":
                if following is not None and following.value == "##":
                    out.extend(self._raw(arguments[value]))
                else:
                    full = self._full(value, arguments, expanded)
                    if full:
                        first = _copy(full[0])
                        first.space = token.space
                        out.append(first)
                        out.extend(full[1:])
            else:
                out.append(token.at(site, origin))
            position += 1
        return [token for token in out if token.type != _PLACE]

    def _raw(self, tokens: list[Token]) -> list[Token]:
        return [_copy(token) for token in tokens] or [Token(_PLACE, "", 0, 0, "")]

    def _full(
        self, name: str, arguments: dict[str, list[Token]], expanded: dict[str, list[Token]]
    ) -> list[Token]:
        """An argument, expanded once for all its uses."""
        if name not in expanded:
            asleep = set(self._asleep)
            expanded[name] = self.expand([_copy(token) for token in arguments[name]])
            self._asleep = asleep
        return [_copy(token) for token in expanded[name]]

    def _paste(self, left: Token, right: Token, site: Token, origin: Expansion) -> Token:
        if left.type == _PLACE:
            return right
        if right.type == _PLACE:
            return left
        from minibcc.compiler.reporter import Reporter

        lines = lex(left.value + right.value, site.filename, Reporter())
        if len(lines) != 1 or len(lines[0]) != 1:
            self._reporter.error(
                "parse/bad-paste",
                f"'{left.value}' and '{right.value}' do not make one token",
                site.span,
                notes=[f"in macro '{origin.name}', defined at {origin.definition}"],
            )
            return left
        token = lines[0][0].at(site, origin)
        token.space = left.space
        return token


def _copy(token: Token) -> Token:
    copy = Token(
        token.type,
        token.value,
        token.lineno,
        token.column,
        token.filename,
        token.space,
        token.width,
        token.origin,
    )
    copy.painted = token.painted
    return copy


def _closing(body: list[Token], opening: int) -> int:
    """The index of the ``)`` that closes the ``(`` at `opening`."""
    depth = 0
    for index in range(opening, len(body)):
        if body[index].value == "(":
            depth += 1
        elif body[index].value == ")":
            depth -= 1
            if depth == 0:
                return index
    return len(body)
