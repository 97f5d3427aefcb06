"""Helpers on packets: their bytes, their ends, what is known of them.

Mirrors the helpers of net/core/filter.c. A packet is one piece here, so ``bpf_skb_pull_data`` has
nothing to pull.
"""

from __future__ import annotations

import zlib
from errno import EACCES, EFAULT, EINVAL, ENOMEM
from typing import TYPE_CHECKING

from minibcc.kernel.errnos import ENOTSUPP
from minibcc.kernel.helpers.checksum import fold32
from minibcc.kernel.helpers.registry import helper
from minibcc.kernel.packets import META_MAX

if TYPE_CHECKING:
    from minibcc.kernel.packets import Packet
    from minibcc.kernel.vm.execution import Run

MASK32 = 0xFFFF_FFFF
RECOMPUTE_CSUM, INVALIDATE_HASH = 1, 2
HDR_START_MAC, HDR_START_NET = 0, 1
ETHERNET = 14
SOCKET_COOKIE = 1
PKT_TYPE, VLAN_PRESENT, VLAN_TCI, VLAN_PROTO, HASH = 4, 20, 24, 28, 68
"""Fields of struct __sk_buff that helpers read or write."""


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
    start = packet.mac if header == HDR_START_MAC else packet.mac + ETHERNET
    return _read(run, start, offset, target, size)


@helper("xdp_load_bytes")
def xdp_load_bytes(run: Run, context: int, offset: int, target: int, size: int, r5: int) -> int:
    packet = _packet(run)
    offset, size = offset & MASK32, size & MASK32
    if offset > 0xFFFF or size > 0xFFFF or offset + size > packet.length:
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
    if offset > 0xFFFF or size > 0xFFFF or offset + size > packet.length:
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
    if flags or length < ETHERNET or length > 0xFFFF:
        return -EINVAL
    return packet.set_length(length)


@helper("skb_change_head")
def skb_change_head(run: Run, context: int, more: int, flags: int, r4: int, r5: int) -> int:
    packet = _packet(run)
    more &= MASK32
    if flags or packet.length + more > 0xFFFF:
        return -EINVAL
    return packet.move_start(-more, clear=True)


@helper("xdp_adjust_head")
def xdp_adjust_head(run: Run, context: int, delta: int, r3: int, r4: int, r5: int) -> int:
    packet = _packet(run)
    delta = signed32(delta)
    if packet.start + delta > packet.end - ETHERNET:
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
    """The tag stays beside the packet, as hardware would keep it."""
    packet = _packet(run)
    protocol &= 0xFFFF
    if protocol not in (0x0081, 0xA888):  # 802.1Q and 802.1ad, in network order
        protocol = 0x0081
    packet.field(VLAN_PRESENT, 1)
    packet.field(VLAN_TCI, tag & 0xFFFF)
    packet.field(VLAN_PROTO, protocol)
    return 0


@helper("skb_vlan_pop")
def skb_vlan_pop(run: Run, context: int, r2: int, r3: int, r4: int, r5: int) -> int:
    packet = _packet(run)
    for place in (VLAN_PRESENT, VLAN_TCI, VLAN_PROTO):
        packet.field(place, 0)
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


@helper("csum_level")
def csum_level(run: Run, context: int, level: int, r3: int, r4: int, r5: int) -> int:
    return -EACCES if level == 0 else 0 if level <= 3 else -EINVAL


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
    network = packet.mac + ETHERNET
    if network + 20 > packet.end:
        return 0
    load, store = run.memory.load, run.memory.store
    version = load(network, 1) >> 4
    if version == 4:
        service = load(network + 1, 1)
        if service & 3 == 0:
            return 0
        if service & 3 != 3:
            check = load(network + 10, 2)
            old, new = load(network, 2), load(network, 2) | 3 << 8
            store(network + 1, 1, service | 3)
            total = fold32((~check & 0xFFFF) + (~old & 0xFFFF) + new)
            total = (total & 0xFFFF) + (total >> 16)
            total = (total & 0xFFFF) + (total >> 16)
            store(network + 10, 2, ~total & 0xFFFF)
        return 1
    if version == 6:
        second = load(network + 1, 1)
        if second & 0x30 == 0:
            return 0
        store(network + 1, 1, second | 0x30)
        return 1
    return 0
