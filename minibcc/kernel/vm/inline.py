"""Helpers that native code does itself, where it knows the map (see `layouts`).

Each function gets the translator at the call, and answers whether it has written the operation; if
not, the helper is called as always. R1 must be a map's address as a plain number there, as it is
right after its 64-bit load. What an array does is written here, and that a hash table's element is
the first of its bucket, as most are; for the rest, functions of `natives.c` are called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from minibcc.kernel.vm.ir import literal
from minibcc.kernel.vm.layouts import (
    LARGEST_VALUE,
    LONGEST_KEY,
    MULTIPLIER,
    ArrayLayout,
    HashLayout,
    RingLayout,
    TrieLayout,
)

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Image
    from minibcc.kernel.vm.layouts import Layout
    from minibcc.kernel.vm.translate import Translator

MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, MAP_DELETE_ELEM, GET_SMP_PROCESSOR_ID = 1, 2, 3, 8
RINGBUF_OUTPUT, RINGBUF_RESERVE, RINGBUF_SUBMIT, RINGBUF_DISCARD = 130, 131, 132, 133
ASK = 1
"""What a native update answers where Python must do it."""


def inline(translator: Translator, number: int) -> bool:
    """Writes what helper `number` does, if that is known here."""
    function = _INLINE.get(number)
    return function is not None and function(translator)


def map_layout(translator: Translator, register: int = 1) -> Layout | None:
    """How the map lies that a register points to, if that is known."""
    return _layout(translator.function.image, translator.values[register])


def _layout(image: Image, value: int | str | None) -> Layout | None:
    if not isinstance(value, str) or value.startswith("%"):
        return None
    return image.layouts.get(int(value) & (1 << 64) - 1)


def key_read(image: Image, number: int, values: Sequence[int | str | None]) -> int:
    """The bytes that helper `number` reads at R2 where that is all it does with R2; 0 where it may
    do more. `values` are what is known of the registers."""
    array = number == MAP_LOOKUP_ELEM and isinstance(_layout(image, values[1]), ArrayLayout)
    return 4 if array else 0


def _lookup(write: Translator) -> bool:
    layout = map_layout(write)
    match layout:
        case ArrayLayout():
            inside, address = _element(write, layout)
            found = write.new(f"select i1 {inside}, i64 {address}, i64 0")
        case HashLayout():
            found = _lookup_hash(write, layout)
        case TrieLayout():
            found = write.native("prefix_lookup", str(layout.table), write.number(2))
        case _:
            return False
    write.values[0] = found
    return True


def _update(write: Translator) -> bool:
    layout = map_layout(write)
    if isinstance(layout, HashLayout | TrieLayout):
        arguments = [str(layout.table), *(write.number(register) for register in (2, 3, 4))]
        if isinstance(layout, HashLayout):
            answer = write.native("hash_update", *arguments, write.cpu())
        else:
            answer = write.native("prefix_update", *arguments)
        done = write.new(f"icmp ne i64 {answer}, {ASK}")
        _or_call(write, MAP_UPDATE_ELEM, done, answer)
        return True
    if isinstance(layout, ArrayLayout):
        return _update_array(write, layout)
    return False


def _update_array(write: Translator, layout: ArrayLayout) -> bool:
    """With flags that allow it: the value is copied over the element's, if there is one."""
    if layout.value_size > LARGEST_VALUE or write.values[4] not in ("0", "2"):
        return False
    exists, address = _element(write, layout)
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
    unknown = write.label
    write.emit(f"br label %{done}")
    write.begin(done)
    write.values[0] = write.new(f"phi i64 [ 0, %{known} ], [ {called}, %{unknown} ]")
    return True


def _or_call(write: Translator, number: int, done: str, answer: str) -> None:
    """R0 is `answer` if `done`, else what the helper says."""
    before, ask, after = write.label, write.fresh(), write.fresh()
    write.emit(f"br i1 {done}, label %{after}, label %{ask}, !prof !1")
    write.begin(ask)
    called = write.call_helper(number)
    asked = write.label
    write.emit(f"br label %{after}")
    write.begin(after)
    write.values[0] = write.new(f"phi i64 [ {answer}, %{before} ], [ {called}, %{asked} ]")


