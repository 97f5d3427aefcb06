"""What a program gets in R1: a row per program type, and the fields of each context structure.

The structures of include/uapi/linux/bpf.h that programs see are not memory: Linux turns each
access into one to its own structures, and has a function per program type (``*_is_valid_access``
in net/core/filter.c, kernel/trace/bpf_trace.c, kernel/bpf/cgroup.c, ...) that says which accesses
there are. Here those functions are data: `contexts.txt` has the fields with how they may be
read and what they yield, and `PROGRAMS` says which of them a program type sees and may write.

An access is right if one visible field holds all of it, its size is among the field's and its
offset is a multiple of its size. Everything here was measured on a running 6.18, and a test asks
the kernel again for every offset and size.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from minibcc.abi.bpf import AttachType, ProgType


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


@cache
def structs() -> dict[str, tuple[Field, ...]]:
    """Name to fields, as `contexts.txt` has them: nothing hidden, nothing to be written."""
    import os

    found: dict[str, list[Field]] = {}
    with open(os.path.join(os.path.dirname(__file__), "contexts.txt"), encoding="utf-8") as file:
        for line in file.read().splitlines():
            if line.startswith("["):
                fields = found[line.strip("[]")] = []
            elif line and line[0] != "#":
                fields.append(_field(line))
    return {name: tuple(fields) for name, fields in found.items()}


def _field(line: str) -> Field:
    name, off, size, reads, *yields = line.split()
    read = _sizes(reads.rstrip("^"))
    return Field(
        name, int(off), int(size), read, (), yields[0] if yields else "scalar", reads.endswith("^")
    )


def _sizes(digits: str) -> tuple[int, ...]:
    return tuple(map(int, digits))


# --- program types -------------------------------------------------------------------------------

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

SOCKETS: Final = {
    "sock": _Row("bpf_sock"),
    "sock_common": _Row("bpf_sock", "type protocol mark priority"),
    "tcp_sock": _Row("bpf_tcp_sock"),
    "xdp_sock": _Row("bpf_xdp_sock"),
}
"""What is behind the pointers to sockets that contexts, maps and helpers give, by the verifier's
word for the pointer: structures like those of contexts, of which nothing may be written."""


@cache
def socket_of(word: str) -> Context:
    """What a pointer to a socket shows."""
    return _context(SOCKETS[word])


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
        for field in structs().get(row.struct, ())
        if not _is_hidden(field.name, row.hidden.split())
    )
    end = max((field.off + field.size for field in fields), default=0)
    struct = row.struct.partition(" ")[0]
    return Context(struct, end, fields, row.returns, row.packet, row.legacy)


def _is_hidden(name: str, hidden: list[str]) -> bool:
    return name in hidden or (hidden[:1] == ["*"] and f"-{name}" not in hidden)
