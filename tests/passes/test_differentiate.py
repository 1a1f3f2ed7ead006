"""Derivatives of graphs: values against central differences, structure, errors, size and time."""

import re

import numpy as np
import pytest

from graphc.errors import GradientError, GraphError, ShapeError
from graphc.ir import Graph, Tensor, topological, verify
from graphc.ops import (
    add,
    asarray,
    cast,
    cond,
    constant,
    custom_gradient,
    exp,
    full,
    full_like,
    gradients,
    hessian,
    hvp,
    jacobian,
    jvp,
    log,
    log_softmax,
    matmul,
    multiply,
    one_hot,
    placeholder,
    scan,
    sin,
    softmax,
    softmax_cross_entropy,
    stop_gradient,
    tanh,
    variable,
    while_loop,
)  # fmt: skip
from graphc.ops.reductions import sum_
from graphc.passes.decompose import decompose
from graphc.passes.differentiate import differentiate
from graphc.passes.explain import explain_gradient
from graphc.passes.parts import is_derived
from graphc.passes.simplify import simplify
from graphc.runtime.reference import evaluate


def compiled(*tensors: Tensor) -> tuple[Tensor, ...]:
    graph = Graph((), tensors)
    for stage in (simplify, differentiate, decompose, simplify):
        graph = stage(graph)
        verify(graph, stage.__name__)
    verify(graph, "all", absent=("gradient", "jacobian_rows", "pin", "stop_gradient", "custom_call"))
    return graph.outputs


def run(tensors, feeds):
    """Values of tensors after all passes, and the same without simplification."""
    several = tensors if isinstance(tensors, (list, tuple)) else [tensors]
    plain = decompose(differentiate(Graph((), tuple(several)))).outputs
    values, check = evaluate(list(compiled(*several)), feeds), evaluate(list(plain), feeds)
    for value, other in zip(values, check, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-6, atol=1e-12)
    return values if isinstance(tensors, (list, tuple)) else values[0]


def numeric(y: Tensor, x: Tensor, feeds: dict, step: float = 1e-6) -> np.ndarray:
    """Central differences of a tensor: shape y.shape + x.shape."""
    (plain,) = decompose(differentiate(Graph((), (y,)))).outputs
    columns = []
    for place in np.ndindex(feeds[x].shape):
        moved = []
        for sign in (1, -1):
            value = feeds[x].copy()
            value[place] += sign * step
            moved.append(np.asarray(evaluate([plain], {**feeds, x: value})[0]))
        columns.append((moved[0] - moved[1]) / (2 * step))
    rank = feeds[x].ndim
    return np.moveaxis(np.array(columns).reshape(*feeds[x].shape, *y.shape), range(rank), range(-rank, 0))


def double(name: str, *shape) -> Tensor:
    return placeholder(name, shape, "float64")


def counts(*tensors: Tensor) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in Graph((), tensors).nodes:
        found[node.op.name] = found.get(node.op.name, 0) + 1
    return found


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def test_one_derivative_for_each_input(generator) -> None:
    x, w, b = double("x", 4, 3), double("w", 3, 2), double("b", 2)
    y = sum_(tanh(matmul(x, w) + b))
    feeds = {t: generator.normal(size=t.shape) for t in (x, w, b)}
    for tensor, value in zip((x, w, b), run(gradients(y, [x, w, b]), feeds), strict=True):
        np.testing.assert_allclose(value, numeric(y, tensor, feeds), rtol=1e-6, atol=1e-8)


def test_several_paths_are_summed_by_one_node_that_remembers_them(generator) -> None:
    x = double("x", 3)
    y = sum_(exp(x) * sin(x) + x)
    feeds = {x: generator.normal(size=3)}
    graph = differentiate(Graph((), (gradients(y, x),)))
    (joined,) = [node for node in graph.nodes if node.op.name == "path_sum"]
    assert sorted(joined["paths"]) == ["add.1", "exp.0", "sin.0"]
    assert joined.origin.line == x.node.origin.line
    np.testing.assert_allclose(run(gradients(y, x), feeds), numeric(y, x, feeds), rtol=1e-6)


