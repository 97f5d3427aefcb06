"""The kernel of a script that runs in another terminal, to look at.

While a script runs, a daemon thread answers on a Unix socket in a folder of the user's own (mode
0700), so ``minibcc prog list`` elsewhere sees its programs. Only what looks is answered: GET_INFO,
GET_NEXT_ID, GET_FD_BY_ID, map lookups, and a few files. Requests travel as lines of JSON whose
records are named from the tables below: data, never code.

A running script owns a place, the locked file ``N.lock``; its kernel's ids count from
N * 10000 + 1, so an id means one object among all of a user's scripts. The lock goes with the
process, however it ends; the socket ``N.sock`` may be left over from a script that was killed, and
is removed. A script that ends at once never listens: see `Server`. A process that a script forks
gives up its copies of both: it has a kernel of its own, which nobody sees.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from minibcc.abi import requests
from minibcc.abi.bpf import MapType, ProgType
from minibcc.errors import SystemUnavailable
from minibcc.records import Record, fields

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from minibcc.abi.perf import PerfEventAttr
    from minibcc.abi.requests import Request
    from minibcc.system.interface import System

R = TypeVar("R")

IDS_EACH = 10_000
PLACES = 100_000
PATIENCE = 1.0
"""Seconds to wait for a script that has begun and does not listen yet."""

REQUESTS: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (
        requests.ProgGetInfo,
        requests.MapGetInfo,
        requests.BtfGetInfo,
        requests.LinkGetInfo,
        requests.ProgGetNextId,
        requests.MapGetNextId,
        requests.BtfGetNextId,
        requests.LinkGetNextId,
        requests.ProgGetFdById,
        requests.MapGetFdById,
        requests.BtfGetFdById,
        requests.LinkGetFdById,
        requests.MapLookup,
        requests.MapNextKey,
        requests.MapLookupBatch,
    )
}
"""What is answered."""

ANSWERS: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (
        requests.ProgInfo,
        requests.MapInfo,
        requests.BtfInfo,
        requests.LinkInfo,
        requests.Batch,
    )
}
ENUMS: dict[tuple[str, str], Callable[[int], int]] = {
    ("ProgInfo", "type"): ProgType,
    ("MapInfo", "type"): MapType,
}
"""Fields that are more than a number."""

FILES = ("/proc/self/fdinfo/", "/proc/kallsyms", "/proc/stat", "/sys/devices/system/cpu/possible")
"""Beginnings of the paths that may be read: none of them changes by being read."""


# --- values as data ------------------------------------------------------------------------------


def to_data(value: Any) -> Any:
    """A value of requests and answers as JSON can hold it."""
    match value:
        case Enum():
            return value.value
        case bytes() | bytearray() | memoryview():
            return {"bytes": bytes(value).hex()}
        case tuple() | list():
            return [to_data(item) for item in value]
        case Record():
            inside = {name: to_data(item) for name, item in fields(value).items()}
            return {"record": type(value).__name__, "fields": inside}
    return value


def from_data(data: Any, kinds: dict[str, type[Record]]) -> Any:
    """The value again; records only of `kinds`. Raises ValueError for anything else."""
    match data:
        case {"bytes": str(text)}:
            return bytes.fromhex(text)
        case {"record": str(name), "fields": dict(inside)} if name in kinds:
            values: dict[str, Any] = {}
            for field, item in inside.items():
                value = from_data(item, kinds)
                enum = ENUMS.get((name, field))
                values[str(field)] = value if enum is None else enum(value)
            try:
                return kinds[name](**values)
            except TypeError as wrong:
                raise ValueError(str(wrong)) from None
        case list():
            return tuple(from_data(item, kinds) for item in data)
        case None | bool() | int() | str():
            return data
    raise ValueError(f"{data!r} is no value of this protocol")


# --- the folder ----------------------------------------------------------------------------------


def folder() -> str:
    """Where the sockets are: a folder that only this user can enter. Raises OSError."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    path = (
        os.path.join(base, "minibcc")
        if base and os.path.isdir(base)
        else os.path.join(os.environ.get("TMPDIR", "/tmp"), f"minibcc-{os.getuid()}")
    )
    os.makedirs(path, mode=0o700, exist_ok=True)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "not a folder of this user's own", path)
    return path


