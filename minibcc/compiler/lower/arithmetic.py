"""Integer operations and conversions as instructions, and those that BPF lacks from those it has.

Below cpu v4 BPF divides unsigned only, no cpu computes in 128 bits, and there is no library to
call: signed division works on magnitudes, wide products and shifts on halves. Pointers move in
units of what they point to.
"""

from __future__ import annotations

from minibcc.compiler.lower.emitter import Emitter
from minibcc.compiler.lower.types import LONG, Kind, Unsupported, wrap

_PLAIN = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}
_SIGNED = {"/": "sdiv", "%": "srem", ">>": "ashr"}
_UNSIGNED = {"/": "udiv", "%": "urem", ">>": "lshr"}


class Arithmetic(Emitter):
    """What happens to values; places and the tree are above."""

    def is_true(self, operand: str, kind: Kind) -> str:
        if kind.pointer:
            return self.value(f"icmp ne ptr {operand}, null")
        return self.value(f"icmp ne {kind.ir} {operand}, 0")

    def convert(self, operand: str, source: Kind, to: Kind) -> str:
        """A scalar of one kind as another."""
        if to.boolean and not source.boolean:
            return self.value(f"zext i1 {self.is_true(operand, source)} to i8")
        if source.pointer == to.pointer:
            return self.resize(operand, source.bits, to.bits, source.signed)
        if source.pointer:
            operand = self.value(f"ptrtoint ptr {operand} to i64")
            return self.resize(operand, 64, to.bits, False)
        operand = self.resize(operand, source.bits, 64, source.signed)
        return self.value(f"inttoptr i64 {operand} to ptr")

    def resize(self, operand: str, source: int, to: int, signed: bool) -> str:
        """An integer of `source` bits as one of `to` bits."""
        if source == to:
            return operand
        how = "trunc" if to < source else "sext" if signed else "zext"
        return self.value(f"{how} i{source} {operand} to i{to}")

    def advance(self, pointer: str, count: str, kind: Kind, size: int, operator: str) -> str:
        """A pointer moved by `count` elements of `size` bytes."""
        if operator == "-":
            count = self.value(f"sub {kind.ir} 0, {count}")
        element = "i8" if size == 1 else f"[{size} x i8]"
        return self.value(f"getelementptr inbounds {element}, ptr {pointer}, {kind.ir} {count}")

    def difference(self, left: str, right: str, size: int) -> str:
        """The distance of two pointers, in elements; it is a whole number of them, so the division
        is a shift and a multiplication by an inverse (BPF has no signed division below v4)."""
        a = self.value(f"ptrtoint ptr {left} to i64")
        b = self.value(f"ptrtoint ptr {right} to i64")
        distance = self.value(f"sub i64 {a}, {b}")
        if size < 2:
            return distance
        shift = (size & -size).bit_length() - 1
        if shift:
            distance = self.value(f"ashr exact i64 {distance}, {shift}")
        if size >> shift > 1:
            inverse = pow(size >> shift, -1, 1 << 64)
            distance = self.value(f"mul i64 {distance}, {inverse}")
        return distance

    def arithmetic(self, operator: str, left: str, right: str, kind: Kind, by: Kind) -> str:
        """An integer operation; `by` is the kind of a shift's right side, else that of both."""
        if plain := _PLAIN.get(operator):
            if operator == "*" and kind.size == 16:
                return self._multiply_wide(left, right)
            overflow = " nsw" if kind.signed and operator in "+-*" else ""
            return self.value(f"{plain}{overflow} {kind.ir} {left}, {right}")
        if operator in ("<<", ">>"):
            right = self.resize(right, by.bits, kind.bits, False)
            how = "shl" if operator == "<<" else "ashr" if kind.signed else "lshr"
            if kind.size == 16 and not right.isdecimal():
                return self._shift_wide(how, left, right)
            return self.value(f"{how} {kind.ir} {left}, {right}")
        if kind.size == 16:
            raise Unsupported(
                "type/wide-arithmetic",
                "BPF cannot divide 128-bit integers",
                "convert to unsigned long long first",
            )
        if not kind.signed:
            return self.value(f"{_UNSIGNED[operator]} {kind.ir} {left}, {right}")
        if self.module.signed_division or _is_power_of_two(right):
            return self.value(f"{_SIGNED[operator]} {kind.ir} {left}, {right}")
        return self._divide_signed(operator, left, right, kind)

    def _divide_signed(self, operator: str, left: str, right: str, kind: Kind) -> str:
        """Below v4 BPF divides unsigned only: divide magnitudes, then give the result its sign
        (a quotient is negative where the signs differ, a remainder as the dividend is)."""
        left_sign, left = self._magnitude(left, kind)
        right_sign, right = self._magnitude(right, kind)
        result = self.value(f"{_UNSIGNED[operator]} {kind.ir} {left}, {right}")
        sign = left_sign
        if operator == "/":
            sign = self.value(f"xor {kind.ir} {left_sign}, {right_sign}")
        result = self.value(f"xor {kind.ir} {result}, {sign}")
        return self.value(f"sub {kind.ir} {result}, {sign}")

    def _magnitude(self, operand: str, kind: Kind) -> tuple[str, str]:
        """The sign (0 or -1) and the absolute value."""
        sign = self.value(f"ashr {kind.ir} {operand}, {kind.bits - 1}")
        flipped = self.value(f"xor {kind.ir} {operand}, {sign}")
        return sign, self.value(f"sub {kind.ir} {flipped}, {sign}")

    def _multiply_wide(self, left: str, right: str) -> str:
        """128 by 128 bits, modulo 2**128, from products of 32-bit halves: BPF multiplies 64 bits,
        and LLVM would call a function that no program has. It may still find the product again in
        these pieces, and then it dies of it."""
        self.module.doubtful = True
        a, b = ([self._half(side, shift) for shift in (0, 64)] for side in (left, right))
        low = self._product(a[0], b[0])
        crossed = [self.value(f"mul i64 {x}, {y}") for x, y in ((a[0], b[1]), (a[1], b[0]))]
        high = self.value(f"add i64 {crossed[0]}, {crossed[1]}")
        return self.value(f"add i128 {low}, {self._joined('0', high)}")

    def _shift_wide(self, how: str, left: str, count: str) -> str:
        """128 bits by an unknown count, from shifts of the halves; over 63, a half moves over."""
        low, high = self._half(left, 0), self._half(left, 64)
        count = self.value(f"trunc i128 {count} to i64")
        few = self.value(f"and i64 {count}, 63")
        rest = self.value(f"xor i64 {few}, 63")
        many = self.value(f"icmp ugt i64 {count}, 63")
        up = how == "shl"
        near, far = (low, high) if up else (high, low)
        moved = self.value(f"{how} i64 {near}, {few}")
        across, back = ("lshr", "shl") if up else ("shl", "lshr")
        carry = self.value(f"{across} i64 {near}, 1")
        carry = self.value(f"{across} i64 {carry}, {rest}")
        kept = self.value(f"{back} i64 {far}, {few}")
        mixed = self.value(f"or i64 {kept}, {carry}")
        empty = self.value(f"ashr i64 {near}, 63") if how == "ashr" else "0"
        near = self.value(f"select i1 {many}, i64 {empty}, i64 {moved}")
        far = self.value(f"select i1 {many}, i64 {moved}, i64 {mixed}")
        return self._joined(near, far) if up else self._joined(far, near)

    def _joined(self, low: str, high: str) -> str:
        """128 bits from two halves."""
        wide = self.value(f"zext i64 {high} to i128")
        wide = self.value(f"shl i128 {wide}, 64")
        if low == "0":
            return wide
        small = self.value(f"zext i64 {low} to i128")
        return self.value(f"or i128 {wide}, {small}")

    def _half(self, operand: str, shift: int) -> str:
        if shift:
            operand = self.value(f"lshr i128 {operand}, {shift}")
        return self.value(f"trunc i128 {operand} to i64")

    def _product(self, left: str, right: str) -> str:
        """The 128 bits of a product of two 64-bit integers."""
        total = "0"
        for i in (0, 32):
            for j in (0, 32):
                x = self.value(f"lshr i64 {left}, {i}")
                y = self.value(f"lshr i64 {right}, {j}")
                x = self.value(f"and i64 {x}, {0xFFFF_FFFF}")
                y = self.value(f"and i64 {y}, {0xFFFF_FFFF}")
                partial = self.value(f"mul i64 {x}, {y}")
                partial = self.value(f"zext i64 {partial} to i128")
                partial = self.value(f"shl i128 {partial}, {i + j}")
                total = self.value(f"add i128 {total}, {partial}")
        return total


def number(value: int, kind: Kind) -> str:
    """An integer constant as an operand."""
    value = wrap(value, LONG if kind.pointer else kind)
    if kind.pointer:
        return f"inttoptr (i64 {value} to ptr)" if value else "null"
    return str(value)


def _is_power_of_two(operand: str) -> bool:
    return operand.isdecimal() and int(operand) > 0 and int(operand) & (int(operand) - 1) == 0
