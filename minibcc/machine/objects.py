"""Kernel structures that are there because the machine is: what lies where, and its bytes.

Each family of structures has a stretch of kernel addresses; the place in it is a number that the
machine gives anyway (a task's pid, a path, an open file). Nothing is kept: bytes are laid out at
each read from what the machine knows then, by the kernel's own BTF, so that a run in which nobody
looks pays nothing and no address depends on who looks. Chains of pointers lead from a task to its
parent, credentials and namespaces, and from an open file to its dentry, name, inode and
superblock, as in Linux.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from minibcc.btf.types import Struct
from minibcc.machine import tasks
from minibcc.machine.areas import PAGE_SHIFT, areas
from minibcc.machine.files import (
    FILE_STRIDE,
    FILE_SYSTEMS,
    FILES,
    FIRST_INODE,
    TERMINAL,
    OpenFile,
    directory,
    file_system,
)
from minibcc.machine.structures import Places, Values, fill, locate
from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.btf.types import Type
    from minibcc.machine.areas import Area
    from minibcc.machine.machine import Machine
    from minibcc.machine.tasks import Task

FAMILY = 1 << 32
"""Addresses of a family."""
CREDENTIALS = 0xFFFF_8882_0000_0000
PIDS = 0xFFFF_8883_0000_0000
MEMORIES = 0xFFFF_8884_0000_0000
TRANSFERS = 0xFFFF_8885_0000_0000
DENTRIES = 0xFFFF_8887_0000_0000
INODES = 0xFFFF_8888_0000_0000
NAMES = 0xFFFF_8889_0000_0000
SUPERBLOCKS = 0xFFFF_888A_0000_0000
MOUNTS = 0xFFFF_888B_0000_0000
FILE_SYSTEM_TYPES = 0xFFFF_888C_0000_0000
CGROUP_SETS = 0xFFFF_888D_0000_0000
CGROUPS = 0xFFFF_888E_0000_0000
CGROUP_NODES = 0xFFFF_888F_0000_0000
EXECUTIONS = 0xFFFF_8890_0000_0000
SIGNALS = 0xFFFF_8891_0000_0000
NAMESPACES = 0xFFFF_8892_0000_0000
AREAS = 0xFFFF_8893_0000_0000
MAPPED_FILES = 0xFFFF_8894_0000_0000
NAMESPACE_STRIDE = 0x2000
TRANSFER_STRIDE = 0x100
EXECUTION_STRIDE = 0x400
AREA_STRIDE = 0x100
AREAS_MAX = 16
"""Places of areas that a task has."""
PATH_MAX = 4096

NAMESPACE_KINDS = (
    ("nsproxy", "", 0),
    ("mnt_namespace", "mnt_ns", 0xEFFF_FFF8),
    ("net", "net_ns", 0xEFFF_FFF9),
    ("time_namespace", "time_ns", 0xEFFF_FFFA),
    ("cgroup_namespace", "cgroup_ns", 0xEFFF_FFFB),
    ("pid_namespace", "pid_ns_for_children", 0xEFFF_FFFC),
    ("uts_namespace", "uts_ns", 0xEFFF_FFFE),
    ("ipc_namespace", "ipc_ns", 0xEFFF_FFFF),
)
"""Structure, member of ``struct nsproxy`` that leads there, number (include/uapi/linux/nsfs.h)."""
PID_NAMESPACE = NAMESPACES + 5 * NAMESPACE_STRIDE
HOST = b"minibcc"
PF_EXITING, PF_KTHREAD = 0x4, 0x20_0000


Parts: TypeAlias = "list[tuple[str, Values] | bytes] | None"


class Family(Record):
    """Structures of one kind, `stride` bytes from one to the next. `parts` gives what the one of a
    number is made of: structures by name with values at members, or plain bytes; None if there
    is none of that number."""

    bottom: int
    stride: int
    parts: Callable[[Objects, int], Parts]


class Objects:
    """The structures of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._families = dict(BY_STRETCH)
        self._structs: dict[str, tuple[Type | None, Places]] = {}

    def read(self, address: int, size: int) -> bytes | None:
        """`size` bytes of the structure that holds `address`; None if none holds them all."""
        family = self._families.get(address // FAMILY)
        if family is not None:
            number, offset = divmod(address - family.bottom, family.stride)
            parts = family.parts(self, number)
        else:
            parts, offset = self._operations(address)
        if parts is None:
            return None
        content = b"".join(
            part if isinstance(part, bytes) else self._lay_out(*part) for part in parts
        )
        # Between two structures there is memory, too: tools read more than a name's length.
        stride = OPERATIONS_SIZE if family is None else family.stride
        content = content.ljust(stride, b"\0")
        return content[offset : offset + size] if offset + size <= len(content) else None

    def serve(self, family: Family) -> None:
        """Structures of somebody else's (BPF's own) lie in memory, too."""
        self._families[family.bottom // FAMILY] = family

    def _lay_out(self, name: str, values: Values) -> bytes:
        if name not in self._structs:
            self._structs[name] = self.machine.type(name), {}
        struct, places = self._structs[name]
        return bytes(fill(struct, values, places)) if isinstance(struct, Struct) else b""

    def _operations(self, address: int) -> tuple[Parts, int]:
        """The ``struct file_operations`` of a file system, which lie where their symbols say."""
        address_of = self.machine.address_of
        for symbol, functions in OPERATIONS:
            start = address_of(symbol)
            if start is not None and start <= address < start + OPERATIONS_SIZE:
                values: Values = {
                    member: address_of(function) or 0 for member, function in functions.items()
                }
                return [("file_operations", values)], address - start
        return None, 0

    def size(self, struct: str) -> int:
        """Bytes of a structure; 0 if this kernel lacks it."""
        type = self.machine.type(struct)
        return type.size if isinstance(type, Struct) else 0

    def offset(self, struct: str, member: str) -> int:
        """Where a member lies, in bytes; 0 if this kernel lacks it."""
        type = self.machine.type(struct)
        found = locate(type, member) if isinstance(type, Struct) else None
        return found[1] // 8 if found else 0

    @cached_property
    def short_name(self) -> tuple[str, int]:
        """The member of ``struct dentry`` that holds a short name, and its offset."""
        for member in ("d_shortname.string", "d_iname"):
            if offset := self.offset("dentry", member):
                return member, offset
        return "d_iname", 0

    # --- addresses ----------------------------------------------------------------------------

    def dentry(self, path: str) -> int:
        return DENTRIES + self.machine.files.number(path) * 0x100

    def path_of(self, dentry: int) -> str | None:
        """The path that a ``struct dentry`` stands for, as d_path() spells it."""
        path = self.machine.files.path((dentry - DENTRIES) // 0x100) if dentry >= DENTRIES else None
        if path is None:
            return None
        gone = " (deleted)" if self.machine.files.removed(path) else ""
        return f"{'' if path.startswith('/') else '/'}{path}{gone}"

    def inode(self, path: str) -> int:
        return INODES + self.machine.files.number(path) * 0x400

    def mapped_file(self, path: str) -> int:
        return MAPPED_FILES + self.machine.files.number(path) * FILE_STRIDE

    def area_address(self, task: Task, area: Area) -> int:
        return AREAS + (task.slot * AREAS_MAX + area.number) * AREA_STRIDE

    def path_name(self, path: str) -> int:
        """A C string with the whole path."""
        return NAMES + self.machine.files.number(path) * PATH_MAX

    # --- what tasks have ----------------------------------------------------------------------

    def task_parts(self, slot: int) -> Parts:
        task = self.machine.task_of(slot)
        if task is None:
            return None
        parent = task.parent.address if task.parent else task.address
        memory = MEMORIES + slot * 0x1000 if task.pid else 0
        values: Values = {
            "pid": task.pid,
            "tgid": task.tgid,
            "comm": task.comm.encode(),
            "real_parent": parent,
            "parent": parent,
            "group_leader": task.address,
            "start_time": task.start_time,
            "start_boottime": task.start_time,
            "exit_code": task.exit_code << 8,
            "stack": task.stack - 0x4000,
            "prio": 120,
            "static_prio": 120,
            "normal_prio": 120,
            "thread_info.cpu": task.cpu,
            "recent_used_cpu": task.cpu,
            "wake_cpu": task.cpu,
            "on_cpu": int(self.machine.switching.on[task.cpu] is task),
            "__state": task.state,
            "flags": (0 if task.pid else PF_KTHREAD) | (PF_EXITING if task.state & 0x80 else 0),
            "cred": CREDENTIALS + slot * 0x100,
            "real_cred": CREDENTIALS + slot * 0x100,
            "nsproxy": NAMESPACES,
            "thread_pid": PIDS + slot * 0x100,
            "mm": memory,
            "active_mm": memory,
            "signal": SIGNALS + slot * 0x800,
            "cgroups": CGROUP_SETS + task.cgroup_id * 0x400,
        }
        return [("task_struct", values)]

    def credentials(self, slot: int) -> Parts:
        if (task := self.machine.task_of(slot)) is None:
            return None
        users: Values = dict.fromkeys(("uid.val", "euid.val", "suid.val", "fsuid.val"), task.uid)
        groups: Values = dict.fromkeys(("gid.val", "egid.val", "sgid.val", "fsgid.val"), task.gid)
        return [("cred", {**users, **groups})]

    def pid(self, slot: int) -> Parts:
        """``struct pid``, whose numbers, one a namespace, follow it."""
        if (task := self.machine.task_of(slot)) is None:
            return None
        return [("pid", {"level": 0}), ("upid", {"nr": task.pid, "ns": PID_NAMESPACE})]

    def memory(self, slot: int) -> Parts:
        if (task := self.machine.task_of(slot)) is None:
            return None
        start, end = ARGUMENTS, ARGUMENTS + len(argument_block(task))
        values: Values = {"arg_start": start, "arg_end": end, "env_start": end}
        if task.executable:
            values["exe_file"] = self.mapped_file(task.executable)
        return [("mm_struct", values)]

    def area(self, number: int) -> Parts:
        """``struct vm_area_struct``, the n-th of a task."""
        slot, number = divmod(number, AREAS_MAX)
        task = self.machine.task_of(slot)
        known = areas(task) if task is not None else ()
        if number >= len(known):
            return None
        area = known[number]
        values: Values = {
            "vm_start": area.start,
            "vm_end": area.end,
            "vm_flags": area.flags,
            "vm_mm": MEMORIES + slot * 0x1000,
            "vm_pgoff": 0 if area.path else area.start >> PAGE_SHIFT,
            "vm_file": self.mapped_file(area.path) if area.path else 0,
        }
        return [("vm_area_struct", values)]

    def signal(self, slot: int) -> Parts:
        return [("signal_struct", {"nr_threads": 1})] if self.machine.task_of(slot) else None

    def transfer(self, slot: int) -> Parts:
        """``struct kiocb`` of the read or write that the task is in."""
        task = self.machine.task_of(slot)
        if task is None or task.transfer is None:
            return None
        file = task.transfer
        return [("kiocb", {"ki_filp": file.address, "ki_pos": file.position})]

    def execution(self, slot: int) -> Parts:
        """``struct linux_binprm`` of the program that the task became."""
        task = self.machine.task_of(slot)
        if task is None or not task.executable:
            return None
        name = self.path_name(task.executable)
        return [("linux_binprm", {"filename": name, "interp": name, "argc": len(task.argv)})]

    def cgroup_set(self, number: int) -> Parts:
        return [("css_set", {"dfl_cgrp": CGROUPS + number * 0x1000})]

    def cgroup(self, number: int) -> Parts:
        return [("cgroup", {"kn": CGROUP_NODES + number * 0x100})]

    def cgroup_node(self, number: int) -> Parts:
        return [("kernfs_node", {"id": number})]

    def namespace(self, number: int) -> Parts:
        if number >= len(NAMESPACE_KINDS):
            return None
        struct, _, inum = NAMESPACE_KINDS[number]
        if number:
            return [(struct, {"ns.inum": inum, "name.nodename": HOST, "name.sysname": b"Linux"})]
        links: Values = {
            member: NAMESPACES + place * NAMESPACE_STRIDE
            for place, (_, member, _) in enumerate(NAMESPACE_KINDS)
            if member
        }
        return [(struct, links)]

    # --- what files have ----------------------------------------------------------------------

    def mapped(self, number: int) -> Parts:
        """``struct file`` of a program or a library that processes have in their memory."""
        path = self.machine.files.path(number)
        return None if path is None else self._file(OpenFile(0, path))

    def file(self, number: int) -> Parts:
        file = self.machine.files.opened(number)
        return None if file is None else self._file(file)

    def _file(self, file: OpenFile) -> Parts:
        readable, writable = (file.flags & 3) != 1, (file.flags & 3) != 0
        values: Values = {
            "f_path.dentry": self.dentry(file.path),
            "f_path.mnt": self._mount(file.path),
            "f_inode": self.inode(file.path),
            "f_op": self.machine.address_of(OPERATIONS[file_system(file.path)][0]) or 0,
            "f_flags": file.flags,
            "f_mode": readable | writable << 1,
            "f_pos": file.position,
        }
        return [("file", values)]

    def _mount(self, path: str) -> int:
        """The ``struct vfsmount`` in the mount that a path lies on."""
        return MOUNTS + file_system(path) * 0x400 + self.offset("mount", "mnt")

    def dentry_parts(self, number: int) -> Parts:
        path = self.machine.files.path(number)
        if path is None:
            return None
        name = (path.rpartition("/")[2] or "/").encode()
        member, offset = self.short_name
        address = DENTRIES + number * 0x100 + offset
        short: Values = {member: name}
        if len(name) >= 40:
            short, address = {}, self.path_name(path) + len(path.encode()) - len(name)
        return [
            (
                "dentry",
                {
                    **short,
                    "d_name.name": address,
                    "d_name.len": len(name),
                    "d_parent": self.dentry(directory(path)),
                    "d_inode": self.inode(path),
                    "d_sb": SUPERBLOCKS + file_system(path) * 0x1000,
                },
            )
        ]

    def inode_parts(self, number: int) -> Parts:
        files = self.machine.files
        path = files.path(number)
        if path is None:
            return None
        mode = files.mode(path)
        values: Values = {
            "i_mode": mode,
            "i_ino": FIRST_INODE + number,
            "i_size": files.size(path) or 0,
            "i_sb": SUPERBLOCKS + file_system(path) * 0x1000,
            "i_rdev": 136 << 20 if path == TERMINAL else 0,
        }
        return [("inode", values)]

    def name(self, number: int) -> Parts:
        path = self.machine.files.path(number)
        return None if path is None else [path.encode().ljust(PATH_MAX, b"\0")]

    def superblock(self, number: int) -> Parts:
        if number >= len(FILE_SYSTEMS):
            return None
        _, mount, magic, device, name = FILE_SYSTEMS[number]
        values: Values = {
            "s_dev": device,
            "s_magic": magic,
            "s_id": name.encode(),
            "s_type": FILE_SYSTEM_TYPES + number * 0x100,
            "s_root": self.dentry(mount),
        }
        return [("super_block", values)]

    def mount(self, number: int) -> Parts:
        if number >= len(FILE_SYSTEMS):
            return None
        values: Values = {
            "mnt.mnt_root": self.dentry(FILE_SYSTEMS[number][1]),
            "mnt.mnt_sb": SUPERBLOCKS + number * 0x1000,
            "mnt_parent": MOUNTS,
            "mnt_mountpoint": self.dentry(FILE_SYSTEMS[number][1]),
        }
        return [("mount", values)]

    def file_system_type(self, number: int) -> Parts:
        """Its name follows it."""
        if number >= len(FILE_SYSTEMS):
            return None
        type = self.machine.type("file_system_type")
        behind = FILE_SYSTEM_TYPES + number * 0x100 + (type.size if isinstance(type, Struct) else 0)
        return [("file_system_type", {"name": behind}), FILE_SYSTEMS[number][0].encode() + b"\0"]


OPERATIONS = (
    (
        "ext4_file_operations",
        {
            "read_iter": "ext4_file_read_iter",
            "write_iter": "ext4_file_write_iter",
            "open": "ext4_file_open",
        },
    ),
    ("proc_pid_cmdline_ops", {"read_iter": "seq_read_iter"}),
    ("tty_fops", {"read_iter": "tty_read", "write_iter": "tty_write"}),
)
"""By file system: the symbol of its ``struct file_operations``, functions in it."""
OPERATIONS_SIZE = 0x140
ARGUMENTS = 0x7FFF_FFFF_E800
"""Where a program's arguments lie in its memory."""


def argument_block(task: Task) -> bytes:
    """The arguments as /proc/PID/cmdline shows them."""
    return b"".join(argument.encode() + b"\0" for argument in task.argv)


FAMILIES = (
    Family(tasks.TASKS, tasks.TASK_STRIDE, Objects.task_parts),
    Family(CREDENTIALS, 0x100, Objects.credentials),
    Family(PIDS, 0x100, Objects.pid),
    Family(MEMORIES, 0x1000, Objects.memory),
    Family(SIGNALS, 0x800, Objects.signal),
    Family(TRANSFERS, TRANSFER_STRIDE, Objects.transfer),
    Family(EXECUTIONS, EXECUTION_STRIDE, Objects.execution),
    Family(CGROUP_SETS, 0x400, Objects.cgroup_set),
    Family(CGROUPS, 0x1000, Objects.cgroup),
    Family(CGROUP_NODES, 0x100, Objects.cgroup_node),
    Family(NAMESPACES, NAMESPACE_STRIDE, Objects.namespace),
    Family(AREAS, AREA_STRIDE, Objects.area),
    Family(FILES, FILE_STRIDE, Objects.file),
    Family(MAPPED_FILES, FILE_STRIDE, Objects.mapped),
    Family(DENTRIES, 0x100, Objects.dentry_parts),
    Family(INODES, 0x400, Objects.inode_parts),
    Family(NAMES, PATH_MAX, Objects.name),
    Family(SUPERBLOCKS, 0x1000, Objects.superblock),
    Family(MOUNTS, 0x400, Objects.mount),
    Family(FILE_SYSTEM_TYPES, 0x100, Objects.file_system_type),
)
BY_STRETCH = {family.bottom // FAMILY: family for family in FAMILIES}
