"""What can be seen of a function's course without following it: whether its end is reached, and
which variables nothing ever gives a value. Both err on the side of silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.compiler import tree
from minibcc.compiler.dialect.walk import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minibcc.compiler.tree import Function, Stmt, Variable


def falls_off(statement: Stmt) -> bool:
    """Whether control may come out behind a statement."""
    match statement:
        case tree.Return() | tree.Goto() | tree.Break() | tree.Continue():
            return False
        case tree.Block(body=body):
            return all(falls_off(inner) for inner in body)
        case tree.If(yes=yes, no=no):
            return no is None or falls_off(yes) or falls_off(no)
        case tree.Label(body=inner) | tree.Case(body=inner):
            return falls_off(inner)
        case tree.Loop(condition=None, body=inner):
            return any(isinstance(node, tree.Break) for node in nodes(inner))
        case tree.Switch(body=inner):
            cases = [node for node in nodes(inner) if isinstance(node, tree.Case)]
            whole = any(case.low is None for case in cases)
            broken = any(isinstance(node, tree.Break) for node in nodes(inner))
            return not whole or broken or falls_off(_last(inner))
        case tree.Evaluate(expression=tree.Call(callee=tree.Builtin(name=name))):
            return name not in ("__builtin_unreachable", "__builtin_trap")
    return True


def _last(statement: Stmt) -> Stmt:
    if isinstance(statement, tree.Block) and statement.body:
        return _last(statement.body[-1])
    return statement


def never_given(function: Function) -> Iterator[tuple[Variable, tree.Use]]:
    """Scalar variables that are declared without a value and only ever read, with one reading."""
    bare = {
        node.variable
        for node in nodes(function.body)
        if isinstance(node, tree.Declare) and node.initial is None
    }
    read: dict[Variable, tree.Use] = {}
    loaded = set()
    for node in nodes(function.body) if bare else ():
        if isinstance(node, tree.Load) and isinstance(node.place, tree.Use):
            loaded.add(id(node.place))
            read.setdefault(node.place.variable, node.place)
        elif isinstance(node, tree.Use) and id(node) not in loaded:
            bare.discard(node.variable)
    return ((variable, use) for variable, use in read.items() if variable in bare)
