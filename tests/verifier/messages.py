"""Main messages of refusals as templates, and how much each counts (`templates.txt`)."""

from __future__ import annotations

import re
from pathlib import Path

_TABLE = Path(__file__).with_name("templates.txt")
_STEPS = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"cannot use helper \S+", "cannot use helper H#N"),
        (r"type=\S+ expected=.*", "type=T expected=T"),
        (r"unknown opcode [0-9a-f]+", "unknown opcode N"),
        (r"var_off=\([^)]*\)", "var_off=V"),
        (r"\bR\d+", "R#"),
        (r"0x[0-9a-f]+", "N"),
        (r"(?<![A-Za-z_\d])-?\d+", "N"),
        (r"R# invalid zero-sized read: .*", "R# invalid zero-sized read: u64=[N,N]"),
    )
)


def template(message: str) -> str:
    """A message without its numbers."""
    for pattern, text in _STEPS:
        message = pattern.sub(text, message)
    return message


def weights() -> dict[str, int]:
    """Template to count, the most frequent first."""
    lines = _TABLE.read_text().splitlines()
    pairs = (line.split(" ", 1) for line in lines if not line.startswith("#"))
    return {text: int(count) for count, text in pairs}
