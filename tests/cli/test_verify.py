"""``minibcc verify``: a report a program, of C, of object files, of raw lines."""

import io
import json
import os
import shutil
import subprocess

import pytest

from minibcc import boot
from minibcc.cli.main import main
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from tests import live

TEXT = """\
BPF_HASH(counts, u32, u64);
static __attribute__((noinline)) u64 twice(u64 x) { return x + x; }
int bad(struct pt_regs *ctx) {
    u32 pid = bpf_get_current_pid_tgid();
    u64 *value = counts.lookup(&pid);
    return twice(*value);
}
int good(struct pt_regs *ctx) {
    u32 pid = bpf_get_current_pid_tgid();
    u64 *value = counts.lookup(&pid);
    return value ? twice(*value) : 0;
}
"""
LIBBPF = """\
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
struct {
    int (*type)[1];
    int (*max_entries)[100];
    u32 *key;
    u64 *value;
} counts SEC(".maps");
static void *(*lookup)(void *, const void *) = (void *)1;
u64 total;
const volatile u32 wanted = 3;
struct xdp_md { u32 data, data_end; };
static __attribute__((noinline)) u64 squared(u64 x) { return x * x + total; }
SEC("xdp") int one(struct xdp_md *ctx) {
    u32 key = wanted;
    u64 *value = lookup(&counts, &key);
    return value ? squared(*value) & 1 : 0;
}
SEC("xdp") int two(struct xdp_md *ctx) {
    char *data = (void *)(long)ctx->data;
    return data[0];
}
char _license[] SEC("license") = "GPL";
"""


