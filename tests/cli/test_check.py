"""``minibcc check``: what it says of scripts, and what it does not let them do."""

import json
import os
import shutil
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

GOOD = "int good(struct pt_regs *ctx) { return 0; }"
NULL = """
BPF_HASH(seen, u32, u64);
int bad(struct pt_regs *ctx) { u32 key = 1; u64 *found = seen.lookup(&key); return *found; }
"""


@pytest.fixture
def check(tmp_path):
    """Checks a script; the finished process."""

    def run(script, *words, options=(), before=()):
        (tmp_path / "script.py").write_text(f"from bcc import BPF\n{script}")
        return subprocess.run(
            [*before, sys.executable, "-m", "minibcc", "check", *options, "script.py", *words],
            cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env={**os.environ, "PYTHONPATH": ROOT, "XDG_RUNTIME_DIR": str(tmp_path)},
        )  # fmt: skip

    return run


@pytest.fixture
def report(check):
    """The same as the JSON report, with the exit status and what it said beside."""

    def run(script, *words, options=()):
        done = check(script, *words, options=("--json", *options))
        found = json.loads(done.stdout)
        found["exit"], found["stderr"] = done.returncode, done.stderr
        found["programs"] = [
            (program["name"], program["type"], program["verdict"])
            for text in found["texts"]
            for program in text["programs"]
        ]
        return found

    return run


def test_a_script_may_draw_on_a_terminal_that_nobody_sees(check):
    script = f"""
import curses
def draw(screen):
    b = BPF(text='{GOOD}')
    screen.addstr(0, 0, "drawn")
    screen.refresh()
    while True:
        screen.getch()
curses.wrapper(draw)
"""
    done = check(script)
    assert done.returncode == 0, done.stderr
    assert "1 not loaded" not in done.stdout and "1 ok" in done.stdout
    assert "drawn" not in done.stdout and "\x1b" not in done.stdout + done.stderr


def test_probes_of_a_process_that_is_not_here_count_as_found(report):
    text = "int f(struct pt_regs *c) { u64 a = 0; bpf_usdt_readarg(6, c, &a); return a > 1; }"
    found = report(
        "from bcc import USDT, USDTException\n"
        "u = USDT(pid=99999999)\nu.enable_probe('app:start', 'f')\n"
        "assert u.enumerate_probes() == []\n"
        f"b = BPF(text='{text}', usdt_contexts=[u])\n"
        "try:\n    USDT()\nexcept USDTException:\n    b.perf_buffer_poll()\n"
    )
    assert (found["exit"], found["status"], found["stderr"]) == (0, 0, "")
    assert found["programs"] == [("f", "KPROBE", "ok")]


def test_a_script_ends_where_it_would_wait(report):
    found = report(
        f"b = BPF(text='{GOOD}')\n"
        "b.attach_kprobe(event='no_such_function', fn_name='good')\n"
        "b.attach_uprobe(name='/no/such/file', sym='f', fn_name='good')\n"
        "b.attach_tracepoint(tp='no:such', fn_name='good')\n"
        "assert b.num_open_kprobes() == 1\n"
        "print('before')\n"
        "try:\n    b.perf_buffer_poll()\nexcept KeyboardInterrupt:\n    raise SystemExit(9)\n"
        "raise SystemExit(7)\n"
    )
    assert (found["exit"], found["status"], found["stderr"]) == (0, 0, "")
    assert found["programs"] == [("good", "KPROBE", "ok")]


@pytest.mark.parametrize(
    "wait",
    (
        "b.trace_print()",
        "b.trace_fields(nonblocking=True)",
        "b.ring_buffers.append(1); b.system.poll([])",
        "import time; time.sleep(1)",
        "from time import sleep; sleep(1)",
        "import threading; threading.Event().wait()",
        "import signal; signal.pause()",
        "input('more? ')",
        "import sys; sys.stdin.readline()",
        "from threading import *; t = Thread(target=b.trace_print); t.start(); t.join(); input()",
    ),
)
def test_ways_to_wait(report, wait):
    found = report(f"b = BPF(text='{GOOD}')\n{wait}\nraise SystemExit(7)")
    assert (found["exit"], found["status"], found["stderr"]) == (0, 0, "")


