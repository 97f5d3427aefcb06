"""Debug locations: which C text an instruction comes from.

Every instruction carries a DILocation; LLVM carries them through its passes and hands them back
with the bytecode, as line records in ``.BTF.ext``, from which `link` makes the kernel's line
info. Only that much is told to LLVM: files, functions, locations. Types are none of its business:
the object's BTF is encoded from the tree's own types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minibcc.compiler.tree import Function
    from minibcc.diagnostics import Span

_UNIT, _FLAG, _NO_TYPES = 0, 1, 2


_LAST_COLUMN = 0xFFFF
"""LLVM keeps a column in 16 bits."""


class DebugInfo:
    """Collects numbered metadata nodes; `text` prints them at the end of the module."""

    def __init__(self) -> None:
        self._nodes: list[str] = ["", '!{i32 2, !"Debug Info Version", i32 3}']
        self._nodes.append("!DISubroutineType(types: !{null})")
        self._files: dict[str, int] = {}
        self._locations: dict[tuple[int, str, int, int], int] = {}
        self._scopes: dict[tuple[int, str], int] = {}

    def node(self, text: str) -> int:
        """The number of a new metadata node."""
        self._nodes.append(text)
        return len(self._nodes) - 1

    def file(self, name: str) -> int:
        number = self._files.get(name)
        if number is None:
            number = self.node(f'!DIFile(filename: {quote(name)}, directory: "")')
            self._files[name] = number
        return number

    def subprogram(self, function: Function) -> int:
        """The node of a function's definition; its locations hang on it."""
        span = function.span
        file = self.file(span.file)
        local = ", spFlags: DISPFlagLocalToUnit | DISPFlagDefinition | DISPFlagOptimized"
        flags = ", spFlags: DISPFlagDefinition | DISPFlagOptimized"
        number = self.node(
            f"distinct !DISubprogram(name: {quote(function.name)}, file: !{file}, "
            f"line: {span.line}, type: !{_NO_TYPES}, scopeLine: {span.line}, unit: !{_UNIT}"
            f"{local if function.linkage == 'static' else flags})"
        )
        self._scopes[number, span.file] = number
        return number

    def location(self, subprogram: int, span: Span) -> int:
        """The node of one place inside a function (which may lie in another file)."""
        key = (subprogram, span.file, span.line, span.column)
        number = self._locations.get(key)
        if number is None:
            scope = self._scopes.get((subprogram, span.file))
            if scope is None:
                file = self.file(span.file)
                scope = self.node(
                    f"!DILexicalBlockFile(scope: !{subprogram}, file: !{file}, discriminator: 0)"
                )
                self._scopes[subprogram, span.file] = scope
            column = min(span.column, _LAST_COLUMN)
            number = self.node(f"!DILocation(line: {span.line}, column: {column}, scope: !{scope})")
            self._locations[key] = number
        return number

    def loop(self, words: list[str]) -> int:
        """The node that a loop's backward branch refers to, with its words for the optimiser."""
        number = len(self._nodes)
        return self.node(f"distinct !{{{', '.join([f'!{number}', *words])}}}")

    def text(self) -> str:
        file = next(iter(self._files.values()), None)
        if file is None:
            file = self.file("<text>")
        self._nodes[_UNIT] = (
            f"distinct !DICompileUnit(language: DW_LANG_C11, file: !{file}, isOptimized: true, "
            "emissionKind: DebugDirectivesOnly)"
        )
        nodes = "\n".join(f"!{number} = {node}" for number, node in enumerate(self._nodes))
        return f"!llvm.dbg.cu = !{{!{_UNIT}}}\n!llvm.module.flags = !{{!{_FLAG}}}\n{nodes}\n"


def quote(text: str | bytes) -> str:
    """A string or a symbol as LLVM's assembly writes it."""
    data = text.encode() if isinstance(text, str) else text
    inside = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:02X}" for byte in data
    )
    return f'"{inside}"'
