"""The verifier's messages, by the table in `codes/verify.toml`."""

from __future__ import annotations

import re
from functools import cache

from minibcc.diagnostics import Words, registry
from minibcc.records import Record


class Match(Record):
    """A message of the kernel: its code, the words for it, and what stood where it varies."""

    code: str
    words: Words
    fields: dict[str, str]


def classify(message: str) -> Match | None:
    """The row of `codes/verify.toml` that a message is of; of several the most literal one."""
    for code, words, pattern in _messages():
        if found := pattern.fullmatch(message):
            return Match(code, words, found.groupdict())
    return None


@cache
def _messages() -> list[tuple[str, Words, re.Pattern[str]]]:
    rows = []
    for code, row in registry().items():
        for words in row.kernel:
            parts = re.split(r"(\{\w+\}|<\w+>)", words.says)
            literal = sum(len(part) for part in parts[::2])
            rows.append((literal, code, words, re.compile("".join(map(_part, parts)))))
    rows.sort(key=lambda row: -row[0])
    return [(code, words, pattern) for _, code, words, pattern in rows]


def _part(part: str) -> str:
    if part.startswith("{"):
        return f"(?P<{part[1:-1]}>-?(?:0x)?[0-9a-f]+)"
    if part.startswith("<") and part.endswith(">"):
        return f"(?P<{part[1:-1]}>.+?)"
    return re.escape(part)
