"""The cache: whole entries come back, nothing else does, and nothing here fails a compile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from minibcc import cache as caching
from minibcc.cache import SECRET, Cache


def test_what_is_put_comes_back(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "new"))
    assert cache.get("a") is None
    cache.put("a", b"content")
    assert cache.get("a") == b"content"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert set(os.listdir(tmp_path / "new")) == {"a", SECRET}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {0o600}
    assert Cache(str(tmp_path / "new")).get("a") == b"content"


@pytest.mark.parametrize("damage", [b"", b"short", bytes(32) + b"content"])
def test_a_damaged_entry_is_none(tmp_path: Path, damage: bytes) -> None:
    cache = Cache(str(tmp_path))
    cache.put("a", b"content")
    (tmp_path / "a").write_bytes(damage)
    assert cache.get("a") is None
    cache.put("a", b"content")
    assert cache.get("a") == b"content"


def test_the_oldest_entries_go_first(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), limit=4000)
    for number in range(4):
        cache.put(str(number), bytes(900))
        os.utime(tmp_path / str(number), (number, number))
    assert cache.get("0") == bytes(900)  # used: no longer the oldest
    cache.put("4", bytes(900))
    assert set(os.listdir(tmp_path)) == {"0", "3", "4", SECRET}


def test_what_cannot_be_removed_does_not_keep_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that somebody made, an entry that another process was quicker to remove."""
    (tmp_path / "folder").mkdir()
    os.utime(tmp_path / "folder", (0, 0))
    tmp_path.chmod(0o700)
    cache = Cache(str(tmp_path), limit=4000)
    unlink = os.unlink

    def late(path: str) -> None:
        unlink(path)
        if path.endswith("/0"):
            raise FileNotFoundError(path)

    monkeypatch.setattr(os, "unlink", late)
    for number in range(6):
        cache.put(str(number), bytes(900))
        os.utime(tmp_path / str(number), (number + 1, number + 1))
    left = set(os.listdir(tmp_path)) - {"folder", SECRET}
    assert "0" not in left and "5" in left and len(left) <= 4


def test_a_folder_that_cannot_be_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = Cache(str(tmp_path / "file" / "folder"))
    cache.put("a", b"content")
    assert cache.get("a") is None


def test_the_user_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MINIBCC_CACHE", raising=False)
    found = caching.default()
    assert found is not None
    assert found.folder == str(tmp_path / "minibcc" / "objects")
    monkeypatch.setenv("MINIBCC_CACHE", "0")
    assert caching.default() is None


def test_keys_tell_parts_apart() -> None:
    assert caching.key(("ab", "c")) != caching.key(("a", "bc"))
    assert caching.key(("a",)) == caching.key((b"a",))
    assert caching.stamp(("isa",), ("pycparser",)) == caching.stamp(("isa",), ("pycparser",))
    assert caching.stamp(("isa",), ()) != caching.stamp(("abi",), ())


def entry(folder: Path) -> Cache:
    cache = Cache(str(folder))
    cache.put("a", b"content")
    return cache


def a_folder_that_others_may_read(folder: Path) -> None:
    folder.chmod(0o750)


def a_link_to_a_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def a_file_that_others_may_write(folder: Path) -> None:
    (folder / "a").chmod(0o602)


def a_link_to_a_file(folder: Path) -> None:
    (folder / "a").rename(folder / "b")
    (folder / "a").symlink_to(folder / "b")


def a_pipe_that_nobody_writes_to(folder: Path) -> None:
    (folder / "a").unlink()
    os.mkfifo(folder / "a", 0o600)


def another_entry_by_this_name(folder: Path) -> None:
    Cache(str(folder)).put("b", b"content")
    os.replace(folder / "b", folder / "a")


def an_entry_from_another_folder(folder: Path) -> None:
    other = folder.with_name("other")
    entry(other)
    os.replace(other / "a", folder / "a")


def a_secret_that_others_know(folder: Path) -> None:
    (folder / SECRET).chmod(0o644)


def a_torn_secret(folder: Path) -> None:
    (folder / SECRET).write_bytes(b"short")


@pytest.mark.parametrize(
    "how",
    [
        a_folder_that_others_may_read,
        a_link_to_a_folder,
        a_file_that_others_may_write,
        a_link_to_a_file,
        a_pipe_that_nobody_writes_to,
        another_entry_by_this_name,
        an_entry_from_another_folder,
        a_secret_that_others_know,
        a_torn_secret,
    ],
    ids=lambda how: how.__name__,
)
def test_only_what_this_user_wrote_here_counts(tmp_path: Path, how: Callable[[Path], None]) -> None:
    folder = tmp_path / "folder"
    assert entry(folder).get("a") == b"content"
    how(folder)
    assert Cache(str(folder)).get("a") is None
    Cache(str(folder)).put("c", b"more")  # never fails


def test_a_folder_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry(tmp_path / "folder")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert Cache(str(tmp_path / "folder")).get("a") is None


def test_a_torn_secret_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    entry(folder)
    a_torn_secret(folder)
    assert Cache(str(folder)).get("a") is None
    assert entry(folder).get("a") == b"content"
