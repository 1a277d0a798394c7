"""Fixtures of the tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from sarheight.dem import coarsen
from sarheight.illumination import simulate
from sarheight.output.radar_images import write_scene
from sarheight.terrain import draw_known_elevations
from tests.cli.commands import SEA, Files, passing, write_dem, write_points
from tests.dems import hills
from tests.mountains import look, raster
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml, eof_xml


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("command line")
    grid, orbit = synthetic_grid(lines=400, samples=500, looks=4.4)
    annotation, eof = folder / "s1a-iw-grd-vv.xml", folder / "S1A_OPER_AUX_POEORB_OPOD.EOF"
    annotation.write_text(annotation_xml(grid, orbit))
    eof.write_text(eof_xml(orbit))
    made = Files(
        folder,
        annotation,
        eof,
        write_dem(folder / "dem.tif", 20.0),
        write_dem(folder / "coarse.tif", 60.0),
        folder / "image.nc",
    )
    passing("simulate", "--like", annotation, "--dem", made.dem, *SEA, "-o", made.image)
    return made


@pytest.fixture(scope="session")
def passes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make two coarse elevation models, and images of the fine one from both directions."""
    made = tmp_path_factory.mktemp("passes")
    heights = hills((60, 66), relief=60.0, size=5.0, seed=1)
    fine = raster(500.0 + heights - heights.mean())
    for name, posting in (("dem", 60.0), ("coarse", 90.0)):
        coarsen(fine, posting, units="crs").rio.to_raster(made / f"{name}.tif")
    for name, ascending in (("ascending", True), ("descending", False)):
        grid, orbit = look(ascending=ascending, lines=300, samples=320)
        write_scene(simulate(fine, grid, orbit, looks=20.0, seed=1), made / f"{name}.nc")
    write_points(draw_known_elevations(fine, 12, seed=1), made / "known.csv", "x,y,height")
    return made
