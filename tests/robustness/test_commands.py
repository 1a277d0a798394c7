"""Commands whose inputs are no files, or not of the Earth: one line, and nothing is left."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

if sys.platform == "win32":
    pytest.skip("needs pipes", allow_module_level=True)
for library in ("geopandas", "pyarrow", "sarkit", "torch"):
    pytest.importorskip(library)

from tests.cli.commands import SEA, Files, failing
from tests.robustness.commands import MAKERS

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def command_of(
    name: str, files: Files, folder: Path, *, dem: Path | None = None, image: Path | None = None
) -> tuple[object, ...]:
    """Return a command on the given files, or on good ones."""
    image = image or files.image
    given = ("--dem", dem or files.coarse, *SEA, "-o", folder / "made.nc")
    beginnings: dict[str, tuple[object, ...]] = {
        "reconstruct": (image,),
        "masks": ("--like", image),
        "simulate": ("--like", files.annotation),
        "refine": (image,),
        "composite": (image, image),
    }
    return (name, *beginnings[name], *given)


@pytest.mark.parametrize(
    ("name", "which", "kind"),
    [
        ("reconstruct", "dem", "pipe"),
        ("reconstruct", "image", "device"),
        ("masks", "dem", "device"),
        ("masks", "image", "pipe"),
        ("simulate", "dem", "pipe"),
        ("refine", "dem", "device"),
        ("refine", "image", "pipe"),
        ("composite", "dem", "pipe"),
        ("composite", "image", "device"),
    ],
)
def test_an_input_that_is_no_file_is_refused_at_once(
    files: Files, tmp_path: Path, name: str, which: str, kind: str
) -> None:
    odd = tmp_path / "odd.nc"
    os.mkfifo(odd) if kind == "pipe" else odd.symlink_to("/dev/zero")
    command = command_of(name, files, tmp_path, **{which: odd})
    assert "is a pipe or a device, expected a file" in failing(2, *command)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd.nc"]


@pytest.mark.parametrize("suffix", [".tif", ".nc", ".zarr", ".zip", ".csv", ".xml", ".EOF", ".vrt"])
def test_what_is_shown_is_a_file(tmp_path: Path, suffix: str) -> None:
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    for command in (("info", pipe), ("view", pipe, "--no-browser")):
        assert "is a pipe or a device" in failing(2, *command)


def test_a_store_with_a_pipe_in_it_is_refused(files: Files, tmp_path: Path) -> None:
    store = MAKERS["result.zarr"](tmp_path / "result.zarr")
    member = next(path for path in sorted(store.rglob("*")) if path.is_file())
    member.unlink()
    os.mkfifo(member)
    for command in (
        ("info", store),
        ("view", store, "--no-browser"),
        ("composite", store, store, "-o", tmp_path / "made.nc"),
        command_of("reconstruct", files, tmp_path, image=store),
    ):
        assert "is a pipe or a device" in failing(1, *command)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("reconstruct", "IAU_2015:30100"),  # the Moon
        ("masks", "IAU_2015:49910"),  # Mars
        ("simulate", "IAU_2015:30100"),
        ("refine", "IAU_2015:49910"),
    ],
)
def test_an_elevation_model_of_another_body_is_refused(
    files: Files, tmp_path: Path, name: str, body: str
) -> None:
    heights = xr.DataArray(
        np.full((30, 30), 100.0, np.float32),
        {"y": 46.0 - 0.001 * np.arange(30), "x": 10.0 + 0.001 * np.arange(30)},
        ("y", "x"),
    )
    heights.rio.write_crs(body).rio.to_raster(tmp_path / "dem.tif")
    said = failing(1, *command_of(name, files, tmp_path, dem=tmp_path / "dem.tif"))
    assert "please report it" not in said
    assert not (tmp_path / "made.nc").exists()


@pytest.mark.parametrize("size", ["1e999 GiB", "nan", "-1 GiB", "1e300 YiB", "", "inf B"])
def test_a_size_of_memory_that_is_none_is_refused(files: Files, tmp_path: Path, size: str) -> None:
    command = command_of("reconstruct", files, tmp_path)
    assert "--memory" in failing(2, *command, "--memory", size)
