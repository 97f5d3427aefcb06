"""Statements and local declarations (C11 sections 6.7 and 6.8)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from minibcc.btf.types import Array, FuncProto, strip
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.analyze.constants import fold
from minibcc.compiler.analyze.context import Poison, TypeName, Wrong
from minibcc.compiler.analyze.conversions import is_place
from minibcc.compiler.analyze.initializers import Initializers
from minibcc.compiler.tree import Variable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minibcc.btf.types import Type
    from minibcc.compiler.tree import Stmt


class Statements(Initializers):
    """Analyses statements."""

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
        type = self.declared(node)
        if isinstance(strip(type), FuncProto):
            self.function_declaration(node, name, type)
            return []
        if name in self.scopes[-1] and not isinstance(self.scopes[-1][name], Poison):
            self.report("type/redefined", f"'{name}' is declared a second time", node)
        if "extern" in node.storage:
            entity = self.lookup(name)
            if entity is None:
                self.fail("type/extern", f"nothing defines '{name}'", node)
            self.declare(name, entity)
            return []
        variable = self.variable(
            node, name, type, "static" if "static" in node.storage else "local"
        )
        self.declare(name, variable)
        initial = None
        if node.init is not None:
            variable.type, initial = self.initializer(variable.type, node.init)
        self._defined(variable, node)
        if variable.storage == "static":
            variable.initial = initial
            self.variables.append(variable)
            return []
        return [tree.Declare(variable.span, variable, initial)]

    def variable(self, node: Any, name: str, type: Type | None, storage: str) -> Variable:
        """A variable with what its attributes say."""
        if strip(type) is None or type is None:
            self.fail("type/void-value", f"'{name}' cannot be void", node)
        attributes = self.attributes(node)
        sections = [item.text() for item in attributes if item.name == "section"]
        align = max([item.number(16) for item in attributes if item.name == "aligned"], default=0)
        for alignas in node.align or []:
            operand = alignas.alignment
            if operand.__class__.__name__ == "Typename":
                from minibcc.btf.types import align_of

                align = max(align, align_of(self.declared(operand)))
            else:
                align = max(align, self.constant(operand, "an alignment"))
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
        self.declare(node.name, TypeName(self._named_type(node)))
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
        e = self.expression(node)
        if is_place(e):
            e = self.rvalue(e) if strip(e.type) is not None else e
            if isinstance(e, tree.Load):
                self.warn("type/unused-value", "this statement does nothing", node)
        return tree.Evaluate(self.span(node), e)

    def _empty(self, node: Any) -> list[Stmt]:
        return []

    def _return(self, node: Any) -> Stmt:
        assert self.function is not None
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
        return tree.Break(self.span(node))

    def _continue(self, node: Any) -> Stmt:
        return tree.Continue(self.span(node))

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
        self.switches.append(value.type or c.INT)
        try:
            body = self._single(node.stmt)
        finally:
            self.switches.pop()
        return tree.Switch(self.span(node), value, body)

    def _case(self, node: Any) -> list[Stmt]:
        low = high = None
        if node.__class__.__name__ == "Case":
            kind = self.switches[-1] if self.switches else c.INT
            expr = node.expr
            if expr.__class__.__name__ == "BinaryOp" and expr.op == "...":
                low = c.wrap(self.constant(expr.left, "a case"), kind)
                high = c.wrap(self.constant(expr.right, "a case"), kind)
            else:
                low = high = c.wrap(self.constant(expr, "a case"), kind)
        if not self.switches:
            self.fail("type/bad-statement", "'case' stands outside of any switch", node)
        body = self.statements(node.stmts or [])
        span = node.coord.span
        if not body or isinstance(body[0], tree.Declare):
            return [tree.Case(span, low, high, tree.Block(span, ())), *body]
        return [tree.Case(span, low, high, body[0]), *body[1:]]

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
            step = self.expression(node.next) if node.next is not None else None
            body = self._single(node.stmt)
        finally:
            self.pop()
        return tree.Loop(self.span(node), condition, body, start, step, False, unroll)

    def _while(self, node: Any, unroll: int) -> Stmt:
        condition = self.truth(node.cond)
        body = self._single(node.stmt)
        always = fold(condition)
        return tree.Loop(
            self.span(node), None if always else condition, body, None, None, False, unroll
        )

    def _do(self, node: Any, unroll: int) -> Stmt:
        body = self._single(node.stmt)
        condition = self.truth(node.cond)
        return tree.Loop(self.span(node), condition, body, None, None, True, unroll)

    def _asm_or_call(self, node: Any) -> Stmt:
        if node.name.__class__.__name__ != "ID" or node.name.name != "asm":
            return self._evaluate(node)
        text, *operands = node.args.exprs
        if "".join(part.strip('"') for part in text.value).strip():
            self.fail(
                "type/assembly",
                "inline assembly cannot be compiled",
                node,
                help=["write it in C; an empty asm is fine as a barrier"],
            )
        places = tuple(self.expression(operand) for operand in operands)
        return tree.Barrier(self.span(node), places)

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
