"""Methods of tables become calls of helpers.

`METHODS` has a row per method: on which map types it exists, how many arguments it takes and the
function that rewrites it. Meanings follow BCC's reference guide, section "Maps"; where BCC's
rewriter adds more than one call (``increment``), the statement expression here does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from minibcc.abi.bpf import MapType, UpdateFlags
from minibcc.btf.types import Ptr, size_of, strip
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.dialect.build import Build
from minibcc.compiler.dialect.walk import rebuild
from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.btf.types import Type
    from minibcc.compiler.kernel import KernelNames
    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.tree import Expr, Map, Method, Unit

CURRENT_CPU = 0xFFFFFFFF  # BPF_F_CURRENT_CPU

_HASHES = (
    MapType.HASH,
    MapType.PERCPU_HASH,
    MapType.LRU_HASH,
    MapType.LRU_PERCPU_HASH,
)
_LRU = (MapType.LRU_HASH, MapType.LRU_PERCPU_HASH)
_KEYED = (
    *_HASHES,
    MapType.ARRAY,
    MapType.PERCPU_ARRAY,
    MapType.LPM_TRIE,
    MapType.HASH_OF_MAPS,
    MapType.ARRAY_OF_MAPS,
    MapType.DEVMAP,
    MapType.CPUMAP,
    MapType.XSKMAP,
    MapType.SOCKMAP,
    MapType.SOCKHASH,
    MapType.CGROUP_STORAGE,
    MapType.PERCPU_CGROUP_STORAGE,
    MapType.UNSPEC,
)
_PERF = (MapType.PERF_EVENT_ARRAY, MapType.UNSPEC)
_RING = (MapType.RINGBUF, MapType.UNSPEC)
_QUEUES = (MapType.QUEUE, MapType.STACK, MapType.UNSPEC)
_REDIRECT = (MapType.DEVMAP, MapType.CPUMAP, MapType.XSKMAP, MapType.DEVMAP_HASH)


class _Wrong(Exception):
    """An error has been reported; the method stays a zero."""


class _Rewriter:
    """One call of a method, on its way to calls of helpers."""

    def __init__(self, method: Method, names: KernelNames, reporter: Reporter, name: str) -> None:
        self.method = method
        self.table = method.map
        self.arguments = method.arguments
        self.build = Build(method.span, names)
        self.reporter = reporter
        self.function = name

    def call(self, name: str, *arguments: Expr) -> tree.Call:
        return self.build.helper(name, *arguments)

    def map(self) -> Expr:
        return self.build.map(self.table)

    def as_result(self, e: Expr) -> Expr:
        return self.build.convert(e, self.method.type)

    def pointer(self, index: int, type: Type | None, what: str) -> Expr:
        """An argument that must point to a key or value of the table."""
        e = self.arguments[index]
        target = c.pointer(e.type)
        if target is None:
            place = isinstance(e, tree.Load)
            self.fail(
                "dialect/needs-pointer",
                f"'{self.method.name}' wants a pointer to the {what}, not '{c.spell(e.type)}'",
                e,
                ["take its address with &"]
                if place
                else [f"store it first: {c.spell(type, what)} = ...; and pass &{what}"],
            )
        pointed = strip(target.to)
        plain = pointed is None or (c.integer(pointed) is not None and size_of(pointed) == 1)
        plain = plain and not isinstance(e, tree.Address)
        if type is not None and not plain and size_of(pointed) < size_of(type):
            self.fail(
                "dialect/table-argument",
                f"the {what} of '{self.table.name}' is '{c.spell(type)}' of {size_of(type)} "
                f"bytes, and this points to '{c.spell(target.to)}' of {size_of(pointed)}",
                e,
                [f"declare the variable as {c.spell(type, what)}"],
            )
        return e

    def key(self, index: int = 0) -> Expr:
        return self.pointer(index, self.table.key, "key")

    def leaf(self, index: int = 1) -> Expr:
        return self.pointer(index, self.table.value, "value")

    def by_value(self, index: int, type: Type | None) -> Expr:
        """An argument that is the key itself."""
        e = self.arguments[index]
        assert type is not None
        if c.struct(type) is not None or c.struct(e.type) is not None:
            if strip(type) is not strip(e.type):
                self.fail(
                    "dialect/table-argument",
                    f"the key of '{self.table.name}' is '{c.spell(type)}', not '{c.spell(e.type)}'",
                    e,
                    ["pass the key itself, not a pointer to it"]
                    if c.pointer(e.type) is not None
                    else [],
                )
            return e
        if c.pointer(e.type) is not None and c.integer(type) is not None:
            self.fail(
                "dialect/table-argument",
                f"'{self.method.name}' wants the key itself, not a pointer to it",
                e,
                ["leave out the &"],
            )
        return self.build.convert(e, c.unqualified(type))

    def output(self, e: Expr) -> None:
        """Notes the type of what the program submits."""
        while isinstance(e, tree.Convert) and c.pointer(e.operand.type) is not None:
            e = e.operand
        target = c.pointer(e.type)
        if target is not None and c.struct(target.to) is not None and self.table.output is None:
            self.table.output = c.unqualified(target.to)

    def fail(self, code: str, message: str, e: Expr, help: list[str]) -> NoReturn:
        self.reporter.error(code, message, e.span, help=help)
        raise _Wrong


# --- rewrites ---------------------------------------------------------------------------------


def _lookup(r: _Rewriter) -> Expr:
    return r.as_result(r.call("bpf_map_lookup_elem", r.map(), r.key()))


def _lookup_or_init(r: _Rewriter) -> Expr:
    """Looks up, inserts what is missing, looks up again; the older form leaves the program when
    even that finds nothing."""
    build = r.build
    key = build.local("_key", r.key().type or c.VOID_POINTER)
    initial = build.local("_initial", r.leaf().type or c.VOID_POINTER)
    found = build.local("_leaf", r.method.type or c.VOID_POINTER)

    def look() -> Expr:
        return r.as_result(r.call("bpf_map_lookup_elem", r.map(), build.load(key)))

    flags = build.number(UpdateFlags.NOEXIST, c.ULLONG)
    insert = r.call("bpf_map_update_elem", r.map(), build.load(key), build.load(initial), flags)
    body: list[Any] = [
        build.declare(key, r.arguments[0]),
        build.declare(initial, r.arguments[1]),
        build.declare(found, look()),
        build.unless(build.load(found), build.evaluate(insert), build.assign(found, look())),
    ]
    if r.method.name == "lookup_or_init":
        leave = tree.Return(build.span, build.number(0))
        body.append(build.unless(build.load(found), leave))
    return build.block(*body, value=build.load(found))


def _update(flags: UpdateFlags) -> Callable[[_Rewriter], Expr]:
    def rewrite(r: _Rewriter) -> Expr:
        number = r.build.number(flags, c.ULLONG)
        return r.as_result(r.call("bpf_map_update_elem", r.map(), r.key(), r.leaf(), number))

    return rewrite


def _delete(r: _Rewriter) -> Expr:
    return r.as_result(r.call("bpf_map_delete_elem", r.map(), r.key()))


def _increment(r: _Rewriter) -> Expr:
    """Adds to the value behind a key that is given by value; a missing one begins at the number
    added."""
    build, table = r.build, r.table
    value_type = c.unqualified(table.value)
    if c.integer(value_type) is None or value_type is None or table.key is None:
        r.fail(
            "dialect/table-argument",
            f"the values of '{table.name}' are '{c.spell(table.value)}': "
            f"'{r.method.name}' counts integers",
            r.method,
            ["look the value up and change it"],
        )
    by = r.arguments[1] if len(r.arguments) > 1 else build.number(1)
    by = build.convert(by, value_type)
    key = build.local("_key", table.key)
    leaf = build.local("_leaf", Ptr(value_type))
    found = r.call("bpf_map_lookup_elem", r.map(), build.address(key))
    place = build.deref(build.load(leaf))
    if r.method.name == "atomic_increment":
        wide = size_of(value_type) in (4, 8)
        if not wide:
            r.fail(
                "dialect/table-argument",
                f"'{c.spell(value_type)}' cannot be incremented atomically",
                r.method,
                ["use a value of 4 or 8 bytes, or increment"],
            )
        add = tree.Builtin("__sync_fetch_and_add")
        change: Expr = tree.Call(build.span, value_type, add, (build.load(leaf), by))
    else:
        within = c.common(c.promote(value_type), c.promote(by.type or c.INT))
        change = tree.Update(build.span, value_type, "+", place, build.convert(by, within), within)
    body: list[Any] = [
        build.declare(key, r.by_value(0, table.key)),
        build.declare(leaf, build.convert(found, leaf.type)),
    ]
    missing = None
    if table.type in _HASHES:
        fresh = build.local("_value", value_type)
        flags = build.number(UpdateFlags.NOEXIST, c.ULLONG)
        insert = r.call(
            "bpf_map_update_elem", r.map(), build.address(key), build.address(fresh), flags
        )
        missing = tree.Block(build.span, (build.declare(fresh, by), build.evaluate(insert)))
    body.append(tree.If(build.span, build.load(leaf), build.evaluate(change), missing))
    return build.block(*body)


def _perf_submit(r: _Rewriter) -> Expr:
    ctx, data, size = r.arguments
    data = r.pointer(1, None, "data")
    r.output(data)
    flags = r.build.number(CURRENT_CPU, c.ULLONG)
    return r.as_result(r.call("bpf_perf_event_output", ctx, r.map(), flags, data, size))


def _perf_submit_skb(r: _Rewriter) -> Expr:
    ctx, packet, data, size = r.arguments
    build = r.build
    r.output(data)
    long = tree.Arithmetic(
        build.span,
        c.ULLONG,
        "<<",
        build.convert(packet, c.ULLONG),
        build.number(32),
    )
    current = build.number(CURRENT_CPU, c.ULLONG)
    flags = tree.Arithmetic(build.span, c.ULLONG, "|", long, current)
    return r.as_result(r.call("bpf_perf_event_output", ctx, r.map(), flags, data, size))


def _ring_output(r: _Rewriter) -> Expr:
    data, size, flags = r.arguments
    r.pointer(0, None, "data")
    r.output(data)
    return r.as_result(r.call("bpf_ringbuf_output", r.map(), data, size, flags))


def _ring_reserve(r: _Rewriter) -> Expr:
    zero = r.build.number(0, c.ULLONG)
    return r.as_result(r.call("bpf_ringbuf_reserve", r.map(), r.arguments[0], zero))


def _ring_finish(helper: str) -> Callable[[_Rewriter], Expr]:
    def rewrite(r: _Rewriter) -> Expr:
        data = r.pointer(0, None, "data")
        if helper == "bpf_ringbuf_submit":
            r.output(data)
        return r.call(helper, data, r.arguments[1])

    return rewrite


def _storage_get(r: _Rewriter) -> Expr:
    helper = f"bpf_{r.method.name}"
    return r.as_result(r.call(helper, r.map(), *r.arguments))


def _local_storage(r: _Rewriter) -> Expr:
    return r.as_result(r.call("bpf_get_local_storage", r.map(), *r.arguments))


def _simple(helper: str, order: str) -> Callable[[_Rewriter], Expr]:
    """A helper that takes the map and the arguments in some order: ``m`` is the map, digits are
    arguments, ``k`` the first pointer argument checked as a key."""

    def rewrite(r: _Rewriter) -> Expr:
        values = [r.map() if item == "m" else r.arguments[int(item)] for item in order]
        return r.as_result(r.call(helper, *values))

    return rewrite


class Row(Record):
    """A method: the map types that have it, how few and how many arguments, its rewrite, how it is
    called."""

    types: tuple[MapType, ...]
    least: int
    most: int
    rewrite: Callable[[_Rewriter], Expr]
    usage: str
    reads: bool = False  # without effect: only its result is of use


METHODS: dict[str, Row] = {
    "lookup": Row(_KEYED, 1, 1, _lookup, "lookup(&key)", True),
    "lookup_or_try_init": Row(_KEYED, 2, 2, _lookup_or_init, "lookup_or_try_init(&key, &initial)"),
    "lookup_or_init": Row(_KEYED, 2, 2, _lookup_or_init, "lookup_or_init(&key, &initial)"),
    "update": Row(_KEYED, 2, 2, _update(UpdateFlags.ANY), "update(&key, &value)"),
    "insert": Row(_KEYED, 2, 2, _update(UpdateFlags.NOEXIST), "insert(&key, &value)"),
    "delete": Row(_KEYED, 1, 1, _delete, "delete(&key)"),
    "increment": Row(_KEYED, 1, 2, _increment, "increment(key)"),
    "atomic_increment": Row(_KEYED, 1, 2, _increment, "atomic_increment(key)"),
    "perf_submit": Row(_PERF, 3, 3, _perf_submit, "perf_submit(ctx, &data, sizeof(data))"),
    "perf_submit_skb": Row(
        _PERF, 4, 4, _perf_submit_skb, "perf_submit_skb(skb, skb->len, &data, sizeof(data))"
    ),
    "perf_read": Row(_PERF, 1, 1, _simple("bpf_perf_event_read", "m0"), "perf_read(cpu)", True),
    "perf_counter_value": Row(
        _PERF,
        3,
        3,
        _simple("bpf_perf_event_read_value", "m012"),
        "perf_counter_value(cpu, &value, sizeof(value))",
    ),
    "ringbuf_output": Row(_RING, 3, 3, _ring_output, "ringbuf_output(&data, sizeof(data), 0)"),
    "ringbuf_reserve": Row(_RING, 1, 1, _ring_reserve, "ringbuf_reserve(sizeof(struct event))"),
    "ringbuf_submit": Row(_RING, 2, 2, _ring_finish("bpf_ringbuf_submit"), "ringbuf_submit(e, 0)"),
    "ringbuf_discard": Row(
        _RING, 2, 2, _ring_finish("bpf_ringbuf_discard"), "ringbuf_discard(e, 0)"
    ),
    "ringbuf_query": Row(_RING, 1, 1, _simple("bpf_ringbuf_query", "m0"), "ringbuf_query(flags)"),
    "get_stackid": Row(
        (MapType.STACK_TRACE, MapType.UNSPEC),
        2,
        2,
        _simple("bpf_get_stackid", "0m1"),
        "get_stackid(ctx, flags)",
    ),
    "call": Row(
        (MapType.PROG_ARRAY, MapType.UNSPEC),
        2,
        2,
        _simple("bpf_tail_call", "0m1"),
        "call(ctx, index)",
    ),
    "check_current_task": Row(
        (MapType.CGROUP_ARRAY, MapType.UNSPEC),
        1,
        1,
        _simple("bpf_current_task_under_cgroup", "m0"),
        "check_current_task(index)",
    ),
    "redirect_map": Row(
        (*_REDIRECT, MapType.UNSPEC),
        2,
        2,
        _simple("bpf_redirect_map", "m01"),
        "redirect_map(index, flags)",
    ),
    "push": Row(_QUEUES, 2, 2, _simple("bpf_map_push_elem", "m01"), "push(&value, flags)"),
    "pop": Row(_QUEUES, 1, 1, _simple("bpf_map_pop_elem", "m0"), "pop(&value)"),
    "peek": Row(_QUEUES, 1, 1, _simple("bpf_map_peek_elem", "m0"), "peek(&value)"),
    "sock_map_update": Row(
        (MapType.SOCKMAP, MapType.UNSPEC),
        3,
        3,
        _simple("bpf_sock_map_update", "0m12"),
        "sock_map_update(ops, &key, flags)",
    ),
    "sock_hash_update": Row(
        (MapType.SOCKHASH, MapType.UNSPEC),
        3,
        3,
        _simple("bpf_sock_hash_update", "0m12"),
        "sock_hash_update(ops, &key, flags)",
    ),
    "msg_redirect_hash": Row(
        (MapType.SOCKHASH, MapType.UNSPEC),
        3,
        3,
        _simple("bpf_msg_redirect_hash", "0m12"),
        "msg_redirect_hash(msg, &key, flags)",
    ),
    "sk_redirect_hash": Row(
        (MapType.SOCKHASH, MapType.UNSPEC),
        3,
        3,
        _simple("bpf_sk_redirect_hash", "0m12"),
        "sk_redirect_hash(skb, &key, flags)",
    ),
    "get_local_storage": Row(
        (MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE),
        1,
        1,
        _local_storage,
        "get_local_storage(0)",
    ),
    **{
        f"{owner}_storage_get": Row(
            (kind,), 3, 3, _storage_get, f"{owner}_storage_get(object, &initial, flags)"
        )
        for owner, kind in (
            ("sk", MapType.SK_STORAGE),
            ("inode", MapType.INODE_STORAGE),
            ("task", MapType.TASK_STORAGE),
        )
    },
    **{
        f"{owner}_storage_delete": Row(
            (kind,), 1, 1, _storage_get, f"{owner}_storage_delete(object)"
        )
        for owner, kind in (
            ("sk", MapType.SK_STORAGE),
            ("inode", MapType.INODE_STORAGE),
            ("task", MapType.TASK_STORAGE),
        )
    },
}


def run(unit: Unit, names: KernelNames, reporter: Reporter) -> None:
    """Rewrites every method of every function."""
    for function in unit.functions:

        def change(node: Any, name: str = function.name) -> Any:
            after = rebuild(node, change)
            if isinstance(after, tree.Method):
                return _rewrite(after, names, reporter, name)
            alone = isinstance(node, tree.Evaluate) and isinstance(node.expression, tree.Method)
            if alone and not isinstance(after.expression, tree.Number):  # as after an error
                _check_use(node.expression, reporter)
            return after

        function.body = change(function.body)


def _check_use(method: Method, reporter: Reporter) -> None:
    """Warns of a statement that is nothing but a call without effect. Looking up in an LRU table
    has one: the element is the last then that is thrown out."""
    row, table = METHODS.get(method.name), method.map
    if row is not None and row.reads and table.type not in _LRU:
        reporter.warning(
            "dialect/unused-result",
            f"the result of '{method.name}' is not used, and it does nothing else",
            method.span,
            help=[f"keep it: {c.spell(method.type, 'value')} = {table.name}.{row.usage};"],
        )


def _rewrite(method: Method, names: KernelNames, reporter: Reporter, function: str) -> Expr:
    zero = tree.Number(method.span, method.type or c.INT, 0)
    row, table = METHODS[method.name], method.map
    if table.type not in row.types:
        reporter.error(
            "dialect/wrong-table",
            f"'{table.name}' is {_article(table)}: it has no '{method.name}'",
            method.span,
            help=["it has " + ", ".join(_methods(table))],
        )
        return zero
    given = len(method.arguments)
    if not row.least <= given <= row.most:
        reporter.error(
            "type/argument-count",
            f"'{method.name}' takes {_count(row)} argument{'s' * (row.most != 1)}, not {given}",
            method.span,
            help=[f"write {table.name}.{row.usage}"],
        )
        return zero
    try:
        return row.rewrite(_Rewriter(method, names, reporter, function))
    except _Wrong:
        return zero


def is_method(name: str) -> bool:
    """Whether tables of any type have such a method."""
    return name in METHODS


def no_method(name: str, table: Map) -> str:
    """What to do about a name that is none."""
    from difflib import get_close_matches

    close = get_close_matches(name, METHODS, 1)
    return f"did you mean '{close[0]}'?" if close else "it has " + ", ".join(_methods(table))


def _methods(table: Map) -> list[str]:
    return [name for name, row in METHODS.items() if table.type in row.types]


def _article(table: Map) -> str:
    word = table.type.name.lower().replace("_", " ")
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _count(row: Row) -> str:
    return str(row.least) if row.least == row.most else f"{row.least} or {row.most}"
