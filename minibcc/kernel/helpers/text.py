"""Helpers on strings. Mirrors ``bpf_strtol``, ``bpf_strtoul`` and ``bpf_strncmp`` of
kernel/bpf/helpers.c."""

from __future__ import annotations

from errno import EINVAL, ERANGE
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.formatting import SPACE
from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

BASES = (0, 8, 10, 16)


def parse_number(text: bytes, flags: int) -> tuple[int, int, bool]:
    """How many bytes a number takes (or a negative errno), its magnitude, whether it is negative.

    ``__bpf_strtoull``: leading space, an optional minus, a prefix that says the base if `flags`
    is 0, digits.
    """
    base = flags & 0x1F
    if base not in BASES or flags & ~0x1F or not text:
        return -EINVAL, 0, False
    position = len(text) - len(text.lstrip(bytes(SPACE)))
    negative = position < len(text) and text[position] == ord("-")
    position += negative
    rest = text[position:].partition(b"\0")[0]
    if base == 0:
        base = 10
        if rest[:1] == b"0":
            base = 16 if rest[1:2] in (b"x", b"X") and _digit(rest[2:3]) < 16 else 8
    if base == 16 and rest[:2] in (b"0x", b"0X"):
        position += 2
        rest = rest[2:]
    value = count = 0
    while count < len(rest) and _digit(rest[count : count + 1]) < base:
        value = value * base + _digit(rest[count : count + 1])
        count += 1
    if not count:
        return -EINVAL, 0, negative
    if value >> 64:
        return -ERANGE, 0, negative
    return position + count, value, negative


def _digit(char: bytes) -> int:
    """0 to 35; 99 for what is no digit."""
    return int(char, 36) if char.isalnum() else 99


@helper("strtol")
def strtol(run: Run, text: int, size: int, flags: int, result: int, r5: int) -> int:
    run.memory.store(result, 8, 0)
    consumed, value, negative = parse_number(bytes(run.memory.view(text, size)), flags)
    if consumed < 0:
        return consumed
    if value > (1 << 63) - (0 if negative else 1):
        return -ERANGE
    run.memory.store(result, 8, (-value if negative else value) & (1 << 64) - 1)
    return consumed


@helper("strtoul")
def strtoul(run: Run, text: int, size: int, flags: int, result: int, r5: int) -> int:
    run.memory.store(result, 8, 0)
    consumed, value, negative = parse_number(bytes(run.memory.view(text, size)), flags)
    if consumed < 0:
        return consumed
    if negative:
        return -EINVAL
    run.memory.store(result, 8, value)
    return consumed


@helper("strncmp")
def strncmp(run: Run, first: int, size: int, second: int, r4: int, r5: int) -> int:
    size &= 0xFFFF_FFFF
    one = bytes(run.memory.view(first, size)).partition(b"\0")[0] + b"\0"
    for position, char in enumerate(one[:size]):
        other = run.memory.load(second + position, 1)
        if char != other:
            return -1 if char < other else 1
        if not char:
            break
    return 0
