"""How exact sums and means of very many float32 values are: measured against the exact sum, ``math.fsum`` of parts.

    python benchmarks/long_sums.py             # 10**8 values, 400 MB
    python benchmarks/long_sums.py --values 3000001

Each kind of data is summed as one vector of static size, as one of named size, and along the rows of a matrix. Errors
are relative to the sum of magnitudes. The script fails if one is larger than 1e-6.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import graphc

LIMIT = 1e-6
PART = 1 << 16

Array = NDArray[np.float32]


def exact(values: Array) -> float:
    """The sum, every part of it rounded once: float64 holds 2**16 float32 values' sum to 2e-16 of their magnitudes."""
    return math.fsum(math.fsum(part.astype(np.float64)) for part in np.array_split(values, max(1, values.size // PART)))


def kinds(count: int) -> Iterator[tuple[str, Array]]:
    """Data that a plain float32 sum gets wrong."""
    generator = np.random.default_rng(0)
    yield "all 0.1", np.full(count, 0.1, np.float32)
    yield "uniform", generator.random(count, np.float32)
    yield "normal + 1000", generator.standard_normal(count, np.float32) + np.float32(1000)
    large = np.full(count, 1e-3, np.float32)
    large[0] = 1e6
    yield "one large, many small", large


def errors(values: Array) -> dict[str, float]:
    """Relative errors of sums and means, by how the sum is declared."""
    count = values.size
    wanted, scale = exact(values), exact(np.abs(values))
    fixed, named = graphc.placeholder("x", (count,)), graphc.placeholder("y", ("n",))
    with graphc.Session() as session:
        found = {
            "static": session.run(fixed.sum(), {fixed: values}),
            "named": session.run(named.sum(), {named: values}),
            "mean": session.run(named.mean(), {named: values}) * float(count),
        }
        rows = values[: count - count % 8].reshape(8, -1)
        matrix = graphc.placeholder("m", rows.shape)
        by_row = session.run(matrix.sum(axis=1), {matrix: rows})
    measured = {label: abs(float(value) - wanted) / scale for label, value in found.items()}
    measured["rows"] = max(
        abs(float(value) - exact(row)) / exact(np.abs(row)) for value, row in zip(by_row, rows, strict=True)
    )
    return measured


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--values", type=int, default=10**8)
    count = parser.parse_args(arguments).values
    worst = 0.0
    print(f"relative errors of sums of {count:,} float32 values")
    for label, values in kinds(count):
        found = errors(values)
        worst = max(worst, *found.values())
        print(f"{label:24s}", *(f"{name} {error:.1e} " for name, error in found.items()), flush=True)
    print(f"largest {worst:.1e}, allowed {LIMIT:.0e}")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
