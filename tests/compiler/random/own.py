"""Programs of our own making: what BPF programs are made of, and C's corners.

Every expression is made with its C type and the range that its value is in, so that natural C comes
out (operands of mixed types, C's own conversions) and still nothing is undefined: where a signed
result could overflow, an operand is narrowed or made unsigned; divisors are odd or constant, shifts
masked. Effects stand in statements of their own. Loops are bounded by constants, indices masked.
Inputs come from the map ``in``, from the packet or the context, so that little folds.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from minibcc.abi.bpf import ProgType
from tests.compiler.random.program import CONTEXTS, INPUTS, PACKET, RESULTS, Program, Table, renamed


class T(NamedTuple):
    """An integer type; a bitfield's has fewer bits than its name says."""

    name: str
    bits: int
    signed: bool

    @property
    def low(self) -> int:
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << self.bits - self.signed) - 1


U8, S8, U16, S16 = T("u8", 8, False), T("s8", 8, True), T("u16", 16, False), T("s16", 16, True)
U32, S32, U64, S64 = (
    T("u32", 32, False),
    T("int", 32, True),
    T("u64", 64, False),
    T("s64", 64, True),
)
BOOL, CHAR = T("_Bool", 1, False), T("char", 8, True)
TYPES = (U8, S8, U16, S16, U32, S32, U64, S64)
WIDE = (U32, S32, U64, S64)
UNSIGNED = {32: U32, 64: U64}


class E(NamedTuple):
    """An expression, its type, and the range of its values."""

    text: str
    type: T
    low: int
    high: int


class Field(NamedTuple):
    """A member: `width` of a bitfield, `count` of an array."""

    name: str
    type: T
    width: int = 0
    count: int = 0


class Struct(NamedTuple):
    name: str
    fields: tuple[Field, ...]
    text: str


class Object(NamedTuple):
    """Something of a struct type that can be named: ``NAME.`` or ``NAME->``."""

    text: str
    struct: Struct
    constant: bool = False


class Vector(NamedTuple):
    """An array, its length a power of two."""

    name: str
    type: T
    count: int
    constant: bool = False


class Function(NamedTuple):
    name: str
    result: T
    parameters: tuple[T | str, ...]
    pure: bool


def whole(text: str, type: T) -> E:
    return E(text, type, type.low, type.high)


def promote(type: T) -> T:
    return type if type in WIDE else S32


def common(a: T, b: T) -> T:
    a, b = promote(a), promote(b)
    if a.bits != b.bits:
        return a if a.bits > b.bits else b
    return a if not a.signed else b


def into(e: E, type: T) -> E:
    """`e` after C's own conversion."""
    if type is BOOL:
        return E(e.text, type, 0, 1)
    if type.low <= e.low and e.high <= type.high:
        return E(e.text, type, e.low, e.high)
    return whole(e.text, type)


def cast(e: E, type: T) -> E:
    return into(E(f"({type.name})({e.text})", e.type, e.low, e.high), type)


def shut(lines: list[str], at: int) -> bool:
    """Whether a label or an ``else`` stands there, or a loop's pragma before it."""
    return ":" in lines[at].partition("(")[0] or lines[at - 1].strip().startswith("#")


