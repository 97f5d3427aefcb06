"""Results kept between runs: a folder of files named by what made them.

A second run of a script finds its object here and loads neither pycparser nor LLVM. The name of
an entry is a hash of everything that its content depends on and that is known beforehand (text,
flags, target, cpu, this compiler, Python); files that the text includes are listed inside with
their own hashes and looked at again. An entry carries a hash of itself, so a torn or altered one
is no entry; it is data and never run. Writers rename a finished file into place, so processes need
no lock. Nothing here ever fails a compile: without a usable folder there is no cache.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from minibcc.digest import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT = 64 << 20
"""Bytes that a cache folder may hold; the entries used longest ago go first."""
_DIGEST = 32


class Cache:
    """Bytes by key in one folder, made when something is first put (mode 0700)."""

    def __init__(self, folder: str, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit

    def get(self, key: str) -> bytes | None:
        """What was put under `key`, None if there is nothing whole."""
        path = os.path.join(self.folder, key)
        try:
            with open(path, "rb") as file:
                data = file.read()
            os.utime(path)
        except OSError:
            return None
        content = data[_DIGEST:]
        return content if sha256(content).digest() == data[:_DIGEST] else None

    def put(self, key: str, content: bytes) -> None:
        """Keeps `content`, as far as the folder allows."""
        path = os.path.join(self.folder, key)
        draft = f"{path}.{os.getpid()}.new"
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            with open(draft, "wb") as file:
                file.write(sha256(content).digest() + content)
            os.replace(draft, path)
            self._shrink()
        except OSError:
            with suppress(OSError):
                os.unlink(draft)

    def _shrink(self) -> None:
        entries = []
        with os.scandir(self.folder) as listing:
            for entry in listing:
                state = entry.stat(follow_symlinks=False)
                entries.append((state.st_mtime_ns, state.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        if total <= self.limit:
            return
        for _, size, path in sorted(entries):
            os.unlink(path)
            total -= size
            if total <= self.limit * 3 // 4:
                return


def default() -> Cache | None:
    """The user's cache: ``$XDG_CACHE_HOME/minibcc``, unless ``MINIBCC_CACHE=0`` says none."""
    if os.environ.get("MINIBCC_CACHE") == "0":
        return None
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Cache(os.path.join(base, "minibcc", "objects")) if os.path.isabs(base) else None


def key(parts: Iterable[str | bytes]) -> str:
    """The name for what these parts make."""
    digest = sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def compiler_stamp() -> str:
    """What identifies this compiler: Python, and size and time of its own files, of the shipped
    headers, and of the two packages that do the work (without loading them)."""
    from importlib.util import find_spec

    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = [os.path.join(package, name) for name in ("abi", "btf", "compiler", "isa")]
    folders += [os.path.join(package, "include"), os.path.join(os.path.dirname(package), "include")]
    rows = [sys.version]
    for name in ("llvmlite", "pycparser"):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            rows.append(_stamp(spec.origin))
    for folder in folders:
        for path, subfolders, files in os.walk(folder):
            subfolders[:] = sorted(name for name in subfolders if name != "__pycache__")
            rows += [_stamp(os.path.join(path, name)) for name in sorted(files)]
    return key(rows)


def _stamp(path: str) -> str:
    state = os.stat(path)
    return f"{path} {state.st_size} {state.st_mtime_ns}"


def digest(text: str) -> str:
    """A file's content, as an entry lists it."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
