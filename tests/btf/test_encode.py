"""Encoding: round trips, merging, and what other readers make of it."""

import os
import subprocess
from pathlib import Path
from shutil import which

import pytest
from hypothesis import given

from minibcc.btf.decode import Btf
from minibcc.btf.encode import encode
from minibcc.btf.layout import Kind
from minibcc.btf.types import Enum, Func, FuncProto, Int, Member, Param, Ptr, Struct, Type, Typedef
from tests.btf.samples import INT, every_kind, shape, types


def test_every_kind_survives() -> None:
    roots = every_kind()
    encoded = encode(roots)
    btf = Btf(encoded.data)
    for root in roots:
        assert shape(btf.type(encoded.id_of(root))) == shape(root)


def test_encoding_again_gives_the_same_bytes() -> None:
    data = encode(every_kind()).data
    assert encode(every_kind()).data == data
    btf = Btf(data)
    again = Btf(encode([t for i in range(1, btf.count + 1) if (t := btf.type(i))]).data)
    assert (again.count, len(again.data)) == (btf.count, len(btf.data))


@given(types)
def test_any_type_survives(type: Type) -> None:
    encoded = encode([type])
    btf = Btf(encoded.data)
    assert shape(btf.type(encoded.id_of(type))) == shape(type)


def list_head() -> Struct:
    head = Struct("list_head", complete=False)
    head.define(16, (Member("next", Ptr(head), 0), Member("prev", Ptr(head), 64)), 8)
    return head


def test_equal_types_become_one_even_in_circles() -> None:
    one, other = list_head(), list_head()
    encoded = encode([one, other, Ptr(one), Ptr(other)])
    assert encoded.id_of(one) == encoded.id_of(other)
    assert Btf(encoded.data).count == 2
    different = Struct("list_head", 8, (Member("next", Ptr(one), 0),))
    assert encode([one, different]).id_of(one) != encode([one, different]).id_of(different)


def test_a_forward_declaration_is_its_struct_where_that_is_known() -> None:
    forward = Struct("list_head", complete=False)
    encoded = encode([Ptr(forward), list_head()])
    btf = Btf(encoded.data)
    assert btf.find(Kind.FWD, "list_head") is None
    assert btf.kind(encoded.id_of(forward)) is Kind.STRUCT
    other = encode([Ptr(Struct("list_head", complete=False, union=True)), list_head()])
    assert Btf(other.data).find(Kind.FWD, "list_head") is not None


def test_structs_can_be_cut_to_declarations() -> None:
    outer = Struct("outer", 8, (Member("head", Ptr(list_head()), 0),))
    btf = Btf(encode([outer], forward=lambda struct: struct.name == "list_head").data)
    assert btf.find(Kind.STRUCT, "list_head") is None
    assert btf.find(Kind.FWD, "list_head") is not None


def test_names_share_their_ends() -> None:
    data = encode([Typedef("pid_t", INT), Typedef("kernel_pid_t", INT), Typedef("t", INT)]).data
    assert data.count(b"pid_t") == 1
    assert sorted(name for _, name in Btf(data).named(Kind.TYPEDEF)) == [
        "kernel_pid_t",
        "pid_t",
        "t",
    ]


def test_dots_may_be_a_parameter_or_a_flag() -> None:
    flagged = FuncProto(INT, (Param("a", INT),), variadic=True)
    dotted = FuncProto(INT, (Param("a", INT), Param("", None)), variadic=True)
    encoded = encode([Func("a", flagged), Func("a", dotted)])
    assert encoded.id_of(flagged) == encoded.id_of(dotted)
    assert encoded.id_of(FuncProto(INT, (Param("a", INT),), variadic=True)) == encoded.id_of(
        flagged
    )
    with pytest.raises(KeyError, match="not encoded"):
        encoded.id_of(Ptr(None))


@pytest.mark.parametrize(
    ("type", "message"),
    [
        (Enum("e", {"A": 1 << 32}), "does not fit into 32 bits"),
        (Enum("e", {"A": -1}), "does not fit"),
        (Enum("e", {f"A{i}": i for i in range(1 << 16)}), "too many for BTF"),
        (Typedef("a\0b", INT), "NUL"),
        (Struct("s", 1 << 22, (Member("a", INT, 1 << 24, 1),)), "cannot place its bit field 'a'"),
    ],
)
def test_what_btf_cannot_say_is_refused(type: Type, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode([type])


@pytest.mark.tool
@pytest.mark.skipif(not which("bpftool"), reason="no bpftool here")
def test_bpftool_reads_it(tmp_path: Path) -> None:
    encoded = encode(every_kind())
    path = tmp_path / "sample.btf"
    path.write_bytes(encoded.data)
    run = subprocess.run(
        ["bpftool", "btf", "dump", "file", path], capture_output=True, text=True, check=True
    )
    assert run.stdout.count("\n[") + 1 == Btf(encoded.data).count
    assert f"[{encoded.id_of(INT)}] INT 'int' size=4" in run.stdout


def test_wide_integers() -> None:
    big = Int("__int128", 16, signed=True)
    assert Btf(encode([big]).data).type(1) == big


@pytest.mark.kernel
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
def test_the_live_kernel_takes_it() -> None:
    from minibcc.abi.requests import BtfLoad
    from minibcc.system.linux import LinuxSystem

    system = LinuxSystem()
    system.close(system.bpf(BtfLoad(encode(every_kind()).data)))
