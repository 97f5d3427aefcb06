"""Helpers that native code does itself, where it knows the map (see `layouts`).

Each function gets the translator at the call, and answers whether it has written the operation; if
not, the helper is called as always. R1 must be a map's address as a plain number there, as it is
right after its 64-bit load.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from minibcc.kernel.vm.ir import literal
from minibcc.kernel.vm.layouts import LARGEST_VALUE, MULTIPLIER, ArrayLayout, LookupCache

if TYPE_CHECKING:
    from minibcc.kernel.vm.layouts import Layout
    from minibcc.kernel.vm.translate import Translator

MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, GET_SMP_PROCESSOR_ID = 1, 2, 8


def inline(translator: Translator, number: int) -> bool:
    """Writes what helper `number` does, if that is known here."""
    function = _INLINE.get(number)
    return function is not None and function(translator)


def _layout(translator: Translator) -> Layout | None:
    value = translator.values[1]
    if isinstance(value, int) or value.startswith("%"):
        return None
    return translator.function.image.layouts.get(int(value) & (1 << 64) - 1)


def _lookup(translator: Translator) -> bool:
    layout = _layout(translator)
    if layout is None:
        return False
    if isinstance(layout, ArrayLayout):
        inside, address = _element(translator, layout)
        found = translator.new(f"select i1 {inside}, i64 {address}, i64 0")
    else:
        found = _cached(translator, layout)
    translator.values[0] = found
    return True


def _update(translator: Translator) -> bool:
    """Of an element that exists, with flags that allow that: the value is copied over it."""
    layout = _layout(translator)
    if (
        layout is None
        or layout.value_size > LARGEST_VALUE
        or translator.values[4] not in ("0", "2")
    ):
        return False
    write = translator
    cache = None if isinstance(layout, ArrayLayout) else layout
    words: list[str] = []
    entry = ""
    if isinstance(layout, ArrayLayout):
        exists, address = _element(write, layout)
    else:
        words, exists, entry, cpu0 = _probe(write, layout)
        address = _of_this_cpu(write, cpu0, layout.plane)
    known, unknown, done = write.fresh(), write.fresh(), write.fresh()
    write.emit(f"br i1 {exists}, label %{known}, label %{unknown}, !prof !1")
    write.begin(known)
    to, source = write.new(f"inttoptr i64 {address} to ptr"), write.address(3, 0)
    write.emit(
        f"call void @llvm.memmove.p0.p0.i64(ptr {to}, ptr {source}, i64 {layout.value_size},"
        " i1 false)"
    )
    write.emit(f"br label %{done}")
    write.begin(unknown)
    called = write.call_helper(MAP_UPDATE_ELEM)
    ways = [f"[ 0, %{known} ]", f"[ {called}, %{write.label} ]"]
    if cache is None or MAP_LOOKUP_ELEM not in write.function.image.helpers:
        write.emit(f"br label %{done}")
    else:  # the next update of this key shall find it
        find = write.fresh()
        failed = write.new(f"icmp ne i64 {called}, 0")
        write.emit(f"br i1 {failed}, label %{done}, label %{find}")
        write.begin(find)
        _, *labels = _look_up_and_keep(write, cache, words, entry, done)
        ways += [f"[ 0, %{label} ]" for label in labels]
    write.begin(done)
    write.values[0] = write.new(f"phi i64 {', '.join(ways)}")
    return True


def _processor(translator: Translator) -> bool:
    translator.values[0] = translator.cpu()
    return True


_INLINE: dict[int, Callable[[Translator], bool]] = {
    MAP_LOOKUP_ELEM: _lookup,
    MAP_UPDATE_ELEM: _update,
    GET_SMP_PROCESSOR_ID: _processor,
}


def _element(write: Translator, layout: ArrayLayout) -> tuple[str, str]:
    """Whether an array has the element that R2 points to the number of, and its address."""
    index = write.widen(write.load(write.address(2, 0), 4), 4)
    inside = write.new(f"icmp ult i64 {index}, {layout.count}")
    offset = write.new(f"mul i64 {index}, {layout.stride}")
    address = write.new(f"add i64 {offset}, {layout.values}")
    return inside, _of_this_cpu(write, address, layout.plane)


def _of_this_cpu(write: Translator, address: str, plane: int) -> str:
    if not plane:
        return address
    offset = write.new(f"mul i64 {write.cpu()}, {plane}")
    return write.new(f"add i64 {address}, {offset}")


def _cached(write: Translator, cache: LookupCache) -> str:
    """A look-up in a hash table: by the cache, or by the helper, whose finding is kept."""
    words, hit, entry, cpu0 = _probe(write, cache)
    known, unknown, done = (write.fresh() for _ in range(3))
    write.emit(f"br i1 {hit}, label %{known}, label %{unknown}, !prof !1")
    write.begin(known)
    address = _of_this_cpu(write, cpu0, cache.plane)
    write.emit(f"br label %{done}")
    write.begin(unknown)
    called, none, kept = _look_up_and_keep(write, cache, words, entry, done)
    write.begin(done)
    return write.new(f"phi i64 [ {address}, %{known} ], [ 0, %{none} ], [ {called}, %{kept} ]")


def _look_up_and_keep(
    write: Translator, cache: LookupCache, words: list[str], entry: str, done: str
) -> tuple[str, str, str]:
    """Calls the look-up helper, keeps what it found, goes on at `done`. The address, and the labels
    from where `done` is reached: with nothing found, and with something."""
    called = write.call_helper(MAP_LOOKUP_ELEM)
    none, keep = write.label, write.fresh()
    missing = write.new(f"icmp eq i64 {called}, 0")
    write.emit(f"br i1 {missing}, label %{done}, label %{keep}")
    write.begin(keep)
    first = called
    if cache.plane:
        offset = write.new(f"mul i64 {write.cpu()}, {cache.plane}")
        first = write.new(f"sub i64 {called}, {offset}")
    for number, word in enumerate([*words, first]):
        write.emit(f"store i64 {word}, ptr {_at(write, entry, 8 * number)}")
    write.emit(f"br label %{done}")
    return called, none, keep


def _probe(write: Translator, cache: LookupCache) -> tuple[list[str], str, str, str]:
    """The words of the key that R2 points to, whether the cache has it, the entry (a pointer) where
    it has or would have it, and the address that is there."""
    words = _words(write, cache.key_size)
    hashed = "0"
    for word in words:
        mixed = write.new(f"xor i64 {hashed}, {word}")
        hashed = write.new(f"mul i64 {mixed}, {literal(MULTIPLIER, 64)}")
    index = write.new(f"lshr i64 {hashed}, {64 - cache.bits}")
    offset = write.new(f"mul i64 {index}, {cache.entry}")
    entry = write.new(f"inttoptr i64 {write.new(f'add i64 {offset}, {cache.table}')} to ptr")
    address = write.new(f"load i64, ptr {_at(write, entry, 8 * len(words))}")
    hit = write.new(f"icmp ne i64 {address}, 0")
    for number, word in enumerate(words):
        kept = write.new(f"load i64, ptr {_at(write, entry, 8 * number)}")
        same = write.new(f"icmp eq i64 {kept}, {word}")
        hit = write.new(f"and i1 {hit}, {same}")
    return words, hit, entry, address


def _at(write: Translator, pointer: str, offset: int) -> str:
    return write.new(f"getelementptr i8, ptr {pointer}, i64 {offset}") if offset else pointer


def _words(write: Translator, size: int) -> list[str]:
    """`size` bytes at R2 as words, the last one padded with zeros."""
    words = []
    for start in range(0, size, 8):
        word, at = "", start
        while at < min(size, start + 8):
            part = max(width for width in (1, 2, 4, 8) if width <= min(size, start + 8) - at)
            value = write.widen(write.load(write.address(2, at), part), part)
            if at > start:
                value = write.new(f"shl i64 {value}, {8 * (at - start)}")
                value = write.new(f"or i64 {word}, {value}")
            word = value
            at += part
        words.append(word)
    return words
