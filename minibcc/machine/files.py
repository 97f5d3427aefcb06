"""The disk of the simulated computer: which paths exist, and how large files are."""

from __future__ import annotations

O_ACCMODE = 3
O_CREAT = 0o100


class Files:
    """Paths and sizes in bytes. Relative paths are names like any other."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def add(self, *paths: str, size: int = 4096) -> None:
        for path in paths:
            self._sizes[path] = size

    def remove(self, path: str) -> bool:
        """Whether there was such a file."""
        return self._sizes.pop(path, None) is not None

    def size(self, path: str) -> int | None:
        return self._sizes.get(path)

    def openable(self, path: str, flags: int) -> bool:
        """Whether open(2) finds the path, or makes it because of O_CREAT."""
        if path in self._sizes:
            return True
        if flags & O_CREAT:
            self._sizes[path] = 0
            return True
        return False
