"""The cache: whole entries come back, nothing else does, and nothing here fails a compile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minibcc.compiler import cache as caching
from minibcc.compiler.cache import Cache


def test_what_is_put_comes_back(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "new"))
    assert cache.get("a") is None
    cache.put("a", b"content")
    assert cache.get("a") == b"content"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert os.listdir(tmp_path / "new") == ["a"]


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
    assert set(os.listdir(tmp_path)) == {"0", "3", "4"}


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
    assert caching.compiler_stamp() == caching.compiler_stamp()
