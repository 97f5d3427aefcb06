"""A simulated kernel of the test's own behind the door."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from minibcc import boot


@pytest.fixture
def system() -> Iterator[boot.System]:
    """A fresh kernel; it is the one that `BPF` finds."""
    fresh = boot.system(boot.Options(duration=4.0))
    boot.use(fresh)
    yield fresh
    boot.choose(boot.Options())
