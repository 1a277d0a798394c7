"""Take the pictures that the gallery's scripts save into the gallery.

The scripts save what they draw with ``figure.savefig``, as a reader's own would. Sphinx-Gallery
looks for open pyplot figures only, and would leave the files beside the scripts.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

Settings = dict[str, Any]


def saved_pictures(_block: object, variables: Settings, settings: Settings) -> str:
    """Move the PNG files beside a script to its page.

    Parameters
    ----------
    _block : tuple
        The block of code that has just run.
    variables : dict
        ``src_file``, the script, and ``image_path_iterator``, names for the pictures.
    settings : dict
        Those of Sphinx-Gallery.

    Returns
    -------
    str
        The pictures as reStructuredText.
    """
    moved = []
    for picture in sorted(Path(variables["src_file"]).parent.glob("*.png")):
        name = next(variables["image_path_iterator"])
        shutil.move(picture, name)
        moved.append(name)
    shown: str = figure_rst(moved, settings["src_dir"])
    return shown


def _get_sg_image_scraper() -> Callable[[object, Settings, Settings], str]:
    """Say to Sphinx-Gallery which function it is."""
    return saved_pictures
