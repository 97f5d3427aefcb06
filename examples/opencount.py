#!/usr/bin/env python3
# Counts how often each process opens a file, in a map that program and script share.
from bcc import BPF

program = """
struct who {
    u32 pid;
    char comm[16];
};

BPF_HASH(counts, struct who);

int count_open(struct pt_regs *ctx)
{
    struct who who = {};
    who.pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(&who.comm, sizeof(who.comm));
    counts.increment(who);
    return 0;
}
"""

b = BPF(text=program)
b.attach_kprobe(event="do_sys_openat2", fn_name="count_open")

try:
    b.trace_print()  # nothing is printed: this only waits
except KeyboardInterrupt:
    print(f"{'PID':<7} {'COMM':<16} OPENS")
    rows = [(leaf.value, key.pid, key.comm.decode()) for key, leaf in b["counts"].items()]
    for opens, pid, comm in sorted(rows, key=lambda row: (-row[0], row[1])):
        print(f"{pid:<7} {comm:<16} {opens}")
