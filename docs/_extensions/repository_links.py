"""Let links that hold in the repository lead to what is made of their files.

Pages are read in two places. On the web page of the repository a link to an example opens the
script; in the pages that Sphinx makes, its page in the gallery, with the picture. A link to a
notebook gets another, to download it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

EXAMPLE = re.compile(r"\]\(((?:\.\./)*)\.\./examples/(\w+)\.py\)")
NOTEBOOK = re.compile(r"(\[[^\]]+\]\(([\w-]+\.ipynb)\))")


def _lead_to_pages(app: Sphinx, name: str, source: list[str]) -> None:
    if Path(app.env.doc2path(name)).suffix == ".md":
        text = EXAMPLE.sub(r"](\1gallery/\2.rst)", source[0])
        source[0] = NOTEBOOK.sub(r"\1 ({download}`\2`)", text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Change links when pages are read."""
    app.connect("source-read", _lead_to_pages)
    return {"parallel_read_safe": True}
