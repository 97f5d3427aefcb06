"""Writes one function's instructions, as text, in order.

LLVM's assembly is written directly: a builder of objects that print themselves costs several
times what LLVM needs to parse the text. Values are operands as they are written (``%12``, ``-1``,
``@table``). Temporaries are numbered in the order of the text, as LLVM demands; stack slots and
blocks have names, because slots are written at the entry whenever they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from minibcc.compiler.lower.types import LONG, Kind, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.btf.types import Type
    from minibcc.compiler.lower.debuginfo import DebugInfo
    from minibcc.compiler.lower.module import Module
    from minibcc.compiler.tree import Function, Variable
    from minibcc.diagnostics import Span


class Place(NamedTuple):
    """Where an object lives: its address, what alignment may be relied on, and for a bitfield the
    first bit (from `pointer`, 0..7) and the width."""

    pointer: str
    align: int
    volatile: bool = False
    bit: int = 0
    width: int = 0


class Emitter:
    """A function in the making."""

    def __init__(self, module: Module, function: Function) -> None:
        self.module = module
        self.debug: DebugInfo = module.debug
        self.function = function
        self.subprogram = self.debug.subprogram(function)
        self.slots: dict[Variable, Place] = {}
        self.entry: list[str] = []
        self.reserved = 0  # bytes of all slots
        self.body: list[str] = []
        self._alive: list[list[Place]] = []
        self.block = "entry"
        self._temporaries = 0
        self._labels = 0
        self.ended = False
        self.location = 0
        self.span: Span = function.span
        self.mark(function.span)

    # --- text ---

    def mark(self, span: Span) -> None:
        """What follows comes from this place."""
        self.span = span
        self.location = self.debug.location(self.subprogram, span)

    def value(self, text: str) -> str:
        """An instruction with a result: the result."""
        if self.ended:
            self.label(self.fresh())
        result = f"%{self._temporaries}"
        self._temporaries += 1
        self.body.append(f"  {result} = {text}, !dbg !{self.location}")
        return result

    def do(self, text: str) -> None:
        """An instruction without one."""
        if self.ended:
            self.label(self.fresh())
        self.body.append(f"  {text}, !dbg !{self.location}")

    def end(self, text: str) -> None:
        """The last instruction of a block. What follows without a label is never reached."""
        self.do(text)
        self.ended = True

    def fresh(self) -> str:
        """A new block's name."""
        self._labels += 1
        return f"L{self._labels}"

    def label(self, name: str) -> None:
        """Starts a block; control falls into it."""
        if not self.ended:
            self.end(f"br label %{name}")
        self.ended = False
        self.block = name
        self.body.append(f"{name}:")

    def jump(self, name: str) -> None:
        self.end(f"br label %{name}")

    def reserve(self) -> int:
        """A gap for an instruction that is known later, a block's last; see `fill`."""
        self.do("unreachable")
        self.ended = True
        return len(self.body) - 1

    def fill(self, gap: int, text: str) -> None:
        location = self.body[gap].rpartition(",")[2]
        self.body[gap] = f"  {text},{location}"

    # --- memory ---

    def slot(self, kind: Kind, align: int = 0) -> str:
        """Memory on the stack, reserved for the whole function."""
        name = f"%s{len(self.entry)}"
        align = max(align, slot_align(kind))
        self.reserved += kind.size
        self.entry.append(f"  {name} = alloca {kind.ir}, align {align}")
        return name

    def open_scope(self) -> None:
        """Objects whose life begins from here on end with the scope."""
        self._alive.append([])

    def begin_life(self, place: Place) -> None:
        self._lifetime("start", place)
        self._alive[-1].append(place)

    def close_scope(self, *, end: bool = True) -> None:
        for place in reversed(self._alive.pop()):
            if end and not self.ended:
                self._lifetime("end", place)

    def _lifetime(self, what: str, place: Place) -> None:
        function = self.intrinsic(f"llvm.lifetime.{what}.p0", "void", "ptr")
        self.do(f"call void {function}(ptr {place.pointer})")

    def intrinsic(self, name: str, result: str, *types: str) -> str:
        """``@llvm.name`` with its declaration made sure."""
        self.module.declare(f"declare {result} @{name}({', '.join(types)})")
        return f"@{name}"

    def copy(self, target: Place, source: Place, size: int) -> None:
        """Copies an aggregate of known size."""
        if size == 0:
            return
        align = min(target.align, source.align)
        if self.module.copies_inline(size, align):
            volatile = "true" if target.volatile or source.volatile else "false"
            function = self.intrinsic(
                "llvm.memcpy.p0.p0.i64", "void", "ptr", "ptr", "i64", "i1 immarg"
            )
            self.do(
                f"call void {function}(ptr align {target.align} {target.pointer}, "
                f"ptr align {source.align} {source.pointer}, i64 {size}, i1 {volatile})"
            )
        else:
            self.copy_loop(target.pointer, source.pointer, str(size), align)

    def clear(self, target: Place, size: int, byte: str = "0") -> None:
        """Fills memory of known size with a byte."""
        if size == 0:
            return
        if self.module.copies_inline(size, target.align):
            volatile = "true" if target.volatile else "false"
            function = self.intrinsic("llvm.memset.p0.i64", "void", "ptr", "i8", "i64", "i1 immarg")
            self.do(
                f"call void {function}(ptr align {target.align} {target.pointer}, "
                f"i8 {byte}, i64 {size}, i1 {volatile})"
            )
        else:
            self.fill_loop(target.pointer, byte, str(size), target.align)

    def copy_loop(
        self, target: str, source: str, size: str, align: int = 1, *, down: bool = False
    ) -> None:
        """Copies step by step, for sizes too large or unknown for straight code."""
        step = 1 if down else _step(size, align)
        index, done = self.count(size, step)
        if down:
            index = self.value(f"sub i64 {size}, {index}")
            index = self.value(f"sub i64 {index}, 1")
        at = self.value(f"getelementptr inbounds i8, ptr {source}, i64 {index}")
        word = self.value(f"load i{step * 8}, ptr {at}, align {step}")
        at = self.value(f"getelementptr inbounds i8, ptr {target}, i64 {index}")
        self.do(f"store i{step * 8} {word}, ptr {at}, align {step}")
        done()

    def fill_loop(self, target: str, byte: str, size: str, align: int = 1) -> None:
        step = _step(size, align)
        word = byte
        if step > 1:
            wide = self.value(f"zext i8 {byte} to i{step * 8}")
            word = self.value(f"mul i{step * 8} {wide}, {int.from_bytes(bytes([1] * step))}")
        index, done = self.count(size, step)
        at = self.value(f"getelementptr inbounds i8, ptr {target}, i64 {index}")
        self.do(f"store i{step * 8} {word}, ptr {at}, align {step}")
        done()

    def count(self, size: str, step: int) -> tuple[str, Callable[[], None]]:
        """Opens ``for (index = 0; index < size; index += step)``; the second result closes it."""
        self.module.loops = True
        head, body, after = self.fresh(), self.fresh(), self.fresh()
        counter = self.slot(LONG)
        self.do(f"store i64 0, ptr {counter}, align 8")
        self.label(head)
        index = self.value(f"load i64, ptr {counter}, align 8")
        more = self.value(f"icmp ult i64 {index}, {size}")
        self.end(f"br i1 {more}, label %{body}, label %{after}")
        self.label(body)

        def done() -> None:
            following = self.value(f"add nuw i64 {index}, {step}")
            self.do(f"store i64 {following}, ptr {counter}, align 8")
            self.jump(head)
            self.label(after)

        return index, done

    def kind(self, type: Type | None) -> Kind:
        return kind_of(type)


def slot_align(kind: Kind) -> int:
    """How an object on the stack is aligned: what holds a word starts at one, so that it can be
    copied by words."""
    return 8 if kind.aggregate and kind.size >= 8 else kind.align


def _step(size: str, align: int) -> int:
    """The widest access that a known size and alignment allow."""
    if not size.isdecimal():
        return 1
    step = min(align, 8)
    while int(size) % step:
        step //= 2
    return step
