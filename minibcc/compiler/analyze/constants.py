"""Folding typed expressions: what C calls integer constant expressions (C11 section 6.6), and a
little more, as compilers do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.btf.types import size_of
from minibcc.compiler import arithmetic as c
from minibcc.compiler.tree import (
    Address,
    Arithmetic,
    Comparison,
    Conditional,
    Convert,
    Deref,
    Field,
    Logic,
    Number,
    Unary,
)

if TYPE_CHECKING:
    from minibcc.compiler.tree import Expr


def fold(e: Expr) -> int | None:
    """The value of a constant expression, None if it is none."""
    match e:
        case Number(value=value):
            return value
        case Convert(type=type, operand=operand):
            inner = fold(operand)
            return None if inner is None or type is None else c.wrap(inner, type)
        case Unary(operator=operator, operand=operand, type=type):
            inner = fold(operand)
            return None if inner is None else c.wrap(_unary(operator, inner), type)
        case Arithmetic(operator=operator, left=left, right=right, type=type):
            a, b = fold(left), fold(right)
            if a is None or b is None or c.pointer(left.type):
                return None
            result = arithmetic(operator, a, b, size_of(type) * 8)
            return None if result is None else c.wrap(result, type)
        case Comparison(operator=operator, left=left, right=right):
            a, b = fold(left), fold(right)
            return None if a is None or b is None else int(compare(operator, a, b))
        case Logic(operator=operator, left=left, right=right):
            a = fold(left)
            if a is None:
                return None
            if (operator == "&&") != (a != 0):
                return int(a != 0)
            b = fold(right)
            return None if b is None else int(b != 0)
        case Conditional(condition=condition, yes=yes, no=no, type=type):
            a = fold(condition)
            if a is None:
                return None
            chosen = (yes if yes is not None else condition) if a else no
            inner = fold(chosen)
            return None if inner is None else c.wrap(inner, type)
        case Address(place=place):
            return _address(place)
    return None


def _address(place: Expr) -> int | None:
    """The address of a place behind a constant pointer: ``&((struct s *)0)->member``."""
    match place:
        case Field(base=base, offset=offset):
            start = _address(base)
            return None if start is None else start + offset // 8
        case Deref(pointer=pointer):
            return fold(pointer)
    return None


def _unary(operator: str, value: int) -> int:
    match operator:
        case "-":
            return -value
        case "~":
            return ~value
        case "!":
            return int(value == 0)
    return value


def compare(operator: str, a: int, b: int) -> bool:
    match operator:
        case "==":
            return a == b
        case "!=":
            return a != b
        case "<":
            return a < b
        case "<=":
            return a <= b
        case ">":
            return a > b
    return a >= b


def arithmetic(operator: str, a: int, b: int, bits: int) -> int | None:
    """C's operators on Python's integers; None where C defines nothing."""
    match operator:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/" | "%":
            if b == 0:
                return None
            quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
            return quotient if operator == "/" else a - quotient * b
        case "&":
            return a & b
        case "|":
            return a | b
        case "^":
            return a ^ b
        case "<<":
            return a << b if 0 <= b < bits else None
        case ">>":
            return a >> b if 0 <= b < bits else None
    return None
