"""Each form of the tree does on the live kernel what C says, and its answer is known."""

from __future__ import annotations

import pytest

from minibcc.abi.bpf import MapType
from minibcc.btf.types import Array, Member, Ptr, Struct, Type, Volatile
from minibcc.compiler import tree
from minibcc.compiler.lower.expressions import Expressions
from minibcc.compiler.lower.statements import Statements
from minibcc.isa.instruction import decode
from tests.compiler.back import build as c
from tests.compiler.back import live

pytestmark = pytest.mark.kernel

POINT = Struct("point", 16, (Member("x", c.INT, 0), Member("y", c.INT, 32), Member("z", c.S64, 64)))
PACKED = Struct("packed", 7, (Member("a", c.U8, 0), Member("b", c.UINT, 8), Member("c", c.U16, 40)))


def run(*body: tree.Stmt, more: tuple[tree.Function, ...] = (), cpu: str = "v2") -> int:
    """The answer of a program, 32 bits."""
    return live.result_of(c.build(c.unit(c.program(*body), *more), cpu))[0]


def local(name: str, value: int, type: Type = c.INT) -> tuple[tree.Variable, tree.Declare]:
    v = c.variable(name, type)
    return v, c.declare(v, c.number(value, type))


def add(v: tree.Variable, value: tree.Expr, operator: str = "+") -> tree.Evaluate:
    return c.do(tree.Update(c.SPAN, v.type, operator, c.use(v), value, v.type))


def loop(v: tree.Variable, stop: int, body: tree.Stmt, **more: int) -> tree.Loop:
    condition = c.compare("<", c.get(v), c.number(stop))
    step = tree.Update(c.SPAN, v.type, "+", c.use(v), c.number(1), c.INT, True)
    return tree.Loop(c.SPAN, condition, body, c.declare(v, c.number(0)), step, **more)


def unknown() -> tree.Expr:
    """A number that LLVM cannot know: 0 at run time (the socket filter's mark)."""
    helper = c.helper("bpf_get_prandom_u32", 7, c.UINT)
    return c.convert(c.op("&", c.call(helper, c.UINT), c.number(0, c.UINT)), c.INT)


def opaque(value: int) -> tree.Expr:
    """`value`, which LLVM must believe to be anything: behind a barrier."""
    v = c.variable("opaque", c.INT)
    barrier = tree.Barrier(c.SPAN, (c.use(v),))
    return tree.StatementExpr(c.SPAN, c.INT, (c.declare(v, c.number(value)), barrier), c.get(v))


def test_every_node_has_its_function() -> None:
    def classes(alias: object) -> set[type]:
        return set(alias.__args__)  # type: ignore[attr-defined]  # a union's members

    assert set(Expressions.values) | set(Expressions.places) == classes(tree.Expr)
    assert set(Statements.forms) == classes(tree.Stmt)


@pytest.mark.parametrize("unroll", [0, 1, 4, -1])
def test_loops(unroll: int) -> None:
    total, start = local("total", 0)
    i = c.variable("i", c.INT)
    body = c.block(
        tree.If(c.SPAN, c.compare("==", c.get(i), opaque(3)), tree.Continue(c.SPAN)),
        tree.If(c.SPAN, c.compare("==", c.get(i), opaque(7)), tree.Break(c.SPAN)),
        add(total, c.get(i)),
    )
    assert (
        run(start, loop(i, 10, body, unroll=unroll), c.give(c.get(total))) == 0 + 1 + 2 + 4 + 5 + 6
    )


@pytest.mark.parametrize(("unroll", "backward"), [(1, False), (-1, True)])
def test_a_word_about_unrolling_is_heard(unroll: int, backward: bool) -> None:
    total, start = local("total", 0)
    i = c.variable("i", c.INT)
    body = c.block(add(total, c.op("*", opaque(3), c.get(i))))
    program = c.program(start, loop(i, 20, body, unroll=unroll), c.give(c.get(total)))
    insns = decode(c.build(c.unit(program)).programs[0].insns)
    assert any(insn.code & 7 == 5 and insn.off < 0 for insn in insns) == backward


def test_static_locals_may_share_a_name() -> None:
    one = c.variable("main_program", c.INT, "static", initial=c.whole(c.INT, c.number(1)))
    two = c.variable("main_program", c.INT, "static", initial=c.whole(c.INT, c.number(2)))
    body = (add(one, opaque(1)), add(two, opaque(1)))
    total = c.op("+", c.op("*", c.get(one), c.number(10)), c.get(two))
    assert run(*body, c.give(total)) == 23


