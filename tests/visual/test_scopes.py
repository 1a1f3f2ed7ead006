"""Scopes: which nodes they hold, how drawings fold them, and that they change nothing but drawings."""

import gc
import re
import threading

import numpy as np
import pytest

import graphc
from graphc import nn, ops, optim
from graphc.errors import GraphcError
from graphc.ir import Graph
from graphc.ir.printer import format_graph
from graphc.visual import draw
from graphc.visual.scopes import Scopes


def scope(tensor):
    return "/".join(name for name, _ in tensor.node.origin.scope)


def boxes(dot):
    """Labels of the boxes of scopes."""
    return [label for label in re.findall(r'^ +label="(.*?)";', dot, re.M) if label not in ("legend", "")]


def folders(dot):
    """The lines of each folded scope's label."""
    found = []
    for label in re.findall(r'label=<(.*?)> tooltip.*shape="folder"', dot):
        found.append([re.sub(r"<.*?>", "", line) for line in label.split("<BR/>")])
    return found


def test_nodes_belong_to_the_scopes_that_are_open():
    x = ops.placeholder("x", (3,))
    with graphc.name_scope("encoder"):
        a = ops.sin(x)
        with graphc.name_scope("block1/norm"):
            b = ops.cos(a)
        c = ops.tanh(b)
    d = ops.exp(c)
    assert [scope(t) for t in (x, a, b, c, d)] == ["", "encoder", "encoder/block1/norm", "encoder", ""]


def test_a_scope_object_can_be_entered_again_and_survives_errors():
    inner = graphc.name_scope("inner")
    x = ops.placeholder("x", (3,))
    with inner, inner:
        twice = ops.sin(x)
    with pytest.raises(ZeroDivisionError), inner:
        1 / 0  # noqa: B018
    assert scope(twice) == "inner/inner" and scope(ops.cos(x)) == ""


def test_scopes_are_those_of_their_thread():
    found = []
    with graphc.name_scope("main"):
        thread = threading.Thread(target=lambda: found.append(ops.sin(ops.placeholder("x", (2,)))))
        thread.start()
        thread.join()
    assert scope(found[0]) == ""


@pytest.mark.parametrize("name", ["", "a//b", "/", " ", None, 3, b"bytes"])
def test_names_of_scopes_are_checked(name):
    with pytest.raises(GraphcError, match=r"name_scope: expected a name such as 'encoder' or 'encoder/block1', got"):
        graphc.name_scope(name)


def test_equal_nodes_merge_whatever_scopes_they_are_in():
    x = ops.placeholder("x", (3,))
    with graphc.name_scope("outer"):
        with graphc.name_scope("a"):
            first, alone = ops.sin(x), ops.cos(x)
        with graphc.name_scope("b"):
            second = ops.sin(x)
    assert first is second
    assert scope(first) == "outer", "what two scopes declare belongs to the one around them both"
    assert scope(alone) == "outer/a"


def test_scopes_change_no_graph_text_and_no_names():
    def build(scoped):
        x = ops.placeholder("x", (3,))
        if not scoped:
            return ops.tanh(x * ops.variable(np.ones(3, "float32"), name="w"))
        with graphc.name_scope("any"):
            return ops.tanh(x * ops.variable(np.ones(3, "float32"), name="w"))

    plain, scoped = (format_graph(Graph((), (build(kind),)), origins=False) for kind in (False, True))
    assert plain == scoped


def test_layers_open_scopes_by_their_paths():
    x = ops.placeholder("x", ("batch", 8))
    model = nn.Sequential(nn.Dense(4), ops.tanh, nn.Dense(2))
    with graphc.name_scope("model"):
        y = model(x)
    assert scope(y) == "model/sequential/2_dense"
    assert scope(model.variables[0]) == "model/sequential/0_dense"
    assert scope(y.node.inputs[0].node.inputs[0]) == "model/sequential"  # tanh is no layer
    block = nn.TransformerBlock(2)(ops.placeholder("z", (5, 4)))
    shown = {"/".join(names) for names in Scopes(Graph((), (block,)).nodes).of.values()}
    assert {"transformerblock/norm1", "transformerblock/norm2", "transformerblock/up"} <= shown


