"""Functions of floats where the registry's own checks do not look: edges of derivatives, polygamma, NumPy's names."""

import math
import re

import mpmath
import numpy as np
import pytest

import graphc
from graphc.errors import GraphcError, GraphError

INF, NAN = math.inf, math.nan

EDGES = [
    # function, operands, result, derivatives by each operand
    ("xlogy", (0.0, 0.0), 0.0, (0.0, 0.0)),
    ("xlogy", (0.0, 2.0), 0.0, (math.log(2), 0.0)),
    ("xlogy", (0.0, -1.0), 0.0, (0.0, 0.0)),
    ("xlogy", (2.0, 0.0), -INF, (-INF, INF)),
    ("hypot", (0.0, 0.0), 0.0, (0.0, 0.0)),
    ("hypot", (3e200, -4e200), 5e200, (0.6, -0.8)),
    ("hypot", (1.2e308, -1.6e308), INF, (0.6, -0.8)),
    ("hypot", (5e-324, 0.0), 5e-324, (1.0, 0.0)),
    ("hypot", (-INF, 1e308), INF, (-1.0, 0.0)),
    ("hypot", (0.0, INF), INF, (0.0, 1.0)),
    ("hypot", (INF, -INF), INF, (math.sqrt(0.5), -math.sqrt(0.5))),
    ("hypot", (INF, NAN), INF, (NAN, NAN)),
    ("hypot", (1.0, NAN), NAN, (NAN, NAN)),
    ("atan2", (0.0, 0.0), 0.0, (0.0, 0.0)),
    ("atan2", (1.0, 0.0), math.pi / 2, (0.0, -1.0)),
    ("atan2", (0.0, -2.0), math.pi, (-0.5, 0.0)),
    ("atan2", (1e200, 1e200), math.pi / 4, (5e-201, -5e-201)),
    ("atan2", (1.0, INF), 0.0, (0.0, 0.0)),
    ("cbrt", (0.0,), 0.0, (INF,)),
    ("asin", (1.0,), math.pi / 2, (INF,)),
    ("asin", (-1.0,), -math.pi / 2, (INF,)),
    ("acos", (1.0,), 0.0, (-INF,)),
    ("acosh", (1.0,), 0.0, (INF,)),
    ("acosh", (1e300,), math.log(2) + 300 * math.log(10), (1e-300,)),
    ("asinh", (-1e300,), -math.log(2) - 300 * math.log(10), (1e-300,)),
    ("atanh", (1.0,), INF, (INF,)),
    ("logaddexp", (-INF, -INF), -INF, (0.5, 0.5)),
    ("logaddexp", (INF, INF), INF, (0.5, 0.5)),
    ("logaddexp", (INF, -INF), INF, (1.0, 0.0)),
    ("logaddexp", (-INF, 3.0), 3.0, (0.0, 1.0)),
    ("logaddexp", (2.0, 2.0), 2 + math.log(2), (0.5, 0.5)),
    ("logaddexp2", (-INF, -INF), -INF, (0.5, 0.5)),
    ("logaddexp2", (4.0, 4.0), 5.0, (0.5, 0.5)),
    ("erfc", (26.0,), math.erfc(26.0), (-2 / math.sqrt(math.pi) * math.exp(-676.0),)),
    ("copysign", (0.0, -1.0), -0.0, (-1.0, 0.0)),
    ("copysign", (-3.0, 0.0), 3.0, (-1.0, 0.0)),
    ("fmod", (-7.0, 3.0), -1.0, (1.0, 2.0)),
    ("lgamma", (1.0,), 0.0, (-float(mpmath.euler),)),
    ("lgamma", (-1.5,), math.log(4 / 3 * math.sqrt(math.pi)), (0.7031566406452432,)),
    ("digamma", (1.0,), -float(mpmath.euler), (math.pi**2 / 6,)),
]


def test_edges_of_values_and_derivatives() -> None:
    inputs, outputs = [], []
    for name, operands, _, _ in EDGES:
        placeholders = [graphc.placeholder(f"x{k}", (), "float64") for k in range(len(operands))]
        y = getattr(graphc, name)(*placeholders)
        inputs += placeholders
        outputs += [y, *graphc.gradients(y, placeholders, zeros_for_disconnected=True)]
    values = iter(graphc.compile(inputs, outputs)(*(np.float64(v) for _, operands, _, _ in EDGES for v in operands)))
    for name, operands, result, slopes in EDGES:
        got = [float(next(values)) for _ in range(1 + len(operands))]
        np.testing.assert_allclose(got, [result, *slopes], rtol=1e-13, atol=0, err_msg=f"{name}{operands}")
        assert math.copysign(1, got[0]) == math.copysign(1, result), (name, operands)


def test_second_derivatives_where_operands_are_equal_or_zero() -> None:
    report = graphc.check_gradients(lambda x, y: graphc.logaddexp(x, y), [np.array([1.0, -2.0]), np.array([1.0, -2.0])])
    assert report.second < 1e-6
    report = graphc.check_gradients(lambda x, y: graphc.xlogy(x, y), [np.zeros(2), np.array([0.5, 3.0])])
    assert report.second < 1e-6


