"""``minibcc map``: the maps of running scripts, listed and dumped as bpftool does it.

Mirrors: map.c of tools/bpf/bpftool.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import MapType
from minibcc.abi.requests import (
    BtfGetFdById,
    BtfGetInfo,
    MapGetFdById,
    MapGetInfo,
    MapGetNextId,
    MapLookup,
    MapNextKey,
)
from minibcc.bcc.utils import cpu_list
from minibcc.btf import values
from minibcc.btf.decode import Btf
from minibcc.btf.types import Type
from minibcc.cli.jsontext import Written
from minibcc.cli.show import Kernel, Look, ShowError, no_such, number
from minibcc.errors import UsageError
from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minibcc.abi.requests import MapInfo

USAGE = """usage: minibcc map { show | list } [MAP]
       minibcc map dump       MAP
       minibcc map lookup     MAP  key DATA
       minibcc map getnext    MAP [key DATA]
       minibcc map help

       MAP := { id MAP_ID | name MAP_NAME }
       DATA := { [hex] BYTES }
       OPTIONS := { {-j|--json} [{-p|--pretty}] | --linux }"""

PER_CPU = {
    MapType.PERCPU_HASH,
    MapType.PERCPU_ARRAY,
    MapType.LRU_PERCPU_HASH,
    MapType.PERCPU_CGROUP_STORAGE,
}


class Found(Record):
    """A map and the kernel that it is in."""

    kernel: Kernel
    info: MapInfo


# --- list ----------------------------------------------------------------------------------------


def show(look: Look) -> None:
    one = bool(look.words)
    found = _find(look) if one else _all(look)
    look.end()
    if look.json:
        objects = [_as_json(item) for item in found]
        look.print_json(objects[0] if one and len(objects) == 1 else objects)
        return
    for item in found:
        print(_as_text(item))


def _all(look: Look) -> list[Found]:
    return [
        Found(kernel, kernel.look(MapGetFdById(each), MapGetInfo))
        for kernel in look.kernels
        for each in kernel.ids(MapGetNextId)
    ]


def _find(look: Look) -> list[Found]:
    """The maps that ``id N`` or ``name S`` means. Raises ShowError."""
    kind, word = look.choice(("id", "name"))
    if kind == "name":
        return [item for item in _all(look) if item.info.name == word[:15]]
    wanted = number(word)
    for kernel in look.kernels:
        try:
            return [Found(kernel, kernel.look(MapGetFdById(wanted), MapGetInfo))]
        except FileNotFoundError:
            continue
    raise no_such("get map", wanted)


def _as_json(item: Found) -> dict[str, Any]:
    info, kernel = item.info, item.kernel
    row: dict[str, Any] = {"id": info.id, "type": _type(info)}
    if info.name:
        row["name"] = info.name
    row |= {
        "flags": info.map_flags,
        "bytes_key": info.key_size,
        "bytes_value": info.value_size,
        "max_entries": info.max_entries,
        "bytes_memlock": info.memlock or kernel.memlock(MapGetFdById(info.id)),
        "frozen": int(info.frozen),
    }
    if info.btf_id:
        row["btf_id"] = info.btf_id
    if kernel.owners():
        row["pids"] = kernel.owners()
    return row


def _as_text(item: Found) -> str:
    info, kernel = item.info, item.kernel
    name = f"name {info.name}  " if info.name else ""
    memlock = info.memlock or kernel.memlock(MapGetFdById(info.id))
    lines = [
        f"{info.id}: {_type(info)}  {name}flags 0x{info.map_flags:x}",
        f"\tkey {info.key_size}B  value {info.value_size}B  max_entries {info.max_entries}  "
        f"memlock {memlock}B",
    ]
    if info.btf_id:
        lines.append(f"\tbtf_id {info.btf_id}" + ("  frozen" if info.frozen else ""))
    elif info.frozen:
        lines.append("\tfrozen")
    owners = [f"{owner['comm']}({owner['pid']})" for owner in kernel.owners()]
    if owners:
        lines.append(f"\tpids {', '.join(owners)}")
    return "\n".join(lines)


def _type(info: MapInfo) -> str:
    return MapType(info.type).name.lower()


# --- content -------------------------------------------------------------------------------------


class Content:
    """A map's entries, with the types of its keys and values where it has any."""

    def __init__(self, item: Found) -> None:
        self.kernel = item.kernel
        self.info = item.info
        self.per_cpu = item.info.type in PER_CPU
        self.cpus = self._possible() if self.per_cpu else []
        self.key_type, self.value_type = self._types()
        self.fd = self.kernel.system.bpf(MapGetFdById(item.info.id))

    def close(self) -> None:
        self.kernel.system.close(self.fd)

    def _possible(self) -> list[int]:
        system = self.kernel.system
        fd = system.open("/sys/devices/system/cpu/possible")
        try:
            return cpu_list(system.read(fd, 4096).decode())
        finally:
            system.close(fd)

    def _types(self) -> tuple[Type | None, Type | None]:
        info = self.info
        if not info.btf_id or not info.btf_value_type_id:
            return None, None
        btf = Btf(self.kernel.look(BtfGetFdById(info.btf_id), BtfGetInfo).data)
        key = btf.type(info.btf_key_type_id) if info.btf_key_type_id else None
        return key, btf.type(info.btf_value_type_id)

    def walk(self) -> Iterator[bytes]:
        key: bytes | None = None
        while True:
            try:
                key = self.next_key(key)
            except FileNotFoundError:
                return
            yield key

    def next_key(self, key: bytes | None) -> bytes:
        return self.kernel.system.bpf(MapNextKey(self.fd, key))

    def lookup(self, key: bytes) -> bytes:
        return self.kernel.system.bpf(MapLookup(self.fd, key))

    def parts(self, value: bytes) -> list[tuple[int, bytes]]:
        """Per CPU: its number and its value."""
        stride = self.info.value_size + 7 & ~7
        size = self.info.value_size
        return [
            (cpu, value[index * stride : index * stride + size])
            for index, cpu in enumerate(self.cpus)
        ]

    def formatted(self, key: bytes, value: bytes, depth: int) -> dict[str, Any]:
        """An entry by its types; `depth` is how deep its fields stand in what is printed."""
        typed_key = self._value(self.key_type, key, depth)
        if not self.per_cpu:
            return {"key": typed_key, "value": self._value(self.value_type, value, depth)}
        parts = [
            {"cpu": cpu, "value": self._value(self.value_type, part, depth + 2)}
            for cpu, part in self.parts(value)
        ]
        return {"key": typed_key, "values": parts}

    @staticmethod
    def _value(type: Type | None, data: bytes, depth: int) -> Any:
        return _hex_list(data) if type is None else Written(values.text(type, data, depth))

    def raw(self, key: bytes, value: bytes) -> dict[str, Any]:
        """An entry as bytes, for JSON."""
        row: dict[str, Any] = {"key": _hex_list(key)}
        if self.per_cpu:
            row["values"] = [
                {"cpu": cpu, "value": _hex_list(part)} for cpu, part in self.parts(value)
            ]
        else:
            row["value"] = _hex_list(value)
        return row

    def plain(self, key: bytes, value: bytes) -> str:
        """An entry as bytes, for people."""
        if self.per_cpu:
            lines = ["key:", _hex(key)]
            for cpu, part in self.parts(value):
                lines.append(f"value (CPU {cpu:02d}):" + _glue(part) + _hex(part))
            return "\n".join(lines)
        wide = self.info.key_size > 16 or self.info.value_size > 16
        separator, between = ("\n", "\n") if wide else (" ", "  ")
        return f"key:{separator}{_hex(key)}{between}value:{separator}{_hex(value)}"