def test_operand_used_twice() -> None:
    x = double("x")
    assert run(gradients(x * x, x), {x: np.array(3.0)}) == 6.0


def test_gradients_of_gradients(generator) -> None:
    x = double("x", 3)
    first = gradients(sum_(sin(x) * exp(x)), x)
    second = gradients(sum_(first), x)
    third = gradients(sum_(second * second), x)
    feeds = {x: generator.normal(size=3)}
    np.testing.assert_allclose(run(third, feeds), numeric(sum_(second * second), x, feeds), rtol=1e-5)


def test_derivative_by_an_intermediate_tensor(generator) -> None:
    x = double("x", 3)
    h = tanh(x)
    y = sum_(h * h + x)
    feeds = {x: generator.normal(size=3)}
    by_h, by_x = run(gradients(y, (h, x)), feeds)
    np.testing.assert_allclose(by_h, 2 * np.tanh(feeds[x]))
    np.testing.assert_allclose(by_x, numeric(y, x, feeds), rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: constant([2.0, 2.0]),
        lambda: full(2, 2.0),
        lambda: full_like([0.0, 0.0], 2),
        lambda: asarray([2.0, 2.0]),
    ],
)
def test_a_declared_constant_is_none_of_the_equal_numbers(make) -> None:
    x = make()
    np.testing.assert_array_equal(run(gradients(sum_(x * x + 2.0 * x + make()), x), {}), [6, 6])


def test_loops_and_branches_have_derivatives_by_constants_declared_outside() -> None:
    """And those that a body declares are its own."""
    x, yes = constant(2.0, "float64"), placeholder("yes", (), "bool")

    def step(carry, _):
        inner = constant(2.0, "float64")
        return carry * x + gradients(inner * inner * x, inner), None

    by_scan = gradients(scan(step, 1.0 * x, length=2)[0] + x, x)  # x^3 + 4 x^2 + 4 x + x
    bounded = while_loop(lambda c: c < 10.0, lambda c: c * x + 2.0, x, max_iterations=5)  # x^3 + 2 x + 2
    by_while = gradients(bounded, x)
    by_cond = gradients(cond(yes, lambda: x * exp(x - 2.0) * constant(2.0, "float64"), lambda: x), x)
    assert [float(run(value, {yes: True})) for value in (by_scan, by_while, by_cond)] == [33.0, 14.0, 6.0]


def test_a_jacobian_has_derivatives_by_constants_that_its_rows_depend_on() -> None:
    """Its rows are a loop, made when the constant is a pinned number."""
    a, b = constant(3.0, "float64"), constant([1.0, 1.0], "float64")
    total = sum_(jacobian(a * a * b, b))  # 2 a^2
    assert run([gradients(total, a), gradients(gradients(total * a, a), a)], {}) == [12.0, 36.0]


def test_a_rule_without_a_part_for_a_constant_is_refused() -> None:
    c, a = constant(2.0), constant(3.0)
    tripled = custom_gradient(lambda x: x * c, vjp=lambda inputs, outputs, cotangents: (3.0 * cotangents[0],))
    y = tripled(a) + c
    assert run(gradients(y, a), {}) == 3
    with pytest.raises(GradientError, match="not among its arguments"):
        gradients(y, c)


def test_two_derivatives_that_turn_out_to_be_zeros_are_not_one() -> None:
    """d/dx of y, and d/dx of that, both 0 by their form: the second does not depend on the first."""
    x = double("x", 2)
    first = gradients(sum_(gradients(sum_(3.0 * x), x)), x, zeros_for_disconnected=True)
    second = gradients(sum_(first), x, zeros_for_disconnected=True)
    jacobians = jacobian(second, first)
    np.testing.assert_array_equal(run(jacobians, {x: [1.0, 2.0]}), np.zeros((2, 2)))


