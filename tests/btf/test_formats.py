"""Tracepoints: the table of events, their formats from BTF, and formats back to structs."""

from pathlib import Path

import pytest

from minibcc.btf.decode import Btf
from minibcc.btf.events import Event, syscalls, tracepoints
from minibcc.btf.formats import Field, fields, named_type, record, text
from minibcc.btf.layout import Kind
from minibcc.btf.show import spell
from minibcc.btf.types import FuncProto, Ptr, Struct, size_of, strip
from tests.btf.kernel import kernel_btf

LIVE = Path("/sys/kernel/btf/vmlinux")
EVERY = [
    event
    for category in tracepoints().categories()
    for event in tracepoints().events(category).values()
]
# What the table says of older kernels, or of options that may be off.
NOT_LIVE = {"preemptirq", "module", "random", "scsi", "nfs", "syscalls"}

# Lines of Linux 6.x on x86-64, as tracefs shows them.
SWITCH = """\
name: sched_switch
ID: 314
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:char prev_comm[16];	offset:8;	size:16;	signed:0;
	field:pid_t prev_pid;	offset:24;	size:4;	signed:1;
	field:int prev_prio;	offset:28;	size:4;	signed:1;
	field:long prev_state;	offset:32;	size:8;	signed:1;
	field:char next_comm[16];	offset:40;	size:16;	signed:0;
	field:pid_t next_pid;	offset:56;	size:4;	signed:1;
	field:int next_prio;	offset:60;	size:4;	signed:1;

print fmt: "..."
"""


def event(category: str, name: str) -> Event:
    found = tracepoints().find(category, name)
    assert found is not None
    return found


def body(format: str) -> list[str]:
    return [line for line in format.splitlines() if line.startswith("\tfield:")]


def test_a_format_is_what_linux_prints() -> None:
    made = text(kernel_btf(), event("sched", "sched_switch"))
    assert made is not None
    assert body(made) == body(SWITCH)
    assert made.startswith(
        f"name: sched_switch\nID: {event('sched', 'sched_switch').id}\nformat:\n"
    )
    assert made.count("\n\n") == 2 and '\nprint fmt: "' in made


def test_a_system_call_takes_eight_bytes_an_argument() -> None:
    made = text(kernel_btf(), event("syscalls", "sys_enter_openat"))
    assert made is not None
    assert body(made)[4:] == [
        "\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;",
        "\tfield:int dfd;\toffset:16;\tsize:8;\tsigned:0;",
        "\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;",
        "\tfield:int flags;\toffset:32;\tsize:8;\tsigned:0;",
        "\tfield:umode_t mode;\toffset:40;\tsize:8;\tsigned:0;",
    ]
    struct = record(kernel_btf(), "syscalls", "sys_enter_openat", made)
    members = {m.name: (spell(m.type), m.offset // 8) for m in struct.members[4:]}
    assert members == {
        "__syscall_nr": ("int", 8),
        "dfd": ("s64", 16),
        "filename": ("const char *", 24),
        "flags": ("s64", 32),
        "mode": ("u64", 40),
    }
    assert (struct.name, struct.size) == ("tracepoint__syscalls__sys_enter_openat", 48)
    left = text(kernel_btf(), event("syscalls", "sys_exit_read"))
    assert (
        left is not None and body(left)[-1] == "\tfield:long ret;\toffset:16;\tsize:8;\tsigned:1;"
    )


def test_fields_of_variable_length() -> None:
    made = text(kernel_btf(), event("sched", "sched_process_exec"))
    assert made is not None
    assert "\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;\n" in made
    struct = record(kernel_btf(), "sched", "sched_process_exec", made)
    found = next(m for m in struct.members if m.name == "data_loc_filename")
    assert (found.offset, size_of(found.type)) == (64, 4)
    made = text(kernel_btf(), event("ipi", "ipi_send_cpumask"))
    assert made is not None and "__data_loc cpumask_t cpumask;" in made


def test_every_event_has_a_record_and_fields_that_fit() -> None:
    assert len(EVERY) > 2000
    for known in EVERY:
        made = text(kernel_btf(), known)
        assert made is not None, known
        struct = record(kernel_btf(), known.category, known.name, made)
        end = 0
        for member, field in zip(struct.members, fields(made), strict=True):
            assert member.offset == field.offset * 8 >= end, (known, member)
            assert size_of(member.type) == field.size, (known, member)
            end = member.offset + 8 * field.size


def test_ids_are_unique_and_found_again() -> None:
    table = tracepoints()
    assert len({known.id for known in EVERY}) == len(EVERY)
    assert table.with_id(event("sched", "sched_switch").id) == event("sched", "sched_switch")
    assert event("syscalls", "sys_enter_read").id == 4000
    assert table.with_id(1) is None
    assert table.find("sched", "sys_enter_read") is None and table.find("no", "such") is None


def test_every_event_of_ours_is_a_raw_tracepoint_too() -> None:
    for known in EVERY:
        if known.record:
            assert kernel_btf().find(Kind.TYPEDEF, f"btf_trace_{known.name}") is not None, known


def test_system_calls_have_their_functions_and_types() -> None:
    table = syscalls()
    assert [call.number for call in table.values()] == sorted(
        call.number for call in table.values()
    )
    assert table["openat"].params[1] == ("const char *", "filename")
    assert table["getpid"].params == () and table["clone"].number == 56
    for call in table.values():
        assert kernel_btf().find(Kind.FUNC, f"__x64_sys_{call.name}") is not None, call
        for type, name in call.params:
            assert name and named_type(kernel_btf(), type) is not None, call


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("unsigned long", "long unsigned int"),
        ("unsigned long long", "long long unsigned int"),
        ("short", "short int"),
        ("unsigned", "unsigned int"),
        ("signed char", "signed char"),
        ("u32", "u32"),
        ("const char *", "const char *"),
        ("const char *const *", "const char **"),
        ("struct task_struct *", "struct task_struct *"),
        ("struct nobody_knows *", "struct nobody_knows *"),
        ("enum skb_drop_reason", "enum skb_drop_reason"),
        ("void *", "void *"),
        ("bool", "bool"),
    ],
)
def test_type_names(written: str, spelled: str) -> None:
    type = named_type(kernel_btf(), written)
    assert type is not None and spell(type) == spelled


