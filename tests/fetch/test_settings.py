"""Settings, the lazy namespace, checksums, retry policy, and how progress is shown."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sarheight.fetch
from sarheight._runtime import cache_directory
from sarheight.fetch import Checksum, Limits, Network, Settings
from sarheight.fetch.addresses import AddressRule
from sarheight.fetch.elevation import Tile
from sarheight.fetch.http import RetryPolicy


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("SARHEIGHT_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "SARHEIGHT_FETCH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


# --- settings ----------------------------------------------------------------------------------


def test_the_defaults_are_complete_and_harmless() -> None:
    known = Settings.load()
    assert (known.network, known.limits) == (Network(), Limits())
    assert {"copernicus", "asf", "planetary", "earthsearch"} <= set(known.catalogues)
    assert {"glo30", "glo90", "srtm"} <= set(known.dem)
    assert next(iter(known.orbits)) == "aws"
    sources = [*known.catalogues.values(), *known.orbits.values(), *known.geoid.values()]
    addresses = [source.url for source in sources]
    addresses += [Tile(46, 8).address(source.url) for source in known.dem.values()]
    for address in addresses:
        AddressRule().check(address)
    for account in known.accounts.values():
        hosts = {urlsplit(f"https://{host}").hostname for host in account.hosts}
        assert hosts == set(account.hosts)


def test_the_tiles_of_the_copernicus_model_are_called_as_they_are() -> None:
    source = Settings.load().dem["glo30"]
    name = "Copernicus_DSM_COG_10_S34_00_W070_00_DEM"
    assert Tile(-34, -70).address(source.url).endswith(f"/{name}/{name}.tif")
    assert [Tile(*corner).name for corner in ((-1, -1), (0, 0))] == ["S01W001", "N00E000"]
    assert Tile(46, 8).file_name(source.url) == "Copernicus_DSM_COG_10_N46_00_E008_00_DEM.tif"


def test_a_file_of_the_user_takes_precedence_key_by_key(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = home / ".config" / "sarheight" / "fetch.toml"
    usual.parent.mkdir(parents=True)
    usual.write_text(
        '[network]\ntries = 9\ntrusted_hosts = ["dem.intranet"]\n'
        '[catalogues.copernicus]\nurl = "https://stac.example.org"\n'
        '[dem.own]\nurl = "https://dem.intranet/{ns}{lat}{ew}{lon}.tif"\nvertical = "EGM96"\n'
    )
    known = Settings.load()
    assert known.network.tries == 9
    assert known.network.trusted_hosts == ("dem.intranet",)
    assert known.network.read_timeout == 60.0
    assert known.catalogues["copernicus"].url == "https://stac.example.org"
    assert known.catalogues["copernicus"].slc == "sentinel-1-slc"
    assert known.dem["own"].vertical == "EGM96"
    monkeypatch.setenv("SARHEIGHT_CATALOGUES_COPERNICUS_URL", "https://other.example.org")
    assert Settings.load().catalogues["copernicus"].url == "https://other.example.org"
    elsewhere = home / "other.toml"
    elsewhere.write_text("[network]\ntries = 2\n")
    assert Settings.load(elsewhere).network.tries == 2
    monkeypatch.setenv("SARHEIGHT_FETCH_CONFIG", str(elsewhere))
    assert Settings.load().network.tries == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[network\n", "is not TOML"),
        ("[network]\npatience = 3\n", "'patience'.*expected backoff"),
        ("[networks]\ntries = 3\n", "tables networks"),
        ("[dem.own]\nvertical = 'EGM96'\n", "incomplete .own"),
        ("[network]\ntries = '3'\n", "tries = '3'.*expected int"),
        ("[limits]\nreply_bytes = true\n", "reply_bytes = True.*expected int"),
        ("[network]\ntrusted_hosts = [5]\n", "expected tuple"),
        ("[network]\ntrusted_hosts = 'one'\n", "expected tuple"),
        ("[dem]\nown = 5\n", "5 .own.*expected a table"),
        ("network = 5\n", "expected a table"),
        ("a = " + "[" * 100_000, "is not TOML"),
    ],
)
def test_a_file_with_a_slip_says_where(home: Path, text: str, message: str) -> None:
    path = home / "fetch.toml"
    with pytest.raises(FileNotFoundError):
        Settings.load(path)
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Settings.load(path)


def test_the_cache_lies_where_it_is_wanted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_directory() == home / ".cache" / "sarheight"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "shared"))
    assert cache_directory() == home / "shared" / "sarheight"
    monkeypatch.setenv("SARHEIGHT_CACHE", str(home / "own"))
    assert cache_directory() == home / "own"
    assert Settings.load().cache == home / "own"


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("0", False), ("", False)])
def test_offline_is_a_variable(
    monkeypatch: pytest.MonkeyPatch, value: str, *, offline: bool
) -> None:
    monkeypatch.setenv("SARHEIGHT_OFFLINE", value)
    assert Settings.load().offline is offline


# --- the extra ---------------------------------------------------------------------------------


WITHOUT = """
import os, sys
if not os.fork():
    import sarheight.fetch
    print(*sys.modules, flush=True)
    os._exit(0)
