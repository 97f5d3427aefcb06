"""Helpers that send packets elsewhere. Where to is noted in the run's packet; nothing is sent.

Mirrors ``bpf_redirect*`` and ``bpf_clone_redirect`` of net/core/filter.c.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapType
from minibcc.kernel.helpers.registry import helper
from minibcc.kernel.packets import DEVICES

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

MASK32 = 0xFFFF_FFFF
XDP_ABORTED, XDP_REDIRECT = 0, 4
TC_ACT_SHOT, TC_ACT_REDIRECT = 2, 7
INGRESS = 1
BROADCAST, EXCLUDE_INGRESS = 1 << 3, 1 << 4
ACTION_MASK = 3
DEVICE_MAPS = (MapType.DEVMAP, MapType.DEVMAP_HASH)


@helper("redirect")
def redirect(run: Run, device: int, flags: int, r3: int, r4: int, r5: int) -> int:
    packet = run.kernel.packets.get(run.context)
    if packet is not None and packet.is_xdp:
        if flags:
            return XDP_ABORTED
        packet.target = ("device", device & MASK32)
        return XDP_REDIRECT
    if flags & ~INGRESS:
        return TC_ACT_SHOT
    if packet is not None:
        packet.target = ("ingress" if flags else "device", device & MASK32)
    return TC_ACT_REDIRECT


@helper("redirect_peer")
def redirect_peer(run: Run, device: int, flags: int, r3: int, r4: int, r5: int) -> int:
    if flags:
        return TC_ACT_SHOT
    run.kernel.packets[run.context].target = ("peer", device & MASK32)
    return TC_ACT_REDIRECT


@helper("redirect_neigh")
def redirect_neigh(run: Run, device: int, params: int, size: int, flags: int, r5: int) -> int:
    size &= MASK32
    if flags or (size and size < 20):
        return TC_ACT_SHOT
    run.kernel.packets[run.context].target = ("neighbour", device & MASK32)
    return TC_ACT_REDIRECT


@helper("clone_redirect")
def clone_redirect(run: Run, context: int, device: int, flags: int, r4: int, r5: int) -> int:
    if flags & ~INGRESS or device & MASK32 not in DEVICES:
        return -EINVAL
    return 0


@helper("redirect_map")
def redirect_map(run: Run, map: int, key: int, flags: int, r4: int, r5: int) -> int:
    """XDP_REDIRECT, or the action in the low bits of `flags` where the map has no such element."""
    target = run.kernel.map_at[map]
    more = BROADCAST | EXCLUDE_INGRESS if target.type in DEVICE_MAPS else 0
    if flags & ~(ACTION_MASK | more):
        return XDP_ABORTED
    if flags & BROADCAST:
        run.kernel.packets[run.context].target = ("all", target.id)
        return XDP_REDIRECT
    found = target.lookup((key & MASK32).to_bytes(4, "little"), run.cpu)
    if not found:
        return flags & ACTION_MASK
    run.kernel.packets[run.context].target = (target.type.name.lower(), key & MASK32)
    return XDP_REDIRECT
