"""Conversions: what C makes of a value so that an operator, an assignment or a call can take it
(C11 section 6.3).

`rvalue` makes a value of a place, `implicit` converts silently, `convert` does what assignment does
and says where that is doubtful, `cast` what a cast does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.btf.types import Array, Float, FuncProto, Ptr, Struct, size_of, strip
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.analyze.constants import fold
from minibcc.compiler.analyze.declare import Declarations
from minibcc.compiler.tree import Number

if TYPE_CHECKING:
    from minibcc.btf.types import Type
    from minibcc.compiler.tree import Expr
    from minibcc.diagnostics import Span

_PLACES = (tree.Use, tree.Deref, tree.Field, tree.Literal, tree.Compound)


def is_place(e: Expr) -> bool:
    """Whether an expression is a place; a member of a struct value is none."""
    return isinstance(e, _PLACES) and (not isinstance(e, tree.Field) or is_place(e.base))


class Conversions(Declarations):
    """Converts values."""

    def rvalue(self, e: Expr) -> Expr:
        """A place's value: loaded, or for an array the pointer to its first element."""
        if is_place(e) or isinstance(e, tree.Field):
            inner = strip(e.type)
            if isinstance(inner, Array):
                return tree.Decay(e.span, Ptr(inner.of), e)
            self.complete(e.type, e.span)
            if isinstance(e, tree.Deref) and inner is None:
                self.fail(
                    "type/void-value",
                    "what a 'void *' points to has no type",
                    e.span,
                    help=["cast the pointer first: *(u64 *)p"],
                )
            return tree.Load(e.span, c.unqualified(e.type), e)
        return e

    def constant(self, node: Any, what: str) -> int:
        """The value of an expression that must be constant."""
        found = fold(self.value(node))
        if found is None:
            self.fail("type/not-constant", f"{what} must be a constant", node)
        return found

    def number(self, span: Span, value: int, type: Type = c.INT) -> Number:
        return Number(span, type, c.wrap(value, type))

    def _distance(self, index: Expr) -> Expr:
        """An integer as pointer arithmetic takes it: of 64 bits."""
        return self.implicit(index, c.LONG if c.signed(c.promote(index.type or c.INT)) else c.ULONG)

    def _sized(self, type: Type | None, at: Any) -> None:
        """Reports arithmetic on a pointer to something of unknown size."""
        if strip(type) is not None and not isinstance(strip(type), FuncProto):
            self.complete(type, at)

    def complete_for_size(self, type: Type | None, at: Any) -> None:
        """Reports a type whose size is not known; floating types have one."""
        try:
            size_of(type)
        except ValueError:
            self.complete(type, at)

    def _promotion(self, e: Expr) -> Type:
        """The type that a value (or a place's value) is promoted to."""
        inner = e.place if isinstance(e, tree.Load) else e
        bits = inner.member.bits if isinstance(inner, tree.Field) else 0
        return c.promote(c.unqualified(e.type) or c.INT, bits)

    def promoted(self, e: Expr) -> Expr:
        return self.implicit(e, self._promotion(e))

    def implicit(self, e: Expr, type: Type) -> Expr:
        """A conversion that C makes by itself; numbers are converted on the spot."""
        if e.type is type or (self.compatible(e.type, type) and e.type is not None):
            return e
        if isinstance(e, Number) and c.scalar(type):
            return Number(e.span, type, c.wrap(e.value, type))
        return tree.Convert(e.span, type, e)

    def usual(self, left: Expr, right: Expr) -> tuple[Expr, Expr, Type]:
        """The usual arithmetic conversions of two integer values."""
        type = c.common(self._promotion(left), self._promotion(right))
        return self.implicit(left, type), self.implicit(right, type), type

    def convert(self, e: Expr, type: Type | None, what: str) -> Expr:
        """The conversion that assignment makes; `what` says what happens to the value."""
        if strip(e.type) is None:
            self.fail("type/void-value", f"this has no value that could be {what}", e.span)
        to, source = strip(type), strip(e.type)
        if isinstance(to, Float) or isinstance(source, Float):
            self.complete(type, e.span)
            self.complete(e.type, e.span)
        if isinstance(to, Struct) or isinstance(source, Struct):
            if not self.compatible(to, source):
                self._mismatch(e, type, what)
            return e
        a, b = c.pointer(type), c.pointer(e.type)
        if a and b:
            self._check_pointers(a, b, e, type, what)
        elif a and c.integer(e.type) is not None and fold(e) != 0:
            self.warn(
                "type/integer-to-pointer",
                f"an integer is {what} as '{c.spell(type)}'",
                e.span,
                help=[f"cast it if that is meant: ({c.spell(type)})"],
            )
        elif b and c.integer(type) is not None and not c.is_bool(type):
            self.warn(
                "type/pointer-to-integer",
                f"a pointer is {what} as '{c.spell(type)}'",
                e.span,
                help=[f"read what it points to with *, or cast it: ({c.spell(type)})"],
            )
        elif not c.scalar(type) or not c.scalar(e.type):
            self._mismatch(e, type, what)
        if type is None:
            return e
        if a and c.integer(e.type) is not None:
            e = self._distance(e)
        return self.implicit(e, type)

    def _check_pointers(self, a: Ptr, b: Ptr, e: Expr, type: Type | None, what: str) -> None:
        x, y = strip(a.to), strip(b.to)
        if x is None or y is None or self.compatible(x, y) or isinstance(e, Number):
            return
        if isinstance(x, Struct) and isinstance(y, Struct) and x.name == y.name:
            return  # the text has its own idea of a kernel's struct
        p, q = c.integer(x), c.integer(y)
        if p and q and p.size == q.size:
            return
        self.warn(
            "type/incompatible-pointer",
            f"'{c.spell(e.type)}' is {what} as '{c.spell(type)}'",
            e.span,
            help=[f"cast it if that is meant: ({c.spell(type)})"],
        )

    def _mismatch(self, e: Expr, type: Type | None, what: str) -> None:
        help = []
        target = c.pointer(e.type)
        if target and self.compatible(target.to, type):
            help = ["it is a pointer: read what it points to with *"]
        pointed = c.pointer(type)
        if pointed and self.compatible(pointed.to, e.type):
            help = ["a pointer is wanted: take the address with &"]
        self.fail(
            "type/mismatch",
            f"'{c.spell(e.type)}' cannot be {what} as '{c.spell(type)}'",
            e.span,
            help=help,
        )

    def cast(self, e: Expr, type: Type | None, span: Span) -> Expr:
        """``(type)e``."""
        type = c.unqualified(type)
        if type is None:
            return tree.Convert(span, None, e, True)
        if not c.scalar(type) or not c.scalar(e.type):
            if self.compatible(type, e.type):
                return e
            union = c.struct(type)
            for member in union.members if union is not None and union.union else ():
                if self.compatible(member.type, e.type):
                    start = tree.Initializer(span, ((member.offset, member.bits, member.type, e),))
                    made = tree.Variable("", type, span)
                    return tree.Load(span, type, tree.Compound(span, type, made, start))
            self.fail(
                "type/bad-cast",
                f"'{c.spell(e.type)}' cannot be cast to '{c.spell(type)}'",
                span,
                help=["cast a pointer to it instead: *(struct x *)&y"]
                if c.struct(type) or c.struct(e.type)
                else [],
            )
        if c.pointer(type) and c.integer(e.type) is not None:
            e = self._distance(e)
        if isinstance(e, Number):
            return Number(span, type, c.wrap(e.value, type))
        return tree.Convert(span, type, e, True)