class Claim:
    """A place among this user's running scripts, taken until `release`. Raises OSError."""

    def __init__(self) -> None:
        place = folder()
        for number in range(PLACES):
            lock = _lock(place, number)
            if lock is not None:
                self.number = number
                self.path = _socket_path(place, number)
                self._lock = lock
                _HELD.add(self)
                return
        raise OSError(errno.EMFILE, "too many scripts are running")

    @property
    def first_id(self) -> int:
        """From where this kernel's ids count."""
        return self.number * IDS_EACH + 1

    def release(self) -> None:
        """Gives the place up; the file stays, so that nobody locks one that is about to go."""
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            self.forget()

    def forget(self) -> None:
        """In a forked process: the place is its parent's."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _lock(place: str, number: int) -> int | None:
    """The place's lock, as a descriptor that holds it; None if a running script has it."""
    lock = os.open(os.path.join(place, f"{number}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except BaseException:
        os.close(lock)
        raise
    return lock


def _socket_path(place: str, number: int) -> str:
    return os.path.join(place, f"{number}.sock")


def _connect(path: str) -> socket.socket | None:
    """A connection to a script that runs, which may be about to listen; None where it never does,
    or has ended."""
    import socket
    import time

    deadline = time.monotonic() + PATIENCE
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            connection.close()
            if time.monotonic() > deadline:
                return None
            time.sleep(0.01)
        except OSError:
            connection.close()
            raise
        else:
            return connection


# --- the side that is looked at ------------------------------------------------------------------


class Server:
    """Answers for `system`; `facts` is what a looker is told first (a JSON object).

    It listens `DELAY` seconds after its start: a script that is over by then has nothing to show,
    and should not wait for sockets to be imported.
    """

    DELAY = 0.1

    def __init__(self, claim: Claim, system: System, facts: dict[str, Any]) -> None:
        self._claim = claim
        self._system = system
        self._facts = facts
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self._socket: socket.socket | None = None
        _HELD.add(self)

    def start(self) -> None:
        self._spawn(self._accept)

    def stop(self) -> None:
        """Gives the place up, and waits for the answers that are under way."""
        self._stopped.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(2)  # SHUT_RDWR: wakes whoever waits in accept()
            self._socket.close()
        self._claim.release()
        for thread in self._threads:
            thread.join(timeout=1.0)

    def forget(self) -> None:
        """In a forked process, which has none of the threads: the socket is its parent's."""
        self._threads, self._stopped = [], threading.Event()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _spawn(self, target: Callable[..., None], *arguments: Any) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        if self._stopped.wait(self.DELAY):
            return
        try:
            listener = self._listen()
            while not self._stopped.is_set():
                connection, _ = listener.accept()
                self._spawn(self._serve, connection)
        except OSError:
            return

    def _listen(self) -> socket.socket:
        import socket

        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._claim.path)  # left over: the place is ours
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(self._claim.path)
        self._socket.listen()
        return self._socket

    def _serve(self, connection: socket.socket) -> None:
        import json

        opened: set[int] = set()
        try:
            with connection, connection.makefile("rwb") as stream:
                for line in stream:
                    stream.write(json.dumps(self._answer(line, opened)).encode() + b"\n")
                    stream.flush()
        except OSError:
            pass
        finally:
            for fd in opened:
                with contextlib.suppress(OSError):
                    self._system.close(fd)

    def _answer(self, line: bytes, opened: set[int]) -> dict[str, Any]:
        import json

        try:
            return {"answer": to_data(self._call(json.loads(line), opened))}
        except OSError as wrong:
            return {"errno": wrong.errno or errno.EIO, "message": wrong.strerror or str(wrong)}
        except (ValueError, TypeError, KeyError) as wrong:
            return {"errno": errno.EINVAL, "message": str(wrong)}

    def _call(self, call: dict[str, Any], opened: set[int]) -> Any:
        match call:
            case {"call": "facts"}:
                import json

                return json.dumps(self._facts)
            case {"call": "now"}:
                return self._system.now()
            case {"call": "bpf", "request": data}:
                request = from_data(data, REQUESTS)
                answer: Any = self._system.bpf(request)
                if type(request).__name__.endswith("GetFdById"):
                    opened.add(answer)
                return answer
            case {"call": "open", "path": str(path)} if path.startswith(FILES):
                fd = self._system.open(path, os.O_RDONLY)
                opened.add(fd)
                return fd
            case {"call": "read", "fd": int(fd), "size": int(size)} if fd in opened:
                return self._system.read(fd, size)
            case {"call": "close", "fd": int(fd)} if fd in opened:
                opened.discard(fd)
                self._system.close(fd)
                return None
        raise PermissionError(errno.EPERM, "another process's kernel may only be looked at")


_HELD: WeakSet[Claim | Server] = WeakSet()
"""What a forked process must not keep."""


def _forget() -> None:
    for held in list(_HELD):
        held.forget()


os.register_at_fork(after_in_child=_forget)


# --- the side that looks -------------------------------------------------------------------------


class RemoteSystem:
    """Another process's kernel, to look at: what would change it is EPERM."""

    name = "remote"

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rwb")
        import json

        self.facts: dict[str, Any] = json.loads(self._ask({"call": "facts"}))

    def _ask(self, call: dict[str, Any]) -> Any:
        import json

        try:
            self._stream.write(json.dumps(call).encode() + b"\n")
            self._stream.flush()
            line = self._stream.readline()
        except OSError:
            line = b""
        if not line:
            raise SystemUnavailable("the script has ended meanwhile")
        answer = json.loads(line)
        if "errno" in answer:
            raise OSError(answer["errno"], answer["message"])
        return from_data(answer["answer"], ANSWERS)

    def bpf(self, request: Request[R], /) -> R:
        answer: R = self._ask({"call": "bpf", "request": to_data(request)})
        return answer

    def open(self, path: str, flags: int = 0) -> int:
        return int(self._ask({"call": "open", "path": path}))

    def read(self, fd: int, size: int) -> bytes:
        return bytes(self._ask({"call": "read", "fd": fd, "size": size}))

    def close(self, fd: int) -> None:
        self._ask({"call": "close", "fd": fd})

    def now(self) -> int:
        return int(self._ask({"call": "now"}))

    def perf_event_open(
        self, attr: PerfEventAttr, pid: int = -1, cpu: int = 0, group_fd: int = -1, flags: int = 8
    ) -> int:
        raise _only_look()

    def ioctl(self, fd: int, request: int, argument: int = 0, /) -> int:
        raise _only_look()

    def mmap(self, fd: int, length: int, offset: int = 0, *, writable: bool = False) -> memoryview:
        raise _only_look()

    def poll(self, fds: Sequence[int], timeout: int | None = None) -> list[int]:
        raise _only_look()

    def write(self, fd: int, data: bytes) -> int:
        raise _only_look()

    def listdir(self, path: str) -> list[str]:
        raise _only_look()

    def wait(self, until: int | None) -> None:
        raise _only_look()

    def disconnect(self) -> None:
        self._stream.close()
        self._connection.close()


def _only_look() -> OSError:
    return PermissionError(errno.EPERM, "another process's kernel may only be looked at")


def running() -> list[RemoteSystem]:
    """The kernels of this user's running scripts, in the order of their places."""
    try:
        place = folder()
    except OSError as wrong:
        raise SystemUnavailable(f"cannot look for running scripts: {wrong}") from None
    numbers = sorted(
        int(name.removesuffix(".lock"))
        for name in os.listdir(place)
        if name.endswith(".lock") and name.removesuffix(".lock").isdigit()
    )
    systems = []
    for number in numbers:
        lock = _lock(place, number)
        if lock is not None:
            # Nobody is there; a script that was killed has left its socket.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_socket_path(place, number))
            os.close(lock)
            continue
        connection = _connect(_socket_path(place, number))
        if connection is not None:
            with contextlib.suppress(SystemUnavailable, ValueError):
                systems.append(RemoteSystem(connection))
    return systems
