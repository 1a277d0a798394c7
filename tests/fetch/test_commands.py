"""`sarheight fetch`, from a list with sizes to files that the other commands take."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sarheight.cli._progress import show_progress
from sarheight.fetch import products
from sarheight.fetch.elevation import Tile
from sarheight.orbit import Orbit
from tests.cli.commands import passing, run
from tests.fetch.test_elevation import geoid_bytes, tile_bytes
from tests.fetch.test_orbits import bucket, eof_name
from tests.servers import Site, add_stac, alone, multihash, running, stac_item, zip_of
from tests.worlds.annotations import eof_xml

NAME = "S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_EFA4"
ORBIT = eof_name(
    mission="S1B", first="20210331T225942", last="20210402T005942", made="20210421T120000"
)
ALPS = ("--bounds", "10.5", "46", "11.5", "47", "--from", "2021-04-01", "--to", "2021-04-02")
TIMES = ("--from", "2021-04-01T05:26:23", "--to", "2021-04-01T05:26:48")
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "downloads.md"


PRODUCT = zip_of(
    {
        f"{NAME}.SAFE/manifest.safe": b"<xfdu/>",
        f"{NAME}.SAFE/image.tiff": np.random.default_rng(1).bytes(200_000),
    }
)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """Run a server that has everything for one scene, and tell the settings."""
    alone(monkeypatch, tmp_path)
    with running() as server:
        body = PRODUCT
        asset = {
            "href": server.add("/zip", body, etag='"1"'),
            "file:size": len(body),
            "file:checksum": multihash(body),
        }
        stac = add_stac(server, [stac_item(NAME, assets={"Product": asset})])
        vectors = eof_xml(Orbit.circular(epoch="2021-04-01T05:26:00", duration=300.0)).encode()
        orbits = bucket(server, [ORBIT], vectors)
        dem = "/dem/{ns}{lat:02d}{ew}{lon:03d}.tif"
        names = []
        for corner in ((46, 10), (46, 11)):
            tile = Tile(*corner)
            server.add(tile.address(dem), tile_bytes(tile))
            names.append(tile.name)
        server.add("/dem/list.txt", "\n".join(names).encode())
        grids = {}
        for grid in ("us_nga_egm96_15.tif", "us_nga_egm08_25.tif"):
            grids[grid] = geoid_bytes(42.0)
            server.add(f"/proj/{grid}", grids[grid])
        listing = [
            {"properties": {"name": name, "sha256sum": hashlib.sha256(grid).hexdigest()}}
            for name, grid in grids.items()
        ]
        server.add("/proj/files.geojson", json.dumps({"features": listing}).encode())
        nothing = server.add("/odata", b'{"value": []}')
        config = tmp_path / "fetch.toml"
        config.write_text(
            "[network]\ntries = 2\nbackoff = 0.01\nread_timeout = 1.0\n"
            f'[orbits.aws]\nurl = "{orbits.url}"\n'
            f'[orbits.step]\nurl = "{server.url}/nothing"\n'
            f'[orbits.copernicus]\nurl = "{nothing}"\n'
            f'[dem.glo30]\nlist = "{server.url}/dem/list.txt"\nland = "glo30"\nrows = 60\n'
            f'[geoid.proj]\nlist = "{server.url}/proj/files.geojson"\n'
        )
        monkeypatch.setenv("SARHEIGHT_FETCH_CONFIG", str(config))
        monkeypatch.setenv("SARHEIGHT_CATALOGUES_COPERNICUS_URL", stac)
        monkeypatch.setenv("SARHEIGHT_DEM_GLO30_URL", server.url + dem)
        monkeypatch.setenv("SARHEIGHT_GEOID_PROJ_URL", f"{server.url}/proj")
        monkeypatch.chdir(tmp_path)
        yield server


def good(*arguments: str) -> str:
    return passing("fetch", *arguments).stdout


def failing(code: int, *arguments: str) -> str:
    """Return the error, which is all that the command says beside its output."""
    done = run("fetch", *arguments)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    (line,) = done.stderr.splitlines()
    return line


def test_a_list_shows_sizes_and_downloads_nothing(site: Site) -> None:
    done = passing("fetch", "scenes", *ALPS)
    assert done.stdout.split() == [NAME, "descending", "168", "200.5", "kB"]
    assert done.stderr == "1 product, 200.5 kB; --download downloads them\n"
    assert site.asked("/zip") == []


def test_a_list_can_be_read_by_programs(site: Site) -> None:
    (entry,) = json.loads(good("scenes", "--point", "11", "46.5", *ALPS[5:], "--json"))
    assert entry["name"] == NAME
    assert entry["start"] == "2021-04-01T05:26:23.000000000"
    assert entry["assets"][0]["checksum"]["kind"] == "md5"
    assert site.asked("/zip") == []


def test_products_are_downloaded_by_place_and_by_name(site: Site, tmp_path: Path) -> None:
    path = Path(good("scenes", *ALPS, "--download", "-o", str(tmp_path / "here")).strip())
    assert path.read_bytes() == PRODUCT
    done = passing("fetch", "scenes", f"{NAME}.SAFE", "--download")
    assert Path(done.stdout.strip()) == tmp_path / "cache" / "scenes" / f"{NAME}.zip"
    assert f"{NAME}.zip: 200.5 kB of 200.5 kB" in done.stderr
    assert len(site.asked("/zip")) == 2


def test_an_orbit_is_downloaded_for_a_product(site: Site, tmp_path: Path) -> None:
    expected = tmp_path / "cache" / "orbits" / ORBIT
    assert Path(good("orbit", f"some/folder/{NAME}.zip").strip()) == expected
    assert Path(good("orbit", "--mission", "S1B", *TIMES).strip()) == expected
    assert len([each for each in site.requests if each.path.endswith(".EOF")]) == 1
    none_yet = run("fetch", "orbit", "--mission", "S1A", *TIMES)
    assert none_yet.exit_code == 1
    assert "precise ones after about twenty days" in none_yet.stderr.splitlines()[-1]


@pytest.mark.usefixtures("site")
def test_a_dem_is_downloaded_with_its_vertical_datum_said() -> None:
    done = passing("fetch", "dem", "--bounds", "10.5", "46.2", "12.2", "46.8")
    paths = [Path(line) for line in done.stdout.split()]
    assert [path.name for path in paths] == ["N46E010.tif", "N46E011.tif", "N46E012_sea.tif"]
    assert all(path.is_file() for path in paths)
    assert "pass --vertical EGM2008" in done.stderr
    assert "assumed at sea level, without land: N46E012" in done.stderr
    facts = json.loads(good("dem", "--bounds", "10.5", "46.2", "10.6", "46.3", "--json", "-q"))
    assert facts["vertical"] == "EGM2008"


@pytest.mark.usefixtures("site")
def test_geoids_are_downloaded(tmp_path: Path) -> None:
    paths = [Path(line) for line in good("geoid").split()]
    assert [path.name for path in paths] == ["us_nga_egm08_25.tif", "us_nga_egm96_15.tif"]
    assert paths[0].parent == tmp_path / "cache" / "geoid"
    assert good("geoid", "EGM96").strip() == str(paths[1])


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (2, ("scenes",), "give either --bounds or --point"),
        (2, ("scenes", "--bounds", "1", "2", "3", "4"), "give --from"),
        (2, ("scenes", "--bounds", "1", "2"), "--bounds"),
        (2, ("orbit",), "give --mission"),
        (2, ("dem",), "--bounds"),
        (2, ("moon",), "moon"),
        (1, ("scenes", *ALPS, "--catalogue", "nowhere"), "no catalogue named 'nowhere'"),
        (1, ("scenes", "holiday.jpg"), "not the name of a Sentinel-1 product"),
        (1, ("scenes", NAME.replace("0401", "0402")), "does not have"),
        (1, ("geoid", "moon.tif"), "there is no grid"),
        (1, ("dem", "--bounds", "0", "10", "1", "5"), "south before north"),
    ],
)
def test_a_mistake_is_one_line(code: int, arguments: tuple[str, ...], message: str) -> None:
    assert message in failing(code, *arguments)


def test_an_interruption_says_that_nothing_is_lost(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object, **__: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(products, "ensure_file", interrupted)
    line = failing(130, "scenes", NAME, "--download", "-o", str(tmp_path))
    assert "downloads resume" in line
    assert site.asked("/zip") == []


def test_the_commands_of_the_guide_run(site: Site) -> None:
    """With the one scene of the server in place of the one that is spoken of."""
    text = "\n".join(
        re.findall(r"^```bash\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    )
    text = text.replace("\\\n", " ")
    commands = [
        shlex.split(line) for line in text.splitlines() if line.startswith("sarheight fetch")
    ]
    assert len(commands) >= 5
    for command in commands:
        good(*command[2:])
    assert len(site.asked("/zip")) >= 1


# --- progress ----------------------------------------------------------------------------------


def test_without_a_terminal_a_line_now_and_then() -> None:
    stream = io.StringIO()
    with show_progress(stream=stream) as report:
        for done in range(0, 1001, 100):
            report("file", done * 1000, 1_000_000)
        report("other", 5, None)
    assert stream.getvalue().splitlines() == [
        "file: 0 bytes of 1.0 MB",
        "file: 1.0 MB of 1.0 MB",
        "other: 5 bytes",
    ]


def test_on_a_terminal_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with show_progress(stream=stream) as report:
        report("file.zip", 0, 1000)
        report("file.zip", 1000, 1000)
    assert "file.zip" in stream.getvalue()


def test_quiet_is_quiet() -> None:
    stream = io.StringIO()
    with show_progress(quiet=True, stream=stream) as report:
        report("file", 1, 2)
    assert stream.getvalue() == ""