def _glue(part: bytes) -> str:
    return "\n" if len(part) > 16 else " "


def _hex(data: bytes) -> str:
    """Bytes, sixteen a line, in two groups of eight."""
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        lines.append("  ".join(filter(None, (row[:8].hex(" "), row[8:].hex(" ")))))
    return "\n".join(lines)


def _hex_list(data: bytes) -> list[str]:
    return [f"0x{byte:02x}" for byte in data]


def dump(look: Look) -> None:
    found = _find(look)
    look.end()
    for item in found:
        content = Content(item)
        try:
            _dump(look, content)
        finally:
            content.close()


def _dump(look: Look, content: Content) -> None:
    typed = content.value_type is not None
    rows: list[Any] = []
    lines: list[str] = []
    count = 0
    for key in content.walk():
        try:
            value = content.lookup(key)
        except OSError as wrong:
            if wrong.errno == errno.ENOENT:
                continue
            words = wrong.strerror or os.strerror(wrong.errno or errno.EINVAL)
            rows.append({"key": _hex_list(key), "value": {"error": words}})
            lines.append(f"key:\n{_hex(key)}\nvalue:\n{words}")
            continue
        count += 1
        if look.json:
            row = content.raw(key, value)
            if typed:
                row["formatted"] = content.formatted(key, value, 3)
            rows.append(row)
        elif typed:
            rows.append(content.formatted(key, value, 2))
        else:
            lines.append(content.plain(key, value))
    if look.json:
        look.print_json(rows)
    elif typed:
        Look(look.kernels, (), json=True, pretty=True).print_json(rows)
    else:
        print("\n".join([*lines, f"Found {count} element{'s' if count != 1 else ''}"]))


