"""Statements of the typed tree as blocks of instructions.

Each form of C opens the blocks it needs; `break` and `continue` find theirs on a stack, labels and
cases by name. Locals tell LLVM where they begin and end to live (clang does the same), so that
objects of different scopes may share the 512 bytes of stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from minibcc.compiler import tree
from minibcc.compiler.lower.builtins import Builtins
from minibcc.compiler.lower.emitter import Place
from minibcc.compiler.lower.types import VOID, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.compiler.lower.module import Module

_MANY_CASES = 64
"""A range of more values than this becomes a comparison, not cases."""


class _Switch:
    """A switch whose body is being lowered."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.cases: list[tuple[int, str]] = []
        self.ranges: list[tuple[int, int, str]] = []
        self.default = ""


class Statements(Builtins):
    """Lowers statements."""

    forms: ClassVar[dict[type, Callable[[Any, Any], None]]]

    def __init__(self, module: Module, function: tree.Function) -> None:
        super().__init__(module, function)
        self._breaks: list[str] = []
        self._continues: list[str] = []
        self._switches: list[_Switch] = []
        self._labels_by_name: dict[str, str] = {}
        self._jumps = has_labels(function.body)

    def statement(self, statement: tree.Stmt) -> None:
        self.forms[type(statement)](self, statement)

    def _block(self, s: tree.Block) -> None:
        self.open_scope()
        for statement in s.body:
            self.statement(statement)
        if s.end is not None:
            self.mark(s.end)
        self.close_scope()

    def _declare(self, s: tree.Declare) -> None:
        variable = s.variable
        if variable.storage in ("static", "global"):
            return
        self.mark(s.span)
        kind = self.kind(variable.type)
        place = self.variable(variable)
        if not self._jumps and kind.size and place.pointer.startswith("%s"):
            self.begin_life(place)
        if s.initial is not None:
            self.initialize(place, s.initial, kind)

    def _evaluate(self, s: tree.Evaluate) -> None:
        self.mark(s.span)
        self.evaluate(s.expression)

    def _if(self, s: tree.If) -> None:
        yes, join = self.fresh(), self.fresh()
        no = join if s.no is None else self.fresh()
        self.mark(s.span)
        self.branch(s.condition, yes, no)
        self.label(yes)
        self.statement(s.yes)
        if s.no is not None:
            if not self.ended:
                self.jump(join)
            self.label(no)
            self.statement(s.no)
        self.label(join)

    def _loop(self, s: tree.Loop) -> None:
        self.module.loops = True
        self.open_scope()
        if s.start is not None:
            self.statement(s.start)
        body, step, after = self.fresh(), self.fresh(), self.fresh()
        test = self.fresh()
        self.mark(s.span)
        self.jump(body if s.first else test)
        if not s.first:
            self.label(test)
            self._test(s, body, after)
        self.label(body)
        self._breaks.append(after)
        self._continues.append(step)
        self.statement(s.body)
        self._breaks.pop()
        self._continues.pop()
        self.label(step)
        if s.step is not None:
            self.evaluate(s.step)
        self.mark(s.span)
        if s.first:
            self._test(s, test, after)
            self.label(test)
        words = self._words(s)
        self.end(f"br label %{body if s.first else test}, !llvm.loop !{self.debug.loop(words)}")
        self.label(after)
        self.close_scope()

    def _test(self, s: tree.Loop, body: str, after: str) -> None:
        if s.condition is None:
            self.jump(body)
        else:
            self.branch(s.condition, body, after)

    def _words(self, s: tree.Loop) -> list[str]:
        """What the optimiser is told about a loop."""
        words = []
        if s.condition is not None and not isinstance(s.condition, tree.Number):
            words.append('!{!"llvm.loop.mustprogress"}')
        match s.unroll:
            case 0:
                pass
            case 1:
                words.append('!{!"llvm.loop.unroll.enable"}')
            case -1:
                words.append('!{!"llvm.loop.unroll.disable"}')
            case count:
                words.append(f'!{{!"llvm.loop.unroll.count", i32 {count}}}')
        return words

    def _switch(self, s: tree.Switch) -> None:
        kind = self.kind(s.value.type)
        operand = self.rvalue(s.value)
        self.mark(s.span)
        after = self.fresh()
        gap = self.reserve()
        switch = _Switch(kind)
        self._switches.append(switch)
        self._breaks.append(after)
        jumps, self._jumps = self._jumps, True
        self.statement(s.body)
        self._jumps = jumps
        self._breaks.pop()
        self._switches.pop()
        if not self.ended:
            self.jump(after)
        default = switch.default or after
        for low, high, label in switch.ranges:
            test, miss = self.fresh(), default
            self.label(test)
            distance = self.value(f"sub {kind.ir} {operand}, {low}")
            inside = self.value(f"icmp ule {kind.ir} {distance}, {high - low}")
            self.end(f"br i1 {inside}, label %{label}, label %{miss}")
            default = test
        cases = " ".join(f"{kind.ir} {value}, label %{label}" for value, label in switch.cases)
        self.fill(gap, f"switch {kind.ir} {operand}, label %{default} [{cases}]")
        self.label(after)

    def _case(self, s: tree.Case) -> None:
        switch = self._switches[-1]
        label = self.fresh()
        self.label(label)
        if s.low is None:
            switch.default = label
        else:
            high = s.low if s.high is None else s.high
            if high - s.low < _MANY_CASES:
                switch.cases += [(value, label) for value in range(s.low, high + 1)]
            else:
                switch.ranges.append((s.low, high, label))
        self.statement(s.body)

    def _label(self, s: tree.Label) -> None:
        self.label(self._named(s.name))
        self.statement(s.body)

    def _goto(self, s: tree.Goto) -> None:
        self.mark(s.span)
        self.jump(self._named(s.name))

    def _named(self, name: str) -> str:
        return self._labels_by_name.setdefault(name, f"L.{name}")

    def _break(self, s: tree.Break) -> None:
        self.mark(s.span)
        self.jump(self._breaks[-1])

    def _continue(self, s: tree.Continue) -> None:
        self.mark(s.span)
        self.jump(self._continues[-1])

    def _return(self, s: tree.Return) -> None:
        kind = self.kind(self.function.type.result)
        if s.value is None:
            self.mark(s.span)
            self.leave(None, kind)
            return
        if kind is VOID:
            self.evaluate(s.value)
            self.leave(None, kind)
            return
        operand = self.rvalue(s.value)
        self.mark(s.span)
        self.leave(operand, kind)

    def leave(self, operand: str | None, kind: Kind) -> None:
        """Returns from the function; without a value 0, so that a program's answer is defined."""
        if kind.by_reference:
            if operand is not None:
                self.store(operand, Place("%result", kind.align), kind)
            self.end("ret void")
        elif kind is not VOID:
            zero = "null" if kind.pointer else "0"
            self.end(f"ret {kind.ir} {zero if operand is None else operand}")
        else:
            self.end("ret void" if self.function.linkage == "static" else "ret i32 0")

    def _barrier(self, s: tree.Barrier) -> None:
        """The optimiser must neither look through the operands nor move memory accesses."""
        self.mark(s.span)
        if not s.operands:
            self.do('call void asm sideeffect "", "~{memory}"()')
        for operand in s.operands:
            place, kind = self.place(operand), self.kind(operand.type)
            if kind.aggregate:
                self.do(f'call void asm sideeffect "", "r,~{{memory}}"(ptr {place.pointer})')
                continue
            held = self.load(place, kind)
            held = self.value(
                f'call {kind.ir} asm sideeffect "", "=r,0,~{{memory}}"({kind.ir} {held})'
            )
            self.store(held, place, kind)


Statements.forms = {
    tree.Block: Statements._block,
    tree.Declare: Statements._declare,
    tree.Evaluate: Statements._evaluate,
    tree.If: Statements._if,
    tree.Loop: Statements._loop,
    tree.Switch: Statements._switch,
    tree.Case: Statements._case,
    tree.Label: Statements._label,
    tree.Goto: Statements._goto,
    tree.Break: Statements._break,
    tree.Continue: Statements._continue,
    tree.Return: Statements._return,
    tree.Barrier: Statements._barrier,
}


def has_labels(statement: tree.Stmt | None) -> bool:
    """Whether control may enter a scope past its declarations (then no object's life ends)."""
    match statement:
        case tree.Label():
            return True
        case tree.Block(body=body):
            return any(has_labels(inner) for inner in body)
        case tree.If(yes=yes, no=no):
            return has_labels(yes) or has_labels(no)
        case tree.Loop(body=inner) | tree.Switch(body=inner) | tree.Case(body=inner):
            return has_labels(inner)
    return False
