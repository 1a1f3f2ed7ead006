"""Numbers that were wrong once: each test is the smallest program in which a defect showed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import long_sums  # of benchmarks/
import numpy as np
import pytest

import graphc
from graphc.ir.types import FLOATS, INTEGERS
from graphc.schedule.report import format_schedule

Array = np.ndarray[Any, Any]


def run(outputs: Sequence[Any], feeds: dict[Any, Array], **options: Any) -> list[Array]:
    """Outputs of a graph by a session of its own."""
    with graphc.Session(**{"threads": 1, **options}) as session:
        return session.run(list(outputs), feeds)


def same_as_reference(outputs: Sequence[Any], feeds: dict[Any, Array]) -> list[Array]:
    """Outputs of the compiled program, which must equal those of the interpreter."""
    compiled = run(outputs, feeds)
    for left, right in zip(compiled, run(outputs, feeds, backend="reference"), strict=True):
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype
    return compiled


def test_a_sorted_vector_is_not_written_over_its_source() -> None:
    """The routine reads its row again and again, so no result may take the place of a dying input."""
    x = graphc.placeholder("x", ("n",))
    values = np.array([3.0, 1.0, 2.0, 0.0, 5.0], "float32")
    (result,) = same_as_reference([graphc.ops.sort(graphc.ops.cumulative_sum(-x))], {x: values})
    assert (np.diff(result) >= 0).all()


def test_a_sorted_variable_may_be_assigned_to_itself() -> None:
    weights = graphc.ops.variable(np.array([3.0, 1.0, 2.0], "float32"), name="weights")
    with graphc.Session(threads=1) as session:
        session.run(graphc.assign(weights, graphc.ops.sort(weights)))
        assert session.get(weights).tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_a_schedule_with_a_sort_has_a_text(shape: tuple[int, ...]) -> None:
    x = graphc.placeholder("x", shape)
    program = graphc.compile([x], graphc.ops.sort(x))
    assert program.source is not None
    index = "i, j" if len(shape) == 2 else "i"
    assert f"sort(x[{index}]" in format_schedule(program.source.schedule)


def test_empty_results_that_nobody_reads_are_no_stages() -> None:
    """Padding and joining do not read what has no elements."""
    x = graphc.placeholder("x", (1, 3))
    empty = graphc.ops.cumulative_sum(x[:, 3:], axis=1)
    padded = graphc.ops.pad(empty, ((0, 0), (2, 0)), value=3)
    joined = graphc.concat([x, empty * 2], axis=1)
    same_as_reference([padded, joined], {x: np.ones((1, 3), "float32")})


def test_indices_of_an_empty_axis_are_not_checked() -> None:
    x = graphc.placeholder("x", (2, 0), "float64")
    gradient = graphc.gradients(graphc.sum(graphc.ops.sort(x) * 2), x)
    assert same_as_reference([gradient], {x: np.zeros((2, 0))})[0].shape == (2, 0)


def test_rules_keep_integers_that_wrap() -> None:
    """|-x| is not |x| of unsigned integers, and a float between two integer dtypes does not keep the low bits."""
    small, large = graphc.placeholder("small", ("n",), "uint8"), graphc.placeholder("large", ("n",), "uint32")
    through_float = graphc.cast(graphc.cast(large, "float64"), "int32")
    feeds = {small: np.array([0, 1, 255], "uint8"), large: np.array([5, 3_000_000_000, 2**32 - 1], "uint32")}
    first, second = same_as_reference([graphc.abs(-small), through_float], feeds)
    assert first.tolist() == [0, 255, 1]
    assert second.tolist() == [5, -(2**31), -(2**31)]


@pytest.mark.parametrize("columns", [None, 3])
def test_long_float32_products_keep_their_digits(columns: int | None) -> None:
    """One chain of a million float32 multiply-adds is wrong in the fourth digit."""
    generator = np.random.default_rng(0)
    count, shape = 1_000_000, () if columns is None else (columns,)
    left, right = (generator.random((count, *shape), dtype="float32") for _ in range(2))
    x, y = (graphc.placeholder(name, ("n", *shape)) for name in "xy")
    product = graphc.matmul(x, y) if columns is None else graphc.matmul(x.mT, y)
    (result,) = run([product], {x: left, y: right})
    np.testing.assert_allclose(result, left.T.astype("float64") @ right.astype("float64"), rtol=1e-5)


def test_float32_sums_and_means_keep_their_digits() -> None:
    x = graphc.placeholder("x", ("n",))
    values = np.random.default_rng(0).random(3_000_000, dtype="float32")
    total, mean = run([graphc.sum(x), graphc.mean(x)], {x: values})
    exact = values.astype("float64").sum()
    assert abs(total / exact - 1) <= 1e-7
    assert abs(mean / (exact / values.size) - 1) <= 2e-7


def test_einsum_of_two_scalars() -> None:
    assert run([graphc.ops.einsum(",->", 2.0, 3.0)], {})[0] == 6.0


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_indices_of_a_narrow_dtype_count_from_the_end_of_a_longer_axis(backend: str) -> None:
    indices, x = graphc.placeholder("indices", ("n",), "int8"), graphc.placeholder("x", (200,))
    fed = np.array([-1, -128, 127, 0], np.int8)
    values = np.arange(200, dtype=np.float32)
    taken = graphc.take(x, indices, axis=0)
    fetches = [taken, graphc.take(values, fed, axis=0), graphc.take_along_axis(x, indices, axis=0)]
    fetches.append(graphc.gradients(taken.sum(), x))
    with graphc.Session(threads=1, backend=backend) as session:
        *found, slope = session.run(fetches, {x: values, indices: fed})
    for got in found:
        np.testing.assert_array_equal(got, values[fed])
    assert np.flatnonzero(slope).tolist() == [0, 72, 127, 199]


def test_long_float32_sums_and_means_are_exact_to_a_millionth() -> None:
    """``python benchmarks/long_sums.py`` shows the same of 10**8 values."""
    assert long_sums.main(["--values", "1000003"]) == 0


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_that_no_integer_holds_are_cast_alike_in_any_number(dtype: str) -> None:
    # Before: the reference left it to NumPy, which makes 0 or 2**31 of NaN as uint32, by the number of elements.
    x = graphc.placeholder("x", ("n",), dtype)
    outputs = [x.astype(kind) for kind in INTEGERS]
    with graphc.Session() as session, graphc.Session(backend="reference") as reference:
        for count in (1, 3, 4, 8, 17, 40):
            for value in (np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0**63, 2.0**31, -3.7, 3e9, 300.5):
                feeds = {x: np.full(count, value, dtype)}
                for got, wanted in zip(session.run(outputs, feeds), reference.run(outputs, feeds), strict=True):
                    np.testing.assert_array_equal(got, wanted, err_msg=f"{count} times {value}")
                    assert np.unique(got).size == 1


def test_derivatives_by_constants() -> None:
    """Before: constants were folded with all that is made of them, and these were zeros, or hvp a first derivative."""
    x = graphc.constant(np.array([1.0, 2.0, 3.0]))
    scaled = x * 0.5
    y = (x**3).sum() + (graphc.tanh(scaled) * scaled).sum()
    outputs = [
        *graphc.gradients(y, [x, scaled]), graphc.hvp((x**3).sum(), x, x), graphc.jacobian(x * x, x),
        *graphc.gradients((graphc.stop_gradient(x) * x).sum(), [x]),
    ]  # fmt: skip
    found = run(outputs, {})
    for got, wanted in zip(found, run(outputs, {}, backend="reference"), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-14)
    np.testing.assert_allclose(found[2], [6.0, 24.0, 54.0])
    np.testing.assert_allclose(found[4], [1.0, 2.0, 3.0])
