"""The listings of the text that explains eBPF by one program, and how ours differ from them.

The lines stand here as short data: what is to be reproduced. Blanks at the beginning of a line and
runs of blanks count as one, as the text is printed. `DIFFERENCES` names every line of ours that is
another one, and why; what it does not name must be the same.
"""

from __future__ import annotations

import re
from typing import NamedTuple

C = r"""
int hello_world(void *ctx)
{
bpf_trace_printk("Hello, World!");
return 0;
}
"""

PYTHON = r"""
#!/usr/bin/env python3
# This is a Hello World example of BPF.
from bcc import BPF
# load BPF program
b = BPF(src_file="hello.c")
b.attach_kprobe(event="do_sys_openat2", fn_name="hello_world")
b.trace_print()
"""

PROG_LIST = r"""
89: kprobe name hello_world tag 38dd440716c4900f gpl
loaded_at 2021-11-27T13:20:45+0000 uid 0
xlated 104B jited 70B memlock 4096B
btf_id 131
pids python3(152027)
"""

XLATED = r"""
int hello_world(void * ctx):
; int hello_world(void *ctx)
0: (b7) r1 = 33 /* ! */
; ({ char _fmt[] = "Hello, World!"; bpf_trace_printk_(_fmt, sizeof(_fmt)); });
1: (6b) *(u16 *)(r10 -4) = r1
2: (b7) r1 = 1684828783 /* dlro */
3: (63) *(u32 *)(r10 -8) = r1
4: (18) r1 = 0x57202c6f6c6c6548 /* W ,olleH */
6: (7b) *(u64 *)(r10 -16) = r1
7: (bf) r1 = r10
;
8: (07) r1 += -16
; ({ char _fmt[] = "Hello, World!"; bpf_trace_printk_(_fmt, sizeof(_fmt)); });
9: (b7) r2 = 14
10: (85) call bpf_trace_printk#-61616
; return 0;
11: (b7) r0 = 0
12: (95) exit
"""

JITED = r"""
int hello_world(void * ctx):
bpf_prog_38dd440716c4900f_hello_world:
; int hello_world(void *ctx)
0: nopl 0x0(%rax,%rax,1)
5: xchg %ax,%ax
7: push %rbp
8: mov %rsp,%rbp
b: sub $0x10,%rsp
12: mov $0x21,%edi
; ({ char _fmt[] = "Hello, World!"; bpf_trace_printk_(_fmt, sizeof(_fmt)); });
17: mov %di,-0x4(%rbp)
1b: mov $0x646c726f,%edi
20: mov %edi,-0x8(%rbp)
23: movabs $0x57202c6f6c6c6548,%rdi
2d: mov %rdi,-0x10(%rbp)
31: mov %rbp,%rdi
;
34: add $0xfffffffffffffff0,%rdi
; ({ char _fmt[] = "Hello, World!"; bpf_trace_printk_(_fmt, sizeof(_fmt)); });
38: mov $0xe,%esi
3d: call 0xffffffffd8c7e834
; return 0;
42: xor %eax,%eax
44: leave
45: ret
"""

STRACE_BPF = r"""
bpf(BPF_PROG_LOAD,
{
prog_type=BPF_PROG_TYPE_KPROBE,
insn_cnt=13,
insns=[
{code=BPF_ALU64|BPF_K|BPF_MOV, dst_reg=BPF_REG_1, src_reg=BPF_REG_0, off=0, imm=0x21},
{code=BPF_STX|BPF_H|BPF_MEM, dst_reg=BPF_REG_10, src_reg=BPF_REG_1, off=-4, imm=0},
{code=BPF_ALU64|BPF_K|BPF_MOV, dst_reg=BPF_REG_1, src_reg=BPF_REG_0, off=0, imm=0x646c726f},
{code=BPF_STX|BPF_W|BPF_MEM, dst_reg=BPF_REG_10, src_reg=BPF_REG_1, off=-8, imm=0},
{code=BPF_LD|BPF_DW|BPF_IMM, dst_reg=BPF_REG_1, src_reg=BPF_REG_0, off=0, imm=0x6c6c6548},
{code=BPF_LD|BPF_W|BPF_IMM, dst_reg=BPF_REG_0, src_reg=BPF_REG_0, off=0, imm=0x57202c6f},
{code=BPF_STX|BPF_DW|BPF_MEM, dst_reg=BPF_REG_10, src_reg=BPF_REG_1, off=-16, imm=0},
{code=BPF_ALU64|BPF_X|BPF_MOV, dst_reg=BPF_REG_1, src_reg=BPF_REG_10, off=0, imm=0},
{code=BPF_ALU64|BPF_K|BPF_ADD, dst_reg=BPF_REG_1, src_reg=BPF_REG_0, off=0, imm=0xfffffff0},
{code=BPF_ALU64|BPF_K|BPF_MOV, dst_reg=BPF_REG_2, src_reg=BPF_REG_0, off=0, imm=0xe},
{code=BPF_JMP|BPF_K|BPF_CALL, dst_reg=BPF_REG_0, src_reg=BPF_REG_0, off=0, imm=0x6},
{code=BPF_ALU64|BPF_K|BPF_MOV, dst_reg=BPF_REG_0, src_reg=BPF_REG_0, off=0, imm=0},
{code=BPF_JMP|BPF_K|BPF_EXIT, dst_reg=BPF_REG_0, src_reg=BPF_REG_0, off=0, imm=0}
],
prog_name="hello_world",
...
},
128) = 4
"""

