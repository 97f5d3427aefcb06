"""The helper functions of BPF: the one table of them, and which programs may call which.

`helpers.txt` beside this module holds a row per helper: number, name, since which Linux, C
prototype (for the compiler), result and argument types (for the verifier), and what it demands.
It is read when somebody first asks. Who may call what is decided in Linux by one function per
program type (``*_func_proto`` in kernel/bpf/helpers.c, kernel/trace/bpf_trace.c, net/core/filter.c
and others); here it is `SETS` of names and `PROGRAMS`, a row per program type. Where Linux has
several prototypes for one number, `VARIANTS` says which program type gets another one.

What depends on a kernel's configuration is here as if all of it were switched on.

Source: the kernel's own answers (6.18, measured) and include/uapi/linux/bpf.h.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from minibcc.abi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT: Final = 211
"""Helpers are numbered 1 to 211; Linux adds kernel functions instead since then."""


class ValueType(NamedTuple):
    """What the verifier wants of an argument, or says of a result.

    `kind` is ``enum bpf_arg_type`` in small letters without ARG_PTR_TO_ and ARG_ (ctx map_ptr
    map_key map_value mem const_size const_size_or_zero const_alloc_size_or_zero anything btf_id
    btf_id_sock_common percpu_btf_id sock_common socket spin_lock timer ringbuf_mem stack func
    const_str dynptr kptr_xchg_dest), or ``enum bpf_return_type`` likewise (integer void map_value
    socket tcp_sock sock_common mem mem_or_btf_id btf_id). `flags` are those of ``enum
    bpf_type_flag``: null (may be NULL) rdonly uninit write fixed aligned release trusted ringbuf
    dynptr_local dynptr_ringbuf. `size` is the fixed size of memory in bytes (else 0), `btf` the
    name of the kernel's struct.
    """

    kind: str
    flags: frozenset[str] = frozenset()
    size: int = 0
    btf: str = ""

    @property
    def null(self) -> bool:
        """Whether NULL is allowed (an argument) or possible (a result)."""
        return "null" in self.flags

    def __str__(self) -> str:
        return "|".join((self.kind, *sorted(self.flags)))


class Helper(NamedTuple):
    """A row. `name` is without ``bpf_``; `since` a Linux version (``"4.1"``); `prototype` C text
    without the name: ``void *(struct bpf_map *map, const void *key)``."""

    number: int
    name: str
    since: str
    prototype: str
    result: ValueType
    arguments: tuple[ValueType, ...]
    gpl: bool = False
    pkt_access: bool = False
    might_sleep: bool = False
    fastcall: bool = False

    @property
    def declaration(self) -> str:
        """The C declaration: ``void *bpf_map_lookup_elem(struct bpf_map *map, ...)``."""
        result, _, parameters = self.prototype.partition("(")
        return f"{result}bpf_{self.name}({parameters}"


# --- the table --------------------------------------------------------------------------------


def helpers() -> dict[int, Helper]:
    """Number to row, in order of numbers."""
    return {number: _row(line) for number, line in _read().items()}


def helper(number: int) -> Helper | None:
    """The row of that number; a program calls three of them, so only those are taken apart."""
    line = _read().get(number)
    return None if line is None else _row(line)


def row(number: int) -> Helper:
    """The same of a number that is known to have one."""
    return _row(_read()[number])


@cache
def _read() -> dict[int, str]:
    """Number to line."""
    import os

    with open(os.path.join(os.path.dirname(__file__), "helpers.txt"), encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if line[0] != "#"]
    return {int(line.split(";", 1)[0]): line for line in lines}


@cache
def _numbers() -> dict[str, int]:
    return {line.split(";", 2)[1]: number for number, line in _read().items()}


@cache
def _row(line: str) -> Helper:
    number, name, since, prototype, result, *rest = line.split(";")
    arguments, properties = [*rest, "", ""][:2]
    has = properties.split()
    return Helper(
        int(number),
        name,
        since,
        prototype,
        value_type(result),
        tuple(map(value_type, arguments.split())),
        "gpl" in has,
        "pkt" in has,
        "sleep" in has,
        "fastcall" in has,
    )


def value_type(text: str) -> ValueType:
    """``mem|uninit|write|fixed:8`` as a value."""
    words, _, detail = text.partition(":")
    kind, *flags = words.split("|")
    if detail.isdigit():
        return ValueType(kind, frozenset(flags), int(detail))
    return ValueType(kind, frozenset(flags), 0, detail)


def name_of(number: int) -> str | None:
    """``bpf_map_lookup_elem`` for 1; None past the last."""
    if number == 0:
        return "bpf_unspec"
    line = _read().get(number)
    return f"bpf_{line.split(';', 2)[1]}" if line else None


def number_of(name: str) -> int | None:
    """1 for ``bpf_map_lookup_elem`` (or ``map_lookup_elem``); None for what is no helper."""
    return _numbers().get(name.removeprefix("bpf_"))


# --- who may call what -------------------------------------------------------------------------

SETS: Final = {
    # bpf_base_func_proto, for programs with all capabilities
    "base": (
        "map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem "
        "map_lookup_percpu_elem for_each_map_elem get_prandom_u32 get_smp_processor_id "
        "get_numa_node_id tail_call ktime_get_ns ktime_get_boot_ns ktime_get_tai_ns "
        "ringbuf_output ringbuf_reserve ringbuf_submit ringbuf_discard ringbuf_query "
        "ringbuf_reserve_dynptr ringbuf_submit_dynptr ringbuf_discard_dynptr user_ringbuf_drain "
        "strncmp strtol strtoul snprintf snprintf_btf trace_printk trace_vprintk loop "
        "get_current_pid_tgid get_current_uid_gid get_current_comm get_ns_current_pid_tgid "
        "get_current_cgroup_id get_current_ancestor_cgroup_id get_cgroup_classid "
        "current_task_under_cgroup get_current_task get_current_task_btf task_pt_regs "
        "get_task_stack find_vma task_storage_get task_storage_delete cgrp_storage_get "
        "cgrp_storage_delete spin_lock spin_unlock jiffies64 per_cpu_ptr this_cpu_ptr "
        "timer_init timer_set_callback timer_start timer_cancel kptr_xchg "
        "dynptr_from_mem dynptr_read dynptr_write dynptr_data "
        "probe_read_user probe_read_kernel probe_read_user_str probe_read_kernel_str "
        "copy_from_user copy_from_user_task send_signal send_signal_thread "
        "perf_event_read perf_event_read_value get_branch_snapshot"
    ),
    # bpf_tracing_func_proto and what each of its users adds
    "tracing": (
        "probe_read probe_read_str probe_write_user perf_event_output get_stackid get_stack "
        "get_func_ip"
    ),
    # bpf_sk_base_func_proto
    "sk_base": (
        "skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock skc_to_tcp_request_sock "
        "skc_to_udp6_sock skc_to_unix_sock skc_to_mptcp_sock ktime_get_coarse_ns"
    ),
    # tracing_prog_func_proto: what can hold pointers to the kernel's own structures
    "btf": (
        "skb_output xdp_output xdp_get_buff_len sock_from_file get_socket_cookie sk_storage_get "
        "sk_storage_delete d_path skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock "
        "skc_to_tcp_request_sock skc_to_udp6_sock skc_to_unix_sock skc_to_mptcp_sock"
    ),
    "output": "perf_event_output",
    "skb_read": "skb_load_bytes skb_load_bytes_relative get_socket_cookie get_socket_uid",
    # lwt_out_func_proto
    "lwt": (
        "get_route_realm skb_load_bytes csum_diff skb_under_cgroup get_hash_recalc skb_pull_data "
        "perf_event_output"
    ),
    "skb_write": (
        "skb_store_bytes l3_csum_replace l4_csum_replace csum_update csum_level csum_diff "
        "clone_redirect redirect skb_get_tunnel_key skb_set_tunnel_key skb_get_tunnel_opt "
        "skb_set_tunnel_opt skb_under_cgroup get_hash_recalc set_hash_invalid get_route_realm "
        "skb_change_tail skb_change_head skb_pull_data"
    ),
    "sk_lookup": "sk_lookup_tcp sk_lookup_udp skc_lookup_tcp sk_release",
    "syncookie": (
        "tcp_check_syncookie tcp_gen_syncookie tcp_raw_gen_syncookie_ipv4 "
        "tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6"
    ),
    "sk_view": "sk_fullsock tcp_sock get_listener_sock skb_ecn_set_ce",
    "sk_storage": "sk_storage_get sk_storage_delete",
    "sockopt": "setsockopt getsockopt",
    "retval": "get_retval set_retval",
}
"""Named sets of helpers, without ``bpf_``."""

_TRACING = "base tracing"
_ATTACHABLE = f"{_TRACING} get_attach_cookie"
_SOCKET = "base sk_base output"
_CGROUP = "base output get_local_storage"

PROGRAMS: Final = {
    ProgType.SOCKET_FILTER: f"{_SOCKET} skb_read get_netns_cookie",
    ProgType.KPROBE: f"{_ATTACHABLE} override_return",
    ProgType.SCHED_CLS: (
        f"{_SOCKET} skb_read skb_write sk_lookup syncookie sk_view sk_storage get_netns_cookie "
        "skb_vlan_push skb_vlan_pop skb_change_proto skb_change_type set_hash skb_adjust_room "
        "skb_get_xfrm_state fib_lookup check_mtu skb_cgroup_id skb_ancestor_cgroup_id "
        "skb_cgroup_classid sk_assign redirect_neigh redirect_peer skb_set_tstamp"
    ),
    ProgType.SCHED_ACT: "SCHED_CLS",
    ProgType.TRACEPOINT: _ATTACHABLE,
    ProgType.XDP: (
        f"{_SOCKET} sk_lookup syncookie csum_diff redirect redirect_map fib_lookup check_mtu "
        "xdp_adjust_head xdp_adjust_meta xdp_adjust_tail xdp_get_buff_len xdp_load_bytes "
        "xdp_store_bytes"
    ),
    ProgType.PERF_EVENT: f"{_ATTACHABLE} perf_prog_read_value read_branch_records",
    ProgType.CGROUP_SKB: (
        f"{_CGROUP} sk_base skb_read sk_lookup sk_view sk_storage get_netns_cookie skb_cgroup_id "
        "skb_ancestor_cgroup_id sk_cgroup_id sk_ancestor_cgroup_id"
    ),
    ProgType.CGROUP_SOCK: (
        f"{_CGROUP} retval get_socket_cookie sk_storage_get get_netns_cookie ktime_get_coarse_ns"
    ),
    ProgType.LWT_IN: "base sk_base lwt lwt_push_encap",
    ProgType.LWT_OUT: "base sk_base lwt",
    ProgType.LWT_XMIT: "base sk_base lwt skb_write lwt_push_encap",
    ProgType.SOCK_OPS: (
        f"{_SOCKET} sockopt sk_storage get_local_storage get_socket_cookie get_netns_cookie "
        "sock_map_update sock_hash_update sock_ops_cb_flags_set tcp_sock load_hdr_opt "
        "store_hdr_opt reserve_hdr_opt"
    ),
    ProgType.SK_SKB: (
        f"{_SOCKET} sk_lookup skb_store_bytes skb_load_bytes skb_change_tail skb_pull_data "
        "skb_change_head skb_adjust_room get_socket_cookie get_socket_uid sk_redirect_map "
        "sk_redirect_hash"
    ),
    ProgType.CGROUP_DEVICE: _CGROUP,
    ProgType.SK_MSG: (
        f"{_SOCKET} sk_storage get_netns_cookie msg_redirect_map msg_redirect_hash "
        "msg_apply_bytes msg_cork_bytes msg_pull_data msg_push_data msg_pop_data"
    ),
    ProgType.RAW_TRACEPOINT: _ATTACHABLE,
    ProgType.CGROUP_SOCK_ADDR: (
        f"{_CGROUP} sk_base sockopt sk_lookup sk_storage get_socket_cookie get_netns_cookie"
    ),
    ProgType.LWT_SEG6LOCAL: (
        "base sk_base lwt lwt_seg6_store_bytes lwt_seg6_action lwt_seg6_adjust_srh"
    ),
    ProgType.LIRC_MODE2: (
        "map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem "
        "ktime_get_ns ktime_get_boot_ns tail_call get_prandom_u32 trace_printk trace_vprintk "
        "rc_repeat rc_keydown rc_pointer_rel"
    ),
    ProgType.SK_REUSEPORT: (
        "base sk_select_reuseport skb_load_bytes skb_load_bytes_relative get_socket_cookie "
        "ktime_get_coarse_ns"
    ),
    ProgType.FLOW_DISSECTOR: "base sk_base skb_load_bytes",
    ProgType.CGROUP_SYSCTL: (
        f"{_CGROUP} ktime_get_coarse_ns sysctl_get_name sysctl_get_current_value "
        "sysctl_get_new_value sysctl_set_new_value"
    ),
    ProgType.RAW_TRACEPOINT_WRITABLE: _ATTACHABLE,
    ProgType.CGROUP_SOCKOPT: f"{_CGROUP} retval sk_storage tcp_sock get_netns_cookie",
    ProgType.TRACING: f"{_TRACING} btf",
    ProgType.STRUCT_OPS: "base",
    ProgType.EXT: "",
    ProgType.LSM: (
        f"{_ATTACHABLE} btf inode_storage_get inode_storage_delete bprm_opts_set ima_inode_hash "
        "ima_file_hash"
    ),
    ProgType.SK_LOOKUP: f"{_SOCKET} sk_assign sk_release",
    ProgType.SYSCALL: (
        f"{_TRACING} btf sys_bpf sys_close btf_find_by_name_kind kallsyms_lookup_name"
    ),
    ProgType.NETFILTER: "base",
}
"""What programs of a type may call: names of sets, of single helpers, or of another type."""

_SET_RETVAL = (
    AttachType.CGROUP_INET4_BIND, AttachType.CGROUP_INET6_BIND,
    AttachType.CGROUP_INET4_CONNECT, AttachType.CGROUP_INET6_CONNECT,
    AttachType.CGROUP_UDP4_SENDMSG, AttachType.CGROUP_UDP6_SENDMSG,
    AttachType.CGROUP_UNIX_CONNECT, AttachType.CGROUP_UNIX_SENDMSG,
)  # fmt: skip
_TRAMPOLINE = (AttachType.TRACE_FENTRY, AttachType.TRACE_FEXIT, AttachType.MODIFY_RETURN)

ATTACHED: Final[dict[tuple[ProgType, int], str]] = {
    **{(ProgType.CGROUP_SOCK_ADDR, attach): "retval" for attach in _SET_RETVAL},
    (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT): "retval bind",
    (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_CONNECT): "retval bind",
    (ProgType.CGROUP_SOCKOPT, AttachType.CGROUP_SETSOCKOPT): "sockopt",
    (ProgType.TRACING, AttachType.TRACE_ITER): "seq_printf seq_write seq_printf_btf",
    (ProgType.TRACING, AttachType.TRACE_RAW_TP): "get_attach_cookie",
    **{
        (ProgType.TRACING, attach): "get_attach_cookie get_func_arg get_func_ret get_func_arg_cnt"
        for attach in _TRAMPOLINE
    },
}
"""What programs of a type may call besides, if they mean to attach there."""

_KERNEL_SOCK = "map_ptr btf_id|null:sock_common"
VARIANTS: Final = {
    (ProgType.CGROUP_SOCK, "sk_storage_get"): "map_ptr ctx map_value|null anything",
    **{
        (kernel, name): arguments
        for kernel in (ProgType.TRACING, ProgType.LSM, ProgType.SYSCALL)
        for name, arguments in (
            ("sk_storage_get", f"{_KERNEL_SOCK} map_value|null anything"),
            ("sk_storage_delete", _KERNEL_SOCK),
            ("get_socket_cookie", "btf_id_sock_common|null"),
            ("xdp_get_buff_len", "btf_id:xdp_buff"),
        )
    },
    (ProgType.SK_REUSEPORT, "get_socket_cookie"): "btf_id_sock_common|null",
    (ProgType.SK_LOOKUP, "sk_assign"): "ctx socket|null anything",
    **{
        (prog_type, name): f"btf_id_sock_common anything anything {value} const_size"
        for prog_type in (ProgType.CGROUP_SOCKOPT, ProgType.LSM)
        for name, value in (("setsockopt", "mem|rdonly"), ("getsockopt", "mem|uninit|write"))
    },
    **{
        (prog_type, "get_cgroup_classid"): "ctx"
        for prog_type in (
            ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.LWT_IN, ProgType.LWT_OUT,
            ProgType.LWT_XMIT, ProgType.LWT_SEG6LOCAL,
        )
    },
}  # fmt: skip
"""Arguments of a helper where programs of a type get another prototype than the table's."""

