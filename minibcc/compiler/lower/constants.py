"""Constants and variables in memory: initial images, private constants, globals.

An initialiser splits into an image (the bytes that are known now) and the parts that run. Globals
are all image, but for addresses, which LLVM's assembly can write and `link` has to accept or
refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.btf.types import Ptr, align_of, size_of, strip
from minibcc.compiler import tree
from minibcc.compiler.lower.debuginfo import quote
from minibcc.compiler.lower.types import LONG, Kind, Unsupported, kind_of, wrap

if TYPE_CHECKING:
    from minibcc.btf.types import Type
    from minibcc.compiler.lower.module import Module
    from minibcc.compiler.tree import Expr, Initializer, Variable

Part = tuple[int, int, "Type", "Expr"]

_OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << (b & 127),
    ">>": lambda a, b: a >> (b & 127),
}


def constant(e: Expr) -> int | None:
    """The value of a constant integer expression, None if it is not known here."""
    match e:
        case tree.Number(value=value):
            return value
        case tree.Convert(operand=operand, type=type) if type is not None:
            kind = kind_of(type)
            if kind.aggregate or kind_of(operand.type).aggregate:
                return None
            inner = constant(operand)
            return None if inner is None else wrap(inner, LONG if kind.pointer else kind)
        case tree.Unary(operator="-" | "~" as operator, operand=operand):
            inner = constant(operand)
            if inner is None:
                return None
            return wrap(-inner if operator == "-" else ~inner, kind_of(e.type))
        case tree.Arithmetic(operator=operator, left=left, right=right):
            a, b = constant(left), constant(right)
            if a is None or b is None or operator not in _OPERATORS or kind_of(e.type).pointer:
                return None
            return wrap(_OPERATORS[operator](a, b), kind_of(e.type))
    return None


class Constants:
    """The module's data: each distinct private constant once, each variable once."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self.lines: list[str] = []
        self._private: dict[tuple[bytes, int], str] = {}
        self._variables: dict[Variable, str] = {}

    @property
    def variables(self) -> dict[str, Variable]:
        """The variables that are defined, by symbol."""
        return {symbol[1:]: variable for variable, symbol in self._variables.items()}

    def image(self, initial: Initializer, size: int) -> tuple[bytearray, list[Part]]:
        """The known bytes of an initialiser, and in order what must be stored over them."""
        image = bytearray(size)
        rest: list[Part] = []
        for part in initial.parts:
            offset, width, type, value = part
            if isinstance(value, tree.Literal):
                room = size_of(type) or size - offset // 8
                data = value.data[:room]
                image[offset // 8 : offset // 8 + room] = data + bytes(room - len(data))
                continue
            known = constant(value)
            if known is None or any(_overlap(part, other) for other in rest):
                rest.append(part)
                continue
            bits = width or size_of(type) * 8
            word = int.from_bytes(image, "little")
            mask = (1 << bits) - 1
            word = word & ~(mask << offset) | (known & mask) << offset
            image[:] = word.to_bytes(size, "little")
        return image, rest

    def private(self, data: bytes, align: int) -> str:
        """The symbol of a constant that only this module sees."""
        name = self._private.get((data, align))
        if name is None:
            name = f"@.const.{len(self._private)}"
            self._private[data, align] = name
            self.lines.append(
                f"{name} = private unnamed_addr constant [{len(data)} x i8] c{quote(data)}, "
                f'section ".rodata", align {max(align, 1)}'
            )
        return name

    def variable(self, variable: Variable, initial: Initializer | None = None) -> str:
        """The symbol of a global or static variable, defined when it is first used."""
        symbol = self._variables.get(variable)
        if symbol is None:
            # A static one may have the name of anything in another scope.
            local = f".{len(self._variables)}" if variable.storage == "static" else ""
            name = variable.name + local
            symbol = self._variables[variable] = f"@{name}"
            self._define(variable, variable.initial or initial, symbol)
        return symbol

    def _define(self, variable: Variable, initial: Initializer | None, symbol: str) -> None:
        kind = kind_of(variable.type)
        linkage = "dso_local" if variable.storage == "global" else "internal"
        what = "constant" if variable.constant else "global"
        section = variable.section or (".rodata" if variable.constant else "")
        section = f', section "{section}"' if section else ""
        self.lines.append(
            f"{symbol} = {linkage} {what} {self._content(initial, kind)}{section}, "
            f"align {max(kind.align, variable.align)}"
        )

    def _content(self, initial: Initializer | None, kind: Kind) -> str:
        """A global's type and initial value."""
        if initial is None:
            return f"[{kind.size} x i8] zeroinitializer"
        image, rest = self.image(initial, kind.size)
        if not rest and not any(image):
            return f"[{kind.size} x i8] zeroinitializer"
        pieces, at = [], 0
        for offset, _, _, value in sorted(rest, key=lambda part: part[0]):
            start = offset // 8
            if start > at:
                pieces.append((f"[{start - at} x i8]", f"c{quote(bytes(image[at:start]))}"))
            pieces.append(("ptr", self._pointer(value)))
            at = start + 8
        if at < kind.size or not pieces:
            tail = bytes(image[at:])
            pieces.append((f"[{len(tail)} x i8]", f"c{quote(tail)}"))
        if len(pieces) == 1:
            return " ".join(pieces[0])
        types = ", ".join(type for type, _ in pieces)
        return f"<{{ {types} }}> <{{ {', '.join(' '.join(piece) for piece in pieces)} }}>"

    def _pointer(self, e: Expr) -> str:
        """A constant address."""
        match e:
            case tree.Convert(operand=operand) if kind_of(operand.type).pointer:
                return self._pointer(operand)
            case tree.Address(place=place) | tree.Decay(place=place):
                return self._place(place)
            case tree.FunctionPointer(function=function):
                return self._module.function(function)
            case tree.MapPointer(map=map):
                return self._module.map(map)
            case tree.Arithmetic(operator="+", left=left, right=right):
                count, type = constant(right), strip(left.type)
                if count is not None and isinstance(type, Ptr):
                    offset = count * size_of(type.to)
                    return f"getelementptr (i8, ptr {self._pointer(left)}, i64 {offset})"
        raise _not_constant(e)

    def _place(self, e: Expr) -> str:
        match e:
            case tree.Use(variable=variable) if variable.storage in ("static", "global"):
                return self.variable(variable)
            case tree.Literal(data=data, type=type):
                return self.private(data, align_of(type))
            case tree.Deref(pointer=pointer):
                return self._pointer(pointer)
            case tree.Field(base=base, offset=offset):
                return f"getelementptr (i8, ptr {self._place(base)}, i64 {offset // 8})"
            case tree.Compound(variable=variable, initial=initial):
                return self.variable(variable, initial)
        raise _not_constant(e)


def _not_constant(e: Expr) -> Unsupported:
    return Unsupported(
        "type/not-constant",
        "the initial value of a static or global variable must be constant",
        "assign it in the function that uses it",
        e.span,
    )


def _overlap(a: Part, b: Part) -> bool:
    def end(part: Part) -> int:
        return part[0] + (part[1] or size_of(part[2]) * 8)

    return a[0] < end(b) and b[0] < end(a)
