"""Sphinx's settings. `make docs` builds, and a warning is an error."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

import sarheight_kernels
from numba.core.dispatcher import Dispatcher

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path[:0] = [str(Path(__file__).parent / "_extensions"), str(Path(__file__).parents[1])]

project = "sarheight"
author = "the sarheight developers"
copyright = author
version = release = installed_version("sarheight")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
    "figures",
    "repository_links",
]
exclude_patterns = ["_build", "gallery/**.ipynb", "gallery/**.py"]
templates_path = ["_templates"]
default_role = "py:obj"
html_theme = "furo"
html_title = f"sarheight {release}"

myst_enable_extensions = ["alert", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Notebooks are kept without outputs, and run in a folder of their own when pages are made.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
# A room lists what its `__all__` offers, wherever that is defined.
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints = "none"
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("saved_pictures",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
}


def show_kernels_as_functions(*_: object) -> None:
    """Put the Python functions in place of the compiled ones, which autodoc takes for data.

    This runs after the gallery, which needs the compiled ones.
    """
    for found in pkgutil.iter_modules(sarheight_kernels.__path__, "sarheight_kernels."):
        module = importlib.import_module(found.name)
        for name, member in list(vars(module).items()):
            if isinstance(member, Dispatcher):
                setattr(module, name, member.py_func)


def setup(app: Sphinx) -> None:
    """Connect what is defined here."""
    app.connect("env-before-read-docs", show_kernels_as_functions)
