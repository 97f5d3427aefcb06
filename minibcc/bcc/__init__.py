"""User space: what ``from bcc import BPF`` gives under ``minibcc run``.

Modules are named as BCC's are (``bcc.utils``, ``bcc.table``, ``bcc.syscall``, ...), because tools
import from them. The names below are those that tools import from ``bcc`` itself.
"""

from __future__ import annotations

from minibcc.bcc.bpf import BPF
from minibcc.bcc.constants import (
    DEBUG_BPF,
    DEBUG_BPF_REGISTER_STATE,
    DEBUG_BTF,
    DEBUG_LLVM_IR,
    DEBUG_PREPROCESSOR,
    DEBUG_SOURCE,
    DEBUGFS,
    TRACEFS,
    BPFAttachType,
    BPFProgType,
    PerfEventSampleFormat,
    PerfHWConfig,
    PerfSWConfig,
    PerfType,
    XDPAction,
    XDPFlags,
)
from minibcc.bcc.perf import Perf
from minibcc.bcc.probes import _get_num_open_probes
from minibcc.bcc.symbols import SymbolCache
from minibcc.bcc.table import PerfEventArray, RingBuf, Table
from minibcc.bcc.usdt import USDT, USDTException
from minibcc.bcc.utils import ArgString, StrcmpRewrite, get_online_cpus, printb
from minibcc.bcc.version import __version__

__all__ = [
    "BPF",
    "DEBUGFS",
    "DEBUG_BPF",
    "DEBUG_BPF_REGISTER_STATE",
    "DEBUG_BTF",
    "DEBUG_LLVM_IR",
    "DEBUG_PREPROCESSOR",
    "DEBUG_SOURCE",
    "TRACEFS",
    "USDT",
    "ArgString",
    "BPFAttachType",
    "BPFProgType",
    "Perf",
    "PerfEventArray",
    "PerfEventSampleFormat",
    "PerfHWConfig",
    "PerfSWConfig",
    "PerfType",
    "RingBuf",
    "StrcmpRewrite",
    "SymbolCache",
    "Table",
    "USDTException",
    "XDPAction",
    "XDPFlags",
    "__version__",
    "_get_num_open_probes",
    "get_online_cpus",
    "printb",
]
