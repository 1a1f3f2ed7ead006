"""Large results are stored past the caches: the same bits, whole lines or not, for any number of workers."""

import numpy as np
import pytest

import graphc
from graphc.codegen.cpu import streaming, texts
from graphc.codegen.cpu.printer import emit

ROWS = 37


def stream_from(monkeypatch, limit):
    """Print with another limit: what is kept was printed by another printer."""
    monkeypatch.setattr(streaming, "STREAM_FROM", limit)
    monkeypatch.setattr(texts, "_printers", lambda: f"with a limit of {limit}")


def softmax_and_gradient(columns, dtype, threads):
    x, g = (graphc.placeholder(name, ("rows", columns), dtype) for name in "xg")
    y = graphc.softmax(x)
    program = graphc.compile([x, g], [y, *graphc.gradients(y, [x], seed=g)], session=graphc.Session(threads=threads))
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal((ROWS, columns)).astype(dtype) for _ in range(2)]
    return arrays, program(*arrays)


@pytest.mark.parametrize(("columns", "dtype"), [(512, "float32"), (333, "float32"), (259, "float64")])
def test_stores_past_the_caches_change_no_bit(monkeypatch, columns, dtype):
    (x, g), through_caches = softmax_and_gradient(columns, dtype, 1)
    stream_from(monkeypatch, 4096)
    for threads in (1, 3):
        _, past_them = softmax_and_gradient(columns, dtype, threads)
        for one, other in zip(through_caches, past_them, strict=True):
            np.testing.assert_array_equal(one, other)
    e = np.exp(x - x.max(1, keepdims=True))
    y = e / e.sum(1, keepdims=True)
    np.testing.assert_allclose(past_them[0], y, rtol=2e-6)
    np.testing.assert_allclose(past_them[1], y * (g - (g * y).sum(1, keepdims=True)), rtol=1e-4, atol=1e-7)


def test_the_size_decides_at_run_time(monkeypatch, tmp_path):
    """A result of at least the limit's bytes goes past the caches, a smaller one or one of short rows does not."""
    stream_from(monkeypatch, 1 << 16)
    limit = (1 << 16) // 4
    assert f">= {limit})" in source_of(("rows", 512))
    assert f">= {limit})" in source_of((128, 512))
    assert "stream" not in source_of((16, 512))
    assert "stream" not in source_of(("rows", 128))


def test_whole_lines_are_copied_without_a_call(monkeypatch):
    # rounds of 64 elements are whole lines where rows are, and a result begins with a line; so it does in the arena
    stream_from(monkeypatch, 1 << 16)
    text = source_of(("rows", 512))
    assert "stream_lines(y0, " in text and " & (address(y0) & 63 == 0)" in text and "stream(" not in text
    # the choice stands outside the loop, so that no pointer may be either of two
    rounds = text[text.index("        if b0:") :]
    past, through = rounds.split("        else:")
    assert "w0 = offset(t1, 0 - r2)" in past and "if " not in past[len("        if b0:") :]
    assert "w0 = offset(y0, o0)" in through and "stream_lines" not in through
    text = source_of(("rows", 510))
    assert "stream(y0, " in text and "stream_lines(" not in text and "& 63" not in text
    x = graphc.placeholder("x", ("rows", 512))
    program = graphc.compile([x], graphc.softmax(x))
    program(np.ones((129, 512), np.float32))
    (bound,) = program._executable._bound.values()
    assert [value.ctypes.data % 64 for _, value in bound.outputs] == [0]


def source_of(shape):
    x = graphc.placeholder("x", shape)
    (kernel,) = graphc.compile([x], graphc.softmax(x)).source.kernels
    return emit(kernel).text
