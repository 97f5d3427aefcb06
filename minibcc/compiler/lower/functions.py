"""A function of the typed tree as a definition in LLVM's assembly."""

from __future__ import annotations

from minibcc.compiler.lower.emitter import Place
from minibcc.compiler.lower.statements import Statements
from minibcc.compiler.lower.types import VOID


class FunctionLowering(Statements):
    """One function: parameters become objects, the body follows, and a return where it falls off.

    Values of over 64 bits cross the border by address (a hidden first parameter for a result):
    both sides of every call are ours.
    """

    def lower(self, attributes: str) -> str:
        """The definition; `attributes` as LLVM writes them after the parameters."""
        function = self.function
        assert function.body is not None
        result = self.kind(function.type.result)
        parameters = ["ptr %result"] if result.by_reference else []
        arriving = []
        for number, variable in enumerate(function.parameters):
            kind = self.kind(variable.type)
            name = f"%p{number}"
            if kind.by_reference:
                parameters.append(f"ptr {name}")
                self.slots[variable] = Place(name, kind.align)
            else:
                parameters.append(f"{kind.ir}{kind.extension} {name}")
                arriving.append((name, self.variable(variable), kind))
        self.module.check_parameters(function, len(parameters))
        for name, place, kind in arriving:
            self.store(name, place, kind)
        self.statement(function.body)
        if not self.ended:
            self.mark(function.end or function.body.end or function.span)
            self.leave(None, result)
        if result.by_reference:
            answer = "void"
        elif result is VOID:
            answer = "void" if function.linkage == "static" else "i32"
        else:
            answer = f"{result.extension.strip()} {result.ir}".strip()
        linkage = "internal" if function.linkage == "static" else "dso_local"
        section = self.module.section_of(function)
        lines = [
            f"define {linkage} {answer} @{function.name}({', '.join(parameters)}) "
            f'{attributes} section "{section}" !dbg !{self.subprogram} {{',
            "entry:",
            *self.entry,
            *self.body,
            "}",
        ]
        return "\n".join(lines)

    def objects(self) -> dict[str, int]:
        """The objects on the stack that the text names, in bytes."""
        return {
            variable.name: self.kind(variable.type).size
            for variable, place in self.slots.items()
            if place.pointer.startswith("%s")
        }
