"""Questions to the running kernel, for tests marked `kernel`."""

from __future__ import annotations

import re
from functools import cache

import pytest

from minibcc.abi.bpf import AttachType, ProgFlags, ProgType
from minibcc.abi.requests import ProgLoad, ProgramRefused
from minibcc.errors import SystemUnavailable
from minibcc.isa.instruction import Instruction, encode
from minibcc.system.linux import LinuxSystem

RELEASE = (6, 18)
"""The kernel that the tables describe."""


@cache
def kernel() -> LinuxSystem:
    """The running kernel, if it is the one that the tables describe; else the test skips."""
    import os

    try:
        system = LinuxSystem()
    except SystemUnavailable as error:
        pytest.skip(str(error))
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if found is None or (int(found[1]), int(found[2])) != RELEASE:
        pytest.skip(f"the tables are of Linux 6.18, this is {os.uname().release}")
    return system


# A type that cannot be loaded without saying where it is going to be attached.
DEFAULT_ATTACH = {
    ProgType.CGROUP_SOCK: AttachType.CGROUP_INET_SOCK_CREATE,
    ProgType.CGROUP_SOCK_ADDR: AttachType.CGROUP_INET4_BIND,
    ProgType.CGROUP_SOCKOPT: AttachType.CGROUP_GETSOCKOPT,
    ProgType.SK_LOOKUP: AttachType.SK_LOOKUP,
    ProgType.NETFILTER: AttachType.NETFILTER,
    ProgType.SK_REUSEPORT: AttachType.SK_REUSEPORT_SELECT,
}

LOADABLE = tuple(
    prog_type
    for prog_type in ProgType
    if prog_type
    not in (
        ProgType.UNSPEC,
        ProgType.EXT,  # these five need a kernel's type or function to attach to
        ProgType.LSM,
        ProgType.STRUCT_OPS,
        ProgType.TRACING,
        ProgType.LIRC_MODE2,  # and this one a remote control
    )
)
"""Program types that load by themselves."""


def verdict(
    insns: list[Instruction],
    prog_type: ProgType = ProgType.SOCKET_FILTER,
    attach_type: int | None = None,
    *,
    license: str = "GPL",
    log_level: int = 1,
    attach_btf_id: int = 0,
) -> tuple[int, str]:
    """(errno, log) of loading a program: 0 where it is accepted. Nothing stays loaded."""
    system = kernel()
    attach = DEFAULT_ATTACH.get(prog_type, 0) if attach_type is None else attach_type
    flags = ProgFlags.SLEEPABLE if prog_type is ProgType.SYSCALL else 0
    request = ProgLoad(
        prog_type, encode(insns), license, expected_attach_type=attach,
        prog_flags=flags, log_level=log_level, attach_btf_id=attach_btf_id,
    )  # fmt: skip
    try:
        loaded = system.bpf(request)
    except ProgramRefused as refused:
        return refused.errno or 0, refused.log
    system.close(loaded.fd)
    return 0, loaded.log
