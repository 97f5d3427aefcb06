"""The walk over a file's lines: directives are obeyed, the text between them is expanded.

Text is collected until the next directive that can change a macro, and expanded as one piece, so
that a call of a function-like macro may span lines. Declarations of shipped headers that the
expanded text uses are put in front of it at the end.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from minibcc.compiler.preprocess.conditions import BadCondition, evaluate
from minibcc.compiler.preprocess.flags import Flags, parsed, predefined
from minibcc.compiler.preprocess.headers import (
    KERNEL_FOLDERS,
    Declaration,
    Header,
    Search,
    instead_of,
    shipped,
)
from minibcc.compiler.preprocess.lexer import Token, lex, spell
from minibcc.compiler.preprocess.macros import BadDefinition, Macro, Macros, split
from minibcc.diagnostics import Span
from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.target import Target

ALWAYS = "bcc/helpers.h"  # what every BCC program may use without an include
FOR_THE_TEXT = ("KBUILD_MODNAME",)  # has a value that BCC's examples replace without a word
MAX_DEPTH = 50


class Preprocessed(Record):
    """What preprocessing yields. `tokens` are those of the text, declarations of shipped headers
    before them; `license` is what BPF_LICENSE names; `macros` are those in force at the end.
    `looked_at` is what `Search` looked at for includes."""

    tokens: list[Token]
    license: str
    macros: Macros
    looked_at: dict[str, str | None]

    def text(self) -> str:
        """The preprocessed text, line by line as written, for ``--show pp``."""
        out: list[str] = []
        file, line = "", 0
        row: list[Token] = []
        for token in self.tokens:
            if (token.filename, token.lineno) != (file, line) and token.type != "PPPRAGMASTR":
                if row:
                    indent = " " * (row[0].column - 1) if row[0].filename == file else ""
                    out.append(indent + spell(row))
                if token.filename != file:
                    out.append(f'# {token.lineno} "{token.filename}"')
                elif 0 < token.lineno - line < 8:
                    out.extend([""] * (token.lineno - line - 1))
                else:
                    out.append(f"# {token.lineno}")
                file, line, row = token.filename, token.lineno, []
            row.append(token)
        if row:
            out.append(spell(row))
        return "\n".join(out) + "\n"


def preprocess(
    text: str, file: str, target: Target, cflags: Sequence[str], reporter: Reporter
) -> Preprocessed:
    """The tokens of `text`, called `file`. Errors go to `reporter`."""
    return _Preprocessor(file, target, parsed(cflags, reporter), reporter).run(text)


class _Condition(Record, frozen=False):
    """An open ``#if``: `active` now, some branch `taken` already, ``#else`` seen."""

    token: Token
    outer: bool
    active: bool
    taken: bool
    ended: bool = False


