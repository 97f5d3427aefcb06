"""Class BPF on a simulated kernel: loading, attaching, what comes back, what is refused."""

import ctypes as ct

import pytest

from minibcc import boot
from minibcc.bcc import BPF, BPFAttachType, PerfSWConfig, PerfType, _get_num_open_probes
from minibcc.bcc.bpf import NoSuchFile
from minibcc.bcc.table import StackTrace
from minibcc.errors import AttachError, CompileError, LoadError, UsageError

HELLO = 'int hello(void *ctx) { bpf_trace_printk("Hello, World!"); return 0; }'
OPEN = "do_sys_openat2"


def test_trace_fields(system):
    b = BPF(text=HELLO)
    b.attach_kprobe(event=OPEN, fn_name="hello")
    task, pid, _, _, seconds, message = b.trace_fields()
    assert (task, message) == (b"cat", b"Hello, World!")
    assert pid > 300 and seconds > 1000
    b.cleanup()


def test_text_may_be_bytes(system):
    b = BPF(text=HELLO.encode(), cflags=[b"-DX=1"])
    b.attach_kprobe(event=OPEN.encode(), fn_name=b"hello")
    assert b.num_open_kprobes() == 1
    b.cleanup()


def test_either_text_or_file(system, tmp_path):
    with pytest.raises(UsageError, match="either"):
        BPF()
    path = tmp_path / "hello.c"
    path.write_text(HELLO)
    with pytest.raises(UsageError, match="either"):
        BPF(text=HELLO, src_file=str(path))
    BPF(src_file=str(path)).cleanup()
    with pytest.raises(NoSuchFile, match=r"cannot find .*nowhere\.c"):
        BPF(src_file=str(tmp_path / "nowhere.c"))


@pytest.mark.parametrize(
    "text",
    (
        "KFUNC_PROBE(vfs_read, struct file *file) { return 0; }",
        "int kfunc__vfs_read(u64 *ctx) { return 0; }",
        "int kfunc__vmlinux__vfs_read(u64 *ctx) { return 0; }",
    ),
)
@pytest.mark.parametrize("name", ("vfs_read", "kfunc__vfs_read", b"kfunc__vmlinux__vfs_read"))
def test_a_traced_function_is_found_by_any_of_its_names(system, text, name):
    with BPF(text=text) as b:
        (attached,) = b.kfunc_entry_fds
        b.detach_kfunc(name)
        assert not b.kfunc_entry_fds
        b.attach_kfunc(fn_name=name)
        assert list(b.kfunc_entry_fds) == [attached]


def test_names_say_what_is_attached(system):
    b = BPF(
        text="""
        int kprobe__do_sys_openat2(void *ctx) { return 0; }
        int kretprobe__do_sys_openat2(void *ctx) { return 0; }
        int kprobe__sys_clone(void *ctx) { return 0; }
        TRACEPOINT_PROBE(sched, sched_switch) { return 0; }
        int raw_tracepoint__sched_wakeup(void *ctx) { return 0; }
        """
    )
    names = {b"p_do_sys_openat2", b"r_do_sys_openat2", b"p___x64_sys_clone"}
    assert set(b.kprobe_fds) == names
    assert set(b.tracepoint_fds) == {b"sched:sched_switch"}
    assert set(b.raw_tracepoint_fds) == {b"sched_wakeup"}
    assert (b.num_open_kprobes(), b.num_open_tracepoints(), _get_num_open_probes()) == (3, 1, 3)
    b.cleanup()
    assert (b.num_open_kprobes(), _get_num_open_probes()) == (0, 0)


def test_nothing_is_left_open(system):
    first = system.open("/proc/kallsyms")
    system.close(first)
    with BPF(text=HELLO + "BPF_PERF_OUTPUT(events); BPF_RINGBUF_OUTPUT(ring, 1);") as b:
        b.attach_kprobe(event=OPEN, fn_name="hello")
        b["events"].open_perf_buffer(lambda *_: None)
        b["ring"].open_ring_buffer(lambda *_: None)
        b.trace_open()
    again = system.open("/proc/kallsyms")
    system.close(again)
    assert first == again


def test_attach_and_detach(system):
    b = BPF(text=HELLO)
    b.attach_kprobe(event=OPEN, fn_name="hello")
    b.attach_kretprobe(event=OPEN, fn_name="hello")
    b.detach_kprobe(event=OPEN, fn_name="hello")
    b.detach_kretprobe(event=OPEN)
    assert b.kprobe_fds == {}
    with pytest.raises(AttachError, match="not attached"):
        b.detach_kprobe(event=OPEN)
    b.cleanup()


def test_a_regular_expression_attaches_to_all_that_match(system):
    b = BPF(text=HELLO)
    b.attach_kprobe(event_re="^vfs_(read|write)$", fn_name="hello")
    assert set(b.kprobe_fds) == {b"p_vfs_read", b"p_vfs_write"}
    with pytest.raises(AttachError, match="matches"):
        b.attach_kprobe(event_re="^no_such_thing", fn_name="hello")
    b.cleanup()


