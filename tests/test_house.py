"""The rooms of the code: no leaks, no circles, and imports in one direction."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import house

ROOT = Path(__file__).parents[1]


def test_no_room_imports_private_parts_of_another() -> None:
    assert [str(each) for each in house.leaks()] == []


def test_no_room_imports_what_comes_later() -> None:
    assert [str(each) for each in house.upward()] == []


def test_no_modules_import_each_other() -> None:
    assert house.circles() == []


def test_every_room_has_its_place_in_line() -> None:
    rooms = {house.room_of(module) for module in house.modules()}
    assert rooms - {"sarheight", "sarheight_kernels", "__main__"} == set(house.RANK)


def test_files_hold_a_layer_each() -> None:
    """A file that outgrows a layer is split, not one that only reads shorter in two."""
    lines = {name: len(path.read_text().splitlines()) for name, path in house.modules().items()}
    assert {name: count for name, count in lines.items() if count > 800} == {}


def test_the_map_names_files_that_exist() -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8")))
    assert len(named) > 10
    missing = {
        name
        for name in named
        if not any((base / name).exists() for base in (ROOT, ROOT / "sarheight"))
    }
    assert missing == {"training.py", "predict.py"}  # of any room
