"""A C file as the command line means it: read, and compiled for a kernel."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from minibcc.errors import MinibccError

if TYPE_CHECKING:
    import argparse

    from minibcc.compiler.object import BpfObject
    from minibcc.system.interface import Files


class NoFile(MinibccError):
    """There is no such file, or it cannot be read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that compiles."""
    parser.add_argument("file", metavar="FILE.c", help="a C text as BCC takes it; - is stdin")
    parser.add_argument(
        "--cpu", choices=("v1", "v2", "v3", "v4"), default="v2", help="instruction set (default v2)"
    )
    parser.add_argument(
        "-D", dest="cflags", action="append", default=[], metavar="NAME[=VALUE]",
        type="-D{}".format, help="define a macro",
    )  # fmt: skip
    parser.add_argument(
        "-I", dest="cflags", action="append", metavar="FOLDER",
        type="-I{}".format, help="look for headers there too",
    )  # fmt: skip


def read(path: str) -> str:
    """The text of a file. Raises NoFile."""
    try:
        if path == "-":
            return sys.stdin.read()
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as wrong:
        raise NoFile(f"minibcc: cannot open {path}: {wrong.strerror}") from None


def options(arguments: argparse.Namespace, files: Files) -> dict[str, Any]:
    """What the compiler wants beside the text."""
    from minibcc.compiler.target import Target

    return {
        "target": Target.from_system(files),
        "file": "<stdin>" if arguments.file == "-" else arguments.file,
        "cflags": arguments.cflags,
        "cpu": arguments.cpu,
    }


def compiled(arguments: argparse.Namespace, files: Files) -> BpfObject:
    """The object; its warnings go to standard error. Raises NoFile, CompileError."""
    from minibcc.compiler.compile import compile

    text = read(arguments.file)
    made = compile(text, **options(arguments, files))
    for warning in made.warnings:
        print(warning, file=sys.stderr)
    return made