def test_polygamma_of_every_order() -> None:
    x = np.array([1e-3, 0.3, 1.0, 4.2, 11.0, 60.0, -0.3, -1.7, -5.2])
    orders = [0, 1, 2, 3, 5, 8, 13, 20]
    given = {dtype: graphc.placeholder("x", ("n",), dtype) for dtype in ("float64", "float32")}
    outputs = [graphc.polygamma(n, t) for t in given.values() for n in orders]
    values = graphc.compile(list(given.values()), outputs)(x, x.astype("f4"))
    for (dtype, n), got in zip([(d, n) for d in given for n in orders], values, strict=True):
        with mpmath.workprec(200):
            points = x.astype(dtype).tolist()
            exact = [mpmath.psi(n, mpmath.mpf(v)) for v in points]
            # for negative x terms cancel that are as large as this
            size = [
                abs(e) if v > 0 else abs(mpmath.psi(n, 1 - mpmath.mpf(v))) + abs(e)
                for v, e in zip(points, exact, strict=True)
            ]
        for value, e, s in zip(got.tolist(), exact, size, strict=True):
            if s < np.finfo(dtype).max:
                assert abs(value - e) <= (n + 4) * np.finfo(dtype).eps * s, (dtype, n, value, float(e))


def test_polygamma_at_poles_and_infinity() -> None:
    x = np.array([0.0, -0.0, -1.0, -4.0, INF, -INF, NAN])
    t = graphc.placeholder("x", ("n",), "float64")
    odd, even = graphc.compile([t], [graphc.polygamma(1, t), graphc.polygamma(2, t)])(x)
    np.testing.assert_array_equal(odd, [INF, INF, INF, INF, 0.0, NAN, NAN])
    np.testing.assert_array_equal(even, [-INF, INF, NAN, NAN, 0.0, NAN, NAN])


def test_polygamma_promotes_and_names_its_orders() -> None:
    assert graphc.polygamma(1, np.array([1, 2])).dtype == np.float32
    assert graphc.polygamma(1, graphc.placeholder("x", ("rows", 3), "float64")).shape[1] == 3
    for order in (-1, 21, 1.5, True, "1"):
        with pytest.raises(GraphError, match=r"polygamma: expected an order from 0 to 20, got"):
            graphc.polygamma(order, 1.0)


def test_numpys_names() -> None:
    x = graphc.placeholder("x", ("n",), "float64")
    inverse = {f"arc{name}": f"a{name}" for name in ("cos", "cosh", "sin", "sinh", "tan", "tanh")}
    same = {name: name for name in ("cbrt", "cosh", "exp2", "log10", "log2", "signbit", "sinh", "tan")}
    pairs = inverse | same
    for name, own in pairs.items():
        assert getattr(np, name)(x).node.op.name == own
    for name in ("arctan2", "copysign", "fmod", "hypot", "logaddexp", "logaddexp2", "nextafter"):
        assert getattr(np, name)(x, 2.0).node.op.name == {"arctan2": "atan2"}.get(name, name)


def test_integers_become_floats_but_in_fmod() -> None:
    whole = np.array([-7, 7, 5], np.int32)
    for name in ("atan2", "copysign", "hypot", "logaddexp", "nextafter", "xlogy"):
        assert getattr(graphc, name)(whole, 2).dtype == np.float32
    result = graphc.fmod(whole, np.array([3, -3, 0], np.int32))
    assert result.dtype == np.int32
    np.testing.assert_array_equal(graphc.compile([], [result])()[0], [-1, 1, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: graphc.atan2(x), "atan2: expected 2 operands, got 1"),
        (lambda x: graphc.hypot(x, np.ones(4)), "hypot: "),
        (lambda x: graphc.fmod(x > 0, x > 1), "fmod: expected numbers, got bool"),
    ],
)
def test_wrong_operands(call, message) -> None:
    with pytest.raises(GraphcError, match=message):
        call(graphc.placeholder("x", (3,), "float32"))


WHOLE = (-8, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 8, 9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_powers_are_products_and_as_accurate(dtype: str) -> None:
    """Against long double: signs, infinities and NaN as NumPy's, results within 2 units in the last place."""
    generator, info = np.random.default_rng(0), np.finfo(dtype)
    edges = [0.0, 1.0, INF, NAN, info.max, info.tiny, info.smallest_subnormal, 1e-11, 1e13, 1e-20, 1e20]
    root = float(info.smallest_subnormal) ** 0.25  # its powers of 3 and 4 come out subnormal, or nearly
    sizes = np.concatenate([np.exp(generator.uniform(-40, 40, 1000)), root * generator.uniform(0.5, 4, 100), edges])
    values = np.concatenate([sizes, -sizes]).astype(dtype)
    x = graphc.placeholder("x", ("n",), dtype)
    with graphc.Session(threads=1) as session:
        found = session.run([x**n for n in (*WHOLE, 2.5)], {x: values})
        text = str(session.programs[0].source.schedule)
    left = {float(number) for number in re.findall(r"\*\* \(?(-?[\d.]+)", text)}
    assert left == ({-8, 0, 9, 2.5} if dtype == "float32" else {-8, -4, -3, -2, 0, 5, 8, 9, 2.5})
    for n, got in zip(WHOLE, found, strict=False):
        with np.errstate(all="ignore"):
            exact = np.power(values.astype(np.longdouble), np.longdouble(n))
            want = exact.astype(dtype)
            unit = np.spacing(np.minimum(np.abs(want), np.finfo(dtype).max / 2))
        finite = np.isfinite(want)
        np.testing.assert_array_equal(got[~finite], want[~finite])
        np.testing.assert_array_equal(np.signbit(got)[~np.isnan(want)], np.signbit(want)[~np.isnan(want)])
        error = np.abs(got[finite].astype(np.longdouble) - exact[finite]) / unit[finite]
        assert error.max() <= 2, (n, float(error.max()))
