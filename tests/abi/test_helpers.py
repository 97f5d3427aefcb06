"""The helper table: 211 rows that hang together."""

from __future__ import annotations

import pytest

from minibcc.abi import helpers
from minibcc.abi.bpf import AttachType, ProgType
from minibcc.abi.helpers import ValueType, allowed, helper_for, name_of, number_of


def test_all_helpers_in_order() -> None:
    assert list(helpers.helpers()) == list(range(1, helpers.COUNT + 1))
    assert len({row.name for row in helpers.helpers().values()}) == helpers.COUNT


def test_a_row() -> None:
    row = helpers.helpers()[1]
    assert row.name == "map_lookup_elem"
    assert row.since == "3.19"
    assert row.declaration == ("void *bpf_map_lookup_elem(struct bpf_map *map, const void *key)")
    assert row.result == ValueType("map_value", frozenset({"null"}))
    assert row.arguments == (ValueType("map_ptr"), ValueType("map_key"))
    assert row.pkt_access
    assert not row.gpl


# Linux's verifier looks at fewer arguments than these have: one takes its context from `current`
# for most programs, the other's flags are nobody's business.
UNCHECKED = {"get_cgroup_classid": 0, "get_branch_snapshot": 2}


@pytest.mark.parametrize("row", helpers.helpers().values(), ids=lambda row: row.name)
def test_prototype_and_arguments_agree(row: helpers.Helper) -> None:
    parameters = row.prototype[row.prototype.index("(") + 1 : -1]
    count = 0 if parameters == "void" else len(parameters.split(","))
    if parameters.endswith("..."):
        count -= 1
    assert len(row.arguments) == UNCHECKED.get(row.name, count)
    for argument in row.arguments:
        assert (argument.size > 0) == ("fixed" in argument.flags)
    sizes = [
        i for i, argument in enumerate(row.arguments) if argument.kind.startswith("const_size")
    ]
    for index in sizes:
        assert row.arguments[index - 1].kind == "mem", "a size follows its memory"


def test_names() -> None:
    assert name_of(6) == "bpf_trace_printk"
    assert name_of(0) == "bpf_unspec"
    assert name_of(212) is None
    assert number_of("bpf_trace_printk") == number_of("trace_printk") == 6
    assert number_of("printf") is None


def test_sets_name_helpers_that_exist() -> None:
    known = {row.name for row in helpers.helpers().values()}
    for prog_type in ProgType:
        for attach in (0, *AttachType):
            assert allowed(prog_type, attach) <= known


def test_every_helper_can_be_called_by_some_program() -> None:
    called = {name for prog_type in ProgType for attach in (0, *AttachType)
              for name in allowed(prog_type, attach)}  # fmt: skip
    # For TCP congestion control (struct_ops) alone, which chooses by member.
    assert {row.name for row in helpers.helpers().values()} - called == {"tcp_send_ack"}


def test_every_program_type_has_a_row() -> None:
    assert set(helpers.PROGRAMS) == set(ProgType) - {ProgType.UNSPEC}


def test_helper_for() -> None:
    assert helper_for(1, ProgType.KPROBE) is helpers.helpers()[1]
    assert helper_for(44, ProgType.KPROBE) is None
    assert helper_for(999, ProgType.KPROBE) is None
    assert helper_for(64, ProgType.CGROUP_SOCK_ADDR) is None
    assert helper_for(64, ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT) is not None
    stackid = helper_for(27, ProgType.PERF_EVENT)
    assert stackid is not None
    assert not stackid.gpl
    storage = helper_for(107, ProgType.CGROUP_SOCK)
    assert storage is not None
    assert [argument.kind for argument in storage.arguments] == [
        "map_ptr", "ctx", "map_value", "anything",
    ]  # fmt: skip
