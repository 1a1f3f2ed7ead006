"""Numbers on edges: that they are the right ones, stand on the right edges, and are short."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import graphc
from graphc import ops
from graphc.errors import FeedError, GradientError, GraphcError
from graphc.ir import Graph
from graphc.visual import draw
from graphc.visual.labels import folded_nodes
from graphc.visual.values import array_text, sum_text, values_of


def lines_of(label):
    return [re.sub(r"<.*?>", "", line).strip() for line in label.split("<BR/>")]


def edges(dot):
    """Labels of edges by the first lines of the labels of their ends."""
    heads = {}
    for name, html, plain in re.findall(r'^ *(n\d+) \[label=(?:<(.*?)>|"(.*?)") tooltip', dot, re.M):
        heads[name] = lines_of(html)[0] if html else plain.split("\\n")[0]
    found = {}
    for tail, head, label in re.findall(r"^ *(n\d+) -> (n\d+) \[label=<(.*?)> edgetooltip", dot, re.M):
        found.setdefault((heads[tail], heads[head]), []).append(lines_of(label))
    return found


def two_paths():
    x, y = ops.placeholder("x", ()), ops.placeholder("y", ())
    a = x * y
    return x, y, a, a * ops.sin(x)


def test_a_function_of_two_paths_as_textbooks_draw_it():
    x, y, a, f = two_paths()  # noqa: RUF059 - the picture takes the name from here
    dot = draw({"f": f}, values={x: 2.0, y: -3.0}, backward=True).dot
    assert edges(dot) == {
        ("x", "a = multiply"): [["2", "× −3", "∂ −2.728"]],
        ("y", "a = multiply"): [["−3", "× 2", "∂ 1.819"]],
        ("x", "sin"): [["2", "× −0.4161", "∂ 2.497"]],
        ("a = multiply", "multiply"): [["−6", "× 0.9093", "∂ 0.9093"]],
        ("sin", "multiply"): [["0.9093", "× −6", "∂ −6"]],
        ("multiply", "f"): [["−5.456", "∂ 1"]],
    }
    assert "∂ −2.728 + 2.497 = −0.231<" in dot, "the sum over the paths stands at x"
    assert "∂ 1.819</I>" in dot
    assert dot.count("derivative of the result") == 1  # the legend


def test_without_backward_only_values_are_shown():
    x, y, _, f = two_paths()
    dot = draw(f, values={x: 2.0, y: -3.0}).dot
    assert edges(dot)["x", "sin"] == [["2"]]
    assert "∂" not in dot and "derivative of the result" not in dot


def test_contributions_of_edges_add_up_to_the_derivative():
    generator = np.random.default_rng(0)
    x = ops.placeholder("x", (3, 4), "float64")
    w = ops.variable(generator.normal(size=(4, 2)), name="w")
    b = ops.variable(generator.normal(size=2), name="b")
    h = ops.tanh(x @ w + b)
    loss = (h * h).sum() + (x - x.mean()).max() * ops.exp(h[0, 1])
    graph, feed = Graph((), (loss,)), generator.normal(size=(3, 4))
    hidden = folded_nodes(graph)
    found = values_of(graph, {x: feed}, [x, w, b], hidden, None)
    with graphc.Session(backend="reference") as session:
        expected = session.run(ops.gradients(loss, [x, w, b]), {x: feed})
    for tensor, slope in zip((x, w, b), expected, strict=True):
        np.testing.assert_allclose(found.total[tensor], slope, rtol=1e-12)
        terms = [found.backward[use] for use in found.backward if use[0].inputs[use[1]] is tensor]
        np.testing.assert_allclose(sum(terms), slope, rtol=1e-12)
    for (node, place), term in found.backward.items():
        if (node, place) in found.local:  # the chain rule on the edge: local derivative times derivative by the result
            product = found.local[node, place] * found.total[node.result]
            np.testing.assert_allclose(term, product if term.shape else product.sum(), rtol=1e-12)
    assert any(node in hidden for node, _ in found.backward)


def test_an_edge_behind_a_hidden_broadcast_shows_what_reaches_the_scalar():
    x = ops.placeholder("x", (3,))
    s = ops.placeholder("s", ())
    dot = draw(ops.sum(x * s), values={x: [1, 2, 3], s: 2}, backward=True, wrt=[x, s]).dot
    assert edges(dot)["s", "multiply"] == [["2", "× [1, 2, 3]", "∂ 6"]]
    assert edges(dot)["x", "multiply"] == [["[1, 2, 3]", "× [2, 2, 2]", "∂ [2, 2, 2]"]]


def test_variables_have_their_initial_values_or_the_given_ones_or_those_of_the_programs_session():
    w = ops.variable(np.float32(3), name="w")
    y = w * w
    assert edges(draw(y, values={}).dot)["multiply", "y"] == [["9"]]
    assert edges(draw(y, values={w: 5}).dot)["multiply", "y"] == [["25"]]
    with graphc.Session(backend="reference") as session:
        session.set(w, 4)
        program = graphc.compile([], y, session=session)
        assert edges(draw(program, values={}).dot)["multiply", "y"] == [["16"]]
        assert session.get(w) == 4
        draw(program, values={w: 5})
        assert session.get(w) == 4, "drawing changes no variable"


def test_values_of_a_training_step_stand_on_all_its_parts():
    w = ops.variable(np.float32(3), name="w")
    loss = ops.sin(w)
    step = ops.assign(w, w - 0.5 * ops.gradients(loss, w))
    dot = draw(step, values={}).dot
    assert edges(dot)["multiply", "cos"] == [["−0.99"]], "the backward part flows upwards: its edges are reversed"
    assert edges(dot)["w ← new", "subtract"] == [["3.495"]]


def test_gradients_within_the_graph_are_expanded():
    x = ops.placeholder("x", ())
    slope = ops.gradients(x * x * x, x)
    dot = draw(slope, values={x: 2.0}, backward=True).dot
    assert "∂ 12" in dot.replace("= 12", "∂ 12")


def test_bodies_and_random_numbers_do_not_stand_in_the_way():
    xs = ops.placeholder("xs", (4,))
    final, _ = ops.scan(lambda carry, x: (carry * 0.5 + x, carry), ops.zeros(()), xs)
    found = edges(draw(final * graphc.random.uniform(()), values={xs: [1, 2, 3, 4]}, backward=True).dot)
    assert found["final = scan", "multiply"][0][0] == "6.125"
    assert any(line.startswith("∂") for line in found["xs", "final = scan"][0])


@pytest.mark.parametrize(
    ("array", "lines"),
    [
        (np.float32(0.1), ["0.1"]),
        (np.float64(-1234567.0), ["−1.235e+06"]),
        (np.array([True, False]), ["[True, False]"]),
        (np.array(7, "uint8"), ["7"]),
        (np.array([np.nan, np.inf, -np.inf, -0.0]), ["[nan, inf, −inf, −0]"]),
        (np.arange(9), ["[0, 1, …, 8]"]),
        (np.zeros((0, 3)), ["empty (0, 3)"]),
        (np.arange(6).reshape(2, 3), ["[[0, 1, 2]", "[3, 4, 5]]"]),
        (np.arange(4).reshape(1, 1, 4), ["[[[0, 1, 2, 3]]]"]),
        (np.arange(500).reshape(5, 10, 10), ["[[[0, 1, …, 9]", "⋮", "[490, 491, …, 499]]]"]),
    ],
)
def test_arrays_are_abbreviated(array, lines):
    assert array_text(array) == lines


def test_sums_over_paths_are_abbreviated():
    ones = [np.float32(1)] * 5
    assert sum_text(ones[:2], np.float32(2)) == ["1 + 1 = 2"]
    assert sum_text([np.float32(1), np.float32(-2)], np.float32(-1)) == ["1 + (−2) = −1"]
    assert sum_text(ones, np.float32(5)) == ["sum of 5 paths", "= 5"]
    assert sum_text([np.ones(2)] * 2, np.ones(2) * 2) == ["sum of 2 paths", "= [2, 2]"]


def test_what_is_wrong_with_values_is_said():
    x, y, _, f = two_paths()
    other = ops.placeholder("other", ())
    unnamed = {
        "draw: expected values= as a mapping from tensors to arrays, got list": lambda: draw(f, values=[1.0]),
        "draw: expected values= of placeholders and variables of the graph (x, y), got one of 'other'": lambda: draw(
            f, values={x: 1.0, y: 2.0, other: 3.0}
        ),
        "draw: expected values= of placeholders and variables of the graph (x, y), got one of 'x'": lambda: draw(
            f, values={"x": 1.0}
        ),
        "draw: values= are drawn on the whole declared graph\n  hint: leave out kernels= and show=": lambda: draw(
            f, values={x: 1.0, y: 2.0}, kernels=True
        ),
    }
    for message, wrong in unnamed.items():
        with pytest.raises(GraphcError) as error:
            wrong()
        assert str(error.value) == message
    with pytest.raises(FeedError, match="feed missing for placeholder 'y'"):
        draw(f, values={x: 1.0})
    with pytest.raises(FeedError, match="x"):
        draw(f, values={x: [1.0, 2.0], y: 1.0})
    with pytest.raises(GradientError):
        draw(ops.sum(x > y), values={x: 1.0, y: 1.0}, backward=True)
    with pytest.raises(GraphcError, match="one output"):
        draw([f, x * x], values={x: 1.0, y: 1.0}, backward=True)


HOSTILE = ['"]; evil [x="', "<script>alert(1)</script>", "a\nb\\N\\", "</FONT></I>&lt;&#60;", "<!--", "\ud800\x00]]>"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("theme", ["light", "auto"])
def test_names_are_harmless_beside_numbers(name, theme):
    x = ops.placeholder(name, (2,))
    w = ops.variable(np.ones(2, "float32"), name=name)
    drawing = draw({name: (x * w + x).sum()}, values={x: [1, 2]}, backward=True, title=name, theme=theme)
    tree = ElementTree.fromstring(drawing.svg())
    assert not [element for element in tree.iter() if element.tag.lower().endswith("script")]
    assert name[-3:] in "".join(element.text or "" for element in tree.iter()) or not name.isprintable()