@pytest.fixture
def minibcc(tmp_path, monkeypatch, capsys):
    """Runs a command line in a folder that holds the texts; status, output, errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.c").write_text(TEXT)

    def run(*words, stdin=""):
        boot.choose(boot.Options())
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        status = main(words)
        return (status, *capsys.readouterr())

    yield run
    boot.choose(boot.Options())


def test_a_report_says_where_and_why(minibcc):
    status, out, err = minibcc("verify", "a.c")
    lines = out.splitlines()
    assert (status, err) == (1, "")
    assert lines[0].startswith("bad: kprobe  refused  7 instructions walked, ")
    assert lines[1].startswith("a.c:6:")
    assert lines[1].endswith(" [verify/null-deref]")
    assert lines[-1].startswith("good: kprobe  accepted  ")


def test_the_kernels_log(minibcc):
    out = minibcc("verify", "a.c", "--log")[1]
    assert "; return twice(*value); @ a.c:6\n7: (79) r1 = *(u64 *)(r0 +0)\nR0 invalid mem" in out


def test_the_log_before_the_file(minibcc):
    assert minibcc("verify", "--log", "a.c")[1].count("\nprocessed ") == 2


@pytest.mark.kernel
def test_the_running_kernel_is_told_of_alike(minibcc):
    live.kernel()
    ours, theirs = (
        json.loads(minibcc("verify", "a.c", "--json", "--kernel", kernel)[1])
        for kernel in ("sim", "linux")
    )
    assert [{**report, "ms": 0, "states": 0, "most_states": 0} for report in ours] == [
        {**report, "ms": 0, "states": 0, "most_states": 0} for report in theirs
    ]


@pytest.mark.kernel
def test_a_line_for_the_running_kernel(minibcc):
    live.kernel()
    line = _line("r0 = *(u64 *)(r1 +400)\nexit")
    found = json.loads(minibcc("verify", "--batch", "--kernel", "linux", "-", stdin=line)[1])
    assert (found["verdict"], found["errno"]) == ("REJECT", 13)
    assert found["reason"] == "invalid bpf_context access off=400 size=8"
    assert found["code"] == "verify/context-access"


def test_json_says_it_all(minibcc):
    bad, good = json.loads(minibcc("verify", "a.c", "--json", "--type", "xdp")[1])
    assert (bad["program"], bad["type"], bad["verdict"]) == ("bad", "xdp", "REJECT")
    assert (bad["errno"], bad["code"], bad["processed"]) == (13, "verify/null-deref", 7)
    assert (good["verdict"], good["errno"]) == ("ACCEPT", 0)


def test_an_object_file_is_judged_as_its_text(minibcc):
    assert minibcc("compile", "a.c", "-o", "a.bpf.o")[0] == 0
    texts = json.loads(minibcc("verify", "a.c", "--json")[1])
    objects = json.loads(minibcc("verify", "a.bpf.o", "--json")[1])
    for text, of_object in zip(texts, objects, strict=True):
        assert {**text, "ms": 0, "text": ""} == {**of_object, "ms": 0, "text": ""} or (
            text["text"] == of_object["text"]
        )


@pytest.mark.native
def test_what_clang_makes_of_libbpfs_c(minibcc, tmp_path):
    if shutil.which("clang") is None:
        pytest.skip("needs clang")
    (tmp_path / "b.c").write_text(LIBBPF)
    command = ["clang", "-O2", "-g", "-target", "bpf", "-c", "b.c", "-o", "b.bpf.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    one, two = json.loads(minibcc("verify", "b.bpf.o", "--json")[1])
    assert (one["program"], one["type"], one["verdict"]) == ("one", "xdp", "ACCEPT")
    assert (two["code"], two["errno"]) == ("verify/packet-bounds", 13)
    assert "b.c:22:12: error" in two["text"]


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("verify", "none.c"), 1, "minibcc: cannot open none.c: No such file or directory\n"),
        (("verify", "a.c", "--type", "thing"), 2, "minibcc: no program type 'thing': there are "),
        (("verify", "a.c", "--log", "9"), 2, "minibcc: no log level 9"),
        (("verify", "bad.o"), 1, "minibcc: not a BPF object: "),
    ],
)
def test_what_is_wrong_is_said(minibcc, tmp_path, words, status, text):
    (tmp_path / "bad.o").write_bytes(b"\x7fELF\x02\x01" + bytes(100))
    found, out, err = minibcc(*words)
    assert (found, out) == (status, "")
    assert err.startswith(text)


def _line(text, prog_type=2, **more):
    insns = encode(assemble(text, {"0": 0})).hex()
    return json.dumps({"id": "x", "insns": insns, "prog_type": prog_type, **more})


HASH = {"type": 1, "key_size": 4, "value_size": 8, "max_entries": 10}
LOOKUP = "r1 = map[0]\nr2 = r10\nr2 += -4\ncall bpf_map_lookup_elem#1\n"


def test_batch(minibcc):
    of_maps = {"type": 13, "key_size": 4, "value_size": 4, "max_entries": 1, "inner": HASH}
    lines = [
        _line("r0 = 0\nexit"),
        _line("exit"),
        _line(LOOKUP + "r0 = *(u64 *)(r0 +0)\nexit", maps=[HASH], map_refs=[[0, 0]]),
        _line(LOOKUP + "r0 = 0\nexit", maps=[HASH], map_refs=[[0, 0]]),
        _line(LOOKUP + "r0 = 0\nexit", maps=[of_maps, HASH], map_refs=[[0, 1]]),
        _line("call bpf_probe_read_kernel#113\nexit", license="MIT"),
        _line("r0 = 0\nexit", maps=[{**HASH, "max_entries": 0}]),
        _line("r0 = 0\nexit", 77),
        json.dumps({"id": 9}),
        "no line",
    ]
    before = len(os.listdir("/proc/self/fd"))
    status, out, err = minibcc("verify", "--batch", stdin="\n".join(lines))
    rows = [json.loads(line) for line in out.splitlines()]
    assert (status, err, len(rows)) == (0, "", len(lines))
    assert [row["verdict"] for row in rows] == (
        ["ACCEPT", "REJECT", "REJECT", "ACCEPT", "ACCEPT", *["REJECT"] * 5]
    )
    assert [row["errno"] for row in rows] == [0, 13, 13, 0, 0, 22, 22, 22, 7, 22]
    assert rows[1]["reason"] == "R0 !read_ok"
    assert [row["code"] for row in rows[1:3]] == ["verify/uninitialised", "verify/null-deref"]
    assert [row["processed"] for row in rows[:4]] == [2, 1, 5, 6]
    assert len(os.listdir("/proc/self/fd")) == before


def test_batch_says_what_is_wrong_with_a_line(minibcc):
    code = "r0 = 0\nexit"
    wrong = {
        "[1]": "not a JSON object",
        "[" * 100_000: "not a JSON object: maximum recursion depth exceeded",
        json.dumps({"insns": "zz"}): "insns: non-hexadecimal number",
        json.dumps({"insns": 5}): "insns is no text: 5",
        json.dumps({"insns": "b7"}): "insns: 1 bytes are no whole number",
        _line(code, "xdp"): 'prog_type is no 32-bit number: "xdp"',
        _line(code, 99): "there is no program type 99",
        _line(code, prog_flags=-1): "prog_flags is no 32-bit number: -1",
        _line(code, license=5): "license is no text: 5",
        _line(code, maps=5): "maps is no list: 5",
        _line(code, maps=[5]): "a map is no JSON object: 5",
        _line(code, maps=[{**HASH, "inner": 7}]): "a map is no JSON object: 7",
        _line(code, maps=[{**HASH, "type": 999}]): "there is no map type 999",
        _line(code, maps=[{**HASH, "key_size": "4"}]): 'key_size is no 32-bit number: "4"',
        _line(code, map_refs=[5]): "map_refs: no slot and index of a map: 5",
        _line(code, map_refs=[[0, 0]]): "map_refs: slot 0 is no 64-bit load",
        _line(code, map_refs=[[9, 0]]): "map_refs: slot 9 is no 64-bit load",
        _line(
            LOOKUP + code, map_refs=[[-7, 0]], maps=[HASH]
        ): "map_refs: slot -7 is no 64-bit load",
        _line(LOOKUP + code, map_refs=[[0, 3]]): "map_refs: there is no map 3, there are 0",
        _line(LOOKUP + code, map_refs=[[0, -1]], maps=[HASH]): "map_refs: there is no map -1,",
    }
    status, out, err = minibcc("verify", "--batch", stdin="\n".join(wrong))
    rows = [json.loads(line) for line in out.splitlines()]
    assert (status, err, len(rows)) == (0, "", len(wrong))
    for row, reason in zip(rows, wrong.values(), strict=True):
        assert (row["verdict"], row["errno"]) == ("REJECT", 22)
        assert row["reason"].startswith(reason)
