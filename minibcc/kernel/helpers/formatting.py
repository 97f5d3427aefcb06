"""Format strings, as the kernel lets programs use them.

First every conversion is checked and its argument fetched, then text is made; so a bad format
prints nothing. Mirrors ``bpf_bprintf_prepare`` of kernel/bpf/helpers.c and lib/vsprintf.c.

Conversions: ``%d %i %u %x %X`` with ``l`` and ``ll``, ``%c``, ``%s`` and ``%pks`` (kernel text),
``%pus`` (user text), ``%p %px %pK`` (pointers; the first and third are hashed), ``%ps %pS %pB``
(symbols), ``%pi4 %pI4 %pi6 %pI6`` (addresses), ``%%``; flags 0 + - and space, and a width.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EINVAL
from typing import Protocol

from minibcc.machine.memory import BadAddress

REFUSED = frozenset({*range(32), 127} - set(b"\t\n\v\f\r"))
"""Characters that no format may hold; texts in UTF-8 pass."""
SPACE = frozenset(b" \t\n\v\f\r\xa0")
PUNCTUATION = frozenset((*b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", *range(0xA1, 0xC0), 0xD7, 0xF7))
"""Linux takes bytes for Latin-1 (lib/ctype.c)."""
DIGITS = frozenset(b"0123456789")
ALPHANUMERIC = frozenset((*DIGITS, *range(0x41, 0x5B), *range(0x61, 0x7B), *range(0xC0, 0x100))) - {
    0xD7,
    0xF7,
}
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


class Nowhere:
    """A `Reader` that reads nothing, for who only wants to know whether a format is one."""

    def text(self, kind: str, address: int) -> bytes:
        return b""

    def memory(self, address: int, size: int) -> bytes:
        return bytes(size)

    def symbol(self, address: int, *, offset: bool) -> str:
        return ""


def format_message(
    text: bytes, arguments: Sequence[int], reader: Reader, room: int = 1 << 32
) -> bytes:
    """The message. `text` is without its NUL, `room` the bytes that the message's buffer has: what
    Linux makes into text beforehand counts only where it begins inside. Raises BadFormat."""
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
        made, early = _conversion(scanner)
        if not early or sum(map(len, out)) < room:
            out.append(made)
    return b"".join(out)


def _conversion(scanner: _Scanner) -> tuple[bytes, bool]:
    """One conversion, from behind its ``%``, and whether it is one that ``bpf_bprintf_prepare``
    makes into text itself."""
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
        return _padded(modifiers, _string(scanner, "", value)), False
    if kind == "c":
        scanner.at += 1
        return _padded(modifiers, bytes([value & 0xFF])), False
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
    return _integer(modifiers, kind, value & (1 << bits) - 1, bits), False


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


def _string(scanner: _Scanner, kind: str, address: int) -> bytes:
    if not scanner.ends(1):
        raise BadFormat
    scanner.at += 1
    try:
        return scanner.reader.text(kind, address)
    except BadAddress:
        return b""


def _pointer(scanner: _Scanner, modifiers: str, value: int) -> tuple[bytes, bool]:
    """``%p`` and what may follow it. Letters and digits behind are taken for more of it, and text
    that was made before has no width any more (``bstr_printf``)."""
    made, early = _pointed(scanner, value)
    while scanner.peek() in ALPHANUMERIC:
        scanner.at += 1
    if isinstance(made, int):
        return _number(modifiers, made), early
    return made if early else _padded(modifiers, made), early


def _pointed(scanner: _Scanner, value: int) -> tuple[bytes | int, bool]:
    """What a pointer is shown as, and whether it is text already."""
    kind = chr(scanner.peek(1))
    if kind in "ku" and scanner.peek(2) == ord("s"):
        scanner.at += 2
        return _string(scanner, kind, value), True
    if scanner.ends(1) or kind in "xK":
        scanner.at += 1 if scanner.ends(1) else 2
        return value if kind == "x" else hashed(value), False
    if kind in ("s", "S", "B"):
        scanner.at += 2
        return scanner.reader.symbol(value, offset=kind != "s").encode(), kind == "B"
    size = {"4": 4, "6": 16}.get(chr(scanner.peek(2)))
    if kind not in "iI" or size is None:
        raise BadFormat
    scanner.at += 3
    try:
        data = scanner.reader.memory(value, size)
    except BadAddress:
        data = bytes(size)
    return _address(data, kind), True


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


def _address(data: bytes, kind: str) -> bytes:
    """``%pi4`` has leading zeros, ``%pI4`` has not; ``%pi6`` no colons, ``%pI6`` has."""
    if len(data) == 4:
        return ".".join(f"{byte:03d}" if kind == "i" else str(byte) for byte in data).encode()
    words = [data[offset : offset + 2].hex() for offset in range(0, 16, 2)]
    return (":" if kind == "I" else "").join(words).encode()
