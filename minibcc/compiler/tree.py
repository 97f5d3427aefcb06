"""The typed tree: what analysis makes of C, what the dialect rewrites, what lowering reads.

A small C without its sugar. Names are resolved (a `Variable`, not a string), every expression has
a type from `btf.types` and a span, and every conversion that C leaves implicit is a node:

- An expression is a *place* (an lvalue: `Use`, `Deref`, `Field`, `Literal` of a string, `Compound`)
  or a *value*. A place becomes a value by `Load`, by `Address`, or by `Decay` (an array's first
  element); nothing else mixes the two.
- `p->f` is ``Field(Deref(p), f)``, ``a[i]`` is ``Deref(Arithmetic("+", Decay(a), i))``: pointer
  arithmetic stays scaled by the pointee (lowering multiplies).
- Arithmetic has both operands already converted to its common type (`Convert` nodes); shifts
  convert each side for itself. Comparisons, ``!`` and logic have type int.
- BCC's dialect appears in the tree before `dialect/` runs as two kinds of node, `Method` (a call
  like ``table.lookup(&key)``) and calls of `Builtin`s; afterwards only calls of helpers and plain
  C are left. `check` says so between passes.

Statements, declarations and the unit follow. Nodes are immutable; a pass returns a new tree and
keeps the spans (a rewritten form carries the span of what the user wrote).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.abi.bpf import AttachType, MapType, ProgType
    from minibcc.btf.types import Func, FuncProto, Member, Struct, Type
    from minibcc.diagnostics import Span


class Node(Record):
    """Anything with a place in the source."""

    span: Span


# --- named things ----------------------------------------------------------------------------


class Variable(Record, frozen=False):
    """A variable, parameter or global; compares by identity.

    `storage` is "local", "parameter", "static" (at function or file level) or "global".
    `section` is "" or what an attribute asked for; `align` is 0 or an alignment in bytes beyond
    the type's. `initial` is the initialiser of a static or global one (constant expressions only);
    a local's stands in its `Declare`.
    """

    name: str
    type: Type
    span: Span
    storage: str = "local"
    initial: Initializer | None = None
    section: str = ""
    align: int = 0
    constant: bool = False


class Map(Record, frozen=False):
    """A BPF map that the program declares; compares by identity.

    `key` and `value` are None for map types without them; `inner` names the map that serves as the
    template of a map of maps; `pin` is a path to open or create. `scope` is "own", "extern",
    "public" or "shared" (BCC's tables between modules). `data` is the initial content of a map
    made for globals. `output` is the type of what the program submits through it, once known.
    """

    name: str
    type: MapType
    key: Type | None
    value: Type | None
    max_entries: int
    span: Span
    flags: int = 0
    inner: str = ""
    pin: str = ""
    scope: str = "own"
    data: bytes = b""
    output: Type | None = None


class Probe(Record):
    """What makes a function a program: its type, its section name as BCC or libbpf would write it
    (``kprobe__do_sys_openat2``), and what it attaches to by itself, "" if nothing."""

    prog_type: ProgType
    section: str
    attach_to: str = ""
    attach_type: AttachType | int = 0


class Function(Record, frozen=False):
    """A function with a body, or declared only (`body` None); compares by identity.

    `linkage` is "static" or "global"; `inline` is "", "inline", "always" or "never". `probe` is
    what BCC's rules or the loader make of it; a global function without arguments of its own kind
    may become a program of any type when it is loaded, so a BCC text's probe is None until named.
    """

    name: str
    type: FuncProto
    parameters: tuple[Variable, ...]
    body: Block | None
    span: Span
    linkage: str = "global"
    inline: str = ""
    section: str = ""
    probe: Probe | None = None
    end: Span | None = None


class Helper(Record):
    """A helper of the kernel, by the number in abi.helpers; `type` is its C prototype as this
    program calls it (bpf_trace_printk takes any arguments)."""

    name: str
    number: int
    type: FuncProto


class Builtin(Record):
    """A compiler's builtin (``__builtin_memcpy``) or a function of BCC's dialect that a pass
    replaces (``bpf_usdt_readarg``)."""

    name: str


class KernelFunction(Record):
    """A kfunc, from the target's BTF."""

    func: Func


Callee: TypeAlias = Function | Helper | Builtin | KernelFunction


# --- expressions -----------------------------------------------------------------------------


class Expression(Node):
    """`type` is None for void."""

    type: Type | None


class Use(Expression):
    """A place: a variable."""

    variable: Variable


class Deref(Expression):
    """A place: what a pointer points to."""

    pointer: Expr


class Field(Expression):
    """A place (or, of a struct value, a value): a member; `offset` in bits from the start of
    `base`, anonymous members walked through."""

    base: Expr
    member: Member
    offset: int


class Literal(Expression):
    """A place: a string, with its final NUL."""

    data: bytes


class Compound(Expression):
    """A place: a compound literal, or any fresh object; made anew each time it is reached."""

    variable: Variable
    initial: Initializer


class Number(Expression):
    """An integer constant (also of enum, bool and pointer types), as C sees its value."""

    value: int


class Load(Expression):
    """The value of a place."""

    place: Expr


class Address(Expression):
    """A pointer to a place. `Address(Deref(p))` is p itself and reads nothing."""

    place: Expr


class Decay(Expression):
    """A pointer to the first element of an array place."""

    place: Expr


class FunctionPointer(Expression):
    """The address of a function (callbacks of bpf_loop and the like)."""

    function: Function


class MapPointer(Expression):
    """The address of a map, as helpers take it."""

    map: Map


class Convert(Expression):
    """A value to another scalar type: between integers (by the operand's signedness), to bool
    (non-zero), between pointers, between pointers and integers, to void."""

    operand: Expr
    explicit: bool = False


class Unary(Expression):
    """``-`` ``~`` ``!`` ``+`` on a value."""

    operator: str
    operand: Expr


class Arithmetic(Expression):
    """``+ - * / % & | ^ << >>`` on values; ``+`` and ``-`` also pointer with integer (the pointer
    on the left, the integer of 64 bits), ``-`` of two pointers (of type long, in elements)."""

    operator: str
    left: Expr
    right: Expr


class Comparison(Expression):
    """``== != < <= > >=``, signed or unsigned by the operands' type; type int."""

    operator: str
    left: Expr
    right: Expr


class Logic(Expression):
    """``&&`` ``||`` on scalars; the right side may not be evaluated; type int."""

    operator: str
    left: Expr
    right: Expr


class Conditional(Expression):
    """``c ? a : b``; with `yes` None ``c ?: b``, where `condition` is evaluated once and, converted
    to the result's type, is the value."""

    condition: Expr
    yes: Expr | None
    no: Expr


class Comma(Expression):
    left: Expr
    right: Expr


class Assign(Expression):
    """A place gets a value of its type; the result is that value. Structs too."""

    place: Expr
    value: Expr


class Update(Expression):
    """``place op= value``: computed in type `within` (None: pointer arithmetic), converted back.
    `post` gives the value before (``i++``)."""

    operator: str
    place: Expr
    value: Expr
    within: Type | None
    post: bool = False


class Call(Expression):
    """Arguments are converted to the parameters' types, those of a variadic rest promoted."""

    callee: Callee
    arguments: tuple[Expr, ...]


class Method(Expression):
    """``table.lookup(&key)`` before the dialect: arguments are analysed, not converted."""

    map: Map
    name: str
    arguments: tuple[Expr, ...]


class StatementExpr(Expression):
    """``({ ...; value; })``; `value` None for void."""

    body: tuple[Stmt, ...]
    value: Expr | None


Expr: TypeAlias = (
    Use
    | Deref
    | Field
    | Literal
    | Compound
    | Number
    | Load
    | Address
    | Decay
    | FunctionPointer
    | MapPointer
    | Convert
    | Unary
    | Arithmetic
    | Comparison
    | Logic
    | Conditional
    | Comma
    | Assign
    | Update
    | Call
    | Method
    | StatementExpr
)


class Initializer(Node):
    """What a variable starts with: values at their places, everything else zero.

    `parts` are (offset in bits, width in bits or 0 for no bitfield, type, value), in source order
    (a later one wins); a value of array type is a `Literal`. A plain scalar or struct value is one
    part at 0 with `whole` set: nothing is zeroed first.
    """

    parts: tuple[tuple[int, int, Type, Expr], ...]
    whole: bool = False


# --- statements ------------------------------------------------------------------------------


class Block(Node):
    body: tuple[Stmt, ...]
    end: Span | None = None


class Declare(Node):
    """A local variable comes to life; without `initial` its content is undefined."""

    variable: Variable
    initial: Initializer | None = None


class Evaluate(Node):
    expression: Expr


class If(Node):
    condition: Expr
    yes: Stmt
    no: Stmt | None = None


class Loop(Node):
    """for, while and do: `first` says that the body runs before the condition is asked. A
    condition None is always true. `unroll` is 0 (no word), 1 (``#pragma unroll``), a count, or -1
    (``nounroll``)."""

    condition: Expr | None
    body: Stmt
    start: Stmt | None = None
    step: Expr | None = None
    first: bool = False
    unroll: int = 0


class Switch(Node):
    """`value` is promoted; `Case`s stand anywhere inside `body`."""

    value: Expr
    body: Stmt


class Case(Node):
    """``case low ... high:``; both None for ``default:``."""

    low: int | None
    high: int | None
    body: Stmt


class Label(Node):
    name: str
    body: Stmt


class Goto(Node):
    name: str


class Break(Node):
    pass


class Continue(Node):
    pass


class Return(Node):
    value: Expr | None = None


class Barrier(Node):
    """Empty inline assembly: the optimiser must not look through it. `operands` are places that it
    may read and write (``"+r"(x)``)."""

    operands: tuple[Expr, ...] = ()


Stmt: TypeAlias = (
    Block
    | Declare
    | Evaluate
    | If
    | Loop
    | Switch
    | Case
    | Label
    | Goto
    | Break
    | Continue
    | Return
    | Barrier
)


class Unit(Record):
    """A translation unit: what one text declares, in source order. `headers` are its structs that
    describe packets (BPF_PACKET_HEADER)."""

    functions: tuple[Function, ...]
    variables: tuple[Variable, ...]
    maps: tuple[Map, ...]
    license: str
    headers: frozenset[Struct] = frozenset()
