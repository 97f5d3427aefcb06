"""Calls: functions of the text, helpers of the kernel, builtins, methods of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from minibcc.btf.types import FuncProto, Ptr, find_member, size_of, strip
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.analyze import builtins
from minibcc.compiler.analyze.constants import fold
from minibcc.compiler.analyze.context import Poison, Wrong
from minibcc.compiler.analyze.conversions import is_place
from minibcc.compiler.analyze.expressions import Expressions
from minibcc.compiler.tree import Builtin, Call, Function, Map, Number

if TYPE_CHECKING:
    from minibcc.btf.types import Type
    from minibcc.compiler.tree import Expr, Helper

# What people write who come from user space, and what to write instead.
_INSTEAD = {
    "printf": 'bpf_trace_printk("...")',
    "printk": 'bpf_trace_printk("...")',
    "pr_info": 'bpf_trace_printk("...")',
    "puts": 'bpf_trace_printk("...")',
    "bpf_printk": 'bpf_trace_printk("...")',
    "malloc": "a map, or a variable on the stack",
    "kmalloc": "a map, or a variable on the stack",
    "alloca": "an array with a fixed size",
    "__builtin_alloca": "an array with a fixed size",
    "free": "nothing: there is no heap",
    "strcpy": "bpf_probe_read_kernel_str(dst, sizeof(dst), src)",
    "strncpy": "bpf_probe_read_kernel_str(dst, sizeof(dst), src)",
    "getpid": "bpf_get_current_pid_tgid() >> 32",
    "gettid": "(u32)bpf_get_current_pid_tgid()",
    "getuid": "(u32)bpf_get_current_uid_gid()",
    "time": "bpf_ktime_get_ns()",
    "clock_gettime": "bpf_ktime_get_ns()",
    "ktime_get_ns": "bpf_ktime_get_ns()",
    "get_current": "(struct task_struct *)bpf_get_current_task()",
    "rand": "bpf_get_prandom_u32()",
    "sleep": "nothing: a BPF program cannot wait",
    "usleep": "nothing: a BPF program cannot wait",
    "copy_from_user": "bpf_probe_read_user(dst, size, src)",
    "abs": "x < 0 ? -x : x",
    "smp_processor_id": "bpf_get_smp_processor_id()",
}


class Calls(Expressions):
    """Analyses calls."""

    def call(self, node: Any) -> Expr:
        callee = node.name
        arguments = list(node.args.exprs) if node.args is not None else []
        if type(callee).__name__ == "StructRef":
            method = self._method(node, callee, arguments)
            if method is not None:
                return method
        if type(callee).__name__ != "ID":
            return self._indirect(node, self.value(callee), arguments)
        name = callee.name
        entity = self._known(name)
        if isinstance(entity, Function):
            return self._function(node, entity, arguments)
        if isinstance(entity, Poison):
            raise Wrong
        if isinstance(entity, Map):
            self.fail(
                "dialect/table-call",
                f"'{name}' is a table, not a function",
                node,
                help=[f"call a method of it: {name}.lookup(&key)"],
            )
        if entity is not None:
            return self._indirect(node, self.value(callee), arguments)
        special = self._SPECIAL.get(name)
        if special is not None:
            return special(self, node, arguments)  # type: ignore[no-any-return]  # found by name
        name = builtins.LIBRARY.get(name, name)
        if name in builtins.PLAIN:
            result, types = builtins.PLAIN[name]
            return self._plain(node, name, result, types, arguments)
        if name in builtins.ATOMIC:
            return self._atomic(node, name, arguments)
        if name in builtins.OVERFLOW:
            return self._overflow(node, name, arguments)
        if name in builtins.FENCES:
            values = tuple(self.value(item) for item in arguments)
            return Call(self.span(node), None, Builtin(name), values)
        if name in builtins.DIALECT:
            values = tuple(self.value(item) for item in arguments)
            return Call(self.span(node), builtins.DIALECT[name], Builtin(name), values)
        helper = self.kernel.helper(name)
        if helper is not None:
            return self._helper(node, helper, arguments)
        return self._unknown(node, name)

    def _known(self, name: str) -> Any:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None

    def _unknown(self, node: Any, name: str) -> Expr:
        if name in _INSTEAD:
            self.fail(
                "dialect/no-library",
                f"'{name}' does not exist in a BPF program",
                node.name,
                help=[f"use {_INSTEAD[name]}"],
            )
        func = self.kernel.function(name)
        if func is not None:
            self.fail(
                "dialect/kernel-function",
                f"'{name}' is a function of the kernel: a BPF program cannot call it",
                node.name,
                help=["read the kernel's data instead, or attach a probe to that function"],
            )
        candidates = [*self.names(), *self.kernel.helper_names(), *builtins.DIALECT]
        if name.startswith("__builtin_"):
            candidates = list(builtins.PLAIN)
        self.fail(
            "type/undeclared-function",
            f"there is no function '{name}'",
            node.name,
            help=self.suggestion(name, candidates),
        )

    def _indirect(self, node: Any, callee: Expr, arguments: list[Any]) -> Expr:
        if isinstance(callee, tree.FunctionPointer):
            return self._function(node, callee.function, arguments)
        target = c.pointer(callee.type)
        if target is not None and isinstance(strip(target.to), FuncProto):
            self.fail(
                "type/function-pointer",
                "a BPF program cannot call through a pointer",
                node,
                help=["call the function by its name, or choose with if or switch"],
            )
        self.fail("type/not-a-function", f"'{c.spell(callee.type)}' cannot be called", node.name)

    # --- functions and helpers ---------------------------------------------------------------

    def _function(self, node: Any, function: Function, arguments: list[Any]) -> Expr:
        proto = function.type
        self._count_arguments(node, function.name, proto, arguments)
        values = self._arguments(proto, arguments)
        return Call(self.span(node), c.unqualified(proto.result), function, values)

    def _count_arguments(
        self, node: Any, name: str, proto: FuncProto, arguments: list[Any]
    ) -> None:
        wanted, given = len(proto.params), len(arguments)
        if given == wanted or (proto.variadic and given > wanted):
            return
        declared = ", ".join(c.spell(param.type, param.name) for param in proto.params)
        self.fail(
            "type/argument-count",
            f"'{name}' takes {wanted} argument{'s' * (wanted != 1)}, not {given}",
            node,
            notes=[f"it is declared as {c.spell(proto.result)} {name}({declared})"],
        )

    def _arguments(self, proto: FuncProto, arguments: list[Any]) -> tuple[Expr, ...]:
        """Arguments, converted to the parameters' types."""
        out = []
        for index, argument in enumerate(arguments):
            value = self.value(argument)
            if index < len(proto.params):
                out.append(self.convert(value, proto.params[index].type, "passed"))
            else:
                out.append(self.promoted(value) if c.integer(value.type) else value)
        return tuple(out)

    def _helper(self, node: Any, helper: Helper, arguments: list[Any]) -> Expr:
        proto = helper.type
        self._count_arguments(node, helper.name, proto, arguments)
        values: list[Expr] = []
        for index, argument in enumerate(arguments):
            value = self.value(argument)
            if index >= len(proto.params):
                values.append(self.promoted(value) if c.integer(value.type) else value)
                continue
            values.append(self._helper_argument(helper, index, value))
        result = c.unqualified(proto.result)
        return Call(self.span(node), result, helper, tuple(values))

    def _helper_argument(self, helper: Helper, index: int, value: Expr) -> Expr:
        """Helpers take any pointer where they take one; a number instead of a pointer to memory of
        the program's own is the mistake worth naming."""
        param = helper.type.params[index]
        wanted, given = c.pointer(param.type), c.pointer(value.type)
        if wanted and given:
            return self.implicit(value, param.type or c.VOID_POINTER)
        if wanted and c.integer(value.type) is not None and fold(value) != 0:
            from minibcc.abi.helpers import row

            kinds = row(helper.number).arguments
            kind = kinds[index].kind if index < len(kinds) else "anything"
            if kind in ("mem", "map_key", "map_value", "map_ptr", "ctx", "const_map_ptr"):
                place = isinstance(value, tree.Load)
                self.fail(
                    "dialect/needs-pointer",
                    f"'{helper.name}' wants a pointer as its {_ordinal(index)} argument "
                    f"('{param.name}'), not '{c.spell(value.type)}'",
                    value.span,
                    help=["take its address with &"] if place else [],
                )
            return self.cast(value, param.type, value.span)
        if given and c.integer(param.type) is not None:
            return self.cast(value, param.type, value.span)
        return self.convert(value, param.type, "passed")

    # --- builtins ----------------------------------------------------------------------------

    def _plain(
        self,
        node: Any,
        name: str,
        result: Type | None,
        types: tuple[Type | None, ...],
        arguments: list[Any],
    ) -> Expr:
        if len(arguments) != len(types):
            self.fail(
                "type/argument-count",
                f"'{node.name.name}' takes {len(types)} arguments, not {len(arguments)}",
                node,
            )
        values = []
        for argument, type in zip(arguments, types, strict=True):
            value = self.value(argument)
            if c.pointer(type) and c.pointer(value.type):
                values.append(self.implicit(value, type or c.VOID_POINTER))
            else:
                values.append(self.convert(value, type, "passed"))
        span = self.span(node)
        first = fold(values[0]) if values else None
        if first is not None and name.startswith("__builtin_bswap"):
            swapped = first.to_bytes(size_of(result), "little")
            return Number(span, result, int.from_bytes(swapped, "big"))
        if name == "__builtin_strlen" and isinstance(values[0], tree.Convert):
            inner = values[0].operand
            if isinstance(inner, tree.Decay) and isinstance(inner.place, tree.Literal):
                return Number(span, result, inner.place.data.index(b"\0"))
        if first is not None and name == "__builtin_expect":
            return Number(span, result, first)
        return Call(span, result, Builtin(name), tuple(values))

    def _atomic(self, node: Any, name: str, arguments: list[Any]) -> Expr:
        following, gives = builtins.ATOMIC[name]
        if len(arguments) < 1 + following:
            self.fail(
                "type/argument-count",
                f"'{name}' takes {1 + following} arguments, not {len(arguments)}",
                node,
            )
        place = self.value(arguments[0])
        target = c.pointer(place.type)
        kind = c.unqualified(target.to) if target else None
        if target is None or c.integer(kind) is None or size_of(kind) not in (4, 8):
            self.fail(
                "type/bad-atomic",
                f"'{name}' works on a pointer to an integer of 4 or 8 bytes, "
                f"not on '{c.spell(place.type)}'",
                arguments[0],
            )
        values = [place]
        for index, argument in enumerate(arguments[1:]):
            wanted = kind if index < following else c.INT
            values.append(self.convert(self.value(argument), wanted, "passed"))
        result: dict[str, Type | None] = {"value": kind, "bool": c.BOOL, "void": None}
        return Call(self.span(node), result[gives], Builtin(name), tuple(values))

    def _overflow(self, node: Any, name: str, arguments: list[Any]) -> Expr:
        if len(arguments) != 3:
            self.fail("type/argument-count", f"'{name}' takes 3 arguments", node)
        values = tuple(self.value(item) for item in arguments)
        target = c.pointer(values[2].type)
        if target is None or not all(c.integer(e.type) for e in values[:2]):
            self.fail("type/bad-operand", f"'{name}' takes two integers and a pointer", node)
        return Call(self.span(node), c.BOOL, Builtin(name), values)

    def _offsetof(self, node: Any, arguments: list[Any]) -> Expr:
        type = self.declared(arguments[0])
        offset = 0
        path: list[Any] = []
        designator = arguments[1]
        while hasattr(designator, "subscript") or hasattr(designator, "field"):
            path.insert(0, designator)
            designator = designator.name
        path.insert(0, designator)
        for step in path:
            if hasattr(step, "subscript"):
                holder = c.array(type)
                if holder is None:
                    self.fail("type/not-an-array", f"'{c.spell(type)}' is no array", step)
                index = self.constant(step.subscript, "the index in offsetof")
                offset += index * size_of(holder.of) * 8
                type = holder.of
                continue
            name = step.field.name if hasattr(step, "field") else step.name
            struct = c.struct(type)
            if struct is None:
                self.fail("type/not-a-struct", f"'{c.spell(type)}' has no members", step)
            placed = self.field(Number(self.span(node), type, 0), struct, name, step)
            found = find_member(struct, name)
            offset += placed.offset
            type = found[0].type if found else type
        return Number(self.span(node), c.ULONG, offset // 8)

    def _is_constant(self, node: Any, arguments: list[Any]) -> Expr:
        e = self.value(arguments[0])
        span = self.span(node)
        if fold(e) is not None:
            return Number(span, c.INT, 1)
        return Call(span, c.INT, Builtin("__builtin_constant_p"), (e,))

    def _choose(self, node: Any, arguments: list[Any]) -> Expr:
        chosen = self.constant(arguments[0], "what __builtin_choose_expr chooses by")
        return self.expression(arguments[1] if chosen else arguments[2])

    def _types_compatible(self, node: Any, arguments: list[Any]) -> Expr:
        a, b = (self.declared(argument) for argument in arguments)
        return Number(self.span(node), c.INT, int(self.compatible(a, b)))

    def _through(self, node: Any, arguments: list[Any]) -> Expr:
        return self.expression(arguments[0])

    def _no_varargs(self, node: Any, arguments: list[Any]) -> Expr:
        self.fail(
            "type/variadic",
            "a BPF function cannot take a variable number of arguments",
            node,
            help=["write one function for each number of arguments, or a macro"],
        )

    _SPECIAL: ClassVar[dict[str, Any]] = {
        "offsetof": _offsetof,
        "__builtin_constant_p": _is_constant,
        "__builtin_choose_expr": _choose,
        "__builtin_types_compatible_p": _types_compatible,
        "__builtin_preserve_access_index": _through,
        "__builtin_va_arg": _no_varargs,
        "__builtin_va_start": _no_varargs,
        "__builtin_va_end": _no_varargs,
    }

    # --- tables ------------------------------------------------------------------------------

    def _method(self, node: Any, callee: Any, arguments: list[Any]) -> Expr | None:
        """``table.method(...)``; None if what stands before the dot is no table."""
        from minibcc.compiler.dialect.tables import is_method, no_method

        if type(callee.name).__name__ != "ID":
            return None
        table = self._known(callee.name.name)
        if not isinstance(table, Map):
            return None
        if callee.type == "->":
            self.fail(
                "dialect/table-arrow",
                f"'{table.name}' is no pointer: its methods are called with .",
                callee,
                help=[f"write {table.name}.{callee.field.name}(...)"],
            )
        values = []
        for argument in arguments:
            e = self.expression(argument)
            values.append(self.rvalue(e) if is_place(e) else e)
        name = callee.field.name
        if not is_method(name):
            self.fail(
                "dialect/no-method",
                f"tables have no method '{name}'",
                node,
                help=[no_method(name, table)],
            )
        return tree.Method(self.span(node), self._result(table, name), table, name, tuple(values))

    def _result(self, table: Map, name: str) -> Type | None:
        """The type of a method's result."""
        if name in ("lookup", "lookup_or_init", "lookup_or_try_init"):
            return Ptr(table.value)
        if name.endswith(("_storage_get", "_local_storage")):
            return Ptr(table.value)
        if name == "ringbuf_reserve":
            return c.VOID_POINTER
        if name in ("increment", "atomic_increment", "call", "ringbuf_submit", "ringbuf_discard"):
            return None
        return c.ULLONG if name in ("perf_read", "ringbuf_query") else c.INT


def _ordinal(index: int) -> str:
    return ("first", "second", "third", "fourth", "fifth")[index] if index < 5 else f"{index + 1}th"
