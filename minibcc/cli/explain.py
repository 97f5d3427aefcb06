"""Say what a diagnostic code means, with an example that it refuses and one that it takes.

A message of the kernel's verifier does as well as a code, whichever kernel gave it. Without
either, list the codes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minibcc.diagnostics import registry
from minibcc.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from minibcc.diagnostics import Explanation


_VARIES = re.compile(r"[{<]\w+[}>]")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "code", nargs="?", metavar="CODE",
        help="as in [verify/null-deref]; or a message: \"R0 invalid mem access 'scalar'\"",
    )  # fmt: skip


def main(arguments: argparse.Namespace) -> int:
    rows = registry()
    if arguments.code is None:
        width = max((len(code) for code in rows), default=0)
        for code, row in rows.items():
            print(f"{code:<{width}}  {row.title}")
        return 0
    code = arguments.code.strip("[]")
    found = rows.get(code) or _of_message(arguments.code, rows)
    if found is None:
        import difflib

        near = difflib.get_close_matches(code, rows, n=3, cutoff=0.4)
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"no code {code!r}{hint}")
    print(explanation(found))
    return 0


def _of_message(text: str, rows: dict[str, Explanation]) -> Explanation | None:
    """The row of a message of the kernel's."""
    from minibcc.bcc.refusal.messages import classify

    known = classify(text.strip())
    return rows[known.code] if known is not None else None


def explanation(row: Explanation) -> str:
    """A registry row as a page of text."""
    return "\n".join(
        (
            f"{row.code}: {row.title}",
            "",
            row.text.strip(),
            "",
            *_messages(row),
            "Refused:",
            "",
            _indented(row.bad),
            "",
            "Accepted:",
            "",
            _indented(row.good),
        )
    )


def _messages(row: Explanation) -> list[str]:
    """What the kernel says for it, as templates."""
    if not row.kernel:
        return []
    says = [
        re.sub(r"[{<](\w+)[}>]", "...", words.says).replace("R...", "R#") for words in row.kernel
    ]
    return ["The kernel's words:", "", *(f"    {text}" for text in dict.fromkeys(says)), ""]


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip("\n").split("\n"))