def test_two_layers_without_names_are_two_scopes_and_one_called_twice_is_one():
    x = ops.placeholder("x", ("batch", 4))
    first, second = nn.Dense(4), nn.Dense(4)
    assert set(boxes(draw(second(first(x))).dot)) == {"dense", "dense#1"}
    assert set(boxes(draw(first(first(x))).dot)) == {"dense"}


def test_each_loss_is_a_scope():
    x, z = ops.placeholder("x", ("batch", 4)), ops.placeholder("z", ("batch", 4))
    labels = ops.placeholder("labels", ("batch",), "int64")
    for loss in (nn.sigmoid_cross_entropy, nn.mean_squared_error, ops.mean_absolute_error, ops.huber_loss):
        assert scope(loss(x, z)) == loss.__name__
    first, again = (nn.softmax_cross_entropy(x, labels, label_smoothing=0.1) for _ in range(2))
    assert set(boxes(draw([first, again]).dot)) == {"softmax_cross_entropy"}
    second = nn.softmax_cross_entropy(z, labels)
    assert set(boxes(draw([first, second]).dot)) == {"softmax_cross_entropy", "softmax_cross_entropy#1"}


def test_gradients_belong_to_the_scope_of_what_they_derive_from():
    x = ops.placeholder("x", ("batch", 4))
    loss = ops.square(nn.Sequential(nn.Dense(3), nn.Dense(2))(x)).mean()
    dot = draw(loss, backward=True, fold=2).dot
    titles = [lines[0] for lines in folders(dot)]
    assert sorted(titles) == ["0_dense", "1_dense", "∂ 0_dense", "∂ 1_dense"]


def test_a_folded_scope_says_how_much_is_in_it():
    x = ops.placeholder("x", ("batch", 64))
    dot = draw(nn.Dense(32, ops.tanh)(x), fold=True).dot
    assert folders(dot) == [
        [
            "dense",
            "4 ops: matmul, add, tanh, broadcast_to",
            "2 variables: 2,080 elements, 8.125 KiB",
            "in float32[batch, 64]",
            "out float32[batch, 32]",
        ]
    ]


def test_depths_and_names_fold_what_they_say():
    x = ops.placeholder("x", (3,))
    with graphc.name_scope("a"):
        y = ops.sin(x)
        with graphc.name_scope("b"):
            y = ops.cos(ops.tanh(y))
    with graphc.name_scope("c"):
        y = ops.exp(y)
    expected = [(False, []), (True, ["a", "c"]), (1, ["a", "c"]), (2, ["b"]), ("c", ["c"]), (["a/b", "c"], ["b", "c"])]
    for fold, titles in expected:
        assert sorted(lines[0] for lines in folders(draw(y, fold=fold).dot)) == titles, fold
    assert boxes(draw(y, fold="a/b").dot) == ["a", "c"]
    assert boxes(draw(y).dot) == ["a", "b", "c"]


def test_variables_are_called_without_the_path_of_the_box_they_stand_in():
    dot = draw(nn.Dense(2)(ops.placeholder("x", (3, 4)))).dot
    assert 'label="kernel\\nfloat32[4, 2]"' in dot


def test_an_optimizer_is_a_scope():
    x = ops.placeholder("x", ("batch", 4))
    train = optim.Adam(1e-3).minimize(ops.square(nn.Dense(3)(x)).mean())
    titles = [lines[0] for lines in folders(draw(train, fold=True).dot)]
    assert sorted(titles) == ["adam: update", "dense", "∂ dense"]


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        (0, "draw: expected fold= as a depth of at least 1, got 0"),
        (-2, "draw: expected fold= as a depth of at least 1, got -2"),
        (1.5, "draw: expected fold= as True, a depth, or names of scopes, got 1.5"),
        ([1], "draw: expected fold= as True, a depth, or names of scopes, got [1]"),
        (
            "encoder/blok",
            "draw: there is no scope 'encoder/blok' to fold; the graph has encoder, encoder/block\n"
            "  hint: did you mean 'encoder/block'?",
        ),
    ],
)
def test_what_cannot_be_folded(fold, message):
    x = ops.placeholder("x", (3,))
    with graphc.name_scope("encoder/block"):
        y = ops.sin(x)
    with pytest.raises(GraphcError) as error:
        draw(y, fold=fold)
    assert str(error.value) == message


