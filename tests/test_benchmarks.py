"""Every benchmark runs to its end on tiny sizes and writes rows, without any peer; no time is asserted."""

import importlib
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SHORT = ["--rounds", "1", "--seconds", "0.01"]


def run(name, *options):
    """Run a script; return what it printed."""
    command = [sys.executable, str(BENCHMARKS / name), *map(str, options)]
    # As on a machine with nothing but graphc; without verification, which is no part of what is timed.
    environment = {name: value for name, value in os.environ.items() if name != "GRAPHC_VERIFY"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the scripts of this module leave their JSON files, for the report."""
    return tmp_path_factory.mktemp("benchmarks")


def rows_of(folder, name):
    rows = json.loads((folder / f"{name}.json").read_text())
    assert rows and all(row["machine"]["processors"] >= 1 for row in rows)
    return rows


def measure_limits(folder):
    """Write the file of limits, which takes least; return what is printed."""
    return run("limits.py", *SHORT, "--places", "L2", "--threads", "1", "--json", folder / "limits.json")


def test_limits(folder):
    printed = measure_limits(folder)
    rows = rows_of(folder, "limits")
    assert {row["limit"] for row in rows} == {
        "multiply-add float32",
        "multiply-add float64",
        "read",
        "scale",
        "triad",
        "update",
    }
    assert all(row.get("flop_per_s", row.get("bytes_per_s")) > 0 for row in rows)
    assert "| L2        | triad" in printed


@pytest.mark.parametrize("kernels", ["softmax,layer_norm,gelu", "sum_rows,sum_columns,sum_all,adam"])
def test_kernels_beside_numpy(folder, kernels):
    options = ["--kernels", kernels, "--regimes", "L3", "--rows", "8", "--threads", "1", "--engines", "graphc,numpy"]
    printed = run("kernels.py", *SHORT, *options, "--json", folder / "kernels.json")
    rows = [row for row in rows_of(folder, "kernels") if "kernel" in row]
    assert {(row["engine"], row["kernel"]) for row in rows} == {
        (engine, kernel) for engine in ("graphc", "numpy") for kernel in kernels.split(",")
    }
    assert all(row["elements_per_s"] > 0 for row in rows)
    assert "graphc, Gelem/s" in printed


def test_matmul_counts_its_operations(folder):
    options = ["--kernels", "matmul", "--shapes", "2", "--threads", "1", "--engines", "graphc,numpy"]
    printed = run("kernels.py", *SHORT, *options, "--json", folder / "kernels.json")
    rows = [row for row in rows_of(folder, "kernels") if "kernel" in row]
    assert len(rows) == 2 * (2 * 3 + 2)
    for row in rows:
        m, k, n = map(int, row["shape"].split("x"))
        assert math.isclose(row["flop_per_s"] * row["seconds"], 2 * m * k * n)
        assert row["share"] > 0
    assert "geometric mean" in printed


def test_training_leaves_out_what_is_not_installed(folder):
    options = ["--workloads", "tiny", "--engines", "graphc", "--json", folder / "training.json"]
    assert "| tiny" in run("training.py", *SHORT, *options)
    (row,) = rows_of(folder, "training")
    assert {"engine", "workload", "threads", "first_s", "step_us", "peak_bytes"} <= set(row)


def test_first_steps_cold_and_warm(folder):
    options = ["--workloads", "tiny", "--engines", "graphc", "--threads", "1", "--json", folder / "compile.json"]
    printed = run("compile.py", *SHORT, *options)
    rows = rows_of(folder, "compile")
    cold, warm = (row for row in rows if "cache" in row)
    assert (cold["cache"], warm["cache"]) == ("cold", "warm")
    assert cold["compiled"] >= cold["distinct"] > 0 == cold["loaded"]
    assert warm["loaded"] == cold["compiled"] and warm["compiled"] == 0
    assert [row["kernels"] > 0 for row in rows if "overhead_s" in row] == [True, True]
    assert "compiler stages, ms" in printed


def test_memory(folder):
    options = ["--workloads", "tiny", "--engines", "graphc", "--threads", "1", "--json", folder / "memory.json"]
    run("memory.py", *SHORT, *options)
    (row,) = rows_of(folder, "memory")
    assert row["step_bytes"] >= row["planned_bytes"] >= row["lower_bound_bytes"] > 0
    weights = 2 * 16 + 16 + 16 * 16 + 16 + 16 * 2 + 2
    assert row["state_bytes"] == 3 * 4 * weights + 8, "weights, two moments each, and the count of steps"


def test_scaling(folder):
    sizes = ["--families", "mlp", "--blocks", "2,4", "--doublings", "1", "--scale", "16", "--threads", "1"]
    run("scaling.py", *SHORT, *sizes, "--json", folder / "scaling.json")
    rows = rows_of(folder, "scaling")
    few, many = (row for row in rows if row["axis"] == "blocks")
    assert many["nodes"] > few["nodes"] and many["kernels"] > few["kernels"]
    assert {row["axis"] for row in rows} == {"batch", "depth", "width", "blocks"}
    assert all(row["seconds"] > 0 for row in rows)


def test_scale(folder):
    run("scale.py", "--sizes", "20,40", "--json", folder / "scale.json")
    assert [row["failed"] for row in rows_of(folder, "scale")] == [None] * 4


def test_an_engine_that_is_not_installed_is_named(tmp_path):
    missing = tmp_path / "python-without-peers"
    missing.write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    missing.chmod(0o755)
    command = [sys.executable, str(BENCHMARKS / "training.py"), "--engines", "torch", "--workloads", "tiny"]
    done = subprocess.run([*command, "--python-for-peers", str(missing)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "torch: left out" in done.stderr and "no such module" in done.stderr


@pytest.mark.parametrize(
    "options, message",
    [
        (["--threads", "100000"], "threads, one a processor, got 100000"),
        (["--seconds", "nan"], "--seconds is positive"),
        (["--json", "no/such/folder/rows.json"], "expected a file in a folder that exists"),
        (["--plot", "."], "expected a file in a folder that exists"),
        (["--python-for-peers", "no-such-python"], "expected a program, got 'no-such-python'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_measured(options, message):
    command = [sys.executable, str(BENCHMARKS / "training.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and message in done.stderr and not done.stdout


def test_the_page_is_made_of_the_files(folder, tmp_path):
    if not (folder / "limits.json").exists():  # the tests that write files may run in another process than this one
        measure_limits(folder)
    names = [path.stem for path in sorted(folder.glob("*.json"))]
    run("report.py", folder, "--docs", tmp_path)
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    for name in names:
        assert f"`benchmarks/{name}.py`" in text
        assert (tmp_path / "pictures" / f"benchmarks_{name}.svg").exists()
    assert str(Path.home()) not in text and str(folder) not in text


def test_numbers_above_bars_do_not_run_into_one_another(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    common = importlib.import_module("common")
    step = {"tiny": (0.00712, 0.00779, 0.00779), "mlp": (0.3, 1.01, 1.01), "cnn": (3, 5, 4), "large": (8.41, 10.5, 9)}
    series = {engine: {name: found[k] for name, found in step.items()} for k, engine in enumerate("abc")}
    drawn, (axes, _) = common.figure(2, 10, 3.4)
    common.bars(axes, list(step), series, ".3g")
    axes.set_yscale("log")
    drawn.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 12 and not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert [text.get_rotation() for text in axes.texts] == [90, 0, 0, 0] * 3


def test_ulp(folder):
    short = ["--functions", "exp,atan2,lgamma", "--sample", "400001", "--count", "3000", "--json", folder / "ulp.json"]
    printed = run("ulp.py", *short)
    rows = json.loads((folder / "ulp.json").read_text())
    assert {(row["function"], row["dtype"]) for row in rows} == {
        (name, dtype) for name in ("exp", "atan2", "lgamma") for dtype in ("float32", "float64")
    }
    assert all(row["complete"] and 0 < row["error"] <= row["limit"] and row["arguments"] > 0 for row in rows)
    assert "every 400001th" in printed
    assert run("ulp.py", *short) == printed  # nothing is measured again
    page = run("ulp.py", "--table", folder / "ulp.json")
    assert page.startswith("# Accuracy") and printed.strip() in page
