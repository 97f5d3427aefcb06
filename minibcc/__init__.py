"""BCC for everyone: C to eBPF bytecode in milliseconds, run in a simulated Linux kernel.

    from minibcc import BPF

    b = BPF(src_file="hello.c")
    b.attach_kprobe(event="do_sys_openat2", fn_name="hello_world")
    b.trace_print()

Nothing is imported before it is used: ``import minibcc`` alone costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers read it, without loading `typing`
if TYPE_CHECKING:
    from typing import Any

    from minibcc.bcc import BPF as BPF
    from minibcc.errors import AttachError as AttachError
    from minibcc.errors import CompileError as CompileError
    from minibcc.errors import LoadError as LoadError
    from minibcc.errors import MinibccError as MinibccError

__version__ = "0.1.0"

_HOMES = {
    "BPF": "minibcc.bcc",
    "AttachError": "minibcc.errors",
    "CompileError": "minibcc.errors",
    "LoadError": "minibcc.errors",
    "MinibccError": "minibcc.errors",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'minibcc' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
