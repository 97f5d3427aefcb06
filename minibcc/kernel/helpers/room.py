"""``bpf_skb_adjust_room``: bytes between a packet's headers and what follows them.

Mirrors ``bpf_skb_adjust_room`` of net/core/filter.c.
"""

from __future__ import annotations

from errno import EALREADY, EFAULT, EINVAL, ENOMEM, EOPNOTSUPP
from typing import TYPE_CHECKING

from minibcc.kernel.errnos import ENOTSUPP
from minibcc.kernel.helpers.packet import SKB_MAX, signed32
from minibcc.kernel.helpers.registry import helper
from minibcc.kernel.packets import ETHERNET, IP_HEADERS, IPV4, IPV6, PROTOCOL

if TYPE_CHECKING:
    from minibcc.kernel.packets import Packet
    from minibcc.kernel.vm.execution import Run

AFTER_NETWORK, AFTER_LINK = 0, 1
"""Ethernet protocol to the least length of its header."""
FIXED_GSO, NO_CSUM_RESET = 1 << 0, 1 << 5
ENCAPSULATED = {1 << 1: IPV4, 1 << 2: IPV6}
"""Flag to the protocol of the new outer header."""
GRE, UDP, INNER_ETHERNET = 1 << 3, 1 << 4, 1 << 6
INNER_LENGTH = 56
"""The highest byte of the flags: how long the inner link header is."""
DECAPSULATED = {1 << 7: IPV4, 1 << 8: IPV6}
"""Flag to the protocol of the header that comes to light."""
ENCAP, DECAP = sum(ENCAPSULATED), sum(DECAPSULATED)
FLAGS = 0x1FF | 0xFF << INNER_LENGTH
MAX_CHANGE = 0xFFF


@helper("skb_adjust_room")
def skb_adjust_room(run: Run, context: int, change: int, mode: int, flags: int, r5: int) -> int:
    packet: Packet = run.kernel.packets[run.context]
    change, mode = signed32(change), mode & 0xFFFF_FFFF
    if flags & ~FLAGS:
        return -EINVAL
    if abs(change) > MAX_CHANGE:
        return -EFAULT
    protocol = _protocol(packet)
    if protocol not in IP_HEADERS or mode not in (AFTER_NETWORK, AFTER_LINK):
        return -ENOTSUPP
    header = least = IP_HEADERS[protocol]
    if flags & DECAP:
        if change >= 0 or flags & DECAP == DECAP:
            return -EINVAL
        least = IP_HEADERS[DECAPSULATED[flags & DECAP]]
    length = packet.length - packet.network
    if change < 0 and (-change >= length or length + change < least):
        return -ENOTSUPP
    if packet.length + change > SKB_MAX:
        return -ENOTSUPP
    if change < 0:
        error = -EINVAL if flags & ~(FIXED_GSO | NO_CSUM_RESET | DECAP) else 0
    else:
        error = _encapsulation_error(packet, change, flags) if flags & ENCAP else 0
    place = packet.network + (header if mode == AFTER_NETWORK else 0)
    error = error or _change_room(run, packet, place, change)
    if error:
        return error
    packet.encapsulated |= bool(flags & ENCAP)
    outer = {**ENCAPSULATED, **DECAPSULATED}.get(flags & (ENCAP | DECAP))
    if outer is not None:
        _set_protocol(packet, outer)
    if not flags & NO_CSUM_RESET:
        packet.csum_level = None
    return 0


def _encapsulation_error(packet: Packet, more: int, flags: int) -> int:
    """What is wrong with the headers that a packet is to get in front: a negative errno, or 0."""
    inner = flags >> INNER_LENGTH
    both = any(flags & pair == pair for pair in (ENCAP, GRE | UDP))
    if both or (flags & INNER_ETHERNET and inner < ETHERNET):
        return -EINVAL
    if packet.encapsulated:
        return -EALREADY
    return -EINVAL if inner > more else 0


def _protocol(packet: Packet) -> bytes:
    """In network order."""
    return bytes(packet.memory.view(packet.context + PROTOCOL, 2))


def _set_protocol(packet: Packet, protocol: bytes) -> None:
    packet.field(PROTOCOL, int.from_bytes(protocol, "little"))


def _change_room(run: Run, packet: Packet, place: int, change: int) -> int:
    """Zeros between the first `place` bytes and what follows them, or `change` bytes fewer; -ENOMEM
    where there are not so many."""
    if packet.length < place - min(0, change):
        return -ENOMEM
    head = packet.bytes(0, place)
    packet.reserve(change, 0)
    packet.move_start(-change, clear=False)
    run.memory.view(packet.start, place)[:] = head
    if change > 0:
        run.memory.view(packet.start + place, change)[:] = bytes(change)
    return 0


HEADER_GROWTH = 20
"""Bytes by which a header of IPv6 is longer."""


@helper("skb_change_proto")
def skb_change_proto(run: Run, context: int, protocol: int, flags: int, r4: int, r5: int) -> int:
    """Room for the header of the other version of IP; what is in it is the program's business."""
    packet: Packet = run.kernel.packets[run.context]
    if flags:
        return -EINVAL
    old = _protocol(packet)
    new = (protocol & 0xFFFF).to_bytes(2, "little")
    if (old, new) not in ((IPV4, IPV6), (IPV6, IPV4)):
        return -ENOTSUPP
    change = HEADER_GROWTH if new == IPV6 else -HEADER_GROWTH
    error = _change_room(run, packet, packet.network, change)
    if not error:
        _set_protocol(packet, new)
    return error


REALTIME, TAI = 0, 2
TSTAMP, TSTAMP_TYPE = 152, 180
"""Fields of ``struct __sk_buff``."""


@helper("skb_set_tstamp")
def skb_set_tstamp(run: Run, context: int, time: int, clock: int, r4: int, r5: int) -> int:
    packet: Packet = run.kernel.packets[run.context]
    if _protocol(packet) not in IP_HEADERS:
        return -EOPNOTSUPP
    clock &= 0xFFFF_FFFF
    if clock > TAI or (clock != REALTIME and not time):
        return -EINVAL
    run.memory.store(packet.context + TSTAMP, 8, time)
    run.memory.store(packet.context + TSTAMP_TYPE, 1, clock)
    return 0
