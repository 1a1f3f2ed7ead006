"""The command line: ``graphc info | ops | draw | cache``, also as ``python -m graphc``.

Each command is a function from parsed arguments to an exit status. Errors that a user can cause are one line on the
standard error and status 1; arguments that make no sense are argparse's, status 2.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import json
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
    draw.add_argument(
        "target", metavar="MODULE:NAME", help="a tensor, a program, or a function of no arguments that returns one"
    )
    draw.add_argument(
        "-o", "--out", "--output", default="graph.svg", help="file to write: .svg, .png, .pdf or .dot (graph.svg)"
    )
    draw.add_argument("--backward", action="store_true", help="draw the gradient too")
    draw.add_argument("--kernels", action="store_true", help="draw what is fused into one kernel as a box")
    draw.add_argument(
        "--fold", metavar="FOLD", help="scopes to fold: a depth, 1 for the outermost; or names, a,b/c; 0 for none"
    )
    draw.add_argument(
        "--value", action="append", metavar="NAME=VALUE", help="show numbers for this feed, as x=2 or x=[1,2]; repeat"
    )
    draw.add_argument("--theme", default="light", metavar="THEME", help="light, dark, print or auto (light)")
    draw.add_argument("--direction", default="TB", metavar="TB|LR", help="downwards or to the right (TB)")
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
        """A line of the table as soon as its op is checked: all of them take minutes."""
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
    from graphc.ir.node import Tensor
    from graphc.visual import draw

    found = load_target(arguments.target)
    outputs = {arguments.target.rpartition(":")[2].rpartition(".")[2]: found} if isinstance(found, Tensor) else found
    drawing = draw(
        outputs,
        backward=arguments.backward,
        kernels=arguments.kernels,
        fold=_fold(arguments.fold),
        values=None if arguments.value is None else _values(found, arguments.value),
        theme=arguments.theme,
        direction=arguments.direction,
    )
    print(drawing.save(arguments.out))
    return 0


def _fold(text: str | None) -> Any:
    """What ``--fold`` says, as ``draw`` takes it."""
    if text is None:
        return None
    return (int(text) or False) if text.lstrip("-").isdigit() else [name for name in text.split(",") if name]


def _values(found: Any, texts: Sequence[str]) -> dict[Any, Any]:
    """Feeds by placeholders and variables, from texts such as ``x=2``."""
    from graphc.fetches import flatten
    from graphc.ir.graph import topological

    tensors = found.outputs if hasattr(found, "outputs") else flatten(found)[0]
    leaves = {
        node.result.name: node.result for node in topological(tensors) if node.op.name in ("placeholder", "variable")
    }
    values = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        if name not in leaves:
            known = ", ".join(leaves) or "none"
            raise GraphcError(f"draw: expected --value NAME=VALUE with a NAME among {known}, got {text!r}")
        try:
            values[leaves[name]] = json.loads(value)
        except ValueError:
            raise GraphcError(
                f"draw: expected --value {name}= a number, true, false or a list of these, got {value!r}"
            ) from None
    return values


def load_target(target: str) -> Any:
    """What ``module:name`` names; a function is called.

    Raises
    ------
    GraphcError
        If there is no such module or name, it is nothing that can be drawn, or importing or calling it fails.
    """
    from graphc.ir.node import Tensor
    from graphc.profile.report import Profile
    from graphc.program import Program

    module_name, colon, name = target.partition(":")
    if not colon or not module_name or not name:
        raise GraphcError(f"draw: expected MODULE:NAME, got {target!r}", hint="such as train:loss")
    sys.path.insert(0, os.getcwd())  # as python -m does, so that the user's own modules are found
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
        if callable(found) and not isinstance(found, Program):
            _check_no_arguments(target, found)
            found = found()
    except GraphcError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything; here it ends in one line
        raise GraphcError(f"draw: {target}: {type(error).__name__}: {error}", hint=_import_hint(error)) from error
    finally:
        sys.path.remove(os.getcwd())
    if not isinstance(found, (Tensor, list, tuple, dict, Program, Profile)):
        raise GraphcError(
            f"draw: {target}: expected a tensor, a list or dict of tensors, a program or a profile, got "
            f"{type(found).__name__}: {found!r}"[:400]
        )
    return found


def _check_no_arguments(target: str, function: Any) -> None:
    """The function can be called with nothing."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions written in C have none
        return
    empty = inspect.Parameter.empty
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [name for name, part in signature.parameters.items() if part.kind in named and part.default is empty]
    if needed:
        raise GraphcError(
            f"draw: {target}: expected a function of no arguments, got one that needs {', '.join(needed)}",
            hint="write one that makes the placeholders and calls it",
        )


def _import_hint(error: BaseException) -> str | None:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").endswith(".py"):
        return f"give the module's name: {(error.name or '').removesuffix('.py')}"
    if isinstance(error, ModuleNotFoundError):
        return "the module is looked for in the working folder and on Python's path"
    if isinstance(error, SystemExit):
        return "a script that runs when imported needs: if __name__ == '__main__'"
    return None


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
