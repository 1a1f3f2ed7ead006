#!/usr/bin/env python3
"""Time single kernels beside NumPy's and torch's, as shares of the limits measured in the same run.

    python benchmarks/kernels.py [--engines graphc,numpy,torch] [--kernels softmax,matmul] [--shapes 200]

Kernels
    softmax, layer norm (with scale and shift) and GELU (tanh form) along rows, forward and ``both`` (value and all
    gradients stored); sums by row, by column and of everything; Adam's update of one array.  kernel_engines.py says
    exactly what is timed for each engine.
Regimes
    ``DRAM``: each array is four times L3.  ``L3``: each array is a sixteenth of L3, so all of a kernel's arrays
    lie in the cache.  The number of rows is a named dim: both regimes run the same compiled kernel.
Limit
    Arithmetic (matmul): two operations a multiply-add over the measured peak.  Memory (all else): bytes that must
    cross the bus, each array once, over the rate of the loop that does alike: reading for a kernel that only reads,
    updating for one that only writes in place, else the faster of scaling and triad, where an array that is
    written but not read counts twice, as ordinary stores make it (see limits.py).  A kernel whose stores go past the
    caches may thus exceed 100%; ``of bypass`` compares with the triad that does so as well, in bytes named.
    The loops run in graphc's process, in turns with the kernel, a window of each, since a memory that is shared
    with other machines is twice as fast in one minute as in another.
Matmul
    A layer's three products at two sizes, and `--shapes` seeded shapes, sizes log-uniform from 1 to 2,048, static
    in graphc.  For these the table counts shapes within 5% of NumPy, the worst, and the geometric mean.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
from common import Engine, Row, find_engines, over_rounds, run_measured, script

COLUMNS = 1024
DRAM_TIMES, CACHE_PART = 4, 16
LAYERS = ("512x784x1024", "512x1024x1024")
ORIENTATIONS = ("nn", "tn", "nt")
SMALLEST, LARGEST, SEED = 1, 2048, 3
CLOSE = 0.05
"""Shapes whose time is at most this much above NumPy's count as equal."""

#: Arrays that a kernel must read, write, and update, each once.
TRAFFIC = {
    ("softmax", "forward"): (1, 1, 0),
    ("softmax", "both"): (2, 2, 0),
    ("layer_norm", "forward"): (1, 1, 0),
    ("layer_norm", "both"): (2, 2, 0),
    ("gelu", "forward"): (1, 1, 0),
    ("gelu", "both"): (2, 2, 0),
    ("sum_rows", "forward"): (1, 0, 0),
    ("sum_columns", "forward"): (1, 0, 0),
    ("sum_all", "forward"): (1, 0, 0),
    ("adam", "forward"): (1, 0, 3),
}
KERNELS = tuple(dict.fromkeys(name for name, _ in TRAFFIC)) + ("matmul",)

#: glibc keeps what is freed instead of giving it back: an engine that makes new results pays no page faults for them.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


