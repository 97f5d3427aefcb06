"""Comparisons whose outcome is certain: known from the types of what is compared alone.

A value lies in the range of the type that it had before C's conversions (C11 section 6.3.1), so
``u8 == 300`` is false and ``u32 < 0`` too; the address of a variable is never NULL. What a macro or
``sizeof`` made is left alone: there the same text is meant for other values as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.btf.types import Enum, size_of
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.analyze.constants import compare, fold

if TYPE_CHECKING:
    from minibcc.compiler.parse import Syntax
    from minibcc.compiler.tree import Expr
    from minibcc.diagnostics import Sources, Span

_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def by_range(
    operator: str, left: Expr, right: Expr, *, negative: bool = False
) -> tuple[bool, Expr, int] | None:
    """Of a comparison of integers, both converted: what it always gives, the value whose range
    says so, as it was before its conversion, and the constant. None where both outcomes can be or
    no side, or each, is constant. The greatest number of a type may be written as a limit, unless
    it was `negative` before it was converted."""
    a, b = fold(left), fold(right)
    if (a is None) == (b is None):
        return None
    if a is not None:
        operator, left, b = _MIRRORED.get(operator, operator), right, a
    value, (low, high) = _ranged(left)
    least = b == low == 0 and operator in ("<", ">=")
    greatest = negative and b == high and operator in (">", "<=")
    if b is None or (low <= b <= high and not least and not greatest):
        return None
    outcome = compare(operator, low, b)
    return outcome, value, b


def _ranged(e: Expr) -> tuple[Expr, tuple[int, int]]:
    """A value without the conversions that keep it, and the least and greatest that it can be."""
    own = limits(e)
    if isinstance(e, tree.Convert) and c.integer(e.operand.type) and not c.is_bool(e.type):
        value, inner = _ranged(e.operand)
        enum = isinstance(c.integer(value.type), Enum)
        if enum or (own[0] <= inner[0] and inner[1] <= own[1]):
            return value, inner
    return e, own


def limits(e: Expr) -> tuple[int, int]:
    """The least and the greatest value of an integer."""
    bits = size_of(e.type) * 8
    if c.is_bool(e.type):
        return 0, 1
    if isinstance(c.integer(e.type), Enum):
        return -(1 << bits - 1), (1 << bits) - 1  # which of its two types it has is the compiler's
    if isinstance(e, tree.Load) and isinstance(e.place, tree.Field):
        bits = e.place.member.bits or bits
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if c.signed(e.type) else (0, (1 << bits) - 1)


def never_null(e: Expr) -> Expr | None:
    """The array or variable whose address a pointer is, behind casts between pointers."""
    while isinstance(e, tree.Convert) and c.pointer(e.type) and c.pointer(e.operand.type):
        e = e.operand
    if not isinstance(e, tree.Address | tree.Decay):
        return None
    root = e.place
    while isinstance(root, tree.Field):
        root = root.base
    if isinstance(root, tree.Use) or (isinstance(e, tree.Decay) and isinstance(root, tree.Deref)):
        return e.place
    return None


def name(e: Expr) -> str:
    """What a message calls a value of limited range, or an array: a bitfield's or array's name, or
    the value's type."""
    place = e.place if isinstance(e, tree.Load) else e
    if isinstance(place, tree.Field) and (place is e or place.member.bits):
        return place.member.name
    return place.variable.name if isinstance(place, tree.Use) and place is e else c.spell(e.type)


def cure(value: Expr, limit: int) -> str:
    """What to do about a value that is compared with a number outside of its range."""
    low, high = limits(value)
    if low == 0 and limit <= 0:
        return "make what is compared signed if it can be negative: int, s64"
    if low < 0 and high < limit <= high - low:
        return "make what is compared unsigned, or compare with a number in that range"
    return "compare with a number in that range, or make what is compared wider"


def written(syntax: Syntax, node: Any, but: str = "") -> bool:
    """Whether the text says this itself, not a macro; `but` is a macro that it may say itself."""
    for token in syntax.stretch(node):
        origin = token.origin if token is not None else None
        if origin is not None and (origin.name != but or origin.outer is not None):
            return False
    return True


def spelled(sources: Sources, operator: str, left: Span, right: Span) -> bool:
    """Whether an operator stands between its sides as the text has them: not in a macro of which
    they are arguments."""
    line, column = left.end_line or left.line, left.end_column or left.column + 1
    between = [sources.line(left.file, n) or "" for n in range(line, right.line + 1)]
    if not between:
        return False
    between[-1] = between[-1][: right.column - 1]
    between[0] = between[0][column - 1 :]
    return operator in "\n".join(between)


def literal(node: Any) -> bool:
    """Whether a constant is made of numbers alone, neither of ``sizeof`` nor of names."""
    match type(node).__name__:
        case "Constant":
            return True
        case "UnaryOp":
            return node.op in ("-", "~", "+") and literal(node.expr)
        case "BinaryOp":
            return literal(node.left) and literal(node.right)
        case "Cast":
            return literal(node.expr)
    return False
