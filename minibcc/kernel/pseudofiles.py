"""Files that speak of BPF and of events: what of /sys and /proc is the kernel's own.

The rest comes from the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL, ENOENT
from typing import TYPE_CHECKING

from minibcc.isa.instruction import decode
from minibcc.isa.tag import tag_sha1
from minibcc.kernel.descriptors import Description, ObjectDescription
from minibcc.kernel.errnos import failure
from minibcc.kernel.events import KPROBE_TYPE, UPROBE_TYPE
from minibcc.kernel.files import TextFile
from minibcc.kernel.maps.base import Map
from minibcc.kernel.objects import Link, Program
from minibcc.kernel.packets import DEVICES

if TYPE_CHECKING:
    from minibcc.kernel.kernel import Kernel

PMU = "/sys/bus/event_source/devices"
PROGRAM_STRUCT_SIZE = 96
"""Bytes of ``struct bpf_prog`` before its instructions in Linux 6.18."""


def _always(content: bytes) -> Callable[[Kernel], bytes]:
    """A file that never changes."""
    return lambda kernel: content


FILES: dict[str, Callable[[Kernel], bytes]] = {
    f"{PMU}/kprobe/type": lambda kernel: b"%d\n" % KPROBE_TYPE,
    f"{PMU}/kprobe/format/retprobe": lambda kernel: b"config:0\n",
    f"{PMU}/uprobe/type": lambda kernel: b"%d\n" % UPROBE_TYPE,
    f"{PMU}/uprobe/format/retprobe": lambda kernel: b"config:0\n",
    f"{PMU}/uprobe/format/ref_ctr_offset": lambda kernel: b"config:32-63\n",
    f"{PMU}/software/type": lambda kernel: b"1\n",
    f"{PMU}/tracepoint/type": lambda kernel: b"2\n",
    "/proc/sys/kernel/unprivileged_bpf_disabled": lambda kernel: b"2\n",
    "/proc/sys/kernel/perf_event_max_stack": lambda kernel: b"127\n",
    "/proc/sys/kernel/perf_event_max_sample_rate": lambda kernel: b"100000\n",
    "/proc/sys/net/core/bpf_jit_enable": lambda kernel: b"1\n",
    **{
        f"/sys/class/net/{name}/ifindex": _always(b"%d\n" % index)
        for index, name in DEVICES.items()
    },
}


class StatsFile(TextFile):
    """kernel.bpf_stats_enabled: a 1 written to it measures how long programs run."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(b"%d\n" % kernel.stats_switch)
        self._kernel = kernel

    def write(self, data: bytes) -> int:
        if data.strip() not in (b"0", b"1"):
            raise failure(EINVAL)
        switch = data.strip() == b"1"
        self._kernel.stats += switch - self._kernel.stats_switch
        self._kernel.stats_switch = switch
        return len(data)


class Statistics(Description):
    """What BPF_ENABLE_STATS opens: programs are measured until it is closed."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        kernel.stats += 1

    def close(self) -> None:
        self._kernel.stats -= 1


def descriptor_info(kernel: Kernel, number: str) -> bytes:
    """/proc/self/fdinfo/N, as ``bpf_map_show_fdinfo`` and ``bpf_prog_show_fdinfo`` write it; and
    what a kernel before 6.18 would have for a tag, `prog_tag_sha1`."""
    if not number.isdigit():
        raise failure(ENOENT)
    try:
        description = kernel.descriptors.get(int(number))
    except OSError:
        raise failure(ENOENT) from None
    rows: list[tuple[str, object]] = [("pos", 0), ("flags", "02000002"), ("mnt_id", 15)]
    if isinstance(description, ObjectDescription):
        rows += _object_rows(description.item)
    return "".join(f"{name}:\t{value}\n" for name, value in rows).encode()


def _object_rows(item: object) -> list[tuple[str, object]]:
    match item:
        case Map():
            return [
                ("map_type", int(item.type)),
                ("key_size", item.key_size),
                ("value_size", item.value_size),
                ("max_entries", item.max_entries),
                ("map_flags", f"{item.flags:#x}"),
                ("map_extra", f"{item.request.map_extra:#x}"),
                ("memlock", item.memlock),
                ("map_id", item.id),
                ("frozen", int(item.frozen)),
            ]
        case Program():
            return [
                ("prog_type", int(item.request.prog_type)),
                ("prog_jited", 1),
                ("prog_tag", item.tag.hex()),
                ("prog_tag_sha1", tag_sha1(decode(item.request.insns)).hex()),
                ("memlock", program_memlock(item)),
                ("prog_id", item.id),
                ("run_time_ns", item.run_time),
                ("run_cnt", item.run_count),
                ("recursion_misses", 0),
                ("verified_insns", item.facts.processed),
            ]
        case Link():
            return [
                ("link_type", item.type.name.lower()),
                ("link_id", item.id),
                ("prog_tag", item.program.tag.hex()),
                ("prog_id", item.program.id),
            ]
    return []


def program_memlock(program: Program) -> int:
    """Whole pages for the program and its instructions (``bpf_prog_size``)."""
    return (PROGRAM_STRUCT_SIZE + len(program.xlated) + 4095) // 4096 * 4096
