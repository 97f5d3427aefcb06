"""``minibcc link``: what attaches programs, where a link does it, as bpftool lists it.

Mirrors: link.c of tools/bpf/bpftool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import AttachType, LinkType, ProgType
from minibcc.abi.requests import (
    LinkGetFdById,
    LinkGetInfo,
    LinkGetNextId,
    ProgGetFdById,
    ProgGetInfo,
)
from minibcc.cli.show import Kernel, Look, no_such, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.abi.requests import LinkInfo

USAGE = """usage: minibcc link { show | list } [id LINK_ID]
       minibcc link help

       OPTIONS := { {-j|--json} [{-p|--pretty}] | --linux }"""

TARGETS = {
    LinkType.RAW_TRACEPOINT: "tp_name",
    LinkType.XDP: "ifindex",
    LinkType.PERF_EVENT: "func",
}
"""What the target of a type of link is called."""


def show(look: Look) -> None:
    wanted = None
    if look.words:
        wanted = number(look.choice(("id",))[1])
        look.end()
    rows = [
        (kernel, kernel.look(LinkGetFdById(each), LinkGetInfo))
        for kernel in look.kernels
        for each in kernel.ids(LinkGetNextId)
        if wanted is None or each == wanted
    ]
    if wanted is not None and not rows:
        raise no_such("get link", wanted)
    if look.json:
        objects = [_as_json(*row) for row in rows]
        look.print_json(objects[0] if wanted is not None else objects)
        return
    for row in rows:
        print(_as_text(*row))


def _program_type(kernel: Kernel, info: LinkInfo) -> str:
    found = kernel.look(ProgGetFdById(info.prog_id), ProgGetInfo).type
    return ProgType(found).name.lower()


def _as_json(kernel: Kernel, info: LinkInfo) -> dict[str, Any]:
    kind = LinkType(info.type)
    row: dict[str, Any] = {
        "id": info.id,
        "type": kind.name.lower(),
        "prog_id": info.prog_id,
    }
    if kind is LinkType.TRACING:
        row |= {
            "prog_type": _program_type(kernel, info),
            "attach_type": AttachType(info.attach_type).name.lower(),
        }
    if info.target:
        row[TARGETS.get(kind, "target")] = info.target
    if kernel.owners():
        row["pids"] = kernel.owners()
    return row


def _as_text(kernel: Kernel, info: LinkInfo) -> str:
    kind = LinkType(info.type)
    lines = [f"{info.id}: {kind.name.lower()}  prog {info.prog_id}  "]
    details = []
    if kind is LinkType.TRACING:
        details.append(f"prog_type {_program_type(kernel, info)}")
        details.append(f"attach_type {AttachType(info.attach_type).name.lower()}")
    if info.target:
        word = TARGETS.get(kind, "target")
        quoted = f"'{info.target}'" if kind is LinkType.RAW_TRACEPOINT else info.target
        details.append(f"{word} {quoted}")
    if details:
        lines.append("\t" + "  ".join(details) + "  ")
    owners = [f"{owner['comm']}({owner['pid']})" for owner in kernel.owners()]
    if owners:
        lines.append(f"\tpids {', '.join(owners)}")
    return "\n".join(lines)


COMMANDS: dict[str, Callable[[Look], None]] = {"show": show, "list": show}
