"""Results kept between runs: a folder of files named by what made them.

A second run of a script finds its object here and loads neither pycparser nor LLVM; one that runs
much finds its native code. The name of an entry is a hash of everything that its content depends
on and that is known beforehand (text, flags, target, cpu, this package, Python).

Native code that is found is run, so an entry counts only if this user wrote it here, whole: the
folder and its files belong to the user and to nobody else (mode 0700 and 0600, no symbolic links),
and an entry begins with a hash of its name and its content under a secret that lies in the folder.
What fails any of this is no entry. Writers rename a finished file into place, so processes need no
lock. Nothing here ever fails a compile: without a usable folder there is no cache.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from minibcc.digest import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LIMIT = 64 << 20
"""Bytes that a cache folder may hold; the entries used longest ago go first."""
SECRET = ".secret"
_DIGEST = 32
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK if os.name == "posix" else 0
"""Nothing here waits for a pipe that somebody put in a file's place."""


class Cache:
    """Bytes by key in one folder, made when something is first put."""

    def __init__(self, folder: str, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self._secret = b""
        self._total: int | None = None
        """Bytes in the folder, as far as this process knows."""

    def get(self, key: str) -> bytes | None:
        """What was put under `key`, None if there is nothing whole."""
        path = os.path.join(self.folder, key)
        try:
            data = _read(path)
            digest = self._digest(key, data[_DIGEST:])
            os.utime(path)
        except OSError:
            return None
        return data[_DIGEST:] if digest == data[:_DIGEST] else None

    def put(self, key: str, content: bytes) -> None:
        """Keeps `content`, as far as the folder allows."""
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self._write(key, self._digest(key, content, new=True) + content)
            self._shrink(_DIGEST + len(content))
        except OSError:
            return

    def _digest(self, key: str, content: bytes, *, new: bool = False) -> bytes:
        """The hash that an entry begins with. Raises OSError where the folder is not the user's
        own; without a secret, unless there may be a `new` one."""
        if not self._secret:
            if not _own(os.lstat(self.folder), stat.S_IFDIR):
                raise PermissionError(self.folder)
            path = os.path.join(self.folder, SECRET)
            if new and not os.path.lexists(path):
                self._write(SECRET, os.urandom(_DIGEST))
            secret = _read(path)
            if len(secret) != _DIGEST:  # the computer stopped before all of it was on the disk
                os.unlink(path)
                raise PermissionError(path)
            self._secret = secret
        inner = sha256(self._secret + key.encode() + b"\0" + content).digest()
        return sha256(self._secret + inner).digest()

    def _write(self, name: str, data: bytes) -> None:
        """A file, in its place once it is whole. A secret that is there already stays."""
        path = os.path.join(self.folder, name)
        draft = f"{path}.{os.getpid()}.new"
        with suppress(FileNotFoundError):
            os.unlink(draft)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
            with open(os.open(draft, flags, 0o600), "wb") as file:
                file.write(data)
            if name == SECRET and os.name == "posix":
                with suppress(FileExistsError):
                    os.link(draft, path)
            else:
                os.replace(draft, path)
        finally:
            with suppress(OSError):
                os.unlink(draft)

    def _shrink(self, added: int) -> None:
        """Makes room if there is too much. Looks at the folder only then, and the first time."""
        if self._total is not None:
            self._total += added
            if self._total <= self.limit:
                return
        entries = []
        with os.scandir(self.folder) as listing:
            for entry in listing:
                if entry.name != SECRET and entry.is_file(follow_symlinks=False):
                    with suppress(OSError):  # another process may make room, too
                        state = entry.stat(follow_symlinks=False)
                        entries.append((state.st_mtime_ns, state.st_size, entry.path))
        self._total = sum(size for _, size, _ in entries)
        if self._total <= self.limit:
            return
        for _, size, path in sorted(entries):
            with suppress(OSError):
                os.unlink(path)
            self._total -= size
            if self._total <= self.limit * 3 // 4:
                return


def _read(path: str) -> bytes:
    """A file that is the user's own. Raises OSError."""
    with open(os.open(path, os.O_RDONLY | _FLAGS | getattr(os, "O_BINARY", 0)), "rb") as file:
        if not _own(os.fstat(file.fileno()), stat.S_IFREG):
            raise PermissionError(path)
        return file.read()


def _own(state: os.stat_result, kind: int) -> bool:
    """Whether this is of a kind, the user's, and closed to all others."""
    if os.name != "posix":
        return True
    mode = state.st_mode
    return stat.S_IFMT(mode) == kind and state.st_uid == os.geteuid() and not mode & 0o077


def default(kind: str = "objects", limit: int = LIMIT) -> Cache | None:
    """The user's cache of a kind of results: ``$XDG_CACHE_HOME/minibcc/KIND``, unless
    ``MINIBCC_CACHE=0`` says none."""
    if os.environ.get("MINIBCC_CACHE") == "0":
        return None
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(base):
        return None
    return Cache(os.path.join(base, "minibcc", kind), limit)


def key(parts: Iterable[str | bytes]) -> str:
    """The name for what these parts make."""
    digest = sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def stamp(folders: Sequence[str], packages: Sequence[str]) -> str:
    """What identifies the code that makes results: Python, and size and time of the files in some
    of this package's folders and of other packages (without loading them)."""
    from importlib.util import find_spec

    here = os.path.dirname(os.path.abspath(__file__))
    rows = [sys.version]
    for name in packages:
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            rows.append(_stamp(spec.origin))
    for folder in folders:
        for path, subfolders, files in os.walk(os.path.join(here, folder)):
            subfolders[:] = sorted(name for name in subfolders if name != "__pycache__")
            rows += [_stamp(os.path.join(path, name)) for name in sorted(files)]
    return key(rows)


def _stamp(path: str) -> str:
    state = os.stat(path)
    return f"{path} {state.st_size} {state.st_mtime_ns}"


def digest(text: str) -> str:
    """A file's content, as an entry lists it."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
