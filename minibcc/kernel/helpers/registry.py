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
    "mapping",
    "printing",
    "current",
    "timing",
    "output",
    "copying",
    "stack",
    "records",
    "numbers",
    "packet",
    "text",
    "checksum",
    "redirection",
    "room",
    "tunnels",
    "tracing",
    "storage",
    "iteration",
    "sockets",
    "dynptr",
    "sequence",
    "typed",
    "timer",
    "structures",
)
"""The families, each a module of this package, the often used first: a look-up goes through them
in this order, and what it does not reach is not imported."""

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
    for module in MODULES:
        importlib.import_module(f"minibcc.kernel.helpers.{module}")
    return _functions


def implementation(number: int) -> HelperFunction | None:
    """The function of helper `number`; None if there is no such helper, or no function yet."""
    name = (name_of(number) or "").removeprefix("bpf_")
    if not name:
        return None
    for module in MODULES:
        if name in _functions:
            break
        importlib.import_module(f"minibcc.kernel.helpers.{module}")
    return _functions.get(name)
