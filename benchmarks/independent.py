"""How good is reconstruction in a world that it did not make? A locked test on eleven places.

Images are those of the independent point-scatterer simulator (`tests.worlds`), which shares
nothing with the reconstruction. The rule was written down before any method was chosen:

- Methods and their parameters, those of baselines too, are chosen on the places for development,
  with any seeds. Nothing that chooses opens the others.
- The seven scored places count, with seeds 0, 1 and 2. They are scored when the method stands.
- Two fresh places were picked by a rule that was committed before any of their scores was seen, and
  are scored once: of the scored ones, figures of earlier versions of the method were known.
- Each place is one crop, picked by the layover of its DEM alone (`benchmarks._independent.places`).
- Which cells count is said in `benchmarks._independent.scores`, and depends on no method that is
  compared; what the figures mean in `benchmarks._independent.report`.
- The best baseline is chosen where it is scored, area by area: it has that advantage over ours.

Images are kept in the folder `--cache`, and made where they are missing. Scores are kept in the
folder `--scores`, and the same command goes on where it stopped; another version of a method needs
another folder.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich.console import Console
from rich.markdown import Markdown

from benchmarks._command import options, tell
from benchmarks._figures import RESULTS
from benchmarks._files import whole
from benchmarks._independent.intervals import coverage_by_variant
from benchmarks._independent.methods import METHODS
from benchmarks._independent.observations import (
    FORMS,
    INCIDENCES,
    LAWS,
    Archive,
    Form,
    Image,
    Laws,
    Observed,
    images,
)
from benchmarks._independent.pictures import SHOWN, save_picture
from benchmarks._independent.places import PLACES, Group, places_of
from benchmarks._independent.report import (
    Found,
    Key,
    archive_figures,
    figures_of,
    height_figures,
    markdown,
)
from benchmarks._independent.scores import Score, areas_of, response, score

if TYPE_CHECKING:
    import argparse

    from benchmarks._independent.methods import Estimate

__all__ = ["main", "scores_of"]

SEEDS = 3
DEFAULT_CACHE = "sarheight-independent"
"""Folder of the images within that for temporary files."""

GROUPS = {name: [each.name for each in places_of(name)] for name in get_args(Group)}
"""Names of places by their group."""

Ground = tuple[str, Laws, int, int]
"""Place, laws, seed and incidence: what a process works on at a time."""


def scores_of(
    archive: Archive,
    ground: Ground,
    names: Iterable[str],
    forms: Iterable[Form] = ("coarser",),
    *,
    targets: bool = True,
) -> dict[Key, Score]:
    """Score methods on both passes over a ground, with some forms of the DEM.

    With `targets` the response to bright squares is measured, too, with the coarser DEM.
    """
    found: dict[Key, Score] = {}
    pair = list(images([ground[0]], [ground[1]], [ground[2]], [ground[3]]))
    for form in forms:
        passes = [archive.observed(image, form) for image in pair]
        # The area in which two passes are compared needs both.
        areas = areas_of(passes)
        squares = targets and form == "coarser"
        bright = [archive.observed(i.with_targets(), form) for i in pair] if squares else []
        for name in names:
            if form not in METHODS[name].forms:
                continue
            estimates = _run(name, passes)
            scores = score(estimates, passes, areas)
            if squares and METHODS[name].squares:
                gained = response(_run(name, bright), estimates, passes, areas)
                for one, gain in zip(scores, gained, strict=True):
                    one.add(gain)
            for one, observed in zip(scores, passes, strict=True):
                found[_key(name, observed)] = one
    return found


def _run(name: str, passes: Sequence[Observed]) -> list[Estimate]:
    """Run a method on two passes, together or one by one."""
    method = METHODS[name]
    if method.passes == 2:
        return method.run(passes)
    return [method.run([observed])[0] for observed in passes]


def _key(name: str, observed: Observed) -> Key:
    image: Image = observed.image
    return Key(
        name,
        image.place,
        image.laws,
        observed.form,
        image.incidence,
        image.ascending,
        image.seed,
    )


@dataclass(frozen=True)
class Work:
    """What all processes are told."""

    cache: Path  # Folder of the images
    data: str | None  # Folder with the real data
    names: Sequence[str]  # Methods
    forms: Sequence[Form]  # DEMs
    kept: Path | None  # Folder of scores that are there already

    def __call__(self, ground: Ground) -> dict[Key, Score]:
        """Score methods on a ground, in a process of its own."""
        archive = Archive(self.cache, self.data)
        found: dict[Key, Score] = {}
        for form in self.forms:
            # One law for the whole scene is reported with the coarser DEM only.
            if form == "coarser" or ground[1] == "several":
                names = [name for name in self.names if form in METHODS[name].forms]
                files = {name: self._file(ground, form, name) for name in names}
                there = {name: file for name, file in files.items() if file and file.exists()}
                for file in there.values():
                    found |= _read(file)
                missing = [name for name in names if name not in there]
                if missing:
                    scores = scores_of(archive, ground, missing, [form])
                    found |= scores
                    self._keep(files, scores)
        return found

    def _file(self, ground: Ground, form: Form, name: str) -> Path | None:
        """File of the scores of a method."""
        parts = "_".join(map(str, (*ground, form, name)))
        return None if self.kept is None else self.kept / f"{parts}.json"

    def _keep(self, files: Mapping[str, Path | None], scores: Mapping[Key, Score]) -> None:
        """Write scores, method by method."""
        for name, file in files.items():
            if file is not None:
                mine = [[asdict(k), s.to_json()] for k, s in scores.items() if k.method == name]
                if mine:
                    with whole(file) as part:
                        part.write_text(json.dumps(mine), "utf-8")


def _read(file: Path) -> dict[Key, Score]:
    """Read scores that were kept."""
    stored = json.loads(file.read_text("utf-8"))
    return {Key(**key): Score.of_json(score_) for key, score_ in stored}


def _parser() -> argparse.ArgumentParser:
    """List the options."""
    parser = options("independent", __doc__)
    parser.add_argument(
        "--places", default="scored", help="development, scored, fresh, or names joined by commas"
    )
    parser.add_argument("--cache", type=Path, help="folder of the images")
    parser.add_argument("--scores", type=Path, help="folder in which scores are kept")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many, from 0")
    parser.add_argument("--methods", help="names joined by commas; all by default")
    parser.add_argument("--forms", default=",".join(FORMS), help="DEMs, joined by commas")
    parser.add_argument("--laws", default=",".join(LAWS), help="joined by commas")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "--heights",
        action="store_true",
        help="score reconstruction on refined heights, with the coarser DEM",
    )
    parser.add_argument(
        "--from-rtc",
        action="store_true",
        help="score reconstruction by way of archives' products",
    )
    parser.add_argument(
        "--variants",
        action="store_true",
        help="count what intervals hold on other ground, at the places for development",
    )
    parser.add_argument("--simulate", action="store_true", help="make the images, score nothing")
    return parser


def _names(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> list[str]:
    """Return the methods to score; refined heights and products fix law and DEM as well."""
    roles = {name: method.role for name, method in METHODS.items()}
    if chosen.heights:
        chosen.laws, chosen.forms = "several", "coarser"
        compared = [name for name in roles if roles[name] in {"baseline", "heights"}]
        return [*compared, "posterior"]
    if chosen.from_rtc:
        chosen.laws, chosen.forms = "several", "coarser"
        by_way = {"product", "archive"}
        return ["posterior", *(name for name in roles if roles[name] in by_way)]
    special = {"heights", "product", "archive"}
    usual = [name for name in roles if roles[name] not in special]
    names = chosen.methods.split(",") if chosen.methods else usual
    if unknown := set(names) - set(METHODS):
        parser.error(
            f"found {', '.join(sorted(unknown))}, expected methods of {', '.join(METHODS)}"
        )
    return names


def _places(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> list[str]:
    """Return the places of a group, or those that are named."""
    if chosen.places in GROUPS:
        return GROUPS[chosen.places]
    places: list[str] = chosen.places.split(",")
    if unknown := set(places) - set(PLACES):
        parser.error(f"found {', '.join(sorted(unknown))}, expected places of {', '.join(PLACES)}")
    return places


def _report(found: Found, chosen: argparse.Namespace, places: list[str]) -> None:
    """Print tables and figures; put on record what was asked for."""
    text = markdown(found)
    Console().print(Markdown(text))
    asked = {"heights": height_figures, "from_rtc": archive_figures}
    name = next((name for name in asked if getattr(chosen, name)), None)
    group = next((name for name, each in GROUPS.items() if each == places), "part")
    if name is not None:
        save = chosen.save and group == "scored"
        tell(asked[name](found), f"independent --{name.replace('_', '-')}", save=save)
        if save:
            (RESULTS / f"independent_{name}.md").write_text(text, "utf-8")
        return
    prefix = "independent" if group == "scored" else f"independent_{group}"
    tell(figures_of(found, prefix), f"independent --places {chosen.places}", save=chosen.save)
    if chosen.save:
        (RESULTS / f"{prefix}.md").write_text(text, "utf-8")
        # The place of the test with a typical share of layover, near range.
        shown = "arco" if "arco" in places else places[0]
        pass_ = Image(shown, "several", 0, INCIDENCES[0], ascending=True)
        observed = Archive(_cache(chosen), chosen.data).observed(pass_)
        drawn = [name for name in SHOWN if name in found.values("method")]
        save_picture(observed, drawn, RESULTS / "pictures" / f"{prefix}_{shown}.png")


def _cache(chosen: argparse.Namespace) -> Path:
    """Return the folder of the images."""
    return chosen.cache or Path(tempfile.gettempdir()) / DEFAULT_CACHE


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    places, names = _places(parser, chosen), _names(parser, chosen)
    laws, forms, seeds = chosen.laws.split(","), chosen.forms.split(","), range(chosen.seeds)
    if chosen.simulate:
        archive = Archive(_cache(chosen), chosen.data)
        for image in images(places, laws, seeds):
            for each in (image, image.with_targets()):
                if archive.make(each):
                    print(each.name, flush=True)
        return
    if chosen.variants:
        archive = Archive(_cache(chosen), chosen.data)
        figures = coverage_by_variant(archive, GROUPS["development"])
        tell(figures, "independent --variants", save=chosen.save)
        return
    work = Work(_cache(chosen), chosen.data, names, forms, chosen.scores)
    grounds = list(product(places, laws, seeds, INCIDENCES))
    found = Found()
    with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
        for ground, scores in zip(grounds, pool.map(work, grounds), strict=True):
            found.scores.update(scores)
            print(f"{' '.join(map(str, ground))}: done", flush=True)
    _report(found, chosen, places)


if __name__ == "__main__":
    main()
