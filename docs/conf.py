"""The documentation site: ``sphinx-build -W -n -b html docs docs/_build``.

Everything is made from what is in the repository; nothing is fetched. Three things are not Sphinx's own and stand in
``_ext``: pages of the sources that pages link to, references to names, and the reference of ops from the registry.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE / "_ext")]

import graphc  # noqa: E402 - found by the path above

project = "graphc"
author = "the graphc authors"
copyright = "the graphc authors; MIT license"
version = release = graphc.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "repository",
    "op_reference",
    "api_reference",
]

exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"graphc {release}"
html_static_path = ["_static"]
html_css_files = ["graphc.css"]
html_copy_source = False

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style"), ("Attributes of the node", "params_style")]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc sections say what types are, in words
autodoc_default_options = {"members": True, "show-inheritance": True, "no-value": True}
autodoc_preserve_defaults = True
add_module_names = False
toc_object_entries_show_parents = "hide"
maximum_signature_line_length = 100
