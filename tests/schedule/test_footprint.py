"""What is kept for the backward pass, and why; and the figures of a report."""

from __future__ import annotations

import numpy as np

import graphc
from graphc import optim
from graphc.ir.printer import format_bytes
from graphc.visual import draw_memory


def report_of(fetches, feeds):
    with graphc.Session(threads=1) as session:
        session.run(fetches, feeds)
        found = session.programs[-1].memory
    assert found is not None
    return found


def ones(*shape):
    return np.ones(shape, np.float32)


def tanh_layer():
    """One hidden layer of 64 units, its activation by tanh; batch 16."""
    x = graphc.placeholder("x", (16, 32))
    w, v = graphc.variable(ones(32, 64), name="w"), graphc.variable(ones(64, 8), name="v")
    h = graphc.tanh(x @ w)
    loss = ((h @ v) ** 2).sum()
    return report_of([loss, optim.SGD(0.1).minimize(loss)], {x: ones(16, 32)}), h


def test_what_tanh_and_its_product_keep():
    report, h = tanh_layer()
    kept = {entry.tensor.node.op.name: entry for entry in report.kept}
    # tanh's own derivative, 1 - h^2, and the gradient of v, h^T g, read h: 16 * 64 floats
    assert kept["tanh"].bytes == 16 * 64 * 4
    assert kept["tanh"].tensor.node.origin == h.node.origin
    reasons = " and ".join(kept["tanh"].reasons)
    assert "gradient of tanh reads its result (test_footprint.py:" in reasons
    assert "gradient of contract reads its input (test_footprint.py:" in reasons
    # the square's derivative, 2 h v, reads the product: 16 * 8 floats
    assert sum(entry.bytes for entry in report.kept) == report.kept_bytes >= 16 * 64 * 4
    assert all(entry.made < entry.read for entry in report.kept)
    assert "contract" not in kept or kept["contract"].tensor.type.size == 16 * 8  # not the product that tanh reads


def test_the_table_names_bytes_lines_and_reasons():
    report, _ = tanh_layer()
    text = str(report)
    assert f"{report.peak:,}" in text and f"{report.lower_bound:,}" in text
    assert "kept for the backward pass" in text and "4,096  tanh: float32[16, 64], from test_footprint.py" in text
    assert "gradient of tanh reads its result" in text
    assert report.variables == (32 * 64 + 64 * 8) * 4


def test_equal_layers_share_a_line():
    x = graphc.placeholder("x", ("n", 32))
    h = x
    for _ in range(5):
        h = graphc.tanh(h @ graphc.variable(ones(32, 32)))
    loss = h.sum()
    report = report_of([loss, optim.SGD(0.1).minimize(loss)], {x: ones(16, 32)})
    text = str(report)
    assert "times tanh: float32[n, 32]" in text and "memory of a step for n = 16" in text
    assert repr(report) == f"<MemoryReport: an arena of {report.peak:,} bytes>"


def test_inference_keeps_nothing():
    x = graphc.placeholder("x", ("n", 32))
    report = report_of(
        graphc.tanh(graphc.tanh(x @ graphc.variable(ones(32, 32))) @ graphc.variable(ones(32, 8))), {x: ones(4, 32)}
    )
    assert report.kept == () and "nothing is kept for a backward pass" in str(report)


def test_a_loop_keeps_its_history():
    x, start = graphc.placeholder("x", (7, 16)), graphc.variable(np.zeros(16, np.float32))
    last, _ = graphc.scan(lambda c, row: (graphc.tanh(c + row), None), start, x)
    report = report_of(graphc.gradients((last * last).sum(), [start]), {x: ones(7, 16)})
    assert any("gradient of scan_loop" in reason for entry in report.kept for reason in entry.reasons)


def test_copies_of_feeds_are_counted():
    x = graphc.placeholder("x", ("n", 32))
    y = (x * 2).sum()
    assert report_of(y, {x: ones(4, 32)}).feed_copies == 0
    assert report_of(y, {x: ones(32, 4).T}).feed_copies == 4 * 32 * 4
    assert report_of(y, {x: [[1.0] * 32]}).feed_copies == 32 * 4
    report = report_of(y, {x: np.ones((4, 32), np.int64).astype(np.float32)[::2]})
    assert report.feed_copies == 2 * 32 * 4 and report.step_bytes == report.peak + 256 + 4


def test_a_report_can_be_drawn():
    report, _ = tanh_layer()
    svg = draw_memory(report).svg()
    kinds = sum(words in svg for words in (">forward values<", ">gradients<", ">parameters<", ">scratch<"))
    assert f"peak {format_bytes(report.peak)}, lower bound" in svg
    assert svg.count("<rect") == 1 + len(report.blocks) + kinds  # the ground, a block each, the legend