@pytest.mark.parametrize(
    "end",
    (
        "import sys; sys.exit(3)",
        "import os; os._exit(3)",
        "import sys; sys.stdout.close(); sys.exit(3)",
        "import atexit; atexit.register(print, 'said'); raise SystemExit(3)",
        "import atexit; atexit.register(input, 'said'); raise SystemExit(3)",
        "import threading; threading.Thread(target=threading.Event().wait).start(); exit(3)",
    ),
)
def test_ways_to_end(report, end):
    """However a script leaves, the report is whole and the status its own."""
    found = report(f"b = BPF(text='{GOOD}')\n{end}")
    assert (found["exit"], found["stderr"]) == (0, "")
    assert found["status"] == (0 if "input" in end else 3)
    assert found["programs"] == [("good", "KPROBE", "ok")]
    assert report(end.partition(";")[0] + "; exit(3)")["exit"] == 1


def test_the_alarm_clock_is_the_scripts_own(report):
    found = report(
        "import signal, sys\n"
        "signal.signal(signal.SIGALRM, lambda number, frame: sys.exit(5))\n"
        f"b = BPF(text='{GOOD}')\n"
        "for _ in range(8):\n    sum(range(2_000_000))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.1)\n"
        "while True:\n    pass\n"
    )
    assert (found["exit"], found["status"]) == (0, 5)


def test_what_is_not_compiled_to_its_end_does_not_pass(report):
    found = report(
        "import minibcc.compiler.compile as c\n"
        "def interrupted(*_, **__): raise KeyboardInterrupt\n"
        f"c.compile = interrupted\nBPF(text='{GOOD}')"
    )
    assert (found["exit"], found["passed"]) == (1, False)
    assert "is not compiled: KeyboardInterrupt" in found["texts"][0]["error"]


def test_standard_files_have_descriptors(report):
    found = report(
        "import os, select, sys\n"
        "assert os.get_terminal_size(sys.stdout.fileno()) == (80, 24)\n"
        "assert sys.stdin.read() == ''\n"
        f"b = BPF(text='{GOOD}')\n"
        "select.select([sys.stdin], [], [])\nraise SystemExit(7)"
    )
    assert (found["exit"], found["status"], found["stderr"]) == (0, 0, "")


def test_a_deep_recursion_is_the_scripts_own_fault(check):
    done = check("def f(): f()\nf()")
    assert done.returncode == 1
    assert "RecursionError" in done.stderr and "bug" not in done.stderr


def test_a_script_that_catches_everything_ends(report):
    found = report(
        f"import time\nb = BPF(text='{GOOD}')\n"
        "while True:\n    try:\n        time.sleep(1)\n    except:\n        pass\n"
    )
    assert found["exit"] == 0
    assert found["programs"] == [("good", "KPROBE", "ok")]


def test_a_refused_program_does_not_stop_the_rest(check, report):
    script = f"b = BPF(text='''{NULL}{GOOD}''')\n" + (
        "b.attach_kprobe(event='vfs_read', fn_name='bad')\n"
        "b.attach_kprobe(event='vfs_read', fn_name='good')\n"
    )
    found = report(script)
    assert found["exit"] == 1
    assert found["programs"] == [("bad", "KPROBE", "refused"), ("good", "KPROBE", "ok")]
    (text,) = found["texts"]
    bad = text["programs"][0]
    assert (bad["code"], bad["maps"]) == ("verify/null-deref", ["seen"])
    assert [made["name"] for made in text["maps"]] == ["seen"]
    said = check(script).stdout
    assert "script.py: 1 refused, 1 ok (simulated kernel)" in said
    assert "error: " in said and "*found" in said


def test_what_does_not_compile(check, report):
    script = "b = BPF(text='int f(void *ctx) { return nothing; }')"
    found = report(script)
    assert (found["exit"], found["programs"], found["stderr"]) == (1, [], "")
    assert found["texts"][0]["code"] == "type/undeclared"
    assert "use of undeclared" in check(script).stdout or "nothing" in check(script).stdout


def test_a_program_of_each_way_to_load(report):
    found = report(
        '''
b = BPF(text="""
TRACEPOINT_PROBE(sched, sched_switch) { return 0; }
RAW_TRACEPOINT_PROBE(sched_switch) { return 0; }
KFUNC_PROBE(vfs_read, struct file *file) { return 0; }
int kprobe__vfs_read(struct pt_regs *ctx) { return 0; }
int filter(struct __sk_buff *skb) { return 0; }
int packet(struct xdp_md *ctx) { return XDP_PASS; }
int sample(struct bpf_perf_event_data *ctx) { return 0; }
int plain(int number) { return number; }
""")
'''
    )
    assert found["exit"] == 0
    assert found["programs"] == [
        ("tracepoint__sched__sched_switch", "TRACEPOINT", "ok"),
        ("raw_tracepoint__sched_switch", "RAW_TRACEPOINT", "ok"),
        ("kfunc__vmlinux__vfs_read", "TRACING", "ok"),
        ("kprobe__vfs_read", "KPROBE", "ok"),
        ("filter", "SCHED_CLS", "ok"),
        ("packet", "XDP", "ok"),
        ("sample", "PERF_EVENT", "ok"),
        ("plain", None, "not loaded"),
    ]
    loaded = [p["name"] for t in found["texts"] for p in t["programs"] if p["loaded_by_script"]]
    assert len(loaded) == 4


