"""Every simplification rule fires on its example, leaves what it says, and keeps values."""

import numpy as np
import pytest

from graphc.errors import GraphError
from graphc.ir import Graph, Tensor, verify
from graphc.ops import (
    add,
    broadcast_to,
    constant,
    exp,
    gradients,
    log,
    multiply,
    negative,
    placeholder,
    tanh,
    where,
)  # fmt: skip
from graphc.ops.reductions import sum_
from graphc.passes.differentiate import differentiate
from graphc.passes.rules import RULES, Rule
from graphc.passes.simplify import simplify
from graphc.passes.sweep import sweep
from graphc.runtime.reference import evaluate

SPECIAL = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e-30, 3.25, -40.0])


def counts(*tensors: Tensor) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in Graph((), tensors).nodes:
        if node.inputs:
            found[node.op.name] = found.get(node.op.name, 0) + 1
    return found


def simplified(*tensors: Tensor) -> tuple[Tensor, ...]:
    graph = simplify(Graph((), tensors))
    verify(graph, "simplify")
    return graph.outputs


def feeds(tensor: Tensor, shift: int) -> dict[Tensor, np.ndarray]:
    """A value for every placeholder; floats go through all special values as ``shift`` grows."""
    made = {}
    for number, node in enumerate(Graph((), (tensor,)).sources):
        if node.op.name == "placeholder":
            shape = tuple(size if isinstance(size, int) else 3 for size in node.result.shape)
            cycle = np.resize(np.roll(SPECIAL, shift * (number + 1) + number), shape)
            made[node.result] = np.nan_to_num(cycle, posinf=9, neginf=-9).astype(node.result.dtype)
            if node.result.dtype.kind == "f":
                made[node.result] = cycle.astype(node.result.dtype)
    return made


def same(left: np.ndarray, right: np.ndarray) -> None:
    """Equal up to rounding, with NaN, infinities and the signs of zeros in the same places."""
    np.testing.assert_allclose(left, right, rtol=3e-6, atol=1e-30)
    zeros = (left == 0) & (right == 0)
    np.testing.assert_array_equal(np.signbit(left[zeros]), np.signbit(right[zeros]))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_fires_and_keeps_values(rule: Rule) -> None:
    example = rule.example()
    (after,) = simplified(example.output)
    assert after is not example.output
    assert counts(after) == dict(example.left)
    assert rule.summary
    stable = rule.function.__module__.endswith("stable")  # these mend overflow: compared where there is none
    for shift in range(1 if stable else len(SPECIAL)):
        values = feeds(example.output, shift)
        if stable:
            values = {tensor: np.resize([0.5, 0.25, 2.0], v.shape).astype(v.dtype) for tensor, v in values.items()}
        same(*map(np.asarray, evaluate([example.output, after], values)))


def test_rule_names_are_unique() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: multiply(x, 0.0),  # NaN where x is infinite
        lambda x: add(x, 0.0),  # 0.0 where x is -0.0
        lambda x: log(exp(x)),  # infinite where exp overflows
        lambda x: x - x,  # NaN where x is infinite
        lambda x: x / x,
    ],
)
def test_what_must_not_be_simplified(build) -> None:
    x = placeholder("x", (3,))
    tensor = build(x)
    assert simplified(tensor) == (tensor,)


def test_result_is_a_fixpoint() -> None:
    x = placeholder("x", (3,))
    tensor = negative(negative(multiply(multiply(x, 1.0), -1.0)))
    once = simplified(tensor)
    assert counts(*once) == {"negative": 1}
    assert simplify(Graph((), once)).outputs == once


def test_large_constants_stay_unfolded() -> None:
    big = constant(np.ones(100_000, "float32"))
    assert counts(*simplified(exp(big))) == {"exp": 1}
    assert counts(*simplified(exp(broadcast_to(constant(1.0), (1000, 1000))))) == {"broadcast_to": 1}


def test_rules_do_not_look_through_what_is_differentiated_by() -> None:
    """d(exp(a) - 1)/d(exp(a)) is 1, though the difference becomes expm1(a)."""
    a = placeholder("a", ())
    power = exp(a)
    derivative = gradients(power - 1.0, power)
    graph = differentiate(simplify(Graph((), (derivative,))))
    assert evaluate(list(simplify(graph).outputs), {})[0] == 1.0
    product = multiply(a, 1.0)
    graph = simplify(differentiate(simplify(Graph((), (gradients(product + a, product),)))))
    assert evaluate(list(graph.outputs), {})[0] == 1.0


def test_long_chains() -> None:
    x = placeholder("x", (2,))
    tensor = x
    for _ in range(20_000):
        tensor = multiply(tanh(tensor), 1.0)
    assert counts(*simplified(tensor)) == {"tanh": 20_000}


def test_replacements_that_undo_each_other_are_an_error() -> None:
    x = placeholder("x", (2,))
    swap = {"exp": tanh, "tanh": exp}
    with pytest.raises(GraphError, match="do not end"):
        sweep(Graph((), (exp(x),)), lambda node: (swap[node.op.name](x),) if node.op.name in swap else None)


def test_replacement_of_another_type_is_an_error() -> None:
    x = placeholder("x", (2,))
    with pytest.raises(GraphError, match="expected a replacement of types"):
        sweep(Graph((), (exp(x),)), lambda node: (sum_(x),) if node.op.name == "exp" else None)


def test_where_with_constant_condition_in_a_gradient() -> None:
    x = placeholder("x", (3,))
    derivative = gradients(sum_(where(True, exp(x), x)), x)
    after = simplify(differentiate(simplify(Graph((), (derivative,))))).outputs
    assert counts(*after) == {"exp": 1}
