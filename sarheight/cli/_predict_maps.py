"""Maps by networks that need no elevation model: building heights, and Local Climate Zones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sarheight.cli._session import Session

__all__ = ["is_city_stack", "map_buildings", "map_zones", "refuse"]


def is_city_stack(path: Path) -> bool:
    """Tell whether a store holds series of images of a city, as `sarheight stack` writes them."""
    if path.suffix.lower() != ".zarr":
        return False
    import xarray as xr

    with xr.open_zarr(path) as found:
        return "month" in found.dims


def refuse(given: Mapping[str, object], kind: str) -> None:
    """Refuse options that mean nothing to a kind of network.

    Raises
    ------
    typer.BadParameter
        If one was given.
    """
    for option, value in given.items():
        if value is not None:
            msg = f"a network for {kind} takes no {option}"
            raise typer.BadParameter(msg, param_hint=option)


def map_buildings(
    current: Session,
    images: Sequence[Path],
    model: Path,
    output: Path,
    *,
    device: str,
    overwrite: bool,
) -> None:
    """Estimate the building heights of a city."""
    from sarheight.data import open_stack
    from sarheight.models import BuildingHeightEstimator
    from sarheight.output import provenance, write
    from sarheight.predict import predict_buildings

    if len(images) != 1:
        msg = f"found {len(images)} stacks, expected one: run the command for each"
        raise typer.BadParameter(msg, param_hint="IMAGE")
    estimator = BuildingHeightEstimator.from_pretrained(model)
    # Held by dask, it is estimated and written a block at a time, whatever its size.
    stack = open_stack(images[0], chunks={})
    current.stage("estimate and write")
    result = predict_buildings(estimator, stack, device=device)
    result.attrs["provenance"] = provenance(
        {"image": images[0], "model": model}, {"command": "predict"}
    )
    write(result, output, overwrite=overwrite)
    rows, columns = result["height"].shape
    current.say(f"{output}: {rows} x {columns} cells, {stack.sizes['month']} months")


def map_zones(
    current: Session,
    images: Sequence[Path],
    model: Path,
    output: Path,
    *,
    step: int | None,
    device: str,
    overwrite: bool,
) -> None:
    """Map the Local Climate Zones of a scene."""
    from sarheight.data import read_stack
    from sarheight.models import ZoneClassifier
    from sarheight.output import provenance
    from sarheight.predict import predict_zones, write_zones

    classifier = ZoneClassifier.from_pretrained(model)
    stack = read_stack(*images)
    current.stage("estimate")
    result = predict_zones(
        classifier,
        stack,
        step=1 if step is None else step,
        device=device,
        report=lambda share: current.advance("estimate", 1.0 + share),
    )
    current.stage("write")
    files = {f"image {number}": path for number, path in enumerate(images, start=1)}
    result.attrs["provenance"] = provenance(
        {**files, "model": model}, {"command": "predict", "step": step}
    )
    written = write_zones(result, output, overwrite=overwrite)
    rows, columns = result["zone"].shape
    names = ", ".join(path.name for path in written)
    current.say(f"{names}: {rows} x {columns} cells, {len(classifier.classes)} classes")
