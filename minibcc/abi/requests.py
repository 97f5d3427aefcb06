"""bpf(2) as values: one record per command, each naming the type of its answer.

`system.bpf(MapLookup(fd, key))` is `bytes`. A request holds no pointers, only numbers, bytes and
names, so the same value goes to the simulated kernel, is packed into ``union bpf_attr`` for the
real one, or travels as data to another process. Failure is an `OSError` with the kernel's errno; a
refused program is a `ProgramRefused` with its log.

Field names are those of ``union bpf_attr`` and ``struct bpf_*_info`` (include/uapi/linux/bpf.h).
"""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from minibcc.abi.bpf import AttachType, Command, MapType, ProgType
from minibcc.records import Record

R = TypeVar("R")


class Request(Record, Generic[R]):
    """The base of all commands; R is what `System.bpf` answers."""

    command: ClassVar[Command]


# --- answers ---------------------------------------------------------------------------------


class Refusal(Record):
    """What the simulated kernel adds to a verifier's log.

    `code` is a diagnostic code (``verify/null-deref``); `insn` the slot that was refused, -1 if it
    is no one instruction's fault; `message` the kernel's own words (the log's main line).
    """

    code: str
    insn: int
    message: str


class ProgramRefused(OSError):
    """BPF_PROG_LOAD failed. `log` is the verifier's ("" if none was asked for or written)."""

    def __init__(self, errno: int, message: str, log: str = "", refusal: Refusal | None = None):
        super().__init__(errno, message)
        self.log = log
        self.refusal = refusal


class Loaded(Record):
    """A program was accepted: its descriptor, and the log that was asked for."""

    fd: int
    log: str = ""


class TestRun(Record):
    """What BPF_PROG_TEST_RUN answers: `retval` is 32 bits, `duration` nanoseconds a run."""

    retval: int
    duration: int
    data_out: bytes = b""
    ctx_out: bytes = b""


class Batch(Record):
    """A stretch of a map: `cursor` is where to go on, None at the end."""

    keys: tuple[bytes, ...]
    values: tuple[bytes, ...]
    cursor: bytes | None


class ProgInfo(Record):
    """``struct bpf_prog_info``; times are ns since boot, sizes bytes."""

    type: ProgType
    id: int
    tag: bytes
    name: str
    load_time: int = 0
    created_by_uid: int = 0
    gpl_compatible: bool = False
    map_ids: tuple[int, ...] = ()
    xlated_prog_insns: bytes = b""
    jited_prog_insns: bytes = b""
    jited_prog_len: int = 0
    btf_id: int = 0
    func_info: bytes = b""
    line_info: bytes = b""
    jited_line_info: tuple[int, ...] = ()
    jited_func_lens: tuple[int, ...] = ()
    jited_ksyms: tuple[int, ...] = ()
    run_time_ns: int = 0
    run_cnt: int = 0
    recursion_misses: int = 0
    verified_insns: int = 0
    attach_btf_obj_id: int = 0
    attach_btf_id: int = 0
    prog_tags: tuple[bytes, ...] = ()


class MapInfo(Record):
    """``struct bpf_map_info``."""

    type: MapType
    id: int
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int
    name: str
    btf_id: int = 0
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0
    frozen: bool = False
    memlock: int = 0


class BtfInfo(Record):
    """``struct bpf_btf_info``; `data` is the BTF itself."""

    id: int
    name: str
    kernel_btf: bool
    data: bytes


class LinkInfo(Record):
    """``struct bpf_link_info``; `target` names what it hangs on (a tracepoint, a device, ...)."""

    type: int
    id: int
    prog_id: int
    target: str = ""
    attach_type: int = 0


# --- maps ------------------------------------------------------------------------------------


class MapCreate(Request[int]):
    """Answers a descriptor."""

    command = Command.MAP_CREATE
    map_type: MapType
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int = 0
    map_name: str = ""
    inner_map_fd: int | None = None
    numa_node: int = 0
    btf_fd: int | None = None
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0
    btf_vmlinux_value_type_id: int = 0
    map_extra: int = 0


class MapLookup(Request[bytes]):
    """Answers the value; per-CPU maps: one value per possible CPU, each padded to 8 bytes."""

    command = Command.MAP_LOOKUP_ELEM
    fd: int
    key: bytes
    flags: int = 0


class MapUpdate(Request[None]):
    command = Command.MAP_UPDATE_ELEM
    fd: int
    key: bytes
    value: bytes
    flags: int = 0


class MapDelete(Request[None]):
    command = Command.MAP_DELETE_ELEM
    fd: int
    key: bytes


class MapNextKey(Request[bytes]):
    """Answers the key after `key` (None: the first); ENOENT at the end."""

    command = Command.MAP_GET_NEXT_KEY
    fd: int
    key: bytes | None = None


class MapLookupAndDelete(Request[bytes]):
    command = Command.MAP_LOOKUP_AND_DELETE_ELEM
    fd: int
    key: bytes
    flags: int = 0


class MapFreeze(Request[None]):
    command = Command.MAP_FREEZE
    fd: int


class MapLookupBatch(Request[Batch]):
    """At most `count` entries from `cursor` (None: the start)."""

    command = Command.MAP_LOOKUP_BATCH
    fd: int
    count: int
    cursor: bytes | None = None
    elem_flags: int = 0


