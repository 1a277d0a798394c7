"""Small simulated products, and the annotations they are made like.

Import it as ``from tests.simulated_products import ground_image, slant_image``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sarheight.scene import Scene
from sarheight.sentinel1 import read_grid, read_orbit
from tests.annotations import BURST_STEP, LINES_PER_BURST, annotation_xml
from tests.synthetic import synthetic_grid

if TYPE_CHECKING:
    from pathlib import Path

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

HEADER = (
    "<swath>{swath}</swath><startTime>2024-01-01T06:00:00.000000</startTime>"
    "<stopTime>2024-01-01T06:00:10.000000</stopTime><absoluteOrbitNumber>52000</absoluteOrbitNumber>"
    "<missionDataTakeId>413065</missionDataTakeId><imageNumber>001</imageNumber></adsHeader>"
)
IMAGE = (
    "<imageInformation><productLastLineUtcTime>2024-01-01T06:00:10.000000</productLastLineUtcTime>"
    "<ascendingNodeTime>2024-01-01T05:20:00.000000</ascendingNodeTime>"
    "<incidenceAngleMidSwath>3.4e+01</incidenceAngleMidSwath>"
    "<imageStatistics><outputDataMean><re>0</re><im>0</im></outputDataMean>"
    "<outputDataStdDev><re>0</re><im>0</im></outputDataStdDev></imageStatistics>"
)
MERGING = (
    "<swathMerging><swathMergeList count='1'><swathMerge><swath>IW1</swath>"
    "<swathBoundsList count='1'><swathBounds>"
    "<azimuthTime>2024-01-01T06:00:00.000000</azimuthTime>"
    "<firstAzimuthLine>0</firstAzimuthLine><firstRangeSample>0</firstRangeSample>"
    "<lastAzimuthLine>{line}</lastAzimuthLine><lastRangeSample>{sample}</lastRangeSample>"
    "</swathBounds></swathBoundsList></swathMerge></swathMergeList></swathMerging></product>"
)


def full_annotation(
    grid: RadarGrid, orbit: Orbit, *, bursts: int = 0, swath: str = "", polarisation: str = "VV"
) -> bytes:
    """Write an annotation with all that a product needs to know of its image."""
    text = annotation_xml(grid, orbit, bursts=bursts)
    swath = swath or ("IW1" if bursts else "IW")
    for written in ("IW", "IW1"):
        text = text.replace(f"<swath>{written}</swath></adsHeader>", HEADER.format(swath=swath))
    text = text.replace("<imageInformation>", IMAGE)
    text = text.replace(">VV</polarisation>", f">{polarisation}</polarisation>")
    if bursts:
        text = text.replace(
            "<swathTiming>", f"<swathTiming><samplesPerBurst>{grid.samples}</samplesPerBurst>"
        )
        text = text.replace(
            "<burst><azimuthTime>", "<burst><byteOffset>0</byteOffset><azimuthTime>"
        )
        merging = "<swathMerging><swathMergeList count='0'/></swathMerging></product>"
    else:
        merging = MERGING.format(line=grid.lines - 1, sample=grid.samples - 1)
    return text.replace("</product>", merging).encode()


def powers(shape: tuple[int, int], seed: int = 0) -> NDArray[np.float32]:
    """Draw one-look speckle on backscatter that varies over 20 dB."""
    random = np.random.default_rng(seed)
    level = 10.0 ** np.linspace(-2.0, 0.0, shape[1])
    return (level * random.exponential(size=shape)).astype(np.float32)


def scene_of_power(
    power: NDArray[Any],
    grid: RadarGrid,
    orbit: Orbit,
    calibration: Any = "beta0",  # noqa: ANN401
) -> Scene:
    """Make a scene."""
    return Scene(xr.DataArray(power, dims=("line", "sample")), grid, orbit, calibration)


def ground_image(
    seed: int = 0,
    *,
    polarisation: str = "VV",
    calibration: Any = "beta0",  # noqa: ANN401
) -> tuple[bytes, Scene]:
    """Make the annotation of a GRD, and a scene that is part of it."""
    grid, orbit = synthetic_grid(lines=300, samples=400, looks=4.4)
    annotation = full_annotation(grid, orbit, polarisation=polarisation)
    read = read_grid(annotation)
    part = read.crop(slice(40, 240), slice(70, 330))
    return annotation, scene_of_power(
        powers(part.shape, seed), part, read_orbit(annotation), calibration
    )


def slant_image(
    seed: int = 0, *, bursts: int = 3, swath: str = "IW1", polarisation: str = "VV"
) -> tuple[bytes, Scene]:
    """Make the annotation of an SLC, and a scene that covers all its bursts."""
    lines = BURST_STEP * (bursts - 1) + LINES_PER_BURST
    grid, orbit = synthetic_grid(
        lines=lines, samples=200, line_spacing=14.0, sample_spacing=2.33, ground_range=False
    )
    annotation = full_annotation(grid, orbit, bursts=bursts, swath=swath, polarisation=polarisation)
    read = read_grid(annotation)
    return annotation, scene_of_power(powers(read.shape, seed), read, read_orbit(annotation))


def cropped(scene: Scene, line: slice, sample: slice) -> Scene:
    """Cut a scene."""
    return replace(
        scene,
        image=scene.image.isel(line=line, sample=sample),
        grid=scene.grid.crop(line, sample),
    )


def the_file(folder: Path, pattern: str) -> Path:
    """Find the only file of a pattern."""
    (found,) = folder.glob(pattern)
    return found
