"""The code in the README, in the user's guide and in the notebooks runs, on a made scene."""

from __future__ import annotations

import ast
import io
import json
import re
import shlex
import shutil
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from markdown_it import MarkdownIt
from markdown_it.token import Token
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from typer.main import get_command

from sarheight import illumination
from sarheight.cli import app
from sarheight.layover import reconstruct
from sarheight.output import write
from sarheight.sentinel1 import read_grid
from sarheight.terrain import draw_known_elevations
from tests.cli.commands import passing
from tests.dems import geoid_bytes
from tests.flattened_products import hyp3_folder
from tests.mountains import PLAIN, mountain, raster
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml, eof_xml
from tests.worlds.products import grd_product
from tests.worlds.safe import pack

ROOT = Path(__file__).parents[1]
BUILT = {"_build", "gallery", "api"}
PAGES = [
    ROOT / "README.md",
    *sorted(
        page
        for page in (ROOT / "docs").rglob("*.md")
        if BUILT.isdisjoint(page.relative_to(ROOT).parts)
    ),
]
NOTEBOOKS = sorted((ROOT / "docs/tutorials").glob("*.ipynb"))
LEARNING = {"height-map", "zone-map"}
"""Notebooks that need torch."""
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DATUMS = {"glo30": "EGM2008", "glo90": "EGM2008", "srtm": "EGM96"}
"""The vertical datums of DEMs by their names."""
NAMED_DEM = re.compile(r"""(?:--dem |open_dem\()"?((?!auto|simulated)[\w]+\.tif)"?([^\n]*)""")
DIGITAL_NUMBER = 474.0
ORBIT_NAME = "S1A_OPER_AUX_POEORB_OPOD_20240121T080000_V20231231T225942_20240102T005942.EOF"
CACHE = "cache"
UNDULATION = 48.0
"""Height of the geoid above the ellipsoid in metres."""


def stem(page: Path) -> str:
    return page.stem


def blocks(page: Path, language: str) -> list[str]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for name, text in found if name == language]


def commands(page: Path) -> list[list[str]]:
    whole = [text.replace("\\\n", " ") for text in blocks(page, "console")]
    lines = [line for text in whole for line in text.splitlines()]
    words = [shlex.split(line.removeprefix("$ ")) for line in lines]
    return [each[1:] for each in words if each[0] == "sarheight" and "demo" not in each]


