"""LAPACK: where its functions are in this process.

The wheel ``scipy-openblas32`` carries OpenBLAS, which holds all of BLAS and LAPACK with 32-bit sizes; its names have
the prefix ``scipy_``. Object code is kept on disk and addresses differ between processes, so kernels get the functions'
addresses through their table of buffers, as they get those of micro-kernels. The library is loaded when the first
program needs a function of it.

It runs on the thread that calls it, and on no other. graphc's workers share out the matrices of a batch, each matrix is
worked on by one of them, and so no bit depends on their number. OpenBLAS makes a pool of threads when it is loaded,
which spin for a tenth of a second, unless the environment says that there shall be one: for the moment of loading it
does.

The package's own ``import`` is avoided: it puts the names in the scope of all libraries of the process, where those of
SciPy, which brings an OpenBLAS of the same names, would find them first.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import threading
from pathlib import Path

from graphc.errors import CompileError

PACKAGE = "scipy_openblas32"
_PREFIX, _SUFFIX = "scipy_", "_"
_THREADS = "OPENBLAS_NUM_THREADS"

BLOCK = 32
"""Columns that a blocked factorisation works on at once: what its work array has room for."""

_lock = threading.Lock()
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_loaded: ctypes.CDLL | None = None


def address(name: str) -> int:
    """Address of a function of LAPACK or BLAS.

    Parameters
    ----------
    name : str
        As the standard has it: ``"dgetrf"``.

    Raises
    ------
    CompileError
        If the library is missing or does not load, or has no such function.
    """
    library = _library()
    try:
        function = getattr(library, f"{_PREFIX}{name}{_SUFFIX}")
    except AttributeError:
        raise CompileError(f"{library._name} has no function {name!r}") from None
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _library() -> ctypes.CDLL:
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = _load(_file())
        return _loaded


def _file() -> Path:
    """The shared library within the installed package."""
    package = importlib.util.find_spec(PACKAGE)
    folders = package.submodule_search_locations if package is not None else None
    found = sorted(file for folder in folders or () for file in Path(folder, "lib").glob("libscipy_openblas*.so*"))
    if not found:
        raise CompileError(
            "linear algebra needs LAPACK, which the package scipy-openblas32 carries; it is not installed",
            hint="run: pip install scipy-openblas32",
        )
    return found[0]


def _load(file: Path) -> ctypes.CDLL:
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = "1"
    try:
        library = ctypes.CDLL(str(file))  # its names stay its own
    except OSError as error:
        raise CompileError(f"LAPACK does not load: {error}") from None
    finally:
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before
    getattr(library, f"{_PREFIX}openblas_set_num_threads")(1)  # where it was in the process before
    return library
