"""The simulated kernel's BTF and target, for tests of whatever needs kernel types."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from minibcc.btf.decode import Btf
from minibcc.compiler.target import Target

BLOB = Path(__file__).parents[2] / "minibcc/machine/data/linux-6.18.btf"


@cache
def kernel_btf() -> Btf:
    """The committed blob, opened once."""
    return Btf(BLOB.read_bytes())


@cache
def kernel_target(cpu: str = "v2") -> Target:
    """What a program for the simulated kernel is compiled for, without a system behind it."""
    from minibcc.btf.events import tracepoints
    from minibcc.btf.formats import text

    def formats(category: str, event: str) -> str | None:
        known = tracepoints().find(category, event)
        return text(kernel_btf(), known) if known is not None else None

    return Target(kernel_btf(), (6, 18, 0), formats, cpu)
