"""What programs tell a script: trace_pipe, perf buffers, ring buffers.

Waiting here is what lets a simulated machine advance. At the end of its scenario a blocking call
raises KeyboardInterrupt once, as from Ctrl-C, and trace_pipe then reads as ended; a loop that
would wait for ever after that is ended by another KeyboardInterrupt.

Mirrors: trace_fields, trace_print, perf_buffer_poll and ring_buffer_poll of BCC's class BPF.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from minibcc.bcc.symbols import tracefs

if TYPE_CHECKING:
    from minibcc.bcc.perf import PerfReader
    from minibcc.bcc.ringbuf import RingReader
    from minibcc.system.interface import System

Fields: TypeAlias = tuple[bytes, int, int, bytes, float, bytes]
"""task, pid, cpu, flags, seconds, message"""

LINE_LENGTH = 1024


class TracePipe:
    """The kernel's trace_pipe, line by line."""

    def __init__(self, system: System, nonblocking: bool) -> None:
        self._system = system
        flags = os.O_RDONLY | (os.O_NONBLOCK if nonblocking else 0)
        self._fd = system.open(f"{tracefs(system)}/trace_pipe", flags)
        self._rest = b""
        self.ended = False

    def readline(self, size: int = LINE_LENGTH) -> bytes:
        """A line with its newline; b"" if there is none (nonblocking) or none will come."""
        while b"\n" not in self._rest and len(self._rest) < size:
            try:
                part = self._system.read(self._fd, 4096)
            except BlockingIOError:
                break
            if not part:
                self.ended = True
                break
            self._rest += part
        end = self._rest.find(b"\n") + 1 or len(self._rest)
        line, self._rest = self._rest[: min(end, size)], self._rest[min(end, size) :]
        return line

    def close(self) -> None:
        self._system.close(self._fd)


def parse(line: bytes) -> Fields | None:
    """The fields of a line of trace_pipe, None for what is no message (lost events).

        ``            bash-1234    [001] d..31  1000.123456: bpf_trace_printk: Hello``

    As BCC has it the task is the first 16 characters, and what stands before the next colon is
    dropped: it names the caller.
    """
    if not line or line.startswith(b"CPU:"):
        return None
    task, rest = line[:16].lstrip(), line[17:]
    head, colon, rest = rest.partition(b":")
    fields = head.split()
    if not colon or len(fields) != 4:
        return None
    pid, cpu, flags, seconds = fields
    message = rest.partition(b":")[2][1:]
    try:
        return task, int(pid), int(cpu[1:-1]), flags, float(seconds), message
    except ValueError:
        return None


class Output:
    """The calls of class BPF that wait for what programs say."""

    if TYPE_CHECKING:
        system: System

    def _open_outputs(self) -> None:
        self.tracefile: TracePipe | None = None
        self.perf_buffers: dict[tuple[int, int], PerfReader] = {}
        self.ring_buffers: list[RingReader] = []

    # --- bpf_trace_printk ---

    def trace_open(self, nonblocking: bool = False) -> TracePipe:
        """The kernel's trace_pipe; it stays open."""
        if self.tracefile is None:
            self.tracefile = TracePipe(self.system, nonblocking)
        return self.tracefile

    def trace_readline(self, nonblocking: bool = False) -> bytes:
        """The next line without its newline; b"" if there is none now (nonblocking)."""
        return self.trace_open(nonblocking).readline().rstrip()

    def trace_fields(self, nonblocking: bool = False) -> Fields | tuple[None, ...]:
        """The next message as (task, pid, cpu, flags, seconds, message), the texts as bytes; six
        times None if there is none now (nonblocking)."""
        while True:
            line = self.trace_readline(nonblocking)
            if not line and nonblocking:
                return (None,) * 6
            fields = parse(line)
            if fields is not None:
                return fields
            self._stop_at_end()

    def trace_print(self, fmt: str | None = None) -> None:
        """Prints messages for ever, whole lines or as `fmt` says: ``"pid {1}, msg = {5}"``."""
        while True:
            if fmt:
                print(fmt.format(*self.trace_fields()), flush=True)
                continue
            line = self.trace_readline()
            if not line:
                self._stop_at_end()
            print(line, flush=True)

    def _stop_at_end(self) -> None:
        if self.tracefile is not None and self.tracefile.ended:
            sys.stdout.flush()
            raise KeyboardInterrupt

    # --- buffers ---

    def perf_buffer_poll(self, timeout: int = -1) -> None:
        """Waits for records, `timeout` milliseconds at most (-1: for ever), and calls back."""
        readers = {reader.fd: reader for reader in self.perf_buffers.values()}
        for fd in self.system.poll(list(readers), _nanoseconds(timeout)):
            readers[fd].consume()

    def perf_buffer_consume(self) -> None:
        """Calls back for the records that are there, without waiting."""
        for reader in list(self.perf_buffers.values()):
            reader.consume()

    def kprobe_poll(self, timeout: int = -1) -> None:
        """The old name of `perf_buffer_poll`."""
        self.perf_buffer_poll(timeout)

    def ring_buffer_poll(self, timeout: int = -1) -> None:
        """The same for ring buffers; ends early when a callback answers a negative number."""
        self._need_ring()
        ready = set(self.system.poll([r.fd for r in self.ring_buffers], _nanoseconds(timeout)))
        for reader in list(self.ring_buffers):
            if reader.fd in ready and not reader.consume():
                return

    def ring_buffer_consume(self) -> None:
        self._need_ring()
        for reader in list(self.ring_buffers):
            if not reader.consume():
                return

    def _need_ring(self) -> None:
        if not self.ring_buffers:
            raise ValueError("No ring buffers to poll: call open_ring_buffer first")

    def _close_outputs(self) -> None:
        while self.perf_buffers:
            self.perf_buffers.popitem()[1].close()
        self.ring_buffers.clear()
        if self.tracefile is not None:
            self.tracefile.close()
            self.tracefile = None


def _nanoseconds(timeout: int | Any) -> int | None:
    return None if timeout < 0 else int(timeout * 1_000_000)
