"""Pictures of graphs: what is in them, and that no name a user chooses can break them."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from graphc import nn, ops
from graphc import profile as profile_package
from graphc.errors import GraphcError, GraphcWarning
from graphc.ir import Graph
from graphc.passes.parts import BACKWARD, FORWARD, UPDATE, parts_of
from graphc.visual import draw, draw_graph, render

HOSTILE = [
    '"]; evil [label="x',
    "two\nlines\r\nand\ttabs",
    "<b>bold</b><script>alert(1)</script>",
    "ends with a backslash\\",
    "\\N \\G \\n \\\\",
    "&lt;i&gt; &#60; &amp;",
    "null \x00 and bell \x07",
    "lone surrogate \ud800",
    "<<table><tr><td>x</td></tr></table>>",
    "ünïcödé ∂ 名前",
    "a" * 5000,
    "}} digraph {",
]


def mlp():
    x = ops.placeholder("x", ("batch", 5))
    labels = ops.placeholder("labels", ("batch",), "int64")
    w = ops.variable(np.ones((5, 4), "float32"), name="w")
    b = ops.variable(np.zeros(4, "float32"), name="b")
    v = ops.variable(np.ones((4, 3), "float32"), name="v")
    hidden = ops.relu(x @ w + b)
    loss = ops.softmax_cross_entropy(hidden @ v, labels).mean()
    return loss, [w, b, v]


def updates(loss, weights):
    found = []
    for weight, slope in zip(weights, ops.gradients(loss, weights), strict=True):
        momentum = ops.variable(np.zeros(weight.shape, "float32"), name=f"momentum/{weight.name}", trainable=False)
        velocity = 0.9 * momentum + slope
        found += [ops.assign(momentum, velocity), ops.assign(weight, weight - 0.1 * velocity)]
    return found


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


def test_forward_graph_shows_names_types_and_ops():
    loss, _ = mlp()
    drawing = draw(loss)
    shown = texts(drawing.svg())
    for expected in ("x", "w", "b", "matmul", "relu", "float32[batch, 5]", "int64[batch]", "loss", "legend"):
        assert any(expected in text for text in shown), expected
    assert "backward" not in drawing.dot


def test_kinds_differ_in_shape_and_colour():
    from graphc.visual.theme import THEMES

    for theme in THEMES.values():
        styles = {
            kind: theme.node(kind) for kind in ("placeholder", "variable", "constant", "map", "path_sum", "reduction")
        }
        assert len({style["shape"] for style in styles.values()}) == len(styles)
        assert len({style["fillcolor"] for style in styles.values()}) == len(styles)


def test_numbers_stand_in_labels():
    x = ops.placeholder("x", ("n", 3))
    y = 1 - 2.5 * x
    dot = draw(y).dot
    assert "1 − x" in dot and "2.5 × x" in dot
    assert "broadcast_to" not in dot and "note" not in dot


def test_broadcasts_of_computed_scalars_are_folded():
    x = ops.placeholder("x", ("n", 3))
    y = x - x.sum()
    dot = draw(y).dot
    assert "broadcast_to" not in dot
    assert "float32[]" in dot


def test_backward_graph_stands_in_its_own_box_with_dashed_edges_from_the_forward_one():
    loss, _ = mlp()
    dot = draw(loss, backward=True).dot
    assert "cluster_forward" in dot and "cluster_backward" in dot and "cluster_update" not in dot
    assert "∂loss/∂w" in dot and "∂loss/∂v" in dot
    assert 'style="dashed"' in dot
    only = draw(loss, backward=True, show="backward").dot
    assert "cluster_forward" not in only and "from another part" in only


def test_derivatives_of_layers_of_one_name_are_numbered() -> None:
    x = ops.placeholder("x", ("batch", 4))
    loss = nn.Dense(3)(nn.Dense(5)(x)).sum()
    dot = draw({"loss": loss}, backward=True).dot
    found = set(re.findall(r"∂loss/∂([\w/#]+)", dot))
    assert found == {"dense/kernel", "dense/bias", "dense/kernel#1", "dense/bias#1"}



def test_an_update_has_three_parts():
    loss, weights = mlp()
    train = updates(loss, weights)
    dot = draw(train).dot
    assert all(f"cluster_{part}" in dot for part in (FORWARD, BACKWARD, UPDATE))
    assert "w ← new" in dot and "momentum/w ← new" in dot
    assert '"loss"' in dot  # named by the caller's variable, found from the gradient


def test_parts():
    loss, weights = mlp()
    w = weights[0]
    rate = ops.variable(np.float32(0.1), name="rate")
    (slope,) = ops.gradients(loss, [w])
    graph = Graph((), (loss, ops.assign(w, w - rate * slope)))
    parts = parts_of(graph)
    by_op = {node.op.name: part for node, part in parts.items()}
    assert by_op["gradient"] == BACKWARD
    assert parts[rate.node] == UPDATE and by_op["assign"] == UPDATE
    assert parts[w.node] == FORWARD and parts[loss.node] == FORWARD


def test_sums_over_paths_are_marked():
    x = ops.variable(np.ones(3, "float32"), name="x")
    loss = (ops.exp(x) * ops.sin(x)).sum()
    dot = draw(loss, backward=True).dot
    assert "2 paths" in dot
    assert "path through exp" in dot and "path through sin" in dot


def test_kernels_become_boxes_with_their_buffers_between_them():
    loss, weights = mlp()
    dot = draw(updates(loss, weights), kernels=True).dot
    assert "cluster_kernel0" in dot and "update" in dot
    heavy = [line for line in dot.splitlines() if 'penwidth="2"' in line and " -> n" in line]
    light = [line for line in dot.splitlines() if 'penwidth="0.8"' in line and " -> n" in line]
    assert heavy and all("through memory" in line and " B " in line for line in heavy)
    assert light and all("through registers" in line and " B " not in line for line in light)
    with pytest.raises(GraphcError) as error:
        draw(loss, kernels=True, fold=True)
    assert str(error.value) == (
        "draw: fold= and kernels= are two ways to box the same nodes\n  hint: leave one out"
    )


def test_large_schedules_are_folded_by_kernel():
    x = y = ops.placeholder("x", ("n", 4))
    for _ in range(12):
        y = ops.sort(ops.sin(ops.cos(y)) * x, axis=1)
    dot = draw(y, kernels=True, limit=30).dot
    assert "a box for each kernel" in dot and "<B>kernel 22</B>" in dot


def test_a_profile_is_drawn_with_its_times():
    import graphc

    x = ops.placeholder("x", ("n", 4))
    w = ops.variable(np.ones((4, 4), "float32"), name="w")
    y = ops.sort(x @ w, axis=1)
    feed = {x: np.ones((3, 4), "float32")}
    with graphc.Session(threads=1) as session:
        _, profile = session.run(y, feed, profile=True)
        program = session.programs[0]
        tips = re.findall(r"in kernel (\d): [\d.]+ us, \d+% of all kernels", draw(profile).dot)
        assert set(tips) == {str(kernel.number) for kernel in profile.kernels}
        assert draw(program, profile=profile).dot.count(" us, ") == draw(profile).dot.count(" us, ")
        assert re.search(r'label="kernel 0: [\d.]+ us, \d+% of all kernels; forward"', draw(profile, kernels=True).dot)
        assert "us, " not in draw(program).dot and "in kernel 0" in draw(program).dot
        _, other = session.run(ops.sort(x), feed, profile=True)
    for wrong, message in (
        (
            other,
            "draw: profile= is of another program than the one to draw\n  hint: draw(profile) draws the one it is of",
        ),
        ("fast", "draw: expected a profile of session.run(..., profile=True), got 'fast'"),
    ):
        with pytest.raises(GraphcError) as error:
            draw(program, profile=wrong)
        assert str(error.value) == message


def test_tooltips_say_type_line_and_scope():
    import graphc

    x = ops.placeholder("x", (3,))
    with graphc.name_scope("encoder"):
        y = ops.sin(x)  # a line
    tips = [
        element.get("{http://www.w3.org/1999/xlink}title") for element in ElementTree.fromstring(draw(y).svg()).iter()
    ]
    expected = "sin: float32[3]\ndeclared at test_draw.py:"
    assert any(tip and tip.startswith(expected) and "# a line" in tip for tip in tips)
    assert any(tip and tip.endswith("in scope encoder") for tip in tips)


def test_themes():
    from graphc.visual.theme import LIGHT, PRINT, counterparts

    x = ops.placeholder("x", (3,))
    y = ops.sin(x)
    grey = set(re.findall(r"#[0-9a-f]{6}", draw(y, theme="print").dot))
    assert grey and all(color[1:3] == color[3:5] == color[5:7] for color in grey)
    assert set(PRINT.fills) == set(LIGHT.fills)
    svg = draw(y, theme="auto").svg()
    assert "prefers-color-scheme: dark" in svg and '[fill="#cfe8f7"]{fill:#1d4a66}' in svg
    assert "prefers-color-scheme" not in draw(y).svg()
    assert draw(y, theme="auto").dot == draw(y).dot
    ElementTree.fromstring(svg)
    used = set(LIGHT.fills.values())  # one dark colour for each light one, or the picture could not be turned
    assert len({counterparts()["fill", color] for color in used}) == len(used) == len(set(LIGHT.fills.values()))




def test_a_body_is_a_nested_box():
    xs = ops.placeholder("xs", (7, 3))
    final, _ = ops.scan(lambda carry, x: (carry * 0.5 + x, carry), ops.zeros((3,)), xs)
    drawing = draw(final)
    assert "body of scan" in drawing.dot
    assert "0.5" in drawing.dot
    ElementTree.fromstring(drawing.svg())


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_harmless(name):
    x = ops.placeholder(name, ("n", 2))
    w = ops.variable(np.ones(2, "float32"), name=name)
    drawing = draw({name: (x * w).sum()}, backward=True, title=name)
    tree = ElementTree.fromstring(drawing.svg())
    assert not [element for element in tree.iter() if element.tag.lower().endswith(("script", "table", "}b"))]
    plain = "".join(sign if sign.isprintable() else " " for sign in name)
    expected = " ".join(plain.split())[:20].rstrip() if "\ud800" not in name else "lone surrogate"
    assert any(expected in " ".join((text or "").split()) for text in texts(drawing.svg()))


def test_results_are_named_by_dict_keys_and_the_callers_variables():
    x = ops.placeholder("x", (3,))
    doubled = x * 2
    assert "doubled" in draw(doubled).dot
    assert "score[0]" in draw({"score": [doubled, x + 1]}).dot


def test_a_program_is_drawn_by_its_outputs():
    from graphc.session import Session, compile

    x = ops.placeholder("x", (3,))
    with Session(backend="reference") as session:
        program = compile([x], {"a": ops.sin(x), "b": ops.cos(x)}, session=session)
        assert "sin" in draw(program).dot and "cos" in draw(program).dot
        assert "cluster_kernel0" in draw(program, kernels=True).dot


def test_arguments_are_checked():
    x = ops.placeholder("x", (3,))
    with pytest.raises(GraphcError, match="tensors"):
        draw("x")
    with pytest.raises(GraphcError) as error:
        draw(np.zeros(10_000))
    assert len(error.value.message) < 200
    with pytest.raises(GraphcError, match="nothing to draw"):
        draw([])
    with pytest.raises(GraphcError, match="show="):
        draw(x, show="sideways")
    with pytest.raises(GraphcError, match="direction"):
        draw(x, direction="up")
    with pytest.raises(GraphcError, match="theme"):
        draw(x, theme="plaid")
    with pytest.raises(GraphcError, match="backward=True"):
        draw(x.sum(), wrt=x)
    with pytest.raises(GraphcError, match="one output"):
        draw([x.sum(), x.max()], backward=True)


def test_files(tmp_path):
    x = ops.placeholder("x", (3,))
    drawing = draw(x + 1, theme="dark", direction="LR")
    for ending, magic in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("dot", b"digraph")):
        path = drawing.save(tmp_path / "new" / f"picture.{ending}")
        assert path.read_bytes().startswith(magic)
    assert draw(x, path=tmp_path / "again.dot") and (tmp_path / "again.dot").exists()
    with pytest.raises(GraphcError, match=r"\.svg"):
        drawing.save(tmp_path / "picture.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(GraphcError, match="can't be written"):
        drawing.save(tmp_path / "file" / "picture.dot")


def test_without_a_renderer_the_dot_text_is_saved_and_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr(render.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(render, "_said", set())
    drawing = draw(ops.placeholder("x", (3,)))
    with pytest.warns(GraphcWarning, match="pygraphviz"):
        path = drawing.save(tmp_path / "picture.svg")
    assert path.name == "picture.dot" and path.read_text().startswith("digraph")
    drawing.save(tmp_path / "picture.png")  # says nothing again: warnings are errors here
    assert drawing._repr_svg_() is None


def test_notebooks_show_pictures(monkeypatch):
    from graphc.ir import Tensor
    from graphc.program import Program
    from graphc.session import Session, compile
    from graphc.visual import install

    for kind in (Tensor, Graph, Program):
        monkeypatch.setattr(kind, "_repr_svg_", None, raising=False)
    profile_package.draw_with(lambda profile: None)
    install()
    x = ops.placeholder("x", (3,))
    with Session(threads=1) as session:
        program = compile([x], ops.sin(x), session=session)
        _, profile = session.run(ops.sin(x), {x: np.ones(3, "float32")}, profile=True)
        shown = [thing._repr_svg_() for thing in (x, Graph((x,), (x,)), program, profile)]
    assert ["<svg" in svg for svg in shown] == [True] * 4
    assert "timeline" in shown[3] and "in kernel 0" in shown[2]
    assert "ops.sin(x)" in shown[2]
    monkeypatch.setattr(render.importlib.util, "find_spec", lambda name: None)
    assert ops.cos(x)._repr_svg_() is None


def test_a_graph_of_one_leaf():
    x = ops.placeholder("x", ())
    assert "x" in draw_graph(Graph((x,), (x,))).svg()
