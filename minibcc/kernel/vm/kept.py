"""Native code kept between runs: objects by what they are made of, in a folder of the user's own.

An object names what it calls by symbol (`lift`), so a later process can load it. It is found by
everything that compiling it depends on: the instructions with the addresses of maps in them (the
arena hands out the same ones in every run), functions and stacks, what is known of the maps; this
package, LLVM and its version, and this computer's cpu with its features. Only programs that came
through the verifier are kept; `minibcc.cache` says what counts as an entry.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from minibcc import cache as caching
from minibcc.isa.instruction import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.cache import Cache
    from minibcc.kernel.vm.execution import Image
    from minibcc.kernel.vm.layouts import Layout

LIMIT = 32 << 20
"""Bytes of native code that are kept."""
KEPT = "kept"


class Object(NamedTuple):
    """An object's bytes and the symbols that come with it: those that a program's imports, or those
    that the map operations' exports."""

    symbols: tuple[str, ...]
    code: bytes


class Objects:
    """Objects of a process's LLVM, which `identity` tells from others. `cache` None keeps none."""

    def __init__(self, identity: str, cache: Cache | None) -> None:
        self.cache = cache
        self._identity = identity
        self._stamp = ""

    def get(self, parts: tuple[str | bytes, ...], make: Callable[[], Object]) -> Object:
        """The object that is made of `parts`, kept or made now."""
        if self.cache is None:
            return make()
        if not self._stamp:
            folders = ("kernel/vm", "isa", "abi")
            self._stamp = caching.key((self._identity, caching.stamp(folders, ("llvmlite",))))
        key = caching.key((self._stamp, *parts))
        entry = self.cache.get(key)
        if entry is not None:
            head, _, code = entry.partition(b"\n")
            return Object(tuple(head.decode().split()), code)
        made = make()
        self.cache.put(key, " ".join(made.symbols).encode() + b"\n" + made.code)
        return made


def user_cache() -> Cache | None:
    """Where the user's native code is kept; none where a folder cannot be somebody's own."""
    return caching.default("native", LIMIT) if os.name == "posix" else None


def parts_of(image: Image, level: object) -> tuple[str | bytes, ...]:
    """What a program's object is made of."""
    known = sorted((address, _known(layout)) for address, layout in image.layouts.items())
    rest = (image.starts, image.stacks, sorted(image.helpers), sorted(image.kfuncs), known, level)
    return encode(image.instructions), repr(rest)


def _known(layout: Layout) -> str:
    """A layout's numbers. What a program array keeps alive is in no code."""
    fields = {name: getattr(layout, name) for name in layout.__match_args__ if name != KEPT}
    return f"{type(layout).__name__} {fields}"
