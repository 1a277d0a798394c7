"""The calibrated images of a product, its polarisations on top of each other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from sarheight._sentinel1_grid import swath_grid
from sarheight.sentinel1._border import CLEAN_SINCE
from sarheight.sentinel1._grd import grd_image
from sarheight.sentinel1._slc import slc_image, slc_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from sarheight._annotation import Annotation
    from sarheight.scene import Calibration, RadarGrid
    from sarheight.sentinel1._contents import Contents
    from sarheight.sentinel1._files import ProductFiles
    from sarheight.sentinel1._radiometry import Radiometry

__all__ = ["complex_slc", "power_of_grd", "power_of_slc"]


def power_of_grd(
    contents: Contents,
    polarisations: tuple[str, ...],
    calibration: Calibration,
    *,
    noise_removal: bool,
    border_cleaning: bool | None,
) -> tuple[xr.DataArray, RadarGrid]:
    """Make the image of a GRD.

    Parameters
    ----------
    contents : Contents
        The product.
    polarisations : tuple of str
        Those that are wanted; it has them.
    calibration : {"beta0", "sigma0", "gamma0"}
        What to normalise to.
    noise_removal : bool
        Whether to subtract the thermal noise.
    border_cleaning : bool or None
        Whether to look for borders that hold no image; None for those of IPF before 2.9.

    Returns
    -------
    image : xarray.DataArray
        Linear power on dims (line, sample) or (polarisation, line, sample), on dask.
    grid : RadarGrid
        Its sampling.

    Raises
    ------
    ValueError, ProductError, AnnotationError
        If files are missing, damaged, or contradict each other.
    """
    swath = contents.swaths[0]
    cleaned = (
        contents.manifest.processor_version < CLEAN_SINCE
        if border_cleaning is None
        else border_cleaning
    )
    channels = {
        name: contents.channel(swath, name, noise=noise_removal or cleaned)
        for name in polarisations
    }
    border = None
    if cleaned:
        name = next((name for name in contents.polarisations if name in {"VV", "HH"}), "")
        border = channels.get(name) or contents.channel(swath, name or polarisations[0])
    images = [
        grd_image(
            contents.files,
            channel,
            calibration=calibration,
            noise_removal=noise_removal,
            border=border,
        )
        for channel in channels.values()
    ]
    grid = swath_grid(channels[polarisations[0]].annotation)
    return _stacked(contents, images, polarisations), replace(grid, polarisations=polarisations)


def power_of_slc(
    contents: Contents,
    polarisations: tuple[str, ...],
    calibration: Calibration,
    *,
    swaths: tuple[str, ...],
    burst: int | None,
    noise_removal: bool,
) -> tuple[xr.DataArray, RadarGrid]:
    """Make the image of an SLC.

    Parameters
    ----------
    contents, polarisations, calibration, noise_removal
        See `power_of_grd`.
    swaths : tuple of str
        Those that are wanted, on one merged grid; the product has them.
    burst : int or None
        Of an only swath, this burst alone, counted from 0.

    Returns
    -------
    image, grid
        See `power_of_grd`.

    Raises
    ------
    ValueError, IndexError, ProductError, AnnotationError
        If there is no such burst, or files are missing, damaged, or contradict each other.
    """
    images = []
    for name in polarisations:
        image, grid = slc_image(
            **_by_swath(contents, swaths, name, noise=noise_removal),
            swaths=swaths,
            burst=burst,
            calibration=calibration,
            noise_removal=noise_removal,
        )
        images.append(image)
    return _stacked(contents, images, polarisations), replace(grid, polarisations=polarisations)


def complex_slc(
    contents: Contents,
    polarisations: tuple[str, ...],
    calibration: Calibration,
    *,
    swaths: tuple[str, ...],
    burst: int | None,
) -> tuple[dict[str, xr.DataArray], RadarGrid]:
    """Make the complex images of an SLC.

    Parameters
    ----------
    contents, polarisations, calibration, swaths, burst
        See `power_of_slc`.

    Returns
    -------
    images : dict
        By polarisation, on dims (line, sample), on dask.
    grid : RadarGrid
        Their sampling.

    Raises
    ------
    ValueError, IndexError, ProductError, AnnotationError
        See `power_of_slc`.
    """
    images = {}
    for name in polarisations:
        images[name], grid = slc_numbers(
            **_by_swath(contents, swaths, name, noise=False),
            swaths=swaths,
            burst=burst,
            calibration=calibration,
        )
    return images, replace(grid, polarisations=polarisations)


class _BySwath(TypedDict):
    """The first arguments of `slc_image` and `slc_numbers`."""

    files: ProductFiles
    annotations: Mapping[str, Annotation]
    radiometries: Mapping[str, Radiometry]
    measurements: Mapping[str, str]


def _by_swath(
    contents: Contents, swaths: Sequence[str], polarisation: str, *, noise: bool
) -> _BySwath:
    """Gather what belongs to the swaths of a polarisation."""
    channels = {swath: contents.channel(swath, polarisation, noise=noise) for swath in swaths}
    return {
        "files": contents.files,
        "annotations": {swath: channel.annotation for swath, channel in channels.items()},
        "radiometries": {swath: channel.radiometry for swath, channel in channels.items()},
        "measurements": {swath: channel.measurement for swath, channel in channels.items()},
    }


def _stacked(
    contents: Contents, images: list[xr.DataArray], polarisations: tuple[str, ...]
) -> xr.DataArray:
    """Put polarisations on top of each other, where there are several."""
    import xarray as xr

    name = contents.files.name
    if len({image.shape for image in images}) > 1:
        sizes = " and ".join(f"{image.shape[0]} x {image.shape[1]}" for image in images)
        msg = f"the polarisations of {name} have {sizes} pixels: fetch it again"
        raise ValueError(msg)
    stacked = (
        images[0].assign_coords(polarisation=polarisations[0])
        if len(images) == 1
        else xr.concat(images, "polarisation").assign_coords(polarisation=list(polarisations))
    )
    simulated = {"simulated": "says the product"} if contents.manifest.simulated else {}
    return stacked.assign_attrs(
        long_name="radar backscatter", units="1", product_name=name, **simulated
    )
