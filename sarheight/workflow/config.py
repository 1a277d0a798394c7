"""Configurations of the workflows: each option once, with type, unit, default and help.

A new option is one field here, with an entry in the docstring, and a place where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from sarheight.errors import OptionError
from sarheight.workflow.options import AUTO, Configuration, argument, option
from sarheight.workflow.words import (
    DEM,
    ELEVATIONS,
    FIT,
    GRID,
    LAW_NAMES,
    METHOD,
    OF_DEM,
    OUTPUT,
    RADAR,
    RUNNING,
    Calibration,
    Coregister,
    Debug,
    DemFiles,
    DemFilesOrAuto,
    Edges,
    Like,
    Memory,
    MethodText,
    MostMemory,
    Multilook,
    Names,
    Overwrite,
    Scale,
    layer_names,
    orbit_source,
    reconstruction_law,
    upper_names,
)

# Configurations that workflows share. The help of an option is its description in the docstring.


@dataclass(frozen=True, kw_only=True)
class DemConfig(Configuration):
    """Elevation model.

    Attributes
    ----------
    dem : tuple of str
        Elevation model: any raster that GDAL reads. Repeat the option for each tile.
    vertical : str or float, optional
        Vertical reference of its heights: `ellipsoidal`, `EGM96` (SRTM, NASADEM), `EGM2008`
        (Copernicus DEM), a geoid grid, or the geoid's height in metres. Needed unless the file
        states it.
    units : str, optional
        Unit of its heights, `m`, `ft` or `us-ft`, unless the file states it.
    nodata : float, optional
        Value that marks its voids, unless the file states it.
    condition : {"fill", "breach"}, optional
        Remove its pits, which cause false layover: `fill` raises depressions to their outlet,
        `breach` cuts an outlet through the rim (needs richdem).
    """

    dem: DemFiles
    vertical: Annotated[
        str | float | None,
        option(DEM, metavar="DATUM", words=("ellipsoidal", "EGM96", "EGM2008")),
    ] = None
    units: Annotated[str | None, option(DEM, metavar="m|ft|us-ft", words=("m", "ft", "us-ft"))] = (
        None
    )
    nodata: Annotated[float | None, option(DEM)] = None
    condition: Annotated[Literal["fill", "breach"] | None, option(DEM)] = None


@dataclass(frozen=True, kw_only=True)
class GridConfig(DemConfig):
    """Elevation model, and the map grid of a result.

    Attributes
    ----------
    like : tuple of str
        A raster on a map grid, such as an earlier result: the result gets its grid. Or the
        annotation of images that have no sampling and orbit (XML of a GRD or SLC, plain or .xz).
        Repeat the option for both.
    crs : str, optional
        Reference system of the result, such as `EPSG:32632`; `dem` keeps the grid of the elevation
        model. Default: the grid of a projected elevation model, and the UTM zone of one in degrees.
    resolution : float, optional
        Size of the cells of the result, in units of its reference system. Default: that of the
        elevation model; 30 m for each second of arc.
    align : float, optional
        Edges of cells lie at this plus whole multiples of the resolution. Default: 0.
    mgrs : str, optional
        Tile of Sentinel-2 that the result covers, such as `32TPT`, instead of `--crs`.
    extent : tuple of float, optional
        Edges of the result in units of `--crs`, a whole number of cells of `--resolution` apart.
    """

    like: Like = ()
    crs: Annotated[str | None, option(GRID, metavar="dem|CRS", words=(OF_DEM, "EPSG:"))] = None
    resolution: Annotated[float | None, option(GRID, metavar="SIZE")] = None
    align: Annotated[float | None, option(GRID, metavar="OFFSET")] = None
    mgrs: Annotated[str | None, option(GRID, metavar="TILE")] = None
    extent: Annotated[Edges | None, option(GRID, metavar="LEFT BOTTOM RIGHT TOP")] = None

    def __post_init__(self) -> None:
        """Check options that exclude each other."""
        if self.resolution is not None and not self.resolution > 0.0:
            msg = (
                f"found a resolution of {self.resolution:g}, expected the side of a cell, above 0, "
                "in units of the reference system: pass one such as 20 metres, or leave it out for "
                "that of the elevation model"
            )
            raise OptionError(msg, option="resolution")
        if AUTO in self.dem and self.dem != (AUTO,):
            msg = f"found {AUTO} beside files, expected one or the other"
            raise OptionError(msg, option="dem")
        if self.mgrs is not None and (self.crs is not None or self.align is not None):
            msg = "a tile has its own reference system and edges: omit --crs and --align, or --mgrs"
            raise OptionError(msg, option="mgrs")
        if self.crs == OF_DEM and (self.resolution is not None or self.align is not None):
            msg = "the grid of the elevation model is kept: omit --resolution and --align, or --crs"
            raise OptionError(msg, option="crs")
        if self.extent is not None:
            if self.crs in (None, OF_DEM) or self.resolution is None:
                msg = "edges are in units of a reference system: pass --crs and --resolution, too"
                raise OptionError(msg, option="extent")
            if self.align is not None:
                msg = "it says where edges of cells lie: omit --align"
                raise OptionError(msg, option="extent")

    @property
    def states_grid(self) -> bool:
        """Whether anything is said of the map grid, beside a raster that has one."""
        said = (self.crs, self.resolution, self.align, self.mgrs, self.extent)
        return any(each is not None for each in said)


@dataclass(frozen=True, kw_only=True)
class ClipConfig(GridConfig):
    """Elevation model, and the map grid of a result that may be cut to an area.

    Attributes
    ----------
    clip : pathlib.Path, optional
        Polygons in a vector file (.geojson, .gpkg): the result is cut to them, with the values
        that it has without. `--bounds` limits the work.
    """

    clip: Annotated[Path | None, option(GRID, metavar="FILE", dir_okay=False)] = None


@dataclass(frozen=True, kw_only=True)
class PassConfig(GridConfig):
    """Elevation model, map grid, and the geometry of a pass.

    Attributes
    ----------
    like : tuple of str
        Source of the sampling and the orbit: a Sentinel-1 product (SAFE folder or zip), an
        annotation (XML of a GRD or SLC, plain or .xz), or an image written by `simulate`. Repeat
        the option with a raster on a map grid, such as an earlier result, for its grid. A geocoded
        burst of OPERA (CSLC-S1 or its static layers, .h5) is both.
    orbit : pathlib.Path, optional
        Orbit file (POEORB or RESORB, .EOF) that replaces the orbit of the annotation.
    """

    like: Like
    orbit: Annotated[Path | None, option(RADAR)] = None


@dataclass(frozen=True, kw_only=True)
class MaskConfig(PassConfig, ClipConfig):
    """All that masks depend on.

    Attributes
    ----------
    geometry : {"ground", "radar"}
        On a map grid, or on the part of the image that the elevation model covers.
    """

    geometry: Annotated[Literal["ground", "radar"], option()] = "ground"

    def __post_init__(self) -> None:
        """Check options that exclude each other."""
        super().__post_init__()
        if self.geometry == "radar" and (self.states_grid or self.clip is not None):
            msg = "masks in the pixels of the image have no map grid: leave the options of one out"
            raise OptionError(msg, option="geometry")


@dataclass(frozen=True, kw_only=True)
class ImageConfig(Configuration):
    """How an image is read.

    Attributes
    ----------
    like : tuple of str
        Annotation of an image that has no sampling and orbit (XML of a GRD or SLC, plain or .xz).
    orbit : str, optional
        Orbit file (POEORB or RESORB, .EOF), a folder of such files, or `auto` to fetch the best.
        Default: an orbit file beside the product, else the image's own orbit.
    bounds : tuple of float, optional
        Part to reconstruct, in degrees. Only that part of the image is read.
    swaths : tuple of str
        Swaths of an SLC, separated by commas (default: all), or the frequency of an RSLC, A or B.
    burst : int, optional
        Only this burst of one swath of a Sentinel-1 SLC, counted from 0; only its lines are read.
    multilook : tuple of int, optional
        Pixels to average into one, along azimuth and range.
    spacing : float, optional
        Instead of `--multilook`: average to about this pixel spacing on the ground. Default: 20 m
        for an SLC, no averaging for other images.
    noise_removal : bool
        Subtract the thermal noise of a product.
    verify : bool
        Read all files of a product first, and compare them with their checksums.
    calibration : {"beta0", "sigma0", "gamma0"}, optional
        Calibration of a product (default beta0), or the normalisation of another image, unless
        the file states it.
    polarisations : tuple of str
        Polarisations, separated by commas. Default: all. They also name the bands of a raster
        that does not name them.
    focusing : {"zero", "native"}
        Doppler to which a NISAR RSLC is focused: `zero`, as its documents say, or `native`, the
        Doppler centroid that it states.
    """

    like: Like = ()
    orbit: Annotated[
        str | None,
        option(RADAR, metavar="auto|FILE|FOLDER", convert=orbit_source, location=True),
    ] = None
    bounds: Annotated[Edges | None, option(RADAR, metavar="WEST SOUTH EAST NORTH")] = None
    swaths: Annotated[Names, option(RADAR, metavar="IW1,IW2", convert=upper_names)] = ()
    burst: Annotated[int | None, option(RADAR, least=0)] = None
    multilook: Multilook = None
    spacing: Annotated[float | None, option(RADAR, metavar="METRES", least=1.0)] = None
    noise_removal: Annotated[bool, option(RADAR, "--noise-removal/--no-noise-removal")] = True
    verify: Annotated[bool, option(RADAR, "--verify")] = False
    calibration: Annotated[Calibration | None, option(RADAR)] = None
    polarisations: Annotated[Names, option(RADAR, metavar="VV,VH", convert=upper_names)] = ()
    focusing: Annotated[Literal["zero", "native"], option(RADAR)] = "zero"

    def __post_init__(self) -> None:
        """Check options that exclude each other."""
        if self.multilook is not None and self.spacing is not None:
            msg = "pass --multilook or --spacing, not both"
            raise OptionError(msg)


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig(ImageConfig, ClipConfig):
    """All that a reconstruction depends on.

    Attributes
    ----------
    image : str
        Sentinel-1 GRD or SLC as the archive delivers it: SAFE folder, zip, or a URL of either
        (https://, s3://); or a NISAR RSLC (.h5), or a SICD (.nitf). Or an image in radar geometry,
        linear power: written by `simulate`, or any raster without a map grid (then with `--like`
        and `--calibration`). Or a terrain-flattened product of OPERA, HyP3 or the Planetary
        Computer.
    dem : tuple of str
        Elevation model: any raster that GDAL reads, repeated for each tile; or `auto`, to fetch
        Copernicus GLO-30.
    like : tuple of str
        A raster on a map grid, such as an earlier result: the result gets its grid. Or the
        annotation of images that have no sampling and orbit (XML of a GRD or SLC, plain or .xz).
        Repeat the option for both.
    coregister : {"report", "correct", "none"}
        Compare the image with its simulation, and `report` the shift between them, or `correct` the
        timing by a significant one. Takes a few seconds for an image of any size.
    method : str
        `posterior`: reallocation regularised by neighbouring cells. `one-step`: each cell receives
        its share of its pixels. `rtc`: radiometric terrain correction, which takes no law. One with
        parameters of its own is written as JSON, as the provenance of a result has it:
        `{"PosteriorMean": {"prior": {"edges": 0.8}}}`.
    law : str
        Backscatter law that sets the shares: `fit` to the image's cells outside layover, or
        gamma[:level], lambert[:level], cosine[:level,exponent], muhleman[:level,roughness].
    guide : pathlib.Path, optional
        Raster that tells kinds of ground apart, each with a law of its own that is fitted to the
        image: classes 1 to 255, such as land cover, or continuous values, such as an optical band.
    variables : tuple of str
        Layers of the result, separated by commas: names, or `main`, those that most users open, or
        `all`.
    memory : str
        Memory limit: a larger scene is processed in parts.
    profile : {"ceos-nrb"}, optional
        Add layers and fields of CEOS Analysis Ready Data, Normalised Radar Backscatter: data mask,
        ratio of σ⁰ to γ⁰, acquisition number, noise power, heights, and metadata of the source.
    source_url : str, optional
        For `--profile`: URL of the source product. Default: that of the image, if it is one.
    facility : str, optional
        For `--profile`: who makes the result.
    location : str, optional
        For `--profile`: URL from which the result can be retrieved.
    heights : bool
        Also keep the heights above the ellipsoid, as layer `dem`: `sarheight view` then needs no
        elevation model to show which places share pixels.
    """

    image: Annotated[str, argument("IMAGE", location=True)]
    dem: DemFilesOrAuto
    coregister: Annotated[Coregister, option(RADAR)] = "report"
    method: MethodText = "posterior"
    law: Annotated[
        str, option(METHOD, metavar="LAW", convert=reconstruction_law, words=(FIT, *LAW_NAMES))
    ] = FIT
    guide: Annotated[Path | None, option(METHOD, metavar="FILE")] = None
    variables: Annotated[
        Names, option(OUTPUT, metavar="main|all|NAME,NAME", convert=layer_names)
    ] = ("main",)
    memory: Memory = "2 GiB"
    profile: Annotated[Literal["ceos-nrb"] | None, option(OUTPUT)] = None
    source_url: Annotated[str | None, option(OUTPUT, metavar="URL", location=True)] = None
    facility: Annotated[str | None, option(OUTPUT, metavar="NAME")] = None
    location: Annotated[str | None, option(OUTPUT, metavar="URL", location=True)] = None
    heights: Annotated[bool, option(OUTPUT, "--heights")] = False

    def __post_init__(self) -> None:
        """Check options that exclude each other."""
        GridConfig.__post_init__(self)
        ImageConfig.__post_init__(self)
        takes_no_law = self.method.startswith(("rtc", '{"RTC"'))
        if takes_no_law and self.law != FIT:
            msg = f"found {self.law} beside --method rtc, which takes no law: leave one of them out"
            raise OptionError(msg, option="law")
        if self.guide is not None and (takes_no_law or self.law != FIT):
            found = "--method rtc" if takes_no_law else f"--law {self.law}"
            msg = f"found it beside {found}, but its laws are fitted: leave one of them out"
            raise OptionError(msg, option="guide")


@dataclass(frozen=True, kw_only=True)
class SeriesConfig(ImageConfig, GridConfig):
    """All that a series depends on.

    Attributes
    ----------
    images : tuple of str
        Products of one track as the archive delivers them, SAFE folders or zips, in any order; or
        images in radar geometry written by `simulate`; or folders that hold them.
    dem : tuple of str
        Elevation model: any raster that GDAL reads, repeated for each tile; or `auto`, to fetch
        Copernicus GLO-30. Its grid, or the one chosen below, is that of the stack. Omit it for a
        stack that exists, which holds its own.
    like : tuple of str
        A raster on a map grid, such as an earlier result: the stack gets its grid.
    orbit : str, optional
        Folder of orbit files (POEORB or RESORB, .EOF), or `auto` to fetch the best of each date.
        Default: orbit files beside the products, else the images' own orbits.
    coregister : {"report", "correct", "none"}
        Compare each date with its simulation by the dates before, and `report` the shift between
        them, or `correct` the timing by a significant one.
    method : str
        `rtc`: radiometric terrain correction, with masks carried from the reference date. With the
        others each date is reconstructed by itself, which takes several times as long.
    window : int
        Side in cells of the window of the multi-temporal speckle filter; 0 for none.
    tolerance : float
        Decibels by which what is carried from the reference date may change backscatter: dates that
        flew farther off are reconstructed by themselves.
    strict : bool
        Stop at the first date that cannot be read, instead of skipping it.
    memory : str
        Memory limit: a larger grid is processed in parts.
    """

    images: Annotated[Names, argument("IMAGE...", location=True)]
    dem: DemFilesOrAuto = ()
    coregister: Annotated[Coregister, option(RADAR)] = "correct"
    method: MethodText = "rtc"
    window: Annotated[int, option(METHOD, metavar="CELLS", least=0)] = 7
    tolerance: Annotated[float, option(METHOD, metavar="DECIBELS", least=0.001)] = 0.05
    strict: Annotated[bool, option(RUNNING, "--strict")] = False
    memory: Memory = "2 GiB"

    def __post_init__(self) -> None:
        """Check options that exclude each other."""
        GridConfig.__post_init__(self)
        ImageConfig.__post_init__(self)
        if self.window and self.window % 2 == 0:
            msg = f"found {self.window} cells, expected an odd number, or 0 for no filter"
            raise OptionError(msg, option="window")


@dataclass(frozen=True, kw_only=True)
class KnownConfig(Configuration):
    """Known elevations.

    Attributes
    ----------
    known : pathlib.Path, optional
        Known elevations: a table (.csv) or points in a vector file (.gpkg, .parquet).
    known_vertical : str or float, optional
        Their vertical reference: `ellipsoidal`, `EGM96`, `EGM2008`, a geoid grid, or the geoid's
        height in metres.
    known_crs : str, optional
        Reference system of their positions, such as `EPSG:32632`, for a table with columns x and y;
        not needed for longitude and latitude.
    """

    known: Annotated[Path | None, option(ELEVATIONS, metavar="FILE", dir_okay=False)] = None
    known_vertical: Annotated[str | float | None, option(ELEVATIONS, metavar="DATUM")] = None
    known_crs: Annotated[str | None, option(ELEVATIONS, metavar="CRS")] = None


@dataclass(frozen=True, kw_only=True)
class PassImageConfig(Configuration):
    """How images of one polarisation are read, each of one pass.

    Attributes
    ----------
    like : tuple of str
        Annotation of images that have no sampling and orbit (XML of a GRD or SLC, plain or .xz).
    calibration : {"beta0", "sigma0", "gamma0"}, optional
        Calibration of products (default beta0), or the normalisation of other images, unless the
        files state it.
    polarisation : str, optional
        Polarisation, of images that have several.
    multilook : tuple of int, optional
        Pixels to average into one, along azimuth and range, before anything else.
    provider_dem : pathlib.Path, optional
        Elevation model with which the provider of terrain-flattened images flattened them, above
        EGM2008 unless the file says otherwise. Default: the one in a product of HyP3.
    verify : bool
        Read all files of products first, and compare them with their checksums.
    """

    like: Like = ()
    calibration: Annotated[Calibration | None, option(RADAR)] = None
    provider_dem: Annotated[Path | None, option(DEM, metavar="FILE")] = None
    polarisation: Annotated[str | None, option(RADAR, metavar="NAME", convert=str.upper)] = None
    multilook: Multilook = None
    verify: Annotated[bool, option(RADAR, "--verify")] = False

    @property
    def reading(self) -> ImageConfig:
        """How the images are read, in full."""
        return ImageConfig(
            like=self.like,
            calibration=self.calibration,
            polarisations=() if self.polarisation is None else (self.polarisation,),
            multilook=self.multilook,
            verify=self.verify,
        )


@dataclass(frozen=True, kw_only=True)
class RefineConfig(PassImageConfig, KnownConfig, ClipConfig):
    """All that a refinement depends on.

    Attributes
    ----------
    like : tuple of str
        A raster on a map grid, such as an earlier result: the result gets its grid. Or the
        annotation of images that have no sampling and orbit (XML of a GRD or SLC, plain or .xz).
        Repeat the option for both.
    images : tuple of str
        One image for each pass, as for `reconstruct`: a product, or an image in radar geometry,
        linear power. An ascending and a descending pass tell far more than one. Of a folder of
        dates of one track, the mean of all is the image.
    known : pathlib.Path, optional
        Known elevations, to which the elevation model is aligned, and whose residuals are kriged: a
        table (.csv) or points in a vector file (.gpkg, .parquet).
    resolution : float, optional
        Size of the cells of the result, in units of its reference system. Default: that of the
        elevation model over `--factor`; 30 m for each second of arc.
    factor : int
        Cells of the result in a cell of the elevation model, along each axis.
    error : float
        Standard deviation of the elevation model's error in metres.
    error_length : float, optional
        Correlation length of that error in metres. Default: one and a half of its cells.
    coregister : {"report", "correct", "none"}
        Compare each image with its simulation, and `report` the shift between them, or `correct`
        the timing by a significant one.
    network : bool
        Correct the refined heights by the included network, where it was trained for images, grid
        and settings. Needs the extra `learn`.
    iterations : int
        Linearisations. More lower the error a little further.
    seed : int
        Seed of the draws that give the standard deviation.
    memory : str, optional
        Memory limit: what would take more is refused before it begins. Default: none.
    """

    images: Annotated[Names, argument("IMAGE", location=True)]
    factor: Annotated[int, option(METHOD, least=1, metavar="CELLS")] = 3
    error: Annotated[float, option(METHOD, metavar="METRES")] = 4.5
    error_length: Annotated[float | None, option(METHOD, metavar="METRES")] = None
    coregister: Annotated[Coregister, option(METHOD)] = "report"
    network: Annotated[bool, option(METHOD)] = False
    iterations: Annotated[int, option(METHOD, least=1)] = 6
    seed: Annotated[int, option(METHOD)] = 0
    memory: MostMemory = None


@dataclass(frozen=True, kw_only=True)
class FileOutput(Configuration):
    """Output of a command.

    Attributes
    ----------
    output : pathlib.Path
        Output; its suffix chooses the format.
    overwrite : bool
        Replace existing outputs.
    quicklook : pathlib.Path, optional
        Also draw a picture of the result, `.png`.
    """

    output: Annotated[Path, option(OUTPUT, "--output", "-o")]
    overwrite: Overwrite = False
    quicklook: Annotated[Path | None, option(OUTPUT, metavar="PNG")] = None


@dataclass(frozen=True, kw_only=True)
class ResultOutput(FileOutput):
    """Output of a result on a map grid.

    Attributes
    ----------
    output : pathlib.Path
        Output; its suffix chooses the format: `.tif`, `.nc`, `.zarr`, or `.png` for a picture. A
        name without suffix makes a folder of layers, one GeoTIFF for each variable and
        polarisation, with a STAC item.
    stac : bool
        Also write a STAC item beside the result, `scene.stac.json` for `scene.tif`.
    scale : {"linear", "db", "amplitude", "db-int16"}
        How files hold σ⁰ and γ⁰: linear power, decibels, its square root, or, in folders,
        hundredths of decibels as whole numbers, in half the space.
    """

    output: Annotated[Path, option(OUTPUT, "--output", "-o")]
    stac: Annotated[bool, option(OUTPUT, "--stac")] = False
    scale: Annotated[Scale, option(OUTPUT)] = "linear"


@dataclass(frozen=True, kw_only=True)
class MaskOutput(ResultOutput):
    """Output of masks.

    Attributes
    ----------
    format : {"dolphin", "mintpy"}, optional
        Write the mask for a stack of interferograms instead: `dolphin` reads it as one of its
        `layover_shadow_mask_files` (`.tif`; 1 good, 0 layover, shadow, or not known), `mintpy` as
        `mintpy.load.shadowMaskFile` (`.h5`; the opposite).
    """

    format: Annotated[Literal["dolphin", "mintpy"] | None, option(OUTPUT)] = None


@dataclass(frozen=True, kw_only=True)
class Messages(Configuration):
    """Messages of a command.

    Attributes
    ----------
    quiet : bool
        No progress, no messages.
    log : pathlib.Path, optional
        File to which messages, and progress in per cent with the time that is left, are appended.
    debug : bool
        Show tracebacks of errors.
    """

    quiet: Annotated[bool, option(RUNNING, "--quiet", "-q")] = False
    log: Annotated[Path | None, option(RUNNING, metavar="FILE", dir_okay=False)] = None
    debug: Debug = False


@dataclass(frozen=True, kw_only=True)
class Running(Messages):
    """Messages and threads of a command.

    Attributes
    ----------
    threads : int, optional
        Number of threads; all by default. The result has the same bits.
    """

    threads: Annotated[int | None, option(RUNNING, least=1)] = None
