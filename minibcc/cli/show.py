"""``minibcc prog``, ``map``, ``btf`` and ``link``: bpftool's views of the scripts that are running.

The grammar and the layout are bpftool's: ``prog list``, ``prog dump xlated id 7 linum``, ``map dump
name counts``, with ``-j`` (JSON) and ``-p`` (pretty) before or after. Objects are found by ids,
names and tags in every running script of this user, or with ``--linux`` in the kernel that this
computer runs; only requests that look are made.

Mirrors: tools/bpf/bpftool of Linux (main.c, common.c).
"""

from __future__ import annotations

import errno
import os
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from minibcc import boot
from minibcc.cli import jsontext
from minibcc.errors import MinibccError, UsageError
from minibcc.system.remote import RemoteSystem, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from minibcc.abi.requests import Request
    from minibcc.system.interface import System

R = TypeVar("R")

OBJECTS = {
    "prog": "minibcc.cli.prog",
    "map": "minibcc.cli.map",
    "btf": "minibcc.cli.btf",
    "link": "minibcc.cli.link",
}
WRONG = 1


class ShowError(MinibccError):
    """What cannot be shown, in bpftool's words."""


class Kernel:
    """A kernel to look at, and what is known of the process that it belongs to."""

    def __init__(self, system: System, facts: dict[str, Any] | None = None) -> None:
        self.system = system
        self.facts = facts or {}

    def ids(self, request: Callable[[int], Request[int]]) -> Iterator[int]:
        """All ids that a GET_NEXT_ID request walks through."""
        current = 0
        while True:
            try:
                current = self.system.bpf(request(current))
            except OSError as end:
                if end.errno == errno.ENOENT:
                    return
                raise
            yield current

    def look(self, opening: Request[int], asking: Callable[[int], Request[R]]) -> R:
        """Opens an object by its id, asks about it and closes it."""
        fd = self.system.bpf(opening)
        try:
            return self.system.bpf(asking(fd))
        finally:
            self.system.close(fd)

    def descriptor_info(self, opening: Request[int]) -> dict[str, str]:
        """What an object's descriptor says of it in /proc; nothing where it cannot be read."""
        fd = self.system.bpf(opening)
        try:
            info = self.system.open(f"/proc/self/fdinfo/{fd}")
            try:
                rows = self.system.read(info, 4096).decode().splitlines()
            finally:
                self.system.close(info)
        except OSError:
            return {}
        finally:
            self.system.close(fd)
        return {name: value.strip() for name, _, value in (row.partition(":") for row in rows)}

    def memlock(self, opening: Request[int]) -> int:
        """Bytes of memory that an object holds."""
        return int(self.descriptor_info(opening).get("memlock", "0"))

    def wall_time(self, since_boot: int) -> float:
        """Seconds since 1970 of a moment in ns since boot."""
        return float(self.facts.get("boot_time", 0)) + since_boot / 1e9

    def owners(self) -> list[dict[str, Any]]:
        """The processes that hold the kernel's objects: the script's, the only one there is."""
        pid = self.facts.get("pid")
        return [{"pid": pid, "comm": self.facts.get("comm", "python3")}] if pid else []


class View(Protocol):
    """What a module in `OBJECTS` offers: subcommand to function."""

    COMMANDS: dict[str, Callable[[Look], None]]
    USAGE: str


class Look:
    """One command: the kernels to look at, the words that are left, and where to print."""

    def __init__(
        self, kernels: Sequence[Kernel], words: Sequence[str], *, json: bool, pretty: bool
    ) -> None:
        self.kernels = list(kernels)
        self.words = list(words)
        self.json = json
        self.pretty = pretty

    def word(self, what: str) -> str:
        """The next word. Raises UsageError where there is none."""
        if not self.words:
            raise UsageError(f"what is missing is {what}")
        return self.words.pop(0)

    def end(self) -> None:
        if self.words:
            raise UsageError(f"did not expect {self.words[0]!r}")

    def print_json(self, value: Any) -> None:
        print(jsontext.text(value, pretty=self.pretty))

    def choice(self, kinds: Sequence[str]) -> tuple[str, str]:
        """``id 7`` or ``name counts``: one of `kinds`, and its word."""
        kind = self.word("what to look at: " + " or ".join(kinds))
        matching = [name for name in kinds if name.startswith(kind)]
        if not matching:
            quoted = ", ".join(f"'{name}'" for name in kinds)
            raise ShowError(f"expected {quoted}, got: '{kind}'?")
        return matching[0], self.word(f"the {matching[0]}")


def number(word: str) -> int:
    """An id. Raises ShowError."""
    try:
        return int(word, 0)
    except ValueError:
        raise ShowError(f"can't parse {word} as ID") from None


def no_such(what: str, wanted: int) -> ShowError:
    """bpftool's words for an id that stands for nothing."""
    return ShowError(f"{what} by id ({wanted}): {os.strerror(errno.ENOENT)}")


def main(argv: Sequence[str], kernels: Sequence[Kernel] | None = None) -> int:
    """Runs one command; its exit status. `kernels` are those of the running scripts unless
    given."""
    json = any(word in ("-j", "--json", "-p", "--pretty", "-jp") for word in argv)
    pretty = any(word in ("-p", "--pretty", "-jp") for word in argv)
    words = [word for word in argv if word not in ("-j", "--json", "-p", "--pretty", "-jp")]
    linux = "--linux" in words
    words = [word for word in words if word != "--linux"]
    if any(word in ("-h", "--help") for word in words):
        words = [words[0], "help"]
    view: View = import_module(OBJECTS[words[0]])
    command = _command(view, words[1] if len(words) > 1 else "show")
    if command == "help":
        print(view.USAGE)
        return 0
    if kernels is None:
        kernels = [_linux()] if linux else _running(json)
        if not kernels:
            return 0 if command in ("show", "list") and len(words) <= 2 else WRONG
    look = Look(kernels, words[2:], json=json, pretty=pretty)
    try:
        view.COMMANDS[command](look)
    except ShowError as wrong:
        if json:
            print(jsontext.text({"error": str(wrong)}, pretty=pretty))
        else:
            print(f"Error: {wrong}", file=sys.stderr)
        return WRONG
    finally:
        for kernel in kernels:
            if isinstance(kernel.system, RemoteSystem):
                kernel.system.disconnect()
    return 0


def _command(view: View, word: str) -> str:
    """A subcommand by its beginning, as bpftool takes it. Raises UsageError."""
    names = [*view.COMMANDS, "help"]
    found = next((name for name in names if name.startswith(word)), None)
    if found is None:
        raise UsageError(f"no such command: {word}\n{view.USAGE}")
    return found


def _linux() -> Kernel:
    """The kernel that this computer runs. Raises SystemUnavailable."""
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return Kernel(boot.system(boot.Options(kernel="linux")), {"boot_time": booted})


def _running(json: bool) -> list[Kernel]:
    kernels = [Kernel(system, system.facts) for system in running()]
    if not kernels:
        if json:
            print("[]")
        print("no script is running: start one with `minibcc run SCRIPT`", file=sys.stderr)
    return kernels
