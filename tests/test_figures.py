"""The record of figures, that README and docs quote what it says, and claims of long runs.

A page of the documentation quotes a figure by a role; in README a comment behind it names its key::

    the error is {figure}`core.round_trip_error .0f µm`
    the error is 36 µm <!-- figure: core.round_trip_error -->
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
from benchmarks._figures import Figure, keep_runs, kept_runs, prune, quoted, read, record, show
from benchmarks._mountains.scenes import DATA, data_file, sites
from benchmarks._runs import claimed

ROOT = Path(__file__).parents[1]
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)
NUMBER = r"[-−+]?\d+(?:\.\d+)?(?:e[-−+]?\d+)?"
QUOTE = re.compile(
    rf"(?P<number>{NUMBER})(?:\s*±\s*(?P<spread>\d+(?:\.\d+)?))?(?:[\s\u00a0]*(?P<unit>[^\s|<*`,.;:)]+))?[*`]*[,.;:)]*"
    r"\s*<!--\s*figure:\s*(?P<key>[\w.]+)\s*-->"
)


def agrees(number: str, unit: str | None, value: float) -> bool:
    """Tell whether a printed number is the value, to the digits that are printed."""
    text = number.replace("−", "-")
    printed = float(text)
    mantissa, _, exponent = text.partition("e")
    digits = len(mantissa.partition(".")[2])
    last = 10.0 ** (int(exponent or 0) - digits)
    return abs(printed - value * _figures.UNITS.get(unit or "", 1.0)) <= 0.5000001 * last


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_quote_figures_on_record(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    figures = read()
    for quote in _figures.ROLE.findall(text):
        show(quote, figures)
    assert not _figures.COMMENT.search(text), "pages are filled in by the role"
    assert text.count("{figure}") == len(_figures.ROLE.findall(text)), "a role without a key"


def test_readme_quotes_figures_on_record() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    figures = read()
    quotes = list(QUOTE.finditer(text))
    assert [quote["key"] for quote in quotes] == _figures.COMMENT.findall(text), "a key alone"
    for quote in quotes:
        value, spread = figures[quote["key"]]["value"], figures[quote["key"]]["spread"]
        assert agrees(quote["number"], quote["unit"], value), f"{quote[0]}: on record {value}"
        if quote["spread"] is not None:
            assert spread is not None, f"{quote[0]}: no spread on record"
            assert agrees(quote["spread"], quote["unit"], spread), f"{quote[0]}: spread {spread}"


def test_what_is_on_record_is_quoted() -> None:
    assert sorted(set(read()) - quoted()) == [], "python -m benchmarks --prune removes them"
    assert _figures.FIGURES.stat().st_size <= 300_000


def test_every_figure_on_record_is_whole() -> None:
    for key, figure in read().items():
        assert _figures.KEY.fullmatch(key)
        assert set(figure) == set(Figure.__annotations__)
        assert isinstance(figure["value"], float)
        assert figure["spread"] is None or isinstance(figure["spread"], float)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", figure["date"])
        assert figure["command"].startswith("python -m benchmarks")


FOUND: Figure = {
    "value": 0.0836,
    "spread": 0.0012,
    "command": "python -m benchmarks.core",
    "commit": "0123456",
    "machine": "a processor, 2 cores",
    "date": "2026-01-31",
}


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        (".1f %", 0.0836, "8.4 %"),
        (".1f ± %", 0.0836, "8.4 ± 0.1 %"),
        ("+.1f ± m", 3.24, "+3.2 ± 0.0 m"),
        (".0f µm", 36.4e-6, "36 µm"),
        (".1f mm", -0.0123, "−12.3 mm"),
        (".1e", 8.84e-08, "8.8e-08"),
        (".1f %", -0.0003, "0.0 %"),
        (".3f dB", 0.0719, "0.072 dB"),
        (".2f", 0.817, "0.82"),
    ],
)
def test_a_figure_is_shown_in_its_format(form: str, value: float, expected: str) -> None:
    assert show(f"core.a {form}", {"core.a": {**FOUND, "value": value}}) == expected


@pytest.mark.parametrize(
    ("quote", "message"),
    [
        ("core.b .1f %", r"core\.b is not in figures\.json; record it, or correct the key"),
        ("core.a", "expected a key and a format such as"),
        ("core.a 1 %", "expected a key and a format such as"),
        ("core.a .1f ±", r"core\.a has no spread on record; leave ± out"),
    ],
)
def test_a_role_that_shows_nothing_is_refused(quote: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        show(quote, {"core.a": {**FOUND, "spread": None}})


@given(st.floats(-1e6, 1e6), st.integers(0, 6), st.sampled_from(["", " %", " mm", " dB"]))
def test_a_figure_that_is_shown_agrees_with_itself(value: float, digits: int, unit: str) -> None:
    shown = show(f"core.a .{digits}f{unit}", {"core.a": {**FOUND, "value": value}})
    number, _, printed = shown.partition(" ")
    assert agrees(number, printed or None, value)


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


def test_figures_of_a_run_say_once_where_they_come_from(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figures.json"
    record({"core.b": 1, "core.a": (2.0, 0.5)}, "python -m benchmarks.core", path)
    record({"core.c": 3.0}, "python -m benchmarks.other", path)
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    assert [run["command"] for run in runs] == [
        "python -m benchmarks.core",
        "python -m benchmarks.other",
    ]
    assert runs[0]["figures"] == {
        "core.a": {"value": 2.0, "spread": 0.5},
        "core.b": {"value": 1.0, "spread": None},
    }
    assert re.fullmatch(r".+, \d+ cores", runs[0]["machine"])
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?|unknown", runs[0]["commit"])
    assert set(runs[0]) == {"command", "commit", "machine", "date", "figures"}


def test_figures_that_no_page_quotes_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    record({"core.a": 1.0, "core.b": 2.0}, "python -m benchmarks.core", path)
    record({"core.c": 3.0}, "python -m benchmarks.other", path)
    before = read(path)
    assert prune(["core.a", "core.unknown"], path) == ["core.b", "core.c"]
    assert read(path) == {"core.a": before["core.a"]}
    assert len(json.loads(path.read_text(encoding="utf-8"))["runs"]) == 1


def test_keys_are_found_in_readme_and_pages(tmp_path: Path) -> None:
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "_build").mkdir()
    (tmp_path / "README.md").write_text("by 1 % <!-- figure: core.a -->")
    (tmp_path / "docs" / "deep" / "page.md").write_text("| {figure}`core.b .1f ± %` |")
    (tmp_path / "docs" / "_build" / "page.md").write_text("{figure}`core.c .1f`")
    assert quoted(tmp_path) == {"core.a", "core.b"}


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


@pytest.mark.parametrize("text", ["[]", "{}", '{"runs": {}}'])
def test_a_record_that_is_not_one_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "figures.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="found no list of runs in"):
        record({"core.a": 1.0}, "python -m benchmarks.core", path)
    assert path.read_text() == text


def test_a_figure_of_two_runs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    record({"core.a": 1.0}, "python -m benchmarks.core", path)
    runs = json.loads(path.read_text())["runs"]
    path.write_text(json.dumps({"runs": runs * 2}))
    with pytest.raises(ValueError, match=r"found core\.a in two runs"):
        read(path)


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
        "import sys; from pathlib import Path; from benchmarks._runs import claimed\n"
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