def test_folding_without_scopes_changes_nothing():
    x = ops.placeholder("x", (3,))
    y = ops.sin(ops.cos(x))
    assert draw(y, fold=True).dot == draw(y).dot
    with pytest.raises(GraphcError, match="the graph has no scopes"):
        draw(y, fold="a")


def large(blocks, steps):
    y = ops.placeholder("x", (3,))
    for block in range(blocks):
        with graphc.name_scope(f"stage{block // 10}/block{block}"):
            for _ in range(steps):
                y = ops.sin(y)
    return y


def title(dot):
    return re.search(r'graph \[label="(.*?)"\]', dot).group(1)


def test_ten_thousand_nodes_fold_to_the_depth_that_fits():
    y = large(50, 200)
    dot = draw(y).dot
    assert title(dot) == "10,001 nodes, drawn as 51: scopes folded at depth 2"
    assert len(folders(dot)) == 50 and folders(dot)[7][:2] == ["block7", "200 ops: 200 sin"]
    y = large(100, 100)
    dot = draw(y, limit=50, title="mine").dot
    assert draw(y, title="mine").dot == dot
    assert title(dot) == "mine\\n10,001 nodes, drawn as 11: scopes folded at depth 1"
    assert [lines[0] for lines in folders(dot)] == [f"stage{k}" for k in range(10)]
    assert "<svg" in draw(y, limit=50).svg()
    dot = draw(y, limit=5).dot
    assert title(dot).startswith("10,001 nodes, drawn as 2: scopes of like names together")
    assert folders(dot)[0][:2] == ["stage#", "10,000 ops: 10,000 sin"]


def test_ten_thousand_nodes_without_scopes_fold_by_line_then_by_op():
    x = y = ops.placeholder("x", (3,))
    for _ in range(2500):
        y = ops.sin(y)
        y = ops.cos(y) + x
        y = ops.tanh(y)
    dot = draw(y).dot
    assert title(dot) == "10,001 nodes, drawn as 4: a box for each line of yours"
    found = {lines[0].split(": ")[1]: lines[1] for lines in folders(dot)}
    assert found == {
        "y = ops.sin(y)": "2,500 ops: 2,500 sin",
        "y = ops.cos(y) + x": "5,000 ops: 2,500 cos, 2,500 add",
        "y = ops.tanh(y)": "2,500 ops: 2,500 tanh",
    }
    y = x
    for _ in range(200):
        y = ops.sin(ops.cos(y))
    assert title(draw(y).dot) == "401 nodes, drawn as 2: a box for each line of yours"


def test_pictures_of_more_than_a_hundred_nodes_fold_by_scopes_alone():
    assert title(draw(large(10, 10)).dot) == "101 nodes, drawn as 11: scopes folded at depth 2"
    assert not folders(draw(large(10, 9)).dot)
    for options in ({"fold": False}, {"kernels": True}):  # what is asked for is seen
        assert not folders(draw(large(10, 10), **options).dot)
    y = ops.placeholder("x", (3,))
    for _ in range(200):
        y = ops.sin(y)
    assert draw(y).dot.count("sin") >= 200  # there are no scopes; a box for the line would say less
    with graphc.name_scope("one"):
        z = ops.cos(y)
    assert draw(z).dot.count("sin") >= 200  # one is too few


def test_scopes_that_end_further_out_are_folded_with_those_of_a_depth():
    x = ops.placeholder("x", ("batch", 5, 8))
    model = nn.Sequential(*[nn.TransformerBlock(2) for _ in range(2)])
    y = nn.LayerNorm(name="last")(model(nn.LayerNorm(name="second")(nn.LayerNorm(name="first")(x))))
    dot = draw(y).dot
    assert title(dot).endswith(": scopes folded at depth 3, or where they end")
    inner = ["norm1", "attention", "norm2", "up", "down"]
    assert sorted(lines[0] for lines in folders(dot)) == sorted(["first", "second", *inner, *inner, "last"])


