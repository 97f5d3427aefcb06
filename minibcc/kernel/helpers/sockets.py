"""Helpers that look for sockets. The simulated computer has none: they find nothing.

Mirrors the socket helpers of net/core/filter.c.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

NETWORK_COOKIE = 1
"""``init_net``'s cookie."""
DEVICE_MTU = 1500
MASK32 = 0xFFFF_FFFF
FRAGMENTATION_NEEDED = 1


@helper("sk_lookup_tcp", "sk_lookup_udp", "skc_lookup_tcp")
def sk_lookup(run: Run, context: int, tuple: int, size: int, space: int, flags: int) -> int:
    return 0


@helper("sk_fullsock", "tcp_sock", "get_listener_sock")
def no_socket(run: Run, socket: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0


@helper("get_netns_cookie")
def get_netns_cookie(run: Run, context: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return NETWORK_COOKIE


@helper("skb_cgroup_classid", "skb_ancestor_cgroup_id", "sk_ancestor_cgroup_id")
def no_cgroup(run: Run, context: int, level: int, r3: int, r4: int, r5: int) -> int:
    return 0


@helper("check_mtu")
def check_mtu(run: Run, context: int, device: int, mtu: int, change: int, flags: int) -> int:
    """Whether the packet (or the length in `mtu`) goes through a device: 0, or 1 if not."""
    if flags & ~1:
        return -EINVAL
    packet = run.kernel.packets[run.context]
    given = run.memory.load(mtu, 4)
    run.memory.store(mtu, 4, DEVICE_MTU)
    change &= MASK32
    change -= change >> 31 << 32
    length = (given or packet.length - 14) + change
    return FRAGMENTATION_NEEDED if length > DEVICE_MTU else 0
