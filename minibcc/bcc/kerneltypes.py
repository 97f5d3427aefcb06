"""The kernel's own types, from /sys/kernel/btf/vmlinux: tools choose their probes by them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from minibcc import boot
from minibcc.abi.bpf import AttachType
from minibcc.btf.decode import Btf
from minibcc.btf.layout import Kind
from minibcc.btf.types import Enum, Struct, find_member, strip
from minibcc.errors import LoadError
from minibcc.system.interface import read_file

if TYPE_CHECKING:
    from minibcc.system.interface import System

_decoded: WeakKeyDictionary[System, Btf] = WeakKeyDictionary()

PREFIXES = {
    AttachType.TRACE_RAW_TP: ("btf_trace_", Kind.TYPEDEF),
    AttachType.LSM_MAC: ("bpf_lsm_", Kind.FUNC),
    AttachType.TRACE_ITER: ("bpf_iter_", Kind.FUNC),
}
"""What the kernel puts before a name that an attach type refers to, and what kind that name is."""


def kernel_btf(system: System | None = None) -> Btf:
    """The types of a kernel (the current one). Raises OSError where it has none."""
    system = system or boot.current()
    found = _decoded.get(system)
    if found is None:
        found = _decoded[system] = Btf(read_file(system, "/sys/kernel/btf/vmlinux"))
    return found


def function_id(system: System, name: str, attach_type: int) -> int:
    """The BTF id that a program of this attach type refers to. Raises LoadError."""
    prefix, kind = PREFIXES.get(attach_type, ("", Kind.FUNC))  # type: ignore[call-overload]  # an int is looked up
    found = kernel_btf(system).find_id(kind, prefix + name)
    if found is None:
        raise LoadError(errno.ENOENT, f"this kernel has no {prefix}{name} to attach to")
    return int(found)


def struct_has_field(struct: str, field: str) -> int:
    """1 yes, 0 no, -1 if there is no such structure."""
    try:
        btf = kernel_btf()
    except OSError:
        return -1
    found = strip(btf.find(Kind.STRUCT, struct) or btf.find(Kind.UNION, struct))
    if not isinstance(found, Struct):
        return -1
    return int(find_member(found, field) is not None)


def enum_has_value(enum: str, value: str) -> int:
    """1 yes, 0 no, -1 if there is no such enum."""
    try:
        found = strip(kernel_btf().find(Kind.ENUM, enum))
    except OSError:
        return -1
    if not isinstance(found, Enum):
        return -1
    return int(value in found.values)
