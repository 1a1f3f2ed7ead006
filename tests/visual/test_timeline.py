"""Pictures that are no graphs: timelines of workers, memory over time."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import graphc
from graphc.errors import GraphcError
from graphc.runtime.timing import Event
from graphc.visual import draw_memory, draw_timeline
from graphc.visual.svg import clean, ticks

SIZE = 4096


@pytest.fixture(scope="module")
def profiled():
    """A profile of two workers, and the memory of the program."""
    x = graphc.placeholder("x", ("rows", 64))
    w = graphc.variable(np.ones((64, 64), "float32"), name="<w>&")
    loss = graphc.tanh(graphc.sort(x @ w, axis=1)).sum()
    step = graphc.assign(w, w - 0.1 * graphc.gradients(loss, w))
    with graphc.Session(threads=2) as session:
        _, profile = session.run([loss, step], {x: np.ones((SIZE, 64), "float32")}, profile=True)
        return profile, session.programs[0].memory


def elements(svg, tag):
    return [element for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}" + tag)]


def test_a_timeline_has_a_row_a_worker_and_a_box_a_call(profiled):
    profile, _ = profiled
    svg = draw_timeline(profile).svg()
    texts = [element.text for element in elements(svg, "text")]
    assert {"worker 0", "worker 1", "microseconds"} <= set(texts)
    boxes = [element for element in elements(svg, "rect") if len(element)]
    assert len(boxes) == len(profile.worker_events) > len(profile.kernels)
    assert {event.worker for event in profile.worker_events} == {0, 1}
    heights = {float(box.get("y")) for box in boxes}
    assert len(heights) == 2, "a row for each worker"
    for box, event in zip(boxes, profile.worker_events, strict=True):
        title = box[0].text
        assert profile.kernels[event.number].name in title and f"on worker {event.worker}" in title
    for kernel in profile.kernels:
        assert any(kernel.name[:30] in text for text in texts), "every kernel is listed"


def test_calls_of_one_worker_do_not_overlap(profiled):
    profile, _ = profiled
    for worker in (0, 1):
        calls = [event for event in profile.worker_events if event.worker == worker]
        assert all(one.end <= next.begin for one, next in pairwise(calls))
        for number, kernel in enumerate(profile.kernels):
            if kernel.workers == 2:
                spent = sum(event.end - event.begin for event in calls if event.number == number) / 1e3
                assert spent >= kernel.busy_us[worker]


@pytest.mark.parametrize("theme", ["light", "dark", "print", "auto"])
def test_themes(profiled, theme):
    profile, memory = profiled
    for drawing in (draw_timeline(profile, theme=theme), draw_memory(memory, theme=theme)):
        ElementTree.fromstring(drawing.svg())
        assert ("prefers-color-scheme" in drawing.svg()) == (theme == "auto")


def test_long_timelines_are_cut_and_say_so(profiled):
    profile, _ = profiled
    many = tuple(Event(0, 10 * k, 10 * k + 5, k % 2) for k in range(5000))
    svg = draw_timeline(replace(profile, worker_events=many)).svg()
    assert len([element for element in elements(svg, "rect") if len(element)]) == 4000
    assert "the first 4,000 calls" in svg


def test_memory_over_time(profiled):
    _, memory = profiled
    svg = draw_memory(memory).svg()
    boxes = [element for element in elements(svg, "rect") if len(element)]
    assert len(boxes) == len(memory.blocks)
    texts = [element.text for element in elements(svg, "text")]
    assert {"peak", "lower bound", "forward values", "gradients"} <= set(texts)
    areas = [(float(b.get("x")), float(b.get("y")), float(b.get("width")), float(b.get("height"))) for b in boxes]
    for place, (x, y, width, height) in enumerate(areas):
        for left, top, across, down in areas[:place]:
            apart = x + width <= left + 0.02 or left + across <= x + 0.02
            assert apart or y + height <= top + 0.02 or top + down <= y + 0.02, "no two buffers overlap"


def test_names_are_escaped(profiled):
    profile, memory = profiled
    name, lines = "</text><script>x</script>", ("a\n<b>&'\"",)
    kernels = tuple(replace(kernel, name=name, lines=lines) for kernel in profile.kernels)
    svg = draw_timeline(replace(profile, kernels=kernels)).svg()
    assert not elements(svg, "script") and "&lt;script&gt;" in svg
    assert clean("<a>\n\x00&\ud800") == "&lt;a&gt;\n &amp; "
    ElementTree.fromstring(draw_memory(memory).svg())


def test_wrong_arguments(profiled, tmp_path):
    profile, memory = profiled
    for wrong, message in (
        (
            lambda: draw_timeline("fast"),
            "draw_timeline: expected a profile of session.run(..., profile=True), got 'fast'",
        ),
        (
            lambda: draw_timeline(replace(profile, worker_events=())),
            "draw_timeline: the profile holds no calls: the step ran no kernel",
        ),
        (
            lambda: draw_memory(None),
            "draw_memory: expected a memory plan or report, got None\n"
            "  hint: program.memory is one once the program has run",
        ),
        (
            lambda: draw_memory(memory, theme="plaid"),
            "draw: expected a theme among light, dark, print, auto, got 'plaid'",
        ),
        (
            lambda: draw_timeline(profile).save(tmp_path / "x.png"),
            f"save: this picture is made as SVG: expected a file ending in .svg, got {str(tmp_path / 'x.png')!r}",
        ),
    ):
        with pytest.raises(GraphcError) as error:
            wrong()
        assert str(error.value) == message
    assert draw_timeline(profile).save(tmp_path / "new" / "x.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("largest", "most", "expected"),
    [
        (10, 10, [0, 2, 4, 6, 8, 10]),
        (3289, 10, [0, 500, 1000, 1500, 2000, 2500, 3000]),
        (0.5, 3, [0, 0.2, 0.4]),
        (0, 5, [0]),
    ],
)
def test_ticks_are_round(largest, most, expected):
    assert ticks(largest, most) == pytest.approx(expected)
