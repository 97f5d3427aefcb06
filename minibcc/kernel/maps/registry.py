"""Which class is which map type, and BPF_MAP_CREATE."""

from __future__ import annotations

import importlib
from errno import EINVAL, ENOMEM
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.kernel.errnos import failure
from minibcc.kernel.maps.base import FAMILIES
from minibcc.kernel.objects import BtfObject

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.maps.base import Map

MODULES = (
    "hash",
    "array",
    "references",
    "stacks",
    "ringbuf",
    "trie",
    "queue",
    "devices",
    "storage",
)
"""Each has some classes, which name their types; the often used first, as in helpers.registry."""


def family(map_type: int) -> type[Map] | None:
    """The class of a map type; None if there is no such type here."""
    for module in MODULES:
        if map_type in FAMILIES:
            break
        importlib.import_module(f"minibcc.kernel.maps.{module}")
    return FAMILIES.get(map_type)


def create(kernel: Kernel, request: MapCreate) -> Map:
    """``map_create``: a new map with one reference, known by id and address."""
    from minibcc.kernel.programs import check_name

    if request.map_extra and request.map_type not in (MapType.BLOOM_FILTER, MapType.ARENA):
        raise failure(EINVAL)
    if request.btf_key_type_id and not request.btf_value_type_id:
        raise failure(EINVAL)
    if request.map_flags & MapFlags.RDONLY and request.map_flags & MapFlags.WRONLY:
        raise failure(EINVAL)
    kind = family(request.map_type)
    if kind is None:
        raise failure(EINVAL)
    kind.check(request)
    btf = None
    if request.btf_fd is not None and (request.btf_key_type_id or request.btf_value_type_id):
        btf = kernel.descriptors.object(request.btf_fd, BtfObject)
    try:
        map = kind(kernel, request)
    except MemoryError:
        raise failure(ENOMEM) from None
    try:
        check_name(request.map_name)
        if btf is not None:
            map.describe(btf)
    except OSError:
        map.put()
        raise
    kernel.add_map(map)
    return map
