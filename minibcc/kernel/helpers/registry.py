"""Which function does a helper's work.

A helper is a row of `abi.helpers` and a function here, registered under the row's name by
`@helper("map_lookup_elem")` in one of the modules of this package. The signature is that of
`vm.execution.HelperFunction`: the run and five unsigned 64-bit values in, an integer out, negative
for an errno.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from minibcc.abi.helpers import name_of
from minibcc.kernel.vm.execution import HelperFunction

MODULES = (
    "checksum",
    "copying",
    "current",
    "dynptr",
    "iteration",
    "mapping",
    "numbers",
    "output",
    "packet",
    "printing",
    "records",
    "redirection",
    "room",
    "sockets",
    "stack",
    "storage",
    "text",
    "timing",
    "tracing",
)
"""The families, each a module of this package."""

_functions: dict[str, HelperFunction] = {}


def helper(*names: str) -> Callable[[HelperFunction], HelperFunction]:
    """Registers a function under the names of its rows (without ``bpf_``)."""

    def register(function: HelperFunction) -> HelperFunction:
        for name in names:
            assert name not in _functions, name
            _functions[name] = function
        return function

    return register


def implementations() -> dict[str, HelperFunction]:
    """Every helper that is implemented, by name."""
    if not _functions:
        for module in MODULES:
            importlib.import_module(f"minibcc.kernel.helpers.{module}")
    return _functions


def implementation(number: int) -> HelperFunction | None:
    """The function of helper `number`; None if there is no such helper, or no function yet."""
    name = name_of(number)
    return None if name is None else implementations().get(name.removeprefix("bpf_"))
