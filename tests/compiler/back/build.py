"""The typed tree by hand, short enough to read: what analysis would make of a few lines of C.

Everything stands at one place in the text; `at` gives another. Operators convert nothing: tests
say what they mean.
"""

from __future__ import annotations

from minibcc.btf.types import Array, FuncProto, Int, Param, Ptr, Type, size_of, strip
from minibcc.compiler import tree
from minibcc.compiler.codegen import emit
from minibcc.compiler.link import link
from minibcc.compiler.lower.module import lower
from minibcc.compiler.object import BpfObject
from minibcc.diagnostics import Sources, Span

CHAR = Int("char", 1, True, char=True)
INT = Int("int", 4, True)
UINT = Int("unsigned int", 4, False)
LONG = Int("long", 8, True)
U8 = Int("unsigned char", 1, False)
U16 = Int("unsigned short", 2, False)
U64 = Int("unsigned long long", 8, False)
S8 = Int("signed char", 1, True)
S16 = Int("short", 2, True)
S64 = Int("long long", 8, True)
BOOL = Int("_Bool", 1, False, bool=True)
U128 = Int("unsigned __int128", 16, False)
S128 = Int("__int128", 16, True)
INTEGERS = (U8, S8, U16, S16, UINT, INT, U64, S64)
SPAN = Span("test.c", 1, 1)


def at(line: int, column: int) -> Span:
    return Span("test.c", line, column)


def number(value: int, type: Type = INT) -> tree.Number:
    return tree.Number(SPAN, type, value)


def variable(name: str, type: Type, storage: str = "local", **more: object) -> tree.Variable:
    return tree.Variable(name, type, SPAN, storage, **more)


def use(v: tree.Variable) -> tree.Use:
    return tree.Use(SPAN, v.type, v)


def load(place: tree.Expr) -> tree.Load:
    return tree.Load(SPAN, place.type, place)


def get(v: tree.Variable) -> tree.Load:
    return load(use(v))


def deref(pointer: tree.Expr) -> tree.Deref:
    type = strip(pointer.type)
    assert isinstance(type, Ptr)
    return tree.Deref(SPAN, type.to, pointer)


def address(place: tree.Expr) -> tree.Address:
    return tree.Address(SPAN, Ptr(place.type), place)


def decay(place: tree.Expr) -> tree.Decay:
    type = strip(place.type)
    assert isinstance(type, Array)
    return tree.Decay(SPAN, Ptr(type.of), place)


def index(place: tree.Expr, i: tree.Expr) -> tree.Deref:
    pointer = decay(place)
    return deref(tree.Arithmetic(SPAN, pointer.type, "+", pointer, convert(i, LONG)))


def field(base: tree.Expr, name: str) -> tree.Field:
    from minibcc.btf.types import Struct, find_member

    struct = strip(base.type)
    assert isinstance(struct, Struct)
    found = find_member(struct, name)
    assert found is not None
    member, offset = found
    return tree.Field(SPAN, member.type, base, member, offset)


def convert(e: tree.Expr, type: Type | None) -> tree.Convert:
    return tree.Convert(SPAN, type, e)


def op(operator: str, left: tree.Expr, right: tree.Expr) -> tree.Arithmetic:
    return tree.Arithmetic(SPAN, left.type, operator, left, right)


def compare(operator: str, left: tree.Expr, right: tree.Expr) -> tree.Comparison:
    return tree.Comparison(SPAN, INT, operator, left, right)


def logic(operator: str, left: tree.Expr, right: tree.Expr) -> tree.Logic:
    return tree.Logic(SPAN, INT, operator, left, right)


def assign(place: tree.Expr, value: tree.Expr) -> tree.Assign:
    return tree.Assign(SPAN, place.type, place, value)


def call(callee: tree.Callee, result: Type | None, *arguments: tree.Expr) -> tree.Call:
    return tree.Call(SPAN, result, callee, arguments)


def builtin(name: str, result: Type | None, *arguments: tree.Expr) -> tree.Call:
    return call(tree.Builtin(name), result, *arguments)


def do(e: tree.Expr) -> tree.Evaluate:
    return tree.Evaluate(SPAN, e)


def declare(v: tree.Variable, value: tree.Expr | None = None) -> tree.Declare:
    if value is None:
        return tree.Declare(SPAN, v)
    return tree.Declare(SPAN, v, whole(v.type, value))


def whole(type: Type, value: tree.Expr) -> tree.Initializer:
    return tree.Initializer(SPAN, ((0, 0, type, value),), True)


def give(value: tree.Expr | None = None) -> tree.Return:
    return tree.Return(SPAN, value)


def block(*body: tree.Stmt) -> tree.Block:
    return tree.Block(SPAN, body, SPAN)


def function(
    name: str,
    result: Type | None,
    parameters: tuple[tree.Variable, ...],
    *body: tree.Stmt,
    linkage: str = "static",
    inline: str = "",
) -> tree.Function:
    proto = FuncProto(result, tuple(Param(v.name, v.type) for v in parameters))
    return tree.Function(name, proto, parameters, block(*body), SPAN, linkage, inline)


def program(*body: tree.Stmt, name: str = "main_program") -> tree.Function:
    """A function ``int name(void *ctx)``."""
    ctx = variable("ctx", Ptr(None), "parameter")
    return function(name, INT, (ctx,), *body, linkage="global")


def unit(*functions: tree.Function, maps: tuple[tree.Map, ...] = ()) -> tree.Unit:
    return tree.Unit(functions, (), maps, "GPL")


def build(unit: tree.Unit, cpu: str = "v2", text: str = "") -> BpfObject:
    """All of the back end."""
    sources = Sources({"test.c": text})
    lowered = lower(unit, cpu, sources)
    code = emit(lowered.text, cpu, doubtful=lowered.doubtful)
    return link(code, lowered, unit, sources)


def helper(name: str, number: int, result: Type | None, *params: Type | None) -> tree.Helper:
    proto = FuncProto(result, tuple(Param("", type) for type in params))
    return tree.Helper(name, number, proto)


MAP_LOOKUP = helper("bpf_map_lookup_elem", 1, Ptr(None), Ptr(None), Ptr(None))


def lookup(map: tree.Map, key: tree.Expr) -> tree.Call:
    """``map.lookup(&key)`` as the dialect leaves it."""
    pointer = tree.MapPointer(SPAN, Ptr(None), map)
    found = call(MAP_LOOKUP, Ptr(None), pointer, convert(address(key), Ptr(None)))
    return tree.Convert(SPAN, Ptr(map.value), found)


def bits(type: Type) -> int:
    return size_of(type) * 8
