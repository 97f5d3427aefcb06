"""BCC's small modules, and that every code which the library uses is explained."""

import argparse
import io
import os
import re
import sys
from pathlib import Path

import pytest

import minibcc
from minibcc import bcc
from minibcc.bcc import BPF, containers, syscall, tcp, utils
from minibcc.bcc import exec as runner
from minibcc.diagnostics import registry

PACKAGE = Path(minibcc.__file__).parent


def test_printb_prints_bytes():
    out = io.TextIOWrapper(io.BytesIO())
    out.write("text ")
    utils.printb(b"\xff bytes", file=out)
    utils.printb(b"none", file=out, nl=0)
    assert out.buffer.getvalue() == b"text \xff bytes\nnone"


def test_cpu_lists(system):
    assert utils.cpu_list("0-2,5,7-8\n") == [0, 1, 2, 5, 7, 8]
    assert utils.get_online_cpus() == utils.get_possible_cpus() == [0, 1, 2, 3]


def test_argument_strings():
    assert bytes(utils.ArgString("a\udcff")) == b"a\xff"
    assert str(utils.ArgString("a")) == "a"
    assert (utils.to_bytes("x"), utils.to_bytes(b"x"), utils.to_bytes(None)) == (b"x", b"x", None)


@pytest.mark.parametrize(
    ("user", "read"), [(False, "bpf_probe_read"), (True, "bpf_probe_read_user")]
)
def test_strcmp_becomes_a_function(system, user, read):
    done = utils.StrcmpRewrite.rewrite_expr('STRCMP("sh", path)', False, user, [], "", 3)
    assert (done["expr"], done["probeid"]) == ('streq_3("sh", path)', 4)
    assert f"{read}(&found" in done["streq_functions"]
    text = (
        done["streq_functions"] + "int f(struct pt_regs *ctx) { u64 path = ctx->di; return EXPR; }"
    )
    BPF(text=text.replace("EXPR", done["expr"])).cleanup()


def test_system_calls():
    assert syscall.syscall_name(257) == b"openat"
    assert syscall.syscall_name(99999) == b"[unknown: 99999]"
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if header.exists():
        known = re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())
        assert [n for n, i in known if syscall.syscalls[int(i)] != n.encode()] == []


def test_tcp_words():
    assert tcp.flags2str(0x12) == "SYN|ACK"
    assert (tcp.tcpstate[1], tcp.state2str(10), tcp.state2str(99)) == (
        "ESTABLISHED", "LISTEN", "UNKNOWN",
    )  # fmt: skip


def test_filters_by_containers(system):
    plain = argparse.Namespace(cgroupmap=None, mntnsmap=None)
    text = containers.filter_by_containers(plain)
    BPF(text=text + "int f(void *ctx) { return container_should_be_filtered(); }").cleanup()
    some = argparse.Namespace(cgroupmap="/sys/fs/bpf/c", mntnsmap="/sys/fs/bpf/m")
    text = containers.filter_by_containers(some)
    assert '"/sys/fs/bpf/c"' in text and '"/sys/fs/bpf/m"' in text


def test_a_command_is_held_back_until_the_tool_is_ready(tmp_path):
    mark = tmp_path / "mark"
    pid = runner.run_cmd([sys.executable, "-c", f"open({str(mark)!r}, 'w')"])
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    assert not mark.exists() and not runner.cmd_exited()
    runner.cmd_ready()
    while not runner.cmd_exited():
        pass
    assert mark.exists()


def test_includes_are_guessed_from_words():
    assert BPF.generate_auto_includes(["struct", "sk_buff", "bio"]) == (
        "#include <linux/blkdev.h>\n#include <linux/netdevice.h>\n"
    )


def test_constants_are_linux_numbers():
    assert (BPF.KPROBE, BPF.SCHED_CLS, BPF.XDP, BPF.TRACING, BPF.LSM) == (2, 3, 6, 26, 29)
    assert (bcc.PerfType.SOFTWARE, bcc.PerfSWConfig.CPU_CLOCK, bcc.PerfHWConfig.CPU_CYCLES) == (
        1, 0, 0,
    )  # fmt: skip
    assert (BPF.XDP_DROP, BPF.XDP_FLAGS_SKB_MODE, bcc.BPFAttachType.XDP) == (1, 2, 37)


def test_what_is_exported_is_there():
    assert all(hasattr(bcc, name) for name in bcc.__all__)
    assert all(hasattr(minibcc, name) for name in minibcc.__all__)


def test_every_code_of_the_library_is_explained():
    used = set()
    for file in (PACKAGE / "bcc").glob("*.py"):
        used |= set(re.findall(r'"(load/[a-z-]+)"', file.read_text()))
    assert used and used <= set(registry())