@pytest.mark.parametrize(
    "written", ["void", "no_such_t", "enum nothing", "unsigned no_such", "struct"]
)
def test_type_names_of_nothing(written: str) -> None:
    assert named_type(kernel_btf(), written) is None


def test_odd_fields_get_the_size_that_the_format_says() -> None:
    lines = (
        "\tfield:no_such_t a;\toffset:8;\tsize:8;\tsigned:1;\n"
        "\tfield:no_such_t b;\toffset:16;\tsize:12;\tsigned:0;\n"
        "\tfield:no_such_t c[3];\toffset:28;\tsize:6;\tsigned:0;\n"
        "\tfield:__rel_loc char[] d;\toffset:36;\tsize:4;\tsigned:0;\n"
        "\tfield:int e;\toffset:40;\tsize:2;\n"
    )
    struct = record(kernel_btf(), "x", "y", lines)
    assert [(m.name, spell(m.type)) for m in struct.members] == [
        ("a", "s64"),
        ("b", "u8[12]"),
        ("c", "u8[6]"),
        ("rel_loc_d", "s32"),
        ("e", "s16"),
    ]
    assert fields(lines)[2] == Field("no_such_t", "c", 28, 6, False, 3)


@pytest.mark.parametrize(
    "line", ["\tfield:int a", "\tfield:int a;\toffset:x;", "\tfield:;\toffset:0;\tsize:4;"]
)
def test_a_malformed_format_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        record(kernel_btf(), "x", "y", line)


@pytest.mark.kernel
@pytest.mark.skipif(not LIVE.exists(), reason="this kernel shows no BTF")
def test_the_table_is_the_live_kernels() -> None:
    """Each event takes what its class's probe takes; no tracepoint with a record is left out."""
    live = Btf(LIVE.read_bytes())

    def params(proto: object) -> list[str]:
        assert isinstance(proto, FuncProto)
        return [spell(param.type) for param in proto.params]

    named = {known.name: known for known in EVERY if known.category not in NOT_LIVE}
    for _, typedef in live.named(Kind.TYPEDEF):
        known = named.get(typedef.removeprefix("btf_trace_"))
        if known is None or not typedef.startswith("btf_trace_"):
            continue
        event_type = strip(live.find(Kind.TYPEDEF, typedef))
        probe = live.find(Kind.FUNC, f"__bpf_trace_{known.record}")
        if isinstance(event_type, Ptr) and probe is not None:
            assert params(strip(event_type.to)) == params(probe.proto), known  # type: ignore[union-attr]  # a type with `to`
    records = {name for _, name in live.named(Kind.STRUCT) if name.startswith("trace_event_raw_")}
    described = {f"trace_event_raw_{known.record}" for known in EVERY}
    assert len(records - described) < 10, sorted(records - described)


@pytest.mark.kernel
@pytest.mark.skipif(not LIVE.exists(), reason="this kernel shows no BTF")
def test_system_calls_take_what_the_live_kernels_take() -> None:
    live = Btf(LIVE.read_bytes())
    for call in syscalls().values():
        inner = live.find(Kind.FUNC, f"__do_sys_{call.name}")
        if inner is None:
            continue
        proto = inner.proto  # type: ignore[union-attr]  # a Func
        theirs = [param.name for param in proto.params if param.name != "__unused"]
        assert [name for _, name in call.params] == theirs, call


def test_structs_are_named_as_bcc_names_them() -> None:
    made = record(kernel_btf(), "a", "b", "")
    assert isinstance(made, Struct) and made.name == "tracepoint__a__b" and made.size == 8
