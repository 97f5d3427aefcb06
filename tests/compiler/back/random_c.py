"""Random expressions, as a tree and as the C text that means the same.

Nothing in them is undefined: signed sums and products are of narrowed operands, divisors are odd,
shifts are masked, effects stand where their order is known; so a native compiler and BPF must
agree. Inputs come from a map (natively from an array), so that nothing folds.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from minibcc.abi.bpf import MapType
from minibcc.btf.types import Array, Int, Member, Ptr, Struct, Type
from minibcc.compiler import tree
from tests.compiler.back import build as c

INPUTS = 8
NARROW: dict[Type, Type] = {c.INT: c.S16, c.S64: c.INT, c.UINT: c.UINT, c.U64: c.U64}
ARITHMETIC = (c.INT, c.UINT, c.S64, c.U64)
BITS = Struct(
    "bits",
    8,
    (
        Member("a", c.UINT, 0, 3),
        Member("b", c.INT, 3, 9),
        Member("c", c.UINT, 12, 20),
        Member("d", c.INT, 32, 17),
        Member("e", c.U8, 56, 5),
    ),
)
BITS_TEXT = (
    "struct bits { unsigned a : 3; int b : 9; unsigned c : 20; int d : 17; "
    "unsigned char : 7; unsigned char e : 5; };"
)


class Typed(NamedTuple):
    tree: tree.Expr
    text: str


def name(type: Type) -> str:
    assert isinstance(type, Int)
    return type.name


class Generator:
    """Makes expressions over the inputs and over some locals that it also changes."""

    def __init__(self, random: random.Random, inputs: tree.Variable) -> None:
        self.random = random
        self.inputs = inputs
        self.locals = {
            f"v{number}": c.variable(f"v{number}", type)
            for number, type in enumerate((*c.INTEGERS, c.BOOL))
        }
        self.bits = c.variable("s", BITS)

    def scalar(self, depth: int, *, effects: bool = False) -> Typed:
        type = self.random.choice((*c.INTEGERS, c.BOOL))
        if effects:
            first = self.assign(depth) if self.random.randrange(2) else self.update(depth)
            if self.random.randrange(2):
                return self.cast(first, type)
            second = self.make(type, depth)
            return Typed(
                tree.Comma(c.SPAN, type, first.tree, second.tree), f"({first.text}, {second.text})"
            )
        return self.make(type, depth)

    def make(self, type: Type, depth: int) -> Typed:
        """An expression of this type."""
        if type not in ARITHMETIC:
            inner = self.make(self.random.choice(ARITHMETIC), depth)
            return self.cast(inner, type)
        if depth <= 0:
            return self.leaf(type)
        choice = self.random.randrange(11)
        match choice:
            case 0 | 1 | 2 | 3:
                return self.binary(type, depth)
            case 4:
                return self.shift(type, depth)
            case 5:
                return self.divide(type, depth)
            case 6:
                operand = self.make(type, depth - 1)
                if type in (c.INT, c.S64):
                    operand = self.cast(self.cast(operand, NARROW[type]), type)
                operator = self.random.choice("-~+")
                return Typed(
                    tree.Unary(c.SPAN, type, operator, operand.tree), f"({operator}{operand.text})"
                )
            case 7:
                return self.cast(self.truth(depth - 1), type)
            case 8:
                test = self.truth(depth - 1)
                yes, no = self.make(type, depth - 1), self.make(type, depth - 1)
                return Typed(
                    tree.Conditional(c.SPAN, type, test.tree, yes.tree, no.tree),
                    f"({test.text} ? {yes.text} : {no.text})",
                )
            case 9:
                condition = self.make(type, depth - 1)
                no = self.make(type, depth - 1)
                return Typed(
                    tree.Conditional(c.SPAN, type, condition.tree, None, no.tree),
                    f"({condition.text} ?: {no.text})",
                )
        return self.cast(self.scalar(depth - 1), type)

    def leaf(self, type: Type) -> Typed:
        match self.random.randrange(4):
            case 0:
                value = self.random.choice((0, 1, 2, 3, 7, 10, 100, 255, 65535, 2**31 - 1))
                return Typed(c.number(value, type), f"(({name(type)}){value})")
            case 1:
                local = self.random.choice(list(self.locals.values()))
                return self.cast(Typed(c.get(local), local.name), type)
            case 2:
                member = self.random.choice(BITS.members).name
                place = c.field(c.use(self.bits), member)
                return self.cast(Typed(c.load(place), f"s.{member}"), type)
        number = self.random.randrange(INPUTS)
        pointer = tree.Arithmetic(
            c.SPAN, self.inputs.type, "+", c.get(self.inputs), c.number(number, c.LONG)
        )
        narrow = self.random.choice(c.INTEGERS)
        value = Typed(c.load(c.deref(pointer)), f"in[{number}]")
        return self.cast(self.cast(value, narrow), type)

    def cast(self, value: Typed, type: Type) -> Typed:
        return Typed(c.convert(value.tree, type), f"(({name(type)}){value.text})")

    def binary(self, type: Type, depth: int) -> Typed:
        operator = self.random.choice("+-*&|^")
        left, right = self.make(type, depth - 1), self.make(type, depth - 1)
        if operator in "+-*" and type in (c.INT, c.S64):
            left, right = (self.cast(self.cast(side, NARROW[type]), type) for side in (left, right))
        return Typed(
            c.op(operator, left.tree, right.tree), f"({left.text} {operator} {right.text})"
        )

    def shift(self, type: Type, depth: int) -> Typed:
        operator = ">>" if type in (c.INT, c.S64) else self.random.choice(("<<", ">>"))
        left = self.make(type, depth - 1)
        count = self.make(self.random.choice((c.INT, c.U64)), depth - 1)
        mask = c.bits(type) - 1
        by = c.op("&", count.tree, c.number(mask, count.tree.type))
        return Typed(
            c.op(operator, left.tree, by), f"({left.text} {operator} ({count.text} & {mask}))"
        )

    def divide(self, type: Type, depth: int) -> Typed:
        operator = self.random.choice("/%")
        left = self.make(type, depth - 1)
        if self.random.randrange(2):
            value = self.random.choice((1, 2, 3, 7, 8, 10, 1000, 4096))
            right = Typed(c.number(value, type), f"(({name(type)}){value})")
        else:
            right = self.make(type, depth - 1)
            right = Typed(c.op("|", right.tree, c.number(1, type)), f"({right.text} | 1)")
        if type in (c.INT, c.S64):
            left = self.cast(self.cast(left, NARROW[type]), type)
        return Typed(
            c.op(operator, left.tree, right.tree), f"({left.text} {operator} {right.text})"
        )

    def truth(self, depth: int) -> Typed:
        match self.random.randrange(4):
            case 0 if depth > 0:
                left, right = self.truth(depth - 1), self.truth(depth - 1)
                operator = self.random.choice(("&&", "||"))
                return Typed(
                    c.logic(operator, left.tree, right.tree),
                    f"({left.text} {operator} {right.text})",
                )
            case 1:
                operand = self.make(self.random.choice(ARITHMETIC), depth - 1)
                return Typed(tree.Unary(c.SPAN, c.INT, "!", operand.tree), f"(!{operand.text})")
        type = self.random.choice(ARITHMETIC)
        left, right = self.make(type, depth - 1), self.make(type, depth - 1)
        operator = self.random.choice(("==", "!=", "<", "<=", ">", ">="))
        return Typed(
            c.compare(operator, left.tree, right.tree), f"({left.text} {operator} {right.text})"
        )

    def place(self) -> Typed:
        if self.random.randrange(3):
            local = self.random.choice(list(self.locals.values()))
            return Typed(c.use(local), local.name)
        member = self.random.choice(BITS.members).name
        return Typed(c.field(c.use(self.bits), member), f"s.{member}")

    def assign(self, depth: int) -> Typed:
        place = self.place()
        value = self.make(self.random.choice(ARITHMETIC), depth - 1)
        to = place.tree.type
        assert to is not None
        return Typed(
            c.assign(place.tree, c.convert(value.tree, to)), f"({place.text} = {value.text})"
        )

    def update(self, depth: int) -> Typed:
        """``op=`` in unsigned long long, or ``++`` and ``--`` on what cannot overflow."""
        place = self.place()
        value = self.make(c.U64, depth - 1)
        operator = self.random.choice("+-*&|^")
        return Typed(
            tree.Update(c.SPAN, place.tree.type, operator, place.tree, value.tree, c.U64),
            f"({place.text} {operator}= {value.text})",
        )


class Case(NamedTuple):
    unit: tree.Unit
    inputs: list[int]
    text: str


MAP = {"key": c.UINT, "max_entries": 1, "span": c.SPAN}


def case(seed: int, count: int, depth: int = 4) -> Case:
    """A program that stores `count` results to the map ``out``, and the C function that does."""
    source = random.Random(seed)
    values = [
        source.choice((source.getrandbits(64), source.getrandbits(31), 0, 2**64 - 1, 2**63))
        for _ in range(INPUTS)
    ]
    ins = tree.Map(
        "in", MapType.ARRAY, c.UINT, Array(c.U64, INPUTS), 1, c.SPAN,
        data=b"".join(value.to_bytes(8, "little") for value in values),
    )  # fmt: skip
    outs = tree.Map("out", MapType.ARRAY, c.UINT, Array(c.U64, count), 1, c.SPAN)
    key, inputs, outputs = (
        c.variable("key", c.UINT), c.variable("in", Ptr(c.U64)), c.variable("out", Ptr(c.U64)),
    )  # fmt: skip
    generator = Generator(source, inputs)
    body: list[tree.Stmt] = [
        c.declare(key, c.number(0, c.UINT)),
        c.declare(inputs, c.convert(c.lookup(ins, c.use(key)), Ptr(c.U64))),
        c.declare(outputs, c.convert(c.lookup(outs, c.use(key)), Ptr(c.U64))),
    ]
    for pointer in (inputs, outputs):
        missing = tree.Unary(c.SPAN, c.INT, "!", c.get(pointer))
        body.append(tree.If(c.SPAN, missing, c.give(c.number(1))))
    lines = [f"void f{seed}(const unsigned long long *in, unsigned long long *out) {{"]
    for local in generator.locals.values():
        body.append(c.declare(local, c.number(1, local.type)))
        lines.append(f"{name(local.type)} {local.name} = 1;")
    body.append(tree.Declare(c.SPAN, generator.bits, tree.Initializer(c.SPAN, ())))
    lines.append("struct bits s = {};")
    for position in range(count):
        value = generator.scalar(depth, effects=bool(source.randrange(2)))
        pointer_to = tree.Arithmetic(
            c.SPAN, Ptr(c.U64), "+", c.get(outputs), c.number(position, c.LONG)
        )
        body.append(c.do(c.assign(c.deref(pointer_to), c.convert(value.tree, c.U64))))
        lines.append(f"out[{position}] = {value.text};")
    body.append(c.give(c.number(0)))
    lines.append("}")
    return Case(c.unit(c.program(*body), maps=(ins, outs)), values, "\n".join(lines))
