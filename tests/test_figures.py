"""The record of figures, that README and docs quote what it says, and claims of long runs.

In Markdown a quoted figure is followed by a comment that names its key::

    the error is 0.013 m <!-- figure: core.round_trip_error -->
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import _figures
from benchmarks._figures import keep_runs, kept_runs, read, record
from benchmarks._fresh import claimed
from benchmarks._mountains.scenes import DATA, data_file, sites

ROOT = Path(__file__).parents[1]
UNITS = {
    "%": 100.0,
    "m": 1.0,
    "cm": 1e2,
    "mm": 1e3,
    "µm": 1e6,
    "s": 1.0,
    "ms": 1e3,
    "µs": 1e6,
    "ns": 1e9,
}
"""By what a figure in SI units, or a share, is multiplied before it is quoted."""
NUMBER = r"[-−+]?\d+(?:\.\d+)?(?:e[-−+]?\d+)?"
QUOTE = re.compile(
    rf"(?P<number>{NUMBER})(?:\s*±\s*(?P<spread>\d+(?:\.\d+)?))?(?:[\s\u00a0]*(?P<unit>[^\s|<*`,.;:)]+))?[*`]*[,.;:)]*"
    r"\s*<!--\s*figure:\s*(?P<key>[\w.]+)\s*-->"
)
COMMENT = re.compile(r"<!--\s*figure:\s*([\w.]+)\s*-->")


def agrees(number: str, unit: str | None, value: float) -> bool:
    """Tell whether a printed number is the value, to the digits that are printed."""
    text = number.replace("−", "-")
    printed = float(text)
    mantissa, _, exponent = text.partition("e")
    digits = len(mantissa.partition(".")[2])
    last = 10.0 ** (int(exponent or 0) - digits)
    return abs(printed - value * UNITS.get(unit or "", 1.0)) <= 0.5000001 * last


def pages() -> list[Path]:
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("benchmarks/**/*.md")]
    return [page for page in found if "_build" not in page.parts and page.exists()]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_quoted_figures_are_those_on_record(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    figures = read()
    quotes = list(QUOTE.finditer(text))
    assert [quote["key"] for quote in quotes] == COMMENT.findall(text), "a key without a number"
    for quote in quotes:
        assert quote["key"] in figures, f"{quote['key']} is not on record"
        value = figures[quote["key"]]["value"]
        assert isinstance(value, float)
        assert agrees(quote["number"], quote["unit"], value), f"{quote[0]}: on record {value}"
        if quote["spread"] is not None:
            spread = figures[quote["key"]]["spread"]
            assert isinstance(spread, float), f"{quote[0]}: no spread on record"
            assert agrees(quote["spread"], quote["unit"], spread), f"{quote[0]}: spread {spread}"


def test_every_figure_on_record_is_whole() -> None:
    for key, figure in read().items():
        assert _figures.KEY.fullmatch(key)
        assert set(figure) == {"value", "spread", "command", "commit", "machine", "date"}
        assert isinstance(figure["value"], float)
        assert figure["spread"] is None or isinstance(figure["spread"], float)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", str(figure["date"]))
        assert str(figure["command"]).startswith("python -m benchmarks")


@pytest.mark.parametrize(
    ("number", "unit", "value", "expected"),
    [
        ("12.3", "%", 0.1234, True),
        ("12.3", "%", 0.1236, False),
        ("0.013", "m", 0.01349, True),
        ("13", "mm", 0.01349, True),
        ("13.0", "mm", 0.01349, False),
        ("−4", "%", -0.038, True),
        ("2e-7", None, 2.3e-7, True),
        ("2.0e-7", None, 2.3e-7, False),
        ("34", "ns/cell", 34.4, True),
    ],
)
def test_a_number_agrees_to_its_printed_digits(
    number: str, unit: str | None, value: float, *, expected: bool
) -> None:
    assert agrees(number, unit, value) == expected


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_a_rounded_number_agrees_with_what_it_was_rounded_from(value: float, digits: int) -> None:
    assert agrees(f"{value:.{digits}f}", None, value)


@pytest.mark.parametrize(
    ("text", "number", "spread", "unit"),
    [
        ("by 12.3 % <!-- figure: core.a -->", "12.3", None, "%"),
        ("| **0.013 m**<!-- figure: core.a --> |", "0.013", None, "m"),
        ("| 8.4 ± 0.1 % <!-- figure: core.a -->|", "8.4", "0.1", "%"),
        ("(34 ns/cell) <!-- figure: core.a -->", "34", None, "ns/cell"),
        ("it is 2e-7. <!-- figure: core.a -->", "2e-7", None, None),
    ],
)
def test_quotes_are_found(text: str, number: str, spread: str | None, unit: str | None) -> None:
    quote = QUOTE.search(text)
    assert quote is not None
    assert (quote["number"], quote["spread"], quote["unit"]) == (number, spread, unit)


# ---------------------------------------------------------------------------------- the recorder


def test_runs_are_added_to_those_that_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_runs("deep", {"one": {"errors": [2.5, 1.0]}, "two": {"errors": [3.0]}}, tmp_path)
    before = kept_runs("deep", tmp_path)
    assert set(before["one"]) == {"errors", "commit", "machine", "date"}
    monkeypatch.setattr(_figures, "LOADED", "another")
    keep_runs("deep", {**before, "two": {"errors": [2.0]}, "three": {"errors": []}}, tmp_path)
    after = kept_runs("deep", tmp_path)
    assert after["one"] == before["one"], "what did not change stays as it was made"
    assert after["two"]["errors"] == [2.0]
    assert after["two"]["commit"] == after["three"]["commit"] == "another"
    assert kept_runs("other", tmp_path) == {}


def test_a_rerun_replaces_its_own_figures_only(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    record({"core.a": 1.0, "core.b": (2.0, 0.5)}, "python -m benchmarks.core", path)
    before = read(path)
    record({"core.b": 3.0, "core.c": 4.0}, "python -m benchmarks.other", path)
    after = read(path)
    assert after["core.a"] == before["core.a"]
    assert before["core.b"]["spread"] == 0.5
    assert (after["core.b"]["value"], after["core.b"]["spread"]) == (3.0, None)
    assert after["core.b"]["command"] == "python -m benchmarks.other"
    assert list(after) == ["core.a", "core.b", "core.c"]


def test_a_figure_says_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figures.json"
    record({"core.a": 1}, "python -m benchmarks.core", path)
    figure = json.loads(path.read_text(encoding="utf-8"))["core.a"]
    assert re.fullmatch(r".+, \d+ cores", figure["machine"])
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?|unknown", figure["commit"])


def test_a_write_that_fails_leaves_the_record_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figures.json"
    record({"core.a": 1.0}, "python -m benchmarks.core", path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        record({"core.a": 2.0}, "python -m benchmarks.core", path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["figures.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), (1.0, float("nan"))])
def test_a_figure_that_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match=r"core\.a, expected finite numbers"):
        record({"core.a": value}, "python -m benchmarks.core", tmp_path / "figures.json")


@pytest.mark.parametrize("key", ["core", "Core.a", "core a.b", "core..a", ""])
def test_a_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="expected lower-case words joined by dots"):
        record({key: 1.0}, "python -m benchmarks.core", tmp_path / "figures.json")


def test_a_record_that_is_not_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match="found list in"):
        record({"core.a": 1.0}, "python -m benchmarks.core", path)
    assert path.read_text() == "[]"


# ------------------------------------------------------------------------------------ the scenes


def test_missing_data_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA, str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=f"--data FOLDER or the environment variable {DATA}"
    ):
        data_file("dem/some.tif")


def test_a_scene_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="found no scene everest_32, expected some of big_tujunga"):
        sites(["everest_32"])


def test_a_run_is_claimed_by_one_process_and_freed_by_its_end(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "network_0"
    ask = (
        "import sys; from pathlib import Path; from benchmarks._fresh import claimed\n"
        "with claimed(Path(sys.argv[1])) as free: print(free)"
    )

    def other() -> str:
        command = [sys.executable, "-c", ask, str(run)]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    with claimed(run) as free:
        assert free
        assert other() == "False"
    assert other() == "True"
