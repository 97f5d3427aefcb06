"""Making typed trees: what a rewrite puts in the place of what the user wrote.

All nodes that a `Build` makes carry one span, that of the rewritten form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.btf.types import Ptr, size_of
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree

if TYPE_CHECKING:
    from minibcc.btf.types import Type
    from minibcc.compiler.kernel import KernelNames
    from minibcc.compiler.tree import Expr, Map, Stmt, Variable
    from minibcc.diagnostics import Span


class Build:
    """A maker of nodes at one place of the source."""

    def __init__(self, span: Span, names: KernelNames) -> None:
        self.span = span
        self._names = names

    def local(self, name: str, type: Type) -> Variable:
        """A fresh variable; two of one name are two variables."""
        return tree.Variable(name, c.unqualified(type) or type, self.span)

    def use(self, variable: Variable) -> tree.Use:
        return tree.Use(self.span, variable.type, variable)

    def load(self, variable: Variable) -> tree.Load:
        """A variable's value."""
        return tree.Load(self.span, c.unqualified(variable.type), self.use(variable))

    def address(self, variable: Variable) -> tree.Address:
        return tree.Address(self.span, Ptr(variable.type), self.use(variable))

    def deref(self, pointer: Expr) -> tree.Deref:
        target = c.pointer(pointer.type)
        return tree.Deref(self.span, target.to if target else None, pointer)

    def number(self, value: int, type: Type = c.INT) -> tree.Number:
        return tree.Number(self.span, type, c.wrap(value, type))

    def size(self, type: Type | None) -> tree.Number:
        return self.number(size_of(type), c.UINT)

    def convert(self, e: Expr, type: Type | None) -> Expr:
        """`e` as `type`; numbers on the spot, equal types as they are."""
        if isinstance(e, tree.Number) and type is not None:
            return tree.Number(e.span, type, c.wrap(e.value, type))
        if e.type is type:
            return e
        if c.pointer(type) is not None and c.integer(e.type) is not None:
            wide = c.by_size(8, c.signed(e.type))
            e = e if size_of(e.type) == 8 else tree.Convert(self.span, wide, e)
        return tree.Convert(self.span, type, e)

    def declare(self, variable: Variable, value: Expr | None = None) -> tree.Declare:
        initial = None
        if value is not None:
            part = (0, 0, variable.type, value)
            initial = tree.Initializer(self.span, (part,), True)
        return tree.Declare(self.span, variable, initial)

    def zeroed(self, variable: Variable) -> tree.Declare:
        return tree.Declare(self.span, variable, tree.Initializer(self.span, ()))

    def map(self, table: Map) -> tree.MapPointer:
        return tree.MapPointer(self.span, c.VOID_POINTER, table)

    def helper(self, name: str, *arguments: Expr) -> tree.Call:
        """A call of a helper, arguments converted to what it takes."""
        helper = self._names.helper(name)
        assert helper is not None, name
        params = helper.type.params
        converted = tuple(
            self.convert(argument, params[index].type) if index < len(params) else argument
            for index, argument in enumerate(arguments)
        )
        return tree.Call(self.span, helper.type.result, helper, converted)

    def evaluate(self, e: Expr) -> tree.Evaluate:
        return tree.Evaluate(self.span, e)

    def assign(self, variable: Variable, value: Expr) -> tree.Evaluate:
        kind = c.unqualified(variable.type)
        return self.evaluate(tree.Assign(self.span, kind, self.use(variable), value))

    def when(self, condition: Expr, *body: Stmt) -> tree.If:
        return tree.If(self.span, condition, tree.Block(self.span, body))

    def unless(self, condition: Expr, *body: Stmt) -> tree.If:
        return self.when(tree.Unary(self.span, c.INT, "!", condition), *body)

    def block(self, *body: Stmt, value: Expr | None = None) -> tree.StatementExpr:
        """``({ body; value; })``."""
        return tree.StatementExpr(self.span, value.type if value else None, body, value)