NOT_GPL: Final = {
    (ProgType.PERF_EVENT, 0, "get_stackid"),
    *(
        (ProgType.KPROBE, attach, "get_func_ip")
        for attach in (
            AttachType.TRACE_KPROBE_MULTI, AttachType.TRACE_KPROBE_SESSION,
            AttachType.TRACE_UPROBE_MULTI, AttachType.TRACE_UPROBE_SESSION,
        )
    ),
}  # fmt: skip
"""GPL-only helpers whose prototype for these programs is not."""

_allowed: dict[tuple[int, int], frozenset[str]] = {}


def allowed(prog_type: ProgType, attach_type: int = 0) -> frozenset[str]:
    """Names of the helpers that a program of this type may call (all capabilities given; GPL and
    sleepable aside)."""
    key = prog_type, attach_type
    names = _allowed.get(key)
    if names is None:
        words = f"{PROGRAMS.get(prog_type, '')} {ATTACHED.get(key, '')}"
        names = _allowed[key] = frozenset(_expand(words))
    return names


def _expand(words: str) -> Iterator[str]:
    for word in words.split():
        if word in SETS:
            yield from SETS[word].split()
        elif word in ProgType.__members__:
            yield from _expand(PROGRAMS[ProgType[word]])
        else:
            yield word


def helper_for(number: int, prog_type: ProgType, attach_type: int = 0) -> Helper | None:
    """The helper as a program of this type sees it; None if such a program cannot call it, or if
    there is none of that number."""
    row = helper(number)
    if row is None or row.name not in allowed(prog_type, attach_type):
        return None
    if (prog_type, attach_type, row.name) in NOT_GPL:
        row = row._replace(gpl=False)
    variant = VARIANTS.get((prog_type, row.name))
    if variant is not None:
        return row._replace(arguments=tuple(map(value_type, variant.split())))
    return row