def test_the_limit_of_probes_is_kept(system, monkeypatch):
    monkeypatch.setenv("BCC_PROBE_LIMIT", "1")
    b = BPF(text=HELLO)
    b.attach_kprobe(event="vfs_read", fn_name="hello")
    with pytest.raises(AttachError, match="exceed global quota"):
        b.attach_kprobe(event="vfs_write", fn_name="hello")
    b.cleanup()


def test_an_unknown_event_is_an_error_with_a_hint(system):
    b = BPF(text=HELLO)
    with pytest.raises(AttachError, match="do_sys_openat3") as caught:
        b.attach_kprobe(event="do_sys_openat3", fn_name="hello")
    assert caught.value.code == "load/no-such-function"
    assert "did you mean do_sys_openat2" in str(caught.value)
    with pytest.raises(AttachError, match="no such tracepoint") as caught:
        b.attach_tracepoint(tp="sched:sched_swich", fn_name="hello")
    assert "sched:sched_switch" in str(caught.value)
    b.cleanup()
    with pytest.raises(CompileError, match="no tracepoint 'sched:sched_swich'") as refused:
        BPF(text="TRACEPOINT_PROBE(sched, sched_swich) { return 0; }")
    assert "sched:sched_switch" in str(refused.value)


def test_an_unknown_function_is_a_key_error(system):
    with BPF(text=HELLO) as b, pytest.raises(KeyError, match="it defines hello"):
        b.attach_kprobe(event=OPEN, fn_name="helo")


def test_what_does_not_compile(system):
    with pytest.raises(CompileError, match="<text>:1:"):
        BPF(text="int hello(void *ctx) { return x; }")


def test_a_refusal_speaks_of_c_lines(system):
    text = """
BPF_HASH(counts, u32, u64);
int hello(void *ctx)
{
    u32 key = 1;
    u64 *value = counts.lookup(&key);
    return *value;
}
"""
    b = BPF(text=text)
    with pytest.raises(LoadError) as caught:
        b.load_func("hello", BPF.KPROBE)
    assert str(caught.value).startswith("Failed to load BPF program hello: Permission denied\n")
    assert "<text>:7:" in str(caught.value)
    assert "verify/" in str(caught.value)
    assert "processed" in caught.value.log
    b.cleanup()


def test_perf_buffer(system):
    b = BPF(
        text="""
        struct data { u32 pid; u64 time; char comm[16]; };
        BPF_PERF_OUTPUT(events);
        int on_open(void *ctx) {
            struct data data = {};
            data.pid = bpf_get_current_pid_tgid() >> 32;
            data.time = bpf_ktime_get_ns();
            bpf_get_current_comm(&data.comm, sizeof(data.comm));
            events.perf_submit(ctx, &data, sizeof(data));
            return 0;
        }
        """
    )
    b.attach_kprobe(event=OPEN, fn_name="on_open")
    seen = []

    def callback(cpu, data, size):
        event = b["events"].event(data)
        seen.append((cpu, size >= ct.sizeof(event), event.comm, event.pid, event.time))

    b["events"].open_perf_buffer(callback)
    before = b.monotonic_time()
    b.perf_buffer_poll()
    cpu, whole, comm, pid, time = seen[0]
    assert (comm, whole) == (b"cat", True)
    assert pid > 300 and before < time and 0 <= cpu < 4
    b.cleanup()


def test_ring_buffer(system):
    b = BPF(
        text="""
        struct data { u32 pid; };
        BPF_RINGBUF_OUTPUT(ring, 4);
        int on_open(void *ctx) {
            struct data data = {};
            data.pid = bpf_get_current_pid_tgid() >> 32;
            ring.ringbuf_output(&data, sizeof(data), 0);
            return 0;
        }
        """
    )
    b.attach_kprobe(event=OPEN, fn_name="on_open")
    seen = []
    b["ring"].open_ring_buffer(lambda ctx, data, size: seen.append(b["ring"].event(data).pid))
    b.ring_buffer_poll()
    assert seen and seen[0] > 300
    b.ring_buffer_consume()
    b.cleanup()
    with BPF(text=HELLO) as b, pytest.raises(ValueError, match="open_ring_buffer"):
        b.ring_buffer_poll()


def test_the_end_of_a_scenario_is_a_keyboard_interrupt(system):
    with BPF(text=HELLO) as b:
        b.attach_kprobe(event=OPEN, fn_name="hello")
        with pytest.raises(KeyboardInterrupt):
            while True:
                b.trace_fields()
        with pytest.raises(KeyboardInterrupt):
            b.trace_fields()


class Stack(ct.Structure):
    _fields_ = (("ip", ct.c_ulonglong * 4),)


