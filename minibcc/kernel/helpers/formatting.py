"""Format strings, as the kernel lets programs use them.

First every conversion is checked and its argument fetched, then text is made; so a bad format
prints nothing. Mirrors ``bpf_bprintf_prepare`` of kernel/bpf/helpers.c and lib/vsprintf.c.

Conversions: ``%d %i %u %x %X`` with ``l`` and ``ll``, ``%c``, ``%s`` and ``%pks`` (kernel text),
``%pus`` (user text), ``%p %px %pK`` (pointers; the first and third are hashed), ``%ps %pS %pB``
(symbols), ``%pi4 %pI4 %pi6 %pI6`` (addresses), ``%%``; flags 0 + - and space, and a width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from errno import EINVAL
from typing import Protocol

from minibcc.machine.memory import BadAddress

REFUSED = frozenset({*range(32), 127} - set(b"\t\n\v\f\r"))
"""Characters that no format may hold; texts in UTF-8 pass."""
SPACE = frozenset(b" \t\n\v\f\r")
PUNCTUATION = frozenset(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
DIGITS = frozenset(b"0123456789")
FLAGS = frozenset(b"0+- ")
MASK64 = (1 << 64) - 1
MAX_ERRNO = 4095


class Reader(Protocol):
    """Where the texts that arguments point to come from. All raise BadAddress."""

    def text(self, kind: str, address: int) -> bytes:
        """The string at `address` without its NUL; `kind` is "k", "u" or "" (either)."""
        ...

    def memory(self, address: int, size: int) -> bytes: ...

    def symbol(self, address: int, *, offset: bool) -> str:
        """The kernel function there; with ``+0x12/0x34`` if `offset`."""
        ...


class BadFormat(Exception):
    """The format, or the number of arguments, is refused with EINVAL."""

    errno = EINVAL


class _Scanner:
    """Walks a format; positions beyond its end read as NUL."""

    def __init__(self, text: bytes, arguments: Sequence[int], reader: Reader) -> None:
        self.text = text
        self.arguments = arguments
        self.reader = reader
        self.at = 0
        self.used = 0

    def peek(self, ahead: int = 0) -> int:
        position = self.at + ahead
        return self.text[position] if position < len(self.text) else 0

    def argument(self) -> int:
        if self.used >= len(self.arguments):
            raise BadFormat
        self.used += 1
        return self.arguments[self.used - 1] & MASK64

    def ends(self, ahead: int) -> bool:
        """Whether a conversion may end before this character."""
        following = self.peek(ahead)
        return following == 0 or following in SPACE or following in PUNCTUATION


def format_message(text: bytes, arguments: Sequence[int], reader: Reader) -> bytes:
    """The message. `text` is without its NUL. Raises BadFormat."""
    if not REFUSED.isdisjoint(text):
        raise BadFormat
    scanner = _Scanner(text, arguments, reader)
    out: list[bytes] = []
    while scanner.at < len(text):
        start = text.find(b"%", scanner.at)
        if start < 0:
            out.append(text[scanner.at :])
            break
        out.append(text[scanner.at : start])
        scanner.at = start + 1
        if scanner.peek() == ord("%"):
            out.append(b"%")
            scanner.at += 1
            continue
        out.append(_conversion(scanner))
    return b"".join(out)


def _conversion(scanner: _Scanner) -> bytes:
    """One conversion, from behind its ``%``."""
    value = scanner.argument()
    start = scanner.at
    while scanner.peek() in FLAGS:
        scanner.at += 1
    if scanner.peek() in DIGITS:
        while scanner.peek() in DIGITS:
            scanner.at += 1
    modifiers = scanner.text[start : scanner.at].decode()
    kind = chr(scanner.peek())
    if kind == "p":
        return _pointer(scanner, modifiers, value)
    if kind == "s":
        return _string(scanner, modifiers, "", value)
    if kind == "c":
        scanner.at += 1
        return _padded(modifiers, bytes([value & 0xFF]))
    bits = 32
    if kind == "l":
        scanner.at += 1
        bits = 64
        if scanner.peek() == ord("l"):
            scanner.at += 1
        kind = chr(scanner.peek())
    if kind not in ("i", "d", "u", "x", "X"):
        raise BadFormat
    scanner.at += 1
    return _integer(modifiers, kind, value & (1 << bits) - 1, bits)


def _integer(modifiers: str, kind: str, value: int, bits: int) -> bytes:
    if kind in "di":
        if value >> bits - 1:
            value -= 1 << bits
        return (f"%{modifiers}d" % value).encode()
    # C has no sign to show for unsigned conversions, Python would show one.
    modifiers = modifiers.replace("+", "").replace(" ", "")
    return (f"%{modifiers}{kind.replace('u', 'd')}" % value).encode()


def _padded(modifiers: str, text: bytes) -> bytes:
    """Text in a field: ``-`` puts it left, a width pads with spaces."""
    width = int(modifiers.lstrip("0+- ") or 0)
    return text.ljust(width) if "-" in modifiers else text.rjust(width)


def _string(scanner: _Scanner, modifiers: str, kind: str, address: int) -> bytes:
    if not scanner.ends(1):
        raise BadFormat
    scanner.at += 1
    try:
        text = scanner.reader.text(kind, address)
    except BadAddress:
        text = b""
    return _padded(modifiers, text)


def _pointer(scanner: _Scanner, modifiers: str, value: int) -> bytes:
    """``%p`` and what may follow it."""
    kind = chr(scanner.peek(1))
    if kind in "ku" and scanner.peek(2) == ord("s"):
        scanner.at += 2
        return _string(scanner, "", kind, value)  # Linux forgets the width here
    if scanner.ends(1) or kind in "xK":
        scanner.at += 1 if scanner.ends(1) else 2
        return _number(modifiers, value if kind == "x" else hashed(value))
    make = _POINTERS.get(kind)
    if make is not None:
        scanner.at += 2
        return _padded(modifiers, make(scanner.reader, value))
    size = {"4": 4, "6": 16}.get(chr(scanner.peek(2)))
    if kind not in "iI" or size is None:
        raise BadFormat
    scanner.at += 3
    try:
        data = scanner.reader.memory(value, size)
    except BadAddress:
        data = bytes(size)
    return _padded(modifiers, _address(data, kind))


def _number(modifiers: str, value: int) -> bytes:
    """A pointer as a number: sixteen digits, unless a width was asked for."""
    if modifiers.strip("0+- "):
        return _integer(modifiers, "x", value, 64)
    return f"{value:016x}".encode()


def hashed(value: int) -> int:
    """``%p``: a number that tells pointers apart without saying where they lie. What is no pointer
    stays: 0, and an errno in a pointer's clothes (``IS_ERR_OR_NULL``)."""
    if not value or value > MASK64 - MAX_ERRNO:
        return value
    from hashlib import blake2b

    digest = blake2b(value.to_bytes(8, "little"), digest_size=4).digest()
    return int.from_bytes(digest, "little")


_POINTERS: dict[str, Callable[[Reader, int], bytes]] = {
    "s": lambda reader, value: reader.symbol(value, offset=False).encode(),
    "S": lambda reader, value: reader.symbol(value, offset=True).encode(),
    "B": lambda reader, value: reader.symbol(value, offset=True).encode(),
}


def _address(data: bytes, kind: str) -> bytes:
    """``%pi4`` has leading zeros, ``%pI4`` has not; ``%pi6`` no colons, ``%pI6`` has."""
    if len(data) == 4:
        return ".".join(f"{byte:03d}" if kind == "i" else str(byte) for byte in data).encode()
    words = [data[offset : offset + 2].hex() for offset in range(0, 16, 2)]
    return (":" if kind == "I" else "").join(words).encode()
