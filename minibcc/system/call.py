"""The bpf(2) system call: packing what goes in, and holding the memory that it points to.

Layouts are `struct` formats over the fields of ``union bpf_attr`` in their order.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import Command

if TYPE_CHECKING:
    from minibcc.system.linux import LinuxSystem


class Memory:
    """Buffers that live as long as a call, by address."""

    def __init__(self) -> None:
        self._held: list[Any] = []

    def give(self, data: bytes) -> int:
        """The address of a copy of `data`; 0 for no data."""
        return ctypes.addressof(self.buffer(data)) if data else 0

    def text(self, text: str) -> int:
        return self.give(text.encode() + b"\0")

    def room(self, size: int) -> tuple[int, Any]:
        """Zeroed room for an answer: address (0 if of no size) and buffer."""
        buffer = self.buffer(bytes(size))
        return (ctypes.addressof(buffer) if size else 0), buffer

    def buffer(self, data: bytes) -> Any:
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        self._held.append(buffer)
        return buffer


def call(system: LinuxSystem, command: Command, layout: str, *values: Any) -> tuple[int, bytearray]:
    attributes = bytearray(struct.pack(f"<{layout}", *values))
    return system.bpf_call(command, attributes), attributes


def string(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")


def split(data: bytes, size: int, count: int) -> tuple[bytes, ...]:
    return tuple(bytes(data[at : at + size]) for at in range(0, size * count, size))