def _delete(write: Translator) -> bool:
    layout = map_layout(write)
    if not isinstance(layout, HashLayout | TrieLayout):
        return False
    name = "hash_delete" if isinstance(layout, HashLayout) else "prefix_delete"
    write.values[0] = write.native(name, str(layout.table), write.number(2))
    return True


def _ring(name: str, *registers: int) -> Callable[[Translator], bool]:
    """An operation on a ring buffer, with the rest of its arguments in registers."""

    def operation(write: Translator) -> bool:
        layout = map_layout(write)
        if not isinstance(layout, RingLayout):
            return False
        arguments = [write.number(register) for register in registers]
        write.values[0] = write.native(name, str(layout.base), *arguments)
        return True

    return operation


def _record(name: str) -> Callable[[Translator], bool]:
    """An operation on a record, which knows its buffer."""

    def operation(write: Translator) -> bool:
        write.values[0] = write.native(name, write.number(1), write.number(2))
        return True

    return operation


def _processor(write: Translator) -> bool:
    write.values[0] = write.cpu()
    return True


READS = {
    MAP_LOOKUP_ELEM: 0b110,
    MAP_DELETE_ELEM: 0b110,
    GET_SMP_PROCESSOR_ID: 0,
    RINGBUF_RESERVE: 0b1110,
    RINGBUF_SUBMIT: 0b110,
    RINGBUF_DISCARD: 0b110,
}
"""The registers that these helpers read, as sets of bits; others may read R1 to R5."""
_INLINE: dict[int, Callable[[Translator], bool]] = {
    MAP_LOOKUP_ELEM: _lookup,
    MAP_UPDATE_ELEM: _update,
    MAP_DELETE_ELEM: _delete,
    GET_SMP_PROCESSOR_ID: _processor,
    RINGBUF_OUTPUT: _ring("ring_output", 2, 3, 4),
    RINGBUF_RESERVE: _ring("ring_reserve", 2, 3),
    RINGBUF_SUBMIT: _record("ring_submit"),
    RINGBUF_DISCARD: _record("ring_discard"),
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


def _lookup_hash(write: Translator, layout: HashLayout) -> str:
    """The address of the value, 0 if there is none."""
    cpu = write.cpu() if layout.plane or layout.ordered else "0"
    arguments = str(layout.table), write.number(2), cpu
    if layout.key_size > LONGEST_KEY or layout.ordered:
        return write.native("hash_lookup", *arguments)
    words = _words(write, layout.key_size)
    hashed = "0"
    for word in words:
        mixed = write.new(f"xor i64 {hashed}, {word}")
        hashed = write.new(f"mul i64 {mixed}, {literal(MULTIPLIER, 64)}")
    index = write.new(f"lshr i64 {hashed}, {layout.shift}")
    start = literal(layout.buckets, 64)
    bucket = write.new(f"getelementptr i64, ptr inttoptr (i64 {start} to ptr), i64 {index}")
    first = write.new(f"load i64, ptr {bucket}")
    none = write.new(f"icmp eq i64 {first}, 0")
    empty, compare, known, search, done = (
        write.label, write.fresh(), write.fresh(), write.fresh(), write.fresh(),
    )  # fmt: skip
    write.emit(f"br i1 {none}, label %{done}, label %{compare}")
    write.begin(compare)
    same = "true"
    for number, word in enumerate(words):
        at = write.new(f"add i64 {first}, {layout.key_at + 8 * number}")
        kept = write.new(f"load i64, ptr {write.new(f'inttoptr i64 {at} to ptr')}")
        equal = write.new(f"icmp eq i64 {kept}, {word}")
        same = write.new(f"and i1 {same}, {equal}")
    write.emit(f"br i1 {same}, label %{known}, label %{search}, !prof !1")
    write.begin(known)
    found = _of_this_cpu(write, write.new(f"add i64 {first}, {layout.value_at}"), layout.plane)
    write.emit(f"br label %{done}")
    write.begin(search)
    called = write.native("hash_lookup", *arguments)
    write.emit(f"br label %{done}")
    write.begin(done)
    ways = f"[ 0, %{empty} ], [ {found}, %{known} ], [ {called}, %{search} ]"
    return write.new(f"phi i64 {ways}")


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
