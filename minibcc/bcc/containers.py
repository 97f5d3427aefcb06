"""C text that keeps a tool to some containers (BCC's ``bcc.containers``).

`filter_by_containers` answers text that defines ``container_should_be_filtered()``, which tools
call first of all. It looks the current cgroup or mount namespace up in a pinned set; without a
set nothing is filtered.
"""

from __future__ import annotations

from typing import Protocol


class Arguments(Protocol):
    """The two command line options that tools share: paths of pinned maps, or None."""

    cgroupmap: str | None
    mntnsmap: str | None


_CGROUP = """
BPF_TABLE_PINNED("hash", u64, u64, cgroupset, 1024, "{path}");

static inline int _cgroup_filter() {{
    u64 id = bpf_get_current_cgroup_id();
    return cgroupset.lookup(&id) == NULL;
}}
"""

# The kernel keeps struct mnt_namespace to itself; tools that need it declare the part that they
# read, unless MNT_NAMESPACE_DEFINED says that somebody did.
_MNTNS = """
#include <linux/nsproxy.h>
#include <linux/mount.h>
#include <linux/ns_common.h>

struct mnt_namespace {{
    struct ns_common ns;
}};
#define MNT_NAMESPACE_DEFINED

BPF_TABLE_PINNED("hash", u64, u32, mount_ns_set, 1024, "{path}");

static inline int _mntns_filter() {{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    struct nsproxy *proxy;
    struct mnt_namespace *space;
    unsigned int number;
    if (bpf_probe_read_kernel(&proxy, sizeof(proxy), &task->nsproxy))
        return 0;
    if (bpf_probe_read_kernel(&space, sizeof(space), &proxy->mnt_ns))
        return 0;
    if (bpf_probe_read_kernel(&number, sizeof(number), &space->ns.inum))
        return 0;
    u64 id = number;
    return mount_ns_set.lookup(&id) == NULL;
}}
"""

_NOTHING = """
static inline int {name}() {{
    return 0;
}}
"""

_BOTH = """
static inline int container_should_be_filtered() {
    return _cgroup_filter() || _mntns_filter();
}
"""


def filter_by_containers(args: Arguments) -> str:
    """The C text for a tool's parsed command line."""
    parts = (("_cgroup_filter", _CGROUP, args.cgroupmap), ("_mntns_filter", _MNTNS, args.mntnsmap))
    return (
        "".join(
            text.format(path=path) if path else _NOTHING.format(name=name)
            for name, text, path in parts
        )
        + _BOTH
    )
