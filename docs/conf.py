"""How Sphinx makes the documents: python -m sphinx -W -n docs dist/docs."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "bootstrap")]

from cncp import __version__  # noqa: E402  # found where the line above says

project = "cncp"
author = "the authors of cncp"
version = release = __version__
extensions = ["sphinx.ext.autodoc", "tables"]
exclude_patterns = ["_build"]
highlight_language = "none"
# What is named and does not exist is an error.
nitpicky = True
# Types of Python and of libraries, whose documents are elsewhere.
nitpick_ignore_regex = [("py:.*", ".*")]
smartquotes = False

html_theme = "furo"
html_title = f"cncp {version}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

# The reference is the man page.
man_pages = [("reference/index", "cncp", "IPython Parallel clusters on anything you can log in to", "", 1)]
