"""The simulated kernel's BTF: what it must hold, and that it is what the command makes."""

import re
import subprocess
from pathlib import Path
from shutil import which

import pytest

from minibcc.btf.decode import Btf
from minibcc.btf.layout import Kind
from minibcc.btf.types import (
    Func,
    Int,
    Member,
    Ptr,
    Struct,
    Type,
    Typedef,
    find_member,
    size_of,
    strip,
)
from tests.btf.kernel import BLOB, kernel_btf
from tests.build.btf import LIVE, reduced
from tests.build.declarations import declarations


def struct(name: str) -> Struct:
    found = kernel_btf().find(Kind.STRUCT, name)
    assert isinstance(found, Struct)
    return found


def test_it_is_consistent() -> None:
    """Every type can be had, laid out, and found again by its name."""
    btf = kernel_btf()
    for type_id in range(1, btf.count + 1):
        type = btf.type(type_id)
        assert type is not None
        if isinstance(type, Struct):
            for member in type.members:
                end = member.offset + (member.bits or 8 * _size(member))
                assert end <= 8 * type.size, (type, member)
        name = getattr(type, "name", "")
        if name and not isinstance(type, Int):
            assert type_id in btf.find_all(btf.kind(type_id), name)


def _size(member: Member) -> int:
    try:
        return size_of(member.type)
    except ValueError:
        return 0


def test_it_opens_without_work() -> None:
    data = BLOB.read_bytes()
    btf = Btf(data)
    assert btf.indexed
    assert len(btf.data) + len(btf.index) <= len(data) <= len(btf.data) + len(btf.index) + 3
    assert len(data) < 2_700_000


# Chains that BCC's tools read, from what type to what type.
CHAINS = """\
task_struct pid pid_t
task_struct tgid pid_t
task_struct comm char[16]
task_struct __state unsigned int
task_struct real_parent struct task_struct *
task_struct se.cfs_rq struct cfs_rq *
task_struct nsproxy struct nsproxy *
task_struct thread_pid struct pid *
nsproxy mnt_ns struct mnt_namespace *
mnt_namespace ns.inum unsigned int
pid level unsigned int
cfs_rq nr_queued unsigned int
dentry d_name const struct qstr
qstr name const unsigned char *
file f_op const struct file_operations *
file f_inode struct inode *
file f_path.dentry struct dentry *
inode i_ino long unsigned int
inode i_rdev dev_t
super_block s_dev dev_t
kiocb ki_filp struct file *
kiocb ki_pos loff_t
request __data_len unsigned int
request cmd_flags blk_opf_t
request __sector sector_t
request q struct request_queue *
request_queue disk struct gendisk *
gendisk disk_name char[32]
gendisk major int
gendisk first_minor int
sock __sk_common.skc_family short unsigned int
sock __sk_common.skc_dport __be16
sock __sk_common.skc_num __u16
sock __sk_common.skc_daddr __be32
sock __sk_common.skc_rcv_saddr __be32
sock __sk_common.skc_v6_daddr.in6_u.u6_addr32 __be32[4]
sock __sk_common.skc_net.net struct net *
net ns.inum unsigned int
sock sk_protocol u16
sock sk_wmem_queued int
inet_sock inet_sport __be16
inet_sock inet_saddr __be32
sk_buff head unsigned char *
sk_buff transport_header __u16
sk_buff network_header __u16
sk_buff len unsigned int
sk_buff protocol __be16
sk_buff dev struct net_device *
net_device name char[16]
socket sk struct sock *
tcphdr source __be16
iphdr saddr __be32
ipv6hdr nexthdr __u8
ethhdr h_proto __be16
msghdr msg_controllen __kernel_size_t
pt_regs di long unsigned int
pt_regs orig_ax long unsigned int
oom_control chosen struct task_struct *
renamedata new_dentry struct dentry *
zone zone_pgdat struct pglist_data *
pglist_data node_zones struct zone[5]
kmem_cache name const char *
bpf_raw_tracepoint_args args __u64[0]
__sk_buff len __u32
xdp_md data __u32
nfs_commit_data args.offset __u64
nfs_commit_data context struct nfs_open_context *
nfs_open_context dentry struct dentry *
iov_iter iter_type u8
linux_binprm filename const char *
"""


@pytest.mark.parametrize("line", CHAINS.splitlines())
def test_it_holds_what_tools_read(line: str) -> None:
    from minibcc.btf.show import spell

    name, path, spelled = line.split(maxsplit=2)
    current: Type | None = struct(name)
    for part in path.split("."):
        inside = strip(current)
        assert isinstance(inside, Struct), line
        found = find_member(inside, part)
        assert found is not None, line
        current = found[0].type
    assert spell(current) == spelled


