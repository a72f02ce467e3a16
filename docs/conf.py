"""Sphinx: `make docs`."""

project = "qlib-crypto"
author = "The qlib-crypto founders"
copyright = "2026, the qlib-crypto founders"  # noqa: A001

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "qlib-crypto"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False
nitpicky = False
