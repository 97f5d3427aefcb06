"""The strace view: a first program's way to the kernel, as strace quotes it."""

import pytest

from minibcc import boot
from minibcc.abi.bpf import AttachType
from minibcc.abi.perf import PerfEventAttr
from minibcc.abi.requests import IterCreate, LinkCreate, MapCreate, MapLookup, MapUpdate
from minibcc.bcc import BPF
from minibcc.system.recording import Recording
from minibcc.system.strace import attributes, string

HELLO = 'int hello_world(void *ctx)\n{\n    bpf_trace_printk("Hello, World!");\n    return 0;\n}\n'


@pytest.fixture
def calls():
    written = []
    boot.use(Recording(boot.system(boot.Options()), written.append))
    yield written
    boot.choose(boot.Options())


@pytest.fixture
def hello(calls):
    with BPF(text=HELLO) as b:
        calls.clear()
        b.attach_kprobe(event="do_sys_openat2", fn_name="hello_world")
        yield list(calls)


def test_the_program_is_loaded_instruction_by_instruction(hello):
    lines = hello[0].splitlines()
    assert lines[:4] == [
        "bpf(BPF_PROG_LOAD,",
        "    {",
        "        prog_type=BPF_PROG_TYPE_KPROBE,",
        "        insn_cnt=13,",
    ]
    first = "BPF_ALU64|BPF_K|BPF_MOV, dst_reg=BPF_REG_1, src_reg=BPF_REG_0, off=0, imm=0x21"
    assert f"            {{code={first}}}," in lines
    last = "BPF_JMP|BPF_K|BPF_EXIT, dst_reg=BPF_REG_0, src_reg=BPF_REG_0, off=0, imm=0"
    assert f"            {{code={last}}}" in lines
    assert sum("{code=" in line for line in lines) == 13
    assert '        prog_name="hello_world",' in lines
    assert lines[-2:] == ["    },", "    128) = 4"]


@pytest.mark.parametrize(
    ("request_", "shown"),
    [
        (
            LinkCreate(3, 2, AttachType.XDP, 4),
            "link_create={prog_fd=3, target_fd=2, attach_type=BPF_XDP, flags=4}",
        ),
        (
            LinkCreate(3, 0, AttachType.TRACE_ITER, map_fd=5),
            "link_create={prog_fd=3, target_fd=0, attach_type=BPF_TRACE_ITER, flags=0,"
            " iter_info={map={map_fd=5}}}",
        ),
        (
            LinkCreate(3, 0, AttachType.TRACE_ITER, tid=7),
            "link_create={prog_fd=3, target_fd=0, attach_type=BPF_TRACE_ITER, flags=0,"
            " iter_info={task={tid=7, pid=0}}}",
        ),
        (IterCreate(4), "iter_create={link_fd=4, flags=0}"),
    ],
)
def test_links_and_iterators(request_, shown):
    assert attributes(request_) == [shown]


def test_the_event_is_made_and_the_program_bound_to_it(hello):
    kind, read, close, event, bind, enable = hello[1:]
    path = "/sys/bus/event_source/devices/kprobe/type"
    assert kind == f'openat(AT_FDCWD, "{path}", O_RDONLY) = 5'
    assert read.startswith('read(5, "') and read.endswith('\\n", 4096) = 2')
    assert close == "close(5) = 0"
    lines = event.splitlines()
    assert lines[0] == "perf_event_open("
    assert "        wakeup_events=1," in lines
    assert '        config1="do_sys_openat2",' in lines
    assert lines[-4:] == ["    -1,", "    0,", "    -1,", "    PERF_FLAG_FD_CLOEXEC) = 5"]
    assert bind == "ioctl(5, PERF_EVENT_IOC_SET_BPF, 4) = 0"
    assert enable == "ioctl(5, PERF_EVENT_IOC_ENABLE, 0) = 0"


def test_maps(calls):
    system = boot.current()
    fd = system.bpf(MapCreate(1, 4, 8, 16, map_name="counts"))
    system.bpf(MapUpdate(fd, b"\x05\0\0\0", b"\x09" + bytes(7), 1))
    system.bpf(MapLookup(fd, b"\x05\0\0\0"))
    with pytest.raises(FileNotFoundError):
        system.bpf(MapLookup(fd, b"\x06\0\0\0"))
    system.close(fd)
    create, update, lookup, missing, close = calls
    assert "map_type=BPF_MAP_TYPE_HASH" in create and create.endswith("72) = 3")
    assert 'map_name="counts"' in create
    value = '"\\t\\0\\0\\0\\0\\0\\0\\0"'
    assert update == (
        f'bpf(BPF_MAP_UPDATE_ELEM, {{map_fd=3, key="\\5\\0\\0\\0", value={value}, '
        "flags=BPF_NOEXIST}, 32) = 0"
    )
    assert lookup == (
        f'bpf(BPF_MAP_LOOKUP_ELEM, {{map_fd=3, key="\\5\\0\\0\\0", value={value}}}, 32) = 0'
    )
    assert missing.endswith("value=NULL}, 32) = -1 ENOENT (No such file or directory)")
    assert close == "close(3) = 0"


def test_only_bpf_shows_nothing_else():
    written = []
    system = Recording(boot.system(boot.Options()), written.append, only_bpf=True)
    fd = system.open("/proc/kallsyms")
    system.read(fd, 10)
    system.close(fd)
    system.bpf(MapCreate(2, 4, 4, 1))
    assert [call.partition("(")[0] for call in written] == ["bpf"]


def test_a_refused_event():
    written = []
    system = Recording(boot.system(boot.Options()), written.append)
    with pytest.raises(OSError, match=r"."):
        system.perf_event_open(PerfEventAttr(6, target="no_such_function"), -1, 0)
    assert "= -1 E" in written[0]


def test_waiting():
    written = []
    system = Recording(boot.system(boot.Options()), written.append)
    system.wait(system.now() + 1_500_000_000)
    (call,) = written
    assert call.startswith("clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, {tv_sec=100")
    assert call.endswith("}, NULL) = 0")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"6\n", '"6\\n"'),
        (b'a"\\', '"a\\"\\\\"'),
        (b"\x00\x01", '"\\0\\1"'),
        (b"\x001", '"\\0001"'),
        (b"\xff" * 40, '"' + "\\377" * 32 + '"...'),
    ],
)
def test_strings(data, text):
    assert string(data) == text
