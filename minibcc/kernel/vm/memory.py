"""The arena: the one address space that programs see, the same numbers in every engine and run.

Stack frames, contexts, packets and map values are allocations in one block of real memory,
reserved at a fixed address where the system grants it (and at whatever address it grants
otherwise). Addresses are handed out deterministically: the same calls give the same addresses. The
interpreter reaches it through `read` and `write`, the kernel through `view`, `load` and `store`;
native code by the address itself.

An allocation says who may touch it: `writable` by programs or only readable, or, with `private`,
neither (a map's bookkeeping). `check` is what makes the interpreter the definition: an access must
lie inside one live allocation, or, where it has a `stride`, inside one element of it, or, where it
also has a `window`, inside that part of the element, which may come again every `pitch` bytes (the
values of several processors).

The allocator is a slab allocator like Linux's mm/slub.c in small: spans of 64 KiB, each cut into
units of one size class, so that the allocation around any address is found by two look-ups.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from minibcc.abi.bpf import STACK_SIZE
from minibcc.kernel.vm.execution import FRAME_PITCH, FRAMES, Fault
from minibcc.kernel.vm.reservation import SLOT, Reservation

_SPAN_BITS = 16
_SPAN = 1 << _SPAN_BITS
_LARGEST_UNIT = _SPAN // 2
# Two classes to each power of two: at most a third of a unit is lost.
_UNITS = sorted(
    unit for power in range(4, 16) for unit in (1 << power, 3 << power - 1) if unit <= _LARGEST_UNIT
)
_FORMATS = {
    size: struct.Struct(code) for size, code in ((1, "<B"), (2, "<H"), (4, "<I"), (8, "<Q"))
}
_UNPACK = {size: form.unpack_from for size, form in _FORMATS.items()}
_PACK = {size: form.pack_into for size, form in _FORMATS.items()}
_MASKS = {size: (1 << 8 * size) - 1 for size in _FORMATS}


class _Allocation(NamedTuple):
    end: int
    readable: bool
    writable: bool
    stride: int
    window_start: int
    window_size: int
    pitch: int


class Arena:
    """The memory of one simulated kernel. `base` and `size` describe the reserved addresses."""

    def __init__(self, size: int = SLOT) -> None:
        self._reservation: Reservation | None = Reservation(size)
        self.base = self._reservation.base
        self.size = self._reservation.size
        self._view = memoryview(self._reservation.bytes).cast("B")
        self._next = self.base + _SPAN  # the first span stays a trap for small negative offsets
        self._end = self.base  # of what the system made accessible
        self._spans: dict[int, tuple[int, int]] = {}  # span number: first address, unit
        self._live: dict[int, _Allocation] = {}
        self._free: dict[int, list[int]] = {}  # unit: addresses, the next one last
        self._chains: list[int] = []  # one for each depth of nested runs, kept for later ones
        self._depth = 0

    def close(self) -> None:
        """Gives the addresses back once the last view is gone; nothing may be used after that."""
        self._view = memoryview(b"")
        self._reservation = None
        self._end = self.base
        self._live.clear()
        self._spans.clear()
        self._free.clear()

    def allocate(
        self,
        size: int,
        *,
        align: int = 8,
        writable: bool = True,
        private: bool = False,
        stride: int = 0,
        window: tuple[int, int] | None = None,
        pitch: int = 0,
    ) -> int:
        """Zeroed bytes; their address. `window` is offset and size of the part of each element
        (each `stride` bytes) that programs may touch; with a `pitch` there is one every so many
        bytes up to the element's end. Raises MemoryError when the arena is full."""
        if size <= 0 or align <= 0 or align & align - 1 or align > _SPAN:
            raise ValueError(f"no allocation has size {size} and alignment {align}")
        unit = _unit(size, align)
        free = self._free.get(unit)
        if not free:
            free = self._carve(unit)
        address = free.pop()
        start, length = window or (0, stride)
        self._live[address] = _Allocation(
            address + size,
            not private,
            writable and not private,
            stride,
            start,
            length,
            pitch or stride,
        )
        return address

    def _carve(self, unit: int) -> list[int]:
        """New spans, cut into units; the free list that they are in."""
        if self._reservation is None:
            raise MemoryError("the arena is closed")
        count = -(-unit // _SPAN)
        start, end = self._next, self._next + count * _SPAN
        if end > self._end:
            self._reservation.grow(end - self.base)
            self._end = self.base + self._reservation.accessible
        self._next = end
        for number in range(start >> _SPAN_BITS, end >> _SPAN_BITS):
            self._spans[number] = (start, unit)
        free = self._free.setdefault(unit, [])
        free.extend(range(start, end - unit + 1, unit))
        free.reverse()
        return free

    def free(self, address: int) -> None:
        """Gives an allocation back; its bytes are zero at once. Raises ValueError if `address` is
        no live allocation's."""
        allocation = self._live.pop(address, None)
        if allocation is None or self._reservation is None:
            raise ValueError(f"no allocation at {address:#x}")
        unit = self._spans[address >> _SPAN_BITS][1]
        self._reservation.zero(address, unit if unit >= _SPAN else allocation.end - address)
        self._free[unit].append(address)

    def view(self, address: int, size: int) -> memoryview:
        """The bytes, writable, whatever a program may do with them (for the kernel's own use).
        Raises `Fault` outside the arena."""
        if address < self.base or address + size > self._end:
            raise _outside(address, size)
        offset = address - self.base
        return self._view[offset : offset + size]

    def load(self, address: int, size: int) -> int:
        """An unsigned little-endian number of 1, 2, 4 or 8 bytes. Raises `Fault` outside the
        arena, like `store`."""
        if address < self.base or address + size > self._end:
            raise _outside(address, size)
        value: int = _UNPACK[size](self._view, address - self.base)[0]
        return value

    def store(self, address: int, size: int, value: int) -> None:
        """Writes the low `size` bytes of an unsigned `value`."""
        if address < self.base or address + size > self._end:
            raise _outside(address, size)
        _PACK[size](self._view, address - self.base, value & _MASKS[size])

    def check(self, address: int, size: int, *, write: bool) -> None:
        """Raises `Fault` unless a program may do this."""
        span = self._spans.get(address >> _SPAN_BITS)
        if span is not None:
            start = address - (address - span[0]) % span[1]
            allocation = self._live.get(start)
            if allocation is not None:
                end, readable, writable, stride, window_start, window_size, pitch = allocation
                if address + size <= end and (writable if write else readable):
                    if not stride:
                        return
                    offset = (address - start) % stride - window_start
                    if offset >= 0 and offset % pitch + size <= window_size:
                        return
        raise Fault(self._reason(address, size, write), address=address, size=size)

    # What an interpreted program does most: the plain case is decided here, the rest by `check`.

    def read(self, address: int, size: int) -> int:
        """`load`, if a program may. Raises `Fault`."""
        span = self._spans.get(address >> _SPAN_BITS)
        if span is not None:
            allocation = self._live.get(address - (address - span[0]) % span[1])
            if (
                allocation is None
                or allocation[3]
                or not allocation[1]
                or address + size > allocation[0]
            ):
                self.check(address, size, write=False)
            value: int = _UNPACK[size](self._view, address - self.base)[0]
            return value
        raise Fault(self._reason(address, size, False), address=address, size=size)

    def write(self, address: int, size: int, value: int) -> None:
        """`store`, if a program may. Raises `Fault`."""
        span = self._spans.get(address >> _SPAN_BITS)
        if span is not None:
            allocation = self._live.get(address - (address - span[0]) % span[1])
            if (
                allocation is None
                or allocation[3]
                or not allocation[2]
                or address + size > allocation[0]
            ):
                self.check(address, size, write=True)
            _PACK[size](self._view, address - self.base, value & _MASKS[size])
            return
        raise Fault(self._reason(address, size, True), address=address, size=size)

    def push_stack(self) -> int:
        """A run begins: the address of its chain of frames (see `execution`); R10 of the first is
        `STACK_SIZE` on. Runs may nest."""
        if self._depth == len(self._chains):
            self._chains.append(self._chain())
        self._depth += 1
        return self._chains[self._depth - 1]

    def _chain(self) -> int:
        """Frames one after the other, each an allocation of its own."""
        unit = _unit(FRAMES * FRAME_PITCH, _SPAN)
        free = self._free.get(unit) or self._carve(unit)
        chain = free.pop()
        for number in range(chain >> _SPAN_BITS, chain + unit >> _SPAN_BITS):
            self._spans[number] = (chain, FRAME_PITCH)
        for frame in range(chain, chain + FRAMES * FRAME_PITCH, FRAME_PITCH):
            self._live[frame] = _Allocation(frame + STACK_SIZE, True, True, 0, 0, 0, 0)
        return chain

    def pop_stack(self) -> None:
        """The innermost run is over."""
        self._depth -= 1

    def _reason(self, address: int, size: int, write: bool) -> str:
        """What is wrong with an access that `check` refuses."""
        what = f"{'write' if write else 'read'} of {size} byte{'s'[: size != 1]} at {address:#x}"
        span = self._spans.get(address >> _SPAN_BITS)
        start = address - (address - span[0]) % span[1] if span else 0
        allocation = self._live.get(start)
        if allocation is None or address >= allocation.end:
            return f"{what}: no memory of the program's"
        if not allocation.readable:
            return f"{what}: the kernel's own memory"
        if write and not allocation.writable:
            return f"{what}: memory that is only for reading"
        if address + size > allocation.end:
            return f"{what}: {address + size - allocation.end} beyond the end of its memory"
        return f"{what}: not inside one element"


def _unit(size: int, align: int) -> int:
    """The size class of an allocation; whole spans for large ones."""
    if size > _LARGEST_UNIT or align > _LARGEST_UNIT:
        return -(-size // _SPAN) * _SPAN
    return next(unit for unit in _UNITS if unit >= size and unit % align == 0)


def _outside(address: int, size: int) -> Fault:
    return Fault(f"{size} bytes at {address:#x}: outside the arena", address=address, size=size)
