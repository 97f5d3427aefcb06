"""C types as ctypes classes: what BCC makes of them, and exactly BTF's layout."""

import ctypes as ct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibcc.bcc.values import Classes, scan, show, to_kernel
from minibcc.btf.types import Array, Const, Enum, Int, Member, Ptr, Struct, Typedef

U8 = Int("unsigned char", 1, False)
U16 = Int("unsigned short", 2, False)
U32 = Int("unsigned int", 4, False)
U64 = Int("unsigned long long", 8, False)
S32 = Int("int", 4, True)
CHAR = Int("char", 1, True)

PLAIN = [
    (U8, ct.c_ubyte),
    (Int("signed char", 1, True), ct.c_byte),
    (CHAR, ct.c_char),
    (Int("_Bool", 1, False, bool=True), ct.c_bool),
    (U16, ct.c_ushort),
    (S32, ct.c_int),
    (U32, ct.c_uint),
    (U64, ct.c_ulonglong),
    (Int("long", 8, True), ct.c_longlong),
    (Ptr(None), ct.c_ulonglong),
    (Typedef("u32", U32), ct.c_uint),
    (Const(Typedef("pid_t", S32)), ct.c_int),
    (Enum("state", {"A": 0}), ct.c_uint),
    (Enum("state", {"A": -1}, signed=True), ct.c_int),
]


@pytest.mark.parametrize(("type", "kind"), PLAIN, ids=lambda item: repr(item)[:40])
def test_plain_types(type, kind):
    assert Classes().of(type) is kind


def test_a_struct_reads_as_its_members():
    who = Struct("who", 20, (Member("pid", U32, 0), Member("comm", Array(CHAR, 16), 32)))
    made = Classes().of(who)
    value = made.from_buffer_copy(b"\x2a\0\0\0bash".ljust(20, b"\0"))
    assert (made.__name__, ct.sizeof(made)) == ("who", 20)
    assert (value.pid, value.comm) == (42, b"bash")


def test_the_same_struct_is_the_same_class():
    struct = Struct("s", 4, (Member("a", U32, 0),))
    classes = Classes()
    assert classes.of(struct) is classes.of(Typedef("t", struct))


def test_an_anonymous_struct_has_its_typedefs_name():
    made = Classes().of(Typedef("key_t", Struct("", 4, (Member("a", U32, 0),))))
    assert made.__name__ == "key_t"


def test_anonymous_members_are_seen_through():
    inner = Struct("", 8, (Member("low", U32, 0), Member("all", U64, 0)), union=True)
    made = Classes().of(Struct("s", 16, (Member("pid", U32, 0), Member("", inner, 64))))
    assert made.from_buffer_copy(bytes(8) + b"\x07" + bytes(7)).low == 7


def test_a_packed_struct_keeps_its_offsets():
    made = Classes().of(Struct("s", 5, (Member("a", U8, 0), Member("b", U32, 8))))
    assert ct.sizeof(made) == 5
    assert made.from_buffer_copy(b"\x01\x02\0\0\0").b == 2


def test_holes_that_c_would_not_make_are_padded():
    made = Classes().of(Struct("s", 16, (Member("a", U32, 0), Member("b", U32, 96))))
    assert (ct.sizeof(made), made.b.offset) == (16, 12)


def test_bitfields():
    made = Classes().of(
        Struct("s", 4, (Member("a", U32, 0, 3), Member("b", U32, 3, 5), Member("c", U32, 8, 24)))
    )
    value = made.from_buffer_copy((5 | 17 << 3 | 0x123456 << 8).to_bytes(4, "little"))
    assert (value.a, value.b, value.c) == (5, 17, 0x123456)


def test_bitfields_that_ctypes_cannot_place():
    # A bitfield of u64 that begins in the fourth byte: ctypes would start a new unit.
    made = Classes().of(Struct("s", 6, (Member("a", U32, 0, 30), Member("b", S32, 30, 18))))
    value = made.from_buffer_copy((7 | (-3 & (1 << 18) - 1) << 30).to_bytes(6, "little"))
    assert (value.a, value.b) == (7, -3)
    value.b = 9
    assert (value.a, value.b) == (7, 9)


def test_what_has_no_size_is_refused():
    with pytest.raises(ValueError, match="no size"):
        Classes().of(None)


def test_numbers_become_keys_of_the_right_width():
    assert to_kernel(5, ct.c_uint, 4) == b"\x05\0\0\0"
    assert to_kernel(ct.c_int(5), ct.c_ulonglong, 8) == b"\x05" + bytes(7)
    assert to_kernel(ct.c_uint(7), ct.c_uint, 4) == b"\x07\0\0\0"


def test_a_value_of_another_size_is_a_type_error():
    who = Classes().of(Struct("who", 8, (Member("a", U64, 0),)))
    with pytest.raises(TypeError, match="8 bytes"):
        to_kernel("text", who, 8)
    with pytest.raises(TypeError, match="8 bytes"):
        to_kernel((ct.c_ubyte * 4)(), who, 8)


def test_text_form_is_bccs():
    who = Classes().of(Struct("who", 12, (Member("a", U32, 0), Member("b", Array(U32, 2), 32))))
    value = who(10, (ct.c_uint * 2)(1, 255))
    assert show(value) == b"{ 0xa [ 0x1 0xff ] }"
    assert show(ct.c_int(-3)) == b"-0x3"


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**16 - 1), min_size=3, max_size=3))
def test_scan_reads_what_show_writes(number, numbers):
    kind = Classes().of(Struct("s", 12, (Member("a", U32, 0), Member("b", Array(U16, 3), 32))))
    value = kind(number, (ct.c_ushort * 3)(*numbers))
    assert bytes(scan(kind, show(value))) == bytes(value)


def test_scan_of_nonsense_is_a_value_error():
    kind = Classes().of(Struct("s", 4, (Member("a", U32, 0),)))
    with pytest.raises(ValueError, match=r"expected \{"):
        scan(kind, "0x1")
