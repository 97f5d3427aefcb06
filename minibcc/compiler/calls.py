"""Which function calls which: what one reaches, and who comes back to himself."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")


def reached(start: T, calls: Mapping[T, Iterable[T]]) -> set[T]:
    """What a function calls, and what that calls; itself only if it is recursive."""
    seen: set[T] = set()
    stack = [start]
    while stack:
        new = set(calls.get(stack.pop(), ())) - seen
        seen |= new
        stack += new
    return seen


def cycles(calls: Mapping[T, Iterable[T]]) -> list[set[T]]:
    """The sets of functions that reach each other, and each function that calls itself: strongly
    connected components by Tarjan's algorithm, in time linear in the calls."""
    found: list[set[T]] = []
    entered: dict[T, int] = {}
    lowest: dict[T, int] = {}  # entered first of those that a function may lead back to
    open: dict[T, None] = {}  # entered, component not yet known; in order
    for start in calls:
        path = [(start, iter(calls[start]))] if start not in entered else []
        while path:
            function, callees = path[-1]
            if function not in entered:
                entered[function] = lowest[function] = len(entered)
                open[function] = None
            for callee in callees:
                if callee not in entered:
                    path.append((callee, iter(calls.get(callee, ()))))
                    break
                if callee in open:
                    lowest[function] = min(lowest[function], lowest[callee])
            else:
                path.pop()
                if path:
                    caller = path[-1][0]
                    lowest[caller] = min(lowest[caller], lowest[function])
                if lowest[function] == entered[function]:
                    component = set[T]()
                    while function not in component:
                        component.add(open.popitem()[0])
                    if len(component) > 1 or function in calls.get(function, ()):
                        found.append(component)
    return found
