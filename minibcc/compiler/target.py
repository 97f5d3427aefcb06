"""What a program is compiled for: a kernel's types, its tracepoints, its version, a cpu level.

A target is a value: the compiler asks it instead of kernel headers. `from_system` makes the
running kernel's, whichever stands behind the door; everything in it is read when first asked for.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from minibcc.btf.decode import Btf
from minibcc.btf.index import MAGIC as INDEX_FORMAT
from minibcc.errors import SystemUnavailable
from minibcc.records import Record
from minibcc.system.interface import read_file

if TYPE_CHECKING:
    from minibcc.btf.types import Struct
    from minibcc.cache import Cache
    from minibcc.system.interface import Files

BTF = "/sys/kernel/btf/vmlinux"
RELEASE = "/proc/sys/kernel/osrelease"
CPUS = "/sys/devices/system/cpu/online"
TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")


class Formats(Protocol):
    """Where the formats of tracepoints come from."""

    def __call__(self, category: str, event: str) -> str | None:
        """The content of the event's ``format``, None if there is no such event."""
        ...


class Target(Record):
    """`version` is (6, 18, 0); `cpu` the level of BPF instructions, "v1" to "v4"; `formats` gives
    the tracepoints; `cpus` is how many processors are online."""

    btf: Btf
    version: tuple[int, int, int]
    formats: Formats
    cpu: str = "v2"
    arch: str = "x86_64"
    cpus: int = 1

    @classmethod
    def from_system(
        cls, system: Files, cpu: str = "v2", cache: Cache | bool | None = None
    ) -> Target:
        """The target of the kernel behind the door, whose types are read once per system.

        `cache` keeps the name index of a BTF that has none behind it, which takes a tenth of a
        second to build: None is the user's, False none. Raises SystemUnavailable if the kernel
        shows no BTF.
        """
        known = _KNOWN.get(system)
        if known is None:
            known = _KNOWN[system] = _types_of(system, cache)
        btf, numbers, cpus = known
        return cls(btf, numbers, _KernelFormats(system, btf), cpu, cpus=cpus)

    def tracepoint(self, category: str, event: str) -> Struct | None:
        """``struct tracepoint__CATEGORY__EVENT``: what ``args`` points to, with the fields of the
        event's format (see `minibcc.btf.formats`). None if there is no such event."""
        format = self.formats(category, event)
        if format is None:
            return None
        from minibcc.btf.formats import record

        return record(self.btf, category, event, format)

    @property
    def version_code(self) -> int:
        """LINUX_VERSION_CODE."""
        major, minor, patch = self.version
        return major << 16 | minor << 8 | min(patch, 255)

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that differ where anything in the target does, but for tracepoints that modules
        bring."""
        from minibcc.digest import sha256

        rest = f"{self.version} {self.cpu} {self.arch} {self.cpus}".encode()
        return sha256(self.btf.fingerprint + rest).digest()


_KNOWN: WeakKeyDictionary[Files, tuple[Btf, tuple[int, int, int], int]] = WeakKeyDictionary()


def version(release: str) -> tuple[int, int, int]:
    """What ``uname -r`` says, as numbers: ``6.18.44-generic`` is (6, 18, 44)."""
    numbers = [int(word) for word in re.findall(r"\d+", release.partition("-")[0])[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch


def _types_of(system: Files, cache: Cache | bool | None) -> tuple[Btf, tuple[int, int, int], int]:
    """The types, the version and the processors of a kernel."""
    try:
        data = read_file(system, BTF)
        release = read_file(system, RELEASE).decode()
    except OSError as error:
        raise SystemUnavailable(
            f"this kernel does not show its types in {BTF}: {error.strerror or error}"
        ) from error
    try:
        btf = Btf(data)
        if not btf.indexed:
            btf = _with_index(btf, cache)
    except ValueError as error:
        raise SystemUnavailable(f"{BTF} cannot be read: {error}") from error
    return btf, version(release), _processors(system)


def _processors(system: Files) -> int:
    """How many processors are online: ``0-3,6`` are five."""
    try:
        text = read_file(system, CPUS).decode()
    except OSError:
        return 1
    ranges = re.findall(r"(\d+)(?:-(\d+))?", text)
    return sum(int(last or first) - int(first) + 1 for first, last in ranges) or 1


def _with_index(btf: Btf, cache: Cache | bool | None) -> Btf:
    """The same BTF with its index from the cache, or made, and kept there, now."""
    from minibcc.cache import Cache, default, key

    store = cache if isinstance(cache, Cache) else default() if cache is not False else None
    if store is None:
        return btf
    name = key(("btf index", INDEX_FORMAT, btf.fingerprint))
    kept = store.get(name)
    if kept is not None:
        try:
            return Btf(btf.data, index=kept)
        except ValueError:
            pass  # not ours: made again
    store.put(name, btf.index)
    return btf


class _KernelFormats:
    """Formats of a kernel; where they come from is looked up at the first question."""

    def __init__(self, system: Files, btf: Btf) -> None:
        self._system = system
        self._btf = btf

    @cached_property
    def _source(self) -> Formats:
        for place in TRACEFS:
            try:
                if "events" in self._system.listdir(place):
                    return _TracefsFormats(self._system, f"{place}/events")
            except OSError:
                continue
        return _BtfFormats(self._btf)

    def __call__(self, category: str, event: str) -> str | None:
        return self._source(category, event)


class _TracefsFormats:
    """Formats as the kernel shows them."""

    def __init__(self, system: Files, events: str) -> None:
        self._system = system
        self._events = events

    def __call__(self, category: str, event: str) -> str | None:
        if "/" in category + event or not category or not event:
            return None
        try:
            path = f"{self._events}/{category}/{event}/format"
            return read_file(self._system, path).decode(errors="replace")
        except OSError:
            return None


class _BtfFormats:
    """Formats of a kernel that shows none, computed from its BTF."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf

    def __call__(self, category: str, event: str) -> str | None:
        from minibcc.btf.events import tracepoints
        from minibcc.btf.formats import text

        known = tracepoints().find(category, event)
        return text(self._btf, known) if known is not None else None