def test_seed_weighs_the_outputs(generator) -> None:
    x = double("x", 3)
    feeds = {x: generator.normal(size=3)}
    seed = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(run(gradients(exp(x), x, seed=seed), feeds), seed * np.exp(feeds[x]))
    with pytest.raises(ShapeError, match=r"expected shape \(3,\)"):
        gradients(exp(x), x, seed=np.ones(4))
    with pytest.raises(GradientError, match="expected a scalar"):
        gradients(exp(x), x)


def test_results_come_as_xs_were_given() -> None:
    x = double("x")
    assert isinstance(gradients(exp(x), x), Tensor)
    assert isinstance(gradients(exp(x), [x]), list)
    assert isinstance(gradients(exp(x), (x, x)), tuple)


def test_integers_have_no_derivative() -> None:
    n, x = placeholder("n", (), "int64"), double("x")
    with pytest.raises(GradientError, match="by an integer: n is int64"):
        gradients(x * n, n)
    with pytest.raises(GradientError, match="of an integer"):
        gradients(n * n, x)


def test_disconnected_names_both_ends() -> None:
    x, z = double("x"), double("z")
    with pytest.raises(GradientError, match=r"does not depend on z(.|\n)*test_differentiate.py"):
        gradients(exp(x), z)
    with pytest.raises(GradientError, match="only along paths that have no derivative through cast"):
        gradients(exp(x) * cast(cast(z, "int32"), "float64"), z)
    assert run(gradients(exp(x), [x, z], zeros_for_disconnected=True)[1], {x: np.array(1.0)}) == 0


def test_nodes_carry_the_line_they_differentiate() -> None:
    x = double("x", 2)
    y = sum_(tanh(x))
    graph = differentiate(Graph((), (gradients(y, x),)))
    derived = [node for node in graph.nodes if "gradient of tanh" in node.origin.derived]
    assert derived and all(node.origin.line == y.node.inputs[0].node.origin.line for node in derived)


def test_stop_gradient_is_a_constant_to_derivatives() -> None:
    x = double("x")
    y = stop_gradient(exp(x)) * x
    assert run([gradients(y, x), y], {x: np.array(2.0)}) == pytest.approx([np.exp(2), 2 * np.exp(2)])
    with pytest.raises(GradientError, match="through stop_gradient"):
        gradients(stop_gradient(x), x)


def test_custom_gradient() -> None:
    x, n = double("x"), placeholder("n", (), "int64")

    @custom_gradient(vjp=lambda inputs, outputs, cotangents: 10.0 * cotangents[0] * outputs[0])
    def strange(value):
        return exp(value) + cast(n, "float64")

    y = strange(sin(x))
    feeds = {x: np.array(0.5), n: np.array(2)}
    value, slope = run([y, gradients(y, x)], feeds)
    assert value == pytest.approx(np.exp(np.sin(0.5)) + 2)
    assert slope == pytest.approx(10 * value * np.cos(0.5))
    second = run(gradients(gradients(y, x), x), feeds)
    assert second == pytest.approx(100 * value * np.cos(0.5) ** 2 - 10 * value * np.sin(0.5))


def test_custom_gradient_is_checked() -> None:
    x = double("x")
    wrong = custom_gradient(exp, vjp=lambda inputs, outputs, cotangents: sum_(cast(cotangents[0], "float32")))
    with pytest.raises(GradientError, match=r"cotangent 0 of type float64\[\], got float32\[\]"):
        differentiate(Graph((), (gradients(wrong(x), x),)))
    w = variable(np.ones(()), name="w")
    with pytest.raises(GradientError, match="the derivative by w would be lost"):
        custom_gradient(lambda v: v * w, vjp=lambda i, o, c: c)(x)


def test_forward_mode(generator) -> None:
    x, w = double("x", 4), double("w", 3, 4)
    y = tanh(sum_(w * x, axis=1))
    feeds = {t: generator.normal(size=t.shape) for t in (x, w)}
    vx, vw = generator.normal(size=4), generator.normal(size=(3, 4))
    expected = numeric(y, x, feeds) @ vx + np.tensordot(numeric(y, w, feeds), vw, 2)
    tensor = jvp(y, [x, w], [vx, vw])
    np.testing.assert_allclose(run(tensor, feeds), expected, rtol=1e-6)
    assert "pin" not in counts(*compiled(tensor))


