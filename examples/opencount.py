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
    pass

print("%-7s %-16s %s" % ("PID", "COMM", "OPENS"))
for who, opens in sorted(b["counts"].items(), key=lambda row: (-row[1].value, row[0].pid)):
    print("%-7d %-16s %d" % (who.pid, who.comm.decode(), opens.value))
