"""Decoding: what is found, what is refused, and that nothing hostile crashes or hangs."""

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibcc.btf.decode import Btf
from minibcc.btf.encode import encode
from minibcc.btf.layout import Kind
from minibcc.btf.types import Enum, Func, Int, Ptr, Struct, Type, Typedef, align_of, size_of, strip
from tests.btf.samples import every_kind, raw, record

LIVE = Path("/sys/kernel/btf/vmlinux")
ENCODED = encode(every_kind()).data


def everything(btf: Btf) -> list[Type | None]:
    """Every type, with all that is fetched on demand, laid out as whoever uses it would."""
    found = []
    for type_id in range(btf.count + 1):
        type = btf.type(type_id)
        for part in ("members", "of", "values"):
            getattr(type, part, None)
        strip(type)
        align_of(type)
        found.append(type)
    return found


def test_finds_by_kind_and_name() -> None:
    btf = Btf(ENCODED)
    node = btf.find(Kind.STRUCT, "node")
    assert isinstance(node, Struct)
    assert node is btf.find(Kind.STRUCT, "node")
    assert node.members[0].type == Ptr(node)
    assert btf.type(btf.id_of(node)) is node
    assert btf.find(Kind.UNION, "node") is None
    assert btf.find(Kind.STRUCT, "nod") is None
    assert btf.find(Kind.STRUCT, "") is None
    call = btf.find(Kind.FUNC, "call")
    assert isinstance(call, Func) and call.proto.variadic
    assert [param.name for param in call.proto.params] == ["node", "name"]


def test_finds_enumerators() -> None:
    btf = Btf(ENCODED)
    found = btf.find_enumerator("HIGH")
    assert found is not None and found[0].name == "wide" and found[1] == 1 << 40
    assert btf.find_enumerator("BLUE") == (btf.find(Kind.ENUM, "color"), -3)
    assert btf.find_enumerator("GREEN") is None
    assert btf.find_enumerator("color") is None


def test_id_of_a_type_from_elsewhere_goes_by_name() -> None:
    btf = Btf(ENCODED)
    assert btf.kind(btf.id_of(Enum("color"))) is Kind.ENUM
    assert btf.id_of(None) == 0
    with pytest.raises(KeyError, match="not in this BTF"):
        btf.id_of(Struct("unheard"))
    with pytest.raises(KeyError, match="no type 9999"):
        btf.type(9999)


def test_every_kind_is_decoded() -> None:
    btf = Btf(ENCODED)
    everything(btf)
    assert {btf.kind(type_id) for type_id in range(btf.count + 1)} == set(Kind)


def test_index_is_kept_behind_the_strings_or_apart() -> None:
    index = Btf(ENCODED).index
    padded = ENCODED + bytes(-len(ENCODED) % 4)
    for btf in (Btf(padded + index), Btf(ENCODED, index=index)):
        assert btf.index == index
        assert btf.data == ENCODED
        assert btf.fingerprint == Btf(ENCODED).fingerprint
        assert btf.find(Kind.ENUM, "color") is not None
    with pytest.raises(ValueError, match="another BTF"):
        Btf(raw(record(Kind.PTR, 0)), index=index)
    assert Btf(ENCODED + b"something else").find(Kind.ENUM, "color") is not None


def test_split_btf_continues_its_base() -> None:
    base = Btf(ENCODED)
    strings = len(base.raw.strings)
    first = base.count + 1
    module = raw(
        record(Kind.TYPEDEF, base.id_of(base.find(Kind.STRUCT, "node")), name=strings),
        record(Kind.PTR, first),
        strings=b"module_t\0",
    )
    btf = Btf(module, base=base)
    assert (btf.first, btf.count) == (first, 2)
    alias = btf.find(Kind.TYPEDEF, "module_t")
    assert isinstance(alias, Typedef)
    assert alias.of is base.find(Kind.STRUCT, "node") is btf.find(Kind.STRUCT, "node")
    assert btf.type(first + 1) == Ptr(alias)
    assert btf.id_of(alias) == first
    assert btf.id_of(alias.of) == base.id_of(alias.of)
    assert btf.find_enumerator("HIGH") == base.find_enumerator("HIGH")
    assert Btf(module, base=base, index=btf.index).find(Kind.TYPEDEF, "module_t") is not None


def test_integers_with_fewer_bits_make_bit_fields() -> None:
    btf = Btf(
        raw(
            record(Kind.INT, 4, 1 << 24 | 2 << 16 | 5),
            record(Kind.STRUCT, 4, 0, 1, 8, count=1),
        )
    )
    struct_ = btf.type(2)
    assert isinstance(struct_, Struct)
    (member,) = struct_.members
    assert (member.offset, member.bits) == (10, 5)
    assert member.type == Int("", 4, signed=True)


