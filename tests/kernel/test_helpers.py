"""The table of helpers and their functions; formats that Linux cannot be asked for here."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibcc.abi.helpers import helpers, name_of
from minibcc.kernel.helpers.formatting import BadFormat, format_message
from minibcc.kernel.helpers.registry import implementation, implementations
from minibcc.kernel.vm.execution import TAIL_CALL
from minibcc.machine.memory import BadAddress

NEEDED = (
    "map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem "
    "probe_read probe_read_str probe_read_kernel probe_read_user probe_read_kernel_str "
    "probe_read_user_str ktime_get_ns ktime_get_boot_ns trace_printk trace_vprintk "
    "get_prandom_u32 get_smp_processor_id get_current_pid_tgid get_current_uid_gid "
    "get_current_comm get_current_task get_current_cgroup_id get_ns_current_pid_tgid "
    "perf_event_output perf_event_read perf_event_read_value get_stackid get_stack "
    "ringbuf_output ringbuf_reserve ringbuf_submit ringbuf_discard ringbuf_query "
    "override_return send_signal snprintf strtol strtoul strncmp loop for_each_map_elem "
    "skb_load_bytes skb_store_bytes l3_csum_replace l4_csum_replace csum_diff redirect "
    "redirect_map xdp_adjust_head xdp_adjust_tail get_numa_node_id task_storage_get "
    "current_task_under_cgroup"
)
"""What BCC's tools and examples call."""


@pytest.mark.parametrize("name", NEEDED.split())
def test_what_bccs_tools_call_is_there(name):
    assert name in implementations()


def test_every_function_is_some_helpers():
    names = {row.name for row in helpers().values()}
    assert set(implementations()) <= names
    assert "tail_call" not in implementations()
    assert name_of(TAIL_CALL) == "bpf_tail_call"
    assert implementation(0) is None
    assert implementation(10_000) is None


def test_functions_take_a_run_and_five_numbers():
    for name, function in implementations().items():
        assert len(inspect.signature(function).parameters) == 6, name


class Memory:
    """What arguments point to."""

    def text(self, kind, address):
        if address != 0x1000:
            raise BadAddress(address, 1)
        return {"": b"either", "k": b"kernel", "u": b"user"}[kind]

    def memory(self, address, size):
        if address != 0x1000:
            raise BadAddress(address, size)
        return bytes(range(1, size + 1))

    def symbol(self, address, *, offset):
        return "do_exit" + "+0x10/0x90" * offset


@pytest.mark.parametrize(
    ("format", "arguments", "text"),
    [
        (b"%s %pks %pus", (0x1000, 0x1000, 0x1000), b"either kernel user"),
        (b"[%s]", (1,), b"[]"),
        (b"%ps and %pS and %pB", (1, 1, 1), b"do_exit and do_exit+0x10/0x90 and do_exit+0x10/0x90"),
        (b"%pI4 %pi4", (0x1000, 0x1000), b"1.2.3.4 001.002.003.004"),
        (b"%pi6", (0x1000,), b"0102030405060708090a0b0c0d0e0f10"),
        (b"%p", (0,), b"0" * 16),
        (b"%px", (0xFFFF_8880_0000_1234,), b"ffff888000001234"),
    ],
)
def test_pointers(format, arguments, text):
    assert format_message(format, arguments, Memory()) == text


def test_a_hashed_pointer_hides_its_address():
    one, other, again = (
        format_message(b"%p", (value,), Memory())
        for value in (0xFFFF_8880, 0xFFFF_8881, 0xFFFF_8880)
    )
    assert one == again != other
    assert len(one) == 16


@given(st.binary(max_size=40), st.lists(st.integers(0, (1 << 64) - 1), max_size=3))
def test_any_format_prints_or_is_refused(format, arguments):
    format = format.replace(b"\0", b"")
    try:
        message = format_message(format, arguments, Memory())
    except BadFormat:
        return
    if b"%" not in format:
        assert message == format
