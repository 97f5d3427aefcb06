"""BCC's names for Linux's numbers.

Scripts write ``PerfType.SOFTWARE`` or ``BPF.KPROBE`` and mean integers; the tables in `minibcc.abi`
are those integers, so most names here are other names for them.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from minibcc.abi.bpf import AttachType as BPFAttachType
from minibcc.abi.bpf import ProgType as BPFProgType
from minibcc.abi.perf import PerfHardware as PerfHWConfig
from minibcc.abi.perf import PerfSample as PerfEventSampleFormat
from minibcc.abi.perf import PerfSoftware as PerfSWConfig
from minibcc.abi.perf import PerfType

DEBUGFS = "/sys/kernel/debug"
TRACEFS = "/sys/kernel/debug/tracing"

DEBUG_LLVM_IR = 0x1  # print the LLVM IR
DEBUG_BPF = 0x2  # print the bytecode and the verifier's log
DEBUG_PREPROCESSOR = 0x4  # print the text after preprocessing
DEBUG_SOURCE = 0x8  # print the bytecode with its source lines
DEBUG_BPF_REGISTER_STATE = 0x10  # print the verifier's register states too
DEBUG_BTF = 0x20  # print what is wrong with the BTF


class XDPAction(IntEnum):
    """What an XDP program answers (enum xdp_action of uapi/linux/bpf.h)."""

    XDP_ABORTED = 0
    XDP_DROP = 1
    XDP_PASS = 2
    XDP_TX = 3
    XDP_REDIRECT = 4


class XDPFlags(IntFlag):
    """How an XDP program is attached (XDP_FLAGS_* of uapi/linux/if_link.h)."""

    UPDATE_IF_NOEXIST = 1 << 0
    SKB_MODE = 1 << 1
    DRV_MODE = 1 << 2
    HW_MODE = 1 << 3
    REPLACE = 1 << 4


__all__ = [
    "DEBUGFS",
    "DEBUG_BPF",
    "DEBUG_BPF_REGISTER_STATE",
    "DEBUG_BTF",
    "DEBUG_LLVM_IR",
    "DEBUG_PREPROCESSOR",
    "DEBUG_SOURCE",
    "TRACEFS",
    "BPFAttachType",
    "BPFProgType",
    "PerfEventSampleFormat",
    "PerfHWConfig",
    "PerfSWConfig",
    "PerfType",
    "XDPAction",
    "XDPFlags",
]
