"""perf_event_open(2) and its ioctls, as far as BPF needs them.

Source: include/uapi/linux/perf_event.h of Linux 6.18.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from minibcc.records import Record


class PerfType(IntEnum):
    """``PERF_TYPE_*``; kprobes and uprobes have types of their own, read from sysfs."""

    HARDWARE = 0
    SOFTWARE = 1
    TRACEPOINT = 2
    HW_CACHE = 3
    RAW = 4
    BREAKPOINT = 5


class PerfSoftware(IntEnum):
    """``PERF_COUNT_SW_*``."""

    CPU_CLOCK = 0
    TASK_CLOCK = 1
    PAGE_FAULTS = 2
    CONTEXT_SWITCHES = 3
    CPU_MIGRATIONS = 4
    PAGE_FAULTS_MIN = 5
    PAGE_FAULTS_MAJ = 6
    ALIGNMENT_FAULTS = 7
    EMULATION_FAULTS = 8
    DUMMY = 9
    BPF_OUTPUT = 10
    CGROUP_SWITCHES = 11


class PerfHardware(IntEnum):
    """``PERF_COUNT_HW_*``."""

    CPU_CYCLES = 0
    INSTRUCTIONS = 1
    CACHE_REFERENCES = 2
    CACHE_MISSES = 3
    BRANCH_INSTRUCTIONS = 4
    BRANCH_MISSES = 5
    BUS_CYCLES = 6
    STALLED_CYCLES_FRONTEND = 7
    STALLED_CYCLES_BACKEND = 8
    REF_CPU_CYCLES = 9


class PerfIoctl(IntEnum):
    """``PERF_EVENT_IOC_*``."""

    ENABLE = 0x2400
    DISABLE = 0x2401
    REFRESH = 0x2402
    RESET = 0x2403
    SET_BPF = 0x40042408


class PerfFlag(IntFlag):
    """``PERF_FLAG_*``."""

    FD_NO_GROUP = 1
    FD_OUTPUT = 2
    PID_CGROUP = 4
    FD_CLOEXEC = 8


class PerfSample(IntFlag):
    """``PERF_SAMPLE_*``."""

    IP = 1 << 0
    TID = 1 << 1
    TIME = 1 << 2
    ADDR = 1 << 3
    CALLCHAIN = 1 << 5
    CPU = 1 << 7
    PERIOD = 1 << 8
    RAW = 1 << 10


class PerfEventAttr(Record):
    """``struct perf_event_attr`` without its pointers.

    `type` is a `PerfType` or what /sys/bus/event_source/devices/{kprobe,uprobe}/type says. For
    those two, `target` is the kernel function or the path of the executable (config1) and
    `offset` the offset in it (config2), and `config` bit 0 says "at the return".
    `sample_period` is a frequency in Hz if `freq`.
    """

    type: int
    config: int = 0
    target: str = ""
    offset: int = 0
    sample_period: int = 0
    freq: bool = False
    sample_type: int = 0
    wakeup_events: int = 0
    inherit: bool = False
    disabled: bool = False
    exclude_kernel: bool = False
