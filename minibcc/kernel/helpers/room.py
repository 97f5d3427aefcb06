"""``bpf_skb_adjust_room``: bytes between a packet's headers and what follows them.

Mirrors ``bpf_skb_adjust_room`` of net/core/filter.c for packets without tunnels.
"""

from __future__ import annotations

from errno import EFAULT, EINVAL, ENOMEM, EOPNOTSUPP
from typing import TYPE_CHECKING

from minibcc.kernel.errnos import ENOTSUPP
from minibcc.kernel.helpers.packet import signed32
from minibcc.kernel.helpers.registry import helper
from minibcc.kernel.packets import PROTOCOL

if TYPE_CHECKING:
    from minibcc.kernel.packets import Packet
    from minibcc.kernel.vm.execution import Run

ETHERNET = 14
AFTER_NETWORK, AFTER_LINK = 0, 1
NETWORK_HEADERS = {0x0800: 20, 0x86DD: 40}
"""Ethernet protocol to the least length of its header."""
FIXED_GSO, NO_CSUM_RESET = 1 << 0, 1 << 5
DECAP_L3_MASK = 1 << 7 | 1 << 8
FLAGS = 0x1FF | 0xFF << 56
MAX_CHANGE = 0xFFF


@helper("skb_adjust_room")
def skb_adjust_room(run: Run, context: int, change: int, mode: int, flags: int, r5: int) -> int:
    packet: Packet = run.kernel.packets[run.context]
    change, mode = signed32(change), mode & 0xFFFF_FFFF
    if flags & ~FLAGS:
        return -EINVAL
    if abs(change) > MAX_CHANGE:
        return -EFAULT
    protocol = int.from_bytes(packet.bytes(12, 2), "big") if packet.length >= ETHERNET else 0
    header = NETWORK_HEADERS.get(protocol)
    if header is None:
        return -ENOTSUPP
    if mode not in (AFTER_NETWORK, AFTER_LINK):
        return -ENOTSUPP
    if flags & ~(FIXED_GSO | NO_CSUM_RESET | DECAP_L3_MASK):
        return -ENOTSUPP  # encapsulation: there are no tunnels here
    place = ETHERNET + (header if mode == AFTER_NETWORK else 0)
    length = packet.length - ETHERNET
    if change < 0 and (-change >= length or length + change < header):
        return -ENOTSUPP
    return _change_room(run, packet, place, change)


def _change_room(run: Run, packet: Packet, place: int, change: int) -> int:
    """Zeros between the first `place` bytes and what follows them, or `change` bytes fewer."""
    head = packet.bytes(0, place)
    if packet.move_start(-change, clear=False):
        return -ENOMEM
    run.memory.view(packet.start, place)[:] = head
    if change > 0:
        run.memory.view(packet.start + place, change)[:] = bytes(change)
    return 0


IPV4, IPV6 = 0x0800, 0x86DD
HEADER_GROWTH = 20
"""Bytes by which a header of IPv6 is longer."""


@helper("skb_change_proto")
def skb_change_proto(run: Run, context: int, protocol: int, flags: int, r4: int, r5: int) -> int:
    """Room for the header of the other version of IP; what is in it is the program's business."""
    packet: Packet = run.kernel.packets[run.context]
    if flags:
        return -EINVAL
    old = int.from_bytes(run.memory.view(packet.context + PROTOCOL, 2), "big")
    new = int.from_bytes((protocol & 0xFFFF).to_bytes(2, "little"), "big")
    if (old, new) not in ((IPV4, IPV6), (IPV6, IPV4)):
        return -ENOTSUPP
    change = HEADER_GROWTH if new == IPV6 else -HEADER_GROWTH
    if packet.length < ETHERNET - min(0, change):
        return -ENOMEM
    error = _change_room(run, packet, ETHERNET, change)
    if not error:
        packet.field(PROTOCOL, protocol & 0xFFFF)
    return error


REALTIME, TAI = 0, 2
TSTAMP, TSTAMP_TYPE = 152, 180
"""Fields of ``struct __sk_buff``."""


@helper("skb_set_tstamp")
def skb_set_tstamp(run: Run, context: int, time: int, clock: int, r4: int, r5: int) -> int:
    packet: Packet = run.kernel.packets[run.context]
    if int.from_bytes(run.memory.view(packet.context + PROTOCOL, 2), "big") not in (IPV4, IPV6):
        return -EOPNOTSUPP
    clock &= 0xFFFF_FFFF
    if clock > TAI or (clock != REALTIME and not time):
        return -EINVAL
    run.memory.store(packet.context + TSTAMP, 8, time)
    run.memory.store(packet.context + TSTAMP_TYPE, 1, clock)
    return 0