def test_do_while_runs_first() -> None:
    total, start = local("total", 0)
    again = c.compare("<", c.get(total), opaque(0))
    body = tree.Loop(c.SPAN, again, c.block(add(total, c.number(5))), first=True)
    assert run(start, body, c.give(c.get(total))) == 5


def test_endless_loop_with_break() -> None:
    total, start = local("total", 0)
    body = c.block(
        add(total, c.number(1)),
        tree.If(c.SPAN, c.compare(">=", c.get(total), opaque(9)), tree.Break(c.SPAN)),
    )
    assert run(start, tree.Loop(c.SPAN, None, body), c.give(c.get(total))) == 9


@pytest.mark.parametrize(
    ("value", "answer"), [(1, 11), (2, 22), (3, 22), (50, 33), (500, 44), (2000, 55), (-1, 55)]
)
def test_switch(value: int, answer: int) -> None:
    total, start = local("total", 0)

    def case(low: int | None, high: int | None, result: int, *, fall: bool = False) -> tree.Case:
        body = add(total, c.number(result))
        return tree.Case(c.SPAN, low, high, body if fall else c.block(body, tree.Break(c.SPAN)))

    body = c.block(
        case(1, None, 11),
        case(2, None, 0, fall=True),
        case(3, None, 22),
        case(40, 60, 33),
        case(400, 1000, 44),
        case(None, None, 55),
    )
    assert run(start, tree.Switch(c.SPAN, opaque(value), body), c.give(c.get(total))) == answer


def test_goto() -> None:
    total, start = local("total", 0)
    body = (
        start,
        tree.Label(c.SPAN, "again", add(total, c.number(1))),
        tree.If(c.SPAN, c.compare("<", c.get(total), opaque(4)), tree.Goto(c.SPAN, "again")),
        tree.Goto(c.SPAN, "out"),
        add(total, c.number(100)),
        tree.Label(c.SPAN, "out", c.give(c.get(total))),
    )
    assert run(*body) == 4


def test_if_and_else() -> None:
    total, start = local("total", 0)
    test = tree.If(c.SPAN, opaque(0), add(total, c.number(1)), add(total, c.number(2)))
    assert run(start, test, c.give(c.get(total))) == 2


def test_a_missing_return_answers_zero() -> None:
    assert run(c.do(opaque(3))) == 0


def test_struct_assignment_and_members() -> None:
    a, b = c.variable("a", POINT), c.variable("b", POINT)
    parts = ((0, 0, c.INT, opaque(1)), (32, 0, c.INT, c.number(20)), (64, 0, c.S64, c.number(300)))
    total = c.op("+", c.load(c.field(c.use(b), "x")), c.load(c.field(c.use(b), "y")))
    total = c.op("+", total, c.convert(c.load(c.field(c.use(b), "z")), c.INT))
    assert run(
        tree.Declare(c.SPAN, a, tree.Initializer(c.SPAN, parts)),
        c.declare(b),
        c.do(c.assign(c.use(b), c.get(a))),
        c.do(c.assign(c.field(c.use(a), "x"), c.number(5000))),
        c.give(total),
    ) == 321  # fmt: skip


def test_structs_as_arguments_and_results() -> None:
    p = c.variable("p", POINT, "parameter")
    swap = c.function(
        "swap",
        POINT,
        (p,),
        c.do(c.assign(c.field(c.use(p), "x"), c.load(c.field(c.use(p), "y")))),
        c.give(c.get(p)),
    )
    a = c.variable("a", POINT)
    parts = ((0, 0, c.INT, opaque(1)), (32, 0, c.INT, opaque(2)))
    swapped = c.call(swap, POINT, c.get(a))
    x = tree.Field(c.SPAN, c.INT, swapped, POINT.members[0], 0)
    total = c.op("+", c.op("*", c.load(x), c.number(10)), c.load(c.field(c.use(a), "x")))
    for inline in ("", "never"):
        swap.inline = inline
        declared = tree.Declare(c.SPAN, a, tree.Initializer(c.SPAN, parts))
        assert run(declared, c.give(total), more=(swap,)) == 21


