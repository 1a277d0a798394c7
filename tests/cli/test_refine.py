"""``sarheight refine``: heights of an elevation model, refined by images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sarheight.errors import OptionError
from sarheight.output import open_result, read_provenance
from sarheight.output.radar_images import write_scene
from sarheight.terrain import refine_files
from tests.cli.commands import SEA, failing, passing, run
from tests.dems import hills
from tests.mountains import raster
from tests.series.dates import date_of


def test_two_images(passes: Path, tmp_path: Path) -> None:
    output = tmp_path / "heights.tif"
    done = passing(
        "refine",
        passes / "ascending.nc", passes / "descending.nc", "--dem", passes / "coarse.tif", *SEA,
        "--error", 2, "--iterations", 1, "--coregister", "none", "-o", output,
        "--known", passes / "known.csv", "--known-crs", "EPSG:32632",
        "--known-vertical", "ellipsoidal", "--quicklook", tmp_path / "heights.png",
    )  # fmt: skip
    assert "12 known elevations" in done.stderr
    assert "60 x 66 cells, 2 images" in done.stderr
    assert output.with_suffix(".png").stat().st_size > 10_000
    result = open_result(output)
    assert {"height", "height_sigma", "baseline", "passes", "residual", "gamma0"} <= set(result)
    assert np.isfinite(result["height"]).all()
    assert read_provenance(output)["parameters"]["settings"]["error"] == 2.0
    # The same in Python has the same bits.
    same = refine_files(
        [passes / "ascending.nc", passes / "descending.nc"], passes / "coarse.tif",
        vertical="ellipsoidal", error=2, iterations=1, coregister="none",
        known=passes / "known.csv", known_crs="EPSG:32632", known_vertical="ellipsoidal",
    )  # fmt: skip
    for name in ("height", "height_sigma"):
        np.testing.assert_array_equal(result[name].values, same[name].values)


@pytest.mark.filterwarnings("default:the network is not used:RuntimeWarning")
def test_the_included_network(passes: Path, tmp_path: Path) -> None:
    """It corrects where it was trained for the settings; elsewhere a warning says why not."""
    pytest.importorskip("torch")
    output = tmp_path / "heights.nc"
    given = (
        passes / "ascending.nc", passes / "descending.nc", "--dem", passes / "coarse.tif", *SEA,
        "--iterations", 1, "--coregister", "none", "--network", "-o", output,
    )  # fmt: skip
    done = passing("refine", *given)
    assert "(by the network" in done.stderr + done.stdout
    result = open_result(output)
    assert float(np.abs(result["correction"]).max()) > 0.05
    assert read_provenance(output)["parameters"]["settings"]["network"]
    other = passing("refine", *given, "--error", 12, "--overwrite")
    assert "the network is not used: the stated error of the DEM is 12 m" in other.stderr
    assert "correction" not in open_result(output)


def test_folders_of_dates(passes: Path, tmp_path: Path) -> None:
    """The dates of a folder are averaged; a damaged one is named."""
    fine = raster(500.0 + hills((60, 66), relief=60.0, size=5.0, seed=1) - 1000.0)
    for name, ascending in (("up", True), ("down", False)):
        (tmp_path / name).mkdir()
        for number in range(3):
            scene = date_of(
                fine, number, offset=(0.3 * number, 0.2), ascending=ascending, lines=300,
                samples=320,
            )  # fmt: skip
            write_scene(scene, tmp_path / name / f"{number}.nc")
    (tmp_path / "up" / "3.nc").write_bytes(b"no image")
    output = tmp_path / "heights.nc"
    method = "--error", 2, "--iterations", 1, "--coregister", "none"
    given = "--dem", passes / "coarse.tif", *SEA, "-o", output, *method
    done = passing("refine", tmp_path / "up", tmp_path / "down", *given)
    assert "the mean of 3 dates, 13 looks" in done.stderr
    assert "3.nc was left out" in done.stderr
    assert open_result(output).sizes["pass"] == 2
    again = ("refine", tmp_path / "up", *given, "--overwrite")
    line = failing(2, *again, "--like", passes / "ascending.nc")
    assert "have each their own sampling" in line
    failing(1, *again, "--polarisation", "VH")
    shutil.copy(tmp_path / "down" / "0.nc", tmp_path / "up" / "9.nc")
    assert "pass descending instead of ascending" in run(*again).stderr


def test_bad_input_is_refused(passes: Path, tmp_path: Path) -> None:
    common = "--dem", passes / "coarse.tif", *SEA, "-o", tmp_path / "heights.nc"
    line = failing(2, "refine", passes / "ascending.nc", *common, "--error", 0)
    assert "error=0.0, expected a number of metres above 0" in line
    assert "there is no" in failing(2, "refine", tmp_path / "none.nc", *common)
    assert not (tmp_path / "heights.nc").exists()


@pytest.mark.parametrize("command", ["refine", "predict"])
def test_what_takes_more_memory_than_the_limit_is_refused(
    passes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    if command == "predict":
        pytest.importorskip("torch")
    monkeypatch.setattr("sarheight.layover.tiles.PROCESS_BYTES", 0)
    given = [command, passes / "ascending.nc", "--dem", passes / "coarse.tif", *SEA]
    done = run(*given, "-o", tmp_path / "heights.nc", "--memory", "1 MiB")
    assert done.exit_code == 2
    assert "--memory: a refinement is done in memory and takes about" in done.stderr
    assert "(--extent)" in done.stderr
    assert list(tmp_path.iterdir()) == []
    paths = passes / "ascending.nc", passes / "coarse.tif"
    with pytest.raises(OptionError, match=r"the limit is 0\.0 GiB"):
        refine_files(*paths, vertical="ellipsoidal", memory="1 MiB")
