"""The trainer of all networks: runs that resume, repeat, are calibrated, and are not mixed."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from collections.abc import Callable
from pathlib import Path

from torch import nn
from torch.utils.data import DataLoader

from sarheight.errors import CheckpointError
from sarheight.learning import (
    Pretrained,
    RootMeanSquaredError,
    RunSettings,
    Task,
    TrainingResult,
    seeded,
    train,
)
from sarheight.learning.settings import Optimiser, Schedule, split_batches
from sarheight.learning.training import EpochLoader
from tests.networks import assert_same_weights, curve

SETTINGS = RunSettings(
    batch=4, epochs=6, patience=6, rate=3e-2, precision="32-true", threads=1, seed=3
)


class Line(Pretrained):
    """A line with dropout, whose random numbers a resumed run must repeat."""

    kind: ClassVar[str] = "line"

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width, self.offset = width, 0.0
        self.layers = nn.Sequential(nn.Linear(1, width), nn.Dropout(0.2), nn.Linear(width, 1))

    def configuration(self) -> dict[str, Any]:
        return {"width": self.width}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layers(x)
        return found


class LineTask(Task[Line]):
    def __init__(self, network: Line, settings: RunSettings) -> None:
        metrics = {
            "rmse": RootMeanSquaredError(),
            "rmse_positive": RootMeanSquaredError("positive"),
        }
        super().__init__(network, settings, metrics)

    def forward(self, sample: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.network(sample["x"])

    def loss(self, output: torch.Tensor, sample: dict[str, torch.Tensor]) -> torch.Tensor:
        return nn.functional.mse_loss(output, sample["y"])

    def measure(self, output: torch.Tensor, sample: dict[str, torch.Tensor]) -> None:
        self.metrics.update(output, sample["y"], positive=sample["x"] > 0.0)

    def calibrate(self, data: EpochLoader) -> dict[str, float]:
        assert not self.network.training
        with torch.inference_mode():
            missed = [self(each) - each["y"] for each in data.val_dataloader()]
        return {"bias": float(torch.cat(missed).mean())}


class Points:
    """Points on a line, other ones in each epoch."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        x = np.random.default_rng([self.seed, self.epoch, index]).normal(size=1).astype(np.float32)
        return {"x": x, "y": 2.0 * x + np.float32(1.0)}


def run(
    folder: Path, settings: RunSettings = SETTINGS, samples: Points | None = None
) -> TrainingResult[Line]:
    with seeded(settings.seed):
        task = LineTask(Line(), settings)
    return train(
        task,
        Points(21, 0) if samples is None else samples,
        Points(9, 1),
        folder,
        accelerator="cpu",
        progress=False,
    )


def test_a_line_is_learnt_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    result = run(tmp_path, replace(SETTINGS, epochs=30, patience=30))
    errors = curve(tmp_path, "validation_rmse")
    assert min(errors) < 0.5 * errors[0]
    assert result.figures["validation_rmse"] == pytest.approx(min(errors), rel=1e-5)
    assert set(result.figures) == {"validation_rmse", "bias"}
    assert len(curve(tmp_path, "validation_rmse_positive")) == len(errors)
    held_out = Points(9, 1)
    x, y = (torch.tensor(np.stack([held_out[k][name] for k in range(9)])) for name in "xy")
    with torch.inference_mode():
        rmse = float((result.network(x) - y).square().mean().sqrt())
    assert rmse == pytest.approx(min(errors), rel=1e-5)
    assert_same_weights(result.network, Line.from_pretrained(result.folder))


def test_a_finished_run_is_loaded_and_another_is_refused(tmp_path: Path) -> None:
    first = run(tmp_path)
    changed = (tmp_path / "last.ckpt").stat().st_mtime_ns
    second = run(tmp_path)
    assert_same_weights(first.network, second.network)
    assert second.figures == first.figures
    assert (tmp_path / "last.ckpt").stat().st_mtime_ns == changed
    with pytest.raises(CheckpointError, match="another folder"):
        run(tmp_path, replace(SETTINGS, seed=4))
    with pytest.raises(ValueError, match="found 0 samples for training"):
        run(tmp_path / "other", samples=Points(0, 0))
    assert not (tmp_path / "other" / "model").exists()


