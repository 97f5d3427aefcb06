"""The files of tracefs that say which tracepoints and functions there are.

    events/CATEGORY/EVENT/{enable,filter,format,id}    events/CATEGORY/{enable,filter}
    available_events    available_filter_functions

`read` and `listdir` take paths below the mount point. Formats are computed from BTF when they are
read (`minibcc.btf.formats`). Mirrors kernel/trace/trace_events.c and kernel/trace/ftrace.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.btf.events import Event, tracepoints
from minibcc.btf.formats import text
from minibcc.btf.layout import Kind

if TYPE_CHECKING:
    from minibcc.btf.decode import Btf

EVENT_FILES = ["enable", "filter", "format", "id"]
CATEGORY_FILES = ["enable", "filter"]
TOP_FILES = ["available_events", "available_filter_functions"]


class Tracefs:
    """tracefs of a kernel whose types are `btf`. An event is there if its record is."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._table = tracepoints()
        self._known: dict[str, dict[str, Event]] = {}

    def events(self, category: str) -> dict[str, Event]:
        """The events of a category by name; none if there is no such category."""
        if category not in self._known:
            self._known[category] = {
                name: event
                for name, event in self._table.events(category).items()
                if self._is_there(event)
            }
        return self._known[category]

    def _is_there(self, event: Event) -> bool:
        record = f"trace_event_raw_{event.record}"
        return not event.record or self._btf.find_id(Kind.STRUCT, record) is not None

    def exists(self, category: str, event: str) -> bool:
        return self._find(category, event) is not None

    def find(self, id: int) -> Event | None:
        """The event whose ``id`` file says that number."""
        event = self._table.with_id(id)
        return event if event is not None and self._is_there(event) else None

    def _find(self, category: str, name: str) -> Event | None:
        event = self._table.find(category, name)
        return event if event is not None and self._is_there(event) else None

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError, IsADirectoryError."""
        match path.strip("/").split("/"):
            case ["available_events"]:
                return self._available_events()
            case ["available_filter_functions"]:
                return self._functions()
            case ["events", category, name, file] if found := self._find(category, name):
                if file == "format":
                    return (text(self._btf, found) or "").encode()
                made = {"id": f"{found.id}\n", "enable": "0\n", "filter": "none\n"}
                if file in made:
                    return made[file].encode()
            case ["events", category, file] if self.events(category) and file in CATEGORY_FILES:
                return b"0\n" if file == "enable" else b"none\n"
        if self._names(path):
            raise IsADirectoryError(21, "Is a directory", path)
        raise FileNotFoundError(2, "No such file or directory", path)

    def listdir(self, path: str) -> list[str]:
        """Names in a directory, sorted. Raises FileNotFoundError, NotADirectoryError."""
        names = self._names(path)
        if names:
            return sorted(names)
        self.read(path)  # raises where there is nothing
        raise NotADirectoryError(20, "Not a directory", path)

    def _names(self, path: str) -> list[str]:
        match path.strip("/").split("/"):
            case [""]:
                return [*TOP_FILES, "events"]
            case ["events"]:
                return [*self._categories(), "enable"]
            case ["events", category] if events := self.events(category):
                return [*events, *CATEGORY_FILES]
            case ["events", category, event] if self.exists(category, event):
                return EVENT_FILES
        return []

    def _categories(self) -> list[str]:
        return [
            category
            for category in self._table.categories()
            if any(self._is_there(event) for event in self._table.events(category).values())
        ]

    def _available_events(self) -> bytes:
        return "".join(
            f"{category}:{event}\n"
            for category in self._categories()
            for event in self.events(category)
        ).encode()

    def _functions(self) -> bytes:
        from minibcc.machine.symbols import Symbols

        modules = Symbols(self._btf).modules
        return "".join(
            f"{name} [{modules[number]}]\n" if number in modules else f"{name}\n"
            for number, name in self._btf.named(Kind.FUNC)
        ).encode()
