"""A block of the process's own address space, at the same address in every run where possible.

The idea: ask the system for a large stretch of addresses that cost nothing until they are used
(PROT_NONE, no swap reserved), at one of a row of fixed slots, so that an address in a program's
register is the same number today and tomorrow. What the arena hands out is made accessible piece
by piece; the rest stays a trap for native code that goes astray. The first arena of a process gets
the first slot, a second one the next.

Mirrors mmap(2) with MAP_FIXED_NOREPLACE (Linux 4.17). Elsewhere, or where the slots are taken or
addresses are limited (RLIMIT_AS), the block is smaller or lies where the system puts it.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import weakref

FIRST = 0x10_0000_0000
"""The first slot: 64 GiB, above where a program of any size ends, below where libraries begin."""
SLOT = 0x4_0000_0000
"""Bytes from slot to slot, and the size asked for first: 16 GiB."""
SLOTS = 64
STEP = 1 << 24
"""Bytes made accessible at a time."""

_SIZES = (SLOT, 1 << 32, 1 << 30, 1 << 28)
_MAP_FIXED_NOREPLACE = 0x100000  # Linux alone has it; Python does not name it
_MAP_NORESERVE = 0x4000
_PROT_NONE = 0
_FAILED = ctypes.c_void_p(-1).value


class Reservation:
    """`size` bytes at `base`, of which those up to `grow`'s argument may be touched. The memory
    goes back when this object and the last view of it are gone."""

    def __init__(self, size: int = SLOT) -> None:
        self.accessible = 0
        if sys.platform == "linux":
            self._libc: ctypes.CDLL | None = _libc()
            self.base, self.size = _reserve(self._libc, size)
            self.bytes = (ctypes.c_ubyte * self.size).from_address(self.base)
            release = weakref.finalize(self.bytes, self._libc.munmap, self.base, self.size)
            release.atexit = False
        else:
            self._libc = None
            self.size = min(size, _SIZES[-1])
            block = mmap.mmap(-1, self.size)
            self.bytes = (ctypes.c_ubyte * self.size).from_buffer(block)
            self.base = ctypes.addressof(self.bytes)

    def grow(self, size: int) -> None:
        """Makes the first `size` bytes accessible. Raises MemoryError if they are not to be had."""
        wanted = min(self.size, -(-size // STEP) * STEP)
        if size > self.size:
            raise MemoryError("the arena is full")
        if self._libc is not None:
            start, count = self.base + self.accessible, wanted - self.accessible
            if self._libc.mprotect(start, count, mmap.PROT_READ | mmap.PROT_WRITE):
                raise MemoryError("the system has no memory for the arena")
        self.accessible = wanted

    def zero(self, address: int, size: int) -> None:
        """Clears bytes; whole pages go back to the system where it takes them."""
        pages = (address | size) % mmap.PAGESIZE == 0
        if self._libc and pages and not self._libc.madvise(address, size, mmap.MADV_DONTNEED):
            return
        ctypes.memset(address, 0, size)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    address, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.restype = address
    libc.mmap.argtypes = [address, size, number, number, number, ctypes.c_int64]
    libc.munmap.argtypes = [address, size]
    libc.mprotect.argtypes = [address, size, number]
    libc.madvise.argtypes = [address, size, number]
    return libc


def _reserve(libc: ctypes.CDLL, size: int) -> tuple[int, int]:
    """Address and size of the block: the first free slot, or any place, as large as allowed."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    for wanted in [size, *(smaller for smaller in _SIZES if smaller < size)]:
        for slot in range(SLOTS):
            hint = FIRST + slot * SLOT
            got = libc.mmap(hint, wanted, _PROT_NONE, flags | _MAP_FIXED_NOREPLACE, -1, 0)
            if got == hint:
                return hint, wanted
            if got != _FAILED:  # a kernel that does not know the flag takes the hint as a hint
                libc.munmap(got, wanted)
        got = libc.mmap(None, wanted, _PROT_NONE, flags, -1, 0)
        if got != _FAILED:
            return got, wanted
    raise MemoryError("the system grants no address space for the arena")
