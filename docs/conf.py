"""Settings of the documentation: `sphinx-build -W docs docs/_build/html`.

Without the examples being run, as CI and Read the Docs do it: add `-D plot_gallery=0`; pages of
examples then show the pictures kept in docs/pictures. With a network, ESIJAX_DOCS_NETWORK=1 links
names of other projects and lets `-b linkcheck` check external addresses.
"""

import os
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("ESIJAX_DATA", str(HERE.parent.parent / "shared" / "data"))

import _pictures  # noqa: E402
import _reference  # noqa: E402

import esijax  # noqa: E402

NETWORK = os.environ.get("ESIJAX_DOCS_NETWORK", "0") not in ("", "0")

project = "esijax"
author = "The esijax developers"
copyright = author
release = version = esijax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    *(["sphinx.ext.intersphinx"] if NETWORK else []),
]
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "jax": ("https://docs.jax.dev/en/latest", None),
    "numpyro": ("https://num.pyro.ai/en/stable", None),
    "mne": ("https://mne.tools/stable", None),
    "arviz": ("https://python.arviz.org/en/stable", None),
    "matplotlib": ("https://matplotlib.org/stable", None),
}
exclude_patterns = ["_build", "_templates", "pictures/README.md", "**/*.ipynb", "**/*.json"]
templates_path = ["_templates"]
default_role = "obj"
nitpicky = False

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say them, with shapes and units
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "esijax"
html_static_path = ["_static"]
html_css_files = ["esijax.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "back_to_top_button": False,
}
html_sidebars = {page.stem: [] for page in HERE.glob("*.md")} | {"auto_examples/index": []}
linkcheck_anchors = False
linkcheck_ignore = [r"https://doi\.org/.*"]  # publishers turn robots away

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("esijax",),
    "backreferences_dir": "api/backreferences",
    "reference_url": {"esijax": None},
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "image_scrapers": ("matplotlib",),
}
warnings.filterwarnings("ignore", category=DeprecationWarning)


def setup(app):
    """Write the pages that are made from the package, and place the pictures that are kept."""
    _reference.write(HERE / "api")
    app.connect("builder-inited", _pictures.keep_thumbnails, priority=100)
    app.connect("source-read", _pictures.show_kept)
