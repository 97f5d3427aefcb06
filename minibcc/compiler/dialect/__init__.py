"""BCC's dialect becomes plain C, on the typed tree.

    macros   what BCC's table macros declare (read by the parser and by analysis)
    entry    which functions are programs; typed probe arguments come out of the context
    tables   methods of tables become calls of helpers
    output   bpf_trace_printk, USDT arguments
    packet   headers behind a cursor become loads from a socket buffer
    deref    reads of kernel memory become calls of bpf_probe_read_kernel

Each is a pass over the whole unit; `walk` rebuilds trees, `build` makes the nodes that a rewrite
needs. What BCC does on text, with its traps (macros, casts, inline functions), is done here on
types. Mirrors BCC's b_frontend_action.cc in what programs mean, not in how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.target import Target
    from minibcc.compiler.tree import Unit


def plain(unit: Unit, target: Target, reporter: Reporter) -> Unit:
    """The unit without BCC's dialect. Errors go to `reporter`."""
    from minibcc.compiler.dialect import deref, entry, output, packet, tables
    from minibcc.compiler.dialect.walk import clone
    from minibcc.compiler.kernel import KernelNames

    names = KernelNames(target)
    unit = clone(unit)
    entry.run(unit, names, reporter)
    tables.run(unit, names, reporter)
    output.run(unit, names, reporter)
    packet.run(unit, names, reporter)
    deref.run(unit, names, reporter)
    return unit
