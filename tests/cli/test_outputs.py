"""Every command writes what its help lists, and checks its outputs before the work."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sarheight.buildings import BuildingHeightEstimator, write_stack
from sarheight.learning import Channel
from sarheight.output import open_result, read_provenance
from tests.cities import small_stack
from tests.cli.commands import SEA, failing, passing
from tests.zone_samples import city, small_classifier

FORMATS = (".tif", ".nc", ".zarr", ".png", "")


@pytest.fixture(scope="module")
def folder(passes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make images of two passes, a coarse elevation model, results, a city, and networks."""
    made = Path(shutil.copytree(passes, tmp_path_factory.mktemp("outputs") / "inputs"))
    for name in ("ascending", "descending"):
        dem = ("--dem", made / "dem.tif", *SEA, "--heights", "--method", "rtc")
        passing("reconstruct", made / f"{name}.nc", *dem, "-o", made / f"{name}_result.nc")
    names = ("green", "red", "nir")
    small_classifier(names).save_pretrained(made / "zones")
    stack = city()[0]
    stack.assign_attrs(long_name=names).rio.to_raster(made / "bands.tif")
    small = {"width": 8, "depth": 2, "months_width": 8, "heads": 2, "bins": {"count": 8}}
    channels = {"sar": [Channel("vv_ascending", "1", "decibel", -10.0, 5.0)]}
    BuildingHeightEstimator(channels, options=small).eval().save_pretrained(made / "buildings")
    write_stack(small_stack(64, 64, months=2), made / "city.zarr")
    return made


DEM = ("--dem", "{0}/dem.tif", *SEA)
COMMANDS: dict[str, tuple[str, ...]] = {
    "masks": ("masks", "--like", "{0}/ascending.nc", *DEM),
    "reconstruct": ("reconstruct", "{0}/ascending.nc", *DEM, "--method", "rtc"),
    "composite": ("composite", "{0}/ascending_result.nc", "{0}/descending_result.nc"),
    "refine": ("refine", "{0}/ascending.nc", *DEM, "--iterations", "1", "--coregister", "none"),
    "predict buildings": ("predict", "{0}/city.zarr", "--model", "{0}/buildings"),
    "predict zones": ("predict", "{0}/bands.tif", "--model", "{0}/zones"),
}
NAMES = {
    "masks": "mask",
    "refine": "height",
    "predict buildings": "height",
    "predict zones": "zone",
}
"""A layer that a command writes, if not gamma0."""


def filled(name: str, folder: Path) -> list[str]:
    return [text.format(folder) for text in COMMANDS[name]]


WRITTEN = {
    "masks": (".tif", ".png", ""),
    "reconstruct": FORMATS,
    "composite": (".tif", ".zarr", ""),
    "refine": (".tif", ".png", ""),
    "predict buildings": (".tif", ".png", ""),
    "predict zones": (".tif", ".nc", ".png"),
}
"""Formats in which each command writes here; one of them with a picture, besides."""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_format_is_written_with_the_same_values(
    folder: Path, tmp_path: Path, name: str
) -> None:
    found = []
    for suffix in WRITTEN[name]:
        output, picture = tmp_path / f"result{suffix}", tmp_path / "look.png"
        look = ("--quicklook", picture) if suffix == ".tif" else ()
        passing(*filled(name, folder), "-o", output, *look)
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert read_provenance(output)["parameters"]["command"] == name.split(maxsplit=1)[0]
        if suffix == ".png":
            assert output.read_bytes().startswith(b"\x89PNG")
            continue
        found.append(open_result(output)[NAMES.get(name, "gamma0")].values)
        assert suffix or list(output.glob("*.stac.json"))
    for values in found:
        np.testing.assert_allclose(values, found[0], rtol=1e-6)
        assert np.isfinite(values.astype(float)).any()
    if name == "predict zones":
        said = failing(2, *filled(name, folder), "-o", tmp_path / "folder")
        assert "needs the date of the images" in said


def test_images_in_radar_geometry_have_no_folders(folder: Path, tmp_path: Path) -> None:
    image = ("simulate", "--like", folder / "ascending.nc", *filled("masks", folder)[3:])
    masks = (*filled("masks", folder), "--geometry", "radar")
    for command in (image, masks):
        for suffix in FORMATS[:-1]:
            passing(*command, "-o", tmp_path / f"image{suffix}", "--overwrite")
        failing(2, *command, "-o", tmp_path / "folder")
        assert not (tmp_path / "folder").exists()
    assert "only masks on the ground" in failing(
        2, *masks, "-o", tmp_path / "m.nc", "--quicklook", tmp_path / "m.png"
    )
    assert "masks on the ground" in failing(2, *masks, "--stac", "-o", tmp_path / "m.nc")


REFUSALS = {
    "unknown": (("-o", "{1}/x.jpg"), "its name ends in '.jpg'"),
    "no folder": (("-o", "{1}/no/x.nc"), "does not exist; create it first"),
    "exists": (("-o", "{1}/x.nc"), "exists already; remove it, choose another name, or allow"),
    "item exists": (("--stac", "-o", "{1}/x.tif"), "--stac: "),
    "no picture": (("--quicklook", "look.tif", "-o", "{1}/y.nc"), "ends in .png"),
    "one name": (("--quicklook", "{1}/y.png", "-o", "{1}/y.png"), "a name of its own"),
    "an input": (("--overwrite", "-o", "{2}"), "a name of its own"),
    "scaled picture": (("--scale", "db", "-o", "{1}/y.png"), "which shows decibels"),
    "item of a picture": (("--stac", "-o", "{1}/y.png"), "is a picture"),
    "packed file": (("--scale", "db-int16", "-o", "{1}/y.tif"), "only a folder of layers"),
    "unknown scale": (("--scale", "log", "-o", "{1}/y.tif"), "--scale"),
}


@pytest.mark.parametrize(
    ("name", "refusal"),
    [("reconstruct", refusal) for refusal in REFUSALS]
    + [
        (name, refusal)
        for name in sorted(COMMANDS.keys() - {"reconstruct"})
        for refusal in ("exists", "an input", "no picture")
    ],
)
def test_outputs_are_checked_before_the_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, refusal: str
) -> None:
    def work(*_: object, **__: object) -> None:
        pytest.fail("work was begun")

    for module in ("workflow.elevations.read_dem", "output.open_result"):
        monkeypatch.setattr(f"sarheight.{module}", work)
    (tmp_path / "x.nc").write_bytes(b"precious")
    (tmp_path / "x.stac.json").write_text("{}")
    options, message = REFUSALS[refusal]
    command = filled(name, folder)
    source = next(text for text in command if text.startswith(str(folder)))
    given = [text.format(folder, tmp_path, source) for text in options]
    assert message in failing(2, *command, *given)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.nc", "x.stac.json"]
    assert (tmp_path / "x.nc").read_bytes() == b"precious"


def test_every_scale_is_read_back_as_power(folder: Path, tmp_path: Path) -> None:
    command = (*filled("reconstruct", folder), "-o")
    passing(*command, tmp_path / "power.nc")
    power = open_result(tmp_path / "power.nc")["gamma0"].values
    for scale, suffix in (("db", ".tif"), ("amplitude", "")):
        passing(*command, tmp_path / f"r{suffix}", "--scale", scale)
        found = open_result(tmp_path / f"r{suffix}")["gamma0"].values
        np.testing.assert_allclose(found[power > 0.0], power[power > 0.0], rtol=1e-4)
    # A picture shows layers that a result may lack.
    assert "a picture shows" in failing(2, *command, tmp_path / "x.png", "--variables", "gamma0")
