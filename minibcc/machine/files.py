"""The disk of the simulated computer: which paths exist, how large files are, what is open.

Each path has a number, which tells where its structures lie (`objects`): it is given when the path
is first put on the disk, never when somebody looks.
"""

from __future__ import annotations

from minibcc.records import Record

O_ACCMODE = 3
O_CREAT = 0o100
FILES = 0xFFFF_8886_0000_0000
FILE_STRIDE = 0x100
FIRST_INODE = 131_072

REGULAR, DIRECTORY, DEVICE = 0o100644, 0o040755, 0o020620
"""``i_mode``: kind and permissions."""
FILE_SYSTEMS = (
    ("ext4", "/", 0xEF53, 8 << 20 | 1, "vda1"),
    ("proc", "/proc", 0x9FA0, 22, "proc"),
    ("devpts", "/dev/pts", 0x1CD1, 24, "devpts"),
)
"""Name, where it is mounted, magic number, device (major << 20 | minor), ``s_id``."""
TERMINAL = "/dev/pts/0"
"""What descriptors 0, 1 and 2 lead to, where nothing else was opened there."""


class OpenFile(Record, frozen=False):
    """A ``struct file``. `number` counts opens; `position` is in bytes."""

    number: int
    path: str
    flags: int = 0
    position: int = 0

    @property
    def address(self) -> int:
        return FILES + self.number * FILE_STRIDE


class Files:
    """Paths and sizes in bytes. A relative path lies in the root directory."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._paths: list[str] = []
        self._opened: list[OpenFile] = []
        self._removed: set[str] = set()
        for _, mount, *_ in FILE_SYSTEMS:
            self.number(mount)
        self.terminal = self.open(TERMINAL, 2)

    def add(self, *paths: str, size: int = 4096) -> None:
        for path in paths:
            self._sizes[path] = size
            self._removed.discard(path)
            self.number(path)

    def remove(self, path: str) -> bool:
        """Whether there was such a file."""
        if self._sizes.pop(path, None) is None:
            return False
        self._removed.add(path)
        return True

    def removed(self, path: str) -> bool:
        """Whether there was a file of that path and is none."""
        return path in self._removed

    def size(self, path: str) -> int | None:
        return self._sizes.get(path)

    def openable(self, path: str, flags: int) -> bool:
        """Whether open(2) finds the path, or makes it because of O_CREAT."""
        if path in self._sizes:
            return True
        if flags & O_CREAT:
            self.add(path, size=0)
            return True
        return False

    def open(self, path: str, flags: int) -> OpenFile:
        """A new open file."""
        self.number(path)
        file = OpenFile(len(self._opened), path, flags)
        self._opened.append(file)
        return file

    def opened(self, number: int) -> OpenFile | None:
        """The open that was the `number`th."""
        return self._opened[number] if number < len(self._opened) else None

    def number(self, path: str) -> int:
        """What the path is known by; directories above it come first."""
        found = self._numbers.get(path)
        if found is None:
            if path != "/":
                self.number(directory(path))
            found = self._numbers[path] = len(self._paths)
            self._paths.append(path)
        return found

    def path(self, number: int) -> str | None:
        return self._paths[number] if number < len(self._paths) else None

    def mode(self, path: str) -> int:
        """``i_mode``."""
        if path in self._sizes:
            return REGULAR
        return DEVICE if path.startswith("/dev/") else DIRECTORY


def directory(path: str) -> str:
    """Where a path lies."""
    return path.rpartition("/")[0] or "/"


def file_system(path: str) -> int:
    """The place in `FILE_SYSTEMS` of what a path lies on."""
    for place, (_, mount, *_) in enumerate(FILE_SYSTEMS[1:], 1):
        if path == mount or path.startswith(mount + "/"):
            return place
    return 0
