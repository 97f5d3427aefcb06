"""bpf(2) requests as ``union bpf_attr``, and its answers back: a function per request.

`HANDLERS` is the table; a request of no row is EINVAL, as in Linux. A handler packs the request,
makes the call and unpacks the answer; `system.info` has those that ask an object about itself.

Layouts: include/uapi/linux/bpf.h of Linux 6.18. An older kernel takes a longer
``union bpf_attr`` than its own as long as the rest is zero.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from minibcc.abi import requests as r
from minibcc.abi.bpf import MapType
from minibcc.system import info
from minibcc.system.call import Memory, call, split, string

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.system.linux import LinuxSystem

FIRST_LOG: Final = 1 << 16
LAST_LOG: Final = (1 << 30) - 1
"""Bytes: the log buffer's first size, and the kernel's limit."""

_PER_CPU: Final = frozenset(
    (
        MapType.PERCPU_HASH,
        MapType.PERCPU_ARRAY,
        MapType.LRU_PERCPU_HASH,
        MapType.PERCPU_CGROUP_STORAGE,
    )
)


def perform(system: LinuxSystem, request: r.Request[Any]) -> Any:
    """Does what the request says. Raises OSError."""
    handler = HANDLERS.get(type(request))
    if handler is None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return handler(system, request)


# --- maps --------------------------------------------------------------------------------------


class Shape(NamedTuple):
    """A map's sizes in bytes, as the kernel copies them: `value` over all CPUs for per-CPU maps;
    `cursor` what a batch's position takes. `asked`: a look-up's key is a value (Bloom filters)."""

    key: int
    value: int
    asked: bool = False

    @property
    def cursor(self) -> int:
        return max(self.key, 8)


def map_shape(system: LinuxSystem, fd: int) -> Shape:
    sizes = info.map_info(system, fd)
    map_type, _, key, value = struct.unpack_from("<4I", sizes)
    if map_type in _PER_CPU:
        value = -(-value // 8) * 8 * _possible_cpus()
    return Shape(key, value, map_type == MapType.BLOOM_FILTER)


def _possible_cpus() -> int:
    with open("/sys/devices/system/cpu/possible") as file:
        last = file.read().strip().replace(",", "-").split("-")[-1]
    return int(last) + 1


def _map_create(system: LinuxSystem, q: r.MapCreate) -> int:
    fd, _ = call(
        system, q.command, "7I16s5IQ",
        q.map_type, q.key_size, q.value_size, q.max_entries, q.map_flags,
        q.inner_map_fd or 0, q.numa_node, q.map_name.encode(), 0,
        q.btf_fd or 0, q.btf_key_type_id, q.btf_value_type_id, q.btf_vmlinux_value_type_id,
        q.map_extra,
    )  # fmt: skip
    return fd


def _element(system: LinuxSystem, request: Any, key: int, value: int, flags: int = 0) -> None:
    call(system, request.command, "2I3Q", request.fd, 0, key, value, flags)


def _sized(data: bytes, size: int) -> bytes:
    """The data, if it has the size that the kernel is going to copy."""
    if len(data) != size:
        raise OSError(errno.EINVAL, f"{len(data)} bytes given where the map takes {size}")
    return data


def _map_lookup(system: LinuxSystem, q: r.MapLookup | r.MapLookupAndDelete) -> bytes:
    memory, shape = Memory(), system.shape(q.fd)
    address, value = memory.room(shape.value)
    key = 0
    if shape.asked and isinstance(q, r.MapLookup):
        value.raw = _sized(q.key, shape.value)
    else:
        key = memory.give(_sized(q.key, shape.key))
    _element(system, q, key, address, q.flags)
    return bytes(value.raw[: shape.value])


def _map_update(system: LinuxSystem, q: r.MapUpdate) -> None:
    memory, shape = Memory(), system.shape(q.fd)
    key, value = _sized(q.key, shape.key), _sized(q.value, shape.value)
    _element(system, q, memory.give(key), memory.give(value), q.flags)


def _map_delete(system: LinuxSystem, q: r.MapDelete) -> None:
    memory = Memory()
    _element(system, q, memory.give(_sized(q.key, system.shape(q.fd).key)), 0)


def _map_next_key(system: LinuxSystem, q: r.MapNextKey) -> bytes:
    memory, shape = Memory(), system.shape(q.fd)
    key = 0 if q.key is None else memory.give(_sized(q.key, shape.key))
    address, following = memory.room(shape.key)
    _element(system, q, key, address)
    return bytes(following.raw[: shape.key])


def _map_freeze(system: LinuxSystem, q: r.MapFreeze) -> None:
    call(system, q.command, "I", q.fd)


_BATCH: Final = "4Q2I2Q"


def _batch_lookup(system: LinuxSystem, q: r.MapLookupBatch | r.MapLookupAndDeleteBatch) -> r.Batch:
    memory, shape = Memory(), system.shape(q.fd)
    start = 0 if q.cursor is None else memory.give(q.cursor.ljust(shape.cursor, b"\0"))
    end, cursor = memory.room(shape.cursor)
    keys_at, keys = memory.room(shape.key * q.count)
    values_at, values = memory.room(shape.value * q.count)
    attributes = bytearray(
        struct.pack(f"<{_BATCH}", start, end, keys_at, values_at, q.count, q.fd, q.elem_flags, 0)
    )
    finished = False
    try:
        system.bpf_call(q.command, attributes)
    except FileNotFoundError:
        finished = True  # the last stretch: what there was is counted
    count = struct.unpack_from("<I", attributes, 32)[0]
    return r.Batch(
        split(keys.raw, shape.key, count),
        split(values.raw, shape.value, count),
        None if finished else bytes(cursor.raw[: shape.cursor]),
    )


def _batch_write(system: LinuxSystem, q: r.MapUpdateBatch | r.MapDeleteBatch) -> int:
    memory, shape = Memory(), system.shape(q.fd)
    keys = b"".join(_sized(key, shape.key) for key in q.keys)
    values = b""
    if isinstance(q, r.MapUpdateBatch):
        if len(q.values) != len(q.keys):
            raise OSError(errno.EINVAL, f"{len(q.keys)} keys and {len(q.values)} values")
        values = b"".join(_sized(value, shape.value) for value in q.values)
    _, attributes = call(
        system, q.command, _BATCH,
        0, 0, memory.give(keys), memory.give(values), len(q.keys), q.fd, q.elem_flags, 0,
    )  # fmt: skip
    count: int = struct.unpack_from("<I", attributes, 32)[0]
    return count


# --- programs -----------------------------------------------------------------------------------

_PROG_LOAD: Final = "2I2Q2IQ2I16s4IQ2IQ4I2Q4I"
_LOG_TRUE_SIZE: Final = 140


def _prog_load(system: LinuxSystem, q: r.ProgLoad) -> r.Loaded:
    """With a log and no size given, asks again with a larger buffer until the log fits."""
    size = (q.log_size or FIRST_LOG) if q.log_level else 0
    while True:
        memory = Memory()
        log_at, log = memory.room(size)
        attributes = bytearray(
            struct.pack(
                f"<{_PROG_LOAD}",
                q.prog_type, len(q.insns) // 8, memory.give(q.insns), memory.text(q.license),
                q.log_level, size, log_at, q.kern_version, q.prog_flags, q.prog_name.encode(),
                0, q.expected_attach_type, q.prog_btf_fd or 0,
                8 if q.func_info else 0, memory.give(q.func_info), len(q.func_info) // 8,
                16 if q.line_info else 0, memory.give(q.line_info), len(q.line_info) // 16,
                q.attach_btf_id, q.attach_prog_fd or 0, 0, 0, 0, 0, 0, 0, 0,
            )
        )  # fmt: skip
        try:
            return r.Loaded(system.bpf_call(q.command, attributes), string(log.raw))
        except OSError as error:
            if error.errno == errno.ENOSPC and not q.log_size and size < LAST_LOG:
                wanted = struct.unpack_from("<I", attributes, _LOG_TRUE_SIZE)[0]
                size = min(max(wanted, size * 4), LAST_LOG)
                continue
            text = string(log.raw)
            raise r.ProgramRefused(error.errno or 0, str(error.strerror), text) from None


def _prog_test_run(system: LinuxSystem, q: r.ProgTestRun) -> r.TestRun:
    memory = Memory()
    data_at, data = memory.room(q.data_size_out)
    context_at, context = memory.room(q.ctx_size_out)
    _, attributes = call(
        system, q.command, "4I2Q4I2Q4I",
        q.prog_fd, 0, len(q.data_in), q.data_size_out, memory.give(q.data_in), data_at,
        q.repeat, 0, len(q.ctx_in), q.ctx_size_out, memory.give(q.ctx_in), context_at,
        q.flags, q.cpu, 0, 0,
    )  # fmt: skip
    _, value, _, data_size, _, _, _, duration, _, context_size = struct.unpack_from(
        "<4I2Q4I", attributes
    )
    return r.TestRun(
        value,
        duration,
        bytes(data.raw[: min(data_size, q.data_size_out)]),
        bytes(context.raw[: min(context_size, q.ctx_size_out)]),
    )


def _prog_attach(system: LinuxSystem, q: r.ProgAttach) -> None:
    call(system, q.command, "4I", q.target_fd, q.attach_bpf_fd, q.attach_type, q.attach_flags)


def _prog_detach(system: LinuxSystem, q: r.ProgDetach) -> None:
    call(system, q.command, "4I", q.target_fd, q.attach_bpf_fd or 0, q.attach_type, 0)


# --- ids, names, links ----------------------------------------------------------------------------


def _next_id(system: LinuxSystem, q: Any) -> int:
    _, attributes = call(system, q.command, "3I", q.start_id, 0, 0)
    found: int = struct.unpack_from("<I", attributes, 4)[0]
    return found


def _fd_by_id(field: str) -> Callable[[LinuxSystem, Any], int]:
    def handler(system: LinuxSystem, q: Any) -> int:
        return call(system, q.command, "3I", getattr(q, field), 0, 0)[0]

    return handler


def _obj_pin(system: LinuxSystem, q: r.ObjPin) -> None:
    memory = Memory()
    call(system, q.command, "Q2I", memory.text(q.pathname), q.bpf_fd, 0)


def _obj_get(system: LinuxSystem, q: r.ObjGet) -> int:
    memory = Memory()
    return call(system, q.command, "Q2I", memory.text(q.pathname), 0, q.file_flags)[0]


def _btf_load(system: LinuxSystem, q: r.BtfLoad) -> int:
    memory = Memory()
    data = memory.give(q.btf)
    try:
        return call(system, q.command, "2Q4I", data, 0, len(q.btf), 0, 0, 0)[0]
    except OSError as error:
        log_at, log = memory.room(FIRST_LOG)
        try:
            fd = call(system, q.command, "2Q4I", data, log_at, len(q.btf), FIRST_LOG, 1, 0)[0]
        except OSError:
            raise OSError(error.errno, f"{error.strerror}\n{string(log.raw)}".strip()) from None
        return fd


def _raw_tracepoint_open(system: LinuxSystem, q: r.RawTracepointOpen) -> int:
    memory = Memory()
    name = memory.text(q.name) if q.name else 0
    return call(system, q.command, "Q2I", name, q.prog_fd, 0)[0]


def _link_create(system: LinuxSystem, q: r.LinkCreate) -> int:
    memory = Memory()
    chosen = struct.pack("<3I", q.tid if q.map_fd is None else q.map_fd, q.pid, 0)
    asked = chosen if any(chosen) else b""
    return call(
        system, q.command, "4IQ2I",
        q.prog_fd, q.target_fd, q.attach_type, q.flags, memory.give(asked), len(asked), 0,
    )[0]  # fmt: skip


def _enable_stats(system: LinuxSystem, q: r.EnableStats) -> int:
    return call(system, q.command, "I", q.type)[0]


def _iter_create(system: LinuxSystem, q: r.IterCreate) -> int:
    return call(system, q.command, "2I", q.link_fd, q.flags)[0]


HANDLERS: Final[dict[type[r.Request[Any]], Callable[[LinuxSystem, Any], Any]]] = {
    r.MapCreate: _map_create,
    r.MapLookup: _map_lookup,
    r.MapUpdate: _map_update,
    r.MapDelete: _map_delete,
    r.MapNextKey: _map_next_key,
    r.MapLookupAndDelete: _map_lookup,
    r.MapFreeze: _map_freeze,
    r.MapLookupBatch: _batch_lookup,
    r.MapLookupAndDeleteBatch: _batch_lookup,
    r.MapUpdateBatch: _batch_write,
    r.MapDeleteBatch: _batch_write,
    r.ProgLoad: _prog_load,
    r.ProgTestRun: _prog_test_run,
    r.ProgAttach: _prog_attach,
    r.ProgDetach: _prog_detach,
    r.ObjPin: _obj_pin,
    r.ObjGet: _obj_get,
    r.ProgGetInfo: info.prog_get_info,
    r.MapGetInfo: info.map_get_info,
    r.BtfGetInfo: info.btf_get_info,
    r.LinkGetInfo: info.link_get_info,
    r.ProgGetNextId: _next_id,
    r.MapGetNextId: _next_id,
    r.BtfGetNextId: _next_id,
    r.LinkGetNextId: _next_id,
    r.ProgGetFdById: _fd_by_id("prog_id"),
    r.MapGetFdById: _fd_by_id("map_id"),
    r.BtfGetFdById: _fd_by_id("btf_id"),
    r.LinkGetFdById: _fd_by_id("link_id"),
    r.EnableStats: _enable_stats,
    r.BtfLoad: _btf_load,
    r.RawTracepointOpen: _raw_tracepoint_open,
    r.LinkCreate: _link_create,
    r.IterCreate: _iter_create,
}
