"""``minibcc btf``: the types of running scripts, listed and dumped as bpftool does it.

Mirrors: btf.c of tools/bpf/bpftool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.abi.requests import (
    BtfGetFdById,
    BtfGetInfo,
    BtfGetNextId,
    MapGetFdById,
    MapGetInfo,
    MapGetNextId,
    ProgGetFdById,
    ProgGetInfo,
    ProgGetNextId,
)
from minibcc.btf import dump as records
from minibcc.btf import show as ctext
from minibcc.btf.decode import Btf
from minibcc.cli.show import Kernel, Look, ShowError, no_such, number
from minibcc.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.abi.requests import BtfInfo

USAGE = """usage: minibcc btf { show | list } [id BTF_ID]
       minibcc btf dump BTF_SRC [format FORMAT]
       minibcc btf help

       BTF_SRC := { id BTF_ID | prog id PROG_ID | map id MAP_ID }
       FORMAT := { raw | c }
       OPTIONS := { {-j|--json} [{-p|--pretty}] | --linux }"""


def show(look: Look) -> None:
    wanted = None
    if look.words:
        wanted = number(look.choice(("id",))[1])
        look.end()
    rows = []
    for kernel in look.kernels:
        users = _users(kernel)
        for each in kernel.ids(BtfGetNextId):
            if wanted is None or each == wanted:
                info = kernel.look(BtfGetFdById(each), BtfGetInfo)
                rows.append((info, *users.get(each, ([], []))))
    if wanted is not None and not rows:
        raise no_such("get BTF object", wanted)
    if look.json:
        look.print_json([_as_json(*row) for row in rows])
        return
    for row in rows:
        print(_as_text(*row))


def _users(kernel: Kernel) -> dict[int, tuple[list[int], list[int]]]:
    """BTF id to the ids of the programs and maps that use it, the newest first."""
    users: dict[int, tuple[list[int], list[int]]] = {}
    for each in kernel.ids(ProgGetNextId):
        program = kernel.look(ProgGetFdById(each), ProgGetInfo)
        users.setdefault(program.btf_id, ([], []))[0].insert(0, each)
    for each in kernel.ids(MapGetNextId):
        found = kernel.look(MapGetFdById(each), MapGetInfo)
        users.setdefault(found.btf_id, ([], []))[1].insert(0, each)
    return users


def _as_json(info: BtfInfo, programs: list[int], maps: list[int]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": info.id,
        "size": len(info.data),
        "prog_ids": programs,
        "map_ids": maps,
        "kernel": info.kernel_btf,
    }
    return row | ({"name": info.name} if info.name else {})


def _as_text(info: BtfInfo, programs: list[int], maps: list[int]) -> str:
    name = f"[{info.name}]" if info.kernel_btf else info.name or "<anon>"
    line = f"{info.id}: name {name}  size {len(info.data)}B"
    if programs:
        line += "  prog_ids " + ",".join(map(str, programs))
    if maps:
        line += "  map_ids " + ",".join(map(str, maps))
    return line


def dump(look: Look) -> None:
    btf = _source(look)
    form = "raw"
    if look.words:
        _, form = look.choice(("format",))
        if form not in ("raw", "c"):
            raise UsageError(f"no format {form!r}: raw or c")
    look.end()
    if form == "c":
        types = [btf.type(type_id) for type_id in range(btf.first, btf.first + btf.count)]
        print(ctext.definitions([type for type in types if type is not None]), end="")
        return
    if look.json:
        raise ShowError("only plain records can be dumped: leave -j and -p out")
    for line in records.lines(btf):
        print(line)


def _source(look: Look) -> Btf:
    """The types that ``id N``, ``prog id N`` or ``map id N`` means. Raises ShowError."""
    kind = look.word("whose types: id, prog or map")
    if kind == "id":
        wanted = number(look.word("the id"))
    elif kind in ("prog", "map"):
        of = number(look.choice(("id",))[1])
        wanted = 0
        for kernel in look.kernels:
            try:
                if kind == "prog":
                    wanted = kernel.look(ProgGetFdById(of), ProgGetInfo).btf_id
                else:
                    wanted = kernel.look(MapGetFdById(of), MapGetInfo).btf_id
                break
            except FileNotFoundError:
                continue
        else:
            raise no_such("get" if kind == "prog" else "get map", of)
        if not wanted:
            raise ShowError(f"{kind} {of} has no types")
    else:
        raise UsageError(f"unrecognized BTF source: {kind!r}\n{USAGE}")
    for kernel in look.kernels:
        try:
            return Btf(kernel.look(BtfGetFdById(wanted), BtfGetInfo).data)
        except FileNotFoundError:
            continue
    raise no_such("get btf", wanted)


COMMANDS: dict[str, Callable[[Look], None]] = {"show": show, "list": show, "dump": dump}