STRACE = r"""
...
bpf(BPF_PROG_LOAD,...) = 4
...
openat(AT_FDCWD, "/sys/bus/event_source/devices/kprobe/type", O_RDONLY) = 5
read(5, "6\\n", 4096) = 2
close(5) = 0
...
perf_event_open(
{
type=0x6 /* PERF_TYPE_??? */,
size=PERF_ATTR_SIZE_VER7,
...
wakeup_events=1,
config1=0x7f275d195c50,
...
},
-1,
0,
-1,
PERF_FLAG_FD_CLOEXEC) = 5
ioctl(5, PERF_EVENT_IOC_SET_BPF, 4) = 0
...
"""


class Difference(NamedTuple):
    """In listing `where`, the line `theirs` is in ours one that matches the expression `ours` (more
    lines, or None for no such line), because of `why`."""

    where: str
    theirs: str
    ours: str | None
    why: str


OWN_TEXT = "C lines are the user's own text, not what a rewriter made of it"
NO_LINE = "an instruction without a line of C of its own belongs to the line before"
REWRITTEN = '; ({ char _fmt[] = "Hello, World!"; bpf_trace_printk_(_fmt, sizeof(_fmt)); });'
PRINTK = re.escape('; bpf_trace_printk("Hello, World!");')
NATIVE = "native code is that of this computer and of our own compiler"
IDS = "ids, times and processes are those of the run"

ANY = "..."

DIFFERENCES = [
    Difference(
        "prog list",
        "89: kprobe name hello_world tag 38dd440716c4900f gpl",
        r"\d+: kprobe name hello_world tag c21893ee8040b45c gpl",
        "Linux 6.18 takes the tag by SHA-256; the SHA-1 one is in `prog show` and `compile`",
    ),
    Difference(
        "prog list",
        "loaded_at 2021-11-27T13:20:45+0000 uid 0",
        r"loaded_at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0000 uid 0",
        IDS,
    ),
    Difference(
        "prog list",
        "xlated 104B jited 70B memlock 4096B",
        r"xlated 104B jited \d+B memlock 4096B",
        NATIVE,
    ),
    Difference("prog list", "btf_id 131", r"btf_id \d+", IDS),
    Difference("prog list", "pids python3(152027)", r"pids python3\(\d+\)", IDS),
    Difference("xlated", REWRITTEN, PRINTK, OWN_TEXT),
    Difference("xlated", ";", None, NO_LINE),
    Difference(
        "xlated",
        "10: (85) call bpf_trace_printk#-61616",
        r"10: \(85\) call bpf_trace_printk#6",
        "calls keep the helper's number instead of its distance in one kernel's memory",
    ),
    *(
        Difference("xlated", line, re.escape(line.partition(" /*")[0]), "the text's own remark")
        for line in XLATED.splitlines()
        if "/*" in line
    ),
    Difference(
        "jited",
        "bpf_prog_38dd440716c4900f_hello_world:",
        "bpf_prog_c21893ee8040b45c_hello_world:",
        "Linux 6.18 takes the tag by SHA-256",
    ),
    Difference("jited", REWRITTEN, PRINTK, OWN_TEXT),
    Difference("jited", ";", None, NO_LINE),
    Difference(
        "strace bpf",
        'prog_name="hello_world",',
        '...\nprog_name="hello_world",',
        "the text leaves out the fields before it: license, log, version, flags",
    ),
    Difference(
        "strace",
        "bpf(BPF_PROG_LOAD,...) = 4",
        "bpf\\(BPF_PROG_LOAD,\n...\n128\\) = 4",
        "the text leaves out what it has shown before",
    ),
    Difference(
        "strace", r'read(5, "6\\n", 4096) = 2', r'read\(5, "6\\n", 4096\) = 2', "a misprint"
    ),
    Difference(
        "strace",
        "config1=0x7f275d195c50,",
        'config1="do_sys_openat2",',
        "shows the string that the address points to",
    ),
]


def lines(listing: str) -> list[str]:
    """The lines of a listing, with one blank wherever there are blanks."""
    return [" ".join(line.split()) for line in listing.strip().splitlines()]


def expected(where: str, listing: str) -> list[str]:
    """What each line of ours must match. A line that differs is told once where the text has it
    again without another line of C between."""
    table = {each.theirs: each.ours for each in DIFFERENCES if each.where == where}
    out: list[str] = []
    told = ""
    for line in lines(listing):
        ours = ANY if line == ANY else table.get(line, re.escape(line))
        if line.startswith(";"):
            if ours is None or line == told:
                continue
            told = line
        assert ours is not None
        out += ours.split("\n")
    return out


def compare(where: str, listing: str, ours: str) -> None:
    """Asserts that our text is the listing line by line, but for the differences that are named;
    `...` in it stands for any lines."""
    wanted, found = expected(where, listing), lines(ours)
    position = 0
    skip = False
    for pattern in wanted:
        if pattern == ANY:
            skip = True
            continue
        start = position
        while position < len(found) and skip and not re.fullmatch(pattern, found[position]):
            position += 1
        assert position < len(found), f"{where}: no {pattern!r} after line {start}: {found}"
        line = found[position]
        assert re.fullmatch(pattern, line), f"{where}: {line!r} is not {pattern!r}"
        position, skip = position + 1, False
    assert skip or position == len(found), f"{where}: more than the text has: {found[position:]}"
