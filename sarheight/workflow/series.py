"""From files of many dates to a stack."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from sarheight._files import noting_unverified, verified
from sarheight.errors import OptionError
from sarheight.workflow.elevations import open_elevations, place_on_grid
from sarheight.workflow.images import ImageSource, fetch_orbit, product_options
from sarheight.workflow.options import AUTO
from sarheight.workflow.words import parse_method

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr

    from sarheight.product import Product
    from sarheight.scene import Scene
    from sarheight.series import Report
    from sarheight.workflow.config import ImageConfig, SeriesConfig
    from sarheight.workflow.images import Reporter


def run_series(config: SeriesConfig, output: Path, reporter: Reporter) -> Report:
    """Make a stack of the dates that a configuration names, or append them to one.

    Parameters
    ----------
    config : SeriesConfig
        All that the stack depends on.
    output : pathlib.Path
        The stack, ``.zarr``.
    reporter : Reporter
        Told of stages and decisions.

    Returns
    -------
    Report
        As of `sarheight.series.build_stack`.

    Raises
    ------
    OptionError
        If there is neither a stack nor an elevation model, or an option is impossible.
    SeriesError
        As `sarheight.series.build_stack` raises it.
    """
    from sarheight.series import build_stack, find_dates

    dates = {each: [str(date) for date in find_dates(each)] for each in config.images}
    images = tuple(date for each, found in dates.items() for date in found or [each])
    # All are opened here only where each of them is needed.
    several = config.verify or config.orbit == AUTO
    products = list(islice(_products(images), None if several else 1))
    if config.verify:
        for product in products:
            product.verify()
    heights = None
    if config.dem:
        source = ImageSource(products[0].name, config, reporter, products[0]) if products else None
        opened, _ = open_elevations(config, source, reporter)
        heights = place_on_grid(opened, config, reporter)
    with verified() if config.verify else noting_unverified():
        return build_stack(
            [_taken_back(each, config, heights, reporter) for each in images],
            heights,
            output,
            method=parse_method(config.method),
            product_options=_options(config, products, reporter),
            coregistration=config.coregister,
            window=config.window,
            tolerance=config.tolerance,
            memory_limit=config.memory,
            strict=config.strict,
            progress=reporter.advance,
        )


def _taken_back(
    image: str | Path, config: SeriesConfig, heights: xr.DataArray | None, reporter: Reporter
) -> str | Path | Scene:
    """Take a terrain-flattened product back to radar geometry; return other images as they are."""
    from sarheight.archives import is_rtc

    if not is_rtc(image):
        return image
    return ImageSource.of(str(image), config, reporter).scene(heights=heights)


def _products(images: Sequence[str | Path]) -> Iterator[Product]:
    """Open the products among images; one that cannot be read is named where dates are opened."""
    from sarheight.archives import is_rtc
    from sarheight.product import is_product, open_product

    for image in images:
        if is_product(image) and not is_rtc(image):
            try:
                yield open_product(image)
            except (ValueError, OSError):
                continue


def _options(
    config: SeriesConfig, products: Sequence[Product], reporter: Reporter
) -> dict[str, Any]:
    """Collect the options with which products are opened."""
    if not products:
        return {"polarisations": config.polarisations}
    options = product_options(config, products[0])
    if options["spacing"] != config.spacing:
        reporter.say(f"averaging the SLC to {options['spacing']:g} m; --spacing sets another value")
    orbit: str | Path | None = config.orbit
    if orbit == AUTO:
        paths = [fetch_orbit(product, reporter) for product in products]
        orbit = next((path.parent for path in reversed(paths) if path is not None), None)
    return options | {
        "bounds": config.bounds,
        "noise_removal": config.noise_removal,
        "orbit": orbit,
    }


def average_dates(
    folder: str,
    dates: Sequence[Path],
    config: ImageConfig,
    heights: Any,  # noqa: ANN401  # DataArray, or CheckedDem
    reporter: Reporter,
) -> Scene:
    """Average the dates of a track in the pixels of the first one: one image of little speckle.

    Parameters
    ----------
    folder : str
        Name of the folder that holds them, for messages.
    dates : sequence of pathlib.Path
        Products or images, see `sarheight.series.find_dates`.
    config : ImageConfig
        How they are read; at most one polarisation.
    heights : DataArray
        Elevation model, dims (y, x), metres above the ellipsoid.
    reporter : Reporter
        Told of progress.

    Returns
    -------
    Scene
        The mean of the part that the elevation model covers.

    Raises
    ------
    OptionError
        If an annotation is given, as each date has its own sampling and orbit.
    SeriesError
        As of `sarheight.series.mean_scene`.
    """
    from sarheight.product import is_product
    from sarheight.scene import multilook
    from sarheight.series import mean_scene

    if config.like:
        msg = f"the dates in '{folder}' have each their own sampling and orbit: omit it"
        raise OptionError(msg, option="like")
    first = next(_products(dates), None)
    options: dict[str, Any] = {}
    if first is not None:
        chosen = product_options(config, first)
        options = {name: chosen[name] for name in ("calibration", "multilook", "spacing")}
    if config.verify:
        for product in _products(dates):
            product.verify()
    noting = verified if config.verify else nullcontext
    with noting(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scene = mean_scene(
            list(dates),
            heights,
            polarisation=next(iter(config.polarisations), None),
            product_options=options,
            progress=lambda date, _: reporter.say(f"average {date}") if date != "done" else None,
        )
    for each in caught:
        reporter.warn(str(each.message))
    if config.multilook is not None and not any(map(is_product, dates)):
        image, grid = multilook(scene.image, scene.grid, *config.multilook)
        scene = replace(scene, image=image, grid=grid)
    used = len(json.loads(scene.image.attrs["dates"]))
    reporter.say(f"{folder}: the mean of {used} dates, {scene.grid.looks:.0f} looks")
    return scene
