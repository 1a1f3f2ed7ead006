"""Pictures: graphs, schedules, memory plans; and the dump of every stage of a compilation.

:func:`draw` shows a graph, its gradient and its update. :mod:`graphc.visual.render` turns the DOT text of a picture
into SVG, PNG or PDF; no Graphviz needs to be installed beside the ``pygraphviz`` wheel. Nothing heavy is imported
before something is drawn.
"""

from graphc.visual.dump import Dump, install_from_config
from graphc.visual.graphs import draw, draw_graph
from graphc.visual.memory import draw_memory
from graphc.visual.notebook import install
from graphc.visual.render import Drawing
from graphc.visual.schedules import draw_schedule
from graphc.visual.timeline import draw_timeline

__all__ = [
    "Drawing", "Dump", "draw", "draw_graph", "draw_memory", "draw_schedule", "draw_timeline", "install",
    "install_from_config",
]  # fmt: skip
