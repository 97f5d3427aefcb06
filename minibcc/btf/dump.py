"""A BTF's records as text, one line a record and one a part: ``[1] INT 'int' size=4 ...``.

What ``bpftool btf dump`` prints without a format; ids are those of the BTF.
"""

from __future__ import annotations

from collections.abc import Iterator

from minibcc.btf.decode import Btf
from minibcc.btf.layout import INT_BOOL, INT_CHAR, INT_SIGNED, MODIFIERS, Kind
from minibcc.btf.types import Var

_LINKAGES = {0: "static", 1: "global", 2: "extern"}
_ENCODINGS = {0: "(none)", INT_SIGNED: "SIGNED", INT_CHAR: "CHAR", INT_BOOL: "BOOL"}


def lines(btf: Btf) -> Iterator[str]:
    """All records of `btf`, without those of its base."""
    raw = btf.raw
    for type_id, kind, at, name, info, word in raw.walk():
        head = f"[{type_id}] {kind.name} '{raw.name(name, at) or '(anon)'}'"
        yield f"{head} {_rest(btf, type_id, kind, info, word)}"
        yield from _parts(btf, type_id, kind, info, at)


def _rest(btf: Btf, type_id: int, kind: Kind, info: int, word: int) -> str:
    """The record's own numbers."""
    count, flag = info & 0xFFFF, info >> 31
    match kind:
        case Kind.INT:
            ((number,),) = btf.raw.tail(type_id, "<I")
            encoding = _ENCODINGS.get(number >> 24 & 0xF, "UNKN")
            return (
                f"size={word} bits_offset={number >> 16 & 0xFF} nr_bits={number & 0xFF}"
                f" encoding={encoding}"
            )
        case Kind.ARRAY:
            ((of, index, elements),) = btf.raw.tail(type_id, "<III")
            return f"type_id={of} index_type_id={index} nr_elems={elements}"
        case Kind.STRUCT | Kind.UNION | Kind.DATASEC:
            return f"size={word} vlen={count}"
        case Kind.ENUM | Kind.ENUM64:
            return f"encoding={'SIGNED' if flag else 'UNSIGNED'} size={word} vlen={count}"
        case Kind.FWD:
            return f"fwd_kind={'union' if flag else 'struct'}"
        case Kind.FUNC:
            return f"type_id={word} linkage={_LINKAGES.get(count, '(unknown)')}"
        case Kind.FUNC_PROTO:
            return f"ret_type_id={word} vlen={count}"
        case Kind.VAR:
            ((linkage,),) = btf.raw.tail(type_id, "<I")
            return f"type_id={word}, linkage={_LINKAGES.get(linkage, '(unknown)')}"
        case Kind.FLOAT:
            return f"size={word}"
        case Kind.DECL_TAG:
            ((component,),) = btf.raw.tail(type_id, "<i")
            return f"type_id={word} component_idx={component}"
    assert kind is Kind.PTR or kind in MODIFIERS
    return f"type_id={word}"


def _parts(btf: Btf, type_id: int, kind: Kind, info: int, at: int) -> Iterator[str]:
    """Members, enumerators, parameters, variables."""
    raw = btf.raw
    count, flag = info & 0xFFFF, info >> 31

    def name(offset: int) -> str:
        return raw.name(offset, at) or "(anon)"

    match kind:
        case Kind.STRUCT | Kind.UNION:
            for text, of, place in raw.tail(type_id, "<III", count):
                bits = place >> 24 if flag else 0
                place = place & 0xFFFFFF if flag else place
                field = f" bitfield_size={bits}" if bits else ""
                yield f"\t'{name(text)}' type_id={of} bits_offset={place}{field}"
        case Kind.ENUM:
            for text, value in raw.tail(type_id, "<Ii" if flag else "<II", count):
                yield f"\t'{name(text)}' val={value}"
        case Kind.ENUM64:
            for text, low, high in raw.tail(type_id, "<IIi" if flag else "<III", count):
                yield f"\t'{name(text)}' val={high << 32 | low}{'LL' if flag else 'ULL'}"
        case Kind.FUNC_PROTO:
            for text, of in raw.tail(type_id, "<II", count):
                yield f"\t'{name(text)}' type_id={of}"
        case Kind.DATASEC:
            for of, offset, size in raw.tail(type_id, "<III", count):
                variable = btf.type(of)
                known = f" (VAR '{variable.name}')" if isinstance(variable, Var) else ""
                yield f"\ttype_id={of} offset={offset} size={size}{known}"
