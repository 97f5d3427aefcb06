"""Failures as Linux names them.

Inside the kernel a failed operation is a negative errno, as in Linux, because that is what a
program gets to see; at the door it is an `OSError`. Errnos that user space has no name for
(include/linux/errno.h) are here.
"""

from __future__ import annotations

import os

ENOTSUPP = 524
"""``ENOTSUPP`` of include/linux/errno.h: not to be confused with ENOTSUP."""

MASK64 = (1 << 64) - 1


def failure(number: int, message: str = "") -> OSError:
    """The exception for an errno; `message` replaces the usual text."""
    return OSError(number, message or os.strerror(number))


def checked(result: int) -> int:
    """`result`, or the failure that it is when negative."""
    if result < 0:
        raise failure(-result)
    return result
