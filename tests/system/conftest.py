"""The bodies behind the door, for the contract suite: `system` is each of them in turn."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from minibcc.errors import SystemUnavailable
from minibcc.system.interface import System


def _linux() -> System:
    from minibcc.system.linux import LinuxSystem

    try:
        return LinuxSystem()
    except SystemUnavailable as error:
        pytest.skip(str(error))


def _simulated() -> System:
    from minibcc.boot import Options
    from minibcc.boot import system as boot

    return boot(Options(kernel="sim"))


BODIES = {"linux": _linux, "simulated": _simulated}


@pytest.fixture(params=[pytest.param("linux", marks=pytest.mark.kernel), pytest.param("simulated")])
def system(request: pytest.FixtureRequest) -> System:
    """A kernel of each kind."""
    return BODIES[request.param]()


@pytest.fixture
def linux() -> System:
    """The running kernel alone."""
    return _linux()


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    """A test closes what it opens."""
    before = _descriptors()
    yield
    assert _descriptors() == before


def _descriptors() -> set[str]:
    links = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        except FileNotFoundError:
            continue  # the listing's own
    return links
