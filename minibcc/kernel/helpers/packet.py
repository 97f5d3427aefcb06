"""Helpers on packets: their bytes, their ends, what is known of them.

Mirrors the helpers of net/core/filter.c. Only XDP's packets have fragments here, so
``bpf_skb_pull_data`` has nothing to pull; no packet has segments (GSO) or a whole checksum.
"""

from __future__ import annotations

import zlib
from errno import EACCES, EFAULT, EINVAL, ENOMEM
from typing import TYPE_CHECKING

from minibcc.kernel.errnos import ENOTSUPP
from minibcc.kernel.helpers.checksum import fold16
from minibcc.kernel.helpers.registry import helper
from minibcc.kernel.packets import (
    ETHERNET,
    IP_HEADERS,
    IPV4,
    IPV6,
    META_MAX,
    PKT_TYPE,
    PROTOCOL,
    protocol_of,
)

if TYPE_CHECKING:
    from minibcc.kernel.packets import Packet
    from minibcc.kernel.vm.execution import Run

MASK32 = 0xFFFF_FFFF
RECOMPUTE_CSUM, INVALIDATE_HASH = 1, 2
HDR_START_MAC, HDR_START_NET = 0, 1
SKB_MAX = 4 * 4096 - 320
"""``BPF_SKB_MAX_LEN``: bytes to which a packet may grow."""
SOCKET_COOKIE = 1
VLAN_PRESENT, VLAN_TCI, VLAN_PROTO, HASH = 20, 24, 28, 68
"""Fields of struct __sk_buff that helpers read or write."""
ADDRESSES, TAG = 12, 4
"""Bytes of an Ethernet header's addresses, and of a VLAN's tag, which may follow them."""
TAGS = (b"\x81\x00", b"\x88\xa8")
"""802.1Q and 802.1ad."""


def signed32(value: int) -> int:
    value &= MASK32
    return value - (1 << 32) if value >> 31 else value


def _packet(run: Run) -> Packet:
    packet: Packet = run.kernel.packets[run.context]
    return packet


def _read(run: Run, start: int, offset: int, target: int, size: int) -> int:
    """Copies bytes of the packet from `start` + `offset`; clears the target if it cannot."""
    packet = _packet(run)
    offset, size = offset & MASK32, size & MASK32
    view = run.memory.view(target, size)
    if offset > 0x7FFF_FFFF or start + offset + size > packet.end:
        view[:] = bytes(size)
        return -EFAULT
    view[:] = run.memory.view(start + offset, size)
    return 0


@helper("skb_load_bytes")
def skb_load_bytes(run: Run, context: int, offset: int, target: int, size: int, r5: int) -> int:
    return _read(run, _packet(run).start, offset, target, size)


@helper("skb_load_bytes_relative")
def skb_load_bytes_relative(
    run: Run, context: int, offset: int, target: int, size: int, header: int
) -> int:
    packet = _packet(run)
    header &= MASK32
    if header > HDR_START_NET:
        run.memory.view(target, size & MASK32)[:] = bytes(size & MASK32)
        return -EFAULT
    start = packet.mac + (0 if header == HDR_START_MAC else packet.network)
    return _read(run, start, offset, target, size)


@helper("xdp_load_bytes")
def xdp_load_bytes(run: Run, context: int, offset: int, target: int, size: int, r5: int) -> int:
    packet = _packet(run)
    offset, size = offset & MASK32, size & MASK32
    if offset > 0xFFFF or size > 0xFFFF:
        return -EFAULT
    if offset + size > packet.length:
        return -EINVAL
    run.memory.view(target, size)[:] = packet.bytes(offset, size)
    return 0


@helper("skb_store_bytes")
def skb_store_bytes(run: Run, context: int, offset: int, source: int, size: int, flags: int) -> int:
    packet = _packet(run)
    offset, size = offset & MASK32, size & MASK32
    if flags & ~(RECOMPUTE_CSUM | INVALIDATE_HASH):
        return -EINVAL
    if offset > 0x7FFF_FFFF or offset + size > packet.length:
        return -EFAULT
    run.memory.view(packet.start + offset, size)[:] = run.memory.view(source, size)
    if flags & INVALIDATE_HASH:
        run.memory.store(packet.context + HASH, 4, 0)
    return 0


@helper("xdp_store_bytes")
def xdp_store_bytes(run: Run, context: int, offset: int, source: int, size: int, r5: int) -> int:
    packet = _packet(run)
    offset, size = offset & MASK32, size & MASK32
    if offset > 0xFFFF or size > 0xFFFF:
        return -EFAULT
    if offset + size > packet.length:
        return -EINVAL
    run.memory.view(packet.start + offset, size)[:] = run.memory.view(source, size)
    return 0