def lookup(look: Look) -> None:
    _entry(look, needs_key=True, next_key=False)


def getnext(look: Look) -> None:
    _entry(look, needs_key=False, next_key=True)


def _entry(look: Look, *, needs_key: bool, next_key: bool) -> None:
    found = _find(look)
    if len(found) != 1:
        raise ShowError(f"{len(found)} maps are meant: look one up by its id")
    key = _data(look, found[0].info.key_size) if look.words or needs_key else None
    content = Content(found[0])
    try:
        if next_key:
            _print_next(look, content, key)
        elif key is not None:
            _print_entry(look, content, key)
    finally:
        content.close()


def _print_next(look: Look, content: Content, key: bytes | None) -> None:
    try:
        after = content.next_key(key)
    except FileNotFoundError:
        raise ShowError(f"can't get next key: {os.strerror(errno.ENOENT)}") from None
    if look.json:
        first: dict[str, Any] = {} if key is None else {"key": _hex_list(key)}
        look.print_json(first | {"next_key": _hex_list(after)})
    else:
        print("key: None" if key is None else f"key:\n{_hex(key)}")
        print(f"next key:\n{_hex(after)}")


def _print_entry(look: Look, content: Content, key: bytes) -> None:
    typed = content.value_type is not None
    try:
        value = content.lookup(key)
    except FileNotFoundError:
        if look.json:
            look.print_json(None)
        else:
            print(f"key:\n{_hex(key)}\n\nNot found")
        return
    if look.json:
        row = content.raw(key, value)
        if typed:
            row["formatted"] = content.formatted(key, value, 2)
        look.print_json(row)
    elif typed:
        pretty = Look(look.kernels, (), json=True, pretty=True)
        pretty.print_json(content.formatted(key, value, 1))
    else:
        print(content.plain(key, value))


def _data(look: Look, size: int) -> bytes:
    """``key hex 05 00 00 00``."""
    word = look.word("the word key")
    if word != "key":
        raise UsageError(f"expected 'key', got: {word!r}")
    base = 0
    if look.words and look.words[0] == "hex":
        look.words.pop(0)
        base = 16
    try:
        data = bytes(int(item, base) for item in look.words)
    except ValueError:
        raise ShowError(f"error parsing key: {' '.join(look.words)}") from None
    look.words.clear()
    if len(data) != size:
        raise ShowError(f"the key has {size} bytes, not {len(data)}")
    return data


COMMANDS: dict[str, Callable[[Look], None]] = {
    "show": show,
    "list": show,
    "dump": dump,
    "lookup": lookup,
    "getnext": getnext,
}
