"""Dumps, pictures of schedules and memory plans, and schedules as text."""

import ast
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from graphc import compiler, config, ops
from graphc.errors import GraphcError, GraphcWarning
from graphc.ir import Graph
from graphc.schedule.memory import dims_of, plan
from graphc.schedule.report import format_schedule
from graphc.schedule.schedule import Schedule
from graphc.visual import Dump, draw_memory, draw_schedule, install_from_config, render


def training_step():
    x = ops.placeholder("x", ("batch", 5))
    w = ops.variable(np.ones((5, 4), "float32"), name='<w> & "co"')
    hidden = ops.tanh(x @ w)
    loss = (hidden * hidden).sum()
    (slope,) = ops.gradients(loss, [w])
    return Graph((x,), (loss, ops.assign(w, w - 0.1 * slope)))


def schedule_of(graph) -> Schedule:
    product = graph
    for name, stage in compiler.PIPELINE:
        product = stage(product)
        if name == "schedule":
            return product
    raise AssertionError("no stage makes a schedule")


@pytest.fixture
def observers():
    before = list(compiler.OBSERVERS)
    yield compiler.OBSERVERS
    compiler.OBSERVERS[:] = before


def test_text_of_a_schedule():
    x = ops.placeholder("x", ("batch", 5))
    w = ops.variable(np.ones((5, 4), "float32"), name="w")
    y = ops.tanh(x @ w) * 2 + 1
    text = format_schedule(schedule_of(Graph((x,), (y.sum(axis=1),))))
    assert "sum over r < 5 of x[i, r] * w[r, j]" in text
    assert "tanh(" in text and "* 2.0 + 1.0" in text
    assert "contraction" in text and "reduction" in text
    assert "test_dump.py" in text


def test_shared_parts_of_a_formula_are_named_once():
    x = ops.placeholder("x", ("n",))
    y = ops.exp(x)
    for _ in range(40):
        y = y * y + y
    text = format_schedule(schedule_of(Graph((x,), (y,))))
    assert len(text) < 10_000
    assert text.count("exp(x[i])") == 1


def test_text_of_a_loop():
    xs = ops.placeholder("xs", (7, 3))
    final, ys = ops.scan(lambda carry, x: (carry * 0.5 + x, carry), ops.zeros((3,)), xs)
    schedule = schedule_of(Graph((xs,), (final, ys)))
    assert "loop scan" in format_schedule(schedule)
    assert "loop scan" in draw_schedule(schedule).dot


def test_pictures_of_schedule_and_memory():
    schedule = schedule_of(training_step())
    ElementTree.fromstring(draw_schedule(schedule, title="<title>").svg())
    made = plan(schedule, {"batch": 64}, {}, 2)
    tree = ElementTree.fromstring(draw_memory(made, schedule).svg())
    boxes = [element for element in tree.iter() if element.tag.endswith("}rect") and len(element)]  # those with titles
    assert len(boxes) == len(made.blocks)
    with pytest.raises(GraphcError, match="limit"):
        draw_schedule(schedule, limit=0)
    with pytest.raises(GraphcError, match=r"\.svg"):
        draw_memory(made).save("memory.png")


def test_every_stage_is_dumped(tmp_path, observers):
    observers.append(Dump(tmp_path / "dump"))
    compiler.compile_graph(training_step())
    compiler.compile_graph(training_step())
    assert sorted(path.name for path in (tmp_path / "dump").iterdir()) == ["program_00", "program_01"]
    folder = tmp_path / "dump" / "program_00"
    for number, (name, _) in enumerate([("declare", None), *compiler.PIPELINE]):
        stem = f"{number:02d}_{name}"
        if name == "emit":
            sources = list((folder / stem).glob("kernel_*.py"))
            assert sources
            for path in sources:
                ast.parse(path.read_text())
            assert any("test_dump.py" in path.read_text() for path in sources)
        else:
            assert (folder / f"{stem}.txt").read_text()
            ElementTree.fromstring((folder / f"{stem}.svg").read_text())
    assert "batch = 64" in (folder / "memory.txt").read_text()
    ElementTree.fromstring((folder / "memory.svg").read_text())
    assert (folder / "times.txt").read_text().count(" ms ") == len(compiler.PIPELINE) + 1


def test_large_graphs_are_drawn_folded(tmp_path, observers):
    x = ops.placeholder("x", (3,))
    y = x
    for _ in range(300):
        y = ops.sin(y)
    dump = Dump(tmp_path)
    dump("declare", Graph((x,), (y,)), 0.0)
    assert "301 nodes, drawn as 2" in (tmp_path / "program_00" / "00_declare.svg").read_text()


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path, observers, monkeypatch):
    monkeypatch.setattr(render, "_said", set())
    (tmp_path / "file").write_text("")
    observers.append(Dump(tmp_path / "file" / "dump"))
    with pytest.warns(GraphcWarning, match="no dump is written"):
        compiler.compile_graph(training_step())
    compiler.compile_graph(training_step())  # warnings are errors here


def test_configuration_installs_one_dump(tmp_path, observers):
    before = config.current().dump
    try:
        config.configure(dump=tmp_path / "dump")
        install_from_config()
        install_from_config()
        assert sum(isinstance(observer, Dump) and observer.folder == tmp_path / "dump" for observer in observers) == 1
        config.configure(dump=None)
        count = len(observers)
        install_from_config()
        assert len(observers) == count
    finally:
        config.configure(dump=before)


def test_dims_of_a_graph():
    assert dims_of(training_step()) == ["batch"]