def save_raster(path: Path, values: NDArray[Any]) -> None:
    """Save a raster in radar geometry, with ground control points like those of a product."""
    rows, columns = values.shape
    corners = [
        GroundControlPoint(row, column, 10.0 + column / 1e4, 46.0 - row / 1e4)
        for row in (0, rows - 1)
        for column in (0, columns - 1)
    ]
    profile = {"driver": "GTiff", "count": 1, "height": rows, "width": columns}
    with rasterio.open(
        path, "w", **profile, dtype=values.dtype, gcps=corners, crs="EPSG:4326"
    ) as file:
        file.write(values, 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the files that the pages speak of: a small ridge under a simulated radar."""
    folder = tmp_path_factory.mktemp("scene")
    dem = raster(mountain())
    # As of Copernicus, whose heights refer to a geoid and whose files do not say so.
    geoid = folder / CACHE / "geoid" / "us_nga_egm08_25.tif"
    geoid.parent.mkdir(parents=True)
    geoid.write_bytes(geoid_bytes(UNDULATION))
    above_geoid = (dem - UNDULATION).drop_attrs().rio.write_crs(dem.rio.crs)
    above_geoid.rio.to_raster(folder / "glo30.tif")
    means = above_geoid.coarsen(y=3, x=3, boundary="trim").mean().rio.write_crs(dem.rio.crs)
    means.rio.to_raster(folder / "glo90.tif")
    known = draw_known_elevations(dem, 40, sigma=0.3, seed=1).to_crs(4326)
    columns = {"longitude": known.x, "latitude": known.y, "h_te_best_fit": known.height}
    pd.DataFrame(columns).to_csv(folder / "icesat2.csv", index=False)
    grid, orbit = synthetic_grid(lines=250, samples=340, height=PLAIN, looks=4.4)
    west = (dem.x < dem.x.mean()).broadcast_like(dem).transpose("y", "x")
    cover = xr.where(west, 10, 60).astype("uint8").rio.write_crs(dem.rio.crs)
    cover.rio.to_raster(folder / "landcover.tif")
    (folder / "s1a-iw-grd-vv.xml").write_text(annotation_xml(grid, orbit))
    (folder / "S1A_OPER_AUX_POEORB.EOF").write_text(eof_xml(orbit))
    grid = read_grid(folder / "s1a-iw-grd-vv.xml")
    scene = illumination.simulate(dem, grid, orbit, looks=4.4, seed=1)
    scene.image.to_netcdf(folder / "beta0.nc")
    write(reconstruct(scene, dem), folder / "unfolded.zarr")
    number = np.sqrt(scene.image.values) * DIGITAL_NUMBER
    save_raster(folder / "s1a-iw-grd-vv.tiff", number.round().astype("uint16"))
    save_raster(folder / "beta0.tif", scene.image.values)
    numbers = {"VV": np.rint(np.sqrt(6.25e4 * scene.image.values + 900.0)).astype("uint16")}
    placed = grid, orbit.with_epoch(grid.epoch)
    product = grd_product(folder, polarisations=("VV",), placed=placed, numbers=numbers)
    pack(product.path, folder / "product.SAFE.zip")
    shutil.rmtree(product.path)
    hyp3_folder(folder)
    return folder


@pytest.fixture
def beside_files(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder of one's own that has these files."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SARHEIGHT_CACHE", str(tmp_path / CACHE))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=stem)
@pytest.mark.usefixtures("beside_files")
def test_python_runs_as_it_stands(page: Path) -> None:
    if "open_result" not in page.read_text(encoding="utf-8"):
        shutil.rmtree("unfolded.zarr")
    names: dict[str, Any] = {}
    for number, text in enumerate(blocks(page, "python"), start=1):
        exec(compile(text, f"{page.name}, block {number}", "exec"), names)  # noqa: S102
    if page.name == "README.md":
        assert Path("unfolded/unfolded_gamma0_vv.tif").exists()
        assert np.isfinite(names["result"]["gamma0"]).mean() > 0.5
        shift = json.loads(names["result"].attrs["coregistration"])
        # The geoid lies 48 m above the ellipsoid, which would move the image by more than that.
        assert abs(shift["across_track"]) < 5.0, "heights are not above the ellipsoid"


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=stem)
@pytest.mark.usefixtures("beside_files")
def test_commands_run_as_they_stand(page: Path) -> None:
    shutil.rmtree("unfolded.zarr")
    for command in commands(page):
        passing(*command)


@pytest.mark.parametrize("page", PAGES, ids=stem)
def test_options_on_pages_are_those_of_their_commands(page: Path) -> None:
    """Of all commands that stand in blocks, whether they can be run here or not."""
    root = get_command(app)
    for token in parsed(page):
        if token.type != "fence":
            continue
        for line in token.content.replace("\\\n", " ").splitlines():
            words = line.removeprefix("$ ").partition("   #")[0].split()
            if words[:1] != ["sarheight"]:
                continue
            command, words = root, words[1:]
            while words and words[0] in getattr(command, "commands", {}):
                command, words = command.commands[words[0]], words[1:]
            known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
            given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            common = {"--help", "--version", "--install-completion", "--show-completion"}
            assert given <= known | common, f"{line.strip()}: {given - known - common}"


# The pages as the web page of the repository shows them, which knows nothing of Sphinx.

ON_THE_WEB = [*PAGES, *sorted(ROOT.glob("C*.md"))]
ROLES = {"figure"}
"""Roles that a reader sees as the key of a figure."""
DIRECTIVES = {"toctree", "include", "literalinclude", "eval-rst"}
"""Blocks that a reader sees as the names of pages and files."""


def parsed(page: Path) -> list[Token]:
    """Parse a page by CommonMark with tables."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of headings: their words in lower case, joined by hyphens."""
    tokens = parsed(page)
    texts = [
        "".join(
            part.content for part in inline.children or () if part.type in {"text", "code_inline"}
        )
        for heading, inline in pairwise(tokens)
        if heading.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


@pytest.mark.parametrize("page", ON_THE_WEB, ids=stem)
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    for token in parsed(page):
        parts = token.children or []
        for number, part in enumerate(parts):
            if part.type not in {"link_open", "image"}:
                continue
            address = str(part.attrGet("href") or part.attrGet("src"))
            if part.type == "image":
                assert part.content, f"{address}: a picture without words"
            else:
                after = takewhile(lambda each: each.type != "link_close", parts[number + 1 :])
                assert any(each.content.strip() for each in after), f"{address}: an empty link"
            if re.match(r"\w+:", address):
                continue
            name, _, anchor = unquote(address).partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), f"{address}: no such file"
            assert BUILT.isdisjoint(target.relative_to(ROOT).parts), f"{address}: is built"
            if anchor and target.suffix == ".md":
                assert anchor in anchors(target), f"{address}: no such heading"


@pytest.mark.parametrize("page", ON_THE_WEB, ids=stem)
def test_pages_are_plain_markdown(page: Path) -> None:
    for token in parsed(page):
        if token.type == "fence" and token.info.startswith("{"):
            assert token.info.strip("{}").partition("}")[0] in DIRECTIVES, token.info
        for text, code in pairwise(token.children or []):
            role = (
                re.search(r"\{([\w:-]+)\}$", text.content) if code.type == "code_inline" else None
            )
            assert role is None or role[1] in ROLES, f"{text.content}`{code.content}`"
        if token.type == "inline":
            # Formulas: this macro is not allowed there.
            assert r"\operatorname" not in token.content


def code_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [re.sub(r"^%.*$", "", text, flags=re.MULTILINE) for text in texts]


def run_cells(notebook: Path, **changes: object) -> dict[str, Any]:
    """Run the cells of a notebook as Jupyter does, in this interpreter; return all names.

    `changes` replace what the first cell sets.
    """
    names: dict[str, Any] = {}
    drawn = 0
    for number, text in enumerate(code_cells(notebook)):
        tree = ast.parse(text)
        shown = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{notebook.name}, cell {number}", "exec"), names)  # noqa: S102
        if shown is not None:
            value = eval(compile(ast.Expression(shown.value), notebook.name, "eval"), names)  # noqa: S307
            if isinstance(value, Figure):
                value.savefig(io.BytesIO())
                drawn += 1
        # Jupyter shows the open figures of pyplot after each cell, and closes them.
        for figure in map(plt.figure, plt.get_fignums()):
            figure.savefig(io.BytesIO())
            plt.close(figure)
            drawn += 1
        if number == 0:
            assert set(changes) <= set(names)
            names.update(changes)
    assert drawn
    return names


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=stem)
def test_notebooks_are_kept_without_outputs(notebook: Path) -> None:
    found = nbformat.read(notebook, as_version=4)
    nbformat.validate(found)
    for cell in found.cells:
        assert not cell.get("outputs"), "clear the outputs: they change with every run"
        assert cell.get("execution_count") is None
    assert found.metadata.kernelspec.name == "python3"
    settings = code_cells(notebook)[0]
    assert settings.startswith("REAL_DATA = False")
    copernicus = re.search(r'DEM = "glo[39]0\.tif"', settings) is not None
    assert copernicus == ('VERTICAL = "EGM2008"' in settings)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=stem)
