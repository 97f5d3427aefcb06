"""Linux 6.18 for x86-64, as data: the kernel that the machine simulates by default.

Types and prototypes come from ``data/linux-6.18.btf`` (a reduction of a real kernel's BTF, with an
index behind it); symbols and tracepoint formats are computed from them.
"""

from __future__ import annotations

import os
from functools import cache, cached_property
from typing import TYPE_CHECKING

from minibcc.btf.decode import Btf
from minibcc.btf.layout import Kind

if TYPE_CHECKING:
    from minibcc.btf.types import Type
    from minibcc.machine.symbols import Symbols
    from minibcc.machine.tracefs import Tracefs

BLOB = os.path.join(os.path.dirname(__file__), "data", "linux-6.18.btf")
NAMED = (Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.TYPEDEF)
FUNCTION_POINTS = ("kprobe", "kretprobe", "fentry", "fexit")


@cache
def _blob() -> bytes:
    """Read once a process, however many machines there are: 2.7 MB, in about a millisecond."""
    with open(BLOB, "rb") as file:
        return file.read()


@cache
def _btf() -> Btf:
    return Btf(_blob())


class Linux618:
    """The data of one kernel; see `kerneldata.KernelData`."""

    release = "6.18.0"

    @property
    def btf_bytes(self) -> bytes:
        return _blob()

    @property
    def btf(self) -> Btf:
        return _btf()

    @cached_property
    def symbols(self) -> Symbols:
        from minibcc.machine.symbols import Symbols

        return Symbols(self.btf)

    @cached_property
    def tracefs(self) -> Tracefs:
        from minibcc.machine.tracefs import Tracefs

        return Tracefs(self.btf)

    def kallsyms(self) -> bytes:
        """The content of /proc/kallsyms."""
        return self.symbols.kallsyms()

    def type(self, name: str) -> Type | None:
        """A struct, union, enum or typedef, by name."""
        found = (self.btf.find(kind, name) for kind in NAMED)
        return next((type for type in found if type is not None), None)

    def exists(self, kind: str, name: str) -> bool:
        """Whether a hook point of that kind can be watched."""
        if kind in FUNCTION_POINTS:
            return self.btf.find_id(Kind.FUNC, name) is not None
        if kind == "tracepoint":
            category, _, event = name.partition(":")
            return self.tracefs.exists(category, event)
        if kind == "raw_tracepoint":
            return self.btf.find_id(Kind.TYPEDEF, f"btf_trace_{name}") is not None
        return True

    def address_of(self, function: str) -> int | None:
        """Where a kernel function starts."""
        return self.symbols.address(function)
