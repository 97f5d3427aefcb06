#!/usr/bin/env python3
# The same, for a script that knows minibcc by its own name: plain `python3` runs it.
from minibcc import BPF

b = BPF(src_file="hello.c")
b.attach_kprobe(event="do_sys_openat2", fn_name="hello_world")
b.trace_print(fmt="{0} {1}: {5}")
