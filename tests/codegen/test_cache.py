"""The object-code cache: what it returns, and everything that must be a miss or a refusal instead."""

from __future__ import annotations

import ast
import errno
import os
import time
import warnings
from pathlib import Path

import pytest

import graphc
from graphc import config
from graphc.codegen.cpu import cache
from graphc.errors import GraphcWarning

SOURCE = "def kernel(buffers, dims, worker, workers):\n    pass\n"
KEY = cache.key_of(SOURCE, "void()")
CODE = bytes(range(256)) * 4


@pytest.fixture
def folder(tmp_path, monkeypatch):
    before = config.current()
    monkeypatch.setattr(cache, "_said", {})
    path = tmp_path / "deep" / "kernels"
    config.configure(cache_dir=path, cache_bytes=1 << 20)
    yield path
    config.configure(cache_dir=before.cache_dir, cache_bytes=before.cache_bytes)


def entry_path(folder: Path) -> Path:
    (path,) = folder.glob("*.obj")
    return path


def test_round_trip(folder):
    assert cache.load(KEY, SOURCE) is None and cache.entries() == [] and cache.total_bytes() == 0
    assert cache.store(KEY, SOURCE, "symbol", CODE)
    assert cache.load(KEY, SOURCE) == ("symbol", CODE)
    assert folder.stat().st_mode & 0o777 == 0o700
    (entry,) = cache.entries()
    assert entry.key == KEY and entry.size == cache.total_bytes() == entry_path(folder).stat().st_size


def test_key_depends_on_source_signature_and_environment(monkeypatch):
    keys = {KEY, cache.key_of(SOURCE + "#", "void()"), cache.key_of(SOURCE, "void(int64)")}
    monkeypatch.setattr(cache, "environment", lambda: "another machine")
    assert len(keys | {cache.key_of(SOURCE, "void()")}) == 4


def test_key_depends_on_every_file_that_kernels_take_constants_from():
    known = set(map(Path, cache.generators()))
    package = Path(graphc.__file__).parent
    found = set()
    for path in (package / "codegen" / "cpu").rglob("*.py"):
        for line in ast.walk(ast.parse(path.read_text())):
            if isinstance(line, ast.ImportFrom) and (line.module or "").startswith("graphc."):
                home = package.joinpath(*line.module.split(".")[1:]).with_suffix(".py")
                found |= {(home, name.name) for name in line.names if name.name.isupper() and home.exists()}
    names = {name for _, name in found}
    assert {"MULTIPLIERS", "INDEX_OUT_OF_RANGE", "NO_RESULT"} <= names
    text = {"BOOL", "DTYPES", "FUNCTIONS", "INT64", "NAMES"}  # of which only the text is made, and that is in the key
    assert {name for home, name in found if home not in known} == text


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def damage_header_only(path):
    path.write_bytes(path.read_bytes()[:10])


def damage_empty(path):
    path.write_bytes(b"")


def damage_flip(path):
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)


def damage_length(path):
    content = bytearray(path.read_bytes())
    content[15] ^= 0x80  # the symbol's and the code's lengths no longer fit the file
    path.write_bytes(content)


def damage_link(path):
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def damage_permissions(path):
    path.chmod(0o666)


def damage_owner(path):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(path, 12345, 12345)


def damage_fifo(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [value for name, value in sorted(globals().items()) if name.startswith("damage_")])
def test_unsound_entries_are_misses_and_get_replaced(folder, damage):
    cache.store(KEY, SOURCE, "symbol", CODE)
    damage(entry_path(folder))
    assert cache.load(KEY, SOURCE) is None
    assert cache.store(KEY, SOURCE, "symbol", CODE)
    assert cache.load(KEY, SOURCE) == ("symbol", CODE)


def test_an_entry_under_another_key_is_a_miss(folder):
    cache.store(KEY, SOURCE, "symbol", CODE)
    other = cache.key_of(SOURCE, "void(int64)")
    path = entry_path(folder)
    path.rename(path.with_name(path.name.replace(KEY, other)))
    assert cache.load(other, SOURCE) is None


def refused(folder, reason):
    with pytest.warns(GraphcWarning, match=reason) as caught:
        assert not cache.store(KEY, SOURCE, "symbol", CODE)
        assert cache.load(KEY, SOURCE) is None
        assert cache.keep_source(SOURCE) is None
        assert cache.entries() == [] and cache.clear() == 0
    assert len(caught) == 1


