"""A program's tag."""

from __future__ import annotations

from minibcc.isa.tag import tag_sha1, tag_sha256
from minibcc.isa.text import assemble
from tests.isa.test_text import HELLO


def test_hello() -> None:
    program = assemble(HELLO)
    assert tag_sha1(program).hex() == "38dd440716c4900f"
    assert tag_sha256(program).hex() == "c21893ee8040b45c"


def test_maps_do_not_count() -> None:
    text = "r1 = map[m]\nr2 = map[m][0]+8\nr0 = 0\nexit"
    assert tag_sha256(assemble(text, {"m": 3})) == tag_sha256(assemble(text, {"m": 99}))
    assert tag_sha1(assemble(text, {"m": 3})) == tag_sha1(assemble(text, {"m": 99}))


def test_other_numbers_count() -> None:
    assert tag_sha256(assemble("r0 = 0x1\nexit")) != tag_sha256(assemble("r0 = 0x2\nexit"))
