"""Objects survive being bytes, and what is no object is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibcc.abi.bpf import MapType, ProgType
from minibcc.compiler.object import (
    BpfObject,
    Line,
    MapSpec,
    ProgramSpec,
    Relocation,
    dump,
    load,
)

NUMBERS = st.integers(0, 2**31)
NAMES = st.text(max_size=12)
LINES = st.builds(Line, NUMBERS, NAMES, NUMBERS, NUMBERS, NAMES)
RELOCATIONS = st.builds(Relocation, NUMBERS, NAMES, st.booleans(), NUMBERS)
PROGRAMS = st.builds(
    ProgramSpec,
    NAMES,
    NAMES,
    st.none() | st.sampled_from(ProgType),
    st.binary(max_size=40),
    st.lists(RELOCATIONS, max_size=3).map(tuple),
    st.lists(st.tuples(NUMBERS, NAMES, NUMBERS), max_size=3).map(tuple),
    st.lists(LINES, max_size=3).map(tuple),
    st.binary(max_size=20),
    st.binary(max_size=20),
    NUMBERS,
    NAMES,
    NUMBERS,
)
MAPS = st.builds(
    MapSpec,
    NAMES,
    st.sampled_from(MapType),
    *[NUMBERS] * 7,
    NAMES,
    NAMES,
    NAMES,
    st.binary(max_size=20),
    st.booleans(),
)
OBJECTS = st.builds(
    BpfObject,
    st.lists(PROGRAMS, max_size=3).map(tuple),
    st.lists(MAPS, max_size=3).map(tuple),
    NAMES,
    st.binary(max_size=40),
    st.dictionaries(NAMES, NAMES, max_size=3),
    st.lists(NAMES, max_size=3).map(tuple),
    NUMBERS,
)


@given(OBJECTS)
def test_round_trip(obj: BpfObject) -> None:
    again = load(dump(obj))
    assert again == obj
    assert all(isinstance(spec.type, MapType) for spec in again.maps)


@pytest.mark.parametrize("data", [b"", b"[]", b"[1,2]", b"{}", b"[2,[]]", b"\xff", b"[1,[1]]"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"object|Expecting|codec|unpack|form"):
        load(data)
