"""The commands of bpf(2): which function answers which request.

Each function gets the kernel and the request, and answers what the request's type says or raises
`OSError`. Mirrors the functions behind ``__sys_bpf`` of kernel/bpf/syscall.c.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from errno import EACCES, EEXIST, EINVAL, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM
from typing import Any

from minibcc.abi import requests
from minibcc.abi.requests import (
    Batch,
    BtfInfo,
    LinkInfo,
    Request,
)
from minibcc.kernel import attach, programs, testrun
from minibcc.kernel.descriptors import ObjectDescription
from minibcc.kernel.errnos import failure
from minibcc.kernel.information import map_info, program_info
from minibcc.kernel.kernel import Kernel
from minibcc.kernel.maps import registry
from minibcc.kernel.maps.base import ACCESS_MODES, LOCK, Map
from minibcc.kernel.objects import BtfObject, Link, Program
from minibcc.kernel.pseudofiles import Statistics

# --- maps -------------------------------------------------------------------------------------


def _map_create(kernel: Kernel, request: requests.MapCreate) -> int:
    map = registry.create(kernel, request)
    fd = kernel.descriptor_for(map, request.map_flags)
    map.put()
    return fd


def _opened(kernel: Kernel, fd: int, *, read: bool = False, write: bool = False) -> Map:
    """The map behind a descriptor that may be used so; EPERM where it may not."""
    map = kernel.map_of(fd)
    description = kernel.descriptors.description(fd, ObjectDescription)
    if read and not description.readable:
        raise failure(EPERM)
    if write and (not description.writable or map.frozen):
        raise failure(EPERM)
    return map


def _key(map: Map, key: bytes) -> bytes:
    if len(key) != map.key_size:
        raise failure(EINVAL)
    return key


def _value(map: Map, value: bytes) -> bytes:
    if len(value) != map.user_value_size:
        raise failure(EINVAL)
    if map.lock_offset is not None:  # the lock itself is never copied
        value = value[: map.lock_offset] + bytes(4) + value[map.lock_offset + 4 :]
    return value


def _check_lock(map: Map, flags: int) -> None:
    """BPF_F_LOCK is for maps that have a lock in their values."""
    if flags & LOCK and map.lock_offset is None:
        raise failure(EINVAL)


def _map_lookup(kernel: Kernel, request: requests.MapLookup) -> bytes:
    if request.flags & ~LOCK:
        raise failure(EINVAL)
    map = _opened(kernel, request.fd, read=True)
    _check_lock(map, request.flags)
    return map.read(map.lookup_key(request.key), request.flags)


def _map_update(kernel: Kernel, request: requests.MapUpdate) -> None:
    map = _opened(kernel, request.fd, write=True)
    _check_lock(map, request.flags)
    map.write(_key(map, request.key), _value(map, request.value), request.flags)


def _map_delete(kernel: Kernel, request: requests.MapDelete) -> None:
    map = _opened(kernel, request.fd, write=True)
    map.remove(_key(map, request.key))


def _map_next_key(kernel: Kernel, request: requests.MapNextKey) -> bytes:
    map = _opened(kernel, request.fd, read=True)
    return map.next_key(None if request.key is None else _key(map, request.key))


def _map_take(kernel: Kernel, request: requests.MapLookupAndDelete) -> bytes:
    if request.flags & ~LOCK:
        raise failure(EINVAL)
    map = _opened(kernel, request.fd, read=True, write=True)
    _check_lock(map, request.flags)
    return map.take(_key(map, request.key), request.flags)


def _map_freeze(kernel: Kernel, request: requests.MapFreeze) -> None:
    # What is frozen already may not be written either: EPERM comes before EBUSY.
    _opened(kernel, request.fd, write=True).freeze()


def _lookup_batch(kernel: Kernel, request: requests.MapLookupBatch) -> Batch:
    map = _opened(kernel, request.fd, read=True)
    return map.read_batch(request.cursor, request.count, request.elem_flags, take=False)


def _take_batch(kernel: Kernel, request: requests.MapLookupAndDeleteBatch) -> Batch:
    map = _opened(kernel, request.fd, read=True, write=True)
    return map.read_batch(request.cursor, request.count, request.elem_flags, take=True)


def _update_batch(kernel: Kernel, request: requests.MapUpdateBatch) -> int:
    map = _opened(kernel, request.fd, write=True)
    keys = tuple(_key(map, key) for key in request.keys)
    if len(request.values) != len(keys):
        raise failure(EINVAL)
    values = tuple(_value(map, value) for value in request.values)
    return map.write_batch(keys, values, request.elem_flags)


def _delete_batch(kernel: Kernel, request: requests.MapDeleteBatch) -> int:
    map = _opened(kernel, request.fd, write=True)
    return map.remove_batch(tuple(_key(map, key) for key in request.keys), request.elem_flags)


# --- objects ----------------------------------------------------------------------------------


def _btf_info(kernel: Kernel, request: requests.BtfGetInfo) -> BtfInfo:
    btf = kernel.descriptors.object(request.fd, BtfObject)
    return BtfInfo(btf.id, btf.name, btf.kernel, bytes(btf.data))


def _link_info(kernel: Kernel, request: requests.LinkGetInfo) -> LinkInfo:
    link = kernel.descriptors.object(request.fd, Link)
    return LinkInfo(link.type, link.id, link.program.id, link.target, link.attach_type)


def _btf_load(kernel: Kernel, request: requests.BtfLoad) -> int:
    if not request.btf:
        raise failure(EINVAL)
    btf = BtfObject(request.btf)
    try:
        btf.check()
    except ValueError as wrong:
        raise failure(EINVAL, f"Invalid argument: {wrong}") from None
    kernel.btfs.add(btf)
    fd = kernel.descriptors.add_object(btf)
    btf.put()
    return fd


PINS = "/sys/fs/bpf"
PATH_MAX, NAME_MAX = 4096, 255


def _walked(kernel: Kernel, path: str) -> str:
    """The path without detours (``bpf_lookup`` of kernel/bpf/inode.c). Nobody makes folders here:
    each is taken to be there."""
    path = path.partition("\0")[0]
    if not path:
        raise failure(ENOENT)
    raw = path.encode(errors="surrogatepass")
    if len(raw) >= PATH_MAX or max(map(len, raw.split(b"/"))) > NAME_MAX:
        raise failure(ENAMETOOLONG)
    path = posixpath.normpath(path.replace("//", "/"))
    inside = path.removeprefix(f"{PINS}/")
    if inside != path:
        if "." in inside:  # reserved
            raise failure(EPERM)
        folders = posixpath.dirname(path)
        while folders != PINS:
            if folders in kernel.pins:
                raise failure(ENOTDIR)
            folders = posixpath.dirname(folders)
    return path


def _pin(kernel: Kernel, request: requests.ObjPin) -> None:
    try:
        item = kernel.descriptors.description(request.bpf_fd, ObjectDescription).item
    except OSError:
        raise failure(EINVAL) from None
    if not isinstance(item, Map | Program | Link):
        raise failure(EINVAL)
    path = _walked(kernel, request.pathname)
    if path in kernel.pins or path == PINS:
        raise failure(EEXIST)
    if not path.startswith(f"{PINS}/"):
        raise failure(EPERM)
    kernel.pin(path, item)


def _get_pinned(kernel: Kernel, request: requests.ObjGet) -> int:
    if request.file_flags & ~ACCESS_MODES:
        raise failure(EINVAL)
    path = _walked(kernel, request.pathname)
    if path == PINS:
        raise failure(EACCES)
    item = kernel.pins.get(path)
    if item is None:
        raise failure(ENOENT)
    return kernel.descriptor_for(item, request.file_flags)


def _enable_stats(kernel: Kernel, request: requests.EnableStats) -> int:
    """``bpf_enable_stats``."""
    if request.type:
        raise failure(EINVAL)
    return kernel.descriptors.add(Statistics(kernel))


COMMANDS: dict[type[Request[Any]], Callable[[Kernel, Any], Any]] = {
    requests.MapCreate: _map_create,
    requests.MapLookup: _map_lookup,
    requests.MapUpdate: _map_update,
    requests.MapDelete: _map_delete,
    requests.MapNextKey: _map_next_key,
    requests.MapLookupAndDelete: _map_take,
    requests.MapFreeze: _map_freeze,
    requests.MapLookupBatch: _lookup_batch,
    requests.MapLookupAndDeleteBatch: _take_batch,
    requests.MapUpdateBatch: _update_batch,
    requests.MapDeleteBatch: _delete_batch,
    requests.ProgLoad: programs.load,
    requests.ProgTestRun: testrun.test_run,
    requests.ProgAttach: attach.attach_program,
    requests.ProgDetach: attach.detach_program,
    requests.ObjPin: _pin,
    requests.ObjGet: _get_pinned,
    requests.ProgGetInfo: lambda kernel, request: program_info(
        kernel, kernel.program_of(request.fd), jited=request.jited
    ),
    requests.MapGetInfo: lambda kernel, request: map_info(kernel.map_of(request.fd)),
    requests.BtfGetInfo: _btf_info,
    requests.LinkGetInfo: _link_info,
    requests.ProgGetNextId: lambda kernel, request: kernel.programs.after(request.start_id),
    requests.MapGetNextId: lambda kernel, request: kernel.maps.after(request.start_id),
    requests.BtfGetNextId: lambda kernel, request: kernel.btfs.after(request.start_id),
    requests.LinkGetNextId: lambda kernel, request: kernel.links.after(request.start_id),
    requests.ProgGetFdById: lambda kernel, request: kernel.descriptors.add_object(
        kernel.programs.get(request.prog_id)
    ),
    requests.MapGetFdById: lambda kernel, request: kernel.descriptors.add_object(
        kernel.maps.get(request.map_id)
    ),
    requests.BtfGetFdById: lambda kernel, request: kernel.descriptors.add_object(
        kernel.btfs.get(request.btf_id)
    ),
    requests.LinkGetFdById: lambda kernel, request: kernel.descriptors.add_object(
        kernel.links.get(request.link_id)
    ),
    requests.EnableStats: _enable_stats,
    requests.BtfLoad: _btf_load,
    requests.RawTracepointOpen: attach.open_raw_tracepoint,
    requests.LinkCreate: attach.create_link,
    requests.IterCreate: attach.create_iterator,
}
