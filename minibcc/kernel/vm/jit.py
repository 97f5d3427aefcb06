"""The engine that runs programs as native code.

An image is lifted to LLVM IR (`lift`), compiled and loaded (`native`), and called with its context
and the end of its frame. Helpers are Python functions: native code reaches them through ctypes
callbacks. An exception must not cross native frames, so a callback keeps it, sets a cell that the
native code tests after each call, and the run's end raises it again. Python may answer a signal
before a callback's first line: what is raised there ctypes drops, but tells `sys.unraisablehook`.

Native code checks no memory access: it is for images of verified programs. What is no instruction,
no helper, too deep a recursion still ends in a `Fault`.

The lock of Python is held while native code runs (PYFUNCTYPE), so a program is never interrupted
by another.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

from minibcc.abi.bpf import MAX_CALL_FRAMES, MAX_TAIL_CALLS, STACK_SIZE
from minibcc.kernel.vm.decode import rows
from minibcc.kernel.vm.execution import CODE, FRAME_PITCH, FRAMES, Fault, Image, Run
from minibcc.kernel.vm.kept import Object, parts_of
from minibcc.kernel.vm.layouts import ProgramLayout
from minibcc.kernel.vm.lift import lift, stubs
from minibcc.kernel.vm.native import BEST, GOOD, HOT_NS, Level, session
from minibcc.kernel.vm.translate import (
    ABORT,
    CELLS,
    FAULTY,
    FRAME,
    LIMIT,
    NATIVE,
    PROGRAM,
    SLOT,
    TAIL_CALLS,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from minibcc.kernel.vm.execution import HelperFunction
    from minibcc.kernel.vm.memory import Arena

LONG_NS = HOT_NS >> 3
"""The most that a run counts for: it may have been interrupted, or have led to compiling."""
PAUSE_NS = 10_000_000
"""How long native code repeats before signals and other threads get their turn (at most twice it,
for a run that is short)."""
_NUMBER = ctypes.c_uint64
_CALLBACKS = [ctypes.PYFUNCTYPE(_NUMBER, *[_NUMBER] * count) for count in range(7)]
_FUNCTION = _CALLBACKS[6]
_PASSED = struct.Struct("<11Q").pack_into


class Native(NamedTuple):
    """An image in native code, at `address`. `functions` are its functions by slot, for callbacks:
    they take R1 to R5 and R10. `library` keeps the code, `callbacks` what it calls, alive; `object`
    is the code as it was before it was loaded, `debug` whether it has a line table."""

    engine: Jit
    functions: dict[int, Callable[..., int]]
    address: int
    library: Any
    callbacks: list[Any]
    object: bytes
    debug: bool
    level: Level


class Target:
    """A program that tail calls lead to, as long as something holds it. `places` are the elements
    of program arrays that have (or had) its entry: the array, its memory, the index."""

    __slots__ = ("__weakref__", "image", "native", "places")

    def __init__(self, image: Image, native: Native) -> None:
        self.image = image
        self.native = native
        self.places: list[tuple[ProgramLayout, Arena, int]] = []


class Jit:
    """Native code by LLVM. One kernel has one of these."""

    name = "jit"

    def __init__(self, level: Level = GOOD) -> None:
        self.level = level
        self._cells = (_NUMBER * CELLS)()
        self._error: BaseException | None = None
        self._run: Any = None
        self._callback = self._call
        # The program that a run began with, by its entry; those that tail calls led to must live
        # while they run, the others as long as a map knows their entries.
        self._began: tuple[int, Image] | None = None
        self._targets: dict[int, Target] = {}
        self._known: WeakValueDictionary[int, Target] = WeakValueDictionary()
        self._callbacks: dict[HelperFunction, Any] = {}
        self._ours: set[CodeType] = set()
        """What the Python functions run that native code calls."""
        self._drop = self._dropped
        self._hook = sys.unraisablehook
        self._fixed: dict[str, Any] = {
            "probe": _CALLBACKS[2](self._guarded(self._probe)),
            "packet": _CALLBACKS[2](self._guarded(self._packet)),
            "callx": _CALLBACKS[6](self._guarded(self._callx)),
        }
        self._ask = _CALLBACKS[3](self._guarded(self._tail_call))
        code = session().objects.get(("stubs",), _stubs).code
        imports = {"state": ctypes.addressof(self._cells), "ask": _address(self._ask)}
        self._stubs = session().load(code, imports, ["start", "repeat", "tail_call"])
        self._fixed["tail_call"] = ctypes.c_void_p(self._stubs["tail_call"])
        self._start = _CALLBACKS[0](self._stubs["start"])
        self._repeat = _CALLBACKS[0](self._stubs["repeat"])

    # --- running ------------------------------------------------------------------------------

    def run(self, image: Image, run: Run, arguments: tuple[int, ...] = ()) -> int:
        """R0 at the end, as `Engine` says."""
        if image.spent >= HOT_NS:
            return self._enter(image, run, arguments, 0)
        self._native(image)
        started = perf_counter_ns()
        result = self._enter(image, run, arguments, 0)
        image.spent += min(perf_counter_ns() - started, LONG_NS)
        if image.spent >= HOT_NS:
            self.improve(image)
        return result

    def repeat(self, image: Image, run: Run, arguments: tuple[int, ...], count: int) -> int:
        """R0 of the last of `count` executions. The first that fails ends them, and so does a
        signal that Python answers with an exception. What takes long is compiled well, as soon as
        that is worth its time."""
        part, improved = 16, False
        self._native(image)
        while True:
            if image.spent >= HOT_NS and not improved:
                self.improve(image)
                improved = True
            part = min(part, count)
            started = perf_counter_ns()
            result = self._enter(image, run, arguments, part)
            spent = perf_counter_ns() - started
            image.spent += spent
            count -= part
            if not count:
                return result
            if spent < PAUSE_NS:
                part *= 2

    def _native(self, image: Image) -> Native:
        """The image's native code, made now if it is not there yet."""
        native: Native | None = image.native
        return self.compile(image) if native is None or native.engine is not self else native

    def _enter(self, image: Image, run: Run, arguments: tuple[int, ...], count: int) -> int:
        native = self._native(image)
        cells, outer, began = self._cells, self._run, self._began
        kept: Any = None
        if outer is not None:  # a helper's doing; what its program needs afterwards
            kept = cells[FRAME : PROGRAM + 1]
        top = run.memory.push_stack() + STACK_SIZE
        self._run = run
        self._began = native.address, image
        run.image = image
        run.call = self._callback
        r1, r2, r3, r4, r5 = (
            (arguments[0], 0, 0, 0, 0) if len(arguments) == 1 else (*arguments, 0, 0, 0, 0, 0)[:5]
        )
        _PASSED(
            cells, 8 * LIMIT,
            top + (FRAMES - 1) * FRAME_PITCH, 0, run.cpu, native.address,
            r1, r2, r3, r4, r5, top, count,
        )  # fmt: skip
        if sys.unraisablehook is not self._drop:
            self._hook, sys.unraisablehook = sys.unraisablehook, self._drop
        try:
            result: int = self._repeat() if count else self._start()
            if cells[ABORT]:
                self._raise()
            return result
        except BaseException:
            cells[ABORT] = cells[SLOT] = 0
            self._error = None
            raise
        finally:
            run.memory.pop_stack()
            run.call = None
            self._run = outer
            self._began = began
            if outer is not None:
                cells[FRAME : PROGRAM + 1] = kept
            else:
                sys.unraisablehook = self._hook
                self._targets.clear()

    def _raise(self) -> None:
        """What ended the run: a helper's exception, or a fault of the program's."""
        cells, error = self._cells, self._error
        slot = cells[SLOT] - 1
        cells[ABORT] = cells[SLOT] = 0
        self._error = None
        if error is not None:
            raise error
        image = self._image(cells[FAULTY])
        instructions = rows(image)
        reason = instructions[slot] if slot < len(instructions) else "the program runs past its end"
        if not isinstance(reason, str):
            reason = f"more than {FRAMES} functions deep"
        raise Fault(reason, insn=slot)

    def _call(self, function: int, *arguments: int) -> int:
        """`Run.call`: back into the program, on the frame after the caller's."""
        cells, run = self._cells, self._running()
        frame = cells[FRAME]
        image: Image = run.image
        slot, rest = divmod(function - CODE, 8)
        if rest or slot not in image.starts:
            raise Fault(f"{function:#x} is no function of the program")
        if frame + MAX_CALL_FRAMES * FRAME_PITCH > cells[LIMIT]:
            raise Fault(f"more than {FRAMES} functions deep")
        r1, r2, r3, r4, r5, *_ = (*arguments, 0, 0, 0, 0, 0)
        try:
            result: int = image.native.functions[slot](r1, r2, r3, r4, r5, frame + FRAME_PITCH)
            if cells[ABORT]:
                self._raise()
            return result
        finally:
            cells[FRAME] = frame
            run.image = image

    def _running(self) -> Any:
        """The run, with the program that runs now as its image: tail calls change it silently."""
        run, address = self._run, self._cells[PROGRAM]
        if address != run.image.native.address:
            run.image = self._image(address)
        return run

    def _image(self, address: int) -> Image:
        """The program that begins at an address."""
        if self._began is not None and self._began[0] == address:
            return self._began[1]
        target = self._targets.get(address) or self._known[address]
        return target.image

    # --- what native code calls ---------------------------------------------------------------

    def _guarded(self, function: Callable[..., int]) -> Callable[..., int]:
        """The function, with exceptions kept for later."""

        def guarded(*arguments: int) -> int:
            try:
                return function(*arguments)
            except BaseException as error:
                self._error = error
                self._cells[ABORT] = 1
                return 0

        self._ours.add(guarded.__code__)
        return guarded

    def _dropped(self, unraisable: Any) -> None:
        """`sys.unraisablehook` during a run."""
        trace = unraisable.exc_traceback
        if trace is not None and trace.tb_frame.f_code in self._ours:
            self._error = unraisable.exc_value
            self._cells[ABORT] = 1
        else:
            self._hook(unraisable)

    def _helper(self, function: HelperFunction) -> Any:
        """The callback of a helper; one per function, kept."""
        callback = self._callbacks.get(function)
        if callback is None:
            cells = self._cells

            def helper(r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
                try:
                    return function(self._running(), r1, r2, r3, r4, r5)
                except BaseException as error:
                    self._error = error
                    cells[ABORT] = 1
                    return 0

            self._ours.add(helper.__code__)
            callback = self._callbacks[function] = _CALLBACKS[5](helper)
        return callback

    def _probe(self, address: int, size: int) -> int:
        probe = self._run.probe
        return probe(address, size) if probe else 0

    def _packet(self, offset: int, size: int) -> int:
        packet = self._run.packet
        value = packet(offset - (offset >> 63 << 64), size) if packet else None
        return -1 if value is None else value

    def _callx(self, number: int, *arguments: int) -> int:
        helpers = self._running().image.helpers
        if number not in helpers:
            raise Fault(f"no helper has number {number}", insn=self._cells[SLOT] - 1)
        r1, r2, r3, r4, r5 = arguments
        result: int = helpers[number](self._run, r1, r2, r3, r4, r5)
        return result

    def _tail_call(self, context: int, table: int, index: int) -> int:
        """The address to go on at, 0 if the call fails. The map learns it, if it wants to know."""
        run = self._running()
        if run.tail_call is None or self._cells[TAIL_CALLS] >= MAX_TAIL_CALLS:
            return 0
        image = run.tail_call(context, table, index)
        if image is None:
            return 0
        address = self.compile(image).address
        self._cells[TAIL_CALLS] += 1
        target = self._targets.get(address)
        if target is None:
            target = self._targets[address] = Target(image, image.native)
        layout = run.image.layouts.get(table)
        if isinstance(layout, ProgramLayout):
            self._tell(target, layout, run.memory, index & 0xFFFF_FFFF)
        return address

    def _tell(self, target: Target, layout: ProgramLayout, memory: Arena, index: int) -> None:
        """Makes a program array know where its program at an index begins."""
        address = target.native.address
        memory.store(layout.entries + 8 * index, 8, address)
        self._known[address] = layout.kept[index] = target
        target.places.append((layout, memory, index))

    # --- compiling ----------------------------------------------------------------------------

    def compile(self, image: Image, level: Level | None = None, *, debug: bool = False) -> Native:
        """Native code for the image, also left in `image.native`; at the engine's level, if no
        other is given. With `debug` it has a line table (see `lift`). What is there already at
        that level is not made again; whoever runs the older code keeps it alive."""
        done: Native | None = image.native
        if done is not None and done.engine is self:
            level = level or done.level
            if done.level == level and (done.debug or not debug):
                return done
        level = level or self.level
        llvm = session()

        def make() -> Object:
            lifted = lift(image, llvm.header, debug=debug)
            return Object(lifted.symbols, llvm.compile(lifted.text, level, loops=lifted.loops))

        keeps = image.program is not None and not debug
        symbols, code = llvm.objects.get(parts_of(image, level), make) if keeps else make()
        callbacks = {
            symbol: self._symbol(symbol, image)
            for symbol in symbols
            if not symbol.startswith(NATIVE)
        }
        imports = {symbol: _address(callback) for symbol, callback in callbacks.items()}
        for symbol in symbols:
            if symbol.startswith(NATIVE):
                imports[symbol] = llvm.natives(level)[symbol.removeprefix(NATIVE)]
        library = llvm.load(code, imports, [f"f{start}" for start in image.starts])
        functions: dict[int, Callable[..., int]] = {
            start: _FUNCTION(library[f"f{start}"]) for start in image.starts
        }
        native = Native(
            self,
            functions,
            library["f0"],
            library,
            list(callbacks.values()),
            code,
            debug,
            level,
        )
        image.native = native
        if done is not None:
            self._replace(done, Target(image, native))
        return native

    def _replace(self, old: Native, target: Target) -> None:
        """Leads the tail calls that went to older code to newer. The older stays while a run that
        may be in it lasts."""
        before = self._known.get(old.address)
        if before is None:
            return
        if self._run is not None:
            self._targets.setdefault(old.address, before)
        for layout, memory, index in before.places:
            if layout.kept.get(index) is before:
                self._tell(target, layout, memory, index)

    def improve(self, image: Image) -> None:
        """The best code for an image, and for those that tail calls led to from it so far."""
        work = [image]
        for image in work:
            self.compile(image, BEST)
            for layout in image.layouts.values():
                if isinstance(layout, ProgramLayout):
                    work += [to.image for to in layout.kept.values() if to.image not in work]

    def _symbol(self, symbol: str, image: Image) -> Any:
        """The ctypes object that a symbol of a lifted image stands for."""
        kind, _, number = symbol.rpartition("_")
        if kind == "helper":
            return self._helper(image.helpers[int(number)])
        if kind == "kernel":
            return self._helper(image.kfuncs[int(number)])
        if symbol == "state":
            return self._cells
        if symbol == "memset":
            return ctypes.memset
        if symbol in ("memmove", "memcpy"):
            return ctypes.memmove
        return self._fixed[symbol]


def _stubs() -> Object:
    return Object((), session().compile(stubs(), GOOD))


def _address(target: Any) -> int:
    """Where a ctypes object or function lies."""
    if isinstance(target, ctypes.Array):
        return ctypes.addressof(target)
    return ctypes.cast(target, ctypes.c_void_p).value or 0
