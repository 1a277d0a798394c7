"""Options: one source for Python, command line, files and provenance."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarheight.errors import OptionError
from sarheight.workflow.config import MaskConfig, ReconstructConfig, RefineConfig, SeriesConfig
from sarheight.workflow.options import describe, read_table, to_toml

SETTINGS = (
    ReconstructConfig(image="a.nc", dem=("b.tif",)),
    ReconstructConfig(
        image="https://example.org/a.SAFE.zip",
        dem=("auto",),
        vertical=47.5,
        nodata=-3.4028234663852886e38,
        condition="fill",
        orbit="auto",
        bounds=(179.5, -17.0, -179.5, -16.0),
        swaths=("IW1", "IW2"),
        spacing=20.0,
        noise_removal=False,
        calibration="gamma0",
        polarisations=("VV",),
        coregister="correct",
        method="one-step",
        law="cosine:0.3,2",
        memory="900 MiB",
    ),
    ReconstructConfig(
        image="ä 'b\"\\c.nc", dem=("x.tif", "y.tif"), like=("l.xml",), multilook=(2, 3)
    ),
)


@pytest.mark.parametrize("settings", SETTINGS, ids=["default", "all", "names"])
def test_a_configuration_is_read_back_equal(settings: ReconstructConfig, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(to_toml("reconstruct", settings.to_dict()), encoding="utf-8")
    assert ReconstructConfig.from_dict(read_table(path, "reconstruct")) == settings
    as_json = json.loads(json.dumps(settings.to_dict()))
    assert ReconstructConfig.from_dict(as_json) == settings
    assert ReconstructConfig.from_dict(settings.record()) == settings


def test_the_record_contains_neither_folders_nor_secrets() -> None:
    settings = ReconstructConfig(
        image="https://me:secret@example.org/a.zip?signature=secret#part",
        dem=("/home/me/dem.tif", "auto.tif"),
        like=("/home/me/like.xml",),
    )
    record = settings.record()
    assert record["image"] == "https://example.org/a.zip"
    assert record["dem"] == ["dem.tif", "auto.tif"]
    assert record["like"] == ["like.xml"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dem": None}, "dem: "),
        ({"dem": ["auto", "b"]}, "dem: found auto beside files"),
        ({"method": "magic"}, "method: "),
        ({"law": "gauss"}, "law: found 'gauss'"),
        ({"method": "rtc", "law": "lambert"}, "law: found lambert beside method rtc"),
        ({"memory": "3"}, "memory: found a memory limit of '3'"),
        ({"spacing": 0.1}, "spacing: "),
        ({"bounds": [1, 2, 3]}, "bounds: "),
        ({"spacing": 20, "multilook": [2, 2]}, "not both"),
        ({"brightness": 3}, "found the option 'brightness'"),
        ({"burst": 1.5}, "burst: found 1.5, expected a whole number"),
        ({"burst": -1}, "burst: found -1, expected 0 or more"),
        ({"spacing": True}, "spacing: found True, expected a number"),
        ({"spacing": "nan"}, "spacing: found nan, expected 1 or more"),
        ({"verify": "perhaps"}, "verify: found 'perhaps', expected true"),
        ({"multilook": [2, 0]}, "multilook: found 0, expected 1 or more"),
        ({"image": ["a"]}, "image: found .'a'., expected a text"),
        ({"dem": 3.0, "guide": 4}, "guide: found 4, expected a path"),
        ({"dem": {"x": 1}}, "dem: found .*, expected a text"),
        ({"mgrs": "32TPT", "crs": "EPSG:32632"}, "omit crs and align"),
        ({"orbit": "orbit.tif"}, "orbit: found 'orbit.tif', expected an"),
        ({"guide": "g", "law": "gamma"}, "guide: found it beside law gamm"),
    ],
)
def test_what_is_impossible_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReconstructConfig.from_dict({"image": "a", "dem": "b"} | values)


@pytest.mark.parametrize("kind", [MaskConfig, ReconstructConfig, RefineConfig, SeriesConfig])
def test_every_option_says_what_it_is(kind: type[object]) -> None:
    for name, one in describe(kind).items():
        assert one.help.endswith((".", ")")), f"{name} is not described"
        assert one.option.positional or one.option.group or name == "geometry"


def test_texts_become_the_types_of_the_fields() -> None:
    texts = {
        "image": Path("a.nc"),
        "dem": "b.tif",
        "vertical": "47.5",
        "burst": "2",
        "spacing": "20",
        "bounds": ["10", "46", "11", "47"],
        "noise-removal": "no",
        "verify": "true",
        "polarisations": "vv, VH",
        "like": "x.tif",
        "guide": None,
    }
    found = ReconstructConfig.from_dict(texts)
    assert (found.image, found.dem, found.vertical, found.burst) == ("a.nc", ("b.tif",), 47.5, 2)
    assert (found.spacing, found.bounds) == (20.0, (10.0, 46.0, 11.0, 47.0))
    assert (found.noise_removal, found.verify) == (False, True)
    assert (found.polarisations, found.like, found.guide) == (("VV", "VH"), ("x.tif",), None)
    assert ReconstructConfig.from_dict(texts | {"vertical": "EGM96"}).vertical == "EGM96"


def test_relative_paths_count_from_a_folder(tmp_path: Path) -> None:
    values = {"image": "https://example.org/a.zip", "dem": ["b.tif", "/c.tif"], "guide": "g.tif"}
    found = ReconstructConfig.from_dict(values, tmp_path)
    assert found.image == "https://example.org/a.zip"
    assert found.dem == (str(tmp_path / "b.tif"), "/c.tif")
    assert found.guide == tmp_path / "g.tif"
    assert ReconstructConfig.from_dict({"image": "a", "dem": "auto"}, tmp_path).dem == ("auto",)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "nodata": st.floats(allow_nan=False),
            "burst": st.integers(0, 99),
            "spacing": st.floats(1.0, 1e6),
            "multilook": st.tuples(st.integers(1, 99), st.integers(1, 99)),
            "vertical": st.one_of(
                st.floats(allow_nan=False), st.sampled_from(["EGM96", "EGM2008"])
            ),
            "facility": st.text(
                st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20
            ),
        },
    )
)
def test_any_values_survive_a_file(values: dict[str, object]) -> None:
    if {"spacing", "multilook"} <= set(values):
        values.pop("spacing")
    made = ReconstructConfig.from_dict(values | {"image": "a", "dem": "b"})
    table = tomllib.loads(to_toml("reconstruct", made.to_dict()))["reconstruct"]
    assert ReconstructConfig.from_dict(table) == made


def test_the_message_has_names_of_python_and_the_error_those_of_the_command_line() -> None:
    error = OptionError("found it beside --noise-removal, not in a--b", option="burst")
    assert str(error) == "burst: found it beside noise_removal, not in a--b"
    assert error.found == "found it beside --noise-removal, not in a--b"
