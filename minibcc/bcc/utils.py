"""Small things that BCC's scripts import from ``bcc.utils``.

Kernel names and data are bytes for BCC, never decoded text; `printb` prints them as they are,
`to_bytes` lets a caller write either. CPU lists are files of the kernel, so they are read behind
the door.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, TypedDict, overload

from minibcc import boot
from minibcc.system.interface import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minibcc.system.interface import System

FILESYSTEMENCODING = sys.getfilesystemencoding()


class ArgString:
    """A command line argument: text, or with ``bytes()`` what the kernel compares it with."""

    def __init__(self, arg: str) -> None:
        self.s = arg

    def __bytes__(self) -> bytes:
        return os.fsencode(self.s)

    def __str__(self) -> str:
        return self.s


@overload
def to_bytes(arg: str | bytes | ArgString) -> bytes: ...
@overload
def to_bytes(arg: None) -> None: ...
def to_bytes(arg: str | bytes | ArgString | None) -> bytes | None:
    """BCC accepts text wherever it means bytes."""
    if arg is None or isinstance(arg, bytes):
        return arg
    return os.fsencode(arg) if isinstance(arg, str) else bytes(arg)


def to_text(arg: str | bytes | ArgString) -> str:
    """The same name as text, for messages and for the kernel's tables."""
    return arg.decode(FILESYSTEMENCODING, "replace") if isinstance(arg, bytes) else str(arg)


def printb(s: bytes, file: Any = None, nl: int = 1) -> None:
    """Prints bytes as they are, with a newline unless `nl` is 0, and flushes."""
    file = sys.stdout if file is None else file
    buffer = getattr(file, "buffer", file)
    if buffer is not file:
        file.flush()
    buffer.write(s + b"\n" if nl else s)
    file.flush()


def cpu_list(text: str) -> list[int]:
    """``0-2,5`` as numbers."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


def get_online_cpus() -> list[int]:
    return cpu_list(read_file(boot.current(), "/sys/devices/system/cpu/online").decode())


def get_possible_cpus(system: System | None = None) -> list[int]:
    text = read_file(system or boot.current(), "/sys/devices/system/cpu/possible")
    return cpu_list(text.decode())


def detect_language(candidates: Iterable[str], pid: int) -> str | None:
    """Which of `candidates` the executable of process `pid` is named for, None if none."""
    try:
        command = read_file(boot.current(), f"/proc/{pid}/cmdline").split(b"\0")[0].decode()
    except OSError:
        return None
    name = command.rsplit("/", 1)[-1]
    return next((language for language in candidates if name.startswith(language)), None)


class Rewritten(TypedDict):
    expr: str
    streq_functions: str
    probeid: int


class StrcmpRewrite:
    """``STRCMP("text", expr)`` in a filter becomes a call of a C function made for that text."""

    @staticmethod
    def rewrite_expr(
        expr: str,
        bin_cmp: bool,
        is_user: bool,
        probe_user_list: Sequence[str],
        streq_functions: str,
        probeid: int,
    ) -> Rewritten:
        """`expr` with each STRCMP replaced, the C functions added to `streq_functions`, and the
        next free number. With `bin_cmp` the text is inserted without its quotes."""
        pattern = r'STRCMP\("([^"]+)",(.+?)\)' if bin_cmp else r'STRCMP\(("[^"]+"),(.+?)\)'
        for match in re.finditer(pattern, expr):
            user = is_user or match.group(2).strip() in probe_user_list
            name = f"streq_{probeid}"
            read = "bpf_probe_read_user" if user else "bpf_probe_read"
            streq_functions += _STREQ.format(name=name, text=match.group(1), read=read)
            expr = expr.replace("STRCMP", name, 1)
            probeid += 1
        return {"expr": expr, "streq_functions": streq_functions, "probeid": probeid}


_STREQ = """
static inline bool {name}(char const *unused, uintptr_t address) {{
    char wanted[] = {text};
    char found[sizeof(wanted)];
    {read}(&found, sizeof(found), (void *)address);
    for (int i = 0; i < sizeof(wanted) - 1; i++)
        if (wanted[i] != found[i])
            return false;
    return true;
}}
"""
