"""What all of analysis shares: scopes, the meaning of names, errors."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from minibcc.compiler.kernel import KernelNames
from minibcc.compiler.parse.mistakes import origin
from minibcc.compiler.tree import Function, Map, Variable
from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minibcc.btf.types import Enum, Struct, Type
    from minibcc.compiler.parse import Syntax
    from minibcc.compiler.parse.attributes import Attribute
    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.target import Target
    from minibcc.compiler.tree import Expr, Stmt
    from minibcc.diagnostics import Label, Span


class Wrong(Exception):
    """An error has been reported; what it was found in is given up."""


class TypeName(Record):
    """A typedef of the text."""

    type: Type | None


class Constant(Record):
    """An enumeration constant."""

    value: int
    type: Type


class Poison(Record):
    """A name whose declaration was wrong: using it is no second error."""


class Cases(Record, frozen=False):
    """The cases of a switch so far: the type that they are converted to, where each stands (by low
    and high, None for default), and whether any is a range."""

    type: Type
    seen: dict[tuple[int | None, int | None], Span]
    ranges: bool = False


Entity: TypeAlias = Variable | Function | Map | TypeName | Constant | Poison


class Context:
    """State and services of one analysis."""

    def __init__(self, syntax: Syntax, target: Target, reporter: Reporter) -> None:
        self.syntax = syntax
        self.target = target
        self.kernel = KernelNames(target)
        self.reporter = reporter
        self.scopes: list[dict[str, Entity]] = [{}]
        self.tags: list[dict[str, Struct | Enum]] = [{}]
        self.defined: dict[int, Type | None] = {}  # by the `id` of the node that defines it
        self.broken: set[Struct | Enum] = set()  # their definitions were wrong
        self.headers: set[Struct] = set()  # of packets
        self.functions: list[Function] = []
        self.variables: list[Variable] = []
        self.maps: list[Map] = []
        self.function: Function | None = None
        self.aligned_typedefs: list[tuple[Type, int]] = []
        self.labels: dict[str, Span] = {}
        self.gotos: list[tuple[str, Span]] = []
        self.switches: list[Cases] = []
        self.loops = 0
        self.unevaluated = 0  # how many typeof and sizeof are around

    if TYPE_CHECKING:  # what lower layers ask of upper ones

        def expression(self, node: Any) -> Expr: ...

        def value(self, node: Any) -> Expr: ...

        def call(self, node: Any) -> Expr: ...

        def constant(self, node: Any, what: str) -> int: ...

        def convert(self, e: Expr, type: Type | None, what: str) -> Expr: ...

        def cast(self, e: Expr, type: Type | None, span: Span) -> Expr: ...

        def compound_literal(self, node: Any) -> Expr: ...

        def statements(self, nodes: Iterable[Any]) -> list[Stmt]: ...

    def typed(self, node: Any) -> Type | None:
        """The type of an expression that is not evaluated."""
        self.unevaluated += 1
        try:
            return self.expression(node).type
        finally:
            self.unevaluated -= 1

    # --- places and errors -------------------------------------------------------------------

    def span(self, node: Any) -> Span:
        return self.syntax.span(node)

    def attributes(self, node: Any) -> list[Attribute]:
        return self.syntax.attributes.get(id(node), [])

    def report(
        self,
        code: str,
        message: str,
        at: Any,
        text: str = "",
        *,
        help: Iterable[str] = (),
        notes: Iterable[str] = (),
        labels: Iterable[Label] = (),
    ) -> None:
        """Reports an error; `at` is a node of the syntax tree or a span."""
        span, through = self._place(at)
        self.reporter.error(
            code, message, span, text, help=help, notes=[*notes, *through], labels=labels
        )

    def fail(
        self,
        code: str,
        message: str,
        at: Any,
        text: str = "",
        *,
        help: Iterable[str] = (),
        notes: Iterable[str] = (),
        labels: Iterable[Label] = (),
    ) -> NoReturn:
        """Reports an error and gives up the statement or declaration."""
        self.report(code, message, at, text, help=help, notes=notes, labels=labels)
        raise Wrong

    def warn(
        self, code: str, message: str, at: Any, text: str = "", *, help: Iterable[str] = ()
    ) -> None:
        span, through = self._place(at)
        self.reporter.warning(code, message, span, text, help=help, notes=through)

    def _place(self, at: Any) -> tuple[Span, list[str]]:
        if hasattr(at, "coord"):
            return self.span(at), origin(at.coord)
        return at, []

    # --- names -------------------------------------------------------------------------------

    def push(self) -> None:
        self.scopes.append({})
        self.tags.append({})

    def pop(self) -> None:
        self.scopes.pop()
        self.tags.pop()

    def lookup(self, name: str) -> Entity | None:
        """What a name means, from the innermost scope to the target's enumerators."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        found = self.kernel.enumerator(name)
        if found is not None:
            value = found[1]
            from minibcc.compiler import arithmetic as c

            small = -(1 << 31) <= value < 1 << 31
            return Constant(value, c.INT if small else c.by_size(8, value < 0))
        return None

    def declare(self, name: str, entity: Entity) -> None:
        self.scopes[-1][name] = entity

    def suggestion(self, name: str, candidates: Iterable[str]) -> list[str]:
        """A help line with the nearest name, if one is near."""
        close = get_close_matches(name, list(candidates), 1, 0.7 if len(name) > 3 else 0.6)
        return [f"did you mean '{close[0]}'?"] if close else []

    def names(self) -> list[str]:
        """All names in scope."""
        return [name for scope in self.scopes for name in scope]