@pytest.mark.parametrize(
    ("schedule", "optimiser"),
    [("one_cycle", "adamw"), ("cosine", "adamw"), ("trapezoid", "adam"), ("constant", "nadam"),
     ("plateau", "adam")],
)  # fmt: skip
def test_an_interrupted_run_resumes_to_the_same_curve_and_weights(
    tmp_path: Path, schedule: Schedule, optimiser: Optimiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, epochs=4, schedule=schedule, optimiser=optimiser, plateau=1)
    whole = run(tmp_path / "whole", settings)
    step = LineTask.training_step

    def failing(self: LineTask, sample: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        if self.current_epoch == 2 and index == 1:
            raise InterruptedError
        return step(self, sample, index)

    with monkeypatch.context() as patch:
        patch.setattr(LineTask, "training_step", failing)
        with pytest.raises(InterruptedError):
            run(tmp_path / "stopped", settings)
    assert not (tmp_path / "stopped" / "model").exists()
    names = ("epoch", "step", "training_loss", "validation_rmse")
    curves = [curve(tmp_path / "whole", name) for name in names]
    assert [curve(tmp_path / "stopped", name) for name in names] == [each[:2] for each in curves]
    resumed = run(tmp_path / "stopped", settings)
    assert_same_weights(whole.network, resumed.network)
    assert resumed.figures == whole.figures
    assert [curve(tmp_path / "stopped", name) for name in names] == curves
    assert [len(each) for each in curves] == [4] * 4


def fill_the_disk(patch: pytest.MonkeyPatch) -> None:
    """Have the checkpoint of the second epoch find no space."""
    from lightning.fabric.plugins.io import torch_io

    save = torch_io._atomic_save

    def full(checkpoint: dict[str, object], path: object, **rest: object) -> None:
        if checkpoint["epoch"] == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(checkpoint, path, **rest)

    patch.setattr(torch_io, "_atomic_save", full)


def break_the_calibration(patch: pytest.MonkeyPatch) -> None:
    """Have the calibration after the last epoch be stopped by the user."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    patch.setattr(LineTask, "calibrate", stop)


@pytest.mark.parametrize(
    ("spoil", "error"), [(fill_the_disk, OSError), (break_the_calibration, KeyboardInterrupt)]
)
def test_a_run_that_cannot_finish_leaves_no_model_and_resumes(
    tmp_path: Path,
    spoil: Callable[[pytest.MonkeyPatch], None],
    error: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(SETTINGS, epochs=2)
    with monkeypatch.context() as patch:
        spoil(patch)
        with pytest.raises(error):
            run(tmp_path / "run", settings)
    assert not (tmp_path / "run" / "model").exists()
    resumed, whole = (run(tmp_path / name, settings).network for name in ("run", "whole"))
    assert_same_weights(resumed, whole)


def test_the_gradient_is_clipped(tmp_path: Path) -> None:
    def moved(clip: float | None) -> torch.Tensor:
        settings = replace(SETTINGS, epochs=1, decay=0.0, clip=clip, keep="last")
        network = run(tmp_path / f"{clip}", settings).network
        return nn.utils.parameters_to_vector(network.parameters()).detach()

    begun, limited, free = (moved(clip) for clip in (1e-30, 1e-9, None))
    near, far = (float((each - begun).abs().max()) for each in (limited, free))
    # Adam takes a step of any gradient that is not small against its epsilon of 1e-8.
    assert 0.0 < near < 0.2 * far


def test_settings_are_written_again_completed_or_explained(tmp_path: Path) -> None:
    """A machine that stops may leave the file of the settings empty."""
    path, settings = tmp_path / "settings.json", replace(SETTINGS, epochs=1)
    path.write_text("")
    result = run(tmp_path, settings)
    written = json.loads(path.read_text())
    assert RunSettings.read(path) == settings
    del written["clip"]  # has its default
    path.write_text(json.dumps(written))
    assert run(tmp_path, settings).figures == result.figures
    path.write_text("\n")
    with pytest.raises(CheckpointError, match="is empty, so that nothing tells whether the run"):
        run(tmp_path, settings)
    path.write_text(json.dumps({"learning_rate": 1.0}))
    with pytest.raises(ValueError, match="found learning_rate"):
        RunSettings.read(path)


def test_a_training_that_diverges_leaves_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="its training diverged"):
        run(tmp_path, replace(SETTINGS, rate=1e30, clip=None, schedule="constant", keep="last"))
    assert not (tmp_path / "model").exists()


def test_the_last_weights_may_be_kept(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=5, rate=0.3, schedule="constant", keep="last")
    result = run(tmp_path, settings)
    errors = curve(tmp_path, "validation_rmse")
    assert errors[-1] != min(errors)
    assert result.figures["validation_rmse"] == pytest.approx(errors[-1], rel=1e-5)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    for name, value in result.network.state_dict().items():
        torch.testing.assert_close(value, state[f"network.{name}"], rtol=0, atol=0)


def test_training_leaves_random_numbers_and_threads_alone(tmp_path: Path) -> None:
    torch.manual_seed(17)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(17)
    run(tmp_path, replace(SETTINGS, epochs=1))
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    assert torch.get_num_threads() == threads


def test_samples_may_state_their_order_and_make_whole_batches(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    class Batches(Points):
        def draw_order(self, random: np.random.Generator) -> np.ndarray:
            return random.integers(5, size=8)

        def __getitems__(self, indices: list[int]) -> dict[str, np.ndarray]:
            seen.append(indices)
            samples = [self[index] for index in indices]
            return {name: np.stack([each[name] for each in samples]) for name in "xy"}

    run(tmp_path, replace(SETTINGS, epochs=2), Batches(21, 0))
    assert [len(each) for each in seen] == [4, 4, 4, 4]
    assert all(index < 5 for each in seen for index in each)
    assert seen[:2] != seen[2:]


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(8, 4, [4, 4]), (9, 4, [4, 5]), (10, 4, [4, 4, 2]), (1, 4, [1]), (3, 8, [3]), (5, 1, [1] * 5)],
)
def test_no_batch_has_one_sample_alone(count: int, size: int, expected: list[int]) -> None:
    batches = split_batches(np.arange(count), size)
    assert [each.size for each in batches] == expected or size == 1
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(count))


@pytest.mark.parametrize(
    "changes",
    [
        *({"keep": "first"}, {"optimiser": "sgd"}, {"schedule": "linear"}, {"precision": "8-bit"}),
        *({"warm_up": 1.0}, {"cool_down": 0.95}, {"threads": -1}, {"least_rate": -1e-3}),
        *({"plateau": 0}, {"batch": 0}, {"clip": 0.0}, {"epochs": "60"}, {"decay": -1.0}),
        {"workers": -1},
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(SETTINGS, **changes)


# Of Lightning itself.
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore:.*many workers")
def test_lightning_predicts_with_a_task(tmp_path: Path) -> None:
    import lightning

    network = run(tmp_path).network
    held_out = Points(9, 1)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    found = trainer.predict(LineTask(network, SETTINGS), DataLoader(held_out, 4))  # type: ignore[arg-type]
    assert found is not None
    x = torch.tensor(np.stack([held_out[number]["x"] for number in range(9)]))
    with torch.inference_mode():
        torch.testing.assert_close(torch.cat(found), network.eval()(x))
