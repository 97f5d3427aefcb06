"""Helpers on the tunnel that a packet came through or is to go into. No packet of the simulated
computer comes through one: a program reads what it has set itself.

Mirrors ``bpf_skb_*_tunnel_*`` of net/core/filter.c.
"""

from __future__ import annotations

from errno import EINVAL, ENOENT, ENOMEM, EPROTO
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.packets import Packet
    from minibcc.kernel.vm.execution import Run

MASK32 = 0xFFFF_FFFF
KEY_SIZE = 44
"""Bytes of ``struct bpf_tunnel_key``."""
OLDER_SIZES = (8, 22, 24, 28)
"""What it had in older kernels: up to remote_ipv6[1], tunnel_ext, tunnel_label, local_ipv6."""
EXT, LABEL = 22, 24
IPV6 = 1
SET_FLAGS = 0x1F
GET_FLAGS = IPV6 | 1 << 4
OPTIONS_MAX = 255


def _packet(run: Run) -> Packet:
    packet: Packet = run.kernel.packets[run.context]
    return packet


@helper("skb_set_tunnel_key")
def skb_set_tunnel_key(run: Run, context: int, key: int, size: int, flags: int, r5: int) -> int:
    size &= MASK32
    if flags & ~SET_FLAGS or (size != KEY_SIZE and size not in OLDER_SIZES):
        return -EINVAL
    given = bytes(run.memory.view(key, size)).ljust(KEY_SIZE, b"\0")
    if any(given[EXT:LABEL]) or (not flags & IPV6 and any(given[LABEL : LABEL + 4])):
        return -EINVAL
    packet = _packet(run)
    packet.tunnel, packet.tunnel_v6 = given, bool(flags & IPV6)
    packet.tunnel_options = b""
    return 0


@helper("skb_get_tunnel_key")
def skb_get_tunnel_key(run: Run, context: int, key: int, size: int, flags: int, r5: int) -> int:
    size &= MASK32
    packet = _packet(run)
    view = run.memory.view(key, size)
    error = 0
    if packet.tunnel is None or flags & ~GET_FLAGS:
        error = -EINVAL
    elif packet.tunnel_v6 != bool(flags & IPV6):
        error = -EPROTO
    elif size != KEY_SIZE and size not in OLDER_SIZES:
        error = -EINVAL
    view[:] = bytes(size) if error or packet.tunnel is None else packet.tunnel[:size]
    return error


@helper("skb_set_tunnel_opt")
def skb_set_tunnel_opt(run: Run, context: int, options: int, size: int, r4: int, r5: int) -> int:
    size &= MASK32
    packet = _packet(run)
    if packet.tunnel is None or size & 3:
        return -EINVAL
    if size > OPTIONS_MAX:
        return -ENOMEM
    packet.tunnel_options = bytes(run.memory.view(options, size))
    return 0


@helper("skb_get_tunnel_opt")
def skb_get_tunnel_opt(run: Run, context: int, options: int, size: int, r4: int, r5: int) -> int:
    """The options' length."""
    size &= MASK32
    view = run.memory.view(options, size)
    found = _packet(run).tunnel_options
    view[:] = (found if len(found) <= size else b"").ljust(size, b"\0")
    if not found:
        return -ENOENT
    return len(found) if len(found) <= size else -ENOMEM