def test_jacobian_and_hessian(generator) -> None:
    x = double("x", 3)
    y = matmul(constant(generator.normal(size=(2, 3))), tanh(x))
    feeds = {x: generator.normal(size=3)}
    np.testing.assert_allclose(run(jacobian(y, x), feeds), numeric(y, x, feeds), rtol=1e-6)
    scalar = sum_(exp(y))
    second = numeric(gradients(scalar, x), x, feeds)
    np.testing.assert_allclose(run(hessian(scalar, x), feeds), second, rtol=1e-5)
    direction = generator.normal(size=3)
    np.testing.assert_allclose(run(hvp(scalar, x, direction), feeds), second @ direction, rtol=1e-5)


def test_products_with_hessians_are_linear_in_their_directions():
    x, y, v = (placeholder(name, (2,), "float64") for name in "xyv")
    scalar = (x * x * x * y).sum()
    feeds = {x: np.array([1.0, 2.0]), y: np.array([3.0, 5.0]), v: np.array([7.0, 11.0])}
    a, b, c = feeds.values()
    product = hvp(scalar, x, v)
    found = run([product, *gradients(product.sum(), [x, v])], feeds)
    np.testing.assert_allclose(found, [6 * a * b * c, 6 * b * c, 6 * a * b])
    # directions that depend on what the Hessian is of are fixed for it, not for a derivative of the product
    first, second = hvp(scalar, [x, y], [x * v, v * y])
    found = run([first, second, gradients(first.sum(), x), gradients(second.sum(), v)], feeds)
    np.testing.assert_allclose(
        found, [6 * a * a * b * c + 3 * a * a * b * c, 3 * a**3 * c, 18 * a * b * c, 3 * a**3]
    )

def test_jacobian_over_a_named_dim(generator) -> None:
    x = double("x", "n", 2)
    feeds = {x: generator.normal(size=(3, 2))}
    found = run(jacobian(sum_(exp(x), axis=1), x), feeds)
    expected = np.zeros((3, 3, 2))
    expected[range(3), range(3)] = np.exp(feeds[x])
    np.testing.assert_allclose(found, expected)


def test_gradients_inside_a_loop_and_through_it(generator) -> None:
    """Gradient descent as a loop, and how its end depends on its start."""
    start = double("start", 2)

    def step(w, _):
        hidden = sin(w)
        return w - 0.1 * gradients(sum_(hidden * w), w) + stop_gradient(hidden) - hidden, None

    end, _ = scan(step, start, length=3)
    feeds = {start: generator.normal(size=2)}
    loss = sum_(end * end)
    by_loop = run(gradients(loss, start), feeds)
    w = start
    for _ in range(3):
        w, _ = step(w, None)
    np.testing.assert_allclose(by_loop, run(gradients(sum_(w * w), start), feeds))


def test_size_of_a_jacobian_does_not_grow_with_the_output() -> None:
    sizes = []
    for size in (3, 300):
        x = double("x", size)
        (tensor,) = compiled(jacobian(exp(x) * sin(x), x))
        sizes.append(sum(counts(tensor).values()))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("written", ["one_hot", "index", "log of softmax"])
def test_softmax_cross_entropy_needs_no_logarithm_backward(written) -> None:
    """d loss / d logits is softmax - onehot: exp, sum and divide, which the forward pass has too."""
    logits, labels = placeholder("logits", ("batch", 10)), placeholder("labels", ("batch",), "int64")
    loss = {
        "one_hot": lambda: sum_(-log_softmax(logits) * one_hot(labels, 10)),
        "index": lambda: sum_(softmax_cross_entropy(logits, labels)),
        "log of softmax": lambda: sum_(-log(softmax(logits)) * one_hot(labels, 10)),
    }[written]()
    before, after = compiled(loss, gradients(loss, logits))
    forward = set(Graph((), (before,)).nodes)
    backward = [node.op.name for node in Graph((), (after,)).nodes if node not in forward]
    assert "log" not in counts(after)
    assert backward.count("exp") == 0