def test_packed_members() -> None:
    p = c.variable("p", PACKED)
    place = c.field(c.use(p), "b")
    total = c.op("+", c.load(place), c.convert(c.load(c.field(c.use(p), "c")), c.UINT))
    assert run(
        tree.Declare(c.SPAN, p, tree.Initializer(c.SPAN, ())),
        c.do(c.assign(place, c.convert(opaque(100000), c.UINT))),
        c.do(c.assign(c.field(c.use(p), "c"), c.convert(opaque(7), c.U16))),
        c.give(c.convert(total, c.INT)),
    ) == 100007  # fmt: skip


def test_arrays_and_pointer_arithmetic() -> None:
    a = c.variable("a", Array(c.S64, 8))
    i = c.variable("i", c.INT)
    fill = loop(
        i, 8, c.do(c.assign(c.index(c.use(a), c.get(i)), c.convert(c.get(i), c.S64))), unroll=1
    )
    p, q = c.variable("p", Ptr(c.S64)), c.variable("q", Ptr(c.S64))
    third = tree.Arithmetic(c.SPAN, p.type, "+", c.decay(c.use(a)), c.number(3, c.LONG))
    up = tree.Update(c.SPAN, p.type, "+", c.use(q), c.number(2, c.LONG), None)
    down = tree.Update(c.SPAN, p.type, "-", c.use(q), c.number(1, c.LONG), None, True)
    distance = tree.Arithmetic(c.SPAN, c.LONG, "-", c.get(q), c.decay(c.use(a)))
    total = c.op("*", c.load(c.deref(c.get(q))), c.number(10, c.S64))
    assert run(
        c.declare(a), fill, c.declare(p, third), c.declare(q, c.get(p)), c.do(up), c.do(down),
        c.give(c.convert(c.op("+", total, distance), c.INT)),
    ) == 44  # fmt: skip


def test_pointer_difference_of_any_size() -> None:
    odd = Struct("odd", 12, (Member("a", Array(c.INT, 3), 0),))
    a = c.variable("a", Array(odd, 5))
    first = c.decay(c.use(a))
    last = tree.Arithmetic(c.SPAN, Ptr(odd), "+", first, c.convert(opaque(4), c.LONG))
    distance = tree.Arithmetic(c.SPAN, c.LONG, "-", last, first)
    assert run(c.declare(a), c.give(c.convert(distance, c.INT))) == 4


def test_strings_and_partial_initialisers() -> None:
    text = c.variable("text", Array(c.CHAR, 8))
    parts = ((0, 0, text.type, tree.Literal(c.SPAN, Array(c.CHAR, 3), b"AB\0")),)
    letters = [c.convert(c.load(c.index(c.use(text), c.number(n))), c.INT) for n in range(3)]
    total = c.op("+", c.op("+", letters[0], letters[1]), letters[2])
    assert run(
        tree.Declare(c.SPAN, text, tree.Initializer(c.SPAN, parts, True)), c.give(total)
    ) == ord("A") + ord("B")  # fmt: skip


def test_compound_literals_are_fresh() -> None:
    v = c.variable("v", POINT)
    compound = tree.Compound(
        c.SPAN, POINT, v, tree.Initializer(c.SPAN, ((32, 0, c.INT, opaque(6)),))
    )
    assert run(c.give(c.load(c.field(compound, "y")))) == 6


def test_volatile_stays() -> None:
    v = c.variable("v", Volatile(c.INT))
    obj = c.build(
        c.unit(c.program(c.declare(v, c.number(1)), c.do(c.get(v)), c.give(c.get(v)))), "v2"
    )
    loads = [insn for insn in decode(obj.programs[0].insns) if insn.code == 0x61]
    assert len(loads) == 2
    assert live.result_of(obj)[0] == 1


def test_logic_does_not_evaluate_too_much() -> None:
    total, start = local("total", 0)
    count = tree.Update(c.SPAN, c.INT, "+", c.use(total), c.number(1), c.INT)
    touch = tree.Comma(c.SPAN, c.INT, count, c.number(1))
    assert run(
        start,
        c.do(c.logic("&&", opaque(0), touch)),
        c.do(c.logic("||", opaque(1), touch)),
        c.do(c.logic("&&", opaque(1), touch)),
        c.give(c.get(total)),
    ) == 1  # fmt: skip


@pytest.mark.parametrize("inline", ["", "inline", "always", "never"])
def test_calls(inline: str) -> None:
    n = c.variable("n", c.INT, "parameter")
    twice = c.function(
        "twice", c.INT, (n,), c.give(c.op("*", c.get(n), c.number(2))), inline=inline
    )
    obj = c.build(c.unit(c.program(c.give(c.call(twice, c.INT, opaque(21)))), twice))
    assert len(obj.programs[0].functions) == (2 if inline == "never" else 1)
    assert live.result_of(obj)[0] == 42


