"""What a simulated kernel is made of: types, symbols, tracepoints, a version, all as data.

Another kernel version is another set of data; the machine's code is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from minibcc.btf.types import Type


class PseudoFolder(Protocol):
    """Files by their path below a mount point. Raises FileNotFoundError."""

    def read(self, path: str) -> bytes: ...

    def listdir(self, path: str) -> list[str]: ...


class KernelData(Protocol):
    @property
    def release(self) -> str:
        """What uname -r says."""
        ...

    @property
    def btf_bytes(self) -> bytes | memoryview:
        """The content of /sys/kernel/btf/vmlinux."""
        ...

    @property
    def tracefs(self) -> PseudoFolder: ...

    def kallsyms(self) -> bytes:
        """The content of /proc/kallsyms."""
        ...

    def type(self, name: str) -> Type | None:
        """A struct, union, enum or typedef, by name."""
        ...

    def exists(self, kind: str, name: str) -> bool:
        """Whether a hook point of that kind (`hooks.Point`) can be watched."""
        ...

    def address_of(self, function: str) -> int | None:
        """Where a kernel function starts."""
        ...
