"""Which class is which map type, and BPF_MAP_CREATE."""

from __future__ import annotations

from errno import EINVAL, ENOMEM
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.kernel.errnos import failure
from minibcc.kernel.maps.array import ArrayMap
from minibcc.kernel.maps.devices import DeviceMap, ProcessorMap, ReuseportArray, SocketMap
from minibcc.kernel.maps.hash import HashMap
from minibcc.kernel.maps.queue import BloomFilter, QueueMap
from minibcc.kernel.maps.references import (
    ArrayOfMaps,
    CgroupArray,
    HashOfMaps,
    PerfEventArray,
    ProgramArray,
)
from minibcc.kernel.maps.ringbuf import RingBuffer
from minibcc.kernel.maps.stacks import StackTraceMap
from minibcc.kernel.maps.storage import CgroupStorage, StorageMap
from minibcc.kernel.maps.trie import PrefixTrie
from minibcc.kernel.objects import BtfObject

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.maps.base import Map

FAMILIES: tuple[type[Map], ...] = (
    ArrayMap,
    HashMap,
    PrefixTrie,
    QueueMap,
    BloomFilter,
    RingBuffer,
    StackTraceMap,
    ProgramArray,
    PerfEventArray,
    CgroupArray,
    ArrayOfMaps,
    HashOfMaps,
    DeviceMap,
    ProcessorMap,
    SocketMap,
    ReuseportArray,
    StorageMap,
    CgroupStorage,
)

MAPS: dict[MapType, type[Map]] = {kind: family for family in FAMILIES for kind in family.types}


def create(kernel: Kernel, request: MapCreate) -> Map:
    """``map_create``: a new map with one reference, known by id and address."""
    from minibcc.kernel.programs import check_name

    if request.map_extra and request.map_type not in (MapType.BLOOM_FILTER, MapType.ARENA):
        raise failure(EINVAL)
    if request.btf_key_type_id and not request.btf_value_type_id:
        raise failure(EINVAL)
    if request.map_flags & MapFlags.RDONLY and request.map_flags & MapFlags.WRONLY:
        raise failure(EINVAL)
    try:
        family = MAPS[MapType(request.map_type)]
    except (KeyError, ValueError):
        raise failure(EINVAL) from None
    family.check(request)
    check_name(request.map_name)
    btf = None
    if request.btf_fd is not None and (request.btf_key_type_id or request.btf_value_type_id):
        btf = kernel.descriptors.object(request.btf_fd, BtfObject)
    try:
        map = family(kernel, request)
    except MemoryError:
        raise failure(ENOMEM) from None
    if btf is not None:
        try:
            map.describe(btf)
        except OSError:
            map.put()
            raise
    kernel.add_map(map)
    return map
