"""The table of contexts: its rows hang together."""

from __future__ import annotations

import pytest

from minibcc.abi.bpf import AttachType, ProgType
from minibcc.abi.contexts import ATTACHED, PROGRAMS, context_of, structs


def test_every_program_type_has_a_row() -> None:
    assert set(PROGRAMS) == set(ProgType) - {ProgType.UNSPEC}
    with pytest.raises(KeyError):
        context_of(ProgType.UNSPEC)


@pytest.mark.parametrize("struct", structs())
def test_fields_do_not_overlap(struct: str) -> None:
    end, last = 0, ""
    for field in structs()[struct]:
        # (A raw tracepoint's record hides what lies at 0, not what lies inside.)
        assert field.off >= end or field.name == last or last == "buffer", field
        end, last = field.off + field.size, field.name


def test_what_rows_name_is_there() -> None:
    for row in (*PROGRAMS.values(), *ATTACHED.values()):
        names = {field.name for field in structs().get(row.struct, ())}
        hidden = {word.lstrip("-") for word in row.hidden.split()} - {"*"}
        written = {word.partition(":")[0] for word in row.write.split()}
        assert hidden | written <= names
        assert not hidden & written


def test_access() -> None:
    regs = context_of(ProgType.KPROBE)
    assert (regs.struct, regs.size) == ("pt_regs", 168)
    field = regs.access(112, 8)
    assert field is not None
    assert field.name == "di"
    assert regs.access(112, 8, write=True) is None
    assert regs.access(113, 1) is not None
    assert regs.access(113, 2) is None
    assert regs.access(168, 8) is None
    assert regs.access(-8, 8) is None

    skb = context_of(ProgType.SCHED_CLS)
    data = skb.access(76, 4)
    assert data is not None
    assert data.yields == "pkt"
    assert skb.access(76, 2) is None
    assert skb.access(48, 8, write=True) is not None
    assert skb.access(64, 8) is None
    assert context_of(ProgType.SOCKET_FILTER).access(76, 4) is None

    sock = context_of(ProgType.CGROUP_SOCK, AttachType.CGROUP_INET_SOCK_CREATE)
    assert sock.access(4, 1) is not None
    assert sock.access(5, 1) is None, "narrow, but only at its start"


def test_attachment_changes_the_row() -> None:
    assert context_of(ProgType.XDP).access(20, 4) is None
    assert context_of(ProgType.XDP, AttachType.XDP_DEVMAP).access(20, 4) is not None
    assert context_of(ProgType.CGROUP_SKB).returns == (0, 1)
    assert context_of(ProgType.CGROUP_SKB, AttachType.CGROUP_INET_EGRESS).returns == (0, 3)
