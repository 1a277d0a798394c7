"""Fill figures of the benchmarks in when pages are made: the role ``figure``.

``{figure}`core.round_trip_error .0f µm``` is the figure with that key in
``benchmarks/results/figures.json``, as :func:`benchmarks._figures.show` writes it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxRole

from benchmarks import _figures

if TYPE_CHECKING:
    from sphinx.application import Sphinx


@cache
def _record() -> dict[str, _figures.Figure]:
    return _figures.read()


class FigureRole(SphinxRole):
    """The role ``figure``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Put the figure's text in place of the role."""
        self.env.note_dependency(str(_figures.FIGURES))
        try:
            return [nodes.Text(_figures.show(self.text, _record()))], []
        except ValueError as error:
            message = self.inliner.reporter.error(str(error), line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the role."""
    app.add_role("figure", FigureRole())
    return {"parallel_read_safe": True}