def test_notebooks_run_as_they_stand(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if notebook.stem in LEARNING:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names = run_cells(notebook)
    assert names["truth" if "truth" in names else "ground"] is not None


@pytest.mark.usefixtures("beside_files")
def test_the_first_notebook_takes_a_product_with_orbit_and_dem() -> None:
    names = run_cells(ROOT / "docs/tutorials/gamma0.ipynb", REAL_DATA=True)
    assert float(names["heights"].min()) == pytest.approx(PLAIN, abs=1.0)
    assert "POEORB" in names["scene"].orbit.source
    assert np.isfinite(names["gamma0"]).mean() > 0.5


@pytest.mark.usefixtures("beside_files")
def test_the_notebook_on_uncertainty_takes_a_result() -> None:
    names = run_cells(ROOT / "docs/tutorials/uncertainty.ipynb", REAL_DATA=True)
    assert names["truth"] is None
    assert float((names["width"] > 0.0).mean()) > 0.5


@pytest.mark.usefixtures("beside_files")
def test_the_notebook_on_passes_takes_two_products() -> None:
    Path("orbits").mkdir()
    shutil.copy("S1A_OPER_AUX_POEORB.EOF", f"orbits/{ORBIT_NAME}")
    for name in ("ascending", "descending"):
        shutil.copy("product.SAFE.zip", f"{name}.SAFE.zip")
    names = run_cells(ROOT / "docs/tutorials/two-passes.ipynb", REAL_DATA=True)
    assert names["both"].sizes["time"] == 2


@pytest.mark.usefixtures("beside_files")
def test_the_notebook_on_heights_takes_a_product_and_known_elevations() -> None:
    pytest.importorskip("torch")
    Path("known.csv").write_text("latitude,longitude,height\n46.0,10.0,1380\n46.003,10.002,700\n")
    names = run_cells(ROOT / "docs/tutorials/height-map.ipynb", REAL_DATA=True)
    assert json.loads(names["heights"].attrs["kriging"])["points"] == 2
    assert Path("heights.tif").exists()


def test_every_dem_is_named_with_its_datum() -> None:
    """Check that what a reader copies has the datum of the DEM that it names."""
    texts = [page.read_text("utf-8") for page in PAGES]
    texts += [path.read_text("utf-8") for path in sorted((ROOT / "sarheight/cli").glob("*.py"))]
    texts += ["\n".join(code_cells(notebook)) for notebook in NOTEBOOKS]
    found = 0
    for text in texts:
        joined = re.sub(r"\\\n\s*", "", text)
        for names, words in NAMED_DEM.findall(joined):
            datums = {DATUMS[datum] for datum in DATUMS if datum in names}
            stated = re.search(r"""vertical[= ]"?(\w+)""", words)
            assert datums, f"a DEM of no known datum: {names}{words}"
            assert {stated and stated[1]} == datums, f"{names}{words}"
            found += 1
    assert found > 20
