"""bpftool's views: layout against bpftool's own words, and looking from another process."""

import json
import os
import re
import subprocess
import sys

import pytest

from minibcc import boot
from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import EnableStats, ProgGetInfo, ProgLoad, ProgTestRun
from minibcc.bcc import BPF
from minibcc.cli import show
from minibcc.cli.show import Kernel
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

TEXT = """
struct who { u32 pid; char comm[16]; };
BPF_HASH(counts, struct who);
BPF_ARRAY(slots, u32, 2);
BPF_PERCPU_ARRAY(each, u64, 1);
BPF_PERF_OUTPUT(events);
int hello_world(void *ctx)
{
    bpf_trace_printk("Hello, World!");
    return 0;
}
int count(void *ctx) { struct who who = {}; counts.increment(who); slots.increment(1); return 0; }
"""
FACTS = {"pid": 152027, "boot_time": 1638018045 - 1000.0}  # the machine starts 1000 s after boot


@pytest.fixture
def b(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    boot.use(boot.system(boot.Options(engine="interpreter")))
    with BPF(text=TEXT) as made:
        made.load_func("hello_world", BPF.KPROBE)
        made.load_func("count", BPF.KPROBE)
        made["counts"][made["counts"].Key(5, b"bash")] = 9
        yield made
    boot.choose(boot.Options())


@pytest.fixture
def view(b, capsys):
    """Runs a view; what it prints."""

    def run(*words, status=0):
        capsys.readouterr()
        assert show.main(words, [Kernel(b.system, FACTS)]) == status
        out = capsys.readouterr()
        return out.out if status == 0 else out.err or out.out

    return run


def test_prog_list(view):
    first, second = re.split(r"\n(?=\d)", view("prog", "list").rstrip())
    assert re.sub(r"jited \d+B", "jited 70B", first) == (
        "1: kprobe  name hello_world  tag c21893ee8040b45c  gpl\n"
        "\tloaded_at 2021-11-27T13:00:45+0000  uid 0\n"
        "\txlated 104B  jited 70B  memlock 4096B\n"
        "\tbtf_id 2\n"
        "\tpids python3(152027)"
    )
    assert "name count  " in second and "  map_ids 1,2\n" in second


def test_prog_list_as_json(view):
    plain = view("-j", "prog", "list")
    assert plain.count("\n") == 1
    rows = json.loads(plain)
    assert rows[0].pop("bytes_jited") > 40
    assert rows[0] == {
        "id": 1, "type": "kprobe", "name": "hello_world", "tag": "c21893ee8040b45c",
        "gpl_compatible": True, "loaded_at": 1638018045, "uid": 0, "bytes_xlated": 104,
        "jited": True, "bytes_memlock": 4096, "btf_id": 2,
        "pids": [{"pid": 152027, "comm": "python3"}],
    }  # fmt: skip
    pretty = view("prog", "list", "-p")
    assert pretty.startswith('[{\n        "id": 1,\n        "type": "kprobe",\n')
    assert '        "map_ids": [1,2\n        ],\n' in pretty
    assert json.loads(pretty)[1] == rows[1]


@pytest.mark.parametrize(
    "words", [("id", "1"), ("name", "hello_world"), ("tag", "c21893ee8040b45c")]
)
def test_prog_show_one(view, words):
    assert view("prog", "show", *words).startswith("1: kprobe  name hello_world  ")
    assert view("-p", "prog", "show", *words).startswith('{\n    "id": 1,\n')


XLATED = """\
int hello_world(void * ctx):
; int hello_world(void *ctx)
   0: (b7) r1 = 33
; bpf_trace_printk("Hello, World!");
   1: (6b) *(u16 *)(r10 -4) = r1
   2: (b7) r1 = 1684828783
   3: (63) *(u32 *)(r10 -8) = r1
   4: (18) r1 = 0x57202c6f6c6c6548
   6: (7b) *(u64 *)(r10 -16) = r1
   7: (bf) r1 = r10
"""


def test_prog_dump_xlated(view):
    text = view("prog", "dump", "xlated", "id", "1")
    assert text.startswith(XLATED)
    assert re.search(r"^  10: \(85\) call bpf_trace_printk#-?\d+$", text, re.MULTILINE)
    assert text.endswith("; return 0;\n  11: (b7) r0 = 0\n  12: (95) exit\n")


def test_prog_dump_with_opcodes_and_lines(view):
    text = view("prog", "dump", "xlated", "id", "1", "opcodes")
    assert "   0: (b7) r1 = 33\n       b7 01 00 00 21 00 00 00\n" in text
    assert "\n       18 01 00 00 48 65 6c 6c 00 00 00 00 6f 2c 20 57\n" in text
    text = view("prog", "dump", "xlated", "id", "1", "linum")
    assert "; int hello_world(void *ctx) [file:<text> line_num:7 line_col:5]\n" in text


def test_prog_dump_as_json(view):
    rows = json.loads(view("-j", "prog", "dump", "xlated", "id", "1", "opcodes"))
    assert rows[0] == {
        "proto": "int hello_world(void * ctx)",
        "src": "int hello_world(void *ctx)",
        "disasm": "(b7) r1 = 33",
        "opcodes": {
            "code": "0xb7", "src_reg": "0x0", "dst_reg": "0x1", "off": ["0x00", "0x00"],
            "imm": ["0x21", "0x00", "0x00", "0x00"],
        },
    }  # fmt: skip
    assert rows[2] == {"disasm": "(b7) r1 = 1684828783", "opcodes": rows[2]["opcodes"]}
    assert len(rows[4]["opcodes"]["imm"]) == 12
    rows = json.loads(view("-j", "prog", "dump", "xlated", "id", "1", "linum"))
    assert (rows[0]["file"], rows[0]["line_num"], rows[0]["line_col"]) == ("<text>", 7, 5)


def test_prog_dump_jited(view):
    lines = view("prog", "dump", "jited", "id", "1").splitlines()
    assert lines[:2] == ["int hello_world(void * ctx):", "bpf_prog_c21893ee8040b45c_hello_world:"]
    assert "; int hello_world(void *ctx)" in lines[2:4]
    assert '; bpf_trace_printk("Hello, World!");' in lines
    assert any(re.fullmatch(r" +[0-9a-f]+:\tmovabs \$0x57202c6f6c6c6548,%r\w+", x) for x in lines)
    assert any(re.fullmatch(r" +[0-9a-f]+:\tcall   0x[0-9a-f]+", x) for x in lines)
    assert re.fullmatch(r" +[0-9a-f]+:\tret", lines[-1])
    rows = json.loads(view("-j", "prog", "dump", "jited", "id", "1", "opcodes"))
    assert (rows[0]["proto"], rows[0]["pc"]) == ("int hello_world(void * ctx)", "0x0")
    assert rows[-1]["opcodes"] == ["0xc3"]


def test_map_list(view):
    text = view("map", "list")
    assert text.startswith(
        "1: hash  name counts  flags 0x0\n\tkey 20B  value 8B  max_entries 10240  memlock "
    )
    rows = json.loads(view("-j", "map", "list"))
    assert [(row["type"], row["name"], row["max_entries"]) for row in rows] == [
        ("hash", "counts", 10240), ("array", "slots", 2), ("percpu_array", "each", 1),
        ("perf_event_array", "events", 4),
    ]  # fmt: skip
    assert all(row["bytes_memlock"] > 0 and row["frozen"] == 0 for row in rows)


def test_map_dump_by_types(view):
    assert view("map", "dump", "name", "counts") == (
        '[{\n        "key": {\n            "pid": 5,\n            "comm": "bash"\n        },\n'
        '        "value": 9\n    }\n]\n'
    )
    assert view("map", "dump", "name", "slots") == (
        '[{\n        "key": 0,\n        "value": 0\n    },{\n        "key": 1,\n'
        '        "value": 0\n    }\n]\n'
    )
    cpus = "".join(
        f'{{\n                "cpu": {cpu},\n                "value": 0\n            }},'
        for cpu in range(4)
    ).rstrip(",")
    assert view("map", "dump", "name", "each") == (
        f'[{{\n        "key": 0,\n        "values": [{cpus}\n        ]\n    }}\n]\n'
    )


def test_map_dump_as_json(view):
    (row,) = json.loads(view("-j", "map", "dump", "name", "counts"))
    assert row["key"] == ["0x05", *["0x00"] * 3, "0x62", "0x61", "0x73", "0x68", *["0x00"] * 12]
    assert row["formatted"] == {"key": {"pid": 5, "comm": "bash"}, "value": 9}
    (row,) = json.loads(view("-j", "map", "dump", "name", "each"))
    assert [part["cpu"] for part in row["values"]] == [0, 1, 2, 3]
    assert row["formatted"]["values"][0] == {"cpu": 0, "value": 0}


def test_a_map_without_types_or_values(view):
    lines = view("map", "dump", "name", "events").splitlines()
    assert lines[:3] == ["key:", "00 00 00 00", "value:"]
    assert lines[-1] == "Found 0 elements"


def test_map_lookup_and_getnext(view):
    key = ["05", "00", "00", "00", "62", "61", "73", "68"] + ["00"] * 12
    assert view("map", "lookup", "name", "counts", "key", "hex", *key) == (
        '{\n    "key": {\n        "pid": 5,\n        "comm": "bash"\n    },\n    "value": 9\n}\n'
    )
    assert view("map", "getnext", "name", "counts") == (
        "key: None\nnext key:\n05 00 00 00 62 61 73 68  00 00 00 00 00 00 00 00\n00 00 00 00\n"
    )
    assert "Not found" in view("map", "lookup", "name", "counts", "key", *["0"] * 20)
    assert "20 bytes, not 1" in view("map", "lookup", "name", "counts", "key", "5", status=1)


def test_btf(view):
    own = view("btf", "list").splitlines()[-1]
    assert re.fullmatch(r"2: name <anon>  size \d+B  prog_ids 2,1  map_ids 3,2,1", own)
    assert json.loads(view("-j", "btf", "list"))[-1]["prog_ids"] == [2, 1]
    assert "] STRUCT 'who' size=20" in view("btf", "dump", "id", "2")
    assert "struct who {" in view("btf", "dump", "prog", "id", "1", "format", "c")


def test_link_list(view, b):
    assert view("link", "list") == ""
    with BPF(text="int raw_tracepoint__sched_switch(void *ctx) { return 0; }"):
        assert view("link", "list") == (
            "1: raw_tracepoint  prog 3  \n\ttp_name 'sched_switch'  \n\tpids python3(152027)\n"
        )
        (row,) = json.loads(view("-j", "link", "list"))
    assert (row["type"], row["tp_name"]) == ("raw_tracepoint", "sched_switch")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("prog", "show", "id", "99"), "get by id (99): No such file or directory"),
        (("map", "dump", "id", "99"), "get map by id (99): No such file or directory"),
        (("prog", "show", "idd", "5"), "expected 'id', 'tag', 'name', got: 'idd'?"),
        (("prog", "show", "id", "x"), "can't parse x as ID"),
        (("btf", "dump", "id", "99"), "get btf by id (99): No such file or directory"),
    ],
)
def test_what_is_not_there(view, words, message):
    assert view(*words, status=1) == f"Error: {message}\n"
    assert json.loads(view("-j", *words, status=1)) == {"error": message}


