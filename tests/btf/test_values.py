"""Bytes to values."""

import struct

import pytest

from minibcc.btf.types import Array, Enum, Float, Int, Member, Ptr, Struct, Type, Typedef, Volatile
from minibcc.btf.values import Value, text, value
from tests.btf.samples import BOOL, CHAR, INT, U64

COLOR = Enum("color", {"RED": 0, "BLUE": -5}, signed=True)
POINT = Struct("point", 8, (Member("x", INT, 0), Member("y", INT, 32)))
BITS = Struct("bits", 4, (Member("a", INT, 0, 3), Member("b", INT, 3, 9), Member("c", U64, 12, 20)))
NAMELESS = Struct(
    "", 8, (Member("whole", U64, 0), Member("half", Int("u", 4, signed=False), 0)), union=True
)
MIXED = Struct("mixed", 16, (Member("p", Ptr(None), 0), Member("", NAMELESS, 64)))


@pytest.mark.parametrize(
    ("type", "data", "expected"),
    [
        (INT, b"\xff\xff\xff\xff", -1),
        (U64, b"\xff" * 8, (1 << 64) - 1),
        (Typedef("t", Volatile(INT)), b"\1\0\0\0", 1),
        (BOOL, b"\1", True),
        (Ptr(INT), struct.pack("<Q", 0xFFFF_8000_0000_0000), 0xFFFF_8000_0000_0000),
        (COLOR, struct.pack("<i", -5), "BLUE"),
        (COLOR, struct.pack("<i", 7), 7),
        (Float("double", 8), struct.pack("<d", 0.5), 0.5),
        (Array(CHAR, 8), b"bash\0\0\0\0", "bash"),
        (Array(CHAR, 4), b"\xff\xfe\0\0", [-1, -2, 0, 0]),
        (Array(CHAR, 4), b"a\0b\0", [97, 0, 98, 0]),
        (Array(INT, 2), b"\1\0\0\0\2\0\0\0", [1, 2]),
        (Array(INT, 0), b"", []),
        (POINT, b"\1\0\0\0\xfe\xff\xff\xff", {"x": 1, "y": -2}),
        (BITS, struct.pack("<I", 5 | 0x1FF << 3 | 0xABCDE << 12), {"a": -3, "b": -1, "c": 0xABCDE}),
        (MIXED, struct.pack("<QQ", 16, 1 << 32 | 7), {"p": 16, "whole": 1 << 32 | 7, "half": 7}),
        (Array(POINT, 1), bytes(8), [{"x": 0, "y": 0}]),
    ],
)
def test_a_value(type: Type, data: bytes, expected: Value) -> None:
    assert value(type, data) == expected


@pytest.mark.parametrize(
    ("type", "data", "expected"),
    [
        (INT, b"\1\0\0\0", "1"),
        (BOOL, b"\0", "false"),
        (COLOR, b"\0\0\0\0", '"RED"'),
        (Array(CHAR, 8), b'a"b\0\0\0\0\0', '"a\\"b"'),
        (Array(INT, 2), b"\1\0\0\0\2\0\0\0", "[1,2]"),
        (Ptr(None), bytes(8), "null"),
        (POINT, b"\1\0\0\0\2\0\0\0", '{\n    "x": 1,\n    "y": 2\n}'),
        (
            MIXED,
            struct.pack("<QQ", 16, 7),
            '{\n    "p": "0x10",\n    "whole": 7,\n    "half": 7\n}',
        ),
    ],
)
def test_its_text(type: Type, data: bytes, expected: str) -> None:
    assert text(type, data) == expected


@pytest.mark.parametrize(
    ("type", "data"),
    [
        (INT, b"\0\0\0"),
        (POINT, bytes(7)),
        (Array(CHAR, 8), b"abc"),
        (Float("double", 8), bytes(4)),
        (Struct("unknown", complete=False), bytes(8)),
    ],
)
def test_what_is_cut_off_or_unknown_is_refused(type: Type, data: bytes) -> None:
    with pytest.raises(ValueError):
        value(type, data)
