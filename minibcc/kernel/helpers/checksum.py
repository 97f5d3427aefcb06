"""Checksum helpers: one's complement sums, as in IP, TCP and UDP.

Mirrors ``bpf_csum_diff``, ``bpf_l3_csum_replace`` and ``bpf_l4_csum_replace`` of
net/core/filter.c.
"""

from __future__ import annotations

from errno import EFAULT, EINVAL
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.packets import Packet
    from minibcc.kernel.vm.execution import Run

MASK32 = 0xFFFF_FFFF
FIELD_MASK, PSEUDO_HEADER, MARK_MANGLED, MARK_ENFORCE = 0xF, 1 << 4, 1 << 5, 1 << 6


def fold32(value: int) -> int:
    """A sum of 32 bits with the carries added back."""
    while value >> 32:
        value = (value & MASK32) + (value >> 32)
    return value


def fold16(value: int) -> int:
    """``csum_fold`` without its complement."""
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return value


def partial(data: bytes, start: int = 0) -> int:
    """``csum_partial``: the 32-bit sum of 16-bit little-endian words."""
    if len(data) % 2:
        data += b"\0"
    total = start + sum(
        int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2)
    )
    return fold32(total)


@helper("csum_diff")
def csum_diff(run: Run, old: int, old_size: int, new: int, new_size: int, seed: int) -> int:
    """The checksum change from `old` to `new` bytes, folded to 16 bits."""
    old_size, new_size = old_size & MASK32, new_size & MASK32
    view = run.memory.view
    total = seed & MASK32
    if new_size:
        total = partial(bytes(view(new, new_size)), total)
    if old_size:
        total = fold32(total + (~partial(bytes(view(old, old_size))) & MASK32))
    return fold16(total)


def _replaced(check: int, old: int, new: int) -> int:
    """``csum_replace``: the 16-bit checksum after `old` became `new` (32-bit sums)."""
    total = (~check & 0xFFFF) + (~old & MASK32) + new
    return ~fold16(total) & 0xFFFF


@helper("l3_csum_replace")
def l3_csum_replace(run: Run, context: int, offset: int, old: int, new: int, flags: int) -> int:
    packet = run.kernel.packets[run.context]
    offset &= MASK32
    if flags & ~FIELD_MASK:
        return -EINVAL
    if offset > 0xFFFF or offset & 1:
        return -EFAULT
    if offset + 2 > packet.length:
        return -EFAULT
    size = flags & FIELD_MASK
    if size not in (0, 2, 4) or (size == 0 and old):
        return -EINVAL
    return _store(run, packet, offset, _difference(size, old, new))


@helper("l4_csum_replace")
def l4_csum_replace(run: Run, context: int, offset: int, old: int, new: int, flags: int) -> int:
    packet = run.kernel.packets[run.context]
    offset &= MASK32
    if flags & ~(FIELD_MASK | PSEUDO_HEADER | MARK_MANGLED | MARK_ENFORCE | 1 << 7):
        return -EINVAL
    if offset > 0xFFFF or offset & 1 or offset + 2 > packet.length:
        return -EFAULT
    size = flags & FIELD_MASK
    if size not in (0, 2, 4) or (size == 0 and old):
        return -EINVAL
    check = int.from_bytes(packet.bytes(offset, 2), "little")
    if flags & MARK_MANGLED and not flags & MARK_ENFORCE and not check:
        return 0
    error = _store(run, packet, offset, _difference(size, old, new))
    if flags & MARK_MANGLED and not int.from_bytes(packet.bytes(offset, 2), "little"):
        run.memory.store(packet.start + offset, 2, 0xFFFF)
    return error


def _difference(size: int, old: int, new: int) -> tuple[int, int]:
    """Sums of what went and of what came; `size` 0: `new` is the difference itself."""
    if size == 0:
        return MASK32, new & MASK32
    mask = (1 << 8 * size) - 1
    return old & mask, new & mask


def _store(run: Run, packet: Packet, offset: int, change: tuple[int, int]) -> int:
    place = packet.start + offset
    check = run.memory.load(place, 2)
    run.memory.store(place, 2, _replaced(check, *change))
    return 0
