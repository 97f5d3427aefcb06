"""The command line: picks the subcommand, and turns what goes wrong into an exit status.

    0  done
    1  your program is wrong (C, script, or what it asks of the kernel)
    2  the command line cannot be meant
    3  a bug in minibcc

Each subcommand is a module with ``add_arguments(parser)`` and ``main(arguments) -> int``; only the
one that is asked for is imported. Its `DEFAULTS`, if it has any, are the arguments of a command
line ``COMMAND SCRIPT ARGS`` without options. ``prog``, ``map``, ``btf`` and ``link`` have bpftool's
grammar and read their own words.
"""

from __future__ import annotations

import gc
import os
import sys
from errno import EDQUOT, EFBIG, ENOSPC
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

from minibcc.errors import MinibccError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

WRONG: Final = 1
USAGE: Final = 2
BUG: Final = 3

FULL: Final = (ENOSPC, EDQUOT, EFBIG)
"""Why there may be no room for output."""

COMMANDS: Final = {
    "run": ("minibcc.cli.run", "run a BCC script in a simulated kernel"),
    "check": ("minibcc.cli.check", "compile and verify what a BCC script would load"),
    "compile": ("minibcc.cli.compile", "compile C to bytecode and show it"),
    "verify": ("minibcc.cli.verify", "ask the verifier about each program of a file"),
    "trace": ("minibcc.cli.trace", "run a program once, instruction by instruction"),
    "explain": ("minibcc.cli.explain", "say what a diagnostic code means"),
    "vm": ("minibcc.cli.vm", "run raw bytecode"),
}
"""Name to module and help."""

VIEWS: Final = {
    "prog": "programs of the scripts that are running (as bpftool)",
    "map": "their maps",
    "btf": "their types",
    "link": "their links",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line (without the command's own name); its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Importing makes many objects and no garbage: looking for it cost a tenth of a short run.
    gc.set_threshold(100_000)
    try:
        status = _dispatch(words)
        if sys.stdout is not None:  # as it is where the shell has closed it
            sys.stdout.flush()
        return status
    except UsageError as wrong:
        print(f"minibcc: {wrong}", file=sys.stderr)
        return USAGE
    except MinibccError as wrong:
        print(wrong, file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _give_up_output()  # whoever read it has gone (`| head`): nothing is wrong
        return 0
    except Exception as wrong:
        if isinstance(wrong, OSError) and wrong.errno in FULL:
            _give_up_output()
            print(f"minibcc: {wrong.strerror}", file=sys.stderr)
            return WRONG
        import traceback

        traceback.print_exc()
        print("minibcc: this is a bug in minibcc; please report it", file=sys.stderr)
        return BUG


def _give_up_output() -> None:
    """Nothing more is written, nor does Python's own flush at the end complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(words: list[str]) -> int:
    command = next((word for word in words if not word.startswith("-")), "")
    if command in VIEWS:
        from minibcc.cli import show

        return show.main(words)
    if words and words[0] in ("-V", "--version"):
        from minibcc import __version__

        print(f"minibcc {__version__}")
        return 0
    if words and words[0] in COMMANDS:
        return _command(words[0], words[1:])
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(), file=sys.stdout if words else sys.stderr)
        return 0 if words else USAGE
    raise UsageError(f"no command {words[0]!r}\n{usage()}")


def _command(name: str, words: list[str]) -> int:
    module = import_module(COMMANDS[name][0])
    defaults = getattr(module, "DEFAULTS", None)
    if defaults is not None and words and not words[0].startswith("-"):
        plain = SimpleNamespace(**defaults, script=words[0], args=words[1:])
        return int(module.main(plain))
    import argparse

    parser = argparse.ArgumentParser(
        f"minibcc {name}", description=(module.__doc__ or "").split("\n")[0]
    )
    module.add_arguments(parser)
    prepare = getattr(module, "prepare", list)
    try:
        arguments = parser.parse_args(prepare(words))
    except SystemExit as end:
        return 0 if end.code in (0, None) else USAGE
    return int(module.main(arguments))


def usage() -> str:
    """The text of ``minibcc --help``."""
    rows = {name: text for name, (_, text) in COMMANDS.items()} | VIEWS
    lines = [f"  {name:<9} {text}" for name, text in rows.items()]
    head = "usage: minibcc COMMAND ...\n\ncommands:\n"
    return head + "\n".join(lines) + "\n\nminibcc COMMAND --help says more"