def test_a_folder_writable_by_others_is_refused_once(folder):
    cache.store(KEY, SOURCE, "symbol", CODE)
    folder.chmod(0o777)
    refused(folder, "writable by other users")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_a_foreign_folder_is_refused_once(folder):
    cache.store(KEY, SOURCE, "symbol", CODE)
    os.chown(folder, 12345, 12345)
    refused(folder, "belongs to user 12345")


def test_a_file_in_place_of_the_folder_is_refused_once(folder):
    folder.parent.mkdir(parents=True)
    folder.write_text("")
    refused(folder, "is not a folder")


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_a_read_only_or_full_disk_is_said_once(folder, monkeypatch, code):
    folder.mkdir(parents=True, mode=0o700)

    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(cache.os, "replace", fail)
    with pytest.warns(GraphcWarning, match=os.strerror(code)) as caught:
        assert not cache.store(KEY, SOURCE, "symbol", CODE)
        assert cache.keep_source(SOURCE) is None
    assert len(caught) == 1 and list(folder.iterdir()) == []


def test_a_read_only_cache_still_serves(folder, monkeypatch):
    cache.store(KEY, SOURCE, "symbol", CODE)

    def fail(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(cache.os, "utime", fail)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.load(KEY, SOURCE) == ("symbol", CODE)


def test_least_recently_used_goes_first(folder):
    sources = [SOURCE + "#" * i for i in range(4)]
    keys = [cache.key_of(source, "") for source in sources]
    for age, (key, source) in enumerate(zip(keys, sources, strict=True)):
        cache.keep_source(source)
        cache.store(key, source, "symbol", CODE)
        os.utime(next(folder.glob(f"*{key}*")), (time.time() - 1000 + age,) * 2)
    assert cache.load(keys[0], sources[0]) is not None  # used now, so no longer the oldest
    config.configure(cache_bytes=cache.total_bytes() - 1)
    new = cache.key_of(SOURCE, "new")
    cache.store(new, SOURCE, "symbol", CODE)
    left = {entry.key for entry in cache.entries()}
    assert left == {keys[0], keys[2], keys[3], new}
    assert cache.total_bytes() <= config.current().cache_bytes
    assert len(list(folder.glob("*.py"))) == 3  # sources go with their last entry


def test_abandoned_temporary_files_are_removed(folder):
    cache.store(KEY, SOURCE, "symbol", CODE)
    old, young = folder / "new-old", folder / "new-young"
    old.write_bytes(b""), young.write_bytes(b"")
    os.utime(old, (0, 0))
    cache._unscanned.clear()  # as in another process, whose first store looks how full the folder is
    cache.store(KEY, SOURCE, "symbol", CODE)
    assert not old.exists() and young.exists()


def test_sources_without_entries_are_removed(folder):
    orphan, young = cache.keep_source("# orphan"), cache.keep_source("# young")
    os.utime(orphan, (0, 0))
    cache.store(KEY, SOURCE, "symbol", CODE)
    assert not os.path.exists(orphan) and os.path.exists(young)


def test_a_folder_is_not_scanned_at_every_store(folder, monkeypatch):
    scans = []
    scan = cache._scan
    monkeypatch.setattr(cache, "_scan", lambda path: scans.append(path) or scan(path))
    for number in range(20):
        cache.store(cache.key_of(SOURCE, str(number)), SOURCE, "symbol", CODE)
    assert len(scans) == 1


def test_clear_leaves_other_files(folder):
    cache.keep_source(SOURCE)
    cache.store(KEY, SOURCE, "symbol", CODE)
    other = folder / "notes.txt"
    other.write_text("mine")
    assert cache.clear() == 1
    assert list(folder.iterdir()) == [other]


def test_sources_are_readable_and_mended(folder):
    path = Path(cache.keep_source(SOURCE))
    assert path.read_text() == SOURCE and path.parent == folder
    inode = path.stat().st_ino
    assert cache.keep_source(SOURCE) == str(path) and path.stat().st_ino == inode  # not rewritten
    path.write_text("altered")
    assert cache.keep_source(SOURCE) == str(path) and path.read_text() == SOURCE