SCRIPT = """
from bcc import BPF
b = BPF(text='''
BPF_HASH(NAME, u32);
int NAME_(void *ctx) { u32 key = 1; NAME.increment(key); return 0; }
''')
b.load_func("NAME_", BPF.KPROBE)
b["NAME"][5] = 7
print("ready", flush=True)
input()
"""


def test_other_scripts_are_seen_from_another_process(tmp_path):
    (tmp_path / "run").mkdir()
    environment = {**os.environ, "PYTHONPATH": ROOT, "XDG_RUNTIME_DIR": str(tmp_path / "run")}

    def minibcc(*words):
        return subprocess.run(
            [sys.executable, "-m", "minibcc", *words],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    nothing = minibcc("prog", "list")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "no script is running" in nothing.stderr
    assert minibcc("prog", "dump", "xlated", "id", "1").returncode == 1
    scripts = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.py"
        path.write_text(SCRIPT.replace("NAME", name))
        script = subprocess.Popen(
            [sys.executable, "-m", "minibcc", "run", str(path)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        scripts.append(script)
        assert script.stdout.readline() == "ready\n"
    try:
        rows = json.loads(minibcc("-j", "prog", "list").stdout)
        assert [(row["id"], row["name"]) for row in rows] == [(1, "one_"), (10001, "two_")]
        assert [row["pids"][0]["pid"] for row in rows] == [script.pid for script in scripts]
        (entry,) = json.loads(minibcc("-j", "map", "dump", "name", "two").stdout)
        assert entry["formatted"] == {"key": 5, "value": 7}
        listing = minibcc("prog", "dump", "xlated", "id", "10001").stdout
        assert "r1 = map[id:10001]" in listing
        native = minibcc("prog", "dump", "jited", "id", "10001").stdout.splitlines()
        assert native[0] == "int two_(void * ctx):"
        assert re.fullmatch(r"bpf_prog_[0-9a-f]{16}_two_:", native[1])
        assert all(re.match(r"; | *[0-9a-f]+:\t", line) for line in native[2:])
    finally:
        for script in scripts:
            script.communicate("\n", timeout=60)
    assert [script.returncode for script in scripts] == [0, 0]
    assert "no script is running" in minibcc("prog", "list").stderr


@pytest.fixture
def loaded():
    """A program and its maps in the running kernel; the program's id."""
    boot.use(boot.system(boot.Options(kernel="linux")))
    with BPF(text=TEXT) as b:
        b.load_func("hello_world", BPF.KPROBE)
        fd = b.load_func("count", BPF.KPROBE).fd
        counts = b["counts"]
        counts[counts.Key(5, b"bash")] = 9
        from minibcc.abi.requests import ProgGetInfo

        yield str(b.system.bpf(ProgGetInfo(fd)).id)
    boot.choose(boot.Options())


@pytest.mark.kernel
@pytest.mark.tool("bpftool")
def test_bpftool_prints_the_same_of_what_has_run(capsys):
    """How often and how long, where that was counted."""
    system = boot.system(boot.Options(kernel="linux"))
    fd = system.bpf(ProgLoad(ProgType.SOCKET_FILTER, encode(assemble("r0 = 0\nexit")))).fd
    stats = system.bpf(EnableStats())
    system.bpf(ProgTestRun(fd, bytes(64), repeat=7))
    system.close(stats)
    number = str(system.bpf(ProgGetInfo(fd)).id)
    for form, text in ((), " run_cnt 7\n"), (("-j",), '"run_cnt":7,'), (("-p",), '"run_cnt": 7,'):
        arguments = [*form, "prog", "show", "id", number]
        wanted = subprocess.run(["bpftool", *arguments], capture_output=True, text=True).stdout
        assert text in wanted
        assert show.main([*arguments, "--linux"]) == 0
        assert capsys.readouterr().out == wanted
    system.close(fd)


@pytest.mark.kernel
@pytest.mark.tool("bpftool")
def test_bpftool_prints_the_same_of_the_running_kernel(loaded, capsys):
    for words in (
        "prog show id ID", "-j prog show id ID", "-p prog show id ID",
        "prog dump xlated id ID", "prog dump xlated id ID opcodes", "prog dump xlated id ID linum",
        "-j prog dump xlated id ID", "-j prog dump xlated id ID opcodes",
        "-j prog dump xlated id ID linum",
        "-p prog dump xlated id ID", "map show name counts", "-j map show name counts",
        "-p map show name each", "map dump name counts", "-j map dump name counts",
        "-p map dump name counts", "map dump name slots", "-p map dump name slots",
        "map dump name each", "-j map dump name each", "-p map dump name each",
        "map getnext name counts",
    ):  # fmt: skip
        arguments = words.replace("ID", loaded).split()
        wanted = subprocess.run(["bpftool", *arguments], capture_output=True, text=True).stdout
        assert show.main([*arguments, "--linux"]) == 0
        assert capsys.readouterr().out == wanted, words