@pytest.mark.parametrize(
    ("function", "params"),
    [
        ("do_sys_openat2", ["dfd", "filename", "how"]),
        ("vfs_read", ["file", "buf", "count", "pos"]),
        ("tcp_v4_connect", ["sk", "uaddr", "addr_len"]),
        ("__x64_sys_clone", ["__unused"]),
        ("__x64_sys_getpid", None),
        ("blk_mq_start_request", ["rq"]),
        ("ext4_file_read_iter", ["iocb", "to"]),
        ("xfs_file_read_iter", ["iocb", "to"]),
        ("btrfs_file_write_iter", ["iocb", "from"]),
        ("nfs_file_read", ["iocb", "to"]),
        ("zpl_iter_read", ["kio", "to"]),
        ("finish_task_switch", ["prev"]),
        ("security_file_open", ["file"]),
        ("bpf_task_from_pid", ["pid"]),
    ],
)
def test_it_holds_functions(function: str, params: list[str] | None) -> None:
    found = kernel_btf().find(Kind.FUNC, function)
    assert isinstance(found, Func)
    if params and params != ["__unused"]:
        assert [param.name for param in found.proto.params] == params


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("TCP_ESTABLISHED", 1),
        ("IPPROTO_TCP", 6),
        ("REQ_OP_WRITE", 1),
        ("BPF_ANY", 0),
        ("PIDTYPE_TGID", 1),
    ],
)
def test_it_holds_constants(name: str, number: int) -> None:
    found = kernel_btf().find_enumerator(name)
    assert found is not None and found[1] == number


def test_forward_declarations_are_what_only_functions_mention() -> None:
    """What was cut off is never part of a struct by value."""
    btf = kernel_btf()
    for type_id, _ in btf.named(Kind.STRUCT):
        found = btf.type(type_id)
        assert isinstance(found, Struct)
        for member in found.members:
            inside = strip(member.type)
            assert not isinstance(inside, Struct) or inside.complete, (found, member)


def test_functions_lie_side_by_side_in_the_order_of_their_names() -> None:
    first, last, count = kernel_btf().span(Kind.FUNC)
    assert count == last - first + 1 > 20_000
    names = [name for _, name in kernel_btf().named(Kind.FUNC)]
    assert names == sorted(names)


@pytest.mark.kernel
def test_it_is_the_reduction_of_the_live_kernels() -> None:
    release = Path("/proc/sys/kernel/osrelease")
    if not LIVE.exists() or not release.read_text().startswith("6.18."):
        pytest.skip("this is no Linux 6.18 that shows its BTF")
    made = reduced(LIVE.read_bytes())
    if not _same_kernel(made):
        pytest.skip("this Linux 6.18 was configured differently")
    assert made == BLOB.read_bytes(), "run: python -m tests.build btf"


def _same_kernel(made: bytes) -> bool:
    """Whether both come from one configuration: the layouts that vary most are the same."""
    other = Btf(made)
    for name in ("task_struct", "sk_buff", "inode", "mm_struct", "net_device", "request", "sock"):
        found = other.find(Kind.STRUCT, name)
        assert isinstance(found, Struct)
        mine = [(m.name, m.offset) for m in struct(name).members]
        if [(m.name, m.offset) for m in found.members] != mine:
            return False
    return True


@pytest.mark.tool
@pytest.mark.skipif(not which("bpftool"), reason="no bpftool here")
def test_bpftool_reads_it_in_spite_of_the_index() -> None:
    command = ["bpftool", "btf", "dump", "file", BLOB]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert lines.count("\n[") + 1 == kernel_btf().count
    assert re.search(r"^\[\d+\] STRUCT 'task_struct' size=\d+", lines, re.MULTILINE)


class TestDeclarations:
    def test_layout_is_gccs(self) -> None:
        text = (
            "struct a { char c; int i; short s; u64 q; char t; };"
            "union u { int i; char c[7]; };"
            "struct bits { unsigned int a : 3; unsigned int b : 30; char c; u8 d : 2; };"
            "typedef struct a *a_ptr; enum e { X, Y = 5, Z };"
            "int f(struct a *x, ...); void g(void);"
        )
        made = {getattr(t, "name", ""): t for t in declarations(text, kernel_btf())}
        a, u, bits = (made[name] for name in ("a", "u", "bits"))
        assert isinstance(a, Struct) and isinstance(u, Struct) and isinstance(bits, Struct)
        assert ([m.offset for m in a.members], a.size) == ([0, 32, 64, 128, 192], 32)
        assert (u.size, u.union) == (8, True)
        assert [(m.offset, m.bits) for m in bits.members] == [(0, 3), (32, 30), (64, 0), (72, 2)]
        assert bits.size == 12
        alias, f, g, e = (made[name] for name in ("a_ptr", "f", "g", "e"))
        assert isinstance(alias, Typedef) and alias.of == Ptr(a)
        assert isinstance(f, Func) and f.proto.variadic and f.proto.params[0].type == Ptr(a)
        assert isinstance(g, Func) and g.proto.params == () and g.proto.result is None
        assert e.values == {"X": 0, "Y": 5, "Z": 6}  # type: ignore[union-attr]  # an Enum

    def test_names_come_from_the_kernel(self) -> None:
        (f,) = declarations("loff_t f(struct file *file);", kernel_btf())
        assert isinstance(f, Func)
        assert f.proto.result is kernel_btf().find(Kind.TYPEDEF, "loff_t")
        assert f.proto.params[0].type == Ptr(struct("file"))

    def test_modules_are_tags(self) -> None:
        f, tag = declarations("#pragma module nfs\nint f(void);", kernel_btf())
        assert (tag.name, tag.of) == ("module:nfs", f)  # type: ignore[union-attr]  # a DeclTag

    @pytest.mark.parametrize("text", ["#pragma other x", "enum no_such f(void);"])
    def test_what_is_not_covered_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError):
            declarations(text, kernel_btf())