# --- where a packet begins and ends --------------------------------------------------------------


@helper("skb_pull_data")
def skb_pull_data(run: Run, context: int, size: int, r3: int, r4: int, r5: int) -> int:
    return 0 if size & MASK32 <= _packet(run).length else -ENOMEM


@helper("skb_change_tail")
def skb_change_tail(run: Run, context: int, length: int, flags: int, r4: int, r5: int) -> int:
    packet = _packet(run)
    length &= MASK32
    if flags or not packet.network <= length <= SKB_MAX:
        return -EINVAL
    if packet.encapsulated:
        return -ENOTSUPP
    packet.reserve(0, length - packet.length)
    return packet.set_length(length)


@helper("skb_change_head")
def skb_change_head(run: Run, context: int, more: int, flags: int, r4: int, r5: int) -> int:
    packet = _packet(run)
    more &= MASK32
    if flags or packet.length + more > SKB_MAX:
        return -EINVAL
    packet.reserve(more, 0)
    packet.network += more
    return packet.move_start(-more, clear=True)


@helper("xdp_adjust_head")
def xdp_adjust_head(run: Run, context: int, delta: int, r3: int, r4: int, r5: int) -> int:
    packet = _packet(run)
    delta = signed32(delta)
    if packet.start + delta > packet.data_end - ETHERNET:
        return -EINVAL
    return packet.move_start(delta, clear=False)


@helper("xdp_adjust_tail")
def xdp_adjust_tail(run: Run, context: int, delta: int, r3: int, r4: int, r5: int) -> int:
    packet = _packet(run)
    length = packet.length + signed32(delta)
    if length < ETHERNET:
        return -EINVAL
    return -EINVAL if packet.set_length(length) else 0


@helper("xdp_adjust_meta")
def xdp_adjust_meta(run: Run, context: int, delta: int, r3: int, r4: int, r5: int) -> int:
    packet = _packet(run)
    meta = packet.meta + signed32(delta)
    size = packet.start - meta
    if meta < packet.lowest or size < 0:
        return -EINVAL
    if size % 4 or size > META_MAX:
        return -EACCES
    packet.meta = meta
    packet.sync()
    return 0


