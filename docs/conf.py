"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

project = "mpc-router"
copyright = "the authors of mpc-router"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "project_reference"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_ext", "_static", "API.md"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
highlight_language = "none"  # a block without a language is what a program prints
html_theme = "furo"
html_title = "mpc-router"
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
nitpicky = False