class Generator:
    def __init__(self, number: int) -> None:
        self.number = number
        self.random = random.Random(number)
        self.names = 0
        self.structs: list[Struct] = []
        self.tables: list[Table] = []
        self.functions: list[Function] = []
        self.types: list[str] = []
        self.top: list[str] = []
        self.scalars: list[tuple[str, T]] = []
        self.globals: list[tuple[str, T]] = []
        self.vectors: list[Vector] = []
        self.objects: list[Object] = []
        self.counters: list[tuple[str, int]] = []
        self.reads: list[E] = []
        self.fetching = False
        self.inside = 0
        self.loops = 0
        self.pure = False
        self.table_values: dict[str, Struct | T] = {}

    # --- choices ---

    def pick(self, of):  # type: ignore[no-untyped-def]  # what goes in comes out
        return self.random.choice(of)

    def one_in(self, number: int) -> bool:
        return self.random.randrange(number) == 0

    def fresh(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    # --- expressions ---

    def constant(self, type: T | None = None) -> E:
        r = self.random
        value = r.choice(
            (
                0,
                1,
                2,
                3,
                5,
                7,
                8,
                10,
                31,
                63,
                100,
                127,
                128,
                255,
                256,
                1000,
                32767,
                32768,
                65535,
                65536,
                2**31 - 1,
                2**31,
                2**32 - 1,
                2**32,
                2**63 - 1,
                r.getrandbits(16),
                r.getrandbits(32),
                r.getrandbits(63),
            )
        )
        if type is not None:
            value &= type.high
        form = r.randrange(6)
        if value < 2**31 and form < 3:
            negative = r.randrange(3) == 0 and (type is None or type.signed)
            if negative:
                return E(f"(-{value})", S32, -value, -value)
            return E(hex(value) if form == 2 else str(value), S32, value, value)
        if form == 3 and value < 2**32:
            return E(f"{value:#x}u", U32, value, value)
        if form == 4:
            return E(f"{value}ull", U64, value, value)
        return E(f"{value}ll", S64, value, value)

    def leaf(self) -> E:
        r = self.random
        choice = r.randrange(12)
        if choice < 2:
            return self.constant()
        if choice == 2 and self.counters:
            name, count = r.choice(self.counters)
            return E(name, S32, 0, count)
        if choice < 5 and self.reads:
            return r.choice(self.reads)
        if choice == 5 and self.vectors:
            vector = r.choice(self.vectors)
            return whole(self.element(vector), vector.type)
        if choice < 8 and self.objects:
            found = self.member()
            if found is not None:
                return found
        if choice == 8 and self.globals and not self.pure:
            name, type = r.choice(self.globals)
            return whole(name, type)
        if self.scalars:
            name, type = r.choice(self.scalars)
            return whole(name, type)
        return self.constant()

    def element(self, vector: Vector) -> str:
        return f"{vector.name}[{self.index(vector.count)}]"

    def index(self, count: int) -> str:
        """An index below `count`, a power of two."""
        fitting = [name for name, top in self.counters if top < count]
        match self.random.randrange(4):
            case 0 | 1 if fitting:
                return str(self.pick(fitting))
            case 2 | 3 if self.inside < 4:
                return f"({self.expression(1).text}) & {count - 1}"
        return str(self.random.randrange(count))

    def member(self, *, writable: bool = False) -> E | None:
        """A member of some object."""
        objects = [o for o in self.objects if not (writable and o.constant)]
        if not objects:
            return None
        found = self.pick(objects)
        field = self.pick(found.struct.fields)
        text = f"{found.text}{field.name}"
        if field.count:
            return whole(f"{text}[{self.index(field.count)}]", field.type)
        if not field.width:
            return whole(text, field.type)
        narrow = T(field.type.name, field.width, field.type.signed)
        if writable:
            return whole(text, narrow)
        if field.type.bits == 64:  # its promotion is not the same in all compilers
            held = whole(text, narrow)
            return E(f"({field.type.name}){text}", field.type, held.low, held.high)
        # Narrower than int it is promoted to int, whatever its sign.
        if field.width < 32 or field.type.signed:
            return E(text, S32, narrow.low, narrow.high)
        return whole(text, U32)

    def expression(self, depth: int) -> E:
        self.inside += 1
        try:
            return self._expression(depth)
        finally:
            self.inside -= 1

    def _expression(self, depth: int) -> E:
        if depth <= 0:
            return self.leaf()
        r = self.random
        choice = r.randrange(20)
        if choice < 7:
            return self.binary(depth)
        if choice < 9:
            return self.shift(depth)
        if choice < 11:
            return self.divide(depth)
        if choice == 11:
            return self.unary(depth)
        if choice < 14:
            return self.truth(depth)
        if choice < 16:
            return self.conditional(depth)
        if choice == 16:
            return cast(self.expression(depth - 1), self.pick((*TYPES, BOOL, CHAR)))
        if choice == 17:
            return self.builtin(depth)
        if choice == 18:
            return self.call(depth, pure=True) or self.leaf()
        return self.leaf()

    def binary(self, depth: int) -> E:
        a, b = self.expression(depth - 1), self.expression(depth - 1)
        return self.combine(self.pick("+-*&|^+-&"), a, b)

    def combine(self, operator: str, a: E, b: E) -> E:
        type = common(a.type, b.type)
        text = f"({a.text} {operator} {b.text})"
        left, right = into(a, type), into(b, type)
        if operator in "&|^":
            if left.low >= 0 and right.low >= 0:
                high = (1 << max(left.high, right.high).bit_length()) - 1
                return E(text, type, 0, min(left.high, right.high) if operator == "&" else high)
            if operator == "&" and max(left.low, right.low) >= 0:
                return E(text, type, 0, left.high if left.low >= 0 else right.high)
            return whole(text, type)
        ends = [self.exact(operator, x, y) for x in left[2:] for y in right[2:]]
        if type.low <= min(ends) and max(ends) <= type.high:
            return E(text, type, min(ends), max(ends))
        if not type.signed:
            return whole(text, type)
        if self.random.randrange(2):  # it could overflow: not where it is unsigned
            return self.combine(operator, cast(a, UNSIGNED[type.bits]), b)
        half = {32: S16, 64: S32}[type.bits]
        return self.combine(operator, cast(a, half), cast(cast(b, half), type))

    @staticmethod
    def exact(operator: str, x: int, y: int) -> int:
        return x + y if operator == "+" else x - y if operator == "-" else x * y

    def shift(self, depth: int) -> E:
        operator = self.pick(("<<", ">>"))
        a = self.expression(depth - 1)
        type = promote(a.type)
        if operator == "<<" and type.signed:
            a = cast(a, UNSIGNED[type.bits])
            type = a.type
        if self.random.randrange(2):
            by = self.random.randrange(type.bits)
            text = f"({a.text} {operator} {by})"
            if operator == ">>":
                left = into(a, type)
                return E(text, type, left.low >> by, left.high >> by)
            return whole(text, type)
        count = self.expression(depth - 1)
        text = f"({a.text} {operator} (({count.text}) & {type.bits - 1}))"
        if operator == ">>":
            left = into(a, type)
            return E(text, type, min(left.low, 0), max(left.high, 0))
        return whole(text, type)

    def divide(self, depth: int) -> E:
        operator = self.pick("/%")
        a = self.expression(depth - 1)
        if self.random.randrange(3):
            value = self.pick((1, 2, 3, 5, 7, 8, 10, 16, 100, 255, 1000, 4096, 65537, 1000000007))
            suffix = self.pick(("", "", "u", "ll", "ull"))
            if suffix in ("", "ll") and self.one_in(4):
                value = -value
            type = {"": S32, "u": U32, "ll": S64, "ull": U64}[suffix]
            b = E(f"({value}{suffix})", type, value, value)
        else:
            b = self.combine("|", self.expression(depth - 1), E("1", S32, 1, 1))
        type = common(a.type, b.type)
        left, right = into(a, type), into(b, type)
        if type.signed and left.low == type.low and right.low <= -1 <= right.high:
            a = cast(a, {32: S16, 64: S32}[type.bits])
            left = into(a, type)
        text = f"({a.text} {operator} {b.text})"
        top = max(abs(left.low), abs(left.high))
        if operator == "%":
            top = min(top, max(abs(right.low), abs(right.high)) - 1)
        return E(text, type, -top if left.low < 0 or right.low < 0 else 0, top)

    def unary(self, depth: int) -> E:
        a = self.expression(depth - 1)
        type = promote(a.type)
        left = into(a, type)
        match self.random.randrange(4):
            case 0:
                return E(
                    f"(~{a.text})",
                    type,
                    *((~left.high, ~left.low) if type.signed else (type.low, type.high)),
                )
            case 1:
                return E(f"(!{a.text})", S32, 0, 1)
            case 2:
                return E(f"(+{a.text})", type, left.low, left.high)
        if not type.signed:
            return whole(f"(-{a.text})", type)
        if left.low == type.low:
            a = cast(a, UNSIGNED[type.bits])
            return whole(f"(-{a.text})", a.type)
        return E(f"(-{a.text})", type, -left.high, -left.low)

    def truth(self, depth: int) -> E:
        r = self.random
        a, b = self.expression(depth - 1), self.expression(depth - 1)
        operator = r.choice(("==", "!=", "<", "<=", ">", ">=", "<", ">", "&&", "||"))
        return E(f"({a.text} {operator} {b.text})", S32, 0, 1)

    def conditional(self, depth: int) -> E:
        test, a, b = (self.expression(depth - 1) for _ in range(3))
        type = common(a.type, b.type)
        left, right = into(a, type), into(b, type)
        low, high = min(left.low, right.low), max(left.high, right.high)
        if self.one_in(4):
            return E(f"({a.text} ?: {b.text})", type, low, high)
        return E(f"({test.text} ? {a.text} : {b.text})", type, low, high)

    def builtin(self, depth: int) -> E:
        a = self.expression(depth - 1).text
        match self.random.randrange(9):
            case 0:
                return whole(f"__builtin_bswap16({a})", U16)
            case 1:
                return whole(f"__builtin_bswap32({a})", U32)
            case 2:
                return whole(f"__builtin_bswap64({a})", U64)
            case 3:
                return E(f"__builtin_popcount({a})", S32, 0, 32)
            case 4:
                return E(f"__builtin_popcountll({a})", S32, 0, 64)
            case 5:
                return E(f"__builtin_clz(({a}) | 1)", S32, 0, 31)
            case 6:
                return E(f"__builtin_ctzll(({a}) | (1ull << 40))", S32, 0, 40)
            case 7:
                return E(f"__builtin_ffs({a})", S32, 0, 32)
        return whole(f"({{ typeof(0 + {a}) _t = {a}; (s16)_t; }})", S16)

    def call(self, depth: int, *, pure: bool) -> E | None:
        known = [f for f in self.functions if f.pure or not pure]
        if not known:
            return None
        function = self.pick(known)
        arguments = []
        for parameter in function.parameters:
            if isinstance(parameter, T):
                arguments.append(self.expression(depth - 1).text)
            else:
                fitting = [
                    o
                    for o in self.objects
                    if o.struct.name == parameter and o.text.endswith(".") and not o.constant
                ]
                if not fitting:
                    return None
                arguments.append(f"&{self.pick(fitting).text[:-1]}")
        return whole(f"{function.name}({', '.join(arguments)})", function.result)

    # --- statements ---

    def place(self) -> E:
        """What can be assigned to."""
        r = self.random
        choice = r.randrange(8)
        if choice < 2 and self.objects and (found := self.member(writable=True)) is not None:
            return found
        if choice == 2 and self.globals and not self.pure:
            name, type = r.choice(self.globals)
            return whole(name, type)
        if choice == 3:
            vectors = [v for v in self.vectors if not v.constant]
            if vectors:
                vector = r.choice(vectors)
                return whole(self.element(vector), vector.type)
        name, type = r.choice(self.scalars)
        return whole(name, type)

    def assignment(self) -> str:
        place = self.place()
        type = place.type
        full = {8: (U8, S8), 16: (U16, S16), 32: (U32, S32), 64: (U64, S64)}
        value = self.expression(self.pick((1, 1, 2, 2, 3)))
        match self.random.randrange(8):
            case 0 | 1:
                held = type if type in TYPES else S32
                # A bitfield computes in int at least; in its own type it never overflows.
                safe = not promote(held).signed or (type.bits < 32)
                if safe and type is not BOOL:
                    step = self.pick(("++", "--"))
                    return f"{place.text}{step};" if self.one_in(2) else f"{step}{place.text};"
            case 2 | 3 | 4:
                operator = self.pick(("+", "-", "*", "&", "|", "^", "<<", ">>", "/", "%"))
                return self.compound(place, operator, value)
            case 5 if type.bits in full:
                other = self.pick(self.scalars)
                return f"{place.text} = {other[0]} = {value.text};"
        return f"{place.text} = {value.text};"

    def compound(self, place: E, operator: str, value: E) -> str:
        type = place.type
        held = (
            place
            if type in TYPES
            else E(place.text, S32 if type.bits < 32 or type.signed else U32, place.low, place.high)
        )
        if type.bits > 32 and type not in TYPES:
            return f"{place.text} = {value.text};"
        if operator in ("<<", ">>"):
            bits = promote(held.type).bits
            if operator == "<<" and promote(held.type).signed:
                operator = ">>"
            return f"{place.text} {operator}= ({value.text}) & {bits - 1};"
        if operator in "/%":
            divisor = self.combine("|", cast(value, self.pick((U8, U16, U32))), E("1", S32, 1, 1))
            return f"{place.text} {operator}= {divisor.text};"
        if operator in "+-*":
            within = common(held.type, value.type)
            if within.signed:
                value = cast(value, U64)
        return f"{place.text} {operator}= {value.text};"

    def block(self, size: int, depth: int) -> list[str]:
        """Statements in a scope of their own."""
        kept = (self.scalars[:], self.vectors[:], self.objects[:], self.counters[:], self.reads[:])
        lines: list[str] = []
        for _ in range(size):
            lines += self.statement(depth)
        self.scalars, self.vectors, self.objects, self.counters, self.reads = kept
        return ["    " + line for line in lines]

    def statement(self, depth: int) -> list[str]:
        r = self.random
        choice = r.randrange(26)
        if depth > 0:
            match choice:
                case 0 | 1 | 2:
                    return self.branch(depth)
                case 3 | 4 if self.loops < 2:
                    return self.loop(depth)
                case 5:
                    return self.switch(depth)
                case 6 if not self.pure:
                    return self.jump(depth)
        match choice:
            case 7 | 8 | 9 | 10 if self.tables and not self.pure:
                return self.use_table()
            case 11 | 12:
                return self.declare()
            case 13:
                return self.copy()
            case 14:
                return self.through_pointer()
            case 22:
                return self.memory()
            case 15 | 16 if not self.pure:
                return self.atomic()
            case 17:
                return self.overflow()
            case 18 | 19 if not self.pure:
                called = self.call(2, pure=False)
                if called is not None:
                    return [f"{self.place().text} = {called.text};"]
            case 20:
                return self.punning()
            case 21:
                return self.static_local()
        return [self.assignment()]

    def branch(self, depth: int) -> list[str]:
        lines = [f"if ({self.expression(2).text}) {{", *self.block(self.pick((1, 2)), depth - 1)]
        if self.one_in(2):
            lines += ["} else {", *self.block(self.pick((1, 2)), depth - 1)]
        return [*lines, "}"]

    def loop(self, depth: int) -> list[str]:
        name, count = self.fresh("i"), self.pick((2, 3, 4, 4, 8))
        self.loops += 1
        self.counters.append((name, count))
        body = self.block(self.pick((1, 2)), depth - 1)
        if self.one_in(3):
            word = self.pick(("break", "continue"))
            starts = [at for at, line in enumerate(body) if not line.startswith(("     ", "    }"))]
            at = self.pick([*(at for at in starts if not shut(body, at)), len(body)])
            body.insert(at, f"    if ({self.expression(1).text}) {word};")
        self.counters.pop()
        self.loops -= 1
        up = self.one_in(2)
        match self.random.randrange(4):
            case 0:
                return [
                    f"int {name} = 0;",
                    f"while ({name} < {count}) {{",
                    f"    {name}++;",
                    *body,
                    "}",
                ]
            case 1:
                return [
                    f"int {name} = 0;",
                    "do {",
                    *body,
                    f"}} while (++{name} < {count});",
                ]
            case 2 if up:
                return [f"for (int {name} = {count} - 1; {name} >= 0; {name}--) {{", *body, "}"]
        unroll = ["#pragma unroll"] if self.one_in(5) else []
        return [*unroll, f"for (int {name} = 0; {name} < {count}; {name}++) {{", *body, "}"]

    def switch(self, depth: int) -> list[str]:
        value = self.expression(2)
        mask = self.pick((3, 7, 15))
        forms = (
            f"({value.text}) & {mask}",
            value.text,
            f"(u8)({value.text})",
            f"(s8)({value.text})",
        )
        lines = [f"switch ({self.pick(forms)}) {{"]
        seen: set[int] = set()
        where = self.random.randrange(5)
        for position in range(self.random.randint(1, 4)):
            if position == where:
                lines += ["default:", *self.block(1, depth - 1)]
                if self.one_in(2):
                    lines.append("    break;")
            low = self.pick((0, 1, 2, 3, 4, 5, 6, 7, -1, 10, 100, -128))
            high = low + self.pick((0, 0, 0, 1, 3, 70))
            if seen & set(range(low, high + 1)):
                continue
            seen |= set(range(low, high + 1))
            lines.append(f"case {low}:" if low == high else f"case {low} ... {high}:")
            lines += ["    {", *("    " + line for line in self.block(1, depth - 1)), "    }"]
            if self.random.randrange(3):
                lines.append("    break;")
        return [*lines, "}"]

    def jump(self, depth: int) -> list[str]:
        label = self.fresh("l")
        if self.one_in(2):  # forward, over something
            return [
                f"if ({self.expression(2).text}) goto {label};",
                "{",
                *self.block(self.pick((1, 2)), depth - 1),
                "}",
                f"{label}: ;",
            ]
        if self.loops >= 2:
            return [self.assignment()]
        counter = self.fresh("n")
        self.loops += 1
        body = self.block(1, depth - 1)
        self.loops -= 1
        return [
            f"int {counter} = 0;",
            f"{label}:",
            "{",
            *body,
            "}",
            f"if (++{counter} < {self.pick((2, 3, 4))}) goto {label};",
        ]

    def declare(self) -> list[str]:
        r = self.random
        choice = r.randrange(6)
        if choice == 0 and self.structs:
            return [self.local_object()]
        if choice == 1:
            type, count = self.pick(TYPES), self.pick((2, 4))
            name = self.fresh("a")
            values = ", ".join(f"({type.name})({self.expression(1).text})" for _ in range(count))
            self.vectors.append(Vector(name, type, count))
            return [f"{type.name} {name}[{count}] = {{ {values} }};"]
        type = self.pick((*TYPES, BOOL))
        name = self.fresh("v")
        line = f"{type.name} {name} = {self.expression(self.pick((1, 2, 2, 3))).text};"
        self.scalars.append((name, type))
        return [line]

    def local_object(self) -> str:
        struct = self.pick(self.structs)
        name = self.fresh("o")
        line = f"{struct.name} {name} = {self.braces(struct)};"
        self.objects.append(Object(f"{name}.", struct))
        return line

    def braces(self, struct: Struct, *, constant: bool = False) -> str:
        """An initialiser, with or without designators."""
        parts = []
        named = struct.text.startswith("union") or self.one_in(2)
        for field in struct.fields:
            value = self.constant(field.type).text if constant else self.expression(1).text
            if field.count:
                value = f"{{ {value} }}"
            parts.append(f".{field.name} = {value}" if named else value)
        if struct.text.startswith("union"):
            parts = [self.pick(parts)]
        elif named and self.one_in(2):
            self.random.shuffle(parts)
            parts = parts[1:]
        return "{ " + ", ".join(parts) + " }"

    def copy(self) -> list[str]:
        """A whole struct: assigned, from a compound literal, or by memcpy."""
        targets = [o for o in self.objects if not o.constant]
        if not targets:
            return self.declare()
        to = self.pick(targets)
        target = to.text[:-1] if to.text.endswith(".") else f"*{to.text[:-2]}"
        sources = [o for o in self.objects if o.struct == to.struct]
        source = self.pick(sources)
        value = source.text[:-1] if source.text.endswith(".") else f"*{source.text[:-2]}"
        match self.random.randrange(5):
            case 0:
                return [f"{target} = ({to.struct.name}){self.braces(to.struct)};"]
            case 1 if value != target:
                return [f"__builtin_memcpy(&{target}, &{value}, sizeof({target}));"]
            case 2:
                byte = self.pick((0, 0, 255, 90))
                return [f"__builtin_memset(&{target}, {byte}, sizeof({target}));"]
            case 3:
                other = self.pick(sources)
                there = other.text[:-1] if other.text.endswith(".") else f"*{other.text[:-2]}"
                return [f"{target} = {self.expression(1).text} ? {value} : {there};"]
        return [f"{target} = {value};"]

    def through_pointer(self) -> list[str]:
        vectors = [v for v in self.vectors if not v.constant]
        if not vectors:
            return self.declare()
        vector = self.pick(vectors)
        name = self.fresh("p")
        start = self.random.randrange(vector.count)
        lines = [
            f"{vector.type.name} *{name} = &{vector.name}[{start}];",
            f"*{name} = {self.expression(2).text};",
        ]
        if start + 1 < vector.count:
            lines.append(
                self.pick(
                    (
                        f"*++{name} ^= {self.expression(1).text};",
                        f"{name}[1] = {self.expression(1).text};",
                        f"*{name}++ = 7; *{name} = {self.expression(1).text};",
                    )
                )
            )
        else:
            lines.append(f"{self.pick(self.scalars)[0]} = {name} - {vector.name};")
        return ["{", *("    " + line for line in lines), "}"]

    def memory(self) -> list[str]:
        """Bytes moved, compared or filled within an array."""
        vectors = [v for v in self.vectors if not v.constant]
        if not vectors:
            return self.declare()
        v = self.pick(vectors)
        count = self.random.randint(1, v.count - 1)
        size = f"{count} * sizeof({v.name}[0])"
        low, high = f"&{v.name}[0]", f"&{v.name}[{v.count - count}]"
        compared = f"__builtin_memcmp({low}, {high}, {size})"
        return [
            self.pick(
                (
                    f"__builtin_memmove({high}, {low}, {size});",
                    f"__builtin_memmove({low}, {high}, {size});",
                    f"__builtin_memset({high}, {self.pick((0, 90))}, {size});",
                    f"{self.pick(self.scalars)[0]} = {compared} {self.pick(('<', '==', '>'))} 0;",
                )
            )
        ]

    def atomic(self) -> list[str]:
        places = [(name, type) for name, type in self.globals if type in WIDE]
        if not places:
            return [self.assignment()]
        name, type = self.pick(places)
        value = cast(self.expression(2), type).text
        into = self.pick(self.scalars)[0]
        if not self.fetching:
            word = self.pick(
                (
                    "__sync_fetch_and_add(&{}, {});",
                    "__sync_fetch_and_sub(&{}, {});",
                    "__atomic_fetch_add(&{}, {}, __ATOMIC_SEQ_CST);",
                )
            )
            return [word.format(name, value)]
        operation = self.pick(("add", "sub", "and", "or", "xor"))
        form = self.pick(
            (
                f"__sync_fetch_and_{operation}(&{name}, {value})",
                f"__sync_{operation}_and_fetch(&{name}, {value})",
                f"__atomic_fetch_{operation}(&{name}, {value}, __ATOMIC_SEQ_CST)",
                f"__sync_lock_test_and_set(&{name}, {value})",
                f"__sync_val_compare_and_swap(&{name}, {name}, {value})",
                f"__sync_bool_compare_and_swap(&{name}, {self.expression(1).text}, {value})",
                f"__atomic_exchange_n(&{name}, {value}, __ATOMIC_SEQ_CST)",
                f"__atomic_load_n(&{name}, __ATOMIC_SEQ_CST)",
            )
        )
        return [f"{into} = {form};"]

    def overflow(self) -> list[str]:
        type = self.pick(WIDE)
        operator = self.pick(("add", "sub", "mul"))
        if operator == "mul" and type.bits == 64:
            operator = "add"
        name = self.fresh("w")
        a, b = cast(self.expression(1), type).text, cast(self.expression(1), type).text
        into = self.pick(self.scalars)[0]
        return [
            "{",
            f"    {type.name} {name};",
            f"    {into} = __builtin_{operator}_overflow({a}, {b}, &{name});",
            f"    {self.pick(self.scalars)[0]} = {name};",
            "}",
        ]

    def punning(self) -> list[str]:
        name = self.fresh("x")
        target = self.pick(self.scalars)[0]
        at = self.random.randrange(8)
        return [
            "{",
            f"    union {{ u64 d; u32 w[2]; u16 h[4]; u8 b[8]; s8 c[8]; }} {name};",
            f"    {name}.d = {self.expression(2).text};",
            f"    {name}.b[{at}] = {self.expression(1).text};",
            f"    {target} = {name}.{self.pick(('d', 'w[1]', 'h[2]', f'c[{at}]', f'b[{at}]'))};",
            "}",
        ]

    def static_local(self) -> list[str]:
        if self.pure:
            return [self.assignment()]
        type, name = self.pick(TYPES), self.fresh("t")
        self.scalars.append((name, type))
        line = f"static {type.name} {name} = {self.constant(type).text};"
        return [line, f"{name} ^= {self.expression(1).text};"]

    # --- maps ---

    def use_table(self) -> list[str]:
        table = self.pick(self.tables)
        value = self.table_values[table.name]
        if table.kind in ("BPF_QUEUE", "BPF_STACK"):
            return self.use_queue(table, value)
        key, into = self.fresh("k"), self.pick(self.scalars)[0]
        bits = {"u32": 2, "u64": 3, "u16": 3}.get(table.key, 2)
        mask = 3 if table.size <= 4 else (1 << bits) - 1
        number = f"({self.expression(2).text}) & {mask}"
        lines = [f"{table.key} {key} = {number};"]
        method = self.random.randrange(8)
        hashed = "HASH" in table.kind
        if method < 4:
            lines += self.found(table, value, f"{table.name}.lookup(&{key})")
        elif method < 6 or (method == 6 and not hashed):
            fresh = self.fresh("z")
            lines += self.value_of(fresh, value)
            if hashed and self.one_in(3):
                lines += self.found(
                    table, value, f"{table.name}.lookup_or_try_init(&{key}, &{fresh})"
                )
            else:
                word = self.pick(("update", "update", "insert"))
                lines.append(f"{into} = {table.name}.{word}(&{key}, &{fresh});")
        else:
            lines.append(f"{into} = {table.name}.delete(&{key});")
        return ["{", *("    " + line for line in lines), "}"]

    def value_of(self, name: str, value: Struct | T) -> list[str]:
        if isinstance(value, T):
            return [f"{value.name} {name} = {self.expression(2).text};"]
        return [
            f"{value.name} {name};",
            f"__builtin_memset(&{name}, 0, sizeof({name}));",
            f"{name}.{self.scalar_field(value)} = {self.expression(2).text};",
        ]

    def scalar_field(self, struct: Struct) -> str:
        field = self.pick(struct.fields)
        return f"{field.name}[0]" if field.count else str(field.name)

    def found(self, table: Table, value: Struct | T, lookup: str) -> list[str]:
        pointer = self.fresh("p")
        of = value.name
        lines = [f"{of} *{pointer} = {lookup};", f"if ({pointer}) {{"]
        kept = (self.objects[:], self.reads[:], self.tables, self.functions, self.scalars[:])
        # An element may move while another is put in: nothing else uses maps in here.
        self.tables = []
        self.functions = [f for f in self.functions if f.pure]
        if isinstance(value, T):
            self.reads.append(whole(f"*{pointer}", value))
            lines.append(
                f"    {self.pick(self.scalars)[0]} ^= *{pointer};"
                if self.one_in(2)
                else f"    *{pointer} = {self.expression(2).text};"
            )
            if value in WIDE and self.one_in(2):
                added = cast(self.expression(1), value).text
                lines.append(f"    __sync_fetch_and_add({pointer}, {added});")
        else:
            self.objects += [Object(f"{pointer}->", value)] * 3
        lines += self.block(self.pick((1, 2, 2)), 0)
        self.objects, self.reads, self.tables, self.functions, self.scalars = kept
        missing = [f"}} else {{ {self.assignment()}"] if self.one_in(3) else []
        return [*lines, *missing, "}"]

    def use_queue(self, table: Table, value: Struct | T) -> list[str]:
        name, into = self.fresh("z"), self.pick(self.scalars)[0]
        lines = self.value_of(name, value)
        word = self.pick(
            (f"push(&{name}, {self.pick((0, 0, 2))})", f"pop(&{name})", f"peek(&{name})")
        )
        lines.append(f"{into} = {table.name}.{word};")
        read = name if isinstance(value, T) else f"{name}.{self.scalar_field(value)}"
        lines.append(f"{self.pick(self.scalars)[0]} = {read};")
        return ["{", *("    " + line for line in lines), "}"]

    # --- declarations ---

    def make_struct(self) -> None:
        r = self.random
        union = self.one_in(4)
        name = f"{'union U' if union else 'struct S'}{len(self.structs) + 1}"
        fields, rows = [], []
        for position in range(r.randint(1 if union else 2, 5)):
            type = self.pick(TYPES)
            field = Field(f"f{chr(97 + position)}", type)
            row = f"{type.name} {field.name};"
            match r.randrange(6):
                case 0 | 1 | 2 if not union or self.one_in(2):
                    field = field._replace(width=r.randint(1, type.bits))
                    row = f"{type.name} {field.name} : {field.width};"
                    if self.one_in(8):
                        row += f" {type.name} : {r.choice((0, r.randint(1, type.bits)))};"
                case 3 if self.one_in(2):
                    field = field._replace(count=self.pick((2, 4)))
                    row = f"{type.name} {field.name}[{field.count}];"
                case 4 if self.one_in(3):
                    aligned = f"__attribute__((aligned({self.pick((2, 4, 8))})))"
                    row = f"{type.name} {field.name} {aligned};"
            fields.append(field)
            rows.append(row)
        packed = self.pick(
            (
                "",
                "",
                "",
                " __attribute__((packed))",
                " __attribute__((packed, aligned(4)))",
                " __attribute__((aligned(8)))",
            )
        )
        text = f"{name} {{ {' '.join(rows)} }}{packed};"
        self.structs.append(Struct(name, tuple(fields), text))
        self.types.append(text)

    def make_table(self) -> None:
        kind = self.pick(
            (
                "BPF_ARRAY",
                "BPF_ARRAY",
                "BPF_HASH",
                "BPF_HASH",
                "BPF_HASH",
                "BPF_PERCPU_ARRAY",
                "BPF_PERCPU_HASH",
                "BPF_QUEUE",
                "BPF_STACK",
            )
        )
        value: Struct | T = self.pick(TYPES)
        if self.structs and self.one_in(2):
            value = self.pick(self.structs)
        name = f"m{len(self.tables) + 1}"
        size = self.pick((2, 4, 8, 16))
        key = self.pick(("u32", "u64", "u16", "u32")) if "HASH" in kind else "u32"
        self.tables.append(Table(kind, name, value.name, size, key))
        self.table_values[name] = value

    def make_globals(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            storage = self.pick(("static ", "", "static volatile "))
            choice = self.random.randrange(5)
            number = len(self.globals) + len(self.vectors) + len(self.objects) + 1
            name = f"g{number}"
            if choice == 0:
                type, count = self.pick(TYPES), self.pick((2, 4, 8))
                fixed = self.one_in(2)
                word = "static const " if fixed else storage.replace("volatile ", "")
                values = ", ".join(self.constant(type).text for _ in range(count - 1))
                self.top.append(f"{word}{type.name} {name}[{count}] = {{ {values} }};")
                self.vectors.append(Vector(name, type, count, fixed))
            elif choice == 1 and self.structs:
                struct = self.pick(self.structs)
                fixed = self.one_in(3)
                word = "static const " if fixed else storage.replace("volatile ", "")
                self.top.append(
                    f"{word}{struct.name} {name} = {self.braces(struct, constant=True)};"
                )
                self.objects.append(Object(f"{name}.", struct, fixed))
            else:
                type = self.pick(TYPES)
                value = f" = {self.constant(type).text}" if self.one_in(2) else ""
                self.top.append(f"{storage}{type.name} {name}{value};")
                self.globals.append((name, type))

    def make_function(self) -> None:
        """A function of its own or an inline one, with narrow types in and out."""
        kept = (self.scalars, self.objects, self.vectors, self.reads, self.tables, self.globals)
        self.pure = self.one_in(2)
        held = (
            self.pick(self.structs) if self.structs and not self.pure and self.one_in(3) else None
        )
        name = f"f{len(self.functions) + 1}"
        result = self.pick((*TYPES, BOOL))
        parameters = [self.pick((*TYPES, BOOL)) for _ in range(self.random.randint(1, 4))]
        names = [self.fresh("q") for _ in parameters]
        self.scalars = list(zip(names, parameters, strict=True))
        self.objects, self.reads = [], []
        self.vectors = [v for v in self.vectors if not self.pure or v.constant]
        texts = [f"{type.name} {name}" for type, name in zip(parameters, names, strict=True)]
        types: list[T | str] = list(parameters)
        if held is not None:
            pointer = self.fresh("q")
            texts.append(f"{held.name} *{pointer}")
            types.append(held.name)
            self.objects = [Object(f"{pointer}->", held)] * 2
        body = self.block(self.random.randint(1, 3), 1)
        apart = "__attribute__((noinline)) "
        word = self.pick(("inline ", "", apart, apart))
        lines = [
            f"static {word}{result.name} {name}({', '.join(texts)})",
            "{",
            *body,
            f"    return {self.expression(2).text};",
            "}",
        ]
        self.top.append("\n".join(lines))
        self.scalars, self.objects, self.vectors, self.reads, self.tables, self.globals = kept
        self.functions.append(Function(name, result, tuple(types), self.pure))
        self.pure = False

    def program(self) -> Program:
        r = self.random
        self.fetching = self.one_in(4)
        for _ in range(r.randrange(4)):
            self.make_struct()
        for _ in range(r.randrange(4)):
            self.make_table()
        self.make_globals()
        for _ in range(r.randrange(3)):
            self.make_function()
        kind = self.pick(tuple(CONTEXTS))
        lines = [
            "u32 zero = 0;",
            "struct words_in *given = in.lookup(&zero);",
            "struct words_out *results = out.lookup(&zero);",
            "if (!given || !results) return 1;",
        ]
        packet = kind in (ProgType.XDP, ProgType.SCHED_CLS) and self.one_in(2)
        if packet:
            lines += [
                "void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;",
                f"if (data + {PACKET // 2} > end) return 2;",
                "u8 *packet = data;",
            ]
            self.reads += [whole(f"packet[{i}]", U8) for i in (14, 15, 20, 31)]
            self.reads += [whole("*(u32 *)(packet + 16)", U32), whole("*(s16 *)(data + 22)", S16)]
        self.reads += [whole(f"given->v[{i}]", U64) for i in range(INPUTS)]
        for position, type in enumerate(r.sample(TYPES, r.randint(2, 4))):
            name = f"r{position}"
            lines.append(f"{type.name} {name} = {self.pick(self.reads).text};")
            self.scalars.append((name, type))
        main = list(self.scalars)
        for _ in range(r.randint(0, 2)):
            if self.structs:
                lines.append(self.local_object())
        objects = list(self.objects)
        if packet and self.one_in(2):
            lines.append(f"packet[{r.randrange(14, 32)}] = {self.expression(1).text};")
        for _ in range(r.randint(2, 5)):
            lines += self.statement(2)
        self.scalars = main + [item for item in self.scalars if item not in main]
        values = [name for name, _ in [*self.scalars, *self.globals]]
        for item in objects:
            values += [
                f"{item.text}{field.name}" + ("[1]" if field.count else "")
                for field in item.struct.fields
            ]
        values += [f"{v.name}[{v.count - 1}]" for v in self.vectors]
        values += [f"sizeof({s.name})" for s in self.structs]
        values += [
            f"offsetof({s.name}, {f.name})" for s in self.structs for f in s.fields if not f.width
        ]
        r.shuffle(values)
        lines += [f"results->v[{i}] = {value};" for i, value in enumerate(values[: RESULTS - 1])]
        rest = [f"(u64){value}" for value in values[RESULTS - 1 :]]
        if rest:
            lines.append(f"results->v[{RESULTS - 1}] = {' ^ '.join(rest)};")
        lines.append(f"return {self.expression(2).text};")
        text = "\n".join(
            [*self.top, f"int prog({CONTEXTS[kind]} *ctx)", "{", *("    " + x for x in lines), "}"]
        )
        n = self.number
        inputs = tuple(
            r.choice((r.getrandbits(64), r.getrandbits(32), r.getrandbits(8), 0, 2**64 - 1, 2**63))
            for _ in range(INPUTS)
        )
        tables = tuple(
            t._replace(name=f"{t.name}_{n}", value=renamed(t.value, "S|U", n)) for t in self.tables
        )
        return Program(
            f"own {n}",
            n,
            renamed(text, "f|g|m|S|U", n),
            tables,
            kind,
            inputs,
            bytes(r.randrange(256) for _ in range(PACKET)),
            ("v3", "v4") if self.fetching else ("v2", "v3", "v4"),
            renamed("\n".join(self.types), "S|U", n),
        )


def program(number: int) -> Program:
    return Generator(number).program()
