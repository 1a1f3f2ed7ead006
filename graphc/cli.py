"""The command line: ``graphc info | ops | draw | cache``, also as ``python -m graphc``.

Each command is a function from parsed arguments to an exit status. Errors that a user can cause are one line on the
standard error and status 1; arguments that make no sense are argparse's, status 2.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import math
import os
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

from graphc.errors import GraphcError
from graphc.ir.types import DTYPES, FLOATS, INTEGERS

PACKAGES = ("numpy", "numba", "llvmlite", "networkx", "graphviz", "pygraphviz", "safetensors")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process if not given.

    Returns
    -------
    int
        0 if all went well, 1 if not.
    """
    warnings.showwarning = _show_warning
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.command(parsed))
    except GraphcError as error:
        print(f"graphc: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("graphc: interrupted", file=sys.stderr)
        return 130


def _show_warning(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    print(f"graphc: warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="graphc", description="A compiler for static computational graphs.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="versions, processor, threads, cache, renderers")
    info.set_defaults(command=show_info)

    ops = commands.add_parser("ops", help="table of all ops")
    ops.add_argument("--check", action="store_true", help="compile every op and compare it with its NumPy meaning")
    ops.add_argument("--op", action="append", metavar="NAME", help="only this op; may be repeated")
    ops.set_defaults(command=show_ops)

    draw = commands.add_parser("draw", help="draw a graph")
    draw.add_argument("target", metavar="MODULE:NAME", help="a tensor, or a function of no arguments that returns one")
    draw.add_argument("-o", "--output", default="graph.svg", help="file to write: .svg, .png, .pdf or .dot (graph.svg)")
    draw.add_argument("--backward", action="store_true", help="draw the gradient too")
    draw.set_defaults(command=draw_target)

    cache = commands.add_parser("cache", help="compiled kernels on disk")
    cache.add_argument("action", nargs="?", choices=("summary", "list", "clear", "path"), default="summary")
    cache.set_defaults(command=manage_cache)
    return parser


# -- info ---------------------------------------------------------------------------------------------------------


def show_info(arguments: argparse.Namespace) -> int:
    """Print what a bug report should hold."""
    from graphc import __version__, config
    from graphc.codegen.cpu import cache, machine
    from graphc.ir.printer import format_bytes

    settings, host = config.current(), machine.host()
    used = format_bytes(cache.total_bytes())
    enabled = [feature[1:] for feature in host.features.split(",") if feature.startswith("+")]
    rows = [
        ("graphc", __version__),
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        *((name, config.version_of(name)) for name in PACKAGES),
        ("platform", platform.platform()),
        ("processor", f"{host.cpu} ({host.triple})"),
        ("vectors", f"{8 * host.vector_bytes} bits, {host.vector_registers} registers"),
        ("features", " ".join(enabled) or "unknown"),
        ("threads", f"{settings.threads} of {os.cpu_count() or 1} processors"),
        ("helpers", f"{settings.helpers} processes, at most, help to compile"),
        ("cache", f"{settings.cache_dir}"),
        ("cached", f"{len(cache.entries())} kernels, {used} of {format_bytes(settings.cache_bytes)}"),
        ("dumps", str(settings.dump) if settings.dump else "off (GRAPHC_DUMP=folder)"),
        ("renderer", _renderer()),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")
    return 0


def _renderer() -> str:
    if shutil.which("dot") and importlib.util.find_spec("graphviz"):
        return f"dot ({shutil.which('dot')})"
    if importlib.util.find_spec("pygraphviz"):
        return "pygraphviz"
    return "none: drawings are saved as .dot (pip install pygraphviz)"


# -- ops ----------------------------------------------------------------------------------------------------------


def show_ops(arguments: argparse.Namespace) -> int:
    """Print a row an op; with ``--check`` what the harness finds, and status 1 if any op fails."""
    from graphc.testing.harness import Row, check_all, registered

    names = registered(arguments.op)
    width = max(len(name) for name, _ in names)
    if not arguments.check:
        print(f"{'op':{width}}  {'stage':12}  {'derivative':10}  dtypes")
        for name, op in names:
            print(f"{name:{width}}  {op.kind:12}  {'yes' if op.differentiable else '-':10}  {dtypes_text(op.dtypes)}")
        return 0
    print(f"{'op':{width}}  {'stage':12}  {'error':>8}  {'1st order':>9}  {'2nd order':>9}  {'result':6}  dtypes")

    def show(row: Row) -> None:
        numbers = f"{row.error:8.1e}  {_number(row.first):>9}  {_number(row.second):>9}"
        print(
            f"{row.op:{width}}  {row.kind:12}  {numbers}  {'ok' if row.ok else 'FAILED':6}  {dtypes_text(row.dtypes)}",
            *([f"    {row.why}"] if row.why else []),
            sep="\n",
            flush=True,
        )

    rows = check_all([name for name, _ in names], show)
    failed = [row.op for row in rows if not row.ok]
    print(f"{len(rows) - len(failed)} of {len(rows)} ops passed" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def _number(error: float) -> str:
    return "-" if math.isnan(error) else f"{error:.1e}"


def dtypes_text(dtypes: Sequence[str]) -> str:
    """Dtypes in few words: ``bool, ints, floats``."""
    rest = [name for name in DTYPES if name in dtypes]
    words = []
    for family, word in ((INTEGERS, "ints"), (FLOATS, "floats")):
        if set(family) <= set(rest):
            rest = [name for name in rest if name not in family]
            words.append(word)
    return ", ".join([*rest, *words])


# -- draw ---------------------------------------------------------------------------------------------------------


def draw_target(arguments: argparse.Namespace) -> int:
    """Draw what ``module:name`` holds, or returns."""
    from graphc.visual import draw

    drawing = draw(load_target(arguments.target), backward=arguments.backward)
    print(drawing.save(arguments.output))
    return 0


def load_target(target: str) -> Any:
    """What ``module:name`` names; a function is called.

    Raises
    ------
    GraphcError
        If there is no such module or name, or importing or calling it fails.
    """
    module_name, colon, name = target.partition(":")
    if not colon or not module_name or not name:
        raise GraphcError(f"draw: expected MODULE:NAME, got {target!r}", hint="such as train:loss")
    sys.path.insert(0, os.getcwd())  # as python -m does, so that the user's own modules are found
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
        return found() if callable(found) else found
    except GraphcError:
        raise
    except Exception as error:  # the user's code may raise anything; here it ends in one line
        raise GraphcError(f"draw: {target}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())


# -- cache --------------------------------------------------------------------------------------------------------


def manage_cache(arguments: argparse.Namespace) -> int:
    """Count, list, clear or locate the compiled kernels on disk."""
    from graphc import config
    from graphc.codegen.cpu import cache
    from graphc.ir.printer import format_bytes

    if arguments.action == "path":
        print(config.current().cache_dir)
    elif arguments.action == "clear":
        print(f"removed {cache.clear()} kernels from {config.current().cache_dir}")
    else:
        if arguments.action == "list":
            for entry in reversed(cache.entries()):
                used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
                print(f"{used}  {format_bytes(entry.size):>10}  {entry.source}")
        print(f"{len(cache.entries())} kernels, {format_bytes(cache.total_bytes())}, in {config.current().cache_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
