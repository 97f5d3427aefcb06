"""What a program gets in R1: a row per program type, and the fields of each context structure.

The structures of include/uapi/linux/bpf.h that programs see are not memory: Linux turns each
access into one to its own structures, and has a function per program type (``*_is_valid_access``
in net/core/filter.c, kernel/trace/bpf_trace.c, kernel/bpf/cgroup.c, ...) that says which accesses
there are. Here those functions are data: `STRUCTS` has the fields with how they may be read and
what they yield, and `PROGRAMS` says which of them a program type sees and may write.

An access is right if one visible field holds all of it, its size is among the field's and its
offset is a multiple of its size. Everything here was measured on a running 6.18, and a test asks
the kernel again for every offset and size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from minibcc.abi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator


class Field(NamedTuple):
    """A field: `off` and `size` in bytes, of all elements if it is an array.

    `read` and `write` are the sizes of the accesses that may be made in it. `head`: only at its
    start (or an element's), though it may be narrower. `yields` is what a load gives: ``scalar``
    or a pointer in the verifier's words (``pkt``, ``pkt_end``, ``pkt_meta``, ``sock``,
    ``sock_or_null``, ``sock_common_or_null``, ``flow_keys``, ``tp_buffer``, or ``trusted_ptr_``
    and the name of a kernel's struct).
    """

    name: str
    off: int
    size: int
    read: tuple[int, ...] = ()
    write: tuple[int, ...] = ()
    yields: str = "scalar"
    head: bool = False

    def allows(self, off: int, size: int, *, write: bool = False) -> bool:
        inside = off - self.off
        return (
            0 <= inside <= self.size - size
            and size in (self.write if write else self.read)
            and off % size == 0
            and not (self.head and inside % self.read[-1])
        )


class Context(NamedTuple):
    """What programs of a type get in R1.

    `struct` is the C name ("" where the type's programs get kernel's values by BTF), `size` bytes
    from which on no access is right. `returns` are the least and the greatest value of R0 at exit,
    None for any. `packet` says what a program may do with packet memory: ``rw``, ``r`` or "";
    `legacy` whether the old packet loads (LD_ABS, LD_IND) exist.
    """

    struct: str
    size: int
    fields: tuple[Field, ...]
    returns: tuple[int, int] | None = None
    packet: str = ""
    legacy: bool = False

    def access(self, off: int, size: int, *, write: bool = False) -> Field | None:
        """The field that an access of `size` bytes at `off` is to; None if it is invalid."""
        for field in self.fields:
            if field.allows(off, size, write=write):
                return field
        return None


# --- the structures ----------------------------------------------------------------------------

# Name, offset, size, sizes of reads ("124": 1, 2 or 4 bytes; a ^ behind them: at the start only),
# and what a read yields if not a number.
STRUCTS: Final = {
    "__sk_buff": """
        len 0 4 124
        pkt_type 4 4 124
        mark 8 4 124
        queue_mapping 12 4 124
        protocol 16 4 124
        vlan_present 20 4 124
        vlan_tci 24 4 124
        vlan_proto 28 4 124
        priority 32 4 124
        ingress_ifindex 36 4 124
        ifindex 40 4 124
        tc_index 44 4 124
        cb 48 20 1248
        hash 68 4 124
        tc_classid 72 4 124
        data 76 4 4 pkt
        data_end 80 4 4 pkt_end
        napi_id 84 4 124
        family 88 4 124
        remote_ip4 92 4 4
        local_ip4 96 4 4
        remote_ip6 100 16 4
        local_ip6 116 16 4
        remote_port 132 4 124
        local_port 136 4 124
        data_meta 140 4 4 pkt_meta
        flow_keys 144 8 8 flow_keys
        tstamp 152 8 8
        wire_len 160 4 124
        gso_segs 164 4 124
        sk 168 8 8 sock_common_or_null
        gso_size 176 4 124
        tstamp_type 180 1 1
        hwtstamp 184 8 8
    """,
    "xdp_md": """
        data 0 4 4 pkt
        data_end 4 4 4 pkt_end
        data_meta 8 4 4 pkt_meta
        ingress_ifindex 12 4 4
        rx_queue_index 16 4 4
        egress_ifindex 20 4 4
    """,
    "bpf_sock": """
        bound_dev_if 0 4 4
        family 4 4 124^
        type 8 4 124^
        protocol 12 4 124^
        mark 16 4 4
        priority 20 4 4
        src_ip4 24 4 124
        src_ip6 28 16 124
        src_port 44 4 124^
        dst_port 48 2 12
        dst_port 48 4 4
        dst_ip4 52 4 124
        dst_ip6 56 16 124
        state 72 4 124^
        rx_queue_mapping 76 4 124^
    """,
    "bpf_sock_ops": """
        op 0 4 4
        reply 4 4 4
        replylong 8 12 4
        family 20 4 4
        remote_ip4 24 4 4
        local_ip4 28 4 4
        remote_ip6 32 16 4
        local_ip6 48 16 4
        remote_port 64 4 4
        local_port 68 4 4
        is_fullsock 72 4 4
        snd_cwnd 76 4 4
        srtt_us 80 4 4
        bpf_sock_ops_cb_flags 84 4 4
        state 88 4 4
        rtt_min 92 4 4
        snd_ssthresh 96 4 4
        rcv_nxt 100 4 4
        snd_nxt 104 4 4
        snd_una 108 4 4
        mss_cache 112 4 4
        ecn_flags 116 4 4
        rate_delivered 120 4 4
        rate_interval_us 124 4 4
        packets_out 128 4 4
        retrans_out 132 4 4
        total_retrans 136 4 4
        segs_in 140 4 4
        data_segs_in 144 4 4
        segs_out 148 4 4
        data_segs_out 152 4 4
        lost_out 156 4 4
        sacked_out 160 4 4
        sk_txhash 164 4 4
        bytes_received 168 8 8
        bytes_acked 176 8 8
        sk 184 8 8 sock_or_null
        skb_data 192 8 8 pkt
        skb_data_end 200 8 8 pkt_end
        skb_len 208 4 4
        skb_tcp_flags 212 4 124^
        skb_hwtstamp 216 8 8
    """,
    "bpf_cgroup_dev_ctx": "access_type 0 4 124\n major 4 4 4\n minor 8 4 4",
    "sk_msg_md": """
        data 0 8 8 pkt
        data_end 8 8 8 pkt_end
        family 16 4 4
        remote_ip4 20 4 4
        local_ip4 24 4 4
        remote_ip6 28 16 4
        local_ip6 44 16 4
        remote_port 60 4 4
        local_port 64 4 4
        size 68 4 4
        sk 72 8 8 sock
    """,
    "bpf_sock_addr": """
        user_family 0 4 4
        user_ip4 4 4 124
        user_ip6 8 16 1248
        user_port 24 4 124
        family 28 4 4
        type 32 4 4
        protocol 36 4 4
        msg_src_ip4 40 4 124
        msg_src_ip6 44 16 1248
        sk 64 8 8 sock
    """,
    "sk_reuseport_md": """
        data 0 8 8 pkt
        data_end 8 8 8 pkt_end
        len 16 4 124
        eth_protocol 20 4 24
        ip_protocol 24 4 124
        bind_inany 28 4 124
        hash 32 4 4
        sk 40 8 8 sock
        migrating_sk 48 8 8 sock_common_or_null
    """,
    "bpf_sysctl": "write 0 4 124\n file_pos 4 4 124",
    "bpf_sockopt": """
        sk 0 8 8 sock
        optval 8 8 8 pkt
        optval_end 16 8 8 pkt_end
        level 24 4 4
        optname 28 4 4
        optlen 32 4 4
        retval 36 4 4
    """,
    "bpf_sk_lookup": """
        sk 0 8 8 sock_or_null
        family 8 4 124
        protocol 12 4 124
        remote_ip4 16 4 124
        remote_ip6 20 16 124
        remote_port 36 4 124
        local_ip4 40 4 124
        local_ip6 44 16 124
        local_port 60 4 124
        ingress_ifindex 64 4 124
    """,
    "bpf_nf_ctx": "state 0 8 8 trusted_ptr_nf_hook_state\n skb 8 8 8 trusted_ptr_sk_buff",
    "pt_regs": """
        r15 0 8 1248
        r14 8 8 1248
        r13 16 8 1248
        r12 24 8 1248
        bp 32 8 1248
        bx 40 8 1248
        r11 48 8 1248
        r10 56 8 1248
        r9 64 8 1248
        r8 72 8 1248
        ax 80 8 1248
        cx 88 8 1248
        dx 96 8 1248
        si 104 8 1248
        di 112 8 1248
        orig_ax 120 8 1248
        ip 128 8 1248
        cs 136 8 1248
        flags 144 8 1248
        sp 152 8 1248
        ss 160 8 1248
    """,
    "bpf_perf_event_data": "regs 0 168 8\n sample_period 168 8 1248\n addr 176 8 1248",
    "bpf_raw_tracepoint_args": "args 0 96 1248",
    # The first argument of a writable raw tracepoint is the record itself, and only at 0.
    "bpf_raw_tracepoint_args (writable)": "buffer 0 8 8 tp_buffer\n args 1 95 1248",
    # What precedes a tracepoint's own fields is hidden; PERF_MAX_TRACE_SIZE is as far as they go.
    "tracepoint": "record 8 8184 1248",
    "syscall": "args 0 65535 1248",
}

_HIDDEN_SKB: Final = (
    "flow_keys tc_classid data_meta wire_len tstamp_type family remote_ip4 local_ip4 remote_ip6 "
    "local_ip6 remote_port local_port"
)


class _Row(NamedTuple):
    """A program type: its structure, what of it is hidden, what may be written (sizes behind a
    colon, 4 without), and the rest of `Context`."""

    struct: str
    hidden: str = ""
    write: str = ""
    returns: tuple[int, int] | None = None
    packet: str = ""
    legacy: bool = False
    size: int = 0


_TC: Final = _Row(
    "__sk_buff",
    "flow_keys family remote_ip4 local_ip4 remote_ip6 local_ip6 remote_port local_port",
    "mark queue_mapping priority tc_index cb:1248 tc_classid tstamp:8",
    packet="rw",
    legacy=True,
)
_LWT: Final = _Row(
    "__sk_buff", f"{_HIDDEN_SKB} tstamp hwtstamp", "mark priority cb:1248", packet="r"
)
_YES_NO: Final = (0, 1)

PROGRAMS: Final = {
    ProgType.SOCKET_FILTER: _Row(
        "__sk_buff", f"{_HIDDEN_SKB} data data_end tstamp hwtstamp", "cb:1248", legacy=True
    ),
    ProgType.KPROBE: _Row("pt_regs"),
    ProgType.SCHED_CLS: _TC,
    ProgType.SCHED_ACT: _TC,
    ProgType.TRACEPOINT: _Row("tracepoint"),
    ProgType.XDP: _Row("xdp_md", "egress_ifindex", packet="rw"),
    ProgType.PERF_EVENT: _Row("bpf_perf_event_data"),
    ProgType.CGROUP_SKB: _Row(
        "__sk_buff",
        "flow_keys tc_classid data_meta wire_len tstamp_type",
        "mark priority cb:1248 tstamp:8",
        returns=_YES_NO,
        packet="r",
    ),
    ProgType.CGROUP_SOCK: _Row(
        "bpf_sock", "src_ip4 src_ip6 src_port", "bound_dev_if mark priority", _YES_NO
    ),
    ProgType.LWT_IN: _LWT,
    ProgType.LWT_OUT: _LWT,
    ProgType.LWT_XMIT: _LWT._replace(packet="rw"),
    ProgType.SOCK_OPS: _Row("bpf_sock_ops", "", "reply sk_txhash", _YES_NO),
    ProgType.SK_SKB: _Row(
        "__sk_buff",
        "flow_keys tc_classid data_meta wire_len tstamp_type mark tstamp hwtstamp",
        "priority tc_index",
        packet="rw",
    ),
    ProgType.CGROUP_DEVICE: _Row("bpf_cgroup_dev_ctx", returns=_YES_NO),
    ProgType.SK_MSG: _Row("sk_msg_md", packet="rw"),
    ProgType.RAW_TRACEPOINT: _Row("bpf_raw_tracepoint_args"),
    ProgType.CGROUP_SOCK_ADDR: _Row(
        "bpf_sock_addr", "user_ip4 user_ip6 msg_src_ip4 msg_src_ip6", "user_port", _YES_NO
    ),
    ProgType.LWT_SEG6LOCAL: _LWT,
    ProgType.SK_REUSEPORT: _Row("sk_reuseport_md", packet="r"),
    ProgType.FLOW_DISSECTOR: _Row("__sk_buff", "* -data -data_end -flow_keys", packet="r"),
    ProgType.CGROUP_SYSCTL: _Row("bpf_sysctl", "", "file_pos", _YES_NO),
    ProgType.RAW_TRACEPOINT_WRITABLE: _Row("bpf_raw_tracepoint_args (writable)"),
    ProgType.CGROUP_SOCKOPT: _Row("bpf_sockopt", "", "optlen retval", _YES_NO, "rw"),
    ProgType.SK_LOOKUP: _Row("bpf_sk_lookup", returns=_YES_NO),
    ProgType.SYSCALL: _Row("syscall", "", "args:1248"),
    ProgType.NETFILTER: _Row("bpf_nf_ctx", returns=_YES_NO),
    # A signal's bits, and what the kernel's BTF says that the function gets.
    ProgType.LIRC_MODE2: _Row("u32"),
    ProgType.TRACING: _Row(""),
    ProgType.LSM: _Row(""),
    ProgType.STRUCT_OPS: _Row(""),
    ProgType.EXT: _Row(""),
}

_NO_ADDRESS: Final = "user_ip4 user_ip6 msg_src_ip4 msg_src_ip6"
_IP4: Final = _Row("bpf_sock_addr", "user_ip6 msg_src_ip4 msg_src_ip6", "user_ip4 user_port")
_IP6: Final = _Row("bpf_sock_addr", "user_ip4 msg_src_ip4 msg_src_ip6", "user_ip6:48 user_port")
_ALWAYS: Final = (1, 1)

ATTACHED: Final = {
    (ProgType.XDP, AttachType.XDP_DEVMAP): _Row("xdp_md", packet="rw"),
    (ProgType.KPROBE, AttachType.TRACE_KPROBE_SESSION): _Row("pt_regs", returns=_YES_NO),
    (ProgType.KPROBE, AttachType.TRACE_UPROBE_SESSION): _Row("pt_regs", returns=_YES_NO),
    (ProgType.TRACING, AttachType.TRACE_FENTRY): _Row("", returns=(0, 0)),
    (ProgType.TRACING, AttachType.TRACE_FEXIT): _Row("", returns=(0, 0)),
    (ProgType.TRACING, AttachType.TRACE_ITER): _Row("", returns=_YES_NO),
    (ProgType.CGROUP_SKB, AttachType.CGROUP_INET_EGRESS): PROGRAMS[ProgType.CGROUP_SKB]._replace(
        returns=(0, 3)
    ),
    (ProgType.CGROUP_SOCK, AttachType.CGROUP_INET4_POST_BIND): _Row(
        "bpf_sock", "bound_dev_if mark priority src_ip6", "", _YES_NO
    ),
    (ProgType.CGROUP_SOCK, AttachType.CGROUP_INET6_POST_BIND): _Row(
        "bpf_sock", "bound_dev_if mark priority src_ip4", "", _YES_NO
    ),
    (ProgType.CGROUP_SOCKOPT, AttachType.CGROUP_SETSOCKOPT): _Row(
        "bpf_sockopt", "retval", "level optname optlen", _YES_NO, "rw"
    ),
    (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_BIND): _IP4._replace(returns=(0, 3)),
    (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_BIND): _IP6._replace(returns=(0, 3)),
    (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT): _IP4._replace(returns=_YES_NO),
    (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_CONNECT): _IP6._replace(returns=_YES_NO),
    (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP4_SENDMSG): _Row(
        "bpf_sock_addr", "user_ip6 msg_src_ip6", "user_ip4 user_port msg_src_ip4", _YES_NO
    ),
    (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP6_SENDMSG): _Row(
        "bpf_sock_addr", "user_ip4 msg_src_ip4", "user_ip6:48 user_port msg_src_ip6:48", _YES_NO
    ),
    **{
        (ProgType.CGROUP_SOCK_ADDR, attach): _IP4._replace(returns=_ALWAYS)
        for attach in (
            AttachType.CGROUP_UDP4_RECVMSG,
            AttachType.CGROUP_INET4_GETPEERNAME,
            AttachType.CGROUP_INET4_GETSOCKNAME,
        )
    },
    **{
        (ProgType.CGROUP_SOCK_ADDR, attach): _IP6._replace(returns=_ALWAYS)
        for attach in (
            AttachType.CGROUP_UDP6_RECVMSG,
            AttachType.CGROUP_INET6_GETPEERNAME,
            AttachType.CGROUP_INET6_GETSOCKNAME,
        )
    },
    **{
        (ProgType.CGROUP_SOCK_ADDR, attach): _Row(
            "bpf_sock_addr", _NO_ADDRESS, "user_port", _ALWAYS
        )
        for attach in (
            AttachType.CGROUP_UNIX_RECVMSG,
            AttachType.CGROUP_UNIX_GETPEERNAME,
            AttachType.CGROUP_UNIX_GETSOCKNAME,
        )
    },
}
"""Where the place of attachment changes a program type's row."""

_contexts: dict[tuple[ProgType, int], Context] = {}


def context_of(prog_type: ProgType, attach_type: int = 0) -> Context:
    """What a program of this type gets. KeyError for UNSPEC."""
    key = prog_type, int(attach_type)
    found = _contexts.get(key)
    if found is None:
        row = ATTACHED.get((prog_type, AttachType(attach_type)), PROGRAMS[prog_type])
        found = _contexts[key] = _context(row)
    return found


def _context(row: _Row) -> Context:
    written = dict(word.partition(":")[::2] for word in row.write.split())
    fields = tuple(
        field._replace(write=_sizes(written[field.name] or "4")) if field.name in written else field
        for field in _fields(STRUCTS.get(row.struct, ""))
        if not _is_hidden(field.name, row.hidden.split())
    )
    end = max((field.off + field.size for field in fields), default=0)
    struct = row.struct.partition(" ")[0]
    return Context(struct, end, fields, row.returns, row.packet, row.legacy)


def _is_hidden(name: str, hidden: list[str]) -> bool:
    return name in hidden or (hidden[:1] == ["*"] and f"-{name}" not in hidden)


def _fields(text: str) -> Iterator[Field]:
    for line in text.strip().splitlines():
        name, off, size, reads, *yields = line.split()
        yield Field(
            name,
            int(off),
            int(size),
            _sizes(reads.rstrip("^")),
            (),
            yields[0] if yields else "scalar",
            reads.endswith("^"),
        )


def _sizes(digits: str) -> tuple[int, ...]:
    return tuple(map(int, digits))
