"""Memory plans of known programs, to the byte, and plans of random lives: no two buffers overlap, none wastes much."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import graphc
from graphc import nn, optim
from graphc.schedule import memory
from graphc.schedule.memory import ALIGNMENT, Block, block_bytes, plan


def ran(fetches, feeds, **options):
    """The report of a program after one run on one thread."""
    with graphc.Session(threads=1, **options) as session:
        session.run(fetches, feeds)
        return session.programs[-1].memory


def ones(*shape):
    return np.ones(shape, np.float32)


def test_no_program_without_a_run():
    x = graphc.placeholder("x", (4,))
    assert graphc.compile([x], x + 1).memory is None


def test_sorting_a_sum():
    # a = x + y (16 floats: 64 bytes) is stored for sort, which writes values (64) and their order (16 int64: 128).
    # Only the values are fetched, but a row routine stores all that it makes. All three live while it runs.
    x, y = graphc.placeholder("x", (16,)), graphc.placeholder("y", (16,))
    report = ran(graphc.sort(x + y), {x: ones(16), y: ones(16)})
    assert report.peak == report.lower_bound == 64 + 64 + 128
    assert (report.outputs, report.feed_copies, report.step_bytes) == (64, 0, 256 + 64)


def test_an_elementwise_result_takes_the_place_of_its_dying_input():
    # sort makes values (64 * 32 * 4 bytes) and their order (twice that); tanh of the values, stored for the next sort,
    # is written over them; the second sort has both and its own two results: 4 * 8192 bytes in all.
    x = graphc.placeholder("x", ("n", 32))
    y = graphc.sort(graphc.tanh(graphc.sort(x)))
    report = ran(y, {x: ones(64, 32)})
    shared = [block for block in report.blocks if len(block.tensors) > 1]
    assert [[tensor.node.op.name for tensor in block.tensors] for block in shared] == [["sort_rows", "tanh"]]
    assert report.peak - report.scratch == report.lower_bound - report.scratch == 4 * 64 * 32 * 4
    assert all(len(block.tensors) == 1 for block in ran(y, {x: ones(64, 32)}, reuse_memory=False).blocks[1:])


def test_a_row_that_is_read_again_is_not_overwritten():
    # The kernel that makes tanh(a + a @ w) reads whole rows of a for each element: a stays beside the result.
    x = graphc.placeholder("x", ("n", 32))
    w = graphc.variable(np.eye(32, dtype=np.float32))
    a = x @ w
    report = ran(graphc.sort(graphc.tanh(a + a @ w)), {x: ones(64, 32)})
    assert all(len(block.tensors) <= 1 for block in report.blocks)


def network(batch, widths, activation):
    x = graphc.placeholder("x", ("batch", widths[0]))
    y = graphc.placeholder("y", ("batch",), "int64")
    h = x
    generator = np.random.default_rng(0)
    for place, (size, units) in enumerate(pairwise(widths)):
        w = graphc.variable(generator.normal(size=(size, units)).astype(np.float32))
        h = h @ w + graphc.variable(np.zeros(units, np.float32))
        h = activation(h) if place < len(widths) - 2 else h
    loss = nn.softmax_cross_entropy(h, y).mean()
    feeds = {x: ones(batch, widths[0]), y: np.zeros(batch, np.int64)}
    return ran([loss, optim.Adam(1e-3).minimize(loss)], feeds)


@pytest.mark.parametrize(
    ("batch", "widths", "activation"),
    [(32, [2, 16, 16, 2], graphc.tanh), (64, [784, 256, 128, 10], nn.relu), (512, [784, 1024, 1024, 10], nn.relu)],
)
def test_plans_of_training_steps_come_near_the_lower_bound(batch, widths, activation):
    report = network(batch, widths, activation)
    assert report.lower_bound <= report.peak <= 1.1 * report.lower_bound
    # Each hidden layer's result is kept and nothing else: both its own derivative and that of the next product read it.
    assert report.kept_bytes == sum(batch * units * 4 for units in widths[1:-1]) < report.peak
    weights = sum((size + 1) * units * 4 for size, units in pairwise(widths))
    assert report.variables == weights
    assert report.state == 2 * weights + 8  # Adam's two moments, and its count of steps


def lives(generator, count):
    blocks = []
    for _ in range(count):
        first = int(generator.integers(0, count))
        size = int(block_bytes(int(generator.integers(1, 2000))))
        blocks.append(Block(size, first, first + int(generator.geometric(0.2)) - 1))
    return sorted(blocks, key=lambda block: block.first)


@pytest.mark.parametrize("seed", range(20))
def test_buffers_that_live_at_one_time_do_not_overlap(seed):
    blocks = lives(np.random.default_rng(seed), 60)
    for offsets in (memory._first_come(blocks), memory._largest_first(blocks), memory._offsets(blocks, True)):
        for k, (block, offset) in enumerate(zip(blocks, offsets, strict=True)):
            assert offset >= 0 and offset % ALIGNMENT == 0
            for other, place in zip(blocks[:k], offsets[:k], strict=True):
                together = other.first <= block.last and block.first <= other.last
                assert not together or place + other.bytes <= offset or offset + block.bytes <= place
    peak = max(block.bytes + offset for block, offset in zip(blocks, offsets, strict=True))
    assert memory._lower_bound(blocks) <= peak <= 1.25 * memory._lower_bound(blocks)


def test_without_reuse_every_buffer_has_bytes_of_its_own():
    x = graphc.placeholder("x", (8, 8))
    report = ran(graphc.sort(graphc.sort(x, axis=0), axis=1), {x: ones(8, 8)}, reuse_memory=False)
    assert report.peak == sum(block.bytes for block in report.blocks)
    planned = plan(report.schedule, {}, {}, 1)
    assert planned.peak <= report.peak
