"""What holds for every test: markers skip with their reason, nothing is left open."""

from __future__ import annotations

import ctypes.util
import functools
import gc
import os
import shutil
import signal
import subprocess
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

# A test never asserts a time: a busy machine makes no test fail.
settings.register_profile(
    "minibcc", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("minibcc")

# Who starts the tests in the background may have made them ignore Ctrl-C, and so the commands that
# tests start and end by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the golden files")


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten (and then read by whoever asked)."""
    return bool(request.config.getoption("--bless"))


# --- what a machine may lack -----------------------------------------------------------------


@functools.cache
def why_no_kernel() -> str:
    """ "" if bpf(2) may load programs here, otherwise the reason."""
    if os.uname().sysname != "Linux" or os.uname().machine != "x86_64":
        return "needs Linux on x86-64"
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    attr = ctypes.create_string_buffer(128)
    attr[:16] = b"".join(n.to_bytes(4, "little") for n in (2, 4, 4, 1))  # an array of one element
    fd = libc.syscall(321, 0, attr, 128)
    if fd < 0:
        return f"bpf(2) is not allowed: {os.strerror(ctypes.get_errno())}"
    os.close(fd)
    return ""


@functools.cache
def why_no_bcc() -> str:
    """ "" if Debian's Python has the real BCC and can compile with it."""
    if not os.path.exists("/usr/lib/python3/dist-packages/bcc"):
        return "needs the real BCC (Debian's python3-bpfcc)"
    if why_no_kernel():
        return why_no_kernel()
    release = os.uname().release
    if not os.path.exists(f"/lib/modules/{release}/build"):
        return "the real BCC needs kernel headers to compile"
    return ""


def why_no_native() -> str:
    return "" if shutil.which("gcc") or shutil.which("clang") else "needs gcc or clang"


def pytest_runtest_setup(item: pytest.Item) -> None:
    reasons = {"kernel": why_no_kernel, "bcc": why_no_bcc, "native": why_no_native}
    for name, why in reasons.items():
        if item.get_closest_marker(name) and why():
            pytest.skip(why())
    for mark in item.iter_markers("tool"):
        for tool in mark.args:
            if shutil.which(tool) is None:
                pytest.skip(f"needs {tool}")


CANNOT_BE_INSTALLED = ("bpf(2) is not allowed", "needs Linux on x86-64")
"""Reasons to skip that no installation cures."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where MINIBCC_FORBID_SKIPS is set, a skip is a failure unless nothing could cure it."""
    report = yield
    if report.skipped and os.environ.get("MINIBCC_FORBID_SKIPS") and call.excinfo is not None:
        reason = str(call.excinfo.value)
        if not any(cause in reason for cause in CANNOT_BE_INSTALLED):
            report.outcome = "failed"
            report.longrepr = f"skipped where no test may: {reason}"
    return report


# --- nothing stays open ----------------------------------------------------------------------


def _descriptors() -> set[tuple[int, str]]:
    """This process's open files that a test can be blamed for."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that leaves a file, a socket or a kernel object open fails."""
    if not os.path.isdir("/proc/self/fd"):
        yield
        return
    before = _descriptors()
    yield
    if _descriptors() - before:
        gc.collect()
        left = sorted(what for _, what in _descriptors() - before)
        assert not left, f"the test left open: {left}"


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    """A command's result, as text; it may fail."""
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]  # options are passed on
