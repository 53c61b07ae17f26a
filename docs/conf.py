"""How the site is built: ``sphinx-build -W --keep-going docs docs/_build/html``.

The pages are Markdown that GitHub shows as well. What the site alone needs stands in comments of
theirs, ``<!-- {toctree} ... -->``, and links to examples lead to the gallery (`for_site.py`).
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

# Before torch is imported: examples are small, and a second thread makes them slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import skensemble

sys.path.insert(0, str(Path(__file__).parent))

from for_site import for_site

torch.set_num_threads(1)

project = "skensemble"
author = "The skensemble developers"
project_copyright = author
version = release = skensemble.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
default_role = "py:obj"

myst_heading_anchors = 4

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's tables say them, in words
numpydoc_show_class_members = False  # the template lists them
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "doc_module": ("skensemble",),
    "backreferences_dir": "api/examples",
    "reset_modules": ("matplotlib",),
    "within_subsection_order": "for_site.story_order",
    "copyfile_regex": r".*\.rst",
    "capture_repr": (),
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "min_reported_time": 0,
}

html_theme = "pydata_sphinx_theme"
html_title = f"skensemble {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
toc_object_entries_show_parents = "hide"
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}


def _read(app: Any, page: str, source: list[str]) -> None:
    if str(app.env.doc2path(page)).endswith(".md"):
        source[0] = for_site(page, source[0])


def _leave_out(app: Any, what: str, name: str, found: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what torch and scikit-learn wrote: they have pages of their own."""
    module = getattr(found, "__module__", None)
    if isinstance(found, property):
        module = getattr(found.fget, "__module__", None)
    return True if module and not module.startswith("skensemble") else None


def _link_bare_name(app: Any, env: Any, node: Any, shown: Any) -> Any:
    """Link a name in single backticks to the one public object of that name, wherever it lives."""
    name = node.get("reftarget", "")
    if node.get("refdomain") != "py" or "." in name:
        return None
    domain = env.get_domain("py")
    pattern = re.compile(rf"skensemble(\.[a-z_]+)?\.{re.escape(name)}")
    found = [one for one in domain.objects if pattern.fullmatch(one)]
    if len(found) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, shown)


def setup(app: Any) -> None:
    """Connect the functions above."""
    app.connect("source-read", _read)
    app.connect("autodoc-skip-member", _leave_out)
    app.connect("missing-reference", _link_bare_name)
