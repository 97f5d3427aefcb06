"""``minibcc compile``, ``trace`` and ``explain``: what people see of a text."""

import subprocess

import pytest

from minibcc import boot
from minibcc.cli.main import main
from minibcc.diagnostics import registry

HELLO = """\
int hello_world(void *ctx)
{
    bpf_trace_printk("Hello, World!");
    return 0;
}
"""
COUNT = """\
BPF_HASH(counts, u32);
int kprobe__do_sys_openat2(struct pt_regs *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    char comm[16];
    bpf_get_current_comm(&comm, sizeof(comm));
    u64 *n = counts.lookup(&pid);
    if (n)
        (*n)++;
    return 0;
}
"""


@pytest.fixture
def minibcc(tmp_path, monkeypatch, capsys):
    """Runs a command line in a folder that holds the texts; status, output, errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello.c").write_text(HELLO)
    (tmp_path / "count.c").write_text(COUNT)

    def run(*words):
        boot.choose(boot.Options())
        status = main(words)
        return (status, *capsys.readouterr())

    yield run
    boot.choose(boot.Options())


def test_the_first_program_has_the_articles_tag(minibcc):
    status, out, err = minibcc("compile", "hello.c")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:3] == [
        "hello_world: function",
        "\t13 instructions  104B  stack 16B",
        "\ttag 38dd440716c4900f (SHA-1)  c21893ee8040b45c (SHA-256)",
    ]
    assert lines[5] == '; bpf_trace_printk("Hello, World!");'
    assert lines[-1] == "  12: (95) exit"


def test_maps_stand_in_the_listing_by_name(minibcc):
    _, out, _ = minibcc("compile", "count.c")
    assert out.startswith("map counts: hash  key 4B  value 8B  max_entries 10240\n\n")
    assert "kprobe__do_sys_openat2: kprobe  attaches to do_sys_openat2\n" in out
    assert "r1 = map[counts]\n" in out


@pytest.mark.tool("llvm-objdump-14")
def test_an_object_file_is_one(minibcc, tmp_path):
    assert minibcc("compile", "hello.c", "-o", "hello.bpf.o") == (0, "", "")
    done = subprocess.run(
        ["llvm-objdump-14", "-d", "hello.bpf.o"], capture_output=True, text=True, check=True
    )
    assert "elf64-bpf" in done.stdout
    assert "<hello_world>:" in done.stdout


def test_stages(minibcc):
    status, out, _ = minibcc("compile", "hello.c", "--show", "ir")
    assert status == 0 and "define" in out
    status, _, err = minibcc("compile", "hello.c", "--show", "nonsense")
    assert status == 2 and "there are pp, tree, plain, ir," in err


def test_macros_and_instruction_sets_can_be_chosen(minibcc, tmp_path):
    (tmp_path / "macro.c").write_text("int f(void *ctx) { return ANSWER; }")
    assert "r0 = 42" in minibcc("compile", "-D", "ANSWER=42", "macro.c")[1]
    (tmp_path / "shift.c").write_text("int f(int *ctx) { return *ctx < 5 ? 1 : 2; }")
    assert "w0" not in minibcc("compile", "--cpu", "v2", "shift.c")[1]
    assert "w0" in minibcc("compile", "--cpu", "v3", "shift.c")[1]


def test_what_does_not_compile_is_status_1(minibcc, tmp_path):
    (tmp_path / "bad.c").write_text("int f(void *ctx) { return x; }")
    status, out, err = minibcc("compile", "bad.c")
    assert (status, out) == (1, "")
    assert err.startswith("bad.c:1:")
    status, _, err = minibcc("compile", "nowhere.c")
    assert (status, err) == (1, "minibcc: cannot open nowhere.c: No such file or directory\n")


def test_a_trace_shows_each_instruction_and_its_effect(minibcc):
    status, out, _ = minibcc("trace", "hello.c", "--event", "do_sys_openat2")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "hello_world at kprobe do_sys_openat2 in cat (304) on CPU 0, r1 = ctx"
    rows = {line[:4].strip(): line[49:] for line in lines if line[4:6] == ": "}
    assert rows["0"] == "r1 = 33"
    assert rows["1"] == "fp-4: 21 00"
    assert rows["6"] == 'fp-16: 48 65 6c 6c 6f 2c 20 57  "Hello, W"'
    assert rows["8"] == "r1 = fp-16"
    assert rows["10"].startswith("bpf_trace_printk(fp-16, 14) = ")
    assert 'hello.c:3: bpf_trace_printk("Hello, World!");' in lines
    assert lines[-2] == "returned 0"
    assert lines[-1].endswith("bpf_trace_printk: Hello, World!")


def test_a_trace_follows_the_programs_own_event(minibcc):
    status, out, _ = minibcc("trace", "count.c")
    assert status == 0
    assert "do_sys_openat2 at kprobe do_sys_openat2 in cat (304)" in out
    assert 'fp-24: 63 61 74  "cat"' in out
    assert "bpf_map_lookup_elem(counts, fp-4) = 0" in out
    assert "goes to " in out


def test_a_plain_function_runs_once_without_an_event(minibcc):
    status, out, _ = minibcc("trace", "hello.c")
    assert status == 0
    assert out.count("call bpf_trace_printk") == 1


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (("count.c", "--event", "no_such_function"), 1, "there is no such event"),
        (("count.c", "--program", "no"), 2, "the file defines kprobe__do_sys_openat2"),
        (("hello.c", "--event", "syscalls:sys_enter_reboot"), 2, "never passes"),
    ],
)
def test_what_cannot_be_traced(minibcc, words, status, part):
    found, _, err = minibcc("trace", *words)
    assert found == status
    assert part in err


def test_every_code_can_be_explained(minibcc):
    status, out, _ = minibcc("explain")
    assert status == 0
    assert {line.split()[0] for line in out.splitlines()} == set(registry())
    status, out, _ = minibcc("explain", "[load/no-such-function]")
    assert status == 0
    assert out.startswith("load/no-such-function: the kernel has no such function\n")
    assert "\nRefused:\n\n    int kprobe__do_sys_openat3" in out
    status, _, err = minibcc("explain", "load/no-such-functon")
    assert status == 2 and "did you mean load/no-such-function" in err
