"""The rows of BCC's interface to C, from files of small texts: one section a file.

A text begins with ``/// ID what it is about``, then lines ``/// WORD VALUE``:

    load     the program type; a name's prefix must say the same, if it says anything; "nothing"
             for a program that attaches to what this kernel need not have
    returns  what running the program on `packet` (or an empty context) gives
    packet   a name of `PACKETS`
    license  the object's
    refused  a word of what the verifier says
    pinned   a path to unlink afterwards
    lacks    what the simulated kernel does not do yet, in a word of its refusal
    absent   what the running kernel may be built without: there the text only compiles
"""

from __future__ import annotations

from pathlib import Path

from minibcc.abi.bpf import ProgType
from minibcc.records import Record

FOLDER = Path(__file__).parent / "rows"

PACKETS = {
    "": bytes(64),
    "tcp": bytes.fromhex(
        "ffeeddccbbaa 665544332211 0800"
        "4510003c abcd4000 3f06 1234 0a000001 0a000002"
        "1f90 0050 11223344 55667788 5018 7210 4321 0007"
    )
    + b"GET / HTTP/1.1\r\n\r\n",
}
"""Frames to run on: nothing, and TCP with a payload."""


class Row(Record):
    """One text; `id` is the row of the interface that it shows."""

    id: str
    title: str
    text: str
    load: str = ""
    returns: str = ""
    packet: str = ""
    license: str = ""
    refused: str = ""
    pinned: str = ""
    lacks: str = ""
    absent: str = ""

    @property
    def prog_type(self) -> ProgType:
        return ProgType[self.load]


def rows() -> list[Row]:
    """All rows, by section."""
    found: list[Row] = []
    for path in sorted(FOLDER.glob("*.c")):
        for part in ("\n" + path.read_text()).split("\n\n/// ")[0:]:
            head, *lines = part.lstrip("\n").removeprefix("/// ").split("\n")
            number, _, title = head.partition(" ")
            said = [line for line in lines if line.startswith("/// ")]
            words = dict(line.removeprefix("/// ").split(" ", 1) for line in said)
            text = "\n".join(line for line in lines if not line.startswith("/// "))
            found.append(Row(number, title, text, **words))
    return found
