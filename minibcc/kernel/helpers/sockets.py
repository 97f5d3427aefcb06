"""Helpers that look for sockets. The simulated computer has none: they find nothing.

Mirrors the socket helpers of net/core/filter.c.
"""

from __future__ import annotations

from errno import EAFNOSUPPORT, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.packet import signed32
from minibcc.kernel.helpers.registry import helper
from minibcc.kernel.packets import DEVICES, ETHERNET, IFINDEX, MTUS, XDP_IFINDEX

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

NETWORK_COOKIE = 1
"""``init_net``'s cookie."""
MASK32 = 0xFFFF_FFFF
SEGMENTS = 1
"""``BPF_MTU_CHK_SEGS``."""
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
    packet = run.kernel.packets[run.context]
    given, change = run.memory.load(mtu, 4), signed32(change)
    if flags & ~(0 if packet.is_xdp else SEGMENTS) or (flags and (change or given)):
        return -EINVAL
    device &= MASK32
    if not device:
        place = XDP_IFINDEX if packet.is_xdp else IFINDEX
        device = run.memory.load(packet.context + place, 4)
    known = MTUS.get(device)
    if known is None:
        return -ENODEV
    run.memory.store(mtu, 4, known)
    length = signed32((given + ETHERNET if given else packet.length) + change)
    return FRAGMENTATION_NEEDED if length > known + ETHERNET else 0


SK_DROP = 0


@helper("sk_redirect_map", "sk_redirect_hash", "msg_redirect_map", "msg_redirect_hash")
def socket_redirect(run: Run, context: int, map: int, key: int, flags: int, r5: int) -> int:
    """A map of sockets is empty here: there is nowhere to send it."""
    return SK_DROP


@helper("sock_map_update", "sock_hash_update")
def sock_map_update(run: Run, context: int, map: int, key: int, flags: int, r5: int) -> int:
    """No operation of a socket is under way whose socket a map could take."""
    return -EOPNOTSUPP


@helper("sock_ops_cb_flags_set")
def sock_ops_cb_flags_set(run: Run, context: int, flags: int, r3: int, r4: int, r5: int) -> int:
    return -EINVAL


@helper("sk_select_reuseport")
def sk_select_reuseport(run: Run, context: int, map: int, key: int, flags: int, r5: int) -> int:
    return -ENOENT


@helper("skb_under_cgroup")
def skb_under_cgroup(run: Run, context: int, map: int, index: int, r4: int, r5: int) -> int:
    """A packet from a device has no socket, so it is of no cgroup; that of a test run has one."""
    if run.kernel.packets[run.context].device:
        return -ENOENT
    found: int = run.kernel.map_at[map].cgroup_at(index & MASK32)
    return min(found, 1)


@helper(
    *("skc_to_tcp6_sock", "skc_to_tcp_sock", "skc_to_tcp_timewait_sock", "skc_to_tcp_request_sock"),
    *("skc_to_udp6_sock", "skc_to_unix_sock", "skc_to_mptcp_sock", "sock_from_file"),
)
def not_such_a_socket(run: Run, socket: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0


@helper("sk_release")
def sk_release(run: Run, socket: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0


FIB_SIZE = 64
"""Bytes of ``struct bpf_fib_lookup``."""
FIB_FLAGS = 0x3F
FIB_IFINDEX = 8
FORWARDING_DISABLED = 5
"""``BPF_FIB_LKUP_RET_FWD_DISABLED``."""
AF_INET, AF_INET6 = 2, 10


@helper("fib_lookup")
def fib_lookup(run: Run, context: int, params: int, size: int, flags: int, r5: int) -> int:
    """The simulated computer is no router: it forwards nothing."""
    if size & MASK32 < FIB_SIZE or flags & MASK32 & ~FIB_FLAGS:
        return -EINVAL
    if run.memory.load(params, 1) not in (AF_INET, AF_INET6):
        return -EAFNOSUPPORT
    if run.memory.load(params + FIB_IFINDEX, 4) not in DEVICES:
        return -ENODEV
    return FORWARDING_DISABLED


# --- what only works on a socket, of which there is none ----------------------------------------

LOAD_FROM_SYN = 1
REPLACE, NO_REUSEPORT = 1, 2


@helper("setsockopt")
def setsockopt(run: Run, context: int, level: int, name: int, value: int, size: int) -> int:
    """No whole socket is behind a context here."""
    return -EINVAL


@helper("getsockopt")
def getsockopt(run: Run, context: int, level: int, name: int, value: int, size: int) -> int:
    size &= MASK32
    run.memory.view(value, size)[:] = bytes(size)
    return -EINVAL


@helper("reserve_hdr_opt", "store_hdr_opt")
def change_hdr_opt(run: Run, context: int, a: int, b: int, c: int, r5: int) -> int:
    """No header of TCP's is being written."""
    return -EPERM


@helper("load_hdr_opt")
def load_hdr_opt(run: Run, context: int, option: int, size: int, flags: int, r5: int) -> int:
    if size & MASK32 < 2 or flags & ~LOAD_FROM_SYN:
        return -EINVAL
    return -EPERM


@helper("tcp_check_syncookie", "tcp_gen_syncookie")
def syncookie(run: Run, socket: int, ip: int, ip_size: int, tcp: int, tcp_size: int) -> int:
    """Nobody listens."""
    return -EINVAL


@helper("sk_assign")
def sk_assign(run: Run, context: int, socket: int, flags: int, r4: int, r5: int) -> int:
    """For a look-up no socket is one, too; a packet must have one."""
    if run.kernel.packets.get(run.context) is None:
        return -EINVAL if flags & ~(REPLACE | NO_REUSEPORT) else 0
    return -EINVAL if not socket or flags else -EOPNOTSUPP


@helper("msg_apply_bytes", "msg_cork_bytes")
def msg_bytes(run: Run, context: int, count: int, r3: int, r4: int, r5: int) -> int:
    """Nothing follows on this message."""
    return 0


@helper("msg_pull_data")
def msg_pull_data(run: Run, context: int, start: int, end: int, flags: int, r5: int) -> int:
    """The message is empty: nothing of it can be pulled."""
    return -EINVAL


@helper("msg_push_data", "msg_pop_data")
def msg_change_data(run: Run, context: int, start: int, size: int, flags: int, r5: int) -> int:
    """Nor is there a place in it where something could come or go."""
    return -EINVAL if flags or size & MASK32 else 0


# --- services that the simulated computer lacks --------------------------------------------------


@helper("skb_get_xfrm_state")
def skb_get_xfrm_state(
    run: Run, context: int, index: int, state: int, size: int, flags: int
) -> int:
    """No packet came through IPsec."""
    size &= MASK32
    run.memory.view(state, size)[:] = bytes(size)
    return -EINVAL


@helper("ima_inode_hash", "ima_file_hash")
def ima_hash(run: Run, item: int, buffer: int, size: int, r4: int, r5: int) -> int:
    """Nobody measures files."""
    return -EOPNOTSUPP
