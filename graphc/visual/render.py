"""From DOT text to a picture.

Renderers, in order: the ``dot`` program, if there is one on the search path, through the ``graphviz`` package; the
``pygraphviz`` package, whose wheels carry Graphviz; else none, and the DOT text is kept. pygraphviz runs in a process
of its own: Graphviz's library is not safe in threads, writes to the standard error, and may crash on odd graphs.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

from graphc.errors import GraphcError, GraphcWarning
from graphc.ir.origin import stack_level
from graphc.visual.theme import adaptive

FORMATS = ("svg", "png", "pdf", "dot")

SECONDS = 120
"""Longest time that a layout may take."""

SHARPNESS = "144"
"""Dots per inch of PNG files."""

_PYGRAPHVIZ = """
import sys
import pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog="dot"))
"""

_said: set[str] = set()


class RenderError(GraphcError):
    """A picture that could not be made."""


class NoRenderer(RenderError):
    """Graphviz was found in no form."""


def warn_once(message: str) -> None:
    """A GraphcWarning, the first time that this message is given."""
    if message not in _said:
        _said.add(message)
        warnings.warn(message, GraphcWarning, stacklevel=stack_level())


def render(dot: str, format: str) -> bytes:
    """A picture of DOT text.

    Parameters
    ----------
    dot : str
    format : str
        ``"svg"``, ``"png"`` or ``"pdf"``.

    Raises
    ------
    NoRenderer
        If neither ``dot`` nor pygraphviz is installed.
    RenderError
        If Graphviz fails, or takes more than two minutes.
    """
    if format == "png":
        dot = dot.replace("{", f"{{\n  graph [dpi={SHARPNESS}];", 1)
    if shutil.which("dot") and importlib.util.find_spec("graphviz"):
        return _by_program(dot, format)
    if importlib.util.find_spec("pygraphviz") and sys.executable:
        return _by_pygraphviz(dot, format)
    raise NoRenderer("there is no Graphviz to draw with", hint="pip install pygraphviz (its wheel carries Graphviz)")


def _by_program(dot: str, format: str) -> bytes:
    import graphviz

    try:
        return bytes(graphviz.Source(dot).pipe(format=format, quiet=True))
    except (graphviz.CalledProcessError, OSError) as error:
        raise RenderError(f"Graphviz failed: {error}") from None


def _by_pygraphviz(dot: str, format: str) -> bytes:
    command = [sys.executable, "-P", "-c", _PYGRAPHVIZ, format]
    try:
        done = subprocess.run(command, input=dot.encode("utf-8"), capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RenderError(
            f"Graphviz took more than {SECONDS} seconds", hint="draw a smaller part of the graph"
        ) from None
    except OSError as error:
        raise RenderError(f"pygraphviz could not be started: {error}") from None
    if done.returncode or not done.stdout:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise RenderError(f"pygraphviz failed: {last[0]}")
    return done.stdout


class Drawing:
    """A picture, as DOT text that is rendered when asked for.

    Attributes
    ----------
    dot : str
        Source in Graphviz's language.

    Parameters
    ----------
    dot : str
    adapts : bool
        SVG turns dark where its reader's system is.
    """

    def __init__(self, dot: str, *, adapts: bool = False):
        self.dot = dot
        self._adapts = adapts
        self._svg: str | None = None

    def svg(self) -> str:
        """The picture as SVG text.

        Raises
        ------
        RenderError
            If there is no renderer, or it fails.
        """
        if self._svg is None:
            svg = render(self.dot, "svg").decode("utf-8")
            self._svg = adaptive(svg) if self._adapts else svg
        return self._svg

    def save(self, path: str | Path) -> Path:
        """Write the picture to a file.

        Parameters
        ----------
        path : str or Path
            Its ending says the format: ``.svg``, ``.png``, ``.pdf`` or ``.dot``.

        Returns
        -------
        Path
            The file written. Where no renderer is installed, the DOT text is written beside it, with a warning.

        Raises
        ------
        GraphcError
            If the ending is none of these, the file can't be written, or Graphviz fails.
        """
        path = Path(path)
        kind = path.suffix.lower().removeprefix(".")
        if kind not in FORMATS:
            raise GraphcError(f"save: expected a file ending in .{', .'.join(FORMATS)}, got {str(path)!r}")
        try:
            content = self._content(kind)
        except NoRenderer as error:
            path = path.with_suffix(".dot")
            warn_once(f"{error.message}: the DOT text is saved instead; {error.hint}")
            content = self.dot.encode("utf-8")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise GraphcError(f"save: {str(path)!r} can't be written: {error.strerror or error}") from None
        return path

    def _content(self, kind: str) -> bytes:
        if kind == "dot":
            return self.dot.encode("utf-8")
        return self.svg().encode("utf-8") if kind == "svg" else render(self.dot, kind)

    def _repr_svg_(self) -> str | None:
        """What a notebook shows; it falls back on the repr where there is no renderer."""
        try:
            return self.svg()
        except RenderError:
            return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: save it, or show it in a notebook>"