assert os.wait()[1] == 0
import sarheight.archives, sarheight.workflow.elevations, sarheight.workflow.images
import dask.array, numba, pyproj, rioxarray, scipy.optimize
from unittest.mock import Mock
from typer.testing import CliRunner
from sarheight.cli import app

def doors():
    images = {"vv": {"href": "https://example.org/vv.tif"}}
    for door in (
        "import sarheight; sarheight.fetch.scenes",
        "from sarheight.buildings import image_items",
        "from sarheight.buildings import building_tiles",
        "from sarheight import archives; archives.open_rtc({'assets': images})",
        "from sarheight.workflow.images import fetch_orbit; fetch_orbit(Mock(), Mock())",
        "from sarheight.workflow.elevations import open_elevations as open_dem;"
        "from sarheight.workflow.config import GridConfig;"
        "open_dem(GridConfig(dem=('auto',)), None, Mock())",
    ):
        try:
            exec(door, {"images": images, "Mock": Mock})
        except ImportError as error:
            yield f"{type(error).__name__}: {error}"

def commands():
    times = "--from 2021-04-01 --to 2021-04-02"
    for command in (
        f"scenes --point 7 45 {times}",
        f"orbit --mission S1A {times}",
        "dem --bounds 7 45 8 46",
        "geoid",
        f"scenes --point 7 45 {times} --catalogue asf",
    ):
        yield from CliRunner().invoke(app, ["fetch", *command.split()]).output.splitlines()

for case in sys.argv[1:]:
    kind, library = case.split()
    if os.fork():
        assert os.wait()[1] == 0
        continue
    sys.modules[library] = None
    for line in {"doors": doors, "commands": commands}[kind]():
        print(case, line, sep="\\t", flush=True)
    os._exit(0)
"""
"""A process for each kind of door and library that is missing, of one that has loaded neither."""


def test_without_the_extra_imports_work_and_each_error_names_it() -> None:
    counts = {
        "doors requests": 6,
        "doors filelock": 6,
        "commands urllib3": 5,
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *counts],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"SARHEIGHT_OFFLINE": "1"},
    )
    loaded, *printed = done.stdout.splitlines()
    assert set(loaded.split()).isdisjoint({"requests", "filelock", "pystac", "asf_search"})
    lines = [line.split("\t") for line in printed]
    told = [(case, line) for case, line in lines if "SARHEIGHT_OFFLINE" not in line]
    assert Counter(case for case, _ in told) == counts
    for case, line in told:
        assert case.split()[1] in line
        assert line.endswith("pip install 'sarheight[fetch]'")
        assert "unexpected" not in line


def test_all_that_is_offered_is_there() -> None:
    for name in sarheight.fetch.__all__:
        assert getattr(sarheight.fetch, name) is not None
    assert set(sarheight.fetch.__all__) <= set(dir(sarheight.fetch))
    with pytest.raises(AttributeError, match="everything"):
        _ = sarheight.fetch.everything


# --- checksums ---------------------------------------------------------------------------------


@given(body=st.binary(max_size=200), kind=st.sampled_from(["md5", "sha1", "sha256", "sha512"]))
def test_a_checksum_is_read_in_every_spelling(body: bytes, kind: str) -> None:
    value = hashlib.new(kind, body).hexdigest()
    expected = Checksum(kind, value)
    beginning = {"md5": "d50110", "sha1": "1114", "sha256": "1220", "sha512": "1340"}[kind]
    assert Checksum.from_multihash(beginning + value.upper()) == expected
    assert Checksum.parse(kind.upper(), f" {value} ") == expected


def test_a_checksum_that_is_none_is_none_or_refused() -> None:
    for text in ("", None, 5, "1e20" + "00" * 32, "d50110" + "00", "122", "zz"):
        assert Checksum.from_multihash(text) is None
    for kind in ("md5", "crc9000"):
        with pytest.raises(ValueError, match=r"not a checksum|unsupported"):
            Checksum(kind, "short")


def test_a_checksum_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    wanted = Checksum("sha256", hashlib.sha256(b"contents").hexdigest())
    assert wanted.compute(tmp_path / "file") == wanted.value


# --- waiting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "soon", "²", "9" * 5000, "Thu, 99 Foo", "Thu, 01 Apr 2021 05:26:23 GMT"]
)
def test_a_wait_that_makes_no_sense_is_not_waited(text: str) -> None:
    network = Network(tries=2, backoff=0.0, longest_wait=0.1)
    RetryPolicy(network).wait("busy", {"Retry-After": text})
