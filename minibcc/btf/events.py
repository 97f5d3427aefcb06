"""Which tracepoints and system calls Linux 6.18 has: what BTF does not say of them.

BTF holds the record of each class of tracepoints (``struct trace_event_raw_CLASS``), but not which
events there are, in which category, and of which class; nor what system calls take where their
functions were inlined. Both stand in tables of facts, data/tracepoints.txt and data/syscalls.txt.

Mirrors include/trace/events/*.h, and the system calls' metadata (kernel/trace/trace_syscalls.c).
"""

from __future__ import annotations

import os
from functools import cache

from minibcc.records import Record

SYSCALLS = "syscalls"
"""The category of the system calls' tracepoints, sys_enter_NAME and sys_exit_NAME."""
_FIRST_ID = 20  # below are ftrace's own events
_FIRST_SYSCALL_ID = 4000


class Event(Record):
    """A tracepoint. `record` is the class whose record it has, "" for a system call's."""

    category: str
    name: str
    id: int
    record: str


class Syscall(Record):
    """A system call: `name` is the kernel function's, behind ``__x64_sys_``; `params` pairs of a C
    type and a name."""

    number: int
    name: str
    params: tuple[tuple[str, str], ...]


class Tracepoints:
    """The table of events. Only the categories that are asked for are taken apart."""

    def __init__(self, text: str) -> None:
        self.arrays: dict[tuple[str, str], str] = {}
        """What a field of variable length is made of, by class and field, where not of char."""
        self._words: dict[str, tuple[int, list[str]]] = {}  # category to first id and its events
        self._events: dict[str, dict[str, Event]] = {}
        number = _FIRST_ID
        category = ""
        for line in text.splitlines():
            if line.startswith(" "):
                words = line.split()
                self._words.setdefault(category, (number, []))[1].extend(words)
                number += len(words)
            elif line.startswith("array "):
                _, record, field, type = line.split(maxsplit=3)
                self.arrays[record, field] = type
            elif line and not line.startswith("#"):
                category = line

    def categories(self) -> list[str]:
        return sorted([*self._words, SYSCALLS])

    def events(self, category: str) -> dict[str, Event]:
        """The events of a category by name, none if there is no such category."""
        if category not in self._events:
            if category == SYSCALLS:
                self._events[category] = _syscall_events()
            else:
                first, words = self._words.get(category, (0, []))
                self._events[category] = {
                    word.partition(":")[0]: _event(category, word, number)
                    for number, word in enumerate(words, first)
                }
        return self._events[category]

    def find(self, category: str, name: str) -> Event | None:
        return self.events(category).get(name)

    def with_id(self, number: int) -> Event | None:
        """The event that has that id (what perf_event_open gets)."""
        for category in self.categories():
            for event in self.events(category).values():
                if event.id == number:
                    return event
        return None


def _event(category: str, word: str, number: int) -> Event:
    name, _, record = word.partition(":")
    return Event(category, name, number, record or name)


def _syscall_events() -> dict[str, Event]:
    events = {}
    for call in syscalls().values():
        for place, name in enumerate((f"sys_enter_{call.name}", f"sys_exit_{call.name}")):
            number = _FIRST_SYSCALL_ID + 2 * call.number + place
            events[name] = Event(SYSCALLS, name, number, "")
    return events


@cache
def tracepoints() -> Tracepoints:
    """The table, read once."""
    return Tracepoints(_data("tracepoints.txt"))


@cache
def syscalls() -> dict[str, Syscall]:
    """All system calls by name (``newfstat``, not ``fstat``), in the order of their numbers."""
    table = {}
    for line in _data("syscalls.txt").splitlines():
        if line and not line.startswith("#"):
            number, _, rest = line.partition(" ")
            name, _, params = rest.removesuffix(")").partition("(")
            table[name] = Syscall(
                int(number), name, tuple(_param(p) for p in params.split(", ") if p)
            )
    return table


def _param(text: str) -> tuple[str, str]:
    """``const char *buf`` to its type and its name."""
    type = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
    return type.strip(), text[len(type) :]


def _data(name: str) -> str:
    with open(os.path.join(os.path.dirname(__file__), "data", name), encoding="utf-8") as file:
        return file.read()
