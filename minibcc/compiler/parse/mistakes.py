"""What the parser refuses, in words for the one who wrote it.

pycparser says "before: x". From the tokens around the place this module guesses the mistake:
a missing semicolon, a missing bracket, a type that nobody knows, a statement outside of a
function.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from minibcc.diagnostics import Diagnostic, Span, error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minibcc.compiler.preprocess import Token

_CLOSERS = {"RPAREN": "')'", "RBRACKET": "']'", "RBRACE": "'}'", "COLON": "':'", "LPAREN": "'('"}
_CLOSERS |= {"LBRACE": "'{'", "COMMA": "','", "EQUALS": "'='", "WHILE": "'while'", "ID": "a name"}
_CLOSERS |= {"TYPEID": "a type's name"}
_OPENERS = {"RPAREN": "'('", "RBRACKET": "'['", "RBRACE": "'{'"}
_TYPE_WORDS = {"CHAR", "SHORT", "INT", "LONG", "SIGNED", "UNSIGNED", "VOID", "_BOOL", "__INT128"}
_TYPE_WORDS |= {"STRUCT", "UNION", "ENUM", "FLOAT", "DOUBLE", "CONST", "VOLATILE", "STATIC"}
_WORDS = {"and": "&&", "or": "||", "not": "!", "elif": "else if", "is": "==", "then": "{"}
_MEMBERS_OF_LIBBPF = ("__uint", "__type", "__array", "__ulong")
_STATEMENT_WORDS = {"IF", "FOR", "WHILE", "DO", "RETURN", "SWITCH", "GOTO", "BREAK", "CONTINUE"}


def describe(token: Token | None) -> str:
    """A token as a message names it."""
    if token is None:
        return "the end of the text"
    return f"'{token.value}'"


def after(token: Token) -> Span:
    """The place right behind a token."""
    column = token.column + token.width
    return Span(token.filename, token.lineno, column, token.lineno, column + 1)


def explain(
    wanted: str, tokens: list[Token], index: int, types: Iterable[str], at_file_level: bool
) -> Diagnostic:
    """The diagnostic for what stands at `tokens[index]`, where the grammar wanted token type
    `wanted` ("" if it wanted an expression or a declaration)."""
    found = tokens[index] if index < len(tokens) else None
    before = tokens[index - 1] if 0 < index <= len(tokens) else None
    span = found.span if found is not None else after(before) if before else None
    notes = origin(found)
    unknown = _unknown_type(wanted, tokens, index)
    if unknown is not None:
        close = get_close_matches(unknown.value, list(types), 1)
        return error(
            "parse/unknown-type",
            f"there is no type '{unknown.value}'",
            unknown.span,
            notes=origin(unknown),
            help=[f"did you mean '{close[0]}'?"]
            if close
            else ["declare it with typedef, or write 'struct' before the name of a struct"],
        )
    special = _special(wanted, tokens, index)
    if special is not None:
        code, message, help = special
        return error(code, message, span, notes=notes, help=[help])
    if wanted == "SEMI" and before is not None:
        if found is not None and found.lineno == before.lineno and found.type in ("RPAREN",):
            return error(
                "parse/unexpected-token",
                f"this {describe(found)} closes nothing",
                span,
                notes=notes,
                help=["remove it, or add the '(' that it should close"],
            )
        return error(
            "parse/missing-semicolon",
            "a ';' is missing here",
            after(before),
            notes=notes,
            help=[f"write ';' after '{before.value}'"],
        )
    if wanted in _CLOSERS and wanted != "ID":
        return error(
            "parse/missing-token",
            f"expected {_CLOSERS[wanted]} before {describe(found)}",
            span,
            notes=notes,
            help=_help_missing(wanted, before),
        )
    if at_file_level and found is not None and found.type in _STATEMENT_WORDS:
        return error(
            "parse/outside-function",
            f"'{found.value}' stands outside of any function",
            span,
            notes=notes,
            help=["a '}' too many before this line?"],
        )
    if found is not None and found.type == "ELSE":
        return error(
            "parse/unexpected-token",
            "this 'else' has no 'if'",
            span,
            notes=notes,
            help=["an 'if' with several statements needs { } around them"],
        )
    message = f"{describe(found)} does not fit here"
    if wanted == "ID":
        message = f"expected a name before {describe(found)}"
    elif wanted == "expression":
        message = f"expected an expression before {describe(found)}"
    return error("parse/unexpected-token", message, span, notes=notes)


def _help_missing(wanted: str, before: Token | None) -> list[str]:
    """How to mend a missing token behind `before`."""
    if wanted in _OPENERS:
        return [f"every {_OPENERS[wanted]} needs its {_CLOSERS[wanted]}"]
    if wanted == "WHILE":
        return ["a loop that begins with do ends with while (condition);"]
    if wanted == "TYPEID" or before is None:
        return []
    return [f"write {_CLOSERS[wanted]} after '{before.value}'"]


def _special(wanted: str, tokens: list[Token], index: int) -> tuple[str, str, str] | None:
    """Code, message and help for mistakes that need a word of their own."""
    found = tokens[index] if index < len(tokens) else None
    before = tokens[index - 1] if 0 < index <= len(tokens) else None
    if found is None or before is None:
        return None
    if found.value in _WORDS:
        message = f"C has no word '{found.value}'"
        return "parse/unexpected-token", message, f"write {_WORDS[found.value]}"
    if found.value in _MEMBERS_OF_LIBBPF:
        message = "this declares a map in libbpf's style"
        return "dialect/libbpf-style", message, "write BPF_HASH(name, key_type, value_type)"
    label = wanted == "expression" and found.type == "LAND"
    if label or (before.type == "GOTO" and found.type == "TIMES"):
        message = "the address of a label: where a BPF program jumps to must be known"
        return "parse/computed-goto", message, "choose with switch, and goto each label by its name"
    if wanted == "SEMI" and found.type == "LBRACE" and _is_signature(tokens, index):
        message = "a function cannot begin inside of another"
        return "parse/nested-function", message, "is the '}' of the function before it missing?"
    if wanted == "expression" and (found.type in _TYPE_WORDS or found.type == "TYPEID"):
        if before.type in ("RPAREN", "ELSE", "COLON"):
            message = "a declaration cannot stand here without braces"
            return "parse/unexpected-token", message, "put { } around it"
        message = f"a value is wanted here, and '{found.value}' is a type"
        return "parse/unexpected-token", message, "name a variable or a number, without its type"
    return None


def _is_signature(tokens: list[Token], index: int) -> bool:
    """Whether ``type name(...)`` stands before `index`."""
    depth = 0
    position = index - 1
    while position > 1:
        kind = tokens[position].type
        depth += (kind == "RPAREN") - (kind == "LPAREN")
        position -= 1
        if depth == 0:
            break
    before = tokens[position - 1].type
    return tokens[position].type == "ID" and (
        before in ("TYPEID", "TIMES") or before in _TYPE_WORDS
    )


def origin(token: Token | None) -> list[str]:
    """Through which macros a token came."""
    notes = []
    expansion = token.origin if token is not None else None
    while expansion is not None:
        notes.append(f"from macro '{expansion.name}', defined at {expansion.definition}")
        expansion = expansion.outer
    return notes


def _unknown_type(wanted: str, tokens: list[Token], index: int) -> Token | None:
    """The name that was meant as a type, if it looks like that: ``name name``, ``(name *)``."""
    found = tokens[index] if index < len(tokens) else None
    if found is None:
        return None
    before = tokens[index - 1] if index > 0 else None
    following = tokens[index + 1] if index + 1 < len(tokens) else None
    if before is not None and before.type == "ID" and found.type == "ID" and wanted != "":
        first = tokens[index - 2] if index > 1 else None
        if first is None or first.type in ("SEMI", "LBRACE", "RBRACE", "LPAREN", "COMMA"):
            return before
    if (
        wanted in ("", "declaration")
        and found.type == "ID"
        and following is not None
        and following.type in ("ID", "TIMES")
    ):
        return found
    if wanted == "expression" and found.type == "RPAREN" and index > 2:
        back = index - 1
        while back > 0 and tokens[back].type == "TIMES":
            back -= 1
        if back < index - 1 and tokens[back].type == "ID" and tokens[back - 1].type == "LPAREN":
            return tokens[back]
    return None
