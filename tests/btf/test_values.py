"""Bytes to values."""

import os
import struct
import subprocess
from shutil import which

import pytest

from minibcc.abi.bpf import MapType
from minibcc.abi.requests import BtfLoad, MapCreate, MapGetInfo, MapUpdate
from minibcc.btf.encode import encode
from minibcc.btf.types import (
    Array,
    DataSec,
    Enum,
    Float,
    Int,
    Member,
    Ptr,
    SecVar,
    Struct,
    Type,
    Typedef,
    Var,
    Volatile,
    align_of,
    size_of,
)
from minibcc.btf.values import Value, text, value
from minibcc.system.linux import LinuxSystem
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
        (Array(CHAR, 4), b"a\0b\0", "a"),
        (Array(CHAR, 4), b"abcd", [97, 98, 99, 100]),
        (Array(Int("unsigned char", 1, signed=False), 2), b"a\0", [97, 0]),
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
    ("type", "data", "expected", "in_json"),
    [
        (INT, b"\1\0\0\0", "1", "1"),
        (BOOL, b"\0", "false", "false"),
        (COLOR, b"\0\0\0\0", '"RED"', '"RED"'),
        (COLOR, b"\7\0\0\0", "7", "7"),
        (Array(CHAR, 8), b'a"b\0\0\0\0\0', '"a\\"b"', '"a\\"b"'),
        (Array(INT, 2), b"\1\0\0\0\2\0\0\0", "[1,2\n]", "[1,2\n]"),
        (Array(INT, 0), b"", "[]", "[]"),
        (Struct("none"), b"", "{}", "{}"),
        (Ptr(None), bytes(8), "(nil)", "0"),
        (Ptr(None), b"\x10" + bytes(7), "0x10", "16"),
        (Int("__int128", 16, signed=True), b"\xff" * 16, "0x" + "f" * 32, f'"0x{"f" * 32}"'),
        (Int("char", 1, signed=False, char=True), b"x", '"x"', '"x"'),
        (Float("double", 8), struct.pack("<d", 0.5), "0.5", "0.5"),
        (POINT, b"\1\0\0\0\2\0\0\0", *['{\n    "x": 1,\n    "y": 2\n}'] * 2),
    ],
)
def test_its_text(type: Type, data: bytes, expected: str, in_json: str) -> None:
    assert text(type, data) == expected
    assert text(type, data, json=True) == in_json


def test_bit_fields_are_hexadecimal_whatever_their_sign() -> None:
    assert text(BITS, b"\5\0\0\0").splitlines()[1] == '    "a": 0x5,'
    assert text(BITS, b"\5\0\0\0", json=True).splitlines()[1] == '    "a": "0x5",'


def test_unnamed_members_stand_in_an_object_of_their_own() -> None:
    assert text(MIXED, struct.pack("<QQ", 16, 7)) == (
        '{\n    "p": 0x10,\n    "": {\n        "whole": 7,\n        "half": 7\n    }\n}'
    )


def test_globals_are_listed_by_section() -> None:
    state = Var("state", INT)
    section = DataSec(".data", 8, (SecVar(state, 4, 4),))
    data = b"\0\0\0\0\7\0\0\0"
    assert value(section, data) == {"state": 7}
    wanted = '{"": [{"state": 7}]}'.replace('""', '".data"')
    assert "".join(text(section, data).split()) == wanted.replace(" ", "")


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


def _everything() -> Struct:
    """A struct with a member of every kind, aligned as C would."""
    types = [
        INT, Array(CHAR, 8), Array(CHAR, 4), COLOR, COLOR, Ptr(None), Ptr(INT), BOOL, CHAR, POINT,
        Array(POINT, 2), U64, Array(Array(CHAR, 4), 2), Array(BOOL, 2), Array(Ptr(INT), 2),
        NAMELESS, Int("unsigned __int128", 16, signed=False), Int("long long", 8, signed=True),
        BITS,
    ]  # fmt: skip
    members = []
    end = 0
    for number, type in enumerate(types):
        align = 8 * align_of(type)
        end = -(-end // align) * align
        members.append(Member("" if type is NAMELESS else f"m{number}", type, end))
        end += 8 * size_of(type)
    return Struct("everything", -(-end // 128) * 16, tuple(members))


@pytest.mark.kernel
@pytest.mark.tool
@pytest.mark.skipif(not which("bpftool"), reason="no bpftool here")
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
def test_bpftool_prints_the_same_of_a_live_map() -> None:
    """A map of the live kernel with every kind of value, filled with bytes of every kind."""
    system = LinuxSystem()
    everything = _everything()
    encoded = encode([INT, everything])
    content = bytes((7 * i * i) % 251 if i % 3 else 0 for i in range(everything.size))
    btf = system.bpf(BtfLoad(encoded.data))
    try:
        fd = system.bpf(
            MapCreate(
                MapType.ARRAY,
                4,
                everything.size,
                1,
                btf_fd=btf,
                btf_key_type_id=encoded.id_of(INT),
                btf_value_type_id=encoded.id_of(everything),
            )
        )
        try:
            system.bpf(MapUpdate(fd, bytes(4), content))
            number = str(system.bpf(MapGetInfo(fd)).id)
            printed = [
                subprocess.run(
                    ["bpftool", "map", "dump", "id", number, *options],
                    capture_output=True, text=True, check=True,
                ).stdout
                for options in ([], ["-p"])
            ]  # fmt: skip
        finally:
            system.close(fd)
    finally:
        system.close(btf)
    assert f'"value": {text(everything, content, 2)}\n' in printed[0]
    assert f'"value": {text(everything, content, 3, json=True)}\n' in printed[1]
