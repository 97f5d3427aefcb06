"""Objects in memory: loads and stores, bitfields, and the parts of an object.

A bitfield is accessed in the narrowest unit around it, by shifts and masks, as the ABI lays it
out; an aggregate is its address, and storing one is a copy.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from minibcc.btf.types import size_of
from minibcc.compiler.lower.arithmetic import Arithmetic
from minibcc.compiler.lower.emitter import Place, slot_align
from minibcc.compiler.lower.types import Kind

if TYPE_CHECKING:
    from minibcc.btf.types import Type


class Memory(Arithmetic):
    """What happens to places."""

    def load(self, place: Place, kind: Kind) -> str:
        """The value of an object."""
        if kind.aggregate:
            return place.pointer
        if place.width:
            return self._load_bits(place, kind)
        volatile = "volatile " if place.volatile else ""
        return self.value(f"load {volatile}{kind.ir}, ptr {place.pointer}, align {place.align}")

    def store(self, operand: str, place: Place, kind: Kind) -> None:
        """Writes a value to an object."""
        if kind.aggregate:
            self.copy(place, Place(operand, kind.align), kind.size)
        elif place.width:
            self._store_bits(operand, place, kind)
        else:
            volatile = "volatile " if place.volatile else ""
            self.do(
                f"store {volatile}{kind.ir} {operand}, ptr {place.pointer}, align {place.align}"
            )

    def _unit(self, place: Place) -> str:
        """The integer that a bitfield is accessed in: the narrowest around it, of any number of
        bytes where nothing is aligned."""
        size = (place.bit + place.width + 7) // 8
        if place.align > 1:
            size = 1 << (size - 1).bit_length()
        return f"i{size * 8}"

    def _load_bits(self, place: Place, kind: Kind) -> str:
        unit = self._unit(place)
        bits = int(unit[1:])
        volatile = "volatile " if place.volatile else ""
        word = self.value(f"load {volatile}{unit}, ptr {place.pointer}, align {place.align}")
        if kind.signed:
            if up := bits - place.bit - place.width:
                word = self.value(f"shl {unit} {word}, {up}")
            if down := bits - place.width:
                word = self.value(f"ashr {unit} {word}, {down}")
        else:
            if place.bit:
                word = self.value(f"lshr {unit} {word}, {place.bit}")
            if place.width < bits:
                word = self.value(f"and {unit} {word}, {(1 << place.width) - 1}")
        return self.resize(word, bits, kind.bits, kind.signed)

    def _store_bits(self, operand: str, place: Place, kind: Kind) -> None:
        unit = self._unit(place)
        bits = int(unit[1:])
        volatile = "volatile " if place.volatile else ""
        access = f"ptr {place.pointer}, align {place.align}"
        mask = (1 << place.width) - 1
        word = self.resize(operand, kind.bits, bits, False)
        if place.width < bits:
            word = self.value(f"and {unit} {word}, {mask}")
            if place.bit:
                word = self.value(f"shl {unit} {word}, {place.bit}")
            old = self.value(f"load {volatile}{unit}, {access}")
            keep = (1 << bits) - 1 ^ mask << place.bit
            old = self.value(f"and {unit} {old}, {keep}")
            word = self.value(f"or {unit} {old}, {word}")
        self.do(f"store {volatile}{unit} {word}, {access}")

    def after_store(self, operand: str, place: Place, kind: Kind) -> str:
        """The value of an assignment: what the object holds now."""
        if not place.width or place.width == kind.bits or kind.boolean:
            return operand
        if kind.signed:
            shift = kind.bits - place.width
            operand = self.value(f"shl {kind.ir} {operand}, {shift}")
            return self.value(f"ashr {kind.ir} {operand}, {shift}")
        return self.value(f"and {kind.ir} {operand}, {(1 << place.width) - 1}")

    def spill(self, operand: str, kind: Kind) -> Place:
        """A fresh object that holds a value."""
        place = Place(self.slot(kind), slot_align(kind))
        self.store(operand, place, kind)
        return place

    def offset(self, pointer: str, size: int) -> str:
        if size == 0:
            return pointer
        return self.value(f"getelementptr inbounds i8, ptr {pointer}, i64 {size}")

    def part(self, place: Place, size: int, offset: int, width: int, type: Type) -> Place:
        """The object of `type` that lies `offset` bits into the `size` bytes at `place`; `width` as
        in Place."""
        start, unit = offset // 8, 0
        bit = offset % 8
        if width:
            start, bit, unit = _bitfield(offset, width, size_of(type), size)
        pointer = self.offset(place.pointer, start)
        align = gcd(place.align, start) if start else place.align
        if width:
            align = min(align, unit)
        return Place(pointer, align, place.volatile, bit, width)


def _bitfield(offset: int, width: int, size: int, around: int) -> tuple[int, int, int]:
    """First byte, bit in it, and alignment of the unit that a bitfield is accessed in: the unit of
    its declared type where the field lies within one (C's usual layout) that ends within the
    `around` bytes of the struct (a packed one may end before), else the bytes it touches."""
    if offset % (size * 8) + width <= size * 8:
        unit = 8
        while offset % unit + width > unit:
            unit *= 2
        start = offset // unit * unit // 8
        if start + unit // 8 <= around:
            return start, offset % unit, unit // 8
    return offset // 8, offset % 8, 1