PTR_TO_2 = record(Kind.PTR, 2)
INT = record(Kind.INT, 4, 32)
MALFORMED = {
    "empty": (b"", "cut off at byte 0"),
    "no magic": (b"\x7fELF" + bytes(40), "no BTF at byte 0"),
    "version": (b"\x9f\xeb\x02" + bytes(40), "version 2 at byte 2"),
    "short header": (struct.pack("<HBBI", 0xEB9F, 1, 0, 8) + bytes(16), "byte 4"),
    "types outside": (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 400, 0, 0), "behind the end"),
    "strings outside": (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 9), "behind the end"),
    "unaligned": (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 2, 0, 0, 0), "not aligned"),
    "no final NUL": (raw(strings=b"\0a"), "NUL"),
    "cut record": (raw(INT[:8]), "cut off at byte 0"),
    "cut tail": (raw(INT, record(Kind.STRUCT, 4, 0, 1, count=1)), "cut off"),
    "unknown kind": (raw(INT, struct.pack("<III", 0, 25 << 24, 0)), "kind at byte 16"),
    "kind 0": (raw(struct.pack("<III", 0, 0, 0)), "kind at byte 0"),
    "name outside": (raw(record(Kind.FLOAT, 4, name=77)), "outside"),
    "name no text": (raw(record(Kind.FLOAT, 4, name=1), strings=b"\0\xff\0"), "no text"),
    "no such id": (raw(record(Kind.PTR, 7)), "no type 7"),
    "pointers in a circle": (raw(PTR_TO_2, record(Kind.PTR, 1)), "too deeply"),
    "typedef of itself": (raw(record(Kind.TYPEDEF, 1, name=0)), "made of itself"),
    "typedef of a pointer to itself": (raw(PTR_TO_2, record(Kind.TYPEDEF, 1)), "made of itself"),
    "const in a circle": (raw(record(Kind.CONST, 2), record(Kind.CONST, 1)), "itself"),
    "array of itself": (raw(record(Kind.ARRAY, 0, 1, 1, 1)), "deeply"),
    "array of void": (raw(record(Kind.ARRAY, 0, 0, 0, 1)), "void"),
    "struct in itself": (raw(record(Kind.STRUCT, 4, 0, 1, 0, count=1)), "contains itself"),
    "empty array of itself": (
        raw(record(Kind.STRUCT, 4, 0, 2, 0, count=1), record(Kind.ARRAY, 0, 1, 1, 0)),
        "contains itself",
    ),
    "empty array of what contains it": (
        raw(
            record(Kind.STRUCT, 4, 0, 3, 0, count=1),
            record(Kind.STRUCT, 8, 0, 1, 0, count=1),
            record(Kind.ARRAY, 0, 2, 2, 0),
        ),
        "contains itself",
    ),
    "structs in each other": (
        raw(
            record(Kind.STRUCT, 4, 0, 2, 0, count=1),
            record(Kind.TYPEDEF, 3),
            record(Kind.UNION, 4, 0, 1, 0, count=1),
        ),
        "contains itself",
    ),
    "member outside": (raw(INT, record(Kind.STRUCT, 4, 0, 1, 40, count=1)), "outside"),
    "member of void": (raw(record(Kind.STRUCT, 4, 0, 0, 0, count=1)), "void"),
    "member is a function": (
        raw(record(Kind.FUNC_PROTO, 0), record(Kind.STRUCT, 4, 0, 1, 0, count=1)),
        "no thing",
    ),
    "function without prototype": (raw(INT, record(Kind.FUNC, 1)), "without a prototype"),
    "section of no variable": (raw(INT, record(Kind.DATASEC, 4, 1, 0, 4, count=1)), "variables"),
    "member too large": (
        raw(record(Kind.STRUCT, 4, 0, 2, 32, count=1), record(Kind.UNION, 16, 0, 1, 0, count=1)),
        "something larger",
    ),
    "float of 3 bytes": (raw(record(Kind.FLOAT, 3)), "3 bytes"),
    "integer of 3 bytes": (raw(record(Kind.INT, 3, 24)), "3 bytes"),
    "enumeration of 3 bytes": (raw(record(Kind.ENUM, 3)), "3 bytes"),
    "tag of void": (raw(record(Kind.DECL_TAG, 0, 0)), "void"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_is_refused(name: str) -> None:
    data, message = MALFORMED[name]
    with pytest.raises(ValueError, match=message):
        everything(Btf(data))


@settings(max_examples=300)
@given(st.data())
def test_hostile_bytes_raise_value_errors_only(data: st.DataObject) -> None:
    """A valid BTF with a few bytes changed is decoded or refused."""
    changed = bytearray(ENCODED)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 30))
    try:
        btf = Btf(bytes(changed[: len(changed) - cut]))
        everything(btf)
        btf.find(Kind.STRUCT, "node")
        btf.find_enumerator("RED")
    except ValueError:
        pass


ROWS = st.tuples(
    st.sampled_from(Kind),
    st.integers(0, 9),
    st.integers(0, 3),
    st.booleans(),
    st.lists(st.integers(0, 9), max_size=9),
)


@settings(max_examples=200)
@given(st.lists(ROWS, min_size=1, max_size=9))
def test_hostile_graphs_raise_value_errors_only(
    rows: list[tuple[Kind, int, int, bool, list[int]]],
) -> None:
    """Records that refer to each other at will are decoded or refused."""
    records = [
        record(kind, word, *tail, count=count, flag=flag) for kind, word, count, flag, tail in rows
    ]
    with suppress(ValueError):
        everything(Btf(raw(*records)))


@given(st.binary(max_size=120), st.integers(0, 200))
def test_hostile_indexes_raise_value_errors_only(junk: bytes, place: int) -> None:
    index = bytearray(Btf(ENCODED).index)
    index[place : place + len(junk)] = junk
    try:
        btf = Btf(ENCODED, index=bytes(index))
        everything(btf)
        btf.find(Kind.STRUCT, "node")
    except ValueError:
        pass


@pytest.mark.kernel
@pytest.mark.skipif(not LIVE.exists(), reason="this kernel shows no BTF")
def test_the_live_kernel() -> None:
    btf = Btf(LIVE.read_bytes())
    task = btf.find(Kind.STRUCT, "task_struct")
    assert isinstance(task, Struct)
    assert task.size == size_of(task) > 1000 and task.align >= 8
    types = everything(btf)
    assert len(types) == btf.count + 1
    assert btf.index == Btf(btf.data, index=btf.index).index
