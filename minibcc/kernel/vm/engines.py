"""Which engine runs a program: by name, or by how often it runs.

Both engines mean the same, to the bit, so changing from one to the other is never seen. The
interpreter starts at once; native code costs loading LLVM (60 ms, once) and compiling (some ms a
program), and runs a hundred times faster.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from minibcc.errors import UsageError
from minibcc.kernel.vm.interpreter import Interpreter
from minibcc.kernel.vm.native import NATIVE

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Engine, Image, Run
    from minibcc.kernel.vm.jit import Jit
    from minibcc.kernel.vm.listing import NativeFunction

NAMES = ("interpreter", "jit", "auto")

COLD = 200_000
"""Slots times runs after which a program is compiled though LLVM is not loaded yet: that many
steps of the interpreter take about as long as loading it."""
WARM = 20_000
"""The same where LLVM is loaded: they take about as long as compiling."""


class Auto:
    """Programs start interpreted and are compiled when they have run often (and compiled well when
    they run all the time: `Jit.run`). Each step is taken when the one before has cost about as much
    as the next will, so none is ever paid for more than twice."""

    name = "auto"

    def __init__(self) -> None:
        self._interpreter = Interpreter()
        self._jit: Jit | None = None

    def jit(self) -> Jit:
        """The native engine, made now if it is not there yet."""
        if self._jit is None:
            from minibcc.kernel.vm.jit import Jit

            self._jit = Jit()
        return self._jit

    def run(self, image: Image, run: Run, arguments: tuple[int, ...] = ()) -> int:
        if image.runs < 0:  # nothing more to decide
            return self._jit.run(image, run, arguments)  # type: ignore[union-attr]  # made by then
        return self._choose(image, 1).run(image, run, arguments)

    def repeat(self, image: Image, run: Run, arguments: tuple[int, ...], count: int) -> int:
        return self._choose(image, count).repeat(image, run, arguments, count)

    def _choose(self, image: Image, count: int) -> Engine:
        """The engine for the next `count` runs of an image."""
        if image.runs >= 0:
            image.runs += count
            steps = image.runs * len(image.instructions)
            limit = WARM if "llvmlite.binding" in sys.modules else COLD
            if image.native is None and (steps < limit or not NATIVE):
                return self._interpreter
            image.runs = -1
        return self.jit()


def native_code(engine: Engine, image: Image) -> tuple[NativeFunction, ...]:
    """The image's native code for views: whichever engine runs it, it is compiled now."""
    from minibcc.kernel.vm.jit import Jit
    from minibcc.kernel.vm.listing import native_code

    if isinstance(engine, Auto):
        engine = engine.jit()
    return native_code(engine if isinstance(engine, Jit) else Jit(), image)


def make(name: str) -> Engine:
    """The engine of that name. Raises UsageError for one that there is not, or not here."""
    if name == "interpreter":
        return Interpreter()
    if name == "auto":
        return Auto()
    if name != "jit":
        raise UsageError(f"no engine is called {name!r}: choose {', '.join(NAMES)}")
    if not NATIVE:
        raise UsageError("native code needs a little-endian 64-bit computer: use the interpreter")
    from minibcc.kernel.vm.jit import Jit

    return Jit()
