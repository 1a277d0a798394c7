"""SAFE products of Sentinel-1 rewritten as EOPF Zarr stores, as ESA's converter does.

Names, dimensions and metadata are those of the mappings ``S01SIWGRD`` and ``S01SIWSLC`` of ESA's
Core Python Modules, version 3 (polarisations along a dimension, Zarr 3). Only what geometry and
radiometry need is written. The reader under test is not used: XML is read here by itself, so that
errors of either side show.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import rasterio
import zarr
from defusedxml.ElementTree import parse
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from sarheight._runtime import ignore_missing_georeference

CHUNK = 100
"""Lines and samples of a chunk of an image."""


@dataclass
class _Image:
    """The files of an image of a SAFE product."""

    swath: str
    polarisation: str
    annotation: Element
    calibration: Element
    noise: Element
    pixels: NDArray[Any]


def write_eopf(safe: Path, target: Path) -> Path:
    """Write a SAFE folder as an EOPF store, ``*.zarr``, and return its path."""
    images = [_image(path) for path in sorted((safe / "annotation").glob("s1*.xml"))]
    root = zarr.open_group(target, mode="w-", zarr_format=3)
    manifest = parse(safe / "manifest.safe").getroot()
    root.attrs.update(_discovery(manifest, images))
    for swath in sorted({image.swath for image in images}):
        _write_images(root, [image for image in images if image.swath == swath])
    with warnings.catch_warnings():
        # ESA's stores list their groups in their root, as servers do not.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(root.store)
    return target


def _image(annotation: Path) -> _Image:
    root = parse(annotation).getroot()
    beside = annotation.parent / "calibration"
    with (
        ignore_missing_georeference(),
        rasterio.open(annotation.parents[1] / "measurement" / f"{annotation.stem}.tiff") as file,
    ):
        pixels = file.read(1)
    return _Image(
        root.findtext("adsHeader/swath", ""),
        root.findtext("adsHeader/polarisation", ""),
        root,
        parse(beside / f"calibration-{annotation.name}").getroot(),
        parse(beside / f"noise-{annotation.name}").getroot(),
        pixels,
    )


def _discovery(manifest: Element, images: list[_Image]) -> dict[str, Any]:
    """Make the attributes of the store from the manifest."""

    def text(path: str) -> str:
        return next((each.text or "" for each in manifest.iterfind(f".//{{*}}{path}")), "")

    software = manifest.find(".//{*}software")
    header = images[0].annotation
    corners = [
        [float(number) for number in reversed(pair.split(","))]
        for pair in text("coordinates").split()
    ]
    kind = f"S01S{header.findtext('adsHeader/mode')}{header.findtext('adsHeader/productType')}"
    return {
        "other_metadata": {"eopf_category": "eocontainer", "title": kind},
        "stac_discovery": {
            "id": text("productClassDescription") or "SAR Standard L1 Product",
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*corners, corners[0]]]},
            "properties": {
                "platform": f"sentinel-1{header.findtext('adsHeader/missionId', '')[-1].lower()}",
                "product:type": kind,
                "start_datetime": f"{text('startTime')}Z",
                "end_datetime": f"{text('stopTime')}Z",
                "sar:polarizations": [
                    each.text or ""
                    for each in manifest.iterfind(".//{*}transmitterReceiverPolarisation")
                ],
                "sat:absolute_orbit": int(text("orbitNumber") or 0),
                "sat:relative_orbit": int(text("relativeOrbitNumber") or 0),
                "sat:orbit_state": text("pass").lower(),
                "processing:software": {
                    "Sentinel-1 IPF": "" if software is None else software.get("version", "")
                },
            },
        },
    }


# The groups of an image.


def _write_images(root: zarr.Group, images: list[_Image]) -> None:
    """Write the images of one swath, which share groups."""
    first = images[0]
    bursts = list(first.annotation.iterfind("swathTiming/burstList/burst"))
    kind = first.annotation.findtext("adsHeader/productType", "")
    mode = first.annotation.findtext("adsHeader/mode", "")
    stem = f"S01S{mode}{kind}_20240101T060000_0010_A022_ABCD_0645F1"
    pixels = np.stack([image.pixels for image in images])
    if not bursts:
        _write_group(root.create_group(stem), images, pixels, None)
        return
    lines = int(first.annotation.findtext("swathTiming/linesPerBurst", "0"))
    for index in range(len(bursts)):
        group = root.create_group(f"{stem}_{first.swath}_{1000 + index}")
        _write_group(group, images, pixels[:, index * lines : (index + 1) * lines], index)


def _write_group(
    group: zarr.Group, images: list[_Image], stack: NDArray[Any], burst: int | None
) -> None:
    annotation = images[0].annotation
    ground = burst is None
    range_name = "ground_range" if ground else "slant_range_time"
    group.attrs["other_metadata"] = {
        image.polarisation: _metadata(image.annotation, burst) for image in images
    }
    frequency = float(
        annotation.findtext("generalAnnotation/productInformation/radarFrequency", "0")
    )
    group.attrs["stac_discovery"] = {"properties": {"sar:center_frequency": frequency}}
    names = [image.polarisation for image in images]
    lines, samples = stack.shape[1:]
    image = next(annotation.iterfind("imageAnnotation/imageInformation"))
    first = np.datetime64(
        image.findtext("productFirstLineUtcTime", "")
        if burst is None
        else annotation.findall("swathTiming/burstList/burst/azimuthTime")[burst].text or "",
        "us",
    )
    interval = float(image.findtext("azimuthTimeInterval", "0"))
    axis = _range_axis(annotation, np.arange(samples), ground=ground)
    writer = _Writer(group, names, range_name)
    writer.put(
        "measurements",
        grd=(("azimuth_time", range_name), list(stack)) if ground else None,
        slc=None if ground else (("azimuth_time", range_name), list(stack.astype(np.complex64))),
        azimuth_time=_stamps(first, interval * np.arange(lines)),
        **{range_name: ((range_name,), axis)},
    )
    _write_conditions(writer, images, ground=ground)
    _write_quality(writer, images, ground=ground)


class _Writer:
    """Writes the arrays of groups, with polarisations along a dimension."""

    def __init__(self, group: zarr.Group, names: list[str], range_name: str) -> None:
        self.group, self.names, self.range_name = group, names, range_name

    def put(self, path: str, **arrays: Any) -> None:  # noqa: ANN401  # pairs of dims and values
        """Write arrays: a list of values has one for each polarisation."""
        group = self.group.require_group(path)
        for name, array in arrays.items():
            if array is None:
                continue
            dims, values = array[0], array[1]
            attributes = dict(array[2]) if len(array) > 2 else {}
            if isinstance(values, list):
                dims, values = ("polarization", *dims), np.stack(values)
            self._create(group, name, dims, np.asarray(values), attributes)
        self._create(group, "polarization", ("polarization",), np.array(self.names), {})

    def _create(
        self,
        group: zarr.Group,
        name: str,
        dims: tuple[str, ...],
        values: NDArray[Any],
        attributes: dict[str, Any],
    ) -> None:
        most = CHUNK if name in {"grd", "slc"} else max(values.size, 1)
        with warnings.catch_warnings():
            # ESA's stores hold names of polarisations as text of fixed length.
            warnings.simplefilter("ignore")
            group.create_array(
                name,
                data=values,
                chunks=tuple(min(max(size, 1), most) for size in values.shape),
                dimension_names=dims,
                compressors=BloscCodec(cname="zstd"),
                attributes=attributes,
            )


def _write_conditions(writer: _Writer, images: list[_Image], *, ground: bool) -> None:
    annotation = images[0].annotation
    orbit = list(annotation.iterfind("generalAnnotation/orbitList/orbit"))
    times = np.array([each.findtext("time") for each in orbit], dtype="datetime64[us]")
    writer.put(
        "conditions/orbit",
        azimuth_time=_stamps(times[0], _seconds(times[0], times)),
        **{
            name: (
                ("azimuth_time", "axis"),
                np.array(
                    [[float(each.findtext(f"{name}/{a}", "nan")) for a in "xyz"] for each in orbit]
                ),
            )
            for name in ("position", "velocity")
        },
    )
    _write_points(writer, annotation, ground=ground)
    records = list(
        annotation.iterfind("coordinateConversion/coordinateConversionList/coordinateConversion")
    )
    if ground and records:
        begin = np.array([each.findtext("azimuthTime") for each in records], "datetime64[us]")
        writer.put(
            "conditions/coordinate_conversion",
            azimuth_time=_stamps(begin[0], _seconds(begin[0], begin)),
            sr0=(("azimuth_time",), _column(records, "sr0")),
            gr0=(("azimuth_time",), _column(records, "gr0")),
            srgr_coefficients=(("azimuth_time", "degree"), _rows(records, "srgrCoefficients")),
            grsr_coefficients=(("azimuth_time", "degree"), _rows(records, "grsrCoefficients")),
        )


def _write_points(writer: _Writer, annotation: Element, *, ground: bool) -> None:
    """Write the geolocation grid on lines and samples."""
    points = list(
        annotation.iterfind("geolocationGrid/geolocationGridPointList/geolocationGridPoint")
    )
    line, pixel = (_column(points, name).astype(int) for name in ("line", "pixel"))
    rows, row = np.unique(line, return_inverse=True)
    columns, column = np.unique(pixel, return_inverse=True)

    def lattice(values: NDArray[Any], missing: Any) -> NDArray[Any]:  # noqa: ANN401
        found = np.full((rows.size, columns.size), missing, dtype=values.dtype)
        found[row, column] = values
        return found

    times = np.array([each.findtext("azimuthTime") for each in points], dtype="datetime64[us]")
    image = next(annotation.iterfind("imageAnnotation/imageInformation"))
    first, last = (
        np.datetime64(image.findtext(f"product{which}LineUtcTime") or "NaT", "us")
        for which in ("First", "Last")
    )
    count = int(image.findtext("numberOfLines", "0"))
    step = (
        float(image.findtext("azimuthTimeInterval", "nan"))
        if np.isnat(last)
        else _seconds(first, np.array([last]))[0] / (count - 1)
    )
    dims = ("azimuth_time", writer.range_name)
    stamped = (lattice(times, np.datetime64("NaT")) - times[0]).astype(np.int64)
    several = len(writer.names)
    named = {
        "slant_range_time_gcp": "slantRangeTime",
        "latitude": "latitude",
        "longitude": "longitude",
        "height": "height",
        "incidence_angle": "incidenceAngle",
        "elevation_angle": "elevationAngle",
    }
    writer.put(
        "conditions/gcp",
        azimuth_time=_stamps(first, step * rows),
        **{
            writer.range_name: (
                (writer.range_name,),
                _range_axis(annotation, columns, ground=ground),
            )
        },
        azimuth_time_gcp=(dims, [stamped] * several, {"units": f"microseconds since {times[0]}"}),
        **{
            name: (dims, [lattice(_column(points, tag), np.nan)] * several)
            for name, tag in named.items()
        },
    )


def _write_quality(writer: _Writer, images: list[_Image], *, ground: bool) -> None:
    calibration = [
        list(image.calibration.iterfind("calibrationVectorList/calibrationVector"))
        for image in images
    ]
    lists = {
        "beta_nought": "betaNought",
        "sigma_nought": "sigmaNought",
        "gamma": "gamma",
        "dn": "dn",
    }
    _write_vectors(writer, "quality/calibration", images, calibration, lists, ground=ground)
    noise = [
        list(image.noise.iterfind("noiseRangeVectorList/noiseRangeVector")) for image in images
    ]
    names = {"noise_range_lut": "noiseRangeLut"}
    _write_vectors(writer, "quality/noise_range", images, noise, names, ground=ground)
    _write_azimuth_noise(writer, images)


def _write_vectors(
    writer: _Writer,
    path: str,
    images: list[_Image],
    records: list[list[Element]],
    lists: dict[str, str],
    *,
    ground: bool,
) -> None:
    first = records[0]
    times = np.array([each.findtext("azimuthTime") for each in first], dtype="datetime64[us]")
    if ground:
        lines = _column(first, "line").astype(int)
        times = _times_of_lines(images[0].annotation, lines).astype("datetime64[us]")
    pixels = np.array(first[0].findtext("pixel", "").split(), dtype=int)
    dims = ("azimuth_time", writer.range_name)
    writer.put(
        path,
        azimuth_time=_stamps(times[0], _seconds(times[0], times)),
        **{
            writer.range_name: (
                (writer.range_name,),
                _range_axis(images[0].annotation, pixels, ground=ground),
            )
        },
        **{name: (dims, [_rows(each, tag) for each in records]) for name, tag in lists.items()},
    )


def _write_azimuth_noise(writer: _Writer, images: list[_Image]) -> None:
    """Write the factors of noise along azimuth; blocks of other lengths are filled up with NaN."""
    corners = {
        "first_azimuth_line": "firstAzimuthLine",
        "last_azimuth_line": "lastAzimuthLine",
        "first_range_sample": "firstRangeSample",
        "last_range_sample": "lastRangeSample",
    }
    blocks = [
        list(image.noise.iterfind("noiseAzimuthVectorList/noiseAzimuthVector")) for image in images
    ]
    if not blocks[0]:
        return
    path = "quality/noise_azimuth"
    # Lines of all blocks become times of one axis.
    every = sorted(
        {int(each) for block in blocks[0] for each in block.findtext("line", "").split()}
    )
    place = {line: index for index, line in enumerate(every)}
    luts = []
    for own in blocks:
        lut = np.full((len(every), len(own)), np.nan)
        for number, block in enumerate(own):
            rows = [place[int(each)] for each in block.findtext("line", "").split()]
            lut[rows, number] = _numbers(block, "noiseAzimuthLut")
        luts.append(lut)
    times = _times_of_lines(images[0].annotation, np.array(every))
    writer.put(
        path,
        azimuth_time=(
            ("azimuth_time",),
            (times - times[0]).astype(np.int64),
            {"units": f"nanoseconds since {times[0]}", "calendar": "proleptic_gregorian"},
        ),
        noise_azimuth_lut=(("azimuth_time", "swath"), luts),
        **{
            name: (
                ("swath",),
                [np.array([float(block.findtext(tag, "nan")) for block in own]) for own in blocks],
            )
            for name, tag in corners.items()
        },
    )


# Axes, numbers and metadata.


def _times_of_lines(annotation: Element, lines: NDArray[Any]) -> NDArray[np.datetime64]:
    """Return the times of lines of an image file, in which bursts follow one another."""
    interval = float(
        annotation.findtext("imageAnnotation/imageInformation/azimuthTimeInterval", "0")
    )
    bursts = annotation.findall("swathTiming/burstList/burst/azimuthTime")
    if bursts:
        count = int(annotation.findtext("swathTiming/linesPerBurst", "1"))
        starts = np.array([each.text for each in bursts], dtype="datetime64[ns]")
        number = np.minimum(lines // count, starts.size - 1)
        begin, lines = starts[number], lines - number * count
    else:
        text = annotation.findtext("imageAnnotation/imageInformation/productFirstLineUtcTime", "")
        begin = np.full(lines.shape, np.datetime64(text, "ns"))
    return begin + np.rint(1e9 * interval * lines).astype("timedelta64[ns]")


def _range_axis(annotation: Element, pixels: NDArray[Any], *, ground: bool) -> NDArray[np.float64]:
    image = "imageAnnotation/imageInformation"
    if ground:
        return pixels * float(annotation.findtext(f"{image}/rangePixelSpacing", "nan"))
    rate = float(annotation.findtext("generalAnnotation/productInformation/rangeSamplingRate", "1"))
    return float(annotation.findtext(f"{image}/slantRangeTime", "nan")) + pixels / rate


def _stamps(first: np.datetime64, seconds: NDArray[Any]) -> tuple[Any, ...]:
    """Return times in whole microseconds, as converters write them."""
    return (
        ("azimuth_time",),
        np.rint(1e6 * seconds).astype(np.int64),
        {"units": f"microseconds since {first}", "calendar": "proleptic_gregorian"},
    )


def _seconds(first: np.datetime64, times: NDArray[Any]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (times - first) / np.timedelta64(1, "us") * 1e-6
    return found


def _numbers(element: Element, tag: str) -> NDArray[np.float64]:
    return np.array(element.findtext(tag, "").split(), dtype=np.float64)


def _column(elements: list[Element], tag: str) -> NDArray[np.float64]:
    return np.array([float(each.findtext(tag, "nan")) for each in elements])


def _rows(elements: list[Element], tag: str) -> NDArray[np.float64]:
    return np.array([_numbers(each, tag) for each in elements])


def _metadata(annotation: Element, burst: int | None) -> dict[str, Any]:
    """Return the metadata of an image: its XML with names in the converter's style."""
    found = {
        "general_annotation": {
            "product_information": _named(annotation, "generalAnnotation/productInformation")
        },
        "image_annotation": {
            "image_information": _named(annotation, "imageAnnotation/imageInformation"),
            "processing_information": _named(annotation, "imageAnnotation/processingInformation")
            | {
                "swath_proc_params_list": [
                    _tree(each)
                    for each in annotation.iterfind(
                        "imageAnnotation/processingInformation/swathProcParamsList/swathProcParams"
                    )
                ]
            },
        },
    }
    if burst is not None:
        timing = annotation.findall("swathTiming/burstList/burst")[burst]
        found["burst_timing"] = {
            "azimuth_time": timing.findtext("azimuthTime"),
            **{
                f"{which}_valid_sample": _numbers(timing, f"{which}ValidSample").tolist()
                for which in ("first", "last")
            },
        }
    return found


def _named(annotation: Element, path: str) -> dict[str, Any]:
    element = annotation.find(path)
    return {} if element is None else _tree(element)


def _tree(element: Element) -> dict[str, Any]:
    """Turn an element into nested names in lower case with underscores."""
    return {
        re.sub(r"(?<!^)(?=[A-Z])", "_", child.tag).lower(): (
            _tree(child) if len(child) else _plain(child.text or "")
        )
        for child in _once(element)
        # What has a group or a coordinate of its own.
        if child.tag not in {"rangePixelSpacing", "azimuthPixelSpacing", "radarFrequency"}
    }


def _once(element: Element) -> Iterator[Element]:
    yield from {child.tag: child for child in element}.values()


def _plain(text: str) -> Any:  # noqa: ANN401  # a number or a text
    try:
        return float(text)
    except ValueError:
        return text.strip()
