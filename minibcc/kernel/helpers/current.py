"""Helpers that say who runs: task, user, cgroup, processor.

Mirrors kernel/bpf/helpers.c and kernel/trace/bpf_trace.c.
"""

from __future__ import annotations

import struct
from errno import EINVAL
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run


@helper("get_current_pid_tgid")
def get_current_pid_tgid(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    task = run.task
    value: int = task.tgid << 32 | task.pid
    return value


@helper("get_current_uid_gid")
def get_current_uid_gid(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    task = run.task
    value: int = task.gid << 32 | task.uid
    return value


@helper("get_current_comm")
def get_current_comm(run: Run, buffer: int, size: int, r3: int, r4: int, r5: int) -> int:
    size &= 0xFFFF_FFFF
    name = run.task.comm.encode(errors="surrogateescape")[: min(15, size - 1)]
    run.memory.view(buffer, size)[:] = name.ljust(size, b"\0")
    return 0


@helper("get_current_task", "get_current_task_btf")
def get_current_task(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    address: int = run.task.address
    return address


@helper("task_pt_regs")
def task_pt_regs(run: Run, task: int, r2: int, r3: int, r4: int, r5: int) -> int:
    found = run.kernel.machine.task_at(task)
    address: int = 0 if found is None else found.registers
    return address


@helper("get_current_cgroup_id")
def get_current_cgroup_id(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    number: int = run.task.cgroup_id
    return number


@helper("get_current_ancestor_cgroup_id")
def get_current_ancestor_cgroup_id(run: Run, level: int, r2: int, r3: int, r4: int, r5: int) -> int:
    level &= 0xFFFF_FFFF
    if level == 0:
        return 1
    number: int = run.task.cgroup_id
    return number if level == 1 and number != 1 else 0


@helper("get_ns_current_pid_tgid")
def get_ns_current_pid_tgid(
    run: Run, device: int, inode: int, info: int, size: int, r5: int
) -> int:
    view = run.memory.view(info, size & 0xFFFF_FFFF)
    if len(view) != 8:
        view[:] = bytes(len(view))
        return -EINVAL
    # There is one pid namespace. Its numbers are those that /proc/self/ns/pid has on the computer
    # that the script runs on; only what cannot be numbers of one is refused.
    if not inode or device >> 32:
        view[:] = bytes(8)
        return -EINVAL
    view[:] = struct.pack("<II", run.task.pid, run.task.tgid)
    return 0


@helper("get_smp_processor_id")
def get_smp_processor_id(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return run.cpu


@helper("get_numa_node_id")
def get_numa_node_id(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0


@helper("current_task_under_cgroup")
def current_task_under_cgroup(run: Run, map: int, index: int, r3: int, r4: int, r5: int) -> int:
    found: int = run.kernel.map_at[map].cgroup_at(index & 0xFFFF_FFFF)
    return found if found < 0 else int(found in (1, run.task.cgroup_id))


@helper("get_attach_cookie")
def get_attach_cookie(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0


@helper("get_func_ip")
def get_func_ip(run: Run, context: int, r2: int, r3: int, r4: int, r5: int) -> int:
    if run.event is None:
        return 0
    address: int = run.event.registers.get("ip", 0)
    return address


@helper("send_signal", "send_signal_thread")
def send_signal(run: Run, signal: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """The simulated tasks follow their scenario: a valid signal is taken and changes nothing."""
    return 0 if signal & 0xFFFF_FFFF <= 64 else -EINVAL


@helper("override_return")
def override_return(run: Run, context: int, result: int, r3: int, r4: int, r5: int) -> int:
    run.kernel.override = result
    return 0
