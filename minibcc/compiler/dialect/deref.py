"""Reads of kernel memory become calls of bpf_probe_read_kernel.

``task->real_parent->tgid`` reads memory that the verifier does not let a program touch. BCC's C
allows it, so every load through a pointer that comes from the kernel is turned into a read by a
helper. Which pointers those are is decided by where they come from, followed through variables,
casts, calls and macros (BCC follows text, and gives up at the latter three):

    DIRECT   the stack, a map's value, the context, a packet, what a helper returns
    TRUSTED  arguments of kfunc and LSM programs: the verifier follows them through the kernel's
             types, and what is loaded through them
    KERNEL   everything else: a register's content, what memory or a map held, what a helper
             returned as a number

A variable that may hold either kind is read by the helper, which reads any kernel memory; null
pointers count for nothing. Writing through a KERNEL pointer is an error.

Memory of which the text itself gives the type may be the user's as well (uprobes), and is read by
bpf_probe_read, which reads either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import ProgType
from minibcc.btf.types import Array, Member, Ptr, Struct, TypeTag, strip
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.dialect.build import Build
from minibcc.compiler.dialect.walk import nodes, rebuild

if TYPE_CHECKING:
    from minibcc.compiler.kernel import KernelNames
    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.tree import Expr, Function, Unit, Variable

DIRECT, TRUSTED, KERNEL = 1, 2, 4

# Contexts whose members are pointers to memory that a program may touch.
_PACKETS = {
    "xdp_md",
    "__sk_buff",
    "sk_msg_md",
    "sk_reuseport_md",
    "bpf_sockopt",
    "bpf_sk_lookup",
    "bpf_sock_ops",
    "bpf_iter__task",
}
_BTF_PROGRAMS = (ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS)
_RETURNS_MEMORY = ("map_value", "mem", "socket", "tcp_sock", "sock_common", "mem_or_btf_id")


class Provenance:
    """Where the pointers of a unit come from."""

    def __init__(self, unit: Unit) -> None:
        self._variables: dict[Variable, int] = {}
        self._results: dict[Function, int] = {}
        self._flows: list[tuple[Variable | Function, Expr]] = []
        self._contexts: set[Variable] = set()
        self._trusted: set[Variable] = set()
        for function in unit.functions:
            self._collect(function)
        for variable in unit.variables:
            self._variables[variable] = KERNEL
        self._solve()

    def _collect(self, function: Function) -> None:
        if function.linkage == "global" and function.parameters:
            context = function.parameters[0]
            self._variables[context] = DIRECT
            self._contexts.add(context)
            if function.probe is not None and function.probe.prog_type in _BTF_PROGRAMS:
                self._trusted.add(context)
        for node in nodes(function.body):
            match node:
                case tree.Declare(variable=variable, initial=initial) if initial is not None:
                    self._initial(variable, initial)
                case tree.Compound(variable=variable, initial=initial):
                    self._initial(variable, initial)
                case tree.Assign(place=place, value=value):
                    owner = _owner(place)
                    if owner is not None:
                        self._flows.append((owner, value))
                case tree.Return(value=value) if value is not None:
                    self._flows.append((function, value))
                case tree.Call():
                    self._call(node)

    def _initial(self, variable: Variable, initial: tree.Initializer) -> None:
        for _, _, _, value in initial.parts:
            if not isinstance(value, tree.Literal):
                self._flows.append((variable, value))

    def _call(self, call: tree.Call) -> None:
        callee = call.callee
        if isinstance(callee, tree.Function):
            for parameter, argument in zip(callee.parameters, call.arguments, strict=False):
                self._flows.append((parameter, argument))
                owner = _pointed(argument)
                if owner is not None:
                    self._variables[owner] = self._variables.get(owner, 0) | KERNEL
            return
        if isinstance(callee, tree.Helper):
            from minibcc.abi.helpers import row

            kinds = row(callee.number).arguments
            for kind, argument in zip(kinds, call.arguments, strict=False):
                owner = _pointed(argument)
                if owner is not None and kind.flags & {"write", "uninit"}:
                    self._variables[owner] = self._variables.get(owner, 0) | KERNEL
        elif isinstance(callee, tree.Builtin) and call.arguments:
            owner = _pointed(call.arguments[0])
            if owner is not None and "mem" in callee.name and "set" not in callee.name:
                self._variables[owner] = self._variables.get(owner, 0) | KERNEL

    def _solve(self) -> None:
        """Follows the flows until nothing changes."""
        changed = True
        while changed:
            changed = False
            for target, e in self._flows:
                found = self.of(e)
                table: dict[Any, int] = (
                    self._results if isinstance(target, tree.Function) else self._variables
                )
                before = table.get(target, 0)
                if before | found != before:
                    table[target] = before | found
                    changed = True

    def of(self, e: Expr) -> int:
        """What a value's pointer may be, as a union of DIRECT, TRUSTED and KERNEL; 0 for what is
        no pointer."""
        match e:
            case tree.Load(place=place):
                return self._content(place)
            case tree.Address(place=place) | tree.Decay(place=place):
                return self.root(place)
            case tree.MapPointer() | tree.FunctionPointer():
                return DIRECT
            case tree.Convert(operand=operand):
                return self.of(operand)
            case tree.Arithmetic(left=left, right=right):
                a = self.of(left)
                if c.pointer(e.type) is not None or a in (DIRECT, TRUSTED):
                    return a
                b = self.of(right)
                return b if b == DIRECT else a | b
            case tree.Conditional(condition=condition, yes=yes, no=no):
                return self.of(yes if yes is not None else condition) | self.of(no)
            case tree.Comma(right=right):
                return self.of(right)
            case tree.Assign(value=value):
                return self.of(value)
            case tree.Update(place=place):
                return self._content(place)
            case tree.StatementExpr(value=value) if value is not None:
                return self.of(value)
            case tree.Call(callee=callee):
                return self._result(callee)
        return 0

    def root(self, place: Expr) -> int:
        """What memory a place lies in."""
        match place:
            case tree.Field(base=base):
                return self.root(base)
            case tree.Deref(pointer=pointer):
                return self.of(pointer)
        return DIRECT

    def _content(self, place: Expr) -> int:
        """What a pointer is that a place holds."""
        base = place
        while isinstance(base, tree.Field):
            base = base.base
        if isinstance(base, tree.Use):
            return self._variables.get(base.variable, 0)
        if not isinstance(base, tree.Deref):
            return KERNEL
        where = self.of(base.pointer)
        context = _context(base.pointer)
        if context in self._trusted:
            return TRUSTED
        struct = c.struct(base.type)
        if where == DIRECT and struct is not None and struct.name in _PACKETS:
            return DIRECT
        if where == TRUSTED:
            return TRUSTED
        return KERNEL

    def _result(self, callee: tree.Callee) -> int:
        match callee:
            case tree.Function():
                return self._results.get(callee, 0)
            case tree.Helper(number=number):
                from minibcc.abi.helpers import row

                kind = row(number).result.kind
                if kind == "btf_id":
                    return TRUSTED
                return DIRECT if kind in _RETURNS_MEMORY else KERNEL
            case tree.KernelFunction():
                return TRUSTED
        return KERNEL


def _owner(place: Expr) -> Variable | None:
    """The variable that a place is, or lies in."""
    while isinstance(place, tree.Field):
        place = place.base
    if isinstance(place, tree.Deref) and isinstance(place.pointer, tree.Arithmetic):
        inner = place.pointer.left
        if isinstance(inner, tree.Decay):
            return _owner(inner.place)
    return place.variable if isinstance(place, tree.Use) else None


def _pointed(e: Expr) -> Variable | None:
    """The variable whose address an argument is."""
    while isinstance(e, tree.Convert):
        e = e.operand
    if isinstance(e, tree.Address | tree.Decay):
        return _owner(e.place)
    return None


def _context(e: Expr) -> Variable | None:
    """The variable that a pointer is, behind casts and steps."""
    while isinstance(e, tree.Convert | tree.Arithmetic):
        e = e.operand if isinstance(e, tree.Convert) else e.left
    if isinstance(e, tree.Load) and isinstance(e.place, tree.Use):
        return e.place.variable
    return None


class _Reader:
    """Rewrites one unit's loads."""

    def __init__(self, unit: Unit, names: KernelNames, reporter: Reporter) -> None:
        self._provenance = Provenance(unit)
        self._names = names
        self._reporter = reporter

    def change(self, node: Any) -> Any:
        """The node with all loads of kernel memory replaced; parents first, because where a
        pointer comes from is asked of the tree as it was."""
        match node:
            case tree.Load(place=place):
                inside = rebuild(node, self.change)
                if self._provenance.root(place) & KERNEL:
                    return self._read(inside, _pointer_type(place))
                return inside
            case tree.Assign(place=place) | tree.Update(place=place):
                if self._provenance.root(place) & KERNEL:
                    self._reporter.error(
                        "dialect/kernel-write",
                        "a BPF program cannot write to kernel memory",
                        place.span,
                        help=["copy what you need into a variable of your own"],
                    )
        return rebuild(node, self.change)

    def _read(self, load: tree.Load, pointer: Any) -> Expr:
        """``({ T _value; bpf_probe_read_kernel(&_value, sizeof(_value), &place); _value; })``."""
        build = Build(load.span, self._names)
        place: Any = load.place
        helper = self._helper(place, pointer)
        if isinstance(place, tree.Field) and place.member.bits:
            return self._read_bits(build, load, place, helper)
        value = build.local("_value", load.type or c.CHAR)
        source = tree.Address(load.span, Ptr(place.type), place)
        read = build.helper(helper, build.address(value), build.size(value.type), source)
        return build.block(build.declare(value), build.evaluate(read), value=build.load(value))

    def _read_bits(self, build: Build, load: tree.Load, place: tree.Field, helper: str) -> Expr:
        """A bitfield: the bytes around it are read into a struct that has it at the same bits."""
        bits = place.member.bits
        first = place.offset // 8
        last = (place.offset + bits + 7) // 8
        size = next((n for n in (1, 2, 4, 8) if n >= last - first), 8)
        member = Member(place.member.name, place.member.type, place.offset - first * 8, bits)
        holder = Struct("", size, (member,), align=1)
        value = build.local("_value", holder)
        base = tree.Address(load.span, Ptr(place.base.type), place.base)
        start = tree.Arithmetic(
            load.span,
            c.CHAR_POINTER,
            "+",
            build.convert(base, c.CHAR_POINTER),
            build.number(first, c.LONG),
        )
        length = build.number(last - first, c.UINT)
        read = build.helper(helper, build.address(value), length, start)
        field = tree.Field(load.span, member.type, build.use(value), member, member.offset)
        return build.block(
            build.zeroed(value),
            build.evaluate(read),
            value=tree.Load(load.span, load.type, field),
        )

    def _helper(self, place: Expr, pointer: Any) -> str:
        """Which helper reads: by the struct that the pointer points to."""
        target = pointer.to if isinstance(pointer, Ptr) else None
        while isinstance(target, TypeTag):
            if target.name == "user":
                return "bpf_probe_read_user"
            target = target.of
        while (inner := strip(target)) is not None and isinstance(inner, Array):
            target = inner.of
        struct = c.struct(target)
        if struct is not None and struct is self._names.struct(struct.name, struct.union):
            return "bpf_probe_read_kernel"
        return "bpf_probe_read"


def _pointer_type(place: Expr) -> Any:
    """The type of the pointer through which a place is reached."""
    while True:
        while isinstance(place, tree.Field):
            place = place.base
        if not isinstance(place, tree.Deref):
            return None
        pointer = place.pointer
        while isinstance(pointer, tree.Arithmetic):
            pointer = pointer.left
        if not isinstance(pointer, tree.Decay):
            return strip(place.pointer.type)
        place = pointer.place  # an element of an array inside of something else


def run(unit: Unit, names: KernelNames, reporter: Reporter) -> None:
    """Replaces every read of kernel memory in the unit."""
    reader = _Reader(unit, names, reporter)
    for function in unit.functions:
        function.body = reader.change(function.body)