def test_a_stack_ends_at_zero(system):
    class Stacks(StackTrace):
        def __getitem__(self, key):
            return Stack((ct.c_ulonglong * 4)(BPF.ksymname(OPEN), BPF.ksymname("vfs_read"), 0, 7))

    with BPF(text="BPF_STACK_TRACE(stacks, 64);") as b:
        stacks = Stacks(b, b["stacks"]._loaded, ct.c_int, Stack)
        assert list(stacks.walk(1, b.ksym)) == [b"do_sys_openat2", b"vfs_read"]


def test_sampling(system):
    b = BPF(text="BPF_HASH(n, int); int tick(void *ctx) { n.increment(1); return 0; }")
    b.attach_perf_event(
        ev_type=PerfType.SOFTWARE, ev_config=PerfSWConfig.CPU_CLOCK, fn_name="tick", sample_freq=9
    )
    assert len(b.open_perf_events[PerfType.SOFTWARE, PerfSWConfig.CPU_CLOCK]) == 4
    b.detach_perf_event(PerfType.SOFTWARE, PerfSWConfig.CPU_CLOCK)
    with pytest.raises(AttachError, match="not attached"):
        b.detach_perf_event(PerfType.SOFTWARE, PerfSWConfig.CPU_CLOCK)
    b.cleanup()


def test_symbols(system):
    address = BPF.ksymname(OPEN)
    assert BPF.ksym(address) == b"do_sys_openat2"
    assert BPF.ksym(address + 4, show_module=True, show_offset=True) == (
        b"do_sys_openat2+0x4 [kernel]"
    )
    assert BPF.ksym(0x1234) == b"[unknown]"
    assert BPF.ksymname("no_such_thing") == -1
    assert BPF.get_syscall_fnname("clone") == b"__x64_sys_clone"
    assert BPF.fix_syscall_fnname(b"sys_clone") == b"__x64_sys_clone"
    assert BPF.fix_syscall_fnname(b"vfs_read") == b"vfs_read"


def test_what_a_kernel_has(system):
    assert BPF.kernel_struct_has_field("task_struct", "real_parent") == 1
    assert BPF.kernel_struct_has_field(b"task_struct", b"no_such_field") == 0
    assert BPF.kernel_struct_has_field("no_such_struct", "x") == -1
    assert BPF.tracepoint_exists("sched", "sched_switch")
    assert not BPF.tracepoint_exists("sched", "no_such_thing")
    assert "sched:sched_switch" in BPF.get_tracepoints(b"sched:sched_sw")
    assert BPF.get_kprobe_functions(b"^vfs_read$") == {b"vfs_read"}
    assert BPF.support_raw_tracepoint()


def test_debug_prints_the_log(system, capsys):
    with BPF(text=HELLO, debug=0x2) as b:
        b.load_func("hello", BPF.KPROBE)
    assert "processed 12 insns" in capsys.readouterr().out


def test_bytecode_as_text(system):
    with BPF(text=HELLO) as b:
        assert len(b.dump_func("hello")) == 104
        lines = b.disassemble_func("hello").splitlines()
    assert lines[1] == "   0: (b7) r1 = 33"
    assert lines[-1] == "  12: (95) exit"


def test_shared_tables(system):
    with (
        BPF(text='BPF_TABLE_PUBLIC("hash", u32, u64, shared, 8);') as one,
        BPF(text='BPF_TABLE("extern", u32, u64, shared, 8);') as other,
    ):
        one["shared"][1] = 5
        assert other["shared"][1].value == 5
    with pytest.raises(LoadError, match="BPF_TABLE_PUBLIC"):
        BPF(text='BPF_TABLE("extern", u32, u64, missing, 8);')


def test_all_objects_share_one_kernel(system):
    with BPF(text=HELLO) as one, BPF(text=HELLO) as other:
        assert one.system is other.system is boot.current()


def test_xdp(system):
    with BPF(text="int drop(struct xdp_md *ctx) { return XDP_DROP; }") as b:
        fn = b.load_func("drop", BPF.XDP)
        with pytest.raises(AttachError, match="device eth9"):
            BPF.attach_xdp("eth9", fn)
        device = system.listdir("/sys/class/net")[0]
        b.attach_xdp(device, fn, BPF.XDP_FLAGS_SKB_MODE)
        b.remove_xdp(device)
        with pytest.raises(AttachError, match="no XDP program"):
            BPF.remove_xdp(device)
        b.attach_xdp(device, fn)


def test_what_is_not_supported_is_an_error(system):
    with pytest.raises(UsageError, match="device"):
        BPF(text=HELLO, device="eth0")
    with BPF(text=HELLO) as b:
        fn = b.load_func("hello", BPF.SOCKET_FILTER)
        with pytest.raises(AttachError, match="open no sockets"):
            BPF.attach_raw_socket(fn, "eth0")
        with pytest.raises(AttachError, match="CGROUP_SOCK_OPS"):
            b.attach_func(fn, 99, BPFAttachType.CGROUP_SOCK_OPS)
