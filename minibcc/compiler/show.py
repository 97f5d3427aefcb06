"""Printing what the front end made: tokens as text, a typed tree as C.

A tree is printed as the C that it means: conversions that C would make by itself are left out,
what the dialect put in stands there as a statement expression. `dump` shows the nodes themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.btf.types import Member
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.diagnostics import Span
from minibcc.records import fields

if TYPE_CHECKING:
    from minibcc.compiler.preprocess import Preprocessed
    from minibcc.compiler.tree import Expr, Function, Initializer, Map, Stmt, Unit, Variable

_INDENT = "    "


def tokens(preprocessed: Preprocessed) -> str:
    """The preprocessed text."""
    return preprocessed.text()


def unit(unit: Unit) -> str:
    """A whole unit as C."""
    out = [f"// license: {unit.license}"]
    out += [_map(table) for table in unit.maps]
    out += [f"{_variable(item, item.initial)};" for item in unit.variables]
    out += [_function(function) for function in unit.functions]
    return "\n".join(out) + "\n"


def dump(unit: Unit) -> str:
    """A whole unit as its nodes: one a line under what it is part of, with place and type."""
    out = [_map(table) for table in unit.maps]
    for variable in unit.variables:
        out.append(f"variable {_variable(variable, None)}")
        if variable.initial is not None:
            out += _nodes(variable.initial, 1)
    for function in unit.functions:
        out.append(f"function {_head(function)}")
        if function.body is not None:
            out += _nodes(function.body, 1)
    return "\n".join(out) + "\n"


def _nodes(node: Any, depth: int) -> list[str]:
    """A node's line and those of its parts."""
    words = [type(node).__name__]
    below: list[Any] = []
    for name, value in fields(node).items():
        match value:
            case Span():
                if name == "span":
                    words.append(f"{value.line}:{value.column}")
            case tree.Variable():
                word = f" '{c.spell(value.type)}'" if isinstance(node, tree.Declare) else ""
                words.append((value.name or "_") + word)
            case tree.KernelFunction(func=func):
                words.append(func.name)
            case tree.Map() | tree.Function() | tree.Helper() | tree.Builtin() | Member():
                words.append(value.name or "_")
            case tree.Node():
                below.append(value)
            case tuple():
                below += [part[3] if isinstance(part, tuple) else part for part in value]
            case bool():
                words += [name] * value
            case int():
                words.append(str(value) if name == "value" else f"{name}={value}")
            case bytes():
                words.append(_string(value))
            case str():
                words += [value] * bool(value)
            case _ if name == "type":
                words.append(f"'{c.spell(value)}'")
    lines = [_INDENT * depth + " ".join(words)]
    return lines + [line for part in below for line in _nodes(part, depth + 1)]


def _map(table: Map) -> str:
    key = c.spell(table.key) if table.key is not None else "-"
    value = c.spell(table.value) if table.value is not None else "-"
    kind = table.type.name.lower()
    output = f", output {c.spell(table.output)}" if table.output is not None else ""
    return f"map {table.name}: {kind}, {key} -> {value}, {table.max_entries} entries{output};"


def _head(function: Function) -> str:
    """A function's declaration."""
    parameters = ", ".join(c.spell(item.type, item.name) for item in function.parameters)
    words = "static " if function.linkage == "static" else ""
    if function.inline:
        words += "inline "
    return words + c.spell(function.type.result, f"{function.name}({parameters or 'void'})")


def _function(function: Function) -> str:
    probe = ""
    if function.probe is not None:
        probe = f"// {function.probe.prog_type.name.lower()} {function.probe.attach_to}\n"
    assert function.body is not None
    return f"\n{probe}{_head(function)}\n" + "\n".join(_statement(function.body, 0))


def _variable(variable: Variable, initial: Initializer | None) -> str:
    word = "static " if variable.storage == "static" else ""
    text = word + c.spell(variable.type, variable.name or "_")
    return text if initial is None else f"{text} = {_initializer(initial)}"


def _initializer(initial: Initializer) -> str:
    if initial.whole:
        return expression(initial.parts[0][3], 2)
    parts = []
    for offset, width, _, value in initial.parts:
        place = f"[{offset // 8}]" if not width else f"[{offset // 8}:{offset % 8}:{width}]"
        text = expression(value, 2)
        parts.append(text if len(initial.parts) == 1 and not offset else f"{place} = {text}")
    return "{" + ", ".join(parts) + "}"


# --- statements ---------------------------------------------------------------------------------


def _statement(node: Stmt, depth: int) -> list[str]:
    """The lines of a statement."""
    pad = _INDENT * depth
    match node:
        case tree.Block(body=body):
            inside = [line for item in body for line in _statement(item, depth + 1)]
            return [pad + "{", *inside, pad + "}"]
        case tree.Declare(variable=variable, initial=initial):
            return [f"{pad}{_variable(variable, initial)};"]
        case tree.Evaluate(expression=e):
            return [f"{pad}{expression(e)};"]
        case tree.If(condition=condition, yes=yes, no=no):
            out = [f"{pad}if ({expression(condition)})", *_body(yes, depth)]
            if no is not None:
                out += [f"{pad}else", *_body(no, depth)]
            return out
        case tree.Loop():
            return _loop(node, depth)
        case tree.Switch(value=value, body=body):
            return [f"{pad}switch ({expression(value)})", *_body(body, depth)]
        case tree.Case(low=low, high=high, body=body):
            word = "default:" if low is None else f"case {low}:"
            if low != high:
                word = f"case {low} ... {high}:"
            return [pad + word, *_statement(body, depth + 1)]
        case tree.Label(name=name, body=body):
            return [f"{name}:", *_statement(body, depth)]
        case tree.Goto(name=name):
            return [f"{pad}goto {name};"]
        case tree.Return(value=value):
            return [f"{pad}return{' ' + expression(value) if value is not None else ''};"]
        case tree.Break():
            return [f"{pad}break;"]
        case tree.Continue():
            return [f"{pad}continue;"]
        case tree.Barrier(operands=operands):
            return [f"{pad}barrier({', '.join(map(expression, operands))});"]