@helper("xdp_get_buff_len")
def xdp_get_buff_len(run: Run, context: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _packet(run).length


@helper("skb_vlan_push")
def skb_vlan_push(run: Run, context: int, protocol: int, tag: int, r4: int, r5: int) -> int:
    """The tag stays beside the packet, as hardware would keep it; the one that was there goes into
    the packet."""
    packet = _packet(run)
    name = (protocol & 0xFFFF).to_bytes(2, "little")
    load, view = run.memory.load, run.memory.view
    if load(packet.context + VLAN_PRESENT, 4):
        old = bytes(view(packet.context + VLAN_PROTO, 2))
        inner = load(packet.context + VLAN_TCI, 2).to_bytes(2, "big")
        head = packet.bytes(0, ADDRESSES)
        packet.reserve(TAG, 0)
        packet.move_start(-TAG, clear=False)
        head += old + inner
        view(packet.start, len(head))[:] = head
        view(packet.context + PROTOCOL, 2)[:] = old
    _tag_beside(packet, name if name in TAGS else TAGS[0], tag & 0xFFFF)
    return 0


def _tag_beside(packet: Packet, name: bytes, tag: int) -> None:
    packet.field(VLAN_PRESENT, 1)
    packet.field(VLAN_TCI, tag)
    packet.field(VLAN_PROTO, int.from_bytes(name, "little"))


def _pull_tag(packet: Packet) -> bytes | None:
    """Takes the first tag out of a packet; None where it is too short to have one."""
    memory = packet.memory
    if packet.length < ETHERNET + TAG:
        return None
    tag, head = packet.bytes(ETHERNET, 2), packet.bytes(0, ADDRESSES)
    packet.move_start(TAG, clear=False)
    memory.view(packet.start, ADDRESSES)[:] = head
    packet.network = max(ETHERNET, packet.network - TAG)
    memory.view(packet.context + PROTOCOL, 2)[:] = protocol_of(packet.bytes(0, packet.length))
    return tag


@helper("skb_vlan_pop")
def skb_vlan_pop(run: Run, context: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Drops the tag beside the packet, or else the packet's first; the next one of the packet's
    comes beside it then."""
    packet = _packet(run)
    protocol = run.memory.view(packet.context + PROTOCOL, 2)
    if run.memory.load(packet.context + VLAN_PRESENT, 4):
        for place in (VLAN_PRESENT, VLAN_TCI, VLAN_PROTO):
            packet.field(place, 0)
    elif protocol in TAGS and _pull_tag(packet) is None:
        return -ENOMEM
    if (name := bytes(protocol)) in TAGS:
        tag = _pull_tag(packet)
        if tag is None:
            return -ENOMEM
        _tag_beside(packet, name, int.from_bytes(tag, "big"))
    return 0


@helper("skb_change_type")
def skb_change_type(run: Run, context: int, kind: int, r3: int, r4: int, r5: int) -> int:
    kind &= MASK32
    if kind > 3:  # PACKET_OTHERHOST
        return -EINVAL
    _packet(run).field(PKT_TYPE, kind)
    return 0


# --- what is known of a packet -------------------------------------------------------------------


@helper("get_hash_recalc")
def get_hash_recalc(run: Run, context: int, r2: int, r3: int, r4: int, r5: int) -> int:
    packet = _packet(run)
    known = run.memory.load(packet.context + HASH, 4)
    if not known:
        # Linux hashes addresses and ports with a seed of its own; ours is a plain sum of them.
        known = zlib.crc32(packet.bytes(0, min(packet.length, 38))) or 1
        packet.field(HASH, known)
    return known


@helper("set_hash_invalid")
def set_hash_invalid(run: Run, context: int, r2: int, r3: int, r4: int, r5: int) -> int:
    _packet(run).field(HASH, 0)
    return 0


@helper("set_hash")
def set_hash(run: Run, context: int, value: int, r3: int, r4: int, r5: int) -> int:
    _packet(run).field(HASH, value & MASK32)
    return 0


@helper("csum_update")
def csum_update(run: Run, context: int, sum: int, r3: int, r4: int, r5: int) -> int:
    """Only packets with a whole checksum from the hardware have one to update; none has here."""
    return -ENOTSUPP


QUERY, INCREASE, DECREASE, RESET = range(4)
LEVEL_MAX = 3


@helper("csum_level")
def csum_level(run: Run, context: int, level: int, r3: int, r4: int, r5: int) -> int:
    packet = _packet(run)
    known = packet.csum_level
    if level == QUERY:
        return -EACCES if known is None else known
    if level == INCREASE:
        packet.csum_level = 0 if known is None else min(known + 1, LEVEL_MAX)
    elif level == DECREASE:
        packet.csum_level = known - 1 if known else None
    elif level == RESET:
        packet.csum_level = None
    return 0 if level <= RESET else -EINVAL


@helper("get_cgroup_classid", "get_route_realm", "get_socket_uid", "skb_cgroup_id", "sk_cgroup_id")
def nothing_known(run: Run, context: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """A packet has no route and no cgroup; its socket is root's."""
    return 0


@helper("get_socket_cookie")
def get_socket_cookie(run: Run, context: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return SOCKET_COOKIE


@helper("skb_ecn_set_ce")
def skb_ecn_set_ce(run: Run, context: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Marks an IP packet as having met congestion; 1 if it is marked, 0 if it cannot be."""
    packet = _packet(run)
    protocol = _inner_protocol(packet)
    header = IP_HEADERS.get(protocol, 0)
    network = packet.mac + packet.network
    if not header or packet.length < header or network + header > packet.end:
        return 0
    load, store = run.memory.load, run.memory.store
    place = network + 1
    shift = 0 if protocol == IPV4 else 4
    bits = load(place, 1) >> shift & 3
    if bits and (bits != 3 or protocol == IPV6):
        store(place, 1, load(place, 1) | 3 << shift)
    if protocol == IPV4 and bits in CHECK_CHANGES:
        total = int.from_bytes(run.memory.view(network + 10, 2), "big") + CHECK_CHANGES[bits]
        store(network + 10, 2, int.from_bytes(fold16(total).to_bytes(2, "big"), "little"))
    return int(bits != 0)


CHECK_CHANGES = {1: 0xFFFD, 2: 0xFFFE}
"""What setting both bits adds to the checksum of an IPv4 header."""
VLAN_DEPTH = 8


def _inner_protocol(packet: Packet) -> bytes:
    """What the packet carries behind its VLAN tags (``skb_protocol``), in network order."""
    protocol = bytes(packet.memory.view(packet.context + PROTOCOL, 2))
    for place in range(ETHERNET, ETHERNET + VLAN_DEPTH * TAG, TAG):
        if protocol not in TAGS:
            return protocol
        protocol = packet.bytes(place + 2, 2) if place + TAG <= packet.length else b""
    return b""
