"""Say what a diagnostic code means, with an example that it refuses and one that it takes.

Without a code, list them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.diagnostics import registry
from minibcc.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from minibcc.diagnostics import Explanation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("code", nargs="?", metavar="CODE", help="as in [verify/null-deref]")


def main(arguments: argparse.Namespace) -> int:
    rows = registry()
    if arguments.code is None:
        width = max((len(code) for code in rows), default=0)
        for code, row in rows.items():
            print(f"{code:<{width}}  {row.title}")
        return 0
    code = arguments.code.strip("[]")
    found = rows.get(code)
    if found is None:
        import difflib

        near = difflib.get_close_matches(code, rows, n=3, cutoff=0.4)
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"no code {code!r}{hint}")
    print(explanation(found))
    return 0


def explanation(row: Explanation) -> str:
    """A registry row as a page of text."""
    return "\n".join(
        (
            f"{row.code}: {row.title}",
            "",
            row.text.strip(),
            "",
            "Refused:",
            "",
            _indented(row.bad),
            "",
            "Accepted:",
            "",
            _indented(row.good),
        )
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip("\n").split("\n"))
