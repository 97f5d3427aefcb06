"""JSON as bpftool writes it, plain (-j) or pretty (-p).

Pretty: four columns a level, a name a line, but an array's items stand side by side, so that
objects in an array follow each other as ``},{``.
"""

from __future__ import annotations

import json
import re
from typing import Any


class Written(str):
    """A value that is text already, in the pretty form."""

    __slots__ = ()

    def compact(self) -> str:
        """Without its layout: a newline in a string is escaped, and so is a quotation mark."""
        return re.sub(r'(?<!\\)": ', '":', re.sub(r"\n *", "", self))


def text(value: Any, *, pretty: bool, depth: int = 0) -> str:
    """`value` (dicts, lists, strings, numbers, booleans, None, `Written`) as one string."""
    match value:
        case Written():
            return str(value) if pretty else value.compact()
        case dict():
            items = [
                f"{_line(pretty, depth + 1)}{_string(name)}:{' ' if pretty else ''}"
                f"{text(item, pretty=pretty, depth=depth + 1)}"
                for name, item in value.items()
            ]
            return "{" + ",".join(items) + (_line(pretty, depth) if items else "") + "}"
        case list() | tuple():
            items = [text(item, pretty=pretty, depth=depth + 1) for item in value]
            return "[" + ",".join(items) + (_line(pretty, depth) if items else "") + "]"
        case str():
            return _string(value)
    return json.dumps(value)


def _line(pretty: bool, depth: int) -> str:
    return "\n" + "    " * depth if pretty else ""


def _string(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
