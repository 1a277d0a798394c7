"""Fixtures of the tests of commands."""

from __future__ import annotations

import pytest

from tests.cli.commands import SEA, Files, passing, write_dem
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
