"""Pragmas: ``pack`` is obeyed here, what is about loops goes on to the parser, the rest is noise
that kernel headers and clang's users bring along, or a mistake.

``pack`` works as in gcc and clang: a stack, ``push`` and ``pop`` with or without a name, and an
alignment that no member of a struct begun behind it exceeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from minibcc.compiler.preprocess import Token
    from minibcc.compiler.reporter import Reporter

_LOOPS = ("unroll", "nounroll", "loop")
_QUIET = ("GCC", "clang", "STDC", "message", "module", "weak", "region", "endregion", "mark")
"""Words that begin pragmas which are understood elsewhere and mean nothing to a BPF program."""


class Pack(NamedTuple):
    """The alignment in force from token `start` on, 0 for none."""

    start: int
    align: int


class Pragmas:
    """The pragmas of one text, in order."""

    def __init__(self, reporter: Reporter) -> None:
        self.packs: list[Pack] = []
        self._reporter = reporter
        self._stack: list[tuple[str, int]] = []
        self._align = 0

    def directive(self, token: Token, index: int) -> bool:
        """Takes a pragma's text; False if it is for the parser. `index` is where it stands."""
        words = token.value.replace("(", " ( ").replace(")", " ) ").replace(",", " , ").split()
        first = words[0] if words else ""
        if first == "pack":
            self._pack(words[1:], token, index)
            return True
        if any(word in _LOOPS or word.startswith("unroll") for word in words[:3]):
            return False
        if first and first not in _QUIET:
            self._reporter.warning(
                "parse/unknown-pragma",
                f"'#pragma {first}' means nothing here",
                token.span,
                help=["pack, unroll and once are obeyed"],
            )
        return True

    def operator(self, tokens: list[Token], position: int, index: int) -> bool:
        """The same for ``_Pragma("...")``, of which ``(`` is at `position`."""
        if position + 1 >= len(tokens) or tokens[position + 1].type != "STRING":
            return False
        text = tokens[position + 1]
        words = text.value.strip('"').replace('\\"', '"')
        inner = type(text)("PPPRAGMASTR", words, text.lineno, text.column, text.filename)
        return self.directive(inner, index)

    def _pack(self, words: list[str], token: Token, index: int) -> None:
        inside = [word for word in words[1:-1] if word != ","]
        if words[:1] != ["("] or words[-1:] != [")"]:
            self._bad(token, "pack takes its arguments in parentheses")
            return
        action = inside.pop(0) if inside and inside[0] in ("push", "pop") else ""
        name = inside.pop(0) if action and inside and inside[0].isidentifier() else ""
        align = self._align if action else 0
        if inside:
            if inside not in (["0"], ["1"], ["2"], ["4"], ["8"], ["16"]):
                self._bad(token, f"structs cannot be packed to {' '.join(inside)}")
                return
            align = int(inside[0])
        if action == "push":
            self._stack.append((name, self._align))
        elif action == "pop":
            restored = self._pop(name)
            if restored is None:
                self._bad(token, "there is no #pragma pack(push) before this pop")
                return
            align = align if inside else restored
        self._align = align
        self.packs.append(Pack(index, align))

    def _pop(self, name: str) -> int | None:
        for depth in range(len(self._stack) - 1, -1, -1):
            if not name or self._stack[depth][0] == name:
                align = self._stack[depth][1]
                del self._stack[depth:]
                return align
        return None

    def _bad(self, token: Token, message: str) -> None:
        self._reporter.warning(
            "parse/bad-pack",
            message,
            token.span,
            help=["write #pragma pack(push, 1) before and #pragma pack(pop) behind the structs"],
        )
