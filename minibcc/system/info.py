"""What objects say of themselves: OBJ_GET_INFO_BY_FD for programs, maps, BTF and links.

The kernel fills a ``struct bpf_*_info``; where the answer is longer than a number, it writes to
where the request points, so programs are asked twice: how much there is, then with room for it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING, Any, Final

from minibcc.abi import requests as r
from minibcc.abi.bpf import TAG_SIZE, Command, LinkType, MapType, ProgType
from minibcc.system.call import Memory, call, split, string

if TYPE_CHECKING:
    from minibcc.system.linux import LinuxSystem


def _info(system: LinuxSystem, fd: int, info: bytes, kind: str) -> bytes:
    """``struct bpf_*_info`` filled by the kernel; what `info` holds (pointers, room) goes in.

    The kernel fills whatever the descriptor is of; that it is a `kind` is seen by its link."""
    try:
        link = os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
    if kind not in link.replace("_", "-"):
        raise OSError(errno.EINVAL, f"descriptor {fd} is {link}, no {kind}")
    memory = Memory()
    buffer = memory.buffer(info)
    call(system, Command.OBJ_GET_INFO_BY_FD, "2IQ", fd, len(info), ctypes.addressof(buffer))
    return bytes(buffer.raw[: len(info)])


_PROG_INFO: Final = struct.Struct("<2I8s2I3Q2IQ16s2I2Q2I2Q2IQ2I2Q4IQ3Q4I")
_PROG_FIELDS: Final = (
    "type id tag jited_prog_len xlated_prog_len jited_prog_insns xlated_prog_insns load_time "
    "created_by_uid nr_map_ids map_ids name ifindex gpl_compatible netns_dev netns_ino "
    "nr_jited_ksyms nr_jited_func_lens jited_ksyms jited_func_lens btf_id func_info_rec_size "
    "func_info nr_func_info nr_line_info line_info jited_line_info nr_jited_line_info "
    "line_info_rec_size jited_line_info_rec_size nr_prog_tags prog_tags run_time_ns run_cnt "
    "recursion_misses verified_insns attach_btf_obj_id attach_btf_id padding"
)

# A field that points to memory: the field that counts its entries, bytes an entry.
_PROG_ARRAYS: Final = {
    "jited_prog_insns": ("jited_prog_len", 1),
    "xlated_prog_insns": ("xlated_prog_len", 1),
    "map_ids": ("nr_map_ids", 4),
    "jited_ksyms": ("nr_jited_ksyms", 8),
    "jited_func_lens": ("nr_jited_func_lens", 4),
    "func_info": ("nr_func_info", 8),
    "line_info": ("nr_line_info", 16),
    "jited_line_info": ("nr_jited_line_info", 8),
    "prog_tags": ("nr_prog_tags", TAG_SIZE),
}
_RECORD_SIZES: Final = {
    "func_info_rec_size": 8,
    "line_info_rec_size": 16,
    "jited_line_info_rec_size": 8,
}


def _prog_fields(info: bytes) -> dict[str, Any]:
    return dict(zip(_PROG_FIELDS.split(), _PROG_INFO.unpack(info), strict=True))


def prog_get_info(system: LinuxSystem, q: r.ProgGetInfo) -> r.ProgInfo:
    """Asks twice: how much there is, then with room for it."""
    sizes = _prog_fields(_info(system, q.fd, bytes(_PROG_INFO.size), "bpf-prog"))
    memory = Memory()
    rooms = {}
    asked = _prog_fields(bytes(_PROG_INFO.size)) | _RECORD_SIZES
    for field, (count, size) in _PROG_ARRAYS.items():
        if field == "jited_prog_insns" and not q.jited:
            continue
        asked[count] = sizes[count]
        asked[field], rooms[field] = memory.room(sizes[count] * size)
    info = _prog_fields(_info(system, q.fd, _PROG_INFO.pack(*asked.values()), "bpf-prog"))

    def data(field: str) -> bytes:
        count, size = _PROG_ARRAYS[field]
        # A null pointer back means that the kernel keeps it to itself (kptr_restrict, not root).
        return bytes(rooms[field].raw[: info[count] * size]) if info[field] else b""

    def numbers(field: str) -> tuple[int, ...]:
        raw = data(field)
        letter = "Q" if _PROG_ARRAYS[field][1] == 8 else "I"
        return struct.unpack(f"<{len(raw) // _PROG_ARRAYS[field][1]}{letter}", raw)

    return r.ProgInfo(
        type=ProgType(info["type"]),
        id=info["id"],
        tag=info["tag"],
        name=string(info["name"]),
        load_time=info["load_time"],
        created_by_uid=info["created_by_uid"],
        gpl_compatible=bool(info["gpl_compatible"] & 1),
        map_ids=numbers("map_ids"),
        xlated_prog_insns=data("xlated_prog_insns"),
        jited_prog_insns=data("jited_prog_insns") if q.jited else b"",
        jited_prog_len=sizes["jited_prog_len"],
        btf_id=info["btf_id"],
        func_info=data("func_info"),
        line_info=data("line_info"),
        jited_line_info=numbers("jited_line_info"),
        jited_func_lens=numbers("jited_func_lens"),
        jited_ksyms=numbers("jited_ksyms"),
        run_time_ns=info["run_time_ns"],
        run_cnt=info["run_cnt"],
        recursion_misses=info["recursion_misses"],
        verified_insns=info["verified_insns"],
        attach_btf_obj_id=info["attach_btf_obj_id"],
        attach_btf_id=info["attach_btf_id"],
        prog_tags=split(data("prog_tags"), TAG_SIZE, len(data("prog_tags")) // TAG_SIZE),
    )


_MAP_INFO: Final = struct.Struct("<6I16s2I2Q4IQ")


def map_info(system: LinuxSystem, fd: int) -> bytes:
    return _info(system, fd, bytes(_MAP_INFO.size), "bpf-map")


def map_get_info(system: LinuxSystem, q: r.MapGetInfo) -> r.MapInfo:
    (
        map_type, map_id, key, value, entries, flags, name, _, _, _, _,
        btf_id, btf_key, btf_value, _, _,
    ) = _MAP_INFO.unpack(map_info(system, q.fd))  # fmt: skip
    words = _descriptor_words(q.fd)
    return r.MapInfo(
        MapType(map_type), map_id, key, value, entries, flags, string(name),
        btf_id, btf_key, btf_value, words.get("frozen") == "1", int(words.get("memlock", "0")),
    )  # fmt: skip


def _descriptor_words(fd: int) -> dict[str, str]:
    """What /proc says of a descriptor: two facts of a map stand only there."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        return {
            key.strip(): value.strip() for key, _, value in (line.partition(":") for line in file)
        }


