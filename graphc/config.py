"""One frozen configuration, read once from the environment.

========================  ==========================================================
``GRAPHC_CACHE_DIR``      where compiled kernels are kept (default: the user's cache folder)
``GRAPHC_CACHE_BYTES``    size limit of that folder (default: 1 GiB)
``GRAPHC_DUMP``           a folder that receives every stage of every compilation
``GRAPHC_HELPERS``        processes that may help to compile (default: processors but one)
``GRAPHC_THREADS``        worker threads (default: the processors this process may use)
``GRAPHC_VERIFY``         ``1`` verifies the IR after every pass
========================  ==========================================================
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graphc.errors import GraphcError

__all__ = ["Config", "available_processors", "configure", "current", "from_environment", "version_of"]


CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where a container finds the microseconds of CPU time that it may use in each period, and the period."""


@dataclass(frozen=True)
class Config:
    """Settings of this process; see the module's table for the variables they come from.

    Attributes
    ----------
    cache_dir : Path
        Folder of compiled kernels and printed programs.
    cache_bytes : int
        Size limit of that folder, bytes.
    helpers : int
        Processes that may help this one to compile; 0 for none.
    dump : Path or None
        Folder for dumps of every stage; None writes none.
    threads : int
        Worker threads of a session that names no number; at least 1.
    verify : bool
        Verify the IR after every pass.
    """

    cache_dir: Path
    cache_bytes: int
    helpers: int
    dump: Path | None
    threads: int
    verify: bool


def available_processors() -> int:
    """Processors this process may use: its affinity, cut by a container's CPU quota."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        count = os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return max(1, count)


def _whole(name: str, default: int, least: int = 1) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) < least:
        raise GraphcError(f"{name}: expected a whole number of at least {least}, got {text!r}")
    return int(text)


def from_environment() -> Config:
    """Read the configuration from the environment.

    Raises
    ------
    GraphcError
        If a variable holds no usable value.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    dump = os.environ.get("GRAPHC_DUMP")
    return Config(
        cache_dir=Path(os.environ.get("GRAPHC_CACHE_DIR") or os.path.join(base, "graphc")),
        cache_bytes=_whole("GRAPHC_CACHE_BYTES", 1 << 30),
        helpers=_whole("GRAPHC_HELPERS", available_processors() - 1, least=0),
        dump=Path(dump) if dump else None,
        threads=_whole("GRAPHC_THREADS", available_processors()),
        verify=os.environ.get("GRAPHC_VERIFY", "") not in ("", "0"),
    )


_current: Config | None = None


def current() -> Config:
    """The configuration in force, read from the environment at first use."""
    global _current
    if _current is None:
        _current = from_environment()
    return _current


def configure(**changes: Any) -> Config:
    """Replace fields of the configuration (mostly for tests); return the new one. Folders may be strings."""
    global _current
    for name in ("cache_dir", "dump"):
        if isinstance(changes.get(name), str):
            changes[name] = Path(changes[name])
    _current = replace(current(), **changes)
    return _current


def version_of(distribution: str) -> str:
    """The version of an installed package; ``"not installed"`` if it is none.

    Every program asks, since the keys of kernels hold versions. The name of the folder that an installer leaves beside
    a package tells; only where there is no such folder, or more than one, is ``importlib.metadata`` asked, whose
    import takes a sixth of graphc's own.
    """
    ending = ".dist-info"
    for folder in sys.path:
        try:
            names = os.listdir(folder or os.curdir)
        except OSError:  # no folder, such as a zip file
            continue
        found = [name for name in names if name.startswith(f"{distribution}-") and name.endswith(ending)]
        if len(found) == 1:
            return found[0][len(distribution) + 1 : -len(ending)]
        if found:
            break
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def __dir__() -> list[str]:
    return list(__all__)
