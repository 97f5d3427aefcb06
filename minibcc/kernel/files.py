"""Files that the kernel makes: texts with a position, and the trace buffer's pipe.

`TraceBuffer` holds the lines that ``bpf_trace_printk`` writes, in the order of events;
reading trace_pipe takes them out. The line's form is that of kernel/trace/trace_output.c
(``trace_print_context``) with irq-info on, and of the ``bpf_trace_printk`` event.
"""

from __future__ import annotations

import os
from collections import deque
from errno import EAGAIN, EINVAL
from typing import TYPE_CHECKING

from minibcc.kernel.descriptors import Description
from minibcc.kernel.errnos import failure

if TYPE_CHECKING:
    from minibcc.machine.tasks import Task

CAPACITY = 1_441_792
"""Bytes that the trace buffer keeps; older lines are lost (1408 KiB, Linux's default)."""
FLAGS = "...21"
"""Interrupts, rescheduling, interrupt context, preemption depth, migration: as for a probe that
fires in a task."""


class TraceBuffer:
    """Lines waiting to be read; `woken` counts the lines that ever came."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self.woken = 0

    def print(self, task: Task, cpu: int, time: int, message: bytes) -> None:
        """One ``bpf_trace_printk`` event; `time` in ns since boot."""
        micros = (time + 500) // 1000
        head = f"{task.comm:>16}-{task.pid:<7} [{cpu:03d}] {FLAGS} "
        stamp = f"{micros // 1_000_000:5d}.{micros % 1_000_000:06d}: bpf_trace_printk: "
        line = head.encode(errors="surrogateescape") + b" " + stamp.encode() + message + b"\n"
        self._lines.append(line)
        self._size += len(line)
        self.woken += 1
        while self._size > CAPACITY:
            self._size -= len(self._lines.popleft())

    def __len__(self) -> int:
        return len(self._lines)

    def take(self, size: int) -> bytes:
        """As many whole lines as fit in `size` bytes, at least one if there is any (cut)."""
        out: list[bytes] = []
        room = size
        while self._lines:
            line = self._lines[0]
            if len(line) > room:
                if out:
                    break
                self._lines[0] = line[room:]
                self._size -= room
                return line[:room]
            out.append(self._lines.popleft())
            room -= len(line)
            self._size -= len(line)
        return b"".join(out)


class TracePipe(Description):
    """trace_pipe: reading takes lines out, and waits for the first one."""

    def __init__(self, buffer: TraceBuffer, flags: int) -> None:
        self._buffer = buffer
        self._waits = not flags & os.O_NONBLOCK

    def woken(self) -> int:
        return self._buffer.woken

    def ready(self) -> bool:
        return len(self._buffer) > 0

    def blocks(self) -> bool:
        return self._waits

    def read(self, size: int) -> bytes:
        if not self.ready() and not self._waits:
            raise failure(EAGAIN)
        return self._buffer.take(size)


class TextFile(Description):
    """A file whose content was made when it was opened."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._content = content
        self._position = 0

    def read(self, size: int) -> bytes:
        if size < 0:
            raise failure(EINVAL)
        part = bytes(self._content[self._position : self._position + size])
        self._position += len(part)
        return part