def test_results_of_a_folded_scope_are_one_list():
    x = ops.placeholder("x", ("batch", 4))
    model = nn.Sequential(*[nn.Dense(4) for _ in range(13)])
    loss = model(x).sum()
    dot = draw({"loss": loss}, backward=True, fold=True).dot
    (listed,) = [line for line in dot.splitlines() if "∂loss/∂sequential/0_dense/kernel" in line and "[label=" in line]
    shown = re.search(r'\[label="(.*?)" tooltip="(.*?)"', listed)
    assert shown.group(1).split("\\n")[-2:] == ["∂loss/∂sequential/11_dense/kernel", "and 3 more"]
    assert shown.group(2).split("&#10;")[0] == "∂loss/∂sequential/0_dense/kernel: float32[4, 4]"
    assert "26 tensors" in dot
    opened = draw({"loss": loss}, backward=True, fold=False).dot
    assert len(re.findall(r'label="∂loss/', opened)) == 26


def test_what_is_asked_for_is_not_folded_further():
    y = large(40, 10)
    with pytest.raises(GraphcError, match=r"draw: 401 nodes are left to draw, more than the 300 .*\n  hint: leave out"):
        draw(y, fold=False)
    assert draw(y, fold=False, limit=500).dot.count("sin") >= 400
    with pytest.raises(GraphcError, match="limit= as a positive number"):
        draw(y, limit=0)


def test_parts_of_folded_graphs_show_what_they_read_at_their_border():
    x = ops.placeholder("x", ("batch", 4))
    loss = ops.square(nn.Dense(3)(x)).mean()
    train = optim.Adam(1e-3).minimize(loss)
    assert [lines[0] for lines in folders(draw(loss, backward=True, show="backward", fold=True).dot)] == ["∂ dense"]
    dot = draw(train, show="update", fold=True).dot
    assert [lines[0] for lines in folders(dot)] == ["adam: update"]
    assert "from another part" in dot and "dense/kernel" in dot


def test_large_bodies_are_left_out():
    xs = ops.placeholder("xs", (7, 3))

    def step(carry, x):
        for _ in range(400):
            carry = ops.sin(carry)
        return carry + x, carry

    with graphc.name_scope("rnn"):
        final, _ = ops.scan(step, ops.zeros((3,)), xs)
    dot = draw(ops.cos(final)).dot
    assert title(dot) == "406 nodes, drawn as 3: bodies left out"
    assert "body of 403 nodes" in dot and "body of scan" not in dot
    folded = ["rnn", "1 op and 403 in bodies: scan", "in float32[7, 3]", "out float32[3]"]
    assert folders(draw(ops.cos(final), fold=True).dot) == [folded]
    with pytest.raises(GraphcError) as error:
        draw(ops.cos(final), limit=1)
    assert str(error.value) == (
        "draw: 3 nodes are left to draw, more than the 1 that make a readable picture\n"
        "  hint: draw a part (show='forward'), or raise limit="
    )


HOSTILE = ['"]; evil [x="', "<script>alert(1)</script>", "a\nb\\N\\", "</FONT>&lt;&#60;", "<!--", "\ud800\x00"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_scopes_are_harmless(name):
    import xml.etree.ElementTree as ElementTree

    x = ops.placeholder("x", (3,))
    with graphc.name_scope(name):
        y = ops.sin(ops.cos(x))
    for fold in (None, True):
        tree = ElementTree.fromstring(draw(y, fold=fold, title=name).svg())
        assert not [element for element in tree.iter() if element.tag.lower().endswith("script")]
        shown = "".join(element.text or "" for element in tree.iter())
        assert name.split("/")[-1][-3:] in shown or not name.isprintable()


def test_drawings_do_not_depend_on_what_the_process_did_before():
    def picture():
        x = ops.placeholder("x", ("batch", 4))
        loss = ops.square(nn.Sequential(nn.Dense(3), nn.Dense(2))(x)).mean()
        return draw(optim.Adam(1e-3).minimize(loss), fold=2).dot

    gc.collect()  # numbers such as the batch's are one node in all graphs, whose line is that of the oldest one alive
    first = picture()
    nn.Dense(5)(ops.placeholder("other", (2, 3)))
    assert picture() == first