def rows_of(regime: str) -> int:
    """Rows of an array of a regime."""
    last = max(common.cache_bytes().values())
    return (DRAM_TIMES * last if regime == "DRAM" else last // CACHE_PART) // (4 * COLUMNS)


def random_shapes(count: int) -> list[str]:
    """Seeded shapes ``MxKxN``, each size log-uniform."""
    generator = random.Random(SEED)

    def size() -> int:
        return round(math.exp(generator.uniform(math.log(SMALLEST), math.log(LARGEST))))

    return [f"{size()}x{size()}x{size()}" for _ in range(count)]


def cases_of(args: argparse.Namespace) -> list[str]:
    """The cases in the words of kernel_engines.py."""
    cases = [
        f"{name}:{direction}:{args.rows or rows_of(regime)}x{COLUMNS}"
        for regime in args.regimes
        for name, direction in TRAFFIC
        if name in args.kernels
    ]
    if "matmul" in args.kernels:
        cases += [f"matmul:{form}:{layer}" for layer in LAYERS for form in ORIENTATIONS]
        cases += [f"matmul:nn:{shape}" for shape in random_shapes(args.shapes)]
    return list(dict.fromkeys(cases))


def measure_peak(args: argparse.Namespace, folder: str) -> list[Row]:
    """The peak of arithmetic, measured once more in a process of its own."""
    path = Path(folder) / "limits.json"
    threads = ",".join(map(str, args.threads))
    options = ["--rounds", 1, "--seconds", args.seconds, "--threads", threads, "--places", "L2", "--json", path]
    done = run_measured([sys.executable, *script("limits.py", *options)], common.environment())
    if done.status:
        raise SystemExit(f"limits.py failed: {done.reason}")
    rows = json.loads(path.read_text())
    for row in rows:
        del row["machine"]  # written once more with all rows
    return rows


def run_rounds(engines: list[Engine], args: argparse.Namespace) -> tuple[list[Row], list[Row]]:
    """Timed cases and limits of all rounds, engines taking turns."""
    timed: list[Row] = []
    limits: list[Row] = []
    cases = cases_of(args)
    with tempfile.TemporaryDirectory(prefix="graphc-benchmark-") as folder:
        variables = common.environment() | KEEP_MEMORY
        for number in range(args.rounds):
            limits += measure_peak(args, folder) if "matmul" in args.kernels else []
            for threads in args.threads:
                for engine in engines:
                    options = [engine.name, "--threads", threads, "--seconds", args.seconds, *cases]
                    done = run_measured([engine.python, *script("kernel_engines.py", *options)], variables)
                    if done.status:
                        print(f"{engine.name}: left out: {done.reason}", file=sys.stderr)
                        continue
                    rows = done.rows()
                    limits += [row for row in rows if "limit" in row]
                    timed += [row | {"version": engine.version} for row in rows if "limit" not in row]
                    print(f"round {number + 1}/{args.rounds}  {engine.name}, {threads} threads", file=sys.stderr)
    return timed, limits


def judge(row: Row, limits: list[Row], regimes: list[str]) -> Row:
    """A timed case with its rates and shares of the limits."""
    name, form, sizes = row["case"].split(":")
    shape = [int(size) for size in sizes.split("x")]
    seconds, threads = row["seconds"], row["threads"]
    judged = {key: row[key] for key in ("engine", "version", "threads")} | {
        "kernel": name,
        "form": form,
        "shape": sizes,
    }
    if name == "matmul":
        flops = 2.0 * math.prod(shape)
        peak = common.limit_of(limits, "multiply-add float32", "registers", threads, "flop_per_s")
        rates = {"regime": "arithmetic", "flop_per_s": flops / seconds}
        shares = {"share": flops / seconds / peak if peak else None}
    else:
        regime = next((r for r in regimes if shape[0] == rows_of(r)), "given")
        array = 4.0 * math.prod(shape)
        read, written, updated = TRAFFIC[name, form]
        named = array * (read + written + 2 * updated)
        bus = named + array * written
        loops = ("scale", "triad") if written else ("update",) if updated else ("read",)
        known = [common.limit_of(limits, loop, row["case"], threads, "bus_per_s") for loop in loops]
        rate = max(filter(None, known), default=None)
        bypass = common.limit_of(limits, "bypass", row["case"], threads, "bytes_per_s")
        rates = {"regime": regime, "elements_per_s": math.prod(shape) / seconds, "bytes_per_s": named / seconds}
        shares = {
            "share": bus / seconds / rate if rate else None,
            "share_of_bypass": named / seconds / bypass if bypass and written else None,
        }
    return judged | rates | {"seconds": seconds} | shares | {"spread": row["spread"], "rounds": row["rounds"]}


# --- tables --------------------------------------------------------------------------------------------------------


def memory_table(rows: list[Row], regime: str, threads: int) -> str:
    """Elements a second and shares of every memory-bound kernel: a line a kernel, columns by engine."""
    here = [r for r in rows if r["regime"] == regime and r["threads"] == threads]
    engines = list(dict.fromkeys(row["engine"] for row in here))
    heads = ["kernel", *(f"{engine}, Gelem/s" for engine in engines), *(f"{engine}, of limit" for engine in engines)]
    lines = []
    for kernel in dict.fromkeys((row["kernel"], row["form"]) for row in here):
        found = {row["engine"]: row for row in here if (row["kernel"], row["form"]) == kernel}
        line = [" ".join(kernel).replace("_", " ").removesuffix(" forward")]
        line += [common.show(found[e]["elements_per_s"] / 1e9 if e in found else None, ".2f") for e in engines]
        line += [common.show(found[e]["share"] if e in found else None, ".0%") for e in engines]
        if any(row["share_of_bypass"] for row in here):
            line.append(common.show(found["graphc"]["share_of_bypass"] if "graphc" in found else None, ".0%"))
        lines.append(line)
    if any(row["share_of_bypass"] for row in here):
        heads.append("graphc, of bypass")
    return f"{regime}, threads {threads}\n\n" + common.table(heads, lines)


def layer_table(rows: list[Row], threads: int) -> str:
    """The layers' products: GFLOP/s and shares of the peak."""
    here = [r for r in rows if r["kernel"] == "matmul" and r["shape"] in LAYERS and r["threads"] == threads]
    engines = list(dict.fromkeys(row["engine"] for row in here))
    lines = []
    for shape, form in dict.fromkeys((row["shape"], row["form"]) for row in here):
        found = {row["engine"]: row for row in here if (row["shape"], row["form"]) == (shape, form)}
        line = [shape, form]
        line += [common.show(found[e]["flop_per_s"] / 1e9 if e in found else None, ".0f") for e in engines]
        line += [common.show(found[e]["share"] if e in found else None, ".0%") for e in engines]
        lines.append(line)
    heads = ["shape", "form", *(f"{e}, GFLOP/s" for e in engines), *(f"{e}, of peak" for e in engines)]
    return f"matmul, threads {threads}\n\n" + common.table(heads, lines)


def shape_ratios(rows: list[Row], threads: int, engine: str = "graphc", base: str = "numpy") -> dict[str, float]:
    """By shape: `base`'s time over `engine`'s, of the random shapes."""
    seconds: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["kernel"] == "matmul" and row["threads"] == threads and row["shape"] not in LAYERS:
            seconds.setdefault(row["shape"], {})[row["engine"]] = row["seconds"]
    return {shape: times[base] / times[engine] for shape, times in seconds.items() if {base, engine} <= set(times)}


def shapes_table(rows: list[Row], threads: list[int]) -> str:
    """What the ratios over the random shapes come to."""
    lines = []
    for count in threads:
        for base in ("numpy", "torch"):
            ratios = sorted(shape_ratios(rows, count, base=base).items(), key=lambda item: item[1])
            if not ratios:
                continue
            values = [ratio for _, ratio in ratios]
            mean = math.exp(sum(map(math.log, values)) / len(values))
            close = sum(ratio >= 1 - CLOSE for ratio in values) / len(values)
            lines.append([base, str(count), str(len(values)), f"{close:.0%}", f"{mean:.2f}", *worst(ratios)])
    heads = ["its time over graphc's", "threads", "shapes", f"at least {1 - CLOSE}", "geometric mean", "worst", "at"]
    return common.table(heads, lines) if lines else ""


def worst(ratios: list[tuple[str, float]]) -> list[str]:
    shape, ratio = ratios[0]
    return [f"{ratio:.2f}", shape]


def tables(rows: list[Row]) -> str:
    timed = [row for row in rows if "kernel" in row]
    threads = sorted({row["threads"] for row in timed})
    regimes = [regime for regime in dict.fromkeys(row["regime"] for row in timed) if regime != "arithmetic"]
    parts = [memory_table(timed, regime, count) for regime in regimes for count in threads]
    if any(row["kernel"] == "matmul" for row in timed):
        parts += [layer_table(timed, count) for count in threads]
        parts.append(shapes_table(timed, threads))
    return "\n\n".join(part for part in parts if part)


def plot(rows: list[Row], path: str) -> None:
    """Shares of the limit on arrays in DRAM, and the time ratio over the random shapes, sorted."""
    timed = [row for row in rows if "kernel" in row]
    most = max(row["threads"] for row in timed)
    ratios = {count: shape_ratios(timed, count) for count in sorted({row["threads"] for row in timed})}
    shaped = any(ratios.values())
    regimes = [r for r in dict.fromkeys(row["regime"] for row in timed) if r != "arithmetic"]
    panels = len(regimes) + shaped
    made = common.figure(panels, 4.5 * panels, 3.6)
    if made is None:
        return
    drawn, axes = made
    for panel, regime in zip(axes, regimes, strict=False):
        draw_regime(panel, [r for r in timed if r["regime"] == regime and r["threads"] == most], regime)
    if shaped:
        draw_ratios(axes[-1], ratios)
    common.save(drawn, path)


def draw_regime(axes: Any, rows: list[Row], regime: str) -> None:
    label = lambda row: f"{row['kernel']} {row['form']}".replace("_", " ").removesuffix(" forward")  # noqa: E731
    groups = list(dict.fromkeys(map(label, rows)))
    series: dict[str, dict[str, float]] = {}
    for row in rows:
        series.setdefault(row["engine"], {})[label(row)] = row["elements_per_s"] / 1e9
    common.bars(axes, groups, series)
    axes.tick_params(axis="x", rotation=60)
    axes.set_yscale("log")
    axes.set_ylabel("10⁹ elements a second")
    axes.set_title(f"arrays in {regime}, {rows[0]['threads']} threads")
    common.legend_above(axes)


def draw_ratios(axes: Any, ratios: dict[int, dict[str, float]]) -> None:
    for count, by_shape in ratios.items():
        values = sorted(by_shape.values())
        axes.plot([k / len(values) for k in range(1, len(values) + 1)], values, label=f"threads {count}")
    axes.axhline(1, color="#888888", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xlabel("share of the shapes")
    axes.set_ylabel("NumPy's time / graphc's")
    axes.set_title("matmul on random shapes")
    common.legend_above(axes)


def main() -> int:
    parser = argparse.ArgumentParser(description="Time single kernels beside NumPy's and torch's.")
    parser.add_argument("--engines", type=common.names(("graphc", "numpy", "torch")), default="graphc,numpy,torch")
    parser.add_argument("--kernels", type=common.names(KERNELS), default=",".join(KERNELS))
    parser.add_argument("--regimes", type=common.names(("DRAM", "L3")), default="DRAM,L3")
    parser.add_argument("--rows", type=int, default=0, help="rows of the arrays instead of those of the regimes")
    parser.add_argument("--threads", type=common.numbers(), default=sorted({1, common.processors()}))
    parser.add_argument("--shapes", type=int, default=200, help="random shapes for matmul")
    common.add_common_options(parser, seconds=0.2)
    args = common.parse(parser)
    timed, limits = run_rounds(find_engines(args.engines, args.python_for_peers), args)
    limits = common.best_limits(limits)
    judged = [judge(row, limits, args.regimes) for row in over_rounds(timed)]
    return common.finish(args, [*judged, *limits], tables, plot)


if __name__ == "__main__":
    sys.exit(main())
