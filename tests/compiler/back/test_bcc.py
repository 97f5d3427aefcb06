"""Against the real BCC: the same text gives about as many instructions."""

from __future__ import annotations

import subprocess

import pytest

from minibcc.btf.decode import Btf
from minibcc.btf.encode import encode
from minibcc.btf.types import Int
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from minibcc.isa.instruction import decode

pytestmark = pytest.mark.bcc

SCRIPT = """
import sys
from bcc import BPF
b = BPF(text=sys.argv[1])
print(b.dump_func(sys.argv[2]).hex())
"""

HELLO = 'int f(void *ctx) { bpf_trace_printk("Hello, World!"); return 0; }'
COUNT = """
BPF_HASH(counts, u32, u64);
int f(void *ctx) {
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    counts.increment(pid);
    return 0;
}
"""
STRUCT = """
struct key_t { u32 pid; u64 when; char comm[16]; };
BPF_HASH(seen, struct key_t, u64);
int f(void *ctx) {
    struct key_t key = {};
    u64 one = 1, *found;
    key.pid = bpf_get_current_pid_tgid();
    key.when = bpf_ktime_get_ns() / 1000;
    bpf_get_current_comm(&key.comm, sizeof(key.comm));
    found = seen.lookup(&key);
    if (found)
        *found += 1;
    else
        seen.update(&key, &one);
    return 0;
}
"""
LOOP = """
BPF_ARRAY(cells, u64, 16);
int f(void *ctx) {
    u64 total = 0;
    for (int i = 0; i < 16; i++) {
        int key = i;
        u64 *cell = cells.lookup(&key);
        if (cell)
            total += *cell;
    }
    return total > 100;
}
"""
SUBMIT = """
struct event { u32 pid; u32 tid; char comm[16]; };
BPF_PERF_OUTPUT(events);
static int wanted(u32 pid) { return pid % 7 == 3; }
int f(struct pt_regs *ctx) {
    struct event event = {};
    u64 id = bpf_get_current_pid_tgid();
    event.pid = id >> 32;
    event.tid = id;
    if (!wanted(event.pid))
        return 0;
    bpf_get_current_comm(&event.comm, sizeof(event.comm));
    events.perf_submit(ctx, &event, sizeof(event));
    return 0;
}
"""


@pytest.mark.parametrize("text", [HELLO, COUNT, STRUCT, LOOP, SUBMIT])
def test_as_few_instructions(text: str) -> None:
    command = ["/usr/bin/python3", "-c", SCRIPT, text, "f"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    theirs = decode(bytes.fromhex(done.stdout.split()[-1]))
    btf = Btf(encode([Int("int", 4, True)]).data)
    target = Target(btf, (6, 18, 0), lambda category, event: None)
    ours = decode(compile(text, target, cache=False).programs[0].insns)
    if text == HELLO:
        assert ours == theirs
    assert len(ours) <= len(theirs) * 1.2  # LLVM 22 prefers products to remainders
