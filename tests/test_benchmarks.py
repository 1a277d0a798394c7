"""Every benchmark takes the options that `python -m benchmarks` passes on to all of them."""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module

import pytest

import benchmarks
from benchmarks import __main__ as command
from benchmarks import _command
from benchmarks._command import tell

SCRIPTS = [
    each.name
    for each in pkgutil.iter_modules(benchmarks.__path__)
    if not each.ispkg and not each.name.startswith("_") and each.name != "equality"
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_describes_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python -m benchmarks.{name} ")
    assert "--save" in shown
    assert "--data" in shown, "`python -m benchmarks --data FOLDER` passes it to all"


@pytest.mark.parametrize("save", [True, False])
def test_figures_are_printed_and_go_on_record_if_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, save: bool
) -> None:
    kept = []
    monkeypatch.setattr(_command, "record", lambda *given: kept.append(given))
    figures = {"core.a": 75_432.0, "core.b": (0.25, 0.01)}
    tell(figures, "core --only a", save=save, goals={"core.b": ">= 0.2"})
    assert kept == ([(figures, "python -m benchmarks.core --only a --save")] if save else [])
    printed = capsys.readouterr().out.splitlines()
    lines = {line.split()[1]: line for line in printed if "│ core." in line}
    assert "75,432" in lines["core.a"]
    assert all(text in lines["core.b"] for text in ("0.25", "0.01", ">= 0.2"))


def test_an_unknown_benchmark_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "core"])
    with pytest.raises(SystemExit):
        command.main()
    assert "found core, expected some of accuracy" in capsys.readouterr().err
