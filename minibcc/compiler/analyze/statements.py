"""Statements and local declarations (C11 sections 6.7 and 6.8)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from minibcc.btf.types import Array, FuncProto, strip
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.analyze import certain
from minibcc.compiler.analyze.constants import fold
from minibcc.compiler.analyze.context import Cases, Poison, TypeName, Wrong
from minibcc.compiler.analyze.conversions import is_place
from minibcc.compiler.analyze.initializers import Initializers
from minibcc.compiler.tree import Variable
from minibcc.diagnostics import Label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minibcc.btf.types import Type
    from minibcc.compiler.tree import Expr, Initializer, Stmt
    from minibcc.diagnostics import Span

_BODY = 3
"""Scopes at the outermost block of a function: the file's, the parameters', its own."""


class Statements(Initializers):
    """Analyses statements."""

    externs: list[tuple[tree.Variable, Any]]
    """Variables that some declaration says are defined elsewhere, and that declaration."""

    if TYPE_CHECKING:  # what file level knows of

        def function_declaration(self, node: Any, name: str, type: Type | None) -> None: ...

    def statements(self, nodes: Iterable[Any]) -> list[Stmt]:
        """The statements of a block, in the present scope."""
        out: list[Stmt] = []
        unroll = 0
        for node in nodes:
            if type(node).__name__ == "Pragma":
                unroll = self._pragma(node)
                continue
            out.extend(self.statement(node, unroll))
            unroll = 0
        return out

    def statement(self, node: Any, unroll: int = 0) -> list[Stmt]:
        """One statement; several where a declaration has several declarators. An error inside
        ends it, not the analysis."""
        form = self._STATEMENTS.get(type(node).__name__)
        try:
            if form is None:
                return [self._evaluate(node)]
            if type(node).__name__ in ("For", "While", "DoWhile"):
                return [form(self, node, unroll)]
            result = form(self, node)
            return result if isinstance(result, list) else [result]
        except Wrong:
            return []

    def _single(self, node: Any, unroll: int = 0) -> Stmt:
        """A statement as the body of another."""
        self.push()
        try:
            found = self.statement(node, unroll)
        finally:
            self.pop()
        if len(found) == 1:
            return found[0]
        return tree.Block(self.span(node), tuple(found))

    def _pragma(self, node: Any) -> int:
        """What a pragma says about the loop that follows; others are ignored, as C has it."""
        words = str(node.string).replace("(", " ").replace(")", " ").split()
        if "nounroll" in words or "disable" in words:
            return -1
        if words[:1] == ["unroll"] or "unroll" in words or "unroll_count" in words:
            numbers = [int(word, 0) for word in words if word[:1].isdigit()]
            return numbers[0] if numbers else 1
        return 0

    # --- blocks and declarations -------------------------------------------------------------

    def _compound(self, node: Any) -> Stmt:
        self.push()
        try:
            body = self.statements(node.block_items or [])
        finally:
            self.pop()
        stretch = self.syntax.stretches.get(id(node))
        end = stretch[1].span if stretch else None
        return tree.Block(self.span(node), tuple(body), end)

    def _declaration(self, node: Any) -> list[Stmt]:
        name = node.name
        if name is None:
            self.declared(node)
            return []
        try:
            return self._local(node, name)
        except Wrong:
            self.declare(name, Poison())
            raise

    def _local(self, node: Any, name: str) -> list[Stmt]:
        initial = None
        if is_inferred(node):
            type, initial = self.inferred(node)
        else:
            type = self.declared(node)
        if isinstance(strip(type), FuncProto):
            self.function_declaration(node, name, type)
            return []
        # A function's parameters stand in a scope of their own here, not for C.
        for scope in self.scopes[1:] if len(self.scopes) == _BODY else self.scopes[-1:]:
            if name in scope and not isinstance(scope[name], Poison):
                self.redefined(name, node, scope[name])
        if "extern" in node.storage:
            entity = self.lookup(name)
            if entity is None:
                entity = self.scopes[0][name] = self.variable(node, name, type, "global")
                self.externs.append((entity, node))
            self.declare(name, entity)
            return []
        variable = self.variable(
            node, name, type, "static" if "static" in node.storage else "local"
        )
        self.declare(name, variable)
        if node.init is not None and initial is None:
            variable.type, initial = self.initializer(variable.type, node.init)
        self._defined(variable, node)
        if variable.storage == "static":
            variable.initial = initial
            self.variables.append(variable)
            return []
        return [tree.Declare(variable.span, variable, initial)]

    def redefined(self, name: str, node: Any, known: Any) -> None:
        """Reports a second declaration, with the first."""
        first = getattr(known, "span", None)
        self.report(
            "type/redefined",
            f"'{name}' is declared a second time",
            node,
            labels=[Label(first, "the first declaration")] if first is not None else [],
            help=["take another name, or assign to it without a type before it"],
        )

    def inferred(self, node: Any) -> tuple[Type | None, Initializer]:
        """The type of ``__auto_type x = value``, and what x starts with."""
        value = self.value(node.init)
        type = c.unqualified(value.type)
        if type is None:
            self.fail("type/void-value", f"'{node.name}' cannot be void", node)
        initial = tree.Initializer(self.span(node.init), ((0, 0, type, value),), True)
        return self._qualify(type, node.type.quals or []), initial

    def variable(self, node: Any, name: str, type: Type | None, storage: str) -> Variable:
        """A variable with what its attributes say."""
        if strip(type) is None or type is None:
            self.fail("type/void-value", f"'{name}' cannot be void", node)
        if "_Thread_local" in node.storage:
            self.fail(
                "type/not-in-ebpf",
                "eBPF has no variables of a thread's own",
                node,
                help=["keep them in a BPF_HASH whose key is bpf_get_current_pid_tgid()"],
            )
        attributes = self.attributes(node)
        sections = [item.text() for item in attributes if item.name == "section"]
        align = max(self.asked_alignment(node), self.typedef_alignment(type))
        return Variable(
            name,
            type,
            node.coord.span,
            storage,
            None,
            sections[0] if sections else "",
            align,
            c.is_const(type),
        )

    def _defined(self, variable: Variable, node: Any) -> None:
        """Reports a variable whose size is not known after its initialiser."""
        self.complete(variable.type, node)
        outer = strip(variable.type)
        if isinstance(outer, Array) and outer.count == 0 and node.type.dim is None:
            self.fail("type/bad-array", f"how many elements has '{variable.name}'?", node)

    def _typedef(self, node: Any) -> list[Stmt]:
        type = self._named_type(node)
        known = self.scopes[-1].get(node.name)
        if isinstance(known, TypeName):
            if not self.compatible(known.type, type):
                self.redefined(node.name, node, known)
        elif known is not None and not isinstance(known, Poison):
            self.redefined(node.name, node, known)
        align = self.asked_alignment(node)
        if align and type is not None:
            self.aligned_typedefs.append((type, align))
        self.declare(node.name, TypeName(type))
        return []

    def _named_type(self, node: Any) -> Type | None:
        """The type that a typedef makes, with the typedef's own attributes."""
        from minibcc.btf.types import Typedef

        return Typedef(node.name, self.declared(node))

    def _assert(self, node: Any) -> list[Stmt]:
        self.static_assert(node)
        return []

    # --- simple statements -------------------------------------------------------------------

    def _evaluate(self, node: Any) -> Stmt:
        return tree.Evaluate(self.span(node), self._effect(node))

    def _effect(self, node: Any) -> Expr:
        """An expression that stands for its effect; warns if it has none."""
        e = self.expression(node)
        if is_place(e):
            e = self.rvalue(e) if strip(e.type) is not None else e
        self._check_effect(e, node)
        return e

    def _check_effect(self, e: Expr, node: Any) -> None:
        bare = isinstance(e, tree.Load)
        if bare or isinstance(e, tree.Arithmetic | tree.Comparison | tree.Unary):
            if not (bare or certain.written(self.syntax, node)):
                return
            equal = isinstance(e, tree.Comparison) and e.operator == "=="
            help = ["write = to assign"] if equal else ["assign the value, or remove it"]
            self.warn("type/unused-value", "this does nothing", node, help=help)

    def _empty(self, node: Any) -> list[Stmt]:
        return []

    def _return(self, node: Any) -> Stmt:
        if self.function is None:
            self.fail("parse/outside-function", "'return' stands outside of any function", node)
        span = self.span(node)
        wanted = self.function.type.result
        if node.expr is None:
            if strip(wanted) is not None:
                self.report(
                    "type/missing-value",
                    f"'{self.function.name}' returns '{c.spell(wanted)}': a value is missing",
                    node,
                    help=["write return 0;"],
                )
            return tree.Return(span)
        value = self.value(node.expr)
        if strip(wanted) is None:
            if strip(value.type) is not None:
                self.report(
                    "type/void-value", f"'{self.function.name}' is void and returns nothing", node
                )
            return tree.Return(span)
        return tree.Return(span, self.convert(value, c.unqualified(wanted), "returned"))

    def _goto(self, node: Any) -> Stmt:
        span = self.span(node)
        self.gotos.append((node.name, span))
        return tree.Goto(span, node.name)

    def _label(self, node: Any) -> list[Stmt]:
        if node.name in self.labels:
            self.report("type/redefined", f"there is a second label '{node.name}'", node)
        self.labels[node.name] = node.coord.span
        body = self.statement(node.stmt)
        first = body[0] if body else tree.Block(self.span(node), ())
        if isinstance(first, tree.Declare):
            return [tree.Label(node.coord.span, node.name, tree.Block(first.span, ())), *body]
        return [tree.Label(self.span(node), node.name, first), *body[1:]]

    def _break(self, node: Any) -> Stmt:
        if not self.loops and not self.switches:
            self.fail("type/bad-statement", "'break' stands outside of any loop or switch", node)
        return tree.Break(self.span(node))

    def _continue(self, node: Any) -> Stmt:
        if not self.loops:
            self.fail("type/bad-statement", "'continue' stands outside of any loop", node)
        return tree.Continue(self.span(node))

    def _body(self, node: Any) -> Stmt:
        """The body of a loop."""
        self.loops += 1
        try:
            return self._single(node)
        finally:
            self.loops -= 1

    # --- branches and loops ------------------------------------------------------------------

    def _if(self, node: Any) -> Stmt:
        condition = None
        with suppress(Wrong):  # what it guards is analysed all the same
            condition = self.truth(node.cond)
        yes = self._single(node.iftrue)
        no = self._single(node.iffalse) if node.iffalse is not None else None
        if condition is None:
            raise Wrong
        return tree.If(self.span(node), condition, yes, no)

    def _switch(self, node: Any) -> Stmt:
        value = self.value(node.cond)
        if c.integer(value.type) is None:
            self.fail(
                "type/not-scalar", f"switch cannot decide by '{c.spell(value.type)}'", node.cond
            )
        value = self.promoted(value)
        self.switches.append(Cases(value.type or c.INT, {}))
        try:
            body = self._single(node.stmt)
        finally:
            self.switches.pop()
        return tree.Switch(self.span(node), value, body)

    def _case(self, node: Any) -> list[Stmt]:
        low = high = None
        if node.__class__.__name__ == "Case":
            kind = self.switches[-1].type if self.switches else c.INT
            expr = node.expr
            if expr.__class__.__name__ == "BinaryOp" and expr.op == "...":
                low = c.wrap(self.constant(expr.left, "a case"), kind)
                high = c.wrap(self.constant(expr.right, "a case"), kind)
            else:
                low = high = c.wrap(self.constant(expr, "a case"), kind)
        if not self.switches:
            word = type(node).__name__.lower()
            self.fail("type/bad-statement", f"'{word}' stands outside of any switch", node)
        span = node.coord.span
        self._once(self.switches[-1], low, high, span)
        body = self.statements(node.stmts or [])
        if not body or isinstance(body[0], tree.Declare):
            return [tree.Case(span, low, high, tree.Block(span, ())), *body]
        return [tree.Case(span, low, high, body[0]), *body[1:]]

    def _once(self, switch: Cases, low: int | None, high: int | None, span: Span) -> None:
        """Reports a case that another case has taken, and a range of none."""
        if low is not None and high is not None and low > high:
            self.warn("type/empty-range", f"no number lies from {low} to {high}", span)
            return
        taken = switch.seen.get((low, high))
        if taken is None and low is not None and high is not None:
            if low == high and not switch.ranges:
                pass  # the usual switch: nothing overlaps but what is equal
            else:
                for (first, last), place in switch.seen.items():
                    if first is not None and last is not None and first <= high and low <= last:
                        taken = place
            switch.ranges = switch.ranges or low != high
        if taken is not None:
            self.report(
                "type/duplicate-case",
                "the switch has two 'default'" if low is None else "the switch has this case twice",
                span,
                labels=[Label(taken, "the first")],
                help=["remove one of them"],
            )
        switch.seen.setdefault((low, high), span)

    def _for(self, node: Any, unroll: int) -> Stmt:
        self.push()
        try:
            start: Stmt | None = None
            if node.init is not None:
                if type(node.init).__name__ == "DeclList":
                    declared = self.statements(node.init.decls)
                    start = (
                        declared[0]
                        if len(declared) == 1
                        else tree.Block(self.span(node.init), tuple(declared))
                    )
                else:
                    start = self._evaluate(node.init)
            condition = self.truth(node.cond) if node.cond is not None else None
            step = self._effect(node.next) if node.next is not None else None
            body = self._body(node.stmt)
        finally:
            self.pop()
        return tree.Loop(self.span(node), condition, body, start, step, False, unroll)

    def _while(self, node: Any, unroll: int) -> Stmt:
        condition = self.truth(node.cond)
        body = self._body(node.stmt)
        always = fold(condition)
        return tree.Loop(
            self.span(node), None if always else condition, body, None, None, False, unroll
        )

    def _do(self, node: Any, unroll: int) -> Stmt:
        body = self._body(node.stmt)
        condition = self.truth(node.cond)
        return tree.Loop(self.span(node), condition, body, None, None, True, unroll)

    def _asm_or_call(self, node: Any) -> list[Stmt]:
        if node.name.__class__.__name__ != "ID" or node.name.name != "asm":
            return [self._evaluate(node)]
        text, *operands = node.args.exprs
        if "".join(part.strip('"') for part in text.value).strip():
            self.fail(
                "type/assembly",
                "inline assembly cannot be compiled",
                node,
                help=["write it in C; an empty asm is fine as a barrier"],
            )
        span = self.span(node)
        places: list[Expr] = []
        before: list[Stmt] = []
        for operand in operands:
            constraint = operand.name[0].value.strip('"')
            e = self.expression(operand.expr)
            if constraint.isdigit() and int(constraint) < len(places):
                # An input in an output's register: without any instruction it is the output.
                place = places[int(constraint)]
                value = self.convert(self.rvalue(e), c.unqualified(place.type), "assigned")
                assigned = tree.Assign(span, place.type, place, value)
                before.append(tree.Evaluate(span, assigned))
            elif is_place(e):
                places.append(e)
            elif not constraint.startswith(("=", "+")):
                before.append(tree.Evaluate(span, e))
            else:
                self.fail("type/not-a-place", "an output must be a variable", operand.expr)
        return [*before, tree.Barrier(span, tuple(places))]

    _STATEMENTS: ClassVar[dict[str, Any]] = {
        "Compound": _compound,
        "Decl": _declaration,
        "Typedef": _typedef,
        "StaticAssert": _assert,
        "EmptyStatement": _empty,
        "Return": _return,
        "Goto": _goto,
        "Label": _label,
        "Break": _break,
        "Continue": _continue,
        "If": _if,
        "Switch": _switch,
        "Case": _case,
        "Default": _case,
        "For": _for,
        "While": _while,
        "DoWhile": _do,
        "FuncCall": _asm_or_call,
        "Pragma": _empty,
    }


def is_inferred(node: Any) -> bool:
    """Whether a declaration leaves its type to its initialiser."""
    return type(getattr(node.type, "type", None)).__name__ == "InferredType"
