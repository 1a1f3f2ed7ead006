"""Compiled kernels and printed programs on disk, each under a key of everything that decides it.

The key of object code is a SHA-256 over the kernel's source, its signature, graphc's own code generators, the
versions of the tools, and the processor.  It holds no user name, path or line, so that equal kernels of different
programs share one entry.  What is kept of a printed program, and under which key, is said in
:mod:`graphc.codegen.cpu.texts`.

An entry is one file, ``<source>.<key>.obj`` for object code and ``program.<key>.json`` for texts::

    magic (8) | symbol length (4) | content length (8) | SHA-256 of key, symbol, content (32) | symbol | content

It is written to a temporary file and renamed into place, so a reader sees all of it or nothing, and two
processes that compile the same kernel both succeed: the second rename replaces equal by equal.  A file
that is truncated, altered, foreign or under a wrong name is a miss; the next store replaces it.  Beside
the entries lie the kernel sources, ``<source>.py``, for people, tracebacks and profilers.

What the folder holds is *executed*.  It must therefore belong to this user and be writable by nobody
else; otherwise graphc says so once and works without it, as it does on a read-only or full disk.

The folder has a size limit.  A hit touches its entry; a store that exceeds the limit drops the entries
that were used least recently.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import stat
import struct
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from graphc import config
from graphc.codegen.cpu import machine
from graphc.errors import GraphcWarning

_MAGIC = b"graphc\x00\x01"
_HEADER = struct.Struct("<8sIQ32s")
_ABANDONED_SECONDS = 3600.0  # a temporary file this old was left by a process that died
_TEMPORARY = "new-"
_PROGRAM = "program"

PACKAGE = Path(__file__).parents[2]
_SHARED = ("codegen/source.py", "ir/philox.py")
"""Files outside of this folder whose numbers are compiled into kernels: failure codes, constants of the generator."""

_said: dict[Path, object] = {}


class Entry(NamedTuple):
    """One compiled kernel, or printed program, on disk.

    Attributes
    ----------
    key : str
        Its key, 64 hexadecimal digits.
    path : Path
        The file.
    source : Path or None
        The kernel's readable source; None for a program.
    size : int
        Bytes of the file.
    used : float
        When it was stored or last loaded, seconds since the epoch.
    """

    key: str
    path: Path
    source: Path | None
    size: int
    used: float


# -- keys ---------------------------------------------------------------------------------------------------------


def generators() -> list[str]:
    """The files of graphc whose text decides what a kernel's source compiles to."""
    return [*python_files("codegen/cpu"), *(str(PACKAGE / name) for name in _SHARED)]


def python_files(folder: str) -> list[str]:
    """The Python files of a folder of graphc, sorted."""
    return sorted(  # a Path for each would take longer than reading the files
        os.path.join(inside, name)
        for inside, _, names in os.walk(PACKAGE / folder)
        for name in names
        if name.endswith(".py")
    )


@cache
def environment() -> str:
    """Digest of what, besides its source, decides a kernel's object code.

    That is: the text of graphc's own CPU code generators (kernels inline their library) and of what they take
    constants from, the versions of Python, Numba, llvmlite and graphc, and the processor.
    """
    versions = [platform.python_version(), *map(config.version_of, ("numba", "llvmlite", "graphc"))]
    host = machine.host()
    return _digest(digest_of_files(generators()), *versions, host.triple, host.cpu, host.features)


