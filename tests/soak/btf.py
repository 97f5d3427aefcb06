"""Malformed BTF: a good one with bytes changed, and records that refer to each other at will.

Whatever is not refused must bear all uses (views, values, encoding again): only ValueError may come
of it, and the child's time limit is for what never ends.
"""

from __future__ import annotations

import faulthandler
import random
from typing import Any

from minibcc.btf.decode import Btf
from minibcc.btf.dump import lines
from minibcc.btf.encode import encode
from minibcc.btf.layout import TAILS, Kind
from minibcc.btf.show import definitions
from minibcc.btf.values import value
from tests.btf.samples import raw, record
from tests.btf.test_decode import ENCODED, everything

SECONDS = 300
SIZED = (Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.DATASEC, Kind.FLOAT)


def run(count: int, seed: int) -> dict[str, Any]:
    """How many were decoded to the end, and what raised something else than ValueError."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    chance = random.Random(seed)
    decoded = 0
    failures = []
    for number in range(count):
        data = changed(chance) if number % 2 else graph(chance)
        try:
            decoded += use(data)
        except Exception as error:  # any is what is looked for
            failures.append(f"{error!r} of {data.hex()}")
    faulthandler.cancel_dump_traceback_later()
    return {"malformed": count, "decoded": decoded, "failures": failures}


def use(data: bytes) -> bool:
    """Whether it was decoded, and then used in every way."""
    try:
        btf = Btf(data)
        types = [type for type in everything(btf) if type is not None]
    except ValueError:
        return False
    for views in (lambda: list(lines(btf)), lambda: definitions(types)):
        _unless_refused(views)
    _unless_refused(lambda: Btf(encode(types).data))
    for type in types:
        _unless_refused(lambda type=type: value(type, bytes(64)))
    return True


def _unless_refused(action: Any) -> None:
    try:
        action()
    except ValueError:
        return


def changed(chance: random.Random) -> bytes:
    """A good BTF with one to five bytes changed."""
    data = bytearray(ENCODED)
    for _ in range(chance.randint(1, 5)):
        place = chance.randrange(len(data))
        data[place] = chance.choice((0, 1, 2, 255, chance.randrange(256), chance.randrange(40)))
    return bytes(data)


def graph(chance: random.Random) -> bytes:
    """Whole records whose ids, sizes and places make sense one by one."""
    size = chance.randint(2, 12)
    records = []
    for _ in range(size):
        kind = chance.choice(list(TAILS))
        tail = TAILS[kind]
        count = chance.randint(0, 3) if tail.each else 0
        words = [chance.randint(0, size) for _ in range(tail.fixed // 4)]
        if kind is Kind.INT:
            words = [chance.choice((8, 32, 64, 1 << 24 | 32))]
        for _ in range(count):
            if kind in (Kind.STRUCT, Kind.UNION):
                words += [0, chance.randint(1, size), chance.choice((0, 0, 32, 64))]
            else:
                words += [0, *(chance.randint(0, size) for _ in range(tail.each // 4 - 1))]
        word = chance.choice((1, 4, 8, 16)) if kind in SIZED else chance.randint(0, size)
        records.append(record(kind, word, *words, count=count, flag=chance.random() < 0.2))
    return raw(*records)
