"""Kernel source -> object code: Numba's front end, LLVM's optimiser, graphc's own target machine.

Numba types the kernel and lowers it to LLVM IR; there graphc takes over.  Numba's own back end would
optimise each function, then the module twice (a cheap pass made for reference counts, which kernels do
not have), and wrap the result for Python.  Here functions are called as C's are
(:mod:`graphc.codegen.cpu.convention`), so the IR is internalised, optimised **once** and emitted:

    source -> Numba IR -> types -> LLVM IR -> -O3 (loop vectoriser on) -> ELF object

A kernel may call nothing but the C library.  An undefined function is called where Numba's code
reports an exception, so a kernel that can raise, like one that allocates, shows as an unresolved symbol
of the optimised object and is refused by name.

This module imports Numba; only :mod:`graphc.codegen.cpu.jit` imports it, and only on a cache miss.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import llvmlite.binding as llvm
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaError

from graphc.codegen.cpu import frontend, machine
from graphc.codegen.cpu.convention import RAISE
from graphc.errors import CompileError
from graphc.passes.collector import collector_paused

_PYTHON_PREFIXES = ("Py", "_Py", "NRT_", "numba_")  # resolvable in a Python process, yet not for a kernel
_MESSAGE_LINES = 6


def compile_source(source: str, filename: str, *, function: str, signature: str, export: str) -> bytes:
    """Compile a kernel.

    Parameters
    ----------
    source : str
        A Python module that defines the kernel in the subset that Numba compiles. With ``CONTROL_CODE = True`` among
        its names it has no loops worth unrolling or vectorising; with ``UNROLLED = True`` its loops over tiles, written
        out in intrinsics, leave LLVM nothing to find.
    filename : str
        What the code object carries as its file.
    function : str
        The kernel's name in `source`.
    signature : str
        Its types, in Numba's notation, such as ``"void(CPointer(int64), int64)"``.
    export : str
        The symbol that the object defines, with the C calling convention.

    Returns
    -------
    bytes
        An object file for this machine.

    Raises
    ------
    CompileError
        If the source is not Python, lacks the kernel, cannot be typed, can raise, or needs a symbol
        that the C library does not have.
    """
    module = _module(source, filename, function, signature, export)
    code = bytes(_target().emit_object(module))
    missing = unresolved_symbols(code)
    if RAISE in missing:
        raise CompileError(
            f"{filename}: the kernel can raise an exception",
            hint="report failures through the status block; a range() needs a constant step",
        )
    if missing:
        raise CompileError(f"{filename}: the kernel needs symbols that the C library lacks: {', '.join(missing)}")
    return code


def _module(source: str, filename: str, function: str, signature: str, export: str) -> llvm.ModuleRef:
    """A kernel in LLVM IR, optimised for this machine."""
    namespace = _execute(source, filename)
    kernel = _function(namespace, filename, function)
    try:
        with collector_paused(), global_compiler_lock:
            module = _link(frontend.lower(kernel, signature), export)
    except NumbaError as error:
        raise CompileError(f"{filename}: Numba refuses the kernel: {_shortened(str(error))}") from error
    except (TypeError, NotImplementedError, AssertionError, RuntimeError) as error:
        # Numba and LLVM report some faults of a source as plain exceptions
        raise CompileError(f"{filename}: the kernel does not compile: {_shortened(str(error))}") from error
    _optimise(module, export, namespace.get("CONTROL_CODE", False), namespace.get("UNROLLED", False))
    return module


@cache
def _target() -> Any:
    """This machine, as LLVM compiles for it; one for all kernels, since making it takes as long as some passes."""
    return machine.target_machine()


@lru_cache(maxsize=1)
def _execute(source: str, filename: str) -> dict[str, Any]:
    """Run the module that `source` is; return its names. The last is kept: it may define several functions."""
    namespace: dict[str, Any] = {"__name__": "graphc_kernel", "__file__": filename}
    try:
        exec(compile(source, filename, "exec"), namespace)
    except Exception as error:
        raise CompileError(f"{filename}: the kernel's module fails: {type(error).__name__}: {error}") from error
    return namespace


def _function(namespace: dict[str, Any], filename: str, function: str) -> Callable[..., Any]:
    """The function of that name."""
    kernel: Callable[..., Any] | None = namespace.get(function)
    if not callable(kernel):
        names = ", ".join(sorted(name for name in namespace if not name.startswith("__"))) or "none"
        raise CompileError(f"{filename}: expected a function {function!r}; its names: {names}")
    return kernel


def _link(lowered: frontend.Lowered, export: str) -> llvm.ModuleRef:
    """One module of the kernel and the procedures it calls; only the kernel is visible, by its name of export."""
    whole, *others = map(llvm.parse_assembly, lowered.library.texts())
    for module in others:
        whole.link_in(module)
    whole.get_function(lowered.descriptor.llvm_func_name).name = export
    for function in whole.functions:
        if not function.is_declaration and function.name != export:
            function.linkage = "internal"
    for variable in whole.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    whole.verify()
    return whole


def _optimise(module: llvm.ModuleRef, export: str, control_code: bool, unrolled: bool) -> None:
    """Run LLVM's pipeline once over the module: -O1 for control code and what is unrolled, -O3 for the rest."""
    target = _target()
    module.name, module.triple, module.data_layout = export, target.triple, str(target.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=1 if control_code or unrolled else 3)
    options.loop_vectorization = not control_code
    options.loop_unrolling = not (control_code or unrolled)
    options.slp_vectorization = False  # merges the emitter's explicit lanes badly and costs time
    passes = llvm.create_pass_builder(target, options)
    passes.getModulePassManager().run(module, passes)


def unresolved_symbols(code: bytes) -> list[str]:
    """Symbols that an object needs and that neither it nor the C library defines, sorted."""
    c_library = ctypes.CDLL(None)
    return sorted(
        name for name in undefined_symbols(code) if name.startswith(_PYTHON_PREFIXES) or not hasattr(c_library, name)
    )


def undefined_symbols(code: bytes) -> set[str]:
    """Names of the symbols that a 64-bit little-endian ELF object uses and does not define."""
    sections_at = struct.unpack_from("<Q", code, 0x28)[0]
    section_size, section_count = struct.unpack_from("<HH", code, 0x3A)
    # of each section header: type, file offset, size, the section it links to
    headers = [struct.unpack_from("<4xI16xQQI20x", code, sections_at + i * section_size) for i in range(section_count)]
    names = set()
    for kind, offset, size, linked in headers:
        if kind != 2:  # SHT_SYMTAB
            continue
        strings = headers[linked][1]
        for place in range(offset + 24, offset + size, 24):  # the first symbol is the null one
            name, _, _, section = struct.unpack_from("<IBBH", code, place)
            if section == 0 and name:  # SHN_UNDEF
                start = strings + name
                names.add(code[start : code.index(b"\0", start)].decode("ascii"))
    return names - {"_GLOBAL_OFFSET_TABLE_"}  # made by the loader


def _shortened(message: str) -> str:
    """The first lines of one of Numba's long messages that say something."""
    lines = [line.strip() for line in message.splitlines() if line.strip() and set(line.strip()) - set("^~ ")]
    return "\n  ".join(lines[:_MESSAGE_LINES])
