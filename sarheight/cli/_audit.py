"""``sarheight audit``: what can be told of a terrain-flattened image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._files import PICTURE, require_apart, require_writable
from sarheight.cli._session import FAILED, session
from sarheight.errors import OptionError
from sarheight.workflow.config import DemConfig, ImageConfig, Running
from sarheight.workflow.elevations import open_elevations
from sarheight.workflow.images import ImageSource
from sarheight.workflow.options import Configuration, argument, option
from sarheight.workflow.words import (
    OUTPUT,
    RADAR,
    DemFilesOrAuto,
    MostMemory,
    Overwrite,
    require_memory,
)

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.archives import Audit

CELL_BYTES = 160.0
"""Bytes that an audit takes for each cell of the product; 142 were measured."""


@dataclass(frozen=True, kw_only=True)
class AuditConfig(DemConfig):
    """A terrain-flattened product, and what it is compared with.

    Attributes
    ----------
    product : str
        A product of OPERA, HyP3 or the Planetary Computer: file, folder, zip, or STAC item. Or a
        result of `reconstruct`.
    dem : tuple of str
        Elevation model: any raster that GDAL reads, repeated for each tile; or `auto`, to fetch
        Copernicus GLO-30.
    orbit : str, optional
        Orbit file, or `auto` to fetch the best. Default: the orbit in the product, else the best.
    memory : str, optional
        Memory limit: what would take more is refused before it begins. Default: none.
    """

    product: Annotated[str, argument("PRODUCT", location=True)]
    dem: DemFilesOrAuto
    orbit: Annotated[str | None, option(RADAR, metavar="auto|FILE", location=True)] = None
    memory: MostMemory = None


@dataclass(frozen=True, kw_only=True)
class AuditOutput(Configuration):
    """Files that an audit writes.

    Attributes
    ----------
    quicklook : pathlib.Path, optional
        Also draw a picture: the image, predicted incidence, mask, and brightness by incidence.
    json : pathlib.Path, optional
        Also save the figures as JSON.
    overwrite : bool
        Replace existing files.
    """

    quicklook: Annotated[Path | None, option(OUTPUT, metavar="FILE.png")] = None
    json: Annotated[Path | None, option(OUTPUT, metavar="FILE.json")] = None
    overwrite: Overwrite = False


def audit(settings: AuditConfig, output: AuditOutput, running: Running) -> None:
    r"""Examine a terrain-flattened image against an elevation model and an orbit.

    Tells how far the image is displaced, how much of its brightness terrain still explains, the
    largest steps along range and track, as at seams of swaths and bursts, whether its mask agrees
    with the predicted one, and whether no-data is written as 0. The exit code is 1 if something
    is not as it should be.

    ```
    sarheight audit OPERA_L2_RTC-S1_….h5 --dem glo30.tif --vertical EGM2008 --quicklook audit.png
    ```
    """
    settings.require_files()
    inputs = list(settings.files().values())
    for path, name, suffix in (
        (output.quicklook, "quicklook", PICTURE),
        (output.json, "json", ".json"),
    ):
        require_apart(path, name, inputs)
        require_writable(path, name, overwrite=output.overwrite, suffixes=(suffix,))
    require_apart(output.quicklook, "quicklook", [output.json])
    with session("audit", running, {"read": 1, "compare": 9}) as current:
        current.stage("read")
        from sarheight import archives

        image = ImageConfig(orbit=settings.orbit)
        product = None if archives.is_rtc(settings.product) else _result(settings.product)
        if product is None:
            source = ImageSource.of(settings.product, image, current)
            product = source.flattened
        else:
            source = ImageSource(settings.product, image, current)
        if product is None:
            msg = (
                f"'{settings.product}' is no terrain-flattened product of OPERA, HyP3 or the "
                "Planetary Computer whose files keep their names, and no result of `reconstruct`"
            )
            raise OptionError(msg, option="product")
        heights, _ = open_elevations(settings, source, current)
        require_memory(
            settings.memory,
            CELL_BYTES * product.sizes["y"] * product.sizes["x"] + 2.0 * heights.nbytes,
            "an audit",
            "examine a part of the product",
        )
        current.stage("compare")
        current.compile_kernels()
        found = archives.audit(product, heights, source.flattened_orbit())
        _save(found, output)
    for line in _table(found):
        typer.echo(line)
    if not found.passed:
        raise typer.Exit(FAILED)


def _result(path: str) -> xr.Dataset | None:
    """Open a result of `reconstruct`; None if it is none."""
    from sarheight.output import open_result

    try:
        result = open_result(path)
    except (ValueError, OSError):
        return None
    return result if "gamma0" in result else None


def _save(found: Audit, output: AuditOutput) -> None:
    """Write picture and figures."""
    from sarheight import plot
    from sarheight.output import save_png
    from sarheight.output.atomic import atomic_write

    if output.quicklook is not None:
        save_png(plot.audit(found), output.quicklook, overwrite=output.overwrite)
    if output.json is not None:
        with atomic_write(output.json, overwrite=output.overwrite, suffixes=(".json",)) as work:
            work.write_text(found.to_json() + "\n", "utf-8")


def _table(found: Audit) -> list[str]:
    """Write the checks as lines of text."""
    verdicts = {True: "ok", False: "NOT OK", None: ""}
    width = max(len(check.name) for check in found.checks)
    lines = [f"{found.name} ({found.archive})"]
    for check in found.checks:
        unit = "" if check.unit == "1" else f" {check.unit}"
        value = "unknown" if check.value != check.value else f"{check.value:.2f}{unit}"
        lines.append(
            f"{check.name:<{width}}  {value:>12}  {verdicts[check.passed]:<6}  {check.note}"
        )
    return lines
