"""Variables that are read before anything gives them a value, on all ways there or on some.

A function becomes a graph of what matters to its local scalars: a variable comes to life, is
written, is read, and conditions branch. Forward through it goes which variables may have no value
yet, and which may have one. A reading of a variable that always has none is reported, and one that
has none whenever a certain condition is true, or false: the condition is asked where the variable
certainly has no value, and from its outcome every way leads to the reading. Other ways without a
value may be none: the same condition often guards the writing and the reading. Mirrors clang's
-Wsometimes-uninitialized.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.analyze.constants import fold
from minibcc.compiler.dialect.walk import children, nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minibcc.compiler.tree import Expr, Function, Stmt, Variable
    from minibcc.diagnostics import Span

_ENDS = ("__builtin_unreachable", "__builtin_trap")


class Branch(NamedTuple):
    """What decides, and for which outcome."""

    span: Span
    outcome: str


class Reading(NamedTuple):
    """A variable is read without a value: always, or where `branch` leads."""

    variable: Variable
    span: Span
    branch: Branch | None


class _Point:
    """A point of a function, and what happens there: "life", "write" or "read" of a variable, or
    nothing. `after` are the points that may follow, with what decides for each; `before` is the
    other direction."""

    __slots__ = ("after", "before", "event", "span", "variable")

    def __init__(
        self, event: str = "", variable: Variable | None = None, span: Span | None = None
    ) -> None:
        self.event = event
        self.variable = variable
        self.span = span
        self.after: list[tuple[_Point, Branch | None]] = []
        self.before: list[_Point] = []

    def to(self, point: _Point, branch: Branch | None = None) -> None:
        self.after.append((point, branch))
        point.before.append(self)


def without_value(function: Function) -> list[Reading]:
    """The first such reading of each variable that is written somewhere, too."""
    followed = _followed(function)
    if not followed:
        return []
    graph = _Graph(followed)
    graph.statement(function.body)
    return list(_readings(graph))


def _followed(function: Function) -> set[Variable]:
    """Scalars declared without a value of which no address is taken, read and written."""
    bare = set()
    plain: dict[str, set[int]] = {"read": set(), "write": set()}
    used: dict[Variable, list[int]] = {}
    for node in nodes(function.body):
        match node:
            case tree.Declare(variable=variable, initial=None) if c.scalar(variable.type):
                bare.add(variable)
            case tree.Load(place=tree.Use() as use):
                plain["read"].add(id(use))
            case tree.Assign(place=tree.Use() as use) | tree.Update(place=tree.Use() as use):
                plain["write"].add(id(use))
            case tree.Barrier(operands=operands):
                plain["write"].update(map(id, operands))
            case tree.Use(variable=variable):
                used.setdefault(variable, []).append(id(node))
    known = plain["read"] | plain["write"]
    return {
        variable
        for variable in bare
        if known.issuperset(used.get(variable, ())) and plain["write"] & set(used.get(variable, ()))
    }


class _Graph:
    """Built from a function's statements; `here` is where building has come to, None behind what
    never goes on."""

    def __init__(self, followed: set[Variable]) -> None:
        self.followed = followed
        self.start = self.here = _Point()
        self._breaks: list[_Point] = []
        self._continues: list[_Point] = []
        self._switches: list[tuple[_Point, list[int | None]]] = []
        self._labels: dict[str, _Point] = {}

    def _go(self, to: _Point) -> None:
        self.here.to(to)
        self.here = to

    def _leave(self, to: _Point | None = None) -> None:
        """Goes there, or nowhere; what stands behind is reached from elsewhere or not at all."""
        if to is not None:
            self.here.to(to)
        self.here = _Point()

    def _event(self, event: str, variable: Variable, span: Span) -> None:
        if variable in self.followed:
            self._go(_Point(event, variable, span))

    # --- expressions -------------------------------------------------------------------------

    def value(self, e: Any) -> None:
        match e:
            case tree.Load(place=tree.Use(variable=variable)):
                self._event("read", variable, e.span)
            case tree.Assign(place=tree.Use(variable=variable), value=value):
                self.value(value)
                self._event("write", variable, e.span)
            case tree.Update(place=tree.Use(variable=variable), value=value):
                self.value(value)
                self._event("read", variable, e.place.span)
                self._event("write", variable, e.span)
            case tree.Logic():
                end = _Point()
                self.condition(e, end, end)
                self.here = end
            case tree.Conditional(condition=condition, yes=yes, no=no):
                self._either(condition, yes, no, self.value)
            case tree.StatementExpr(body=body, value=value):
                for statement in body:
                    self.statement(statement)
                self.value(value)
            case tree.Call(callee=tree.Builtin(name=name)) if name in _ENDS:
                self._leave()
            case None:
                pass
            case _:
                for child in children(e):
                    self.value(child)

    def condition(self, e: Expr, yes: _Point, no: _Point) -> None:
        """A value that decides where to go on."""
        known = fold(e)
        if known is not None:
            self._leave(yes if known else no)
            return
        match e:
            case tree.Convert(operand=operand):
                self.condition(operand, yes, no)
            case tree.Call(callee=tree.Builtin(name="__builtin_expect"), arguments=(inner, *_)):
                self.condition(inner, yes, no)
            case tree.Unary(operator="!", operand=operand):
                self.condition(operand, no, yes)
            case tree.Logic(operator=operator, left=left, right=right):
                middle = _Point()
                both = operator == "&&"
                self.condition(left, middle if both else yes, no if both else middle)
                self.here = middle
                self.condition(right, yes, no)
            case _:
                self.value(e)
                self._go(_Point())
                self.here.to(yes, Branch(e.span, "true"))
                self.here.to(no, Branch(e.span, "false"))
                self._leave()

    def _either(self, condition: Expr, yes: Any, no: Any, walk: Any) -> None:
        first, second, end = _Point(), _Point(), _Point()
        self.condition(condition, first, second)
        for start, part in ((first, yes), (second, no)):
            self.here = start
            walk(part)
            self._leave(end)
        self.here = end

    # --- statements --------------------------------------------------------------------------

    def statement(self, node: Stmt | None) -> None:
        match node:
            case tree.Block(body=body):
                for inner in body:
                    self.statement(inner)
            case tree.Declare(variable=variable, initial=initial):
                self.value(initial)
                self._event("life" if initial is None else "write", variable, node.span)
            case tree.Evaluate(expression=e):
                self.value(e)
            case tree.If(condition=condition, yes=yes, no=no):
                self._either(condition, yes, no, self.statement)
            case tree.Loop():
                self._loop(node)
            case tree.Switch():
                self._switch(node)
            case tree.Case(low=low, body=inner):
                case = _Point()
                self._go(case)
                decided, lows = self._switches[-1]
                decided.to(case, Branch(node.span, "met"))
                lows.append(low)
                self.statement(inner)
            case tree.Label(name=name, body=inner):
                self._go(self._labels.setdefault(name, _Point()))
                self.statement(inner)
            case tree.Goto(name=name):
                self._leave(self._labels.setdefault(name, _Point()))
            case tree.Break():
                self._leave(self._breaks[-1])
            case tree.Continue():
                self._leave(self._continues[-1])
            case tree.Return(value=value):
                self.value(value)
                self._leave()
            case tree.Barrier(operands=operands):
                for operand in operands:
                    if isinstance(operand, tree.Use):
                        self._event("write", operand.variable, node.span)
                    else:
                        self.value(operand)

    def _loop(self, node: tree.Loop) -> None:
        head, body, step, end = _Point(), _Point(), _Point(), _Point()
        self.statement(node.start)
        self._leave(body if node.first else head)
        self.here = head
        if node.condition is not None:
            self.condition(node.condition, body, end)
        else:
            self._leave(body)
        self.here = body
        self._breaks.append(end)
        self._continues.append(step)
        self.statement(node.body)
        self._breaks.pop()
        self._continues.pop()
        self._go(step)
        self.value(node.step)
        self._leave(head)
        self.here = end

    def _switch(self, node: tree.Switch) -> None:
        self.value(node.value)
        self._go(_Point())
        decided, end, lows = self.here, _Point(), list[int | None]()
        self._leave()
        self._breaks.append(end)
        self._switches.append((decided, lows))
        self.statement(node.body)
        self._switches.pop()
        self._breaks.pop()
        self._leave(end)
        if None not in lows:  # without a default the cases are mostly all there are
            decided.to(end)
        self.here = end


class _State(NamedTuple):
    """Variables that may have no value, and variables that may have one, as bits."""

    none: int = 0
    some: int = 0


def _readings(graph: _Graph) -> Iterator[Reading]:
    bits = {variable: 1 << index for index, variable in enumerate(graph.followed)}
    states = _flow(graph.start, bits)
    told: set[Variable] = set()
    for point, state in states.items():
        variable = point.variable
        if point.event != "read" or variable is None or variable in told or point.span is None:
            continue
        bit = bits[variable]
        if not state.none & bit:
            continue
        branch = _deciding(point, bit, states) if state.some & bit else None
        if branch is not None or not state.some & bit:
            told.add(variable)
            yield Reading(variable, point.span, branch)


def _flow(start: _Point, bits: dict[Variable, int]) -> dict[_Point, _State]:
    """The state before each point that is reached."""
    states = {start: _State()}
    queue = deque([start])
    while queue:
        point = queue.popleft()
        after = _after(point, states[point], bits)
        for following, _ in point.after:
            old = states.get(following)
            new = after if old is None else _State(old.none | after.none, old.some | after.some)
            if new != old:
                states[following] = new
                queue.append(following)
    return states


def _after(point: _Point, state: _State, bits: dict[Variable, int]) -> _State:
    if point.variable is None or point.event == "read":
        return state
    bit = bits[point.variable]
    if point.event == "life":
        return _State(state.none | bit, state.some & ~bit)
    return _State(state.none & ~bit, state.some | bit)


def _deciding(reading: _Point, bit: int, states: dict[_Point, _State]) -> Branch | None:
    """The branch at which the variable certainly has no value, and of which an outcome leads to
    the reading whatever comes."""
    certain = {reading}
    ways: dict[_Point, int] = {}
    work = [reading]
    while work:
        for point in work.pop().before:
            if point not in states or point in certain:
                continue
            if point.variable is reading.variable and point.event in ("life", "write"):
                continue
            ways[point] = ways.get(point, 0) + 1
            if ways[point] == len(point.after):
                certain.add(point)
                work.append(point)
    for point in states:
        state = states[point]
        if point in ways and point not in certain and state.none & bit and not state.some & bit:
            for following, branch in point.after:
                if following in certain and branch is not None:
                    return branch
    return None
