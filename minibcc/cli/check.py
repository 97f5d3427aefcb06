"""Compile and verify every program that a BCC script would load, without running it.

The script runs up to where it would wait for events. What it attaches has no effect, what it draws
nobody sees; it can start no process and send no signal. For each function: its type, its
instructions, its maps, and what the verifier says; ``not decided`` is what minibcc's verifier
cannot decide yet.

Exit status 0 if everything compiles and verifies, 1 if something does not (or the script itself
fails before its first BPF object).
"""

from __future__ import annotations

import io
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from minibcc import boot
from minibcc.cli.main import BUG, WRONG
from minibcc.errors import NotPermitted
from minibcc.records import Record, replace

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from minibcc.cli.rehearsal import Rehearsal, Text, Verdict
    from minibcc.system.interface import System


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kernel", choices=boot.KERNELS, default="sim",
        help="whose types and verifier (default sim); linux loads as root, and closes again, "
        "and only compiles for others",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("script", metavar="SCRIPT", help="a Python script")
    parser.add_argument("args", nargs="...", metavar="ARGS", help="its arguments")


def prepare(words: Sequence[str]) -> list[str]:
    """The script's own options are not ours."""
    prepared: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            return [*prepared, "--", word, *rest]
        prepared.append(word)
        if word == "--kernel" and rest:
            prepared.append(rest.pop(0))
    return prepared


def main(arguments: argparse.Namespace) -> int:
    from minibcc.cli.rehearsal import Rehearsal
    from minibcc.cli.terminal import Terminal

    script = Rehearsal(arguments.script, arguments.args)
    options = boot.Options(kernel=arguments.kernel)
    try:
        system = boot.system(options)
    except NotPermitted:
        options = replace(options, loads=False)
        system = boot.system(options)
    screen = sys.stdout

    def tell(status: int) -> int:
        report = Report(arguments.script, system.name, status, script.bug, tuple(script.texts))
        print(report.json() if arguments.json else report.text(), file=screen, flush=True)
        if script.bug:
            return BUG
        return 0 if report.passed else WRONG

    terminal = Terminal()

    def stuck() -> None:
        terminal.close()
        os._exit(tell(script.status))

    terminal.open()
    try:
        status, said = _silently(script, system, stuck, options)
    finally:
        terminal.close()
    if not script.texts and said:
        print(said, end="", file=sys.stderr)
    answer = tell(status)
    if any(not thread.daemon for thread in threading.enumerate()[1:]):
        sys.stderr.flush()
        os._exit(answer)  # Python would wait for them
    return answer


def _silently(
    script: Rehearsal, system: System, stuck: Callable[[], None], options: boot.Options
) -> tuple[int, str]:
    """Runs the script, keeping what it prints; its exit status and that."""
    kept = _Kept()
    output = io.TextIOWrapper(kept, "utf-8", errors="replace", write_through=True)
    screen, sys.stdout = sys.stdout, output
    try:
        status = script.rehearse(
            system, stuck, simulated=options.kernel == "sim", loads=options.loads
        )
    finally:
        sys.stdout = screen
    return status, kept.content.decode("utf-8", "replace")


class _Kept(io.BytesIO):
    """What a script prints; to who asks, it is descriptor 1. `content` outlives closing."""

    content = b""

    def fileno(self) -> int:
        return 1

    def write(self, data: Any, /) -> int:
        self.content += bytes(data)
        return len(data)


class Report(Record):
    """What a check found; `status` is the script's own exit status, `bug` whether minibcc itself
    failed."""

    script: str
    kernel: str
    status: int
    bug: bool
    texts: tuple[Text, ...]

    @property
    def passed(self) -> bool:
        if self.status and not self.texts:
            return False
        return not self.bug and all(text.passed for text in self.texts)

    def json(self) -> str:
        import json

        return json.dumps(
            {
                "script": self.script,
                "kernel": self.kernel,
                "status": self.status,
                "passed": self.passed,
                "texts": [_plain(text) for text in self.texts],
            },
            indent=2,
        )

    def text(self) -> str:
        if not self.texts:
            return f"{self.script} makes no BPF object"
        parts = [_section(text) for text in self.texts]
        return "\n\n".join([*parts, self._summary()])

    def _summary(self) -> str:
        verdicts = [verdict for text in self.texts for verdict in text.verdicts]
        counts: dict[str, int] = {}
        for verdict in verdicts:
            counts[verdict.verdict] = counts.get(verdict.verdict, 0) + 1
        words = [f"{number} {word}" for word, number in counts.items()]
        if failed := sum(bool(text.error) for text in self.texts):
            words.append(f"{failed} text{'s' * (failed > 1)} without programs")
        head = f"{self.script}: {', '.join(words) or 'no programs'}"
        return f"{head} ({self.kernel} kernel)"


def _plain(text: Text) -> dict[str, Any]:
    made = text.object
    return {
        "file": text.file,
        "error": text.error,
        "code": text.code,
        "maps": [
            {"name": spec.name, "type": spec.type.name, "max_entries": spec.max_entries}
            for spec in (made.maps if made else ())
        ],
        "programs": [_plain_verdict(verdict) for verdict in text.verdicts],
    }


def _plain_verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "name": verdict.name,
        "type": verdict.type.name if verdict.type is not None else None,
        "instructions": verdict.instructions,
        "maps": list(verdict.maps),
        "verdict": verdict.verdict,
        "code": verdict.code,
        "message": verdict.message,
        "loaded_by_script": verdict.loaded,
    }


def _section(text: Text) -> str:
    """A text's table, and under it what was refused."""
    if text.error:
        return text.error
    if not text.verdicts:
        return f"{text.file}: no functions"
    head = ("function", "type", "insns", "maps", "verdict")
    rows = [head, *(_row(verdict) for verdict in text.verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column == 2 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    messages = dict.fromkeys(verdict.message for verdict in text.verdicts if verdict.message)
    return "\n".join(["\n".join(lines), *(f"\n{message}" for message in messages)])


def _row(verdict: Verdict) -> tuple[str, str, str, str, str]:
    word = f"{verdict.verdict} [{verdict.code}]" if verdict.code else verdict.verdict
    kind = verdict.type.name if verdict.type is not None else "-"
    return (
        verdict.name,
        kind if verdict.loaded or verdict.type is None else f"{kind}?",
        str(verdict.instructions),
        " ".join(verdict.maps) or "-",
        word,
    )
