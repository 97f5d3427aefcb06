"""Timers in the values of maps: functions of a program that run at a time of the machine's clock.

A timer is known by the address of its ``struct bpf_timer``, whose bytes stay zero. It goes with its
element, and with the last descriptor or pin of its map. Its function starts in an image of its own:
the program behind a call of that function. Mirrors ``bpf_timer_*`` of kernel/bpf/helpers.c.
"""

from __future__ import annotations

from errno import EBUSY, EDEADLK, EINVAL, EPERM
from typing import TYPE_CHECKING

from minibcc.abi.bpf import PseudoCall
from minibcc.isa.instruction import Instruction
from minibcc.kernel.helpers.timing import WALL
from minibcc.kernel.images import CALL, EXIT
from minibcc.kernel.vm.execution import CODE, Image

if TYPE_CHECKING:
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.maps.base import Map
    from minibcc.machine.alarms import Alarm

REALTIME, MONOTONIC, BOOTTIME = 0, 1, 7
ABSOLUTE, PINNED = 1, 2
MAX_CLOCKS = 16
PRELUDE = 2
"""Instructions that precede the program in a callback's image."""


class Timer:
    def __init__(self, map: Map, address: int, clock: int) -> None:
        self.map = map
        self.address = address
        self.clock = clock
        self.image: Image | None = None
        self.alarm: Alarm | None = None
        self.running = False

    def stop(self) -> bool:
        """Whether it was set."""
        alarm, self.alarm = self.alarm, None
        return alarm is not None and alarm.cancel()

    def forget(self) -> bool:
        """Without a function now, too; whether it was set."""
        image, self.image = self.image, None
        if image is not None:
            image.program.put()
        return self.stop()


class Timers:
    """Those of one kernel, by address."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._timers: dict[int, Timer] = {}

    # --- what programs do -----------------------------------------------------------------------

    def init(self, address: int, map: Map, flags: int) -> int:
        if flags >= MAX_CLOCKS or flags not in (REALTIME, MONOTONIC, BOOTTIME):
            return -EINVAL
        if address in self._timers:
            return -EBUSY
        if not map.users:
            return -EPERM
        self._timers[address] = Timer(map, address, flags)
        return 0

    def set_callback(self, address: int, image: Image, function: int) -> int:
        timer = self._timers.get(address)
        if timer is None:
            return -EINVAL
        if not timer.map.users:
            return -EPERM
        image.program.hold()
        if timer.image is not None:
            timer.image.program.put()
        timer.image = _starting_at(image, (function - CODE) // 8)
        return 0

    def start(self, address: int, time: int, flags: int) -> int:
        timer = self._timers.get(address)
        if flags & ~(ABSOLUTE | PINNED) or timer is None or timer.image is None:
            return -EINVAL
        machine = self._kernel.machine
        if time >> 63:
            time = (1 << 63) - 1  # ``ns_to_ktime``'s largest
        if flags & ABSOLUTE:
            due = time - (WALL if timer.clock == REALTIME else 0)
        else:
            due = machine.now() + time
        timer.stop()
        timer.alarm = machine.alarms.set(due, lambda: self._fire(timer))
        return 0

    def cancel(self, address: int) -> int:
        timer = self._timers.get(address)
        if timer is None:
            return -EINVAL
        if timer.running:
            return -EDEADLK
        return int(timer.forget())

    # --- what happens to them -------------------------------------------------------------------

    def drop(self, address: int) -> None:
        """The element that holds it went, or got another value."""
        timer = self._timers.pop(address, None)
        if timer is not None:
            timer.forget()

    def drop_all(self, map: Map) -> None:
        """Nobody outside the kernel holds the map any more."""
        for address in [at for at, timer in self._timers.items() if timer.map is map]:
            self.drop(address)

    def _fire(self, timer: Timer) -> None:
        image = timer.image
        if image is None:
            return
        kernel = self._kernel
        with kernel.lock:
            value = timer.address - (timer.map.timer_offset or 0)
            data = timer.map.key_of(value)
            key = kernel.contexts.place(data)
            timer.running = True
            timer.map.hold()
            image.program.hold()
            try:
                run = kernel.new_run(image)
                kernel.engine.run(image, run, (timer.map.address, key, value))
            finally:
                timer.running = False
                kernel.contexts.give_back(key, len(data))
                image.program.put()
                timer.map.put()


def _starting_at(image: Image, slot: int) -> Image:
    """The program of an image, started at the function at a slot of that image."""
    program = image.program
    base: Image = program.image
    if image is not base:  # a callback's own
        slot -= PRELUDE
    found: Image | None = program.entries.get(slot)
    if found is None:
        head = [Instruction(CALL, src=PseudoCall.CALL, imm=slot + 1), Instruction(EXIT)]
        found = program.entries[slot] = Image(
            name=base.name,
            instructions=[*head, *base.instructions],
            helpers=base.helpers,
            starts=(0, *(start + PRELUDE for start in base.starts)),
            stacks=(8, *base.stacks),
            program=program,
            kfuncs=base.kfuncs,
            layouts=base.layouts,
        )
    return found