def _body(node: Stmt, depth: int) -> list[str]:
    return _statement(node, depth if isinstance(node, tree.Block) else depth + 1)


def _loop(node: tree.Loop, depth: int) -> list[str]:
    pad = _INDENT * depth
    condition = expression(node.condition) if node.condition is not None else "1"
    out = [f"{pad}#pragma unroll {node.unroll}"] if node.unroll else []
    if node.start is not None:
        out += _statement(node.start, depth)
    if node.first:
        return [*out, f"{pad}do", *_body(node.body, depth), f"{pad}while ({condition});"]
    step = f"; {expression(node.step)}" if node.step is not None else ""
    word = f"for (; {condition}{step})" if step else f"while ({condition})"
    return [*out, pad + word, *_body(node.body, depth)]


# --- expressions --------------------------------------------------------------------------------

_LEVELS = {
    "*": 13,
    "/": 13,
    "%": 13,
    "+": 12,
    "-": 12,
    "<<": 11,
    ">>": 11,
    "<": 10,
    "<=": 10,
    ">": 10,
    ">=": 10,
    "==": 9,
    "!=": 9,
    "&": 8,
    "^": 7,
    "|": 6,
    "&&": 5,
    "||": 4,
}


def expression(e: Expr, least: int = 0) -> str:
    """An expression as C; in parentheses if it binds less than level `least`."""
    text, level = _expression(e)
    return f"({text})" if level < least else text


def _expression(e: Expr) -> tuple[str, int]:
    match e:
        case tree.Use(variable=variable):
            return variable.name or "_", 16
        case tree.Deref(pointer=tree.Arithmetic(operator="+", left=start, right=index)):
            return f"{expression(start, 15)}[{expression(index)}]", 15
        case tree.Deref(pointer=pointer):
            return f"*{expression(pointer, 14)}", 14
        case tree.Field(base=tree.Deref(pointer=pointer), member=member):
            return f"{expression(pointer, 15)}->{member.name or '_'}", 15
        case tree.Field(base=base, member=member):
            return f"{expression(base, 15)}.{member.name or '_'}", 15
        case tree.Literal(data=data):
            return _string(data), 16
        case tree.Compound(type=type, initial=initial):
            return f"({c.spell(type)}){_initializer(initial)}", 15
        case tree.Number(value=value):
            return str(value), 16 if value >= 0 else 14
        case tree.Load(place=place) | tree.Decay(place=place):
            return _expression(place)
        case tree.Address(place=place):
            return f"&{expression(place, 14)}", 14
        case tree.FunctionPointer(function=function):
            return function.name, 16
        case tree.MapPointer(map=table):
            return f"&{table.name}", 14
        case tree.Convert(type=type, operand=operand, explicit=explicit):
            if not explicit:
                return _expression(operand)
            return f"({c.spell(type)}){expression(operand, 14)}", 14
        case tree.Unary(operator=operator, operand=operand):
            return f"{operator}{expression(operand, 14)}", 14
        case tree.Arithmetic() | tree.Comparison() | tree.Logic():
            level = _LEVELS[e.operator]
            sides = expression(e.left, level), expression(e.right, level + 1)
            return f" {e.operator} ".join(sides), level
        case tree.Conditional(condition=condition, yes=yes, no=no):
            middle = f" {expression(yes, 3)} " if yes is not None else ""
            return f"{expression(condition, 4)} ?{middle}: {expression(no, 3)}", 3
        case tree.Comma(left=left, right=right):
            return f"{expression(left, 1)}, {expression(right, 1)}", 1
        case tree.Assign(place=place, value=value):
            return f"{expression(place, 14)} = {expression(value, 2)}", 2
        case tree.Update():
            return _update(e)
        case tree.Call(callee=callee, arguments=arguments):
            name = callee.func.name if isinstance(callee, tree.KernelFunction) else callee.name
            return f"{name}({', '.join(expression(item, 2) for item in arguments)})", 15
        case tree.Method(map=table, name=name, arguments=arguments):
            inside = ", ".join(expression(item, 2) for item in arguments)
            return f"{table.name}.{name}({inside})", 15
        case tree.StatementExpr(body=body, value=value):
            lines = " ".join(line.strip() for item in body for line in _statement(item, 0))
            last = f" {expression(value)};" if value is not None else ""
            return f"({{ {lines}{last} }})", 16


def _update(e: tree.Update) -> tuple[str, int]:
    if e.post:
        return f"{expression(e.place, 15)}{e.operator * 2}", 15
    return f"{expression(e.place, 14)} {e.operator}= {expression(e.value, 2)}", 2


def _string(data: bytes) -> str:
    out = ""
    for byte in data.removesuffix(b"\0"):
        char = chr(byte)
        if char in '"\\':
            out += "\\" + char
        elif char == "\n":
            out += "\\n"
        elif 32 <= byte < 127:
            out += char
        else:
            out += f"\\{byte:03o}"
    return f'"{out}"'
