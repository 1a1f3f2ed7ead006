"""What the benchmarks share: the protocol, the machine's description, tables, JSON and pictures.

**The protocol.**  Engines run alternately, each in a process of its own; a figure is the minimum over rounds, with the
spread (slowest round over fastest) beside it, because single runs of one engine differ by more than engines do.
Variables that could hold a BLAS back (``OPENBLAS_*``) are unset for every process.  A number of threads is enforced by
the set of processors a process may run on, which every engine honours.  An engine that is not installed, or that lacks
a workload, is named and left out.

**Rows.**  A script's result is a list of flat dictionaries, one a measurement.  ``--json`` writes them as an array, one
object a line, each with the machine and the versions it was measured with; ``report.py`` makes a page of such files.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Row = dict[str, Any]

#: What a process imports before its engine's clock starts; also how an engine is looked for.
IMPORTS = {
    "graphc": "import graphc, graphc.nn, graphc.optim",
    "numpy": "import numpy",
    "torch": "import torch",
    "torch-compile": "import torch",
    "jax": "import jax, jax.numpy",
    "pytensor": "import pytensor, pytensor.tensor",
}
OWN = ("graphc", "numpy")
"""Engines that run under this interpreter; the others run under ``--python-for-peers``."""

WORKLOADS = ("tiny", "mlp", "mlp-large", "cnn", "resnet20", "lstm", "transformer")


# --- the machine ---------------------------------------------------------------------------------------------------


def processors() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def cache_bytes() -> dict[int, int]:
    """Bytes of each level of data cache that processor 0 sees, as the system tells.

    Raises
    ------
    SystemExit
        Where the system does not tell: sizes of arrays cannot be chosen then.
    """
    found: dict[int, int] = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (index / "type").read_text().strip() != "Instruction":
            found[int((index / "level").read_text())] = _bytes_of((index / "size").read_text().strip())
    if not found:
        raise SystemExit("the system does not tell the sizes of its caches (/sys/devices/system/cpu/cpu0/cache)")
    return dict(sorted(found.items()))


def _bytes_of(size: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(size[:-1]) * units[size[-1]] if size[-1] in units else int(size)


def cpu_model() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return os.uname().machine


def machine() -> dict[str, Any]:
    """The machine, the versions, the day."""
    versions = {"python": sys.version.split()[0]}
    for name in ("numpy", "numba", "llvmlite"):
        versions[name] = metadata.version(name)
    return {
        "cpu": cpu_model(),
        "processors": processors(),
        "caches": {f"L{level}": size for level, size in cache_bytes().items()},
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{os.uname().sysname} {os.uname().release.split('-')[0]} {os.uname().machine}",
        "versions": versions,
        "date": datetime.date.today().isoformat(),
    }


# --- processes -----------------------------------------------------------------------------------------------------


@dataclass
class Engine:
    """One engine as it runs here.

    Attributes
    ----------
    name, python : str
        Which engine, and the interpreter that has it.
    baseline : int
        Maximum resident bytes of a process that only imports it (and NumPy).
    version : str
    """

    name: str
    python: str
    baseline: int = 0
    version: str = ""


@dataclass
class Finished:
    """How a process ended: its exit status, standard output, last line of error, and maximum resident bytes."""

    status: int
    output: str
    reason: str
    peak: int

    def rows(self) -> list[Row]:
        """The rows it printed as JSON on its last line."""
        last = json.loads(self.output.strip().splitlines()[-1])
        return last if isinstance(last, list) else [last]


def environment(caches: str | None = None) -> dict[str, str]:
    """This process's environment without what slows a BLAS down, and with compilation caches under `caches`."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    variables.pop("JAX_COMPILATION_CACHE_DIR", None)
    # graphc need not be installed: the checkout this file lies in comes first.
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    if caches is not None:
        variables["GRAPHC_CACHE_DIR"] = os.path.join(caches, "graphc")
        variables["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(caches, "torchinductor")
        variables["PYTENSOR_FLAGS"] = f"base_compiledir={os.path.join(caches, 'pytensor')}"
    return variables


def run_measured(command: Sequence[str], variables: dict[str, str]) -> Finished:
    """Run a command to its end."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=errors)
        _, wait_status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(wait_status)
        output.seek(0)
        errors.seek(0)
        reason = (errors.read().strip().splitlines() or ["no message"])[-1]
        return Finished(process.returncode, output.read(), reason, usage.ru_maxrss * 1024)


def find_engines(names: Iterable[str], python_for_peers: str) -> list[Engine]:
    """The engines that can be imported; the others are named on standard error."""
    found = []
    for name in names:
        engine = Engine(name, sys.executable if name in OWN else python_for_peers)
        module = name.split("-")[0]
        code = f"import numpy; {IMPORTS[name]}; print('\"' + {module}.__version__ + '\"')"
        done = run_measured([engine.python, "-c", code], environment())
        if done.status == 0:
            engine.baseline, engine.version = done.peak, str(done.rows()[0])
            found.append(engine)
        else:
            print(f"{name}: left out, cannot be imported by {engine.python}: {done.reason}", file=sys.stderr)
    return found


def script(name: str, *arguments: Any) -> list[str]:
    """A command line, less the interpreter, that runs a script of this folder."""
    return [str(HERE / name), *map(str, arguments)]


def limit_processors(threads: int) -> None:
    """Let this process run on `threads` of its processors only; before any engine is imported."""
    allowed = sorted(os.sched_getaffinity(0))
    if threads < len(allowed):
        os.sched_setaffinity(0, allowed[:threads])
    os.environ["OMP_NUM_THREADS"] = str(threads)


# --- figures -------------------------------------------------------------------------------------------------------


def best_seconds(call: Callable[[], object], seconds: float, window: float = 0.05, warm: int = 3) -> float:
    """Best mean seconds a call over windows of at least `window` seconds, for `seconds` in all."""
    return best_by_turns({"": call}, seconds, window, warm)[""]


def best_by_turns(
    calls: Mapping[str, Callable[[], object]], seconds: float, window: float, warm: int = 3
) -> dict[str, float]:
    """:func:`best_seconds` of several calls, which take turns: a window of each, again and again.

    What the machine gives changes from one second to the next, most of all its memory's rate where others share it;
    figures that are to be compared have to come from the same seconds.
    """
    for call in calls.values():
        for _ in range(warm):
            call()
    best, began = dict.fromkeys(calls, float("inf")), time.perf_counter()
    while True:
        for name, call in calls.items():
            count, start = 0, time.perf_counter()
            while (spent := time.perf_counter() - start) < window or not count:
                call()
                count += 1
            best[name] = min(best[name], spent / count)
        if time.perf_counter() - began >= seconds * len(calls):
            return best


def over_rounds(rows: Iterable[Row], value: str = "seconds", best: Callable[..., Any] = min) -> list[Row]:
    """One row for all rounds of the same measurement: the best value, the spread, how many rounds.

    Rows belong together if they agree in everything but `value`.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        key = json.dumps({name: entry for name, entry in row.items() if name != value}, sort_keys=True)
        groups.setdefault(key, []).append(row)
    joined = []
    for group in groups.values():
        values = [row[value] for row in group]
        spread = max(values) / min(values) if min(values) > 0 else 1.0
        joined.append(group[0] | {value: best(values), "spread": round(spread, 3), "rounds": len(values)})
    return joined


def best_limits(rows: list[Row]) -> list[Row]:
    """The fastest of each limit over the rounds."""
    best: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = row["limit"], row["where"], row["threads"]
        rate = "flop_per_s" if "flop_per_s" in row else "bytes_per_s"
        if key not in best or row[rate] > best[key][rate]:
            best[key] = row
    return list(best.values())


def limit_of(limits: list[Row], limit: str, where: str, threads: int, field: str) -> float | None:
    """One limit's rate, if it was measured."""
    for row in limits:
        if (row["limit"], row["where"], row["threads"]) == (limit, where, threads):
            return float(row[field])
    return None


# --- tables, files, pictures ---------------------------------------------------------------------------------------


def show(value: Any, form: str = "") -> str:
    """A cell's text; a dash for what was not measured."""
    return "-" if value is None else format(value, form)


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Aligned columns that are also a Markdown table; columns of figures are flushed right."""
    cells = [list(heads), *map(list, lines)]
    widths = [max(3, *(len(line[k]) for line in cells)) for k in range(len(heads))]
    right = [all(_is_figure(line[k]) for line in cells[1:]) for k in range(len(heads))]
    rule = [("-" * (width - 1) + ":") if flush else "-" * width for width, flush in zip(widths, right, strict=True)]
    texts = []
    for line in [cells[0], rule, *cells[1:]]:
        padded = [c.rjust(w) if flush else c.ljust(w) for c, w, flush in zip(line, widths, right, strict=True)]
        texts.append("| " + " | ".join(padded) + " |")
    return "\n".join(texts)


def _is_figure(text: str) -> bool:
    return text == "-" or text.strip("%x+-").replace(",", "").replace(".", "", 1).isdigit()


def names(choices: Iterable[str]) -> Callable[[str], list[str]]:
    """A parser of comma-separated choices."""
    allowed = tuple(choices)

    def parse(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        unknown = [name for name in chosen if name not in allowed]
        if unknown or not chosen:
            raise argparse.ArgumentTypeError(f"unknown {unknown}; choose from {', '.join(allowed)}")
        return chosen

    return parse


def numbers(least: int = 1) -> Callable[[str], list[int]]:
    """A parser of comma-separated whole numbers of at least `least`."""

    def parse(text: str) -> list[int]:
        try:
            found = [int(part) for part in text.split(",")]
        except ValueError:
            found = []
        if not found or min(found) < least:
            message = f"expected whole numbers of at least {least}, separated by commas, got {text!r}"
            raise argparse.ArgumentTypeError(message)
        return found

    return parse


def add_common_options(parser: argparse.ArgumentParser, *, seconds: float, peers: bool = True) -> None:
    """``--rounds --seconds --python-for-peers --json --plot``."""
    parser.add_argument("--rounds", type=int, default=5, help="rounds, the engines taking turns within each")
    parser.add_argument("--seconds", type=float, default=seconds, help="time measured a figure and round")
    if peers:
        parser.add_argument(
            "--python-for-peers",
            default=sys.executable,
            metavar="PATH",
            type=program,
            help="interpreter that has the peers",
        )
    add_file_options(parser)


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """``--json --plot``; where a file cannot be made there is told before anything is measured."""
    parser.add_argument(
        "--json", metavar="FILE", type=new_file, help="write the rows, one JSON object a line of an array"
    )
    parser.add_argument("--plot", metavar="FILE", type=new_file, help="draw a picture (needs matplotlib)")


def program(text: str) -> str:
    """A program that this process may run."""
    if shutil.which(text) is None:
        raise argparse.ArgumentTypeError(f"expected a program, got {text!r}")
    return text


def new_file(text: str) -> str:
    """A file in a folder that exists."""
    if Path(text).is_dir() or not Path(text).parent.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in a folder that exists, got {text!r}")
    return text


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse, and check the common options."""
    args = parser.parse_args(arguments)
    threads = getattr(args, "threads", 1)
    threads = threads if isinstance(threads, list) else [threads]
    if args.rounds < 1 or not args.seconds > 0 or min(threads) < 1:
        parser.error("--rounds and --threads are at least 1, --seconds is positive")
    if max(threads) > processors():  # threads are enforced by processors, so the rows would be wrong
        parser.error(f"expected at most {processors()} threads, one a processor, got {max(threads)}")
    return args


Tables = Callable[[list[Row]], str]
Plot = Callable[[list[Row], str], None]


def finish(args: argparse.Namespace, rows: list[Row], tables: Tables, plot: Plot) -> int:
    """Print the tables, write what was asked for; the exit status."""
    if args.json:
        write_rows(args.json, rows)
    if rows:
        print(tables(rows))
    if args.plot and rows:
        plot(rows, args.plot)
    return 0 if rows else 1


def write_rows(path: str, rows: Iterable[Row]) -> None:
    """Write rows as a JSON array, one object a line, each with the machine."""
    here = machine()
    Path(path).write_text("[\n" + ",\n".join(json.dumps(row | {"machine": here}) for row in rows) + "\n]\n")


COLOURS = {
    "graphc": "#1b6ca8",
    "numpy": "#8c8c8c",
    "torch": "#e07b39",
    "torch-compile": "#b3452c",
    "jax": "#5a9e6f",
    "pytensor": "#9a6fb0",
}
"""An engine has one colour in all pictures."""


def figure(columns: int, width: float, height: float) -> tuple[Any, list[Any]] | None:
    """A figure and its axes side by side; None, and a word on standard error, without matplotlib."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        print("no plot: matplotlib is not installed", file=sys.stderr)
        return None
    # the same bytes for the same figures, and text that stays text
    matplotlib.rcParams.update({"svg.hashsalt": "graphc", "svg.fonttype": "none", "font.size": 9})
    drawn = Figure(figsize=(width, height), layout="constrained")
    axes = drawn.subplots(1, columns, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return drawn, list(axes)


def save(drawn: Any, path: str) -> None:
    """Write a figure without the date, so that a page made again from the same rows is the same."""
    drawn.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)


def legend_above(axes: Any, columns: int = 0) -> None:
    """A legend between title and frame, where it covers nothing; in one line if it has as many columns as entries."""
    entries = len(axes.get_legend_handles_labels()[1])
    if axes.get_title():
        axes.set_title(axes.get_title(), pad=20)
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=columns or max(entries, 1), frameon=False,
        fontsize=7, columnspacing=1.0, handlelength=2.5 if columns else 1.5,
    )  # fmt: skip


LABEL_SIZE = 7
"""Of the numbers above bars, points."""

LABEL_ROOM = 1.1
"""What such a number may take of its bar's width: those beside it seldom stand as high."""


def bars(axes: Any, groups: Sequence[str], series: dict[str, dict[str, float]], label_form: str = "") -> None:
    """Grouped bars: for each of `series` a value a group; groups without a value stay empty."""
    width = 0.8 / max(1, len(series))
    drawn: list[tuple[Any, list[str], list[str]]] = []  # a series' bars, their groups and labels
    for number, (name, values) in enumerate(series.items()):
        places = [k for k, group in enumerate(groups) if group in values]
        shift = (number - (len(series) - 1) / 2) * width
        heights = [values[groups[k]] for k in places]
        made = axes.bar([k + shift for k in places], heights, width, label=name, color=COLOURS.get(name))
        drawn.append((made, [groups[k] for k in places], [format(height, label_form) for height in heights]))
    axes.set_xticks(range(len(groups)), groups)
    if label_form:
        _label_bars(axes, drawn, width)


def _label_bars(axes: Any, drawn: Sequence[tuple[Any, list[str], list[str]]], width: float) -> None:
    """Labels above bars, upright in groups where one is wider than its bar: they do not run into one another."""
    from matplotlib.textpath import TextPath

    axes.figure.draw_without_rendering()  # places the axes
    (left, _), (right, _) = axes.transData.transform([(0, 1), (width, 1)])
    room = (right - left) * 72 / axes.figure.dpi * LABEL_ROOM
    tight = {
        group
        for _, groups, labels in drawn
        for group, label in zip(groups, labels, strict=True)
        if TextPath((0, 0), label, size=LABEL_SIZE).get_extents().width > room
    }
    for made, groups, labels in drawn:
        for text, group in zip(axes.bar_label(made, labels, fontsize=LABEL_SIZE, padding=1), groups, strict=True):
            text.set_rotation(90 if group in tight else 0)
