"""Walking and rebuilding typed trees.

`CHILDREN` says which fields of a node hold nodes; everything else here is a loop over it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.compiler import tree
from minibcc.records import fields, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minibcc.compiler.tree import Unit

CHILDREN: dict[type, tuple[str, ...]] = {
    tree.Use: (),
    tree.Deref: ("pointer",),
    tree.Field: ("base",),
    tree.Literal: (),
    tree.Compound: ("initial",),
    tree.Number: (),
    tree.Load: ("place",),
    tree.Address: ("place",),
    tree.Decay: ("place",),
    tree.FunctionPointer: (),
    tree.MapPointer: (),
    tree.Convert: ("operand",),
    tree.Unary: ("operand",),
    tree.Arithmetic: ("left", "right"),
    tree.Comparison: ("left", "right"),
    tree.Logic: ("left", "right"),
    tree.Conditional: ("condition", "yes", "no"),
    tree.Comma: ("left", "right"),
    tree.Assign: ("place", "value"),
    tree.Update: ("place", "value"),
    tree.Call: ("arguments",),
    tree.Method: ("arguments",),
    tree.StatementExpr: ("body", "value"),
    tree.Initializer: ("parts",),
    tree.Block: ("body",),
    tree.Declare: ("initial",),
    tree.Evaluate: ("expression",),
    tree.If: ("condition", "yes", "no"),
    tree.Loop: ("start", "condition", "body", "step"),
    tree.Switch: ("value", "body"),
    tree.Case: ("body",),
    tree.Label: ("body",),
    tree.Goto: (),
    tree.Break: (),
    tree.Continue: (),
    tree.Return: ("value",),
    tree.Barrier: ("operands",),
}


def children(node: Any) -> Iterator[Any]:
    """The nodes right below a node."""
    for name in CHILDREN[type(node)]:
        value = getattr(node, name)
        if name == "parts":
            for part in value:
                yield part[3]
        elif isinstance(value, tuple):
            yield from value
        elif value is not None:
            yield value


def nodes(node: Any) -> Iterator[Any]:
    """A node and everything below it, the node first."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(list(children(node))))


def rebuild(node: Any, change: Callable[[Any], Any]) -> Any:
    """The node with `change` applied to each child; the same object if nothing changed."""
    changes: dict[str, Any] = {}
    for name in CHILDREN[type(node)]:
        old = getattr(node, name)
        if name == "parts":
            new: Any = tuple((a, b, c, change(value)) for a, b, c, value in old)
            if all(x[3] is y[3] for x, y in zip(new, old, strict=True)):
                continue
        elif isinstance(old, tuple):
            new = tuple(change(item) for item in old)
            if all(x is y for x, y in zip(new, old, strict=True)):
                continue
        elif old is None:
            continue
        else:
            new = change(old)
            if new is old:
                continue
        changes[name] = new
    return replace(node, **changes) if changes else node


def transform(node: Any, change: Callable[[Any], Any]) -> Any:
    """The tree with `change` applied to every node, children first."""
    return change(rebuild(node, lambda child: transform(child, change)))


def clone(unit: Unit) -> Unit:
    """A unit whose functions may be changed without touching the old one's."""
    copies = {function: tree.Function(**fields(function)) for function in unit.functions}
    maps = {table: tree.Map(**fields(table)) for table in unit.maps}

    def change(node: Any) -> Any:
        match node:
            case tree.Call(callee=tree.Function() as callee) if callee in copies:
                return replace(node, callee=copies[callee])
            case tree.FunctionPointer(function=function) if function in copies:
                return replace(node, function=copies[function])
            case tree.Method(map=table) | tree.MapPointer(map=table) if table in maps:
                return replace(node, map=maps[table])
        return node

    for function in copies.values():
        function.body = transform(function.body, change)
    return replace(unit, functions=tuple(copies.values()), maps=tuple(maps.values()))
