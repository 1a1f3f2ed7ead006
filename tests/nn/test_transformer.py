"""Embedding, layer norm, attention and the block made of them: values beside NumPy, derivatives, what goes wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
from graphc import nn, optim
from graphc.errors import DTypeError, FeedError, GraphError, IndexOutOfRangeError, ShapeError

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def evaluate(function: Any, *arrays: np.ndarray) -> np.ndarray:
    """A function's value on float64 placeholders of the arrays' shapes."""
    inputs = [graphc.placeholder(f"x{k}", array.shape, array.dtype) for k, array in enumerate(arrays)]
    with graphc.Session(threads=1) as session:
        return session.run(function(*inputs), dict(zip(inputs, arrays, strict=True)))


def np_softmax(x: np.ndarray) -> np.ndarray:
    power = np.exp(x - x.max(axis=-1, keepdims=True))
    return power / power.sum(axis=-1, keepdims=True)


def np_attention(q: Any, k: Any, v: Any, allowed: Any = True, scale: float | None = None) -> np.ndarray:
    scores = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return np_softmax(np.where(allowed, scores, -np.inf)) @ v


def np_layer_norm(x: np.ndarray, scale: Any = 1.0, bias: Any = 0.0, axes: int = 1) -> np.ndarray:
    over = tuple(range(-axes, 0))
    return (x - x.mean(over, keepdims=True)) / np.sqrt(x.var(over, keepdims=True) + 1e-5) * scale + bias


def np_gelu(x: np.ndarray) -> np.ndarray:
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


# -- layer norm -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [1, 2])
def test_layer_norm(axes: int) -> None:
    x, scale, bias = normal(2, 3, 5), normal(*(3, 5)[2 - axes :]), normal(*(3, 5)[2 - axes :])
    got = evaluate(lambda *t: nn.layer_norm(*t, axes=axes), x, scale, bias)
    np.testing.assert_allclose(got, np_layer_norm(x, scale, bias, axes), rtol=1e-12, atol=1e-14)
    assert graphc.check_gradients(lambda *t: nn.layer_norm(*t, axes=axes), [x, scale, bias]).second < 1e-5


def test_layer_norm_of_equal_elements_is_zero() -> None:
    x = graphc.placeholder("x", ("n", 4))
    y = nn.layer_norm(x)
    with graphc.Session(threads=1) as session:
        value, slope = session.run([y, graphc.gradients(y.sum(), x)], {x: np.full((2, 4), 1e4, np.float32)})
    np.testing.assert_array_equal(value, np.zeros((2, 4)))
    assert np.isfinite(slope).all()


def test_layer_norm_with_neither_scale_nor_bias_has_no_variables() -> None:
    layer = nn.LayerNorm(use_scale=False, use_bias=False)
    x = normal(3, 4)
    np.testing.assert_allclose(evaluate(layer, x), np_layer_norm(x), rtol=1e-12, atol=1e-14)
    assert layer.variables == []


# -- embeddings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_embedding_picks_rows_and_adds_up_their_gradients(dtype: str) -> None:
    tokens = graphc.placeholder("tokens", ("batch", 3), dtype)
    layer = nn.Embedding(5, 2, dtype="float64")
    y = layer(tokens)
    assert y.shape[1:] == (3, 2)
    fed = np.array([[0, 4, 4], [2, 4, 0]], dtype)
    with graphc.Session(threads=1) as session:
        value, slope = session.run([y, graphc.gradients(y.sum(), layer.table)], {tokens: fed})
        np.testing.assert_array_equal(value, session.get(layer.table)[fed])
    np.testing.assert_array_equal(slope, np.array([2, 0, 1, 0, 3])[:, None] * np.ones(2))


def test_embeddings_start_as_documented() -> None:
    tokens = graphc.placeholder("tokens", ("batch", 100), "int64")
    words, places = nn.Embedding(100, 64), nn.PositionEmbedding(100)
    places(words(tokens))
    with graphc.Session(threads=1) as session:
        assert abs(session.get(words.table).std() - 1) < 0.05
        assert abs(session.get(places.table).std() - 0.02) < 0.001


def test_position_embedding_for_shorter_and_for_named_lengths() -> None:
    layer = nn.PositionEmbedding(6)
    fixed, free = graphc.placeholder("fixed", ("batch", 4, 3)), graphc.placeholder("free", ("batch", "length", 3))
    short, any_length = layer(fixed), layer(free)
    x = normal(2, 4, 3).astype(np.float32)
    with graphc.Session(threads=1) as session:
        expected = x + session.get(layer.table)[:4]
        np.testing.assert_array_equal(session.run(short, {fixed: x}), expected)
        np.testing.assert_array_equal(session.run(any_length, {free: x}), expected)
        slope = session.run(graphc.gradients(any_length.sum(), layer.table), {free: x})
        np.testing.assert_array_equal(slope, np.repeat([2.0, 0.0], [4, 2])[:, None] * np.ones(3))
        with pytest.raises(IndexOutOfRangeError, match="index 6 is out of range for an axis of size 6"):
            session.run(any_length, {free: np.zeros((1, 7, 3), np.float32)})
    with pytest.raises(ShapeError, match=r"at most 6 positions, got \(batch, 7, 3\)"):
        layer(graphc.placeholder("long", ("batch", 7, 3)))


# -- attention ------------------------------------------------------------------------------------------------------


def query_key_value() -> list[np.ndarray]:
    """Unequal sizes: 2 sequences, 3 heads, 4 queries, 5 keys, width 6, value width 7."""
    return [normal(2, 3, 4, 6), normal(2, 3, 5, 6), normal(2, 3, 5, 7)]


def test_attention() -> None:
    arrays = query_key_value()
    got = evaluate(nn.scaled_dot_product_attention, *arrays)
    np.testing.assert_allclose(got, np_attention(*arrays), rtol=1e-12, atol=1e-14)
    got = evaluate(lambda *t: nn.scaled_dot_product_attention(*t, scale=0.3), *arrays)
    np.testing.assert_allclose(got, np_attention(*arrays, scale=0.3), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("lengths", [(4, 5), (5, 4), (5, 5)])
def test_causal_attention_sees_no_later_key(lengths: tuple[int, int]) -> None:
    length, source = lengths
    arrays = [normal(2, length, 6), normal(2, source, 6), normal(2, source, 3)]
    got = evaluate(lambda *t: nn.scaled_dot_product_attention(*t, causal=True), *arrays)
    np.testing.assert_allclose(
        got, np_attention(*arrays, np.tril(np.ones((length, source), bool))), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("shape", [(4, 5), (2, 1, 1, 5), (3, 4, 1), (2, 3, 4, 5)])
def test_masked_attention(shape: tuple[int, ...]) -> None:
    arrays, mask = query_key_value(), RNG.random(shape) < 0.7
    mask[..., 0] = True
    got = evaluate(nn.scaled_dot_product_attention, *arrays, mask)
    np.testing.assert_allclose(got, np_attention(*arrays, mask), rtol=1e-12, atol=1e-14)
    got = evaluate(lambda *t: nn.scaled_dot_product_attention(*t, causal=True), *arrays, mask)
    np.testing.assert_allclose(
        got, np_attention(*arrays, mask & np.tril(np.ones((4, 5), bool))), rtol=1e-12, atol=1e-14
    )


def test_attention_broadcasts_over_heads() -> None:
    """Several query heads that share one key and value head."""
    arrays = [normal(2, 3, 4, 6), normal(2, 1, 5, 6), normal(2, 1, 5, 7)]
    np.testing.assert_allclose(
        evaluate(nn.scaled_dot_product_attention, *arrays), np_attention(*arrays), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"mask": True}, {"mask": True, "causal": True}], ids=str)
def test_derivatives_of_attention(options: dict[str, Any]) -> None:
    given = dict(options)
    if "mask" in given:
        given["mask"] = np.arange(15).reshape(3, 5) % 4 < 2
        given["mask"][1] = False  # no key at all for query 1
    arrays = [normal(2, 3, 2), normal(2, 5, 2), normal(2, 5, 4)]
    report = graphc.check_gradients(lambda q, k, v: nn.scaled_dot_product_attention(q, k, v, **given), arrays)
    assert report.second < 1e-5


def test_a_query_without_keys_gets_zero() -> None:
    arrays = [normal(4, 3), normal(5, 3), normal(5, 2)]
    q, k, v = (graphc.placeholder(f"x{i}", a.shape, "float64") for i, a in enumerate(arrays))
    mask = np.ones((4, 5), bool)
    mask[2] = False
    y = nn.scaled_dot_product_attention(q, k, v, mask)
    with graphc.Session(threads=1) as session:
        value, slopes = session.run(
            [y, graphc.gradients(y.sum(), [q, k, v])], dict(zip((q, k, v), arrays, strict=True))
        )
    np.testing.assert_array_equal(value[2], 0)
    np.testing.assert_array_equal(slopes[0][2], 0)
    keep = [0, 1, 3]
    np.testing.assert_allclose(value[keep], np_attention(arrays[0][keep], *arrays[1:]), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(slopes[2], np_softmax(arrays[0][keep] @ arrays[1].T / 3**0.5).sum(0)[:, None] + [0, 0])


def test_the_causal_mask_is_index_arithmetic() -> None:
    """No array of length x length is stored: positions are compared where the scores are used."""
    q = graphc.placeholder("q", ("batch", 64, 8))
    y = nn.scaled_dot_product_attention(q, q, q, causal=True)
    constants = [node for node in graphc.Graph((q,), (y,)).nodes if node.op.name == "constant"]
    assert all(node.result.ndim == 0 for node in constants)


def test_attention_over_named_lengths() -> None:
    q = graphc.placeholder("q", ("batch", "length", 6), "float64")
    y = nn.scaled_dot_product_attention(q, q, q, causal=True)
    with graphc.Session(threads=1) as session:
        for length in (1, 4, 9):
            x = normal(2, length, 6)
            expected = np_attention(x, x, x, np.tril(np.ones((length, length), bool)))
            np.testing.assert_allclose(session.run(y, {q: x}), expected, rtol=1e-12, atol=1e-14)


def test_dropout_of_attention_weights() -> None:
    """With the identity as values the result is the weights: dropped or scaled up, and whole without training."""
    layer = nn.MultiHeadAttention(1, dropout_rate=0.25)
    q = graphc.placeholder("q", (200, 10, 4))
    values = np.broadcast_to(np.eye(10, dtype=np.float32), (200, 10, 10))
    weights = nn.scaled_dot_product_attention(q * 0, q, values, dropout_rate=0.25)
    x = normal(200, 10, 4).astype(np.float32)
    with graphc.Session(threads=1, seed=1) as session:
        found = session.run(weights, {q: x})
        kept = found != 0
        np.testing.assert_allclose(found[kept], 0.1 / 0.75, rtol=1e-5)
        assert abs(kept.mean() - 0.75) < 0.02
        trained, once, again = session.run([layer(q, training=True), layer(q), layer(q)], {q: x})
    np.testing.assert_array_equal(once, again)
    assert not np.allclose(trained, once)


def np_multi_head(x: np.ndarray, values: dict[str, np.ndarray], heads: int, allowed: Any) -> np.ndarray:
    batch, length, width = x.shape
    parts = (x @ values["qkv/kernel"] + values["qkv/bias"]).reshape(batch, length, 3, heads, width // heads)
    q, k, v = parts.transpose(2, 0, 3, 1, 4)
    mixed = np_attention(q, k, v, allowed).transpose(0, 2, 1, 3).reshape(x.shape)
    return mixed @ values["projection/kernel"] + values["projection/bias"]


def randomised(session: graphc.Session, layer: nn.Layer) -> dict[str, np.ndarray]:
    """Give every variable of a layer random values; return them by the last parts of their names."""
    values = {}
    for v in layer.variables:
        session.set(v, normal(*v.shape))
        values[v.name.removeprefix(layer.path + "/")] = session.get(v)
    return values


@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention(causal: bool) -> None:
    x = graphc.placeholder("x", ("batch", 5, 6), "float64")
    mask = graphc.placeholder("mask", ("batch", 1, 1, 5), "bool")
    layer = nn.MultiHeadAttention(3, causal=causal)
    y = layer(x, mask=mask)
    fed, allowed = normal(2, 5, 6), RNG.random((2, 1, 1, 5)) < 0.7
    allowed[..., 0] = True
    with graphc.Session(threads=1) as session:
        values = randomised(session, layer)
        assert sorted(values) == ["projection/bias", "projection/kernel", "qkv/bias", "qkv/kernel"]
        got = session.run(y, {x: fed, mask: allowed})
    every = allowed & np.tril(np.ones((5, 5), bool)) if causal else allowed
    np.testing.assert_allclose(got, np_multi_head(fed, values, 3, every), rtol=1e-10)


# -- the block ------------------------------------------------------------------------------------------------------


def test_transformer_block() -> None:
    x = graphc.placeholder("x", ("batch", 5, 6), "float64")
    block = nn.TransformerBlock(2, hidden=7, causal=True)
    y = block(x)
    fed = normal(3, 5, 6)
    with graphc.Session(threads=1) as session:
        values = randomised(session, block)
        got = session.run(y, {x: fed})
        inner = {name.removeprefix("attention/"): value for name, value in values.items()}
        normed = np_layer_norm(fed, values["norm1/scale"], values["norm1/bias"])
        h = fed + np_multi_head(normed, inner, 2, np.tril(np.ones((5, 5), bool)))
        normed = np_layer_norm(h, values["norm2/scale"], values["norm2/bias"])
        up = np_gelu(normed @ values["up/kernel"] + values["up/bias"])
        np.testing.assert_allclose(got, h + up @ values["down/kernel"] + values["down/bias"], rtol=1e-10)
        report = graphc.check_gradients(y, {x: fed[:2]}, session=session)
    assert report.second < 1e-5


def test_a_position_does_not_see_later_ones_through_a_causal_block() -> None:
    x = graphc.placeholder("x", ("batch", 6, 8))
    y = nn.Sequential(nn.TransformerBlock(2, causal=True), nn.TransformerBlock(4, causal=True))(x)
    fed = normal(1, 6, 8).astype(np.float32)
    other = fed.copy()
    other[0, 4:] += 1
    with graphc.Session(threads=1) as session:
        before, after = session.run(y, {x: fed}), session.run(y, {x: other})
    np.testing.assert_array_equal(before[0, :4], after[0, :4])
    assert (before[0, 4:] != after[0, 4:]).all(axis=-1).all()


def test_names_of_a_models_variables() -> None:
    tokens = graphc.placeholder("tokens", ("batch", 4), "int64")
    model = nn.Sequential(nn.Embedding(9, 6), nn.PositionEmbedding(4), nn.TransformerBlock(2), name="model")
    model(tokens)
    names = [v.name for v in model.variables]
    assert names[:3] == [
        "model/0_embedding/table",
        "model/1_positionembedding/table",
        "model/2_transformerblock/norm1/scale",
    ]
    assert "model/2_transformerblock/attention/qkv/kernel" in names
    assert len(set(names)) == len(names) == 2 + 12


def test_block_dropout_only_in_training() -> None:
    x = graphc.placeholder("x", ("batch", 3, 4))
    block = nn.TransformerBlock(2, dropout_rate=0.5, attention_dropout_rate=0.5)
    with graphc.Session(threads=1) as session:
        fed = {x: normal(2, 3, 4).astype(np.float32)}
        trained, plain, again = session.run([block(x, training=True), block(x), block(x)], fed)
    np.testing.assert_array_equal(plain, again)
    assert (trained != plain).any()


def test_a_small_transformer_learns_with_the_same_bits_for_any_workers() -> None:
    """Each token says the next one: a permutation that a model without attention to later places can learn."""
    tokens, targets = (graphc.placeholder(name, ("batch", 8), "int64") for name in ("tokens", "targets"))
    model = nn.Sequential(
        nn.Embedding(7, 16), nn.PositionEmbedding(8), nn.TransformerBlock(2, causal=True, dropout_rate=0.1),
        nn.LayerNorm(), nn.Dense(7),
    )  # fmt: skip
    loss = nn.softmax_cross_entropy(model(tokens, training=True), targets).mean()
    fetches = [loss, optim.Adam(1e-2).minimize(loss)]
    fed = np.random.default_rng(0).integers(0, 7, (4, 8))
    found = []
    for threads in (1, 2):
        with graphc.Session(threads=threads, seed=0) as session:
            found.append([session.run(fetches, {tokens: fed, targets: (fed * 3 + 1) % 7})[0] for _ in range(40)])
    assert np.array(found[0]).tobytes() == np.array(found[1]).tobytes()
    assert found[0][-1] < 0.2 * found[0][0]


# -- what goes wrong ------------------------------------------------------------------------------------------------


def refused(kind: type[graphc.GraphcError], function: Any, *parts: str) -> str:
    """The message of the error that a function must raise; ``parts`` must occur in it."""
    with pytest.raises(kind) as caught:
        function()
    text = str(caught.value)
    for part in parts:
        assert part in text, text
    return text


def floats(*shape: Any, dtype: str = "float32") -> graphc.Tensor:
    return graphc.placeholder("x", shape, dtype)


def test_a_token_out_of_range_fails_the_step_and_changes_nothing() -> None:
    tokens = graphc.placeholder("tokens", ("batch", 4), "int64")
    targets = graphc.placeholder("targets", ("batch", 4), "int64")
    layer = nn.Embedding(5, 3)
    rows = layer(tokens)
    loss = nn.softmax_cross_entropy(nn.Dense(5)(rows), targets).mean()
    train = optim.Adam(0.1).minimize(loss)
    good, bad = np.array([[0, 1, 2, 4]]), np.array([[0, 1, 5, 2]])
    with graphc.Session(threads=2) as session:
        before = [session.get(v) for v in optim.trainable_variables(loss)]
        message = refused(
            IndexOutOfRangeError, lambda: session.run([loss, train], {tokens: bad, targets: good}),
            "index 5 is out of range for an axis of size 5", "rows = layer(tokens)",
        )  # fmt: skip
        assert "test_transformer.py:" in message
        refused(
            IndexOutOfRangeError, lambda: session.run([loss, train], {tokens: good, targets: bad}),
            "index 5 is out of range for an axis of size 5", "nn.softmax_cross_entropy(",
        )  # fmt: skip
        padded = np.array([[0, 1, -1, 2]])  # as the last token or class -1 would be learnt without a word
        refused(
            IndexOutOfRangeError, lambda: session.run([loss, train], {tokens: padded, targets: good}),
            "Embedding: index -1 is out of range for an axis of size 5", "rows = layer(tokens)",
        )  # fmt: skip
        refused(
            IndexOutOfRangeError, lambda: session.run([loss, train], {tokens: good, targets: padded}),
            "softmax_cross_entropy: index -1 is out of range for an axis of size 5",
        )  # fmt: skip
        assert session.steps == 0
        for v, value in zip(optim.trainable_variables(loss), before, strict=True):
            np.testing.assert_array_equal(session.get(v), value)
        session.run([loss, train], {tokens: good, targets: good})
        assert session.steps == 1


def test_tokens_of_the_wrong_kind() -> None:
    refused(
        DTypeError, lambda: nn.Embedding(5, 3)(floats("batch", 4)), "Embedding: expected integer tokens, got float32"
    )
    refused(
        DTypeError, lambda: nn.Embedding(5, 3)(floats(4, dtype="bool")), "expected integer tokens, got bool", "int64"
    )
    refused(IndexOutOfRangeError, lambda: nn.Embedding(5, 3)([0, 7]), "index 7 is out of range for an axis of size 5")
    refused(IndexOutOfRangeError, lambda: nn.Embedding(5, 3)([0, -1]), "index -1 is out of range for an axis of size 5")
    tokens = graphc.placeholder("tokens", ("batch",), "int64")
    with graphc.Session(threads=1) as session:
        refused(
            FeedError, lambda: session.run(nn.Embedding(5, 3)(tokens), {tokens: [0.5]}), "expected int64, got float64"
        )


def test_sizes_that_make_no_sense() -> None:
    refused(GraphError, lambda: nn.Embedding(0, 3), "Embedding: expected a positive size of the vocabulary, got 0")
    refused(GraphError, lambda: nn.Embedding(3, 2.5), "positive width, got 2.5")  # type: ignore[arg-type]
    refused(DTypeError, lambda: nn.Embedding(3, 2, dtype="int64"), "Embedding: expected a table of float32")
    refused(GraphError, lambda: nn.PositionEmbedding(-1), "positive number of positions, got -1")
    refused(GraphError, lambda: nn.MultiHeadAttention(0), "positive number of heads, got 0")
    q = floats(2, 4)
    refused(
        GraphError, lambda: nn.scaled_dot_product_attention(q, q, q, causal="no"),
        "scaled_dot_product_attention: expected a bool as causal, got 'no'",
    )  # fmt: skip
    for wrong in ("no", 1, None):
        for layer in (nn.MultiHeadAttention, nn.TransformerBlock):
            expected = f"MultiHeadAttention: expected a bool as causal, got {wrong!r}"
            refused(GraphError, lambda layer=layer, wrong=wrong: layer(2, causal=wrong), expected)
    assert nn.MultiHeadAttention(2, causal=np.True_).causal is True
    refused(GraphError, lambda: nn.MultiHeadAttention(2, dropout_rate=1.0), "expected 0 <= rate < 1, got 1.0")
    refused(GraphError, lambda: nn.TransformerBlock(2, hidden=0), "positive hidden width, got 0")
    refused(GraphError, lambda: nn.TransformerBlock(2, activation="gelu"), "function as activation")  # type: ignore[arg-type]
    refused(GraphError, lambda: nn.LayerNorm(epsilon=-1.0), "epsilon of at least 0")
    refused(GraphError, lambda: nn.LayerNorm(epsilon="small"), "expected a number as epsilon, got 'small'")  # type: ignore[arg-type]
    refused(GraphError, lambda: nn.layer_norm(floats(3), epsilon=-1.0), "layer_norm: expected an epsilon of at least 0")
    refused(GraphError, lambda: nn.LayerNorm(0), "positive number of axes, got 0")
    refused(GraphError, lambda: nn.dropout(floats(3), -0.1), "expected 0 <= rate < 1, got -0.1")


def test_inputs_that_layers_refuse() -> None:
    refused(ShapeError, lambda: nn.MultiHeadAttention(3)(floats("b", 4, 8)), "3 heads do not divide the width 8")
    refused(
        ShapeError, lambda: nn.TransformerBlock(3)(floats("b", 4, 8)), "3 heads do not divide the width 8 of (b, 4, 8)"
    )
    refused(ShapeError, lambda: nn.MultiHeadAttention(1)(floats(8)), "expected (..., length, width), got (8,)")
    refused(
        ShapeError, lambda: nn.MultiHeadAttention(1)(floats(4, "w")), "expected a static last axis, got shape (4, w)"
    )
    refused(
        DTypeError,
        lambda: nn.TransformerBlock(1)(floats(4, 8, dtype="int64")),
        "expected float32 or float64, got int64",
    )
    refused(
        ShapeError, lambda: nn.LayerNorm(2)(floats("b", 4)), "expected 2 static last axes, got shape (b, 4)",
        "LayerNorm(axes) is told how many of the last axes to normalise, not their sizes",
    )  # fmt: skip
    refused(ShapeError, lambda: nn.layer_norm(floats(4), axes=2), "layer_norm: 2 axes to normalise, but (4,) has 1")
    refused(ShapeError, lambda: nn.layer_norm(floats(3, 4), floats(3)), "expected a scale of shape (4,), got (3,)")
    refused(DTypeError, lambda: nn.layer_norm(floats(3, dtype="int64")), "layer_norm: expected float32 or float64")
    refused(ShapeError, lambda: nn.PositionEmbedding(3)(floats(3)), "expected (..., positions, width), got (3,)")


def test_attention_that_does_not_fit() -> None:
    attend, q = nn.scaled_dot_product_attention, floats("b", 3, 4)
    message = refused(
        ShapeError, lambda: attend(q, floats("b", 5, 6), floats("b", 5, 4)), "query (b, 3, 4), key (b, 5, 6)"
    )
    assert "hint: expected (..., length, width)" in message
    refused(ShapeError, lambda: attend(q, q, floats("b", 5, 4)), "value (b, 5, 4) do not fit")
    refused(ShapeError, lambda: attend(q, floats("c", 3, 4), floats("c", 3, 4)), "do not fit")
    refused(ShapeError, lambda: attend(floats(4), q, q), "query (4,)")
    refused(GraphError, lambda: attend(q, q, q, scale="sqrt"), "expected a number as scale, got 'sqrt'")  # type: ignore[arg-type]


def test_masks_that_do_not_fit() -> None:
    attend, q = nn.scaled_dot_product_attention, floats("b", 3, 4)
    refused(
        ShapeError,
        lambda: attend(q, q, q, floats(3, 2, dtype="bool")),
        "mask (3, 2) does not broadcast to the scores (b, 3, 3)",
    )
    refused(ShapeError, lambda: attend(q, q, q, floats(2, "b", 3, 3, dtype="bool")), "does not broadcast")
    refused(ShapeError, lambda: attend(q, q, q, floats("c", 1, 3, dtype="bool")), "mask (c, 1, 3)", "batch and heads")
    refused(DTypeError, lambda: attend(q, q, q, floats(3, 3)), "expected a mask of bool, got float32[3, 3]", "mask > 0")
    layer = nn.MultiHeadAttention(2)
    refused(ShapeError, lambda: layer(q, mask=floats("b", 3, dtype="bool")), "mask (b, 3)", "scores (b, 2, 3, 3)")
    refused(GraphError, lambda: nn.Dense(4)(q, mask=floats("b", 3, dtype="bool")), "Dense: takes no mask=", "training=")
    refused(GraphError, lambda: layer(q, masks=None), "MultiHeadAttention: takes no masks=", "training=, mask=")


def test_an_initializer_must_be_a_function() -> None:
    dense = nn.Dense(3, kernel_initializer="he_normal")  # type: ignore[arg-type]
    refused(GraphError, lambda: dense(floats(2, 4)), "dense/kernel: expected a function", "graphc.nn.initializers")