class MapLookupAndDeleteBatch(Request[Batch]):
    command = Command.MAP_LOOKUP_AND_DELETE_BATCH
    fd: int
    count: int
    cursor: bytes | None = None
    elem_flags: int = 0


class MapUpdateBatch(Request[int]):
    """Answers how many were written."""

    command = Command.MAP_UPDATE_BATCH
    fd: int
    keys: tuple[bytes, ...]
    values: tuple[bytes, ...]
    elem_flags: int = 0


class MapDeleteBatch(Request[int]):
    """Answers how many were deleted."""

    command = Command.MAP_DELETE_BATCH
    fd: int
    keys: tuple[bytes, ...]
    elem_flags: int = 0


# --- programs --------------------------------------------------------------------------------


class ProgLoad(Request[Loaded]):
    """`insns` are whole 8-byte slots with descriptors in place; func_info and line_info are the
    kernel's records (8 and 16 bytes each). Raises ProgramRefused."""

    command = Command.PROG_LOAD
    prog_type: ProgType
    insns: bytes
    license: str = "GPL"
    prog_name: str = ""
    expected_attach_type: AttachType | int = 0
    prog_flags: int = 0
    kern_version: int = 0
    log_level: int = 0
    log_size: int = 0
    prog_btf_fd: int | None = None
    func_info: bytes = b""
    line_info: bytes = b""
    attach_btf_id: int = 0
    attach_prog_fd: int | None = None


class ProgTestRun(Request[TestRun]):
    """Runs a program `repeat` times (0 means once) on a packet or a context."""

    command = Command.PROG_TEST_RUN
    prog_fd: int
    data_in: bytes = b""
    data_size_out: int = 0
    ctx_in: bytes = b""
    ctx_size_out: int = 0
    repeat: int = 0
    flags: int = 0
    cpu: int = 0


class ProgAttach(Request[None]):
    command = Command.PROG_ATTACH
    target_fd: int
    attach_bpf_fd: int
    attach_type: AttachType
    attach_flags: int = 0


class ProgDetach(Request[None]):
    command = Command.PROG_DETACH
    target_fd: int
    attach_type: AttachType
    attach_bpf_fd: int | None = None


# --- objects ---------------------------------------------------------------------------------


class ObjPin(Request[None]):
    command = Command.OBJ_PIN
    pathname: str
    bpf_fd: int


class ObjGet(Request[int]):
    command = Command.OBJ_GET
    pathname: str
    file_flags: int = 0


class ProgGetInfo(Request[ProgInfo]):
    command = Command.OBJ_GET_INFO_BY_FD
    fd: int
    jited: bool = False
    """Ask for the native code: the simulated kernel compiles it then."""


class MapGetInfo(Request[MapInfo]):
    command = Command.OBJ_GET_INFO_BY_FD
    fd: int


class BtfGetInfo(Request[BtfInfo]):
    command = Command.OBJ_GET_INFO_BY_FD
    fd: int


class LinkGetInfo(Request[LinkInfo]):
    command = Command.OBJ_GET_INFO_BY_FD
    fd: int


class ProgGetNextId(Request[int]):
    """The lowest id above `start_id`; ENOENT at the end."""

    command = Command.PROG_GET_NEXT_ID
    start_id: int = 0


class MapGetNextId(Request[int]):
    command = Command.MAP_GET_NEXT_ID
    start_id: int = 0


class BtfGetNextId(Request[int]):
    command = Command.BTF_GET_NEXT_ID
    start_id: int = 0


class LinkGetNextId(Request[int]):
    command = Command.LINK_GET_NEXT_ID
    start_id: int = 0


class ProgGetFdById(Request[int]):
    command = Command.PROG_GET_FD_BY_ID
    prog_id: int


class MapGetFdById(Request[int]):
    command = Command.MAP_GET_FD_BY_ID
    map_id: int


class BtfGetFdById(Request[int]):
    command = Command.BTF_GET_FD_BY_ID
    btf_id: int


class LinkGetFdById(Request[int]):
    command = Command.LINK_GET_FD_BY_ID
    link_id: int


class EnableStats(Request[int]):
    """Answers a descriptor: while it is open, runs of programs are counted and timed. `type` is
    BPF_STATS_RUN_TIME, the only one there is."""

    command = Command.ENABLE_STATS
    type: int = 0


class BtfLoad(Request[int]):
    """Answers a descriptor; EINVAL with the log in the exception's text where it is malformed."""

    command = Command.BTF_LOAD
    btf: bytes


# --- attachments -----------------------------------------------------------------------------


class RawTracepointOpen(Request[int]):
    """Attaches a raw tracepoint (or, with an empty name, a fentry/fexit/LSM) program."""

    command = Command.RAW_TRACEPOINT_OPEN
    name: str
    prog_fd: int


class LinkCreate(Request[int]):
    """Answers a descriptor. The last three say what an iterator goes over
    (``union bpf_iter_link_info``): a map, a task, a process."""

    command = Command.LINK_CREATE
    prog_fd: int
    target_fd: int
    """A descriptor, or the index of a network device."""
    attach_type: AttachType
    flags: int = 0
    map_fd: int | None = None
    tid: int = 0
    pid: int = 0


class IterCreate(Request[int]):
    """Answers a descriptor to read what the iterator of a link writes."""

    command = Command.ITER_CREATE
    link_fd: int
    flags: int = 0
