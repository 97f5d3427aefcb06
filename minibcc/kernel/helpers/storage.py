"""Helpers of storage that hangs on tasks and cgroups. Mirrors kernel/bpf/bpf_task_storage.c."""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run


@helper("task_storage_get", "sk_storage_get", "inode_storage_get", "cgrp_storage_get")
def storage_get(run: Run, map: int, owner: int, value: int, flags: int, r5: int) -> int:
    target = run.kernel.map_at[map]
    if not owner:
        return 0
    initial = bytes(run.memory.view(value, target.value_size)) if value else None
    address: int = target.get(owner, initial, flags)
    return address


@helper("task_storage_delete", "sk_storage_delete", "inode_storage_delete", "cgrp_storage_delete")
def storage_delete(run: Run, map: int, owner: int, r3: int, r4: int, r5: int) -> int:
    if not owner:
        return -EINVAL
    error: int = run.kernel.map_at[map].forget(owner)
    return error


@helper("get_local_storage")
def get_local_storage(run: Run, map: int, flags: int, r3: int, r4: int, r5: int) -> int:
    address: int = run.kernel.map_at[map].local(run.cpu)
    return address
