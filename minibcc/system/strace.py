"""Calls of the door in strace's words: numbers by their names, structures by their fields.

`call` lays a call out, on one line if it fits; `attributes` is ``union bpf_attr`` for a request,
`perf_attributes` is ``struct perf_event_attr``.

Mirrors: strace's bpf.c and perf.c.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from minibcc.abi import requests
from minibcc.abi.bpf import AttachType, Command, MapFlags, MapType, ProgFlags, ProgType
from minibcc.abi.perf import PerfHardware, PerfSample, PerfSoftware, PerfType
from minibcc.isa import text as isa_text
from minibcc.isa.instruction import decode
from minibcc.records import fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minibcc.abi.perf import PerfEventAttr
    from minibcc.abi.requests import Request

WIDTH = 120
"""Columns up to which a call stands on one line."""
STRING = 32
"""Bytes of a string that are shown."""

SIZES = {
    Command.MAP_CREATE: 72,
    Command.PROG_LOAD: 128,
    Command.BTF_LOAD: 28,
    Command.OBJ_GET_INFO_BY_FD: 16,
    Command.RAW_TRACEPOINT_OPEN: 16,
    Command.LINK_CREATE: 64,
    Command.MAP_LOOKUP_BATCH: 56,
    Command.MAP_LOOKUP_AND_DELETE_BATCH: 56,
    Command.MAP_UPDATE_BATCH: 56,
    Command.MAP_DELETE_BATCH: 56,
    Command.PROG_TEST_RUN: 80,
}
"""Bytes of ``union bpf_attr`` that a library passes for a command; 32 for the others."""


# --- layout --------------------------------------------------------------------------------------


def call(head: str, arguments: Sequence[Any]) -> str:
    """A call on one line if it fits, else a field a line. A list is a structure's fields."""
    flat = [
        "{" + ", ".join(_flat(part) for part in argument) + "}"
        if isinstance(argument, list)
        else argument
        for argument in arguments
    ]
    name, _, first = head.partition("(")
    words = [*([first] if first else []), *flat]
    line = f"{name}({', '.join(words)})"
    if len(line) <= WIDTH:
        return line
    lines = [f"{name}({first},"] if first else [f"{name}("]
    for argument in arguments:
        if isinstance(argument, list):
            lines.append("    {")
            lines += [f"        {row}" for part in argument for row in _rows(part)]
            lines.append("    },")
        else:
            lines.append(f"    {argument},")
    return "\n".join(lines)[:-1] + ")"


def _flat(part: Any) -> str:
    if isinstance(part, tuple):
        return f"{part[0]}=[{', '.join(part[1])}]"
    return str(part)


def _rows(part: Any) -> Iterable[str]:
    """A field, or a field that is a list with its items."""
    if isinstance(part, tuple):
        yield f"{part[0]}=["
        yield from (f"    {item}," for item in part[1][:-1])
        yield from (f"    {item}" for item in part[1][-1:])
        yield "],"
    else:
        yield f"{part},"


