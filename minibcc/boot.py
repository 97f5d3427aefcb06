"""Picks the kernel that stands behind the door: the only module that names both bodies.

The library asks for `current()`; what it gets was chosen before by `choose`, by the command line
or by the environment (``MINIBCC_KERNEL=linux``), and is made when first asked for. One process
has one kernel, however many `BPF` objects it makes, as on a real machine.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from minibcc.errors import UsageError
from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.system.interface import Files, System

KERNELS = ("sim", "linux")
ENGINES = ("auto", "interpreter", "jit")


class Options(Record):
    """How to boot.

    `kernel` is "sim" or "linux"; the real one is asked at once whether it `loads` programs, unless
    nobody means to load any. The rest is for the simulated one: `scenario` a name of
    `machine.scenario.SCENARIOS`, `seed` of everything random, `duration` in seconds of virtual
    time (None: to the scenario's end), `realtime` paces it by the wall clock and begins the
    scenario anew when it is over, `catch_up` lets it advance at each call by the wall time that
    has passed since the last one, `engine` how programs run, `first_id` from where the ids of its
    objects count.
    """

    kernel: str = "sim"
    scenario: str = "shell"
    seed: int = 0
    duration: float | None = None
    realtime: bool = False
    catch_up: bool = False
    engine: str = "auto"
    first_id: int = 1
    loads: bool = True


def system(options: Options) -> System:
    """A fresh kernel. Raises UsageError for options that cannot be meant, SystemUnavailable where
    there is no such kernel (NotPermitted where there is one for others)."""
    if options.kernel not in KERNELS:
        raise UsageError(f"no kernel {options.kernel!r}: choose one of {', '.join(KERNELS)}")
    if options.kernel == "linux":
        from minibcc.system.linux import LinuxSystem

        return LinuxSystem(loads=options.loads)
    return _simulated(options)


def _simulated(options: Options) -> System:
    from minibcc.kernel.system import SimulatedSystem
    from minibcc.machine.linux618 import Linux618
    from minibcc.machine.machine import Machine
    from minibcc.machine.scenario import SCENARIOS

    if options.engine not in ENGINES:
        raise UsageError(f"no engine {options.engine!r}: choose one of {', '.join(ENGINES)}")
    if options.scenario not in SCENARIOS:
        known = ", ".join(SCENARIOS)
        raise UsageError(f"no scenario {options.scenario!r}: choose one of {known}")
    machine = Machine(
        Linux618(),
        scenario=options.scenario,
        seed=options.seed,
        duration=None if options.duration is None else round(options.duration * 1e9),
        pace=_wall_clock_pace() if options.realtime else None,
        endless=options.realtime,
    )
    return SimulatedSystem(
        machine,
        engine=options.engine,
        catch_up=options.catch_up,
        first_id=options.first_id,
    )


def _wall_clock_pace() -> Callable[[int], None]:
    """Sleeps until as much wall time as virtual time has passed since the first call."""
    import time

    start: list[float] = []

    def pace(virtual: int) -> None:
        if not start:
            start.append(time.monotonic() - virtual / 1e9)
        delay = start[0] + virtual / 1e9 - time.monotonic()
        if delay > 0:
            time.sleep(delay)

    return pace


_chosen: Options | None = None
_current: System | None = None


def choose(options: Options) -> None:
    """Says what `current` is to be; the kernel of before, if any, is forgotten."""
    global _chosen, _current
    _chosen, _current = options, None


def current() -> System:
    """This process's kernel, booted when first asked for."""
    global _current
    if _current is None:
        _current = system(_chosen or from_environment())
    return _current


def files() -> Files:
    """The files of the kernel that `current` gives, for who wants no more of it: a simulated one
    is not booted for them."""
    if _current is None and (_chosen or from_environment()).kernel == "sim":
        from minibcc.machine.linux618 import Linux618
        from minibcc.machine.pseudofiles import DataFiles

        return DataFiles(Linux618())
    return current()


def use(body: System) -> None:
    """Puts a ready body behind the door: a recording, a test's own kernel."""
    global _current
    _current = body


def from_environment() -> Options:
    """What a script run by plain ``python3`` gets: MINIBCC_KERNEL, MINIBCC_SCENARIO,
    MINIBCC_SEED, MINIBCC_DURATION, MINIBCC_ENGINE, or their defaults."""
    get = os.environ.get
    try:
        duration = get("MINIBCC_DURATION")
        return Options(
            kernel=get("MINIBCC_KERNEL", "sim"),
            scenario=get("MINIBCC_SCENARIO", "shell"),
            seed=int(get("MINIBCC_SEED", "0")),
            duration=None if duration is None else float(duration),
            catch_up=True,
            engine=get("MINIBCC_ENGINE", "auto"),
        )
    except ValueError as wrong:
        raise UsageError(f"an environment variable MINIBCC_* holds no number: {wrong}") from None