def digest_of_files(paths: Iterable[str]) -> str:
    """Digest of the names and contents of some files."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(os.path.basename(path).encode() + b"\0" + file.read() + b"\0")
    return digest.hexdigest()


def source_name(source: str) -> str:
    """Name of a kernel source, made from its content alone: ``kernel_`` and 24 hexadecimal digits."""
    return "kernel_" + hashlib.sha256(source.encode()).hexdigest()[:24]


def key_of(source: str, signature: str) -> str:
    """Key of the object code that `source` compiles to on this machine, 64 hexadecimal digits."""
    return _digest(environment(), signature, source)


@lru_cache(maxsize=256)  # a program's kernels are looked up several times on the way to their addresses
def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


# -- the folder ---------------------------------------------------------------------------------------------------


def _say_once(folder: Path, reason: str) -> None:
    first = object()
    if _said.setdefault(folder, first) is not first:  # atomic, without a lock that a fork could leave closed
        return
    from graphc.ir.origin import stack_level  # a helper process does without the rest of graphc

    warnings.warn(f"compiled kernels are not kept on disk: {reason}", GraphcWarning, stacklevel=stack_level())


def _reason_against(folder: Path) -> str | None:
    """Why what `folder` holds must not be executed, or None."""
    status = os.stat(folder)
    if not stat.S_ISDIR(status.st_mode):
        return f"{folder} is not a folder"
    if status.st_uid != os.geteuid():
        return f"{folder} belongs to user {status.st_uid}, not {os.geteuid()} (set GRAPHC_CACHE_DIR to one of yours)"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{folder} is writable by other users (run: chmod go-w {folder})"
    return None


def _folder(create: bool) -> Path | None:
    """The cache folder, or None where there is none that can be used."""
    folder = config.current().cache_dir
    try:
        if create and not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        reason = _reason_against(folder)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not create:
            return None
        reason = f"{folder}: {error.strerror}"
    if reason is not None:
        _say_once(folder, reason)
        return None
    return folder


def _write(folder: Path, name: str, content: bytes) -> bool:
    """Put `content` under `name`, whole or not at all; tell whether it is there."""
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=folder)  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, folder / name)
        return True
    except OSError as error:  # read-only, full, over quota, removed meanwhile
        if temporary is not None:
            _remove(Path(temporary))
        _say_once(folder, f"{folder}: {os.strerror(error.errno or errno.EIO)}")
        return False


def _remove(path: Path) -> bool:
    try:
        path.unlink()
        return True
    except OSError:  # another process was faster, or the folder is read-only: either way nothing to do
        return False


def _read(path: Path) -> bytes | None:
    """Content of a plain file that is this user's own and nobody else can write; None otherwise."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                return None
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None
            return file.read()
    except OSError:  # absent, a link (ELOOP), or unreadable: a miss like any other
        return None


# -- load and store -----------------------------------------------------------------------------------------------


def _checksum(key: str, symbol: bytes, content: bytes) -> bytes:
    digest = hashlib.sha256(key.encode() + b"\0" + symbol + b"\0")
    digest.update(content)
    return digest.digest()


def load(key: str, source: str) -> tuple[str, bytes] | None:
    """Look an entry up.

    Parameters
    ----------
    key : str
        From :func:`key_of`.
    source : str
        The kernel's source text.

    Returns
    -------
    (str, bytes) or None
        The symbol and the object code that defines it; None where there is no sound entry.
    """
    found = _load(f"{source_name(source)}.{key}.obj", key)
    return None if found is None else (found[0].decode("ascii"), found[1])


def load_program(key: str) -> bytes | None:
    """What was kept of a printed program; None where there is no sound entry."""
    found = _load(f"{_PROGRAM}.{key}.json", key)
    return None if found is None else found[1]


def _load(name: str, key: str) -> tuple[bytes, bytes] | None:
    """The symbol and the content of an entry; None where there is no sound one."""
    folder = _folder(create=False)
    if folder is None:
        return None
    path = folder / name
    whole = _read(path)
    if whole is None or len(whole) < _HEADER.size:
        return None
    magic, symbol_length, length, checksum = _HEADER.unpack_from(whole)
    if magic != _MAGIC or len(whole) != _HEADER.size + symbol_length + length:
        return None
    symbol, content = whole[_HEADER.size :][:symbol_length], whole[_HEADER.size + symbol_length :]
    if _checksum(key, symbol, content) != checksum:
        return None
    with contextlib.suppress(OSError):  # a read-only cache still serves
        os.utime(path)  # the time of last use
    return symbol, content


def store(key: str, source: str, symbol: str, code: bytes) -> bool:
    """Keep object code; drop the least recently used entries where the folder outgrows its limit.

    Parameters
    ----------
    key : str
        From :func:`key_of`.
    source : str
        The kernel's source text.
    symbol : str
        ASCII name of the function in `code`.
    code : bytes
        The object file.

    Returns
    -------
    bool
        Whether the entry was written; if not, the reason has been said once as a warning.
    """
    return _store(f"{source_name(source)}.{key}.obj", key, symbol.encode("ascii"), code, beside=len(source))


def store_program(key: str, content: bytes) -> bool:
    """Keep what is to be kept of a printed program, as :func:`store` keeps object code."""
    return _store(f"{_PROGRAM}.{key}.json", key, b"", content)