_BTF_INFO: Final = struct.Struct("<Q2IQ2I")


def btf_get_info(system: LinuxSystem, q: r.BtfGetInfo) -> r.BtfInfo:
    memory = Memory()
    size = _BTF_INFO.unpack(_info(system, q.fd, bytes(_BTF_INFO.size), "btf"))[1]
    data_at, data = memory.room(size)
    name_at, name = memory.room(256)
    answer = _info(system, q.fd, _BTF_INFO.pack(data_at, size, 0, name_at, 256, 0), "btf")
    _, size, btf_id, _, _, kernel = _BTF_INFO.unpack(answer)
    return r.BtfInfo(btf_id, string(name.raw), bool(kernel), bytes(data.raw[:size]))


_LINK_INFO: Final = struct.Struct("<4IQ2I2Q3Q")
_NAMED_LINKS: Final = {LinkType.RAW_TRACEPOINT: 16, LinkType.PERF_EVENT: 24}
_NAME_ROOM: Final = 256


def link_get_info(system: LinuxSystem, q: r.LinkGetInfo) -> r.LinkInfo:
    """A tracepoint's or a probed function's name is written where the request points to; devices
    come as numbers."""
    size = 80
    link_type, link_id, prog_id = struct.unpack_from(
        "<3I", _info(system, q.fd, bytes(size), "bpf-link")
    )
    memory = Memory()
    asked = bytearray(size)
    name_at, name = memory.room(_NAME_ROOM)
    if link_type in _NAMED_LINKS:
        struct.pack_into("<QI", asked, _NAMED_LINKS[link_type], name_at, _NAME_ROOM)
    info = _info(system, q.fd, bytes(asked), "bpf-link")
    first, second, third = struct.unpack_from("<3I", info, 16)
    target, attach_type = "", 0
    match link_type:
        case LinkType.RAW_TRACEPOINT | LinkType.PERF_EVENT:
            target = string(name.raw)
        case LinkType.TRACING:
            target, attach_type = f"btf:{second}/{third}", first
        case LinkType.CGROUP:
            target, attach_type = f"cgroup:{first | second << 32}", third
        case LinkType.NETNS:
            target, attach_type = f"netns:{first}", second
        case LinkType.XDP:
            target = _device(first)
        case LinkType.TCX | LinkType.NETKIT:
            target, attach_type = _device(first), second
    return r.LinkInfo(link_type, link_id, prog_id, target, attach_type)


def _device(index: int) -> str:
    import socket

    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"ifindex:{index}"