def string(data: bytes, limit: int = STRING) -> str:
    """A quoted string with C's escapes, cut off as strace cuts it."""
    named = {9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
    out = []
    for index, byte in enumerate(data[:limit]):
        if byte in named:
            out.append(named[byte])
        elif 32 <= byte < 127:
            out.append(chr(byte))
        else:
            after = data[index + 1 : index + 2]
            out.append(f"\\{byte:03o}" if after.isdigit() else f"\\{byte:o}")
    return f'"{"".join(out)}"' + ("..." if len(data) > limit else "")


def failure(wrong: OSError) -> str:
    number = wrong.errno or errno.EINVAL
    name = errno.errorcode.get(number, str(number))
    return f"-1 {name} ({os.strerror(number)})"


def result(answer: object) -> str:
    match answer:
        case requests.Loaded():
            return str(answer.fd)
        case int():
            return str(answer)
    return "0"


def open_flags(flags: int) -> str:
    names = [("O_RDONLY", "O_WRONLY", "O_RDWR")[flags & os.O_ACCMODE]]
    names += [name for name in ("O_NONBLOCK", "O_CLOEXEC", "O_APPEND") if flags & getattr(os, name)]
    return "|".join(names)


# --- bpf(2) --------------------------------------------------------------------------------------


def attributes(request: Request[Any], answer: object = None) -> list[Any]:
    """The fields of ``union bpf_attr``, as strace names and orders them."""
    match request:
        case requests.ProgLoad():
            return _prog_load(request, answer)
        case requests.MapCreate():
            return _map_create(request)
        case requests.BtfLoad():
            return [
                f"btf={string(request.btf)}", "btf_log_buf=NULL", f"btf_size={len(request.btf)}",
                "btf_log_size=0", "btf_log_level=0",
            ]  # fmt: skip
        case requests.MapLookup() | requests.MapLookupAndDelete():
            value = string(answer) if isinstance(answer, bytes) else "NULL"
            return [f"map_fd={request.fd}", f"key={string(request.key)}", f"value={value}"]
        case requests.MapUpdate():
            return [
                f"map_fd={request.fd}", f"key={string(request.key)}",
                f"value={string(request.value)}", f"flags={_update_flags(request.flags)}",
            ]  # fmt: skip
        case requests.MapDelete():
            return [f"map_fd={request.fd}", f"key={string(request.key)}"]
        case requests.MapNextKey():
            key = "NULL" if request.key is None else string(request.key)
            found = string(answer) if isinstance(answer, bytes) else "NULL"
            return [f"map_fd={request.fd}", f"key={key}", f"next_key={found}"]
        case requests.RawTracepointOpen():
            name = string(request.name.encode()) if request.name else "NULL"
            return [f"raw_tracepoint={{name={name}, prog_fd={request.prog_fd}}}"]
        case requests.LinkCreate():
            return [f"link_create={{{', '.join(_link_create(request))}}}"]
        case requests.IterCreate():
            return [f"iter_create={{link_fd={request.link_fd}, flags={request.flags}}}"]
    return [f"{name}={_plain(value)}" for name, value in fields(request).items()]


def _plain(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bytes():
            return string(value)
        case str():
            return string(value.encode(), 4096)
        case tuple():
            return "[" + ", ".join(_plain(item) for item in value) + "]"
    return str(int(value))


def _attach_type(request: requests.LinkCreate) -> str:
    known = request.attach_type in set(AttachType)
    return f"BPF_{AttachType(request.attach_type).name}" if known else str(request.attach_type)


def _link_create(request: requests.LinkCreate) -> list[str]:
    fields = [
        f"prog_fd={request.prog_fd}", f"target_fd={request.target_fd}",
        f"attach_type={_attach_type(request)}", f"flags={request.flags}",
    ]  # fmt: skip
    if request.map_fd is not None:
        fields.append(f"iter_info={{map={{map_fd={request.map_fd}}}}}")
    elif request.tid or request.pid:
        fields.append(f"iter_info={{task={{tid={request.tid}, pid={request.pid}}}}}")
    return fields


def _prog_load(request: requests.ProgLoad, answer: object) -> list[Any]:
    insns = [isa_text.strace(insn) for insn in decode(request.insns)]
    log = answer.log if isinstance(answer, requests.Loaded) else ""
    functions, lines = len(request.func_info) // 8, len(request.line_info) // 16
    return [
        f"prog_type=BPF_PROG_TYPE_{ProgType(request.prog_type).name}",
        f"insn_cnt={len(insns)}",
        ("insns", insns),
        f"license={string(request.license.encode())}",
        f"log_level={request.log_level}",
        f"log_size={request.log_size}",
        f"log_buf={string(log.encode()) if request.log_size else 'NULL'}",
        f"kern_version={_version(request.kern_version)}",
        f"prog_flags={_flags(request.prog_flags, ProgFlags)}",
        f"prog_name={string(request.prog_name.encode())}",
        "prog_ifindex=0",
        f"expected_attach_type=BPF_{AttachType(request.expected_attach_type).name}",
        f"prog_btf_fd={request.prog_btf_fd or 0}",
        f"func_info_rec_size={8 if functions else 0}",
        f"func_info={string(request.func_info) if functions else 'NULL'}",
        f"func_info_cnt={functions}",
        f"line_info_rec_size={16 if lines else 0}",
        f"line_info={string(request.line_info) if lines else 'NULL'}",
        f"line_info_cnt={lines}",
        f"attach_btf_id={request.attach_btf_id}",
        f"attach_prog_fd={request.attach_prog_fd or 0}",
        "fd_array=NULL",
    ]


def _map_create(request: requests.MapCreate) -> list[Any]:
    return [
        f"map_type=BPF_MAP_TYPE_{MapType(request.map_type).name}",
        f"key_size={request.key_size}",
        f"value_size={request.value_size}",
        f"max_entries={request.max_entries}",
        f"map_flags={_flags(request.map_flags, MapFlags)}",
        f"inner_map_fd={request.inner_map_fd or 0}",
        f"map_name={string(request.map_name.encode())}",
        "map_ifindex=0",
        f"btf_fd={request.btf_fd or 0}",
        f"btf_key_type_id={request.btf_key_type_id}",
        f"btf_value_type_id={request.btf_value_type_id}",
        f"btf_vmlinux_value_type_id={request.btf_vmlinux_value_type_id}",
        f"map_extra={request.map_extra}",
    ]


def _version(number: int) -> str:
    return f"KERNEL_VERSION({number >> 16}, {number >> 8 & 255}, {number & 255})"


def _flags(value: int, kind: type[MapFlags] | type[ProgFlags]) -> str:
    names = [f"BPF_F_{flag.name}" for flag in kind if value & flag]
    return "|".join(names) or "0"


def _update_flags(value: int) -> str:
    return {0: "BPF_ANY", 1: "BPF_NOEXIST", 2: "BPF_EXIST"}.get(value, hex(value))


# --- perf_event_open(2) --------------------------------------------------------------------------

_CONFIGS: dict[int, tuple[str, type[PerfHardware] | type[PerfSoftware]]] = {
    PerfType.HARDWARE: ("PERF_COUNT_HW_", PerfHardware),
    PerfType.SOFTWARE: ("PERF_COUNT_SW_", PerfSoftware),
}


def perf_attributes(attr: PerfEventAttr) -> list[Any]:
    try:
        kind = f"PERF_TYPE_{PerfType(attr.type).name}"
    except ValueError:
        kind = f"{attr.type:#x} /* PERF_TYPE_??? */"
    samples = "|".join(f"PERF_SAMPLE_{bit.name}" for bit in PerfSample if attr.sample_type & bit)
    period = "sample_freq" if attr.freq else "sample_period"
    rows = [
        f"type={kind}",
        "size=PERF_ATTR_SIZE_VER7",
        f"config={_config(attr)}",
        f"{period}={attr.sample_period}",
        f"sample_type={samples or 0}",
        "read_format=0",
        f"disabled={int(attr.disabled)}",
        f"inherit={int(attr.inherit)}",
        f"exclude_kernel={int(attr.exclude_kernel)}",
        f"freq={int(attr.freq)}",
        "precise_ip=0 /* arbitrary skid */",
        f"wakeup_events={attr.wakeup_events}",
    ]
    if attr.target:
        rows += [f"config1={string(attr.target.encode(), 4096)}", f"config2={attr.offset:#x}"]
    return [*rows, "..."]


def _config(attr: PerfEventAttr) -> str:
    prefix, kind = _CONFIGS.get(attr.type, ("", None))
    if kind is not None and attr.config in list(kind):
        return prefix + kind(attr.config).name
    return str(attr.config)