def _store(name: str, key: str, symbol: bytes, content: bytes, beside: int = 0) -> bool:
    """Write an entry, beside which there is a file of some bytes; tell whether that went well."""
    folder = _folder(create=True)
    if folder is None:
        return False
    header = _HEADER.pack(_MAGIC, len(symbol), len(content), _checksum(key, symbol, content))
    written = _write(folder, name, header + symbol + content)
    if written:
        _make_room(folder, len(header) + len(symbol) + len(content) + beside, config.current().cache_bytes)
    return written


def keep_source(source: str) -> str | None:
    """Write a kernel's source beside the entries unless it is there; return its path, None without a folder."""
    folder = _folder(create=True)
    if folder is None:
        return None
    path = folder / f"{source_name(source)}.py"
    if _read(path) == source.encode() or _write(folder, path.name, source.encode()):
        return str(path)
    return None


# -- housekeeping -------------------------------------------------------------------------------------------------


def _scan(folder: Path) -> tuple[list[Entry], dict[Path, int], list[Path]]:
    """Entries (least recently used first), sizes of the sources, temporary files left behind."""
    found: list[Entry] = []
    sources: dict[Path, int] = {}
    abandoned: list[Path] = []
    try:
        items = list(os.scandir(folder))
    except OSError:  # the folder went away: it holds nothing
        items = []
    for item in items:
        try:
            status = item.stat(follow_symlinks=False)
        except FileNotFoundError:  # dropped by another process since the scan began
            continue
        path, stem = Path(item.path), item.name.split(".")
        if item.name.startswith(_TEMPORARY):
            if time.time() - status.st_mtime > _ABANDONED_SECONDS:
                abandoned.append(path)
        elif item.name.startswith("kernel_") and item.name.endswith(".py"):
            sources[path] = status.st_size
        elif item.name.startswith("kernel_") and item.name.endswith(".obj") and len(stem) == 3:
            found.append(Entry(stem[1], path, folder / f"{stem[0]}.py", status.st_size, status.st_mtime))
        elif item.name.startswith(f"{_PROGRAM}.") and item.name.endswith(".json") and len(stem) == 3:
            found.append(Entry(stem[1], path, None, status.st_size, status.st_mtime))
    found.sort(key=lambda entry: entry.used)
    return found, sources, abandoned


_unscanned: dict[tuple[Path, int], int] = {}
"""Bytes that this process may still write into a folder before it looks again how full it is."""

_SHARE_BETWEEN_LOOKS = 8
"""A look is due after this part of the room left was used: other processes may be writing, too."""


def _make_room(folder: Path, written: int, limit: int) -> None:
    """Account for bytes just written; scan and evict when enough has come together, not at every kernel."""
    left = _unscanned.get((folder, limit), 0) - written
    if left < 0:
        left = (limit - _evict(folder, limit)) // _SHARE_BETWEEN_LOOKS
    _unscanned[folder, limit] = left


def _evict(folder: Path, limit: int) -> int:
    """Drop entries, least recently used first, until everything fits `limit` bytes; returns the bytes that remain."""
    found, sources, abandoned = _scan(folder)
    for path in abandoned:
        _remove(path)
    users = Counter(entry.source for entry in found)
    for path in [path for path in sources if path not in users and _age(path) > _ABANDONED_SECONDS]:
        _remove(path)
        del sources[path]
    total = sum(entry.size for entry in found) + sum(sources.values())
    for entry in found:
        if total <= limit:
            break
        _remove(entry.path)
        total -= entry.size
        users[entry.source] -= 1
        if entry.source in sources and users[entry.source] == 0:
            _remove(entry.source)
            total -= sources[entry.source]
    return total


def _age(path: Path) -> float:
    """Seconds since a file was written; 0 if it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def entries() -> list[Entry]:
    """The compiled kernels on disk, least recently used first."""
    folder = _folder(create=False)
    return [entry for entry in _scan(folder)[0] if entry.source is not None] if folder is not None else []


def total_bytes() -> int:
    """Bytes that kernels, their sources and programs take on disk."""
    folder = _folder(create=False)
    if folder is None:
        return 0
    found, sources, _ = _scan(folder)
    return sum(entry.size for entry in found) + sum(sources.values())


def clear() -> int:
    """Remove every entry and source; return how many kernels went. Other files in the folder stay."""
    folder = _folder(create=False)
    if folder is None:
        return 0
    found, sources, abandoned = _scan(folder)
    removed = sum(_remove(entry.path) and entry.source is not None for entry in found)
    for path in [*sources, *abandoned]:
        _remove(path)
    return removed
