"""Another process's kernel: values as data, places, what may be asked."""

import json
import os
import signal
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibcc import boot
from minibcc.abi import requests
from minibcc.abi.bpf import MapType, ProgType
from minibcc.system import remote


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "minibcc"


@pytest.fixture
def served():
    claim = remote.Claim()
    system = boot.system(boot.Options(first_id=claim.first_id))
    server = remote.Server(claim, system, {"pid": 7, "boot_time": 1.5})
    server.start()
    looking = remote.running()
    yield system, looking[0]
    for each in looking:
        each.disconnect()
    server.stop()


@given(st.binary(), st.integers(), st.lists(st.binary()))
def test_values_survive_the_way(data, number, many):
    value = requests.Batch(tuple(many), (data,), None if number % 2 else data)
    way = json.loads(json.dumps(remote.to_data(value)))
    assert remote.from_data(way, remote.ANSWERS) == value


def test_numbers_become_enums_again():
    info = requests.MapInfo(MapType.HASH, 1, 4, 8, 16, 0, "counts")
    found = remote.from_data(json.loads(json.dumps(remote.to_data(info))), remote.ANSWERS)
    assert found.type is MapType.HASH


@pytest.mark.parametrize(
    "data",
    [
        {"record": "ProgLoad", "fields": {}},
        {"record": "MapLookup", "fields": {"fd": 3, "key": {"bytes": "00"}, "wrong": 1}},
        {"record": "MapLookup", "fields": {}},
        {"bytes": "no hex"},
        {"anything": 1},
        1.5,
    ],
)
def test_what_is_no_request_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        remote.from_data(data, remote.REQUESTS)


def test_only_what_looks_can_be_asked():
    names = set(remote.REQUESTS)
    assert all("Get" in name or name in ("MapLookup", "MapNextKey", "MapLookupBatch")
               for name in names)  # fmt: skip


def test_a_map_is_seen_from_outside(served):
    system, looking = served
    fd = system.bpf(requests.MapCreate(MapType.HASH, 4, 8, 16, map_name="counts"))
    system.bpf(requests.MapUpdate(fd, b"\x05\0\0\0", bytes(8)))
    each = looking.bpf(requests.MapGetNextId(0))
    far = looking.bpf(requests.MapGetFdById(each))
    info = looking.bpf(requests.MapGetInfo(far))
    assert (info.name, info.type, info.id) == ("counts", MapType.HASH, 1)
    assert looking.bpf(requests.MapNextKey(far)) == b"\x05\0\0\0"
    assert looking.bpf(requests.MapLookup(far, b"\x05\0\0\0")) == bytes(8)
    with pytest.raises(FileNotFoundError):
        looking.bpf(requests.MapNextKey(far, b"\x05\0\0\0"))
    looking.close(far)
    assert looking.facts == {"pid": 7, "boot_time": 1.5}
    system.close(fd)


def test_nothing_can_be_changed(served):
    system, looking = served
    with pytest.raises(OSError, match=r"."):
        looking.bpf(requests.MapCreate(MapType.HASH, 4, 8, 16))
    with pytest.raises(OSError, match=r"."):
        looking.bpf(requests.ProgLoad(ProgType.KPROBE, b""))
    for refused in (
        lambda: looking.open("/sys/kernel/tracing/trace_pipe"),
        lambda: looking.close(0),
        lambda: looking.wait(None),
        lambda: looking.ioctl(3, 0, 0),
        lambda: looking.write(3, b""),
    ):
        with pytest.raises(PermissionError):
            refused()
    with pytest.raises(FileNotFoundError):
        system.bpf(requests.MapGetNextId(0))


def test_descriptors_are_closed_when_the_looker_goes(served):
    system, looking = served
    fd = system.bpf(requests.MapCreate(MapType.ARRAY, 4, 4, 1))
    other = remote.running()[0]
    far = other.bpf(requests.MapGetFdById(1))
    other.disconnect()
    looking.now()  # the server has gone on
    for _ in range(1000):
        try:
            system.bpf(requests.MapGetInfo(far))
        except OSError:
            break
        looking.now()
    else:
        pytest.fail("the descriptor stays open")
    system.close(fd)


def test_a_forked_process_leaves_the_place_to_its_parent(runtime):
    claim = remote.Claim()
    server = remote.Server(claim, boot.system(boot.Options()), {"pid": 7, "boot_time": 1.5})
    server.start()
    remote.running()[0].disconnect()  # it listens now
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        server.stop()  # as at the end of a process
        os.write(writing, b"done")
        signal.pause()
    try:
        assert os.read(reading, 4) == b"done"
        looking = remote.running()
        assert len(looking) == 1
        looking[0].disconnect()
        # As if the parent was killed: nothing of it is left in the child.
        claim.forget()
        server.stop()
        assert remote.running() == []
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def test_ids_differ_between_scripts(runtime):
    first, second = remote.Claim(), remote.Claim()
    assert (first.first_id, second.first_id) == (1, remote.IDS_EACH + 1)
    first.release()
    third = remote.Claim()
    assert third.number == 0
    third.release()
    second.release()
    assert sorted(os.listdir(runtime)) == ["0.lock", "1.lock"]


def test_the_folder_is_the_users_own(runtime):
    claim = remote.Claim()
    assert os.stat(runtime).st_mode & 0o777 == 0o700
    claim.release()
    os.chmod(runtime, 0o755)
    with pytest.raises(PermissionError, match="own"):
        remote.Claim()


def test_a_socket_that_nobody_answers_is_removed(runtime):
    remote.Claim().release()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(runtime / "0.sock"))
    dead.close()
    assert remote.running() == []
    assert not (runtime / "0.sock").exists()
