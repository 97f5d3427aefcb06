"""Tables as bars of stars: BCC's ``print_log2_hist``, ``print_linear_hist``, ``print_json_hist``.

Tools' output is compared by eye and by scripts, so columns, widths and rounding are BCC's: a log2
histogram's slot i counts the values from 2^(i-1) to 2^i - 1, its bars are 40 wide and 20 where
slots beyond 32 need wide columns; the longest bar belongs to the largest count, and bars are cut
down, not rounded.
"""

from __future__ import annotations

import ctypes as ct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

STARS = 40
LOG2_SLOTS = 65
LINEAR_SLOTS = 1025

Sections = list[tuple[Any, list[int]]]


def stars(value: int, largest: int, width: int) -> str:
    """A bar for `value`, `width` wide for `largest`; it ends in ``+`` if the value is larger."""
    count = min(width, int(width * value / largest)) if largest else 0
    bar = "*" * count
    return bar[:-1] + "+" if value > largest else bar


def _rows(values: Sequence[int], strip_leading_zero: bool | None) -> Iterable[tuple[int, int]]:
    """Slot and count, up to the last slot that is not empty."""
    last = max((slot for slot, value in enumerate(values) if value > 0), default=-1)
    for slot in range(last + 1):
        if strip_leading_zero and not values[slot]:
            continue
        strip_leading_zero = False
        yield slot, values[slot]


def print_log2(values: Sequence[int], val_type: str, strip_leading_zero: bool | None) -> None:
    last = max((slot for slot, value in enumerate(values) if value > 0), default=-1)
    wide = last > 32
    digits, label, width = (20, 29, STARS // 2) if wide else (10, 19, STARS)
    if last > 0:
        print(f"{' ' * (digits - 5)}{val_type:<{label}s} : count     distribution")
    largest = max(values, default=0)
    for slot, value in _rows([0, *values[1:]], strip_leading_zero):
        if slot:
            low, high = (1 << slot) >> 1, (1 << slot) - 1
            low -= low == high
            bar = stars(value, largest, width)
            print(f"{low:{digits}d} -> {high:<{digits}d} : {value:<8d} |{bar:<{width}s}|")


def print_linear(values: Sequence[int], val_type: str, strip_leading_zero: bool | None) -> None:
    largest = max(values, default=0)
    if largest > 0:
        print(f"     {val_type:<13s} : count     distribution")
    for slot, value in _rows(values, strip_leading_zero):
        print(f"        {slot:<10d} : {value:<8d} |{stars(value, largest, STARS):<{STARS}s}|")


def print_json(values: Sequence[int], val_type: str, section: tuple[str, Any] | None) -> None:
    last = max((slot for slot, value in enumerate(values) if value), default=0)
    data = [
        {
            "interval-start": 0 if slot == 1 else 1 << (slot - 1),
            "interval-end": (1 << slot) - 1,
            "count": int(values[slot]),
        }
        for slot in range(1, last + 1)
    ]
    histogram: dict[str, Any] = {
        "ts": time.strftime("%Y-%m-%d %H:%M:%S"),
        "val_type": val_type,
        "data": data,
    }
    if section is not None:
        histogram[section[0]] = section[1]
    print(histogram)


def sections(
    items: Iterable[tuple[Any, Any]],
    key_type: Any,
    slots: int,
    bucket_fn: Callable[[Any], Any] | None,
    bucket_sort_fn: Callable[[list[Any]], list[Any]] | None,
) -> Sections:
    """The counts of a table by bucket, where its keys are (bucket, slot) structures; where they
    are plain slots there is one section, and its bucket is None."""
    if not issubclass(key_type, ct.Structure):
        values = [0] * slots
        for key, leaf in items:
            if not 0 <= key.value < slots:
                raise IndexError(f"slot {key.value} of a histogram of {slots}")
            values[key.value] = leaf.value
        return [(None, values)]
    names = [field[0] for field in key_type._fields_ if not field[0].startswith("__pad_")]
    buckets: dict[Any, list[int]] = {}
    for key, leaf in items:
        bucket = getattr(key, names[0])
        if bucket_fn:
            bucket = bucket_fn(bucket)
        buckets.setdefault(bucket, [0] * slots)[getattr(key, names[1])] = leaf.value
    order = list(buckets)
    if bucket_sort_fn:
        order = bucket_sort_fn(order)
    return [(bucket, buckets[bucket]) for bucket in order]


class Histogram:
    """The three ways to print a table, for `table.TableBase` to inherit."""

    Key: Any
    if TYPE_CHECKING:

        def iteritems(self) -> Iterable[tuple[Any, Any]]: ...

    def print_log2_hist(
        self,
        val_type: str = "value",
        section_header: str = "Bucket ptr",
        section_print_fn: Callable[[Any], Any] | None = None,
        bucket_fn: Callable[[Any], Any] | None = None,
        strip_leading_zero: bool | None = None,
        bucket_sort_fn: Callable[[list[Any]], list[Any]] | None = None,
    ) -> None:
        """Prints the table as a log2 histogram. Keys are slots, or structures of a bucket and a
        slot: then one histogram per bucket, headed ``section_header = bucket``, where
        `section_print_fn` words the bucket, `bucket_fn` maps it, `bucket_sort_fn` orders all."""
        self._print(
            print_log2, LOG2_SLOTS, val_type, section_header, section_print_fn, bucket_fn,
            strip_leading_zero, bucket_sort_fn,
        )  # fmt: skip

    def print_linear_hist(
        self,
        val_type: str = "value",
        section_header: str = "Bucket ptr",
        section_print_fn: Callable[[Any], Any] | None = None,
        bucket_fn: Callable[[Any], Any] | None = None,
        strip_leading_zero: bool | None = None,
        bucket_sort_fn: Callable[[list[Any]], list[Any]] | None = None,
    ) -> None:
        """The same with a slot per number, 0 to 1024; IndexError beyond that."""
        self._print(
            print_linear, LINEAR_SLOTS, val_type, section_header, section_print_fn, bucket_fn,
            strip_leading_zero, bucket_sort_fn,
        )  # fmt: skip

    def _print(
        self,
        show: Callable[[Sequence[int], str, bool | None], None],
        slots: int,
        val_type: str,
        section_header: str,
        section_print_fn: Callable[[Any], Any] | None,
        bucket_fn: Callable[[Any], Any] | None,
        strip_leading_zero: bool | None,
        bucket_sort_fn: Callable[[list[Any]], list[Any]] | None,
    ) -> None:
        found = sections(self.iteritems(), self.Key, slots, bucket_fn, bucket_sort_fn)
        for bucket, values in found:
            if issubclass(self.Key, ct.Structure):
                word = section_print_fn(bucket) if section_print_fn else repr(bucket)
                print("\n%s = %s" % (section_header, word))  # noqa: UP031  # bytes as BCC has them
            show(values, val_type, strip_leading_zero)

    def print_json_hist(
        self,
        val_type: str = "value",
        section_header: str = "Bucket ptr",
        section_print_fn: Callable[[Any], Any] | None = None,
        bucket_fn: Callable[[Any], Any] | None = None,
        bucket_sort_fn: Callable[[list[Any]], list[Any]] | None = None,
    ) -> None:
        """Prints a log2 histogram as a dictionary with its intervals, one per bucket."""
        found = sections(self.iteritems(), self.Key, LOG2_SLOTS, bucket_fn, bucket_sort_fn)
        for bucket, values in found:
            section = None
            if issubclass(self.Key, ct.Structure):
                section = (
                    section_header,
                    section_print_fn(bucket) if section_print_fn else bucket,
                )
            print_json(values, val_type, section)
