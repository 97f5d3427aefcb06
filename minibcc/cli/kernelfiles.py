"""The kernel's files as a script opens them: /proc/kallsyms, tracefs and a setting.

Tools read some of them with Python's own `open`. Where the kernel is simulated, that must not show
the one that runs below, and even less change it: `open` in builtins answers these paths, and no
others, from the door.
"""

from __future__ import annotations

import builtins
import io
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from minibcc import boot
from minibcc.system.interface import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import ReadableBuffer

FILES = frozenset(("/proc/kallsyms", "/proc/sys/kernel/bpf_stats_enabled"))
FOLDERS = ("/sys/kernel/debug/tracing/", "/sys/kernel/tracing/")


def install() -> Callable[[], None]:
    """From now on `open` asks the kernel in use; the answer takes that back."""
    real_open, real_listdir = builtins.open, os.listdir

    def open_(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        path = _path(file)
        if path is None:
            return real_open(file, mode, *arguments, **options)
        content: Any
        if any(letter in mode for letter in "wax+"):
            content = io.BufferedWriter(_Written(path))
        else:
            content = io.BytesIO(_content(path))
            content.name = path
        if "b" in mode:
            return content
        encoding = options.get("encoding") or "utf-8"
        return io.TextIOWrapper(content, encoding, errors=options.get("errors"))

    def listdir(path: Any = ".") -> Any:
        inside = _path(path, folder=True)
        if inside is None:
            return real_listdir(path)
        return boot.current().listdir(inside)

    def restore() -> None:
        builtins.open, os.listdir = real_open, real_listdir

    builtins.open, os.listdir = open_, listdir
    return restore


class _Written(io.RawIOBase):
    """A file of the kernel's, opened for writing. Raises OSError for most of them."""

    def __init__(self, path: str) -> None:
        self._system = boot.current()
        self._fd = -1
        with _named(path):
            self._fd = self._system.open(path, os.O_WRONLY)
        self.name = path

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        with _named(self.name):
            return self._system.write(self._fd, bytes(data))

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            super().close()
            self._system.close(fd)


def _path(file: Any, *, folder: bool = False) -> str | None:
    """The path, if the file is one of the kernel's."""
    if not isinstance(file, str | bytes | os.PathLike):
        return None
    path = os.fsdecode(file)
    if folder:
        return path if f"{path}/".startswith(FOLDERS) else None
    return path if path in FILES or path.startswith(FOLDERS) else None


def _content(path: str) -> bytes:
    with _named(path):
        return read_file(boot.current(), path)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """What goes wrong inside goes wrong with that file."""
    try:
        yield
    except OSError as wrong:
        raise OSError(wrong.errno, wrong.strerror, path) from None