@pytest.mark.parametrize("width", [1, 3])
def test_deep_and_wide_graphs(width) -> None:
    """A long chain, and a wide graph: the backward graph grows with the forward one, by the same factor."""
    x = placeholder("x", (2,))
    tensors = [x] * width
    for _ in range(30_000 // width):
        tensors = [tanh(tensor) for tensor in tensors]
    total = tensors[0]
    for tensor in tensors[1:]:
        total = add(total, multiply(tensor, x))
    graph = differentiate(Graph((), (gradients(sum_(total), x),)))
    assert 30_000 < len(graph.nodes) < 6 * 30_000


def test_wrong_derivative_of_an_op_is_named(monkeypatch) -> None:
    x = double("x", 2)
    monkeypatch.setattr(type(exp), "vjp", lambda self, node, g: (sum_(g),))
    with pytest.raises(GraphError, match="exp: its derivative by input 0 has type"):
        differentiate(Graph((), (gradients(sum_(exp(x)), x),)))


def test_explanation_lists_paths_that_sum_to_the_derivative(generator) -> None:
    x = double("x")
    y = exp(x) * sin(x) + x
    shown = explain_gradient(y, x)
    assert shown.count == 3 and len(shown.paths) == 3
    feeds = {x: np.array(0.7)}
    parts = run([path.contribution for path in shown.paths], feeds)
    assert sum(parts) == pytest.approx(run(shown.total, feeds))
    assert "3 paths" in str(shown) and "cos(x)" in str(shown)


def test_what_an_explanation_makes_counts_as_derivative_in_drawings_too() -> None:
    x = double("x")
    y = exp(x) * sin(exp(x))
    text = str(explain_gradient(y, x))
    assert "cos" in text
    graph = simplify(differentiate(Graph((x,), (y, gradients(y, x)))))
    assert all(is_derived(node) == (node not in set(topological([y]))) for node in graph.nodes)


def test_an_explanation_has_names_for_tensors():
    """Their own; else the user's variables', unless another tensor is called so; else the op's and a number."""
    a = double("a")
    b = exp(a)
    c = 3.0 * b * sin(b)
    z = alias = b
    assert z is alias
    text = re.sub(r"    #.*", "", str(explain_gradient(c, a)))
    text = re.sub(r"(?<=sin|ply)_\d+", "", text)
    assert text == """\
d c / d a: 2 paths
path 1: a -> b -> sin -> c
    d c / d sin = multiply
    d sin / d b = cos(b)
    d b / d a = b
path 2: a -> b -> multiply -> c
    d c / d multiply = sin
    d multiply / d b = 3
    d b / d a = b
along a path local derivatives multiply; d c / d a = path 1 + path 2"""
    assert str(explain_gradient(b, b)).splitlines()[:2] == ["d b / d b: 1 path", "path 1: b"]
    rate, rates, several = constant(2.0), full(3, 2.0), placeholder("several", 3)
    assert "= cos(rate)\n" in re.sub("    #.*", "", str(explain_gradient(sin(rate) * 3.0, rate)))
    text = re.sub("    #.*", "", str(explain_gradient(sum_(several * rate + several * rates + several * 2.0), several)))
    assert [f"= {factor}\n" in text for factor in ("rate", "rates", "2")] == [True, True, True]
    x = exp(double("x"))
    assert str(explain_gradient(sin(x), x.node.inputs[0])).splitlines()[1].startswith("path 1: x -> exp_")


def test_explanation_counts_exponentially_many_paths() -> None:
    x = double("x")
    y = x
    for _ in range(60):
        y = exp(y) + tanh(y)
    shown = explain_gradient(y, x, limit=2)
    assert shown.count == 2**60 and len(shown.paths) == 2
    assert f"{2**60 - 2} more" in str(shown)
