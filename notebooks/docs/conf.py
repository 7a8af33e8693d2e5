"""Sphinx's settings. `make docs` gathers the pages with gather.py, and builds them with this."""

from typing import Any

import ecgwb

project = "ecgwb"
author = copyright = "The ecgwb authors"
version = release = ecgwb.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_design",
]
exclude_patterns = ["README.md", "tests/bench/*"]  # parts of these are included in pages
default_role = "py:obj"  # `align` in a docstring
myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks come executed from make paper
nb_ipywidgets_js: dict[str, Any] = {}  # no scripts of other hosts; gather.py leaves a picture of each widget
nb_merge_streams = True
autosummary_generate = False
autodoc_typehints = "none"  # docstrings say it in words
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
toc_object_entries_show_parents = "hide"
suppress_warnings = ["config.cache"]
linkcheck_timeout = 20
linkcheck_anchors = False

html_theme = "pydata_sphinx_theme"
html_title = f"ecgwb {release}"
html_static_path = ["static"]
html_css_files = ["ecgwb.css"]
html_sidebars: dict[str, list[str]] = {
    page: [] for page in ("start", "gallery", "glossary")
}  # they have no pages below
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


def _by_its_last_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """A name in a docstring that stands in another room: `align` in one of the figures' is ``ecgwb.align``."""
    if node.get("refdomain") != "py" or not node.get("reftarget"):
        return None
    domain = env.domains["py"]
    name = node["reftarget"].removeprefix("wb.").removeprefix("ecgwb.")
    known = [full for full, about in domain.objects.items() if about.objtype in ("function", "class", "exception")]
    found = sorted((full for full in known if full.endswith(f".{name}")), key=lambda full: (full.count("."), full))
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, content) if found else None


def setup(app: Any) -> None:
    app.connect("missing-reference", _by_its_last_name)
