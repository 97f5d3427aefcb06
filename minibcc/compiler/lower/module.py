"""A translation unit as one LLVM module: what is reached from its programs, nothing else.

Functions are lowered when something calls them, so the inline functions of headers cost nothing
until they are used. Each function gets a section of its own; `link` puts the ones that a program
calls behind it. Whatever LLVM's BPF back end would end the process for is refused here, with its
place.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

from minibcc.compiler.calls import cycles, reached
from minibcc.compiler.lower.constants import Constants
from minibcc.compiler.lower.debuginfo import DebugInfo
from minibcc.compiler.lower.functions import FunctionLowering
from minibcc.compiler.lower.types import Unsupported
from minibcc.diagnostics import error
from minibcc.errors import CompileError
from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from minibcc.btf.types import Func
    from minibcc.compiler.tree import Call, Function, Map, Unit, Variable
    from minibcc.diagnostics import Diagnostic, Sources, Span

SECTION = ".bpf.fn."
"""What the section of a function is called, before its name."""
MAX_ARGUMENTS = 5
_MAX_STORES = 128
"""What LLVM unrolls a copy into, at most (BPFISelLowering's MaxStoresPerMemcpy)."""

_MUCH = 24_000
"""Bytes of stack before any sharing: LLVM's limit is 32,000 (`codegen`)."""

_HEAD = """\
target datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"
target triple = "bpfel"
"""


class Lowered(Record):
    """LLVM assembly; `functions` and `variables` are the ones that it defines, by symbol; `own`
    what each function keeps on the stack by name, in bytes (before any sharing), `calls` which
    others it calls. `doubtful` says that LLVM may end the process over it."""

    text: str
    functions: dict[str, Function]
    variables: dict[str, Variable]
    own: dict[str, dict[str, int]]
    calls: Mapping[Function, Collection[Function]]
    doubtful: bool = False

    def objects(self, name: str) -> dict[str, int]:
        """What a function, with all that it calls, keeps on the stack."""
        kept: dict[str, int] = {}
        for callee in reached(self.functions[name], self.calls):
            for object, size in self.own.get(callee.name, {}).items():
                kept[object] = max(size, kept.get(object, 0))
        return kept | self.own.get(name, {})


class Module:
    """What the functions of a unit share while they are lowered."""

    def __init__(self, unit: Unit, cpu: str) -> None:
        self.unit = unit
        self.signed_division = cpu == "v4"
        self.fetching_atomics = cpu in ("v3", "v4")
        self.debug = DebugInfo()
        self.constants = Constants(self)
        self.diagnostics: list[Diagnostic] = []
        self.loops = False
        self.doubtful = False
        self._maps: set[str] = set()
        self._declared: set[str] = set()
        self._functions: dict[str, Function] = {}
        self._waiting: list[Function] = []
        self._calls: dict[Function, Counter[Function]] = {}
        self._reserved: dict[Function, int] = {}
        self._current: Function | None = None
        self._wide: list[tuple[Function, Span, int]] = []
        self._objects: dict[str, dict[str, int]] = {}

    def declare(self, line: str) -> None:
        self._declared.add(line)

    def map(self, map: Map) -> str:
        """The symbol that stands for a map until it has a descriptor."""
        self._maps.add(map.name)
        return f"@{map.name}"

    def function(self, function: Function) -> str:
        """The symbol of a function, which will be defined."""
        if self._current is not None:
            self._calls.setdefault(self._current, Counter())[function] += 1
        if function.name not in self._functions:
            if function.body is None:
                raise Unsupported(
                    "type/undefined-function",
                    f"{function.name} is called, but has no body and is no helper of the kernel",
                )
            self._functions[function.name] = function
            self._waiting.append(function)
        return f"@{function.name}"

    def kernel_function(self, func: Func) -> str:
        raise Unsupported(
            "type/kernel-function",
            f"a call of the kernel's function {func.name}: only helpers can be called yet",
        )

    def section_of(self, function: Function) -> str:
        return SECTION + function.name

    def copies_inline(self, size: int, align: int) -> bool:
        """Whether LLVM can copy or fill this much without a function that BPF does not have."""
        return size <= _MAX_STORES * min(align, 8)

    def check_arguments(self, call: Call, count: int) -> None:
        """Over five arguments only work where the function is inlined."""
        from minibcc.compiler.tree import Function

        if count <= MAX_ARGUMENTS:
            return
        if isinstance(call.callee, Function):
            self._wide.append((call.callee, call.span, count))
        else:
            raise _too_many(count, call.span)

    def check_parameters(self, function: Function, count: int) -> None:
        if count > MAX_ARGUMENTS:
            self._wide.append((function, function.span, count))

    def lower(self) -> Lowered:
        """Everything that the unit's programs reach, as LLVM assembly."""
        for function in self.unit.functions:
            if function.body is not None and (function.linkage == "global" or function.probe):
                self.function(function)
        bodies = []
        position = 0
        while position < len(self._waiting):
            function = self._waiting[position]
            position += 1
            self._current = function
            bodies.append((function, self._body(function)))
        self._refuse_wide()
        # LLVM ends the process over a stack that it cannot address, however much of it is shared.
        frames: dict[Function, int] = {}
        self.doubtful |= any(self._frame(function, frames) > _MUCH for function, _ in bodies)
        attributes = 'nounwind "no-jump-tables"="true"'
        if self.loops:
            attributes += ' "no-builtins"'
        parts = [
            _HEAD,
            *self.constants.lines,
            *(f"@{name} = external dso_local global i8" for name in sorted(self._maps)),
            *(body.replace("#attributes", self._attributes(f), 1) for f, body in bodies),
            *sorted(self._declared),
            f"attributes #0 = {{ {attributes} }}",
            self.debug.text(),
        ]
        return Lowered(
            "\n".join(parts),
            self._functions,
            self.constants.variables,
            self._objects,
            self._calls,
            self.doubtful,
        )

    def _frame(self, function: Function, known: dict[Function, int]) -> int:
        """Bytes that a function and all that is inlined into it reserve; at most `_MUCH` + 1 (who
        calls himself is refused elsewhere)."""
        if function not in known:
            known[function] = 0
            inlined = (
                count * self._frame(callee, known)
                for callee, count in self._calls.get(function, {}).items()
                if callee.inline != "never"
            )
            known[function] = min(self._reserved.get(function, 0) + sum(inlined), _MUCH + 1)
        return known[function]

    def _body(self, function: Function) -> str:
        lowering = FunctionLowering(self, function)
        try:
            text = lowering.lower("#attributes")
        except Unsupported as problem:
            help = (problem.help,) if problem.help else ()
            span = problem.span or lowering.span
            self.diagnostics.append(error(problem.code, problem.message, span, help=help))
            return ""
        self._objects[function.name] = lowering.objects()
        self._reserved[function] = lowering.reserved
        return text

    def _attributes(self, function: Function) -> str:
        if function.linkage == "static" and self.is_inlined(function):
            return "alwaysinline #0"
        return "noinline #0" if function.inline == "never" else "#0"

    def is_inlined(self, function: Function) -> bool:
        """Whether each call of a function disappears: BCC inlines what is static."""
        if function.linkage != "static" or function.probe is not None:
            return False
        return function.inline != "never" and function not in self._recursive

    @cached_property
    def _recursive(self) -> set[Function]:
        """Functions that are reached from themselves: a callback may name itself. Asked once all
        calls are known."""
        return {function for cycle in cycles(self._calls) for function in cycle}

    def _refuse_wide(self) -> None:
        for function, span, count in self._wide:
            if not self.is_inlined(function):
                problem = _too_many(count, span)
                self.diagnostics.append(
                    error(problem.code, problem.message, span, help=(problem.help,))
                )


def _too_many(count: int, span: Span) -> Unsupported:
    return Unsupported(
        "type/too-many-parameters",
        f"{count} arguments: BPF passes at most {MAX_ARGUMENTS}, in registers",
        "pass a pointer to a struct, or make the function static inline",
        span,
    )


def lower(unit: Unit, cpu: str, sources: Sources) -> Lowered:
    """The unit as LLVM assembly. Raises CompileError where BPF cannot do what the C says."""
    module = Module(unit, cpu)
    lowered = module.lower()
    if module.diagnostics:
        raise CompileError(module.diagnostics, sources)
    return lowered
