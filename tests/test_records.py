"""Records: values with named fields."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

import pytest

from minibcc.records import Record, fields, replace

R = TypeVar("R")


class Point(Record):
    x: int
    y: int = 0


class Named(Point):
    kind: ClassVar[str] = "named"
    name: str = "?"


class Answer(Record, Generic[R]):
    value: R


class Cell(Record, frozen=False):
    content: int


def test_a_record_is_made_by_position_and_by_name():
    assert Point(1) == Point(x=1) == Point(1, 0) == Point(1, y=0)
    assert Named(1, 2, "a") == Named(1, name="a", y=2)
    assert repr(Named(1)) == "Named(x=1, y=0, name='?')"
    assert Named.kind == "named"


def test_equality_is_by_class_and_fields():
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 0) != Named(1, 0)
    assert hash(Point(1, 2)) == hash(Point(1, 2))
    assert {Point(1): "one"}[Point(1, 0)] == "one"
    assert Answer[int](1) == Answer(1)


def test_a_mutable_record_has_an_identity():
    cell = Cell(1)
    other = Cell(1)
    assert cell != other
    cell.content = 2
    assert fields(cell) == {"content": 2}
    assert len({cell, other}) == 2


def test_fields_and_replace():
    assert fields(Point(1, 2)) == {"x": 1, "y": 2}
    assert replace(Point(1, 2), y=5) == Point(1, 5)


def test_match_takes_a_record_apart():
    match Point(3, 4):
        case Point(x, y):
            assert (x, y) == (3, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Point(), "Point lacks its field 'x'"),
        (lambda: Point(1, 2, 3), "Point takes 2 fields, not 3"),
        (lambda: Point(1, z=2), "Point has no field, or twice, 'z'"),
        (lambda: Point(1, x=2), "Point has no field, or twice, 'x'"),
    ],
)
def test_wrong_fields_are_refused(make, message):
    with pytest.raises(TypeError, match=message.replace("(", r"\(")):
        make()


def test_a_record_holds_no_other_names():
    with pytest.raises(AttributeError):
        Point(1).z = 3