def test_small_arguments_keep_their_sign() -> None:
    n, m = c.variable("n", c.S8, "parameter"), c.variable("m", c.U16, "parameter")
    body = c.give(c.op("+", c.convert(c.get(n), c.INT), c.convert(c.get(m), c.INT)))
    f = c.function("f", c.INT, (n, m), body, inline="never")
    called = c.call(f, c.INT, c.convert(opaque(-3), c.S8), c.convert(opaque(0x10005), c.U16))
    assert run(c.give(called), more=(f,)) == 2


def test_many_arguments_work_where_inlined() -> None:
    parameters = tuple(c.variable(f"p{n}", c.INT, "parameter") for n in range(8))
    total: tree.Expr = c.get(parameters[0])
    for v in parameters[1:]:
        total = c.op("+", total, c.get(v))
    f = c.function("f", c.INT, parameters, c.give(total))
    assert run(c.give(c.call(f, c.INT, *[opaque(n) for n in range(8)])), more=(f,)) == 28


def test_callbacks() -> None:
    """bpf_loop calls a static function by its address."""
    i, ctx = c.variable("i", c.UINT, "parameter"), c.variable("ctx", Ptr(c.INT), "parameter")
    add_one = tree.Update(
        c.SPAN, c.INT, "+", c.deref(c.get(ctx)), c.convert(c.get(i), c.INT), c.INT
    )
    body = c.function("body", c.LONG, (i, ctx), c.do(add_one), c.give(c.number(0, c.LONG)))
    total, start = local("total", 0)
    loop_helper = c.helper("bpf_loop", 181, c.LONG)
    called = c.call(
        loop_helper,
        c.LONG,
        c.number(5, c.UINT),
        tree.FunctionPointer(c.SPAN, Ptr(body.type), body),
        c.convert(c.address(c.use(total)), Ptr(None)),
        c.number(0, c.U64),
    )
    assert run(start, c.do(called), c.give(c.get(total)), more=(body,)) == 10


def test_globals_live_in_maps() -> None:
    initial = c.whole(c.INT, c.number(40))
    counter = c.variable("counter", c.INT, "global", initial=initial)
    zero = c.variable("zero", c.INT, "static")
    table = c.variable(
        "table",
        Array(c.INT, 4),
        "static",
        constant=True,
        initial=tree.Initializer(
            c.SPAN, tuple((32 * n, 0, c.INT, c.number(n * n)) for n in range(4))
        ),
    )
    mask = c.op("&", opaque(3), c.number(3))
    total = c.op("+", c.get(counter), c.load(c.index(c.use(table), mask)))
    body = (
        add(counter, c.number(2)),
        add(zero, c.number(1)),
        c.give(c.op("+", total, c.get(zero))),
    )
    obj = c.build(c.unit(c.program(*body)))
    assert {spec.name: spec.read_only for spec in obj.maps} == {
        ".data": False, ".bss": False, ".rodata": True,
    }  # fmt: skip
    assert live.result_of(obj)[0] == 40 + 2 + 9 + 1


def test_maps_count() -> None:
    counts = tree.Map("out", MapType.HASH, c.UINT, c.U64, 16, c.SPAN)
    key, key_declared = local("key", 0, c.UINT)
    p = c.variable("p", Ptr(c.U64))
    update = c.helper("bpf_map_update_elem", 2, c.LONG)
    seven, seven_declared = local("seven", 7, c.U64)
    put = c.call(
        update,
        c.LONG,
        tree.MapPointer(c.SPAN, Ptr(None), counts),
        c.convert(c.address(c.use(key)), Ptr(None)),
        c.convert(c.address(c.use(seven)), Ptr(None)),
        c.number(0, c.U64),
    )
    one = c.builtin(
        "__sync_fetch_and_add", c.U64, c.convert(c.get(p), Ptr(c.U64)), c.number(1, c.U64)
    )
    body = (
        key_declared,
        seven_declared,
        c.do(put),
        c.declare(p, c.lookup(counts, c.use(key))),
        tree.If(c.SPAN, c.get(p), c.do(one)),
        c.give(c.number(0)),
    )
    obj = c.build(c.unit(c.program(*body), maps=(counts,)))
    assert obj.maps[0].key_type and obj.maps[0].value_type
    assert live.result_of(obj, 1) == (0, [8])
