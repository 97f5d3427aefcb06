"""The syntax tree to the typed tree: names resolved, types known, conversions made explicit.

One class does it, in layers that each stand on the one before:

    context       scopes, what names mean, how errors are reported and outlived
    declare       types from declarations; struct layout
    conversions   what C makes of a value before it is used
    places        members, elements, pointers and addresses
    expressions   literals and operators
    calls         functions, helpers, builtins, methods of tables
    initializers  what a variable starts with
    statements    statements and function bodies
    units         file level: functions, globals, tables

`constants` folds typed expressions. An error in a statement is reported and the statement given
up (`Wrong` unwinds to it); analysis goes on with the next, so that one run shows many mistakes.

Mirrors C11 sections 6.5 to 6.9, with GNU C's extensions as kernel code uses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minibcc.compiler.parse import Syntax
    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.target import Target
    from minibcc.compiler.tree import Unit


def analyze(syntax: Syntax, target: Target, reporter: Reporter) -> Unit:
    """The typed tree of a text, BCC's dialect still in it. Errors go to `reporter`."""
    from minibcc.compiler.analyze.units import Units

    return Units(syntax, target, reporter).run()