class _Preprocessor:
    def __init__(self, file: str, target: Target, flags: Flags, reporter: Reporter) -> None:
        self._file = file
        self._includes = flags.includes
        self._reporter = reporter
        self._counter = 0
        self._macros = Macros(
            reporter,
            {
                "__LINE__": lambda token: _like(token, "NUMBER", str(token.lineno)),
                "__FILE__": lambda token: _like(token, "STRING", f'"{token.filename}"'),
                "__COUNTER__": self._count,
            },
        )
        self._out: list[Token] = []
        self._pending: list[Token] = []
        self._files: dict[str, str] = {}
        self._search = Search(flags.folders)
        self._once: set[str] = set()
        self._declarations: dict[str, list[Declaration]] = {}
        self._depth = 0
        for line, place in predefined(target, flags):
            self._define_text(line, place)
        for name in flags.undefines:
            self._macros.own[name] = None

    def _define_text(self, text: str, file: str) -> None:
        tokens = [token for line in lex(text, file, self._reporter) for token in line]
        self._define(tokens, tokens[0] if tokens else None)

    def run(self, text: str) -> Preprocessed:
        header = shipped(ALWAYS)
        if header is not None:
            self._take(header)
        for name in self._includes:
            self._include(name, False, Span("<command line>", 1, 1), "")
        self._read(text, self._file)
        used = {token.value for token in self._out if token.type == "ID"}
        tokens = self._used(used) + self._out
        return Preprocessed(tokens, self._license(), self._macros, self._search.looked_at)

    def _license(self) -> str:
        macro = self._macros.get("BPF_LICENSE")
        return spell(macro.body).strip('"') if macro is not None and macro.body else "GPL"

    def _used(self, names: Iterable[str]) -> list[Token]:
        """The declarations of shipped headers that `names` need, in the headers' order."""
        chosen: dict[Declaration, list[Token]] = {}
        seen: set[str] = set()
        work = list(names)
        own, self._macros.own = self._macros.own, {}
        while work:
            name = work.pop()
            if name in seen:
                continue
            seen.add(name)
            for declaration in self._declarations.get(name, ()):
                if declaration in chosen:
                    continue
                lines = lex(declaration.text, declaration.file, self._reporter, declaration.line)
                tokens = self._macros.expand([token for line in lines for token in line])
                chosen[declaration] = tokens
                work.extend(token.value for token in tokens if token.type == "ID")
        self._macros.own = own
        order = {file: index for index, file in enumerate(self._files)}
        ordered = sorted(chosen, key=lambda item: (order.get(item.file, 0), item.line))
        return [token for declaration in ordered for token in chosen[declaration]]

    def _count(self, token: Token) -> Token:
        self._counter += 1
        return _like(token, "NUMBER", str(self._counter - 1))

    # --- files -------------------------------------------------------------------------------

    def _read(self, text: str, file: str) -> None:
        if file not in self._files:
            self._files[file] = text
            self._reporter.sources.add(file, text)
        conditions: list[_Condition] = []
        active = True
        self._depth += 1
        for line in lex(text, file, self._reporter):
            first = line[0]
            if first.value != "#" or first.type != "PUNCT":
                if active:
                    self._pending.extend(line)
                continue
            if len(line) == 1:
                continue
            name = line[1].value
            if name in ("if", "ifdef", "ifndef", "elif", "elifdef", "elifndef", "else", "endif"):
                self._flush()
                self._conditional(name, line, conditions, active)
                active = all(condition.active for condition in conditions)
            elif active:
                self._directive(name, line)
        self._flush()
        self._depth -= 1
        for condition in conditions:
            self._reporter.error(
                "parse/unbalanced-conditional",
                f"this #{condition.token.value} has no #endif",
                condition.token.span,
                help=["add #endif where the conditional part ends"],
            )

    def _flush(self) -> None:
        if self._pending:
            self._out.extend(self._macros.expand(self._pending))
            self._pending = []

    def _take(self, header: Header) -> None:
        """Includes a shipped header: its names, nothing more."""
        file = f"include/{header.name}"
        if file in self._files or header.name in self._once:
            return
        self._once.add(header.name)
        if not header.plain:
            self._read(header.text, file)
            return
        if header.text:
            self._files[file] = header.text
            self._reporter.sources.add(file, header.text)
        for name in header.includes:
            inner = shipped(name)
            if inner is not None:
                self._take(inner)
        self._macros.shipped.update(header.macros)
        for name, declarations in header.declarations.items():
            self._declarations.setdefault(name, []).extend(declarations)

    def _include(self, name: str, system: bool, span: Span, file: str) -> None:
        found = self._search.find(name, system, file)
        if found is not None:
            path, text = found
            if path in self._once:
                return
            if self._depth >= MAX_DEPTH:
                self._reporter.error(
                    "parse/include-depth",
                    f"'{name}' includes itself without end",
                    span,
                    help=["begin the header with #pragma once"],
                )
                return
            self._read(text, path)
            return
        header = shipped(name)
        if header is not None:
            self._take(header)
        elif system and name.startswith(KERNEL_FOLDERS):
            self._reporter.warning(
                "parse/header-not-shipped",
                f"minibcc has no <{name}>: kernel types are known without it, its macros are not",
                span,
                help=["remove the include, or define the macros that you need from it"],
            )
        else:
            self._reporter.error(
                "parse/include-not-found",
                f"there is no header '{name}'",
                span,
                notes=[
                    "looked in "
                    + ", ".join(
                        [*(f or "." for f in self._search.folders(system, file)), "our headers"]
                    )
                ],
                help=instead_of(name),
            )

    # --- directives --------------------------------------------------------------------------

    def _directive(self, name: str, line: list[Token]) -> None:
        word, rest = line[1], line[2:]
        match name:
            case "define":
                self._flush()
                self._define(rest, word)
            case "undef":
                self._flush()
                if rest and rest[0].type == "ID":
                    self._macros.own[rest[0].value] = None
                else:
                    self._bad(word, "#undef needs a name")
            case "include" | "include_next" | "import":
                self._flush()
                self._include_line(rest, word)
            case "pragma":
                if rest and rest[0].value == "once":
                    self._once.add(word.filename)
                else:
                    self._pending.append(_like(line[0], "PPPRAGMA", "#pragma"))
                    self._pending.append(_like(word, "PPPRAGMASTR", spell(rest)))
            case "error":
                self._reporter.error("parse/error-directive", spell(rest) or "#error", _all(line))
            case "warning":
                self._reporter.warning("parse/warning-directive", spell(rest), _all(line))
            case "line" | "ident" | "sccs":
                pass
            case _ if word.type == "NUMBER":
                pass  # a line marker that another preprocessor left behind
            case _:
                comment = "if this is a comment: C begins one with //"
                self._bad(word, f"there is no directive #{name}", comment)

    def _bad(self, token: Token, message: str, help: str = "") -> None:
        self._reporter.error("parse/bad-directive", message, token.span, help=[help] * bool(help))

    def _define(self, rest: list[Token], word: Token | None) -> None:
        if not rest or rest[0].type != "ID":
            if word is not None:
                self._bad(rest[0] if rest else word, "#define needs a name")
            return
        name = rest[0]
        try:
            parameters, variadic, body = split(rest[1:])
        except BadDefinition as bad:
            self._bad(bad.token or name, str(bad))
            return
        if body:
            body[0].space = False
        macro = Macro(name.value, name.span, body, parameters, variadic)
        before = self._macros.own.get(name.value)
        if before is not None and not before.same(macro) and name.value not in FOR_THE_TEXT:
            self._reporter.warning(
                "parse/macro-redefined",
                f"macro '{name.value}' is defined again, with another body",
                name.span,
                notes=[f"the first definition is at {before.span}"],
                help=[f"#undef {name.value} first if that is meant"],
            )
        self._macros.own[name.value] = macro

    def _include_line(self, rest: list[Token], word: Token) -> None:
        if rest and rest[0].type not in ("STRING",) and rest[0].value != "<":
            rest = self._macros.expand(rest)
        if rest and rest[0].type == "STRING":
            self._include(rest[0].value.strip('"'), False, rest[0].span, word.filename)
        elif len(rest) > 2 and rest[0].value == "<" and rest[-1].value == ">":
            name = "".join(token.value for token in rest[1:-1])
            span = rest[0].span.to(rest[-1].span)
            self._include(name, True, span, word.filename)
        else:
            self._bad(word, '#include needs "file" or <file>')

    def _conditional(
        self, name: str, line: list[Token], conditions: list[_Condition], active: bool
    ) -> None:
        word, rest = line[1], line[2:]
        if name in ("if", "ifdef", "ifndef"):
            holds = active and self._holds(name, rest, word)
            conditions.append(_Condition(word, active, holds, holds))
            return
        if not conditions:
            self._reporter.error(
                "parse/unbalanced-conditional", f"this #{name} has no #if", word.span
            )
            return
        condition = conditions[-1]
        if name == "endif":
            conditions.pop()
            return
        if condition.ended:
            self._reporter.error(
                "parse/unbalanced-conditional", f"this #{name} stands behind an #else", word.span
            )
            return
        if name == "else":
            condition.ended = True
            condition.active = condition.outer and not condition.taken
        elif condition.taken or not condition.outer:
            condition.active = False
        else:
            condition.active = self._holds(name.removeprefix("el"), rest, word)
        condition.taken = condition.taken or condition.active

    def _holds(self, name: str, rest: list[Token], word: Token) -> bool:
        if name in ("ifdef", "ifndef"):
            if not rest or rest[0].type != "ID":
                self._bad(word, f"#{name} needs a name")
                return False
            return self._macros.defined(rest[0].value) == (name == "ifdef")
        try:
            return evaluate(rest, self._macros, partial(self._has_include, word.filename))
        except BadCondition as bad:
            span = bad.token.span if bad.token is not None else word.span
            self._reporter.error("parse/bad-condition", str(bad), span)
            return False

    def _has_include(self, file: str, name: str, system: bool) -> bool:
        found = self._search.find(name, system, file)
        return found is not None or shipped(name) is not None


def _like(token: Token, type: str, value: str) -> Token:
    """A token of another kind at the same place."""
    return Token(
        type,
        value,
        token.lineno,
        token.column,
        token.filename,
        token.space,
        token.width,
        token.origin,
    )


def _all(line: list[Token]) -> Span:
    return line[0].span.to(line[-1].span)
