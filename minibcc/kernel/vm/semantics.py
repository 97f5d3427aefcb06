"""What arithmetic, comparisons and byte swaps of BPF mean, on Python's integers.

A function per operation of the opcode table, for 32 and for 64 bits: operands and results are
unsigned numbers of that width. The interpreter executes these; whoever folds constants may too.

The meaning is RFC 9669's, sections 4.1 to 4.3 and 5.3: sums and products wrap; division by zero
gives 0 and the remainder of it leaves the dividend; signed division rounds toward zero, and the
smallest number by -1 gives itself; shifts take the low 5 or 6 bits of their count.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TypeAlias

Binary: TypeAlias = Callable[[int, int], int]
Condition: TypeAlias = Callable[[int, int], bool]

MASK32 = (1 << 32) - 1
MASK64 = (1 << 64) - 1


def signed(value: int, bits: int) -> int:
    """The number that `bits` bits mean in two's complement."""
    return value - (1 << bits) if value >> bits - 1 else value


def sign_extend(value: int, size: int, bits: int = 64) -> int:
    """The low `size` bytes of a value, sign extended to an unsigned number of `bits` bits."""
    return signed(value & (1 << 8 * size) - 1, 8 * size) & (1 << bits) - 1


def arithmetic(bits: int) -> dict[str, Binary]:
    """Operation to function of (dst, src)."""
    mask, count = (1 << bits) - 1, bits - 1

    def sdiv(a: int, b: int) -> int:
        if not b:
            return 0
        a, b = signed(a, bits), signed(b, bits)
        quotient = abs(a) // abs(b)
        return (quotient if (a < 0) == (b < 0) else -quotient) & mask

    def smod(a: int, b: int) -> int:
        if not b:
            return a
        a, b = signed(a, bits), signed(b, bits)
        rest = abs(a) % abs(b)
        return (-rest if a < 0 else rest) & mask

    return {
        "add": lambda a, b: (a + b) & mask,
        "sub": lambda a, b: (a - b) & mask,
        "mul": lambda a, b: (a * b) & mask,
        "div": lambda a, b: a // b if b else 0,
        "sdiv": sdiv,
        "or": operator.or_,
        "and": operator.and_,
        "lsh": lambda a, b: (a << (b & count)) & mask,
        "rsh": lambda a, b: a >> (b & count),
        "neg": lambda a, _: -a & mask,
        "mod": lambda a, b: a % b if b else a,
        "smod": smod,
        "xor": operator.xor,
        "mov": lambda _, b: b,
        "arsh": lambda a, b: (signed(a, bits) >> (b & count)) & mask,
    }


def conditions(bits: int) -> dict[str, Condition]:
    """Jump to its test of (dst, src)."""
    sign = 1 << bits - 1  # flipping it turns the signed order into the unsigned one
    return {
        "jeq": operator.eq,
        "jne": operator.ne,
        "jgt": operator.gt,
        "jge": operator.ge,
        "jlt": operator.lt,
        "jle": operator.le,
        "jset": lambda a, b: a & b != 0,
        "jsgt": lambda a, b: a ^ sign > b ^ sign,
        "jsge": lambda a, b: a ^ sign >= b ^ sign,
        "jslt": lambda a, b: a ^ sign < b ^ sign,
        "jsle": lambda a, b: a ^ sign <= b ^ sign,
    }


ARITHMETIC = {bits: arithmetic(bits) for bits in (32, 64)}
CONDITIONS = {bits: conditions(bits) for bits in (32, 64)}


def swap(op: str, value: int, size: int) -> int:
    """``le``, ``be`` or ``bswap`` of the low `size` bytes; programs see little-endian memory, as
    on x86-64, whatever the host."""
    low = value & (1 << 8 * size) - 1
    if op == "le":
        return low
    return int.from_bytes(low.to_bytes(size, "little"), "big")


ATOMICS: dict[str, Binary] = {
    "add": operator.add,
    "or": operator.or_,
    "and": operator.and_,
    "xor": operator.xor,
    "xchg": lambda _, operand: operand,
}
"""What an atomic operation leaves in memory (its low bytes); ``fetch_`` forms do the same."""