@pytest.mark.parametrize(
    "what",
    (
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os; os.fork()",
        "import os; os.kill(os.getpid(), 15)",
        "import signal; signal.raise_signal(15)",
        "import os; os.abort()",
        "import os; os.execv('/bin/true', ['true'])",
        "from bcc.exec import run_cmd; run_cmd(['true'])",
    ),
)
def test_processes_and_signals_are_refused(check, what):
    done = check(f"{what}\nBPF(text='{GOOD}')")
    assert done.returncode == 1
    assert "starts no process and sends no signal" in done.stderr
    assert "makes no BPF object" in done.stdout


def test_a_script_that_fails_by_itself(check):
    done = check("print('said'); raise SystemExit('told')")
    assert done.returncode == 1
    assert "said" in done.stderr and "told" in done.stderr


def test_arguments_are_the_scripts_own(check):
    done = check("import sys; print(sys.argv[1:]); sys.exit(2)", "--json", "--kernel", "-x")
    assert "['--json', '--kernel', '-x']" in done.stderr


def test_files_of_the_simulated_kernel(report):
    found = report(
        f'''
import os
with open("/proc/kallsyms") as file:
    names = {{line.split()[2] for line in file}}
assert "do_sys_openat2" in names
with open("/sys/kernel/debug/tracing/events/sched/sched_switch/format", "rb") as file:
    assert b"name: sched_switch" in file.read()
assert "sched_switch" in os.listdir("/sys/kernel/debug/tracing/events/sched")
try:
    open("/sys/kernel/tracing/no/such")
except FileNotFoundError as wrong:
    assert wrong.filename == "/sys/kernel/tracing/no/such"
assert open(__file__).readline() == "from bcc import BPF\\n"
BPF(text="{GOOD}")
'''
    )
    assert (found["exit"], found["status"], found["stderr"]) == (0, 0, "")


@pytest.mark.kernel
def test_the_running_kernel(report):
    found = report(
        f'''
b = BPF(text="""{NULL}{GOOD}
KFUNC_PROBE(vfs_read, struct file *file) {{ return 0; }}
""")
''',
        options=("--kernel", "linux"),
    )
    assert found["kernel"] == "linux"
    verdicts = {name: verdict for name, _, verdict in found["programs"]}
    assert verdicts["good"] == "ok"
    assert verdicts["bad"] == "refused"
    assert verdicts["kfunc__vmlinux__vfs_read"] in ("ok", "not here")


KEPT = '''
b = BPF(text="""
BPF_TABLE_PINNED("hash", u32, u64, pinned, 16, "/sys/fs/bpf/minibcc-test-check");
BPF_HASH(seen, u32, u64);
static u64 total = 4;
int f(struct pt_regs *ctx)
{
    u32 key = 1;
    seen.increment(key);
    pinned.increment(key);
    return total++;
}
""")
b.attach_kprobe(event="vfs_read", fn_name="f")
b.attach_kretprobe(event="vfs_read", fn_name="f")
b["seen"][b["seen"].Key(1)] = b["seen"].Leaf(2)
print(list(b["seen"].items()), len(b["seen"]))
b.trace_print()
'''


@pytest.mark.kernel
def test_nothing_stays_in_the_running_kernel(report):
    found = report(KEPT, options=("--kernel", "linux"))
    assert (found["exit"], found["status"], found["stderr"]) == (0, 0, "")
    assert found["programs"] == [("f", "KPROBE", "ok")]
    assert not os.path.exists("/sys/fs/bpf/minibcc-test-check")


@pytest.mark.kernel
def test_the_running_kernel_for_who_may_load_nothing(check):
    """As for anybody who is not root: compiled against its types, and that is said."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("needs setpriv (util-linux)")
    drop = (setpriv, "--bounding-set=-all", "--inh-caps=-all")
    done = check(KEPT, options=("--kernel", "linux"), before=drop)
    assert done.returncode == 0, done.stderr
    assert "this process may load nothing into the kernel: KPROBE is compiled only" in done.stdout
    assert "1 not here (linux kernel)" in done.stdout
    wrong = "BPF(text='int f(void *c) { return x; }')"
    assert check(wrong, options=("--kernel", "linux"), before=drop).returncode == 1
