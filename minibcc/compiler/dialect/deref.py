"""Reads of kernel memory become calls of bpf_probe_read_kernel.

``task->real_parent->tgid`` reads memory that the verifier does not let a program touch. BCC's C
allows it, so every load through a pointer that comes from the kernel is turned into a read by a
helper. Which pointers those are is decided by where they come from, followed through variables,
casts, calls and macros (BCC follows text, and gives up at the latter three):

    DIRECT   the stack, a map's value, the context, a packet, what a helper returns
    TRUSTED  structures that are arguments of kfunc and LSM programs: the verifier follows them
             through the kernel's types, and structures that are loaded through them
    KERNEL   everything else: a register's content, what memory or a map held, what a helper
             returned as a number

A variable that may hold either kind is read by the helper, which reads any kernel memory; null
pointers count for nothing. Writing through a KERNEL pointer is an error.

Memory of which the text itself gives the type may be the user's as well (uprobes), and is read by
bpf_probe_read, which reads either, where programs have that helper.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from minibcc.abi.bpf import ProgType
from minibcc.btf.types import Array, Member, Ptr, Struct, TypeTag, strip
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.analyze.constants import fold
from minibcc.compiler.dialect.build import Build
from minibcc.compiler.dialect.walk import nodes, rebuild

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
_COPIES = ("__builtin_memcpy", "__builtin_memmove")
_OWN_MEMORY = ("map_key", "map_value", "mem")
_WRITE = (*_COPIES, "__builtin_memset", "__sync_", "__atomic_")
"""How the builtins begin that write where their first argument points to."""
_RETURNS_MEMORY = ("map_value", "mem", "socket", "tcp_sock", "sock_common", "mem_or_btf_id")

_Owner: TypeAlias = "Variable | Function | int"
"""Who holds something; an assignment by its `id`, so that a chain of them is followed once."""
_Value: TypeAlias = "tuple[int, frozenset[Variable | None]]"
_NONE: frozenset[Variable | None] = frozenset()
_OTHER: frozenset[Variable | None] = frozenset((None,))
_NOTHING: _Value = 0, _NONE


class Provenance:
    """Where the pointers of a unit come from.

    What a value may point to is a union of the kinds above and, for what is DIRECT, the variables
    that it may point to (None for other memory): what is stored through a pointer to a variable is
    found again in that variable. Neither the order of statements nor the members of a struct are
    told apart.
    """

    def __init__(self, unit: Unit) -> None:
        self._kinds: dict[_Owner, int] = {}
        self._targets: dict[_Owner, frozenset[Variable | None]] = {}
        self._flows: list[tuple[Function | Expr, Expr | int]] = []
        self._readers: dict[_Owner, set[int]] = {}
        self._flow = -1  # whose sources are looked at
        self._known: dict[int, tuple[Expr, _Value]] = {}  # by id; what was asked when all is solved
        self._trusted: set[Variable] = set()
        for function in unit.functions:
            self._collect(function)
        for variable in unit.variables:
            self._kinds[variable] = KERNEL
        self._solve()

    def _collect(self, function: Function) -> None:
        if function.linkage == "global" and function.parameters:
            context = function.parameters[0]
            self._kinds[context], self._targets[context] = DIRECT, _OTHER
            if function.probe is not None and function.probe.prog_type in _BTF_PROGRAMS:
                self._trusted.add(context)
        for node in nodes(function.body):
            match node:
                case tree.Declare(variable=variable, initial=initial) if initial is not None:
                    self._initial(variable, initial)
                case tree.Compound(variable=variable, initial=initial):
                    self._initial(variable, initial)
                case tree.Assign(value=value):
                    self._flows.append((node, value))
                    self._kinds[id(node)] = 0
                case tree.Return(value=value) if value is not None:
                    self._flows.append((function, value))
                case tree.Call():
                    self._call(node)

    def _initial(self, variable: Variable, initial: tree.Initializer) -> None:
        place = tree.Use(variable.span, variable.type, variable)
        for _, _, _, value in initial.parts:
            if not isinstance(value, tree.Literal):
                self._flows.append((place, value))

    def _call(self, call: tree.Call) -> None:
        callee = call.callee
        if isinstance(callee, tree.Function):
            for parameter, argument in zip(callee.parameters, call.arguments, strict=False):
                place = tree.Use(parameter.span, parameter.type, parameter)
                self._flows.append((place, argument))
        elif isinstance(callee, tree.Helper):
            from minibcc.abi.helpers import row

            kinds = row(callee.number).arguments
            for kind, argument in zip(kinds, call.arguments, strict=False):
                if kind.flags & {"write", "uninit"}:
                    self._flows.append((tree.Deref(call.span, None, argument), KERNEL))
        elif isinstance(callee, tree.Builtin) and callee.name in _COPIES:
            target, source = (tree.Deref(call.span, None, e) for e in call.arguments[:2])
            self._flows.append((target, tree.Load(call.span, None, source)))

    def _solve(self) -> None:
        """Follows each flow, and again when what it read has changed, until nothing changes."""
        queue = deque(range(len(self._flows)))
        waiting = set(queue)
        while queue:
            self._flow = queue.popleft()
            waiting.remove(self._flow)
            to, e = self._flows[self._flow]
            kinds, targets = (e, _NONE) if isinstance(e, int) else self._value(e)
            for owner in self._receivers(to):
                before, known = self._kinds.get(owner, 0), self._targets.get(owner, _NONE)
                if kinds | before != before or not targets <= known:
                    self._kinds[owner] = before | kinds
                    self._targets[owner] = known | targets
                    again = self._readers.get(owner, set()) - waiting
                    waiting |= again
                    queue.extend(sorted(again))
        self._flow = -1

    def _receivers(self, to: Function | Expr) -> Iterator[_Owner]:
        """Whose content a flow changes."""
        if isinstance(to, tree.Function):
            yield to
            return
        if isinstance(to, tree.Assign):
            yield id(to)
            to = to.place
        for variable in self._owners(to):
            if variable is not None:
                yield variable

    def _state(self, owner: _Owner) -> _Value:
        """What a variable or an assignment holds, or a function returns, as far as is known."""
        if self._flow >= 0:
            self._readers.setdefault(owner, set()).add(self._flow)
        return self._kinds.get(owner, 0), self._targets.get(owner, _NONE)

    def of(self, e: Expr) -> int:
        """What a value's pointer may be, as a union of DIRECT, TRUSTED and KERNEL; 0 for what is
        no pointer."""
        return self._value(e)[0]

    def root(self, place: Expr) -> int:
        """What memory a place lies in."""
        while isinstance(place, tree.Field):
            place = place.base
        return self.of(place.pointer) if isinstance(place, tree.Deref) else DIRECT

    def _owners(self, place: Expr) -> frozenset[Variable | None]:
        """The variables that a place may be, or lie in."""
        while isinstance(place, tree.Field):
            place = place.base
        if isinstance(place, tree.Use | tree.Compound):
            return frozenset((place.variable,))
        return self._value(place.pointer)[1] if isinstance(place, tree.Deref) else _NONE

    def _value(self, e: Expr) -> _Value:
        """`of` a value, and the variables that it may point to."""
        if self._flow >= 0:
            return self._evaluated(e)
        if id(e) not in self._known:
            self._known[id(e)] = e, self._evaluated(e)
        return self._known[id(e)][1]

    def _evaluated(self, e: Expr) -> _Value:
        match e:
            case tree.Load(place=place) | tree.Update(place=place):
                return self._content(place)
            case tree.Address(place=place) | tree.Decay(place=place):
                return self.root(place), self._owners(place)
            case tree.MapPointer() | tree.FunctionPointer():
                return DIRECT, _OTHER
            case tree.Convert(operand=operand):
                return _followed(self._value(operand), e.type)
            case tree.Arithmetic(left=left, right=right):
                return self._sum(e, self._value(left), right)
            case tree.Conditional(condition=condition, yes=yes, no=no):
                a, b = self._value(yes if yes is not None else condition), self._value(no)
                return a[0] | b[0], a[1] | b[1]
            case tree.Comma(right=right):
                return self._value(right)
            case tree.Assign(value=value):
                return self._state(id(e)) if id(e) in self._kinds else self._value(value)
            case tree.StatementExpr(value=value) if value is not None:
                return self._value(value)
            case tree.Call(callee=callee):
                return self._result(callee)
        return _NOTHING

    def _sum(self, e: tree.Arithmetic, a: _Value, right: Expr) -> _Value:
        if a[0] == TRUSTED and fold(right) is None:
            return KERNEL, _NONE  # the verifier follows a structure at known offsets only
        if c.pointer(e.type) is not None or a[0] in (DIRECT, TRUSTED):
            return a
        b = self._value(right)
        return b if b[0] == DIRECT else (a[0] | b[0], a[1] | b[1])

    def _content(self, place: Expr) -> _Value:
        """What a pointer is that a place holds."""
        base = place
        while isinstance(base, tree.Field):
            base = base.base
        if isinstance(base, tree.Use | tree.Compound):
            return self._held((base.variable,))
        if not isinstance(base, tree.Deref):
            return KERNEL, _NONE
        where, targets = self._value(base.pointer)
        context = _context(base.pointer)
        if context in self._trusted or where == TRUSTED:
            return _followed((TRUSTED, _NONE), place.type)
        struct = c.struct(base.type)
        if where == DIRECT and struct is not None and struct.name in _PACKETS:
            return DIRECT, _OTHER
        held = self._held(targets)
        return held if where == DIRECT else (held[0] | KERNEL, held[1])

    def _held(self, variables: Iterable[Variable | None]) -> _Value:
        """What variables hold; pointers in other memory come from the kernel."""
        kinds, targets = 0, _NONE
        for variable in variables:
            if variable is None:
                kinds |= KERNEL
                continue
            state = self._state(variable)
            kinds |= state[0]
            targets |= state[1]
        return kinds, targets

    def _result(self, callee: tree.Callee) -> _Value:
        match callee:
            case tree.Function():
                return self._state(callee)
            case tree.Helper(number=number):
                from minibcc.abi.helpers import row

                kind = row(number).result.kind
                if kind == "btf_id":
                    return TRUSTED, _NONE
                return (DIRECT, _OTHER) if kind in _RETURNS_MEMORY else (KERNEL, _NONE)
            case tree.KernelFunction():
                return TRUSTED, _NONE
        return KERNEL, _NONE


def _followed(value: _Value, type: Any) -> _Value:
    """The value as a pointer of this type: the verifier follows pointers to structures, all others
    are numbers to it."""
    target = c.pointer(type)
    if value[0] != TRUSTED or target is None or target.to is None or c.struct(target.to):
        return value
    return KERNEL, _NONE


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
        self._either = "bpf_probe_read_kernel" if _sees_packets(unit) else "bpf_probe_read"

    def change(self, node: Any) -> Any:
        """The node with all loads of kernel memory replaced; parents first, because where a
        pointer comes from is asked of the tree as it was."""
        match node:
            case tree.Load(place=place):
                inside = rebuild(node, self.change)
                if self._provenance.root(place) & KERNEL:
                    return self._read(inside, _pointer_type(place))
                self._check_fixed(place)
                return inside
            case tree.Assign(place=place) | tree.Update(place=place):
                self._check_write(self._provenance.root(place), place)
            case tree.Call(callee=tree.Builtin(name=name)) if (
                name.startswith(_WRITE) and node.arguments
            ):
                target = node.arguments[0]
                self._check_write(self._provenance.of(target), target)
                if name not in _COPIES:
                    return rebuild(node, self.change)
                source = node.arguments[1]
                if self._provenance.of(source) & KERNEL:
                    return self._copy(rebuild(node, self.change), _pointee(source))
            case tree.Call():
                self._check_copied(node)
        return rebuild(node, self.change)

    def _check_write(self, kinds: int, at: Expr) -> None:
        if kinds & (KERNEL | DIRECT) == KERNEL:
            self._reporter.error(
                "dialect/kernel-write",
                "a BPF program cannot write to kernel memory",
                _unconverted(at).span,
                help=["copy what you need into a variable of your own"],
            )

    def _check_fixed(self, place: Expr) -> None:
        """Warns of a load at an address that is a number: nobody knows whose memory it is."""
        while isinstance(place, tree.Field):
            place = place.base
        pointer = place.pointer if isinstance(place, tree.Deref) else None
        while isinstance(pointer, tree.Arithmetic) and c.pointer(pointer.type):
            pointer = pointer.left
        address = fold(pointer) if pointer is not None else None
        if address is not None:
            self._reporter.warning(
                "dialect/fixed-address",
                f"a program cannot read at {address & (1 << 64) - 1:#x} by itself"
                if address
                else "this reads at NULL",
                place.span,
                help=[
                    "write bpf_probe_read_kernel(&value, sizeof(value), address), or "
                    "bpf_probe_read_user if a process's memory is meant"
                ]
                if address
                else ["take the pointer from a table, from the context or from the kernel"],
            )

    def _check_copied(self, call: tree.Call) -> None:
        """Warns of kernel structures given to what reads with the program's own hands."""
        if isinstance(call.callee, tree.Helper):
            from minibcc.abi.helpers import row

            kinds = [kind.kind for kind in row(call.callee.number).arguments]
        elif isinstance(call.callee, tree.Builtin) and call.callee.name == "__builtin_memcmp":
            kinds = ["mem", "mem"]
        else:
            return
        for kind, e in zip(kinds, call.arguments, strict=False):
            if kind in _OWN_MEMORY and self._is_kernels(_pointee(e), e):
                self._reporter.warning(
                    "dialect/not-copied",
                    "this points to kernel memory, and the program's own is wanted",
                    _unconverted(e).span,
                    help=["copy it into a variable first, and pass the variable's address"],
                )

    def _is_kernels(self, type: Any, e: Expr) -> bool:
        """Whether a pointer points to or into a structure of the kernel, and to nothing else."""
        e = _unconverted(e)
        if self._provenance.of(e) != KERNEL:
            return False
        if isinstance(e, tree.Address | tree.Decay):
            type = _pointer_type(e.place)
        struct = c.struct(type.to) if isinstance(type, Ptr) else None
        return struct is not None and struct is self._names.struct(struct.name, struct.union)

    def _copy(self, call: tree.Call, pointer: Any) -> Expr:
        """memcpy from the kernel: ``({ target; bpf_probe_read_kernel(target, size, source); target
        })``."""
        build = Build(call.span, self._names)
        target, source, size = call.arguments
        kept = build.local("_target", target.type or c.VOID_POINTER)
        read = build.helper(self._by_type(pointer), build.load(kept), size, source)
        return build.block(
            build.declare(kept, target), build.evaluate(read), value=build.load(kept)
        )

    def _read(self, load: tree.Load, pointer: Any) -> Expr:
        """``({ T _value; bpf_probe_read_kernel(&_value, sizeof(_value), &place); _value; })``."""
        build = Build(load.span, self._names)
        place: Any = load.place
        helper = self._by_type(pointer)
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

    def _by_type(self, pointer: Any) -> str:
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
        return self._either


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


def _sees_packets(unit: Unit) -> bool:
    """Whether all programs look at packets or sockets: those have no user's memory, nor the helper
    that would read it."""
    contexts = [
        c.pointer(function.parameters[0].type)
        for function in unit.functions
        if function.linkage == "global" and function.parameters
    ]
    structs = [c.struct(context.to) if context is not None else None for context in contexts]
    return all(struct is not None and struct.name in _PACKETS for struct in structs)


def _unconverted(e: Expr) -> Expr:
    while isinstance(e, tree.Convert):
        e = e.operand
    return e


def _pointee(e: Expr) -> Any:
    """The type of a pointer before it was converted to void *."""
    while isinstance(e, tree.Convert) and c.pointer(e.operand.type) is not None:
        e = e.operand
    return strip(e.type)


def run(unit: Unit, names: KernelNames, reporter: Reporter) -> None:
    """Replaces every read of kernel memory in the unit."""
    reader = _Reader(unit, names, reporter)
    for function in unit.functions:
        function.body = reader.change(function.body)
