"""Training a network for terrain heights: settings, loss, calibration, runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import lightning
import numpy as np
import torch
from sarheight_kernels.profiles import ACTIVE_LAYOVER, LAYOVER_AND_SHADOW, PASSIVE_LAYOVER
from scipy.ndimage import uniform_filter
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from sarheight.dem import local_posting
from sarheight.learning.channels import Channel, ChannelStatistics, require_power
from sarheight.learning.run import (
    EpochLoader,
    RunSettings,
    count_steps,
    fit,
    one_cycle_adamw,
    prepare_run,
    require_one_of,
    require_positive,
)
from sarheight.learning.split import require_disjoint
from sarheight.terrain.networks import NETWORKS, HeightEstimator, Reference
from sarheight.terrain.patches import TerrainPatches

if TYPE_CHECKING:
    import os

    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.learning.channels import Transform
    from sarheight.learning.split import Part
    from sarheight.learning.training import Samples
    from sarheight.terrain.networks import HeightEstimate

Loss = Literal["l1", "l2"]
Sample = dict[str, Tensor]

POWER = ("gamma0", "sigma0", "beta0")
MONITORED = "validation_rmse"
WARM_UP = 0.05
"""Fraction of all steps over which the learning rate rises."""
LAYOVER = (ACTIVE_LAYOVER, PASSIVE_LAYOVER, LAYOVER_AND_SHADOW)
BATCH = 8
LEVEL = 0.8
"""Probability of the intervals that are calibrated."""


@dataclass(frozen=True, kw_only=True)
class TerrainSettings(RunSettings):
    """Settings of a training run for terrain heights.

    Parameters
    ----------
    channels : tuple of str
        Variables of the scenes that make the image. Names that begin with gamma0, sigma0 or beta0
        are power, and are converted to decibels.
    network, options, reference, surfaces, uncertainty, height_std, output_std
        See `sarheight.terrain.HeightEstimator`.
    loss : {"l1", "l2"}
        Of the heights, in units of `output_std`: absolute or squared errors.
    size, stride : int
        Of the patches, in cells.
    known_count : tuple of int
        Smallest and largest number of known elevations in a patch.
    known_sigma : float
        Standard deviation of their errors in metres.
    batch, epochs, patience, rate, decay, clip, precision, workers, seed
        See `RunSettings`. The optimiser is AdamW, whose rate rises over the first twentieth of
        the steps and falls as a cosine to zero.

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of its range.
    """

    channels: tuple[str, ...] = (
        "gamma0_posterior_unflattened",
        "local_incidence",
        "contribution_share",
    )
    network: str = "ask_unet"
    options: dict[str, Any] = field(default_factory=lambda: {"width": 32, "depth": 4})
    reference: Reference = "coarse"
    surfaces: tuple[str, ...] = ()
    uncertainty: bool = True
    height_std: float = 100.0
    output_std: float | None = 10.0
    loss: Loss = "l2"
    size: int = 128
    stride: int = 64
    known_count: tuple[int, int] = (4, 64)
    known_sigma: float = 0.0

    def __post_init__(self) -> None:
        """Check the values; lists, as JSON has them, become tuples."""
        for name in ("channels", "surfaces", "known_count"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        require_one_of("network", self.network, tuple(NETWORKS))
        require_one_of("reference", self.reference, get_args(Reference))
        require_one_of("loss", self.loss, get_args(Loss))
        require_positive(self, ("size", "stride", "height_std"))
        if not self.channels:
            msg = "found no channels, expected one at least as the input of the network"
            raise ValueError(msg)


def height_loss(estimate: HeightEstimate, truth: Tensor, unit: float, kind: str = "l2") -> Tensor:
    r"""Return the loss of estimated heights.

    The mean of :math:`|e|` or :math:`e^2` over all cells with a true height, where :math:`e` is
    the error in units of `unit`. An estimate with a scale adds the negative log-likelihood of a
    Laplace distribution, :math:`\ln 2 b + |e| / b`, with :math:`e` held constant: the scale
    follows the errors, and does not influence the heights. Shapes are (batch, 1, rows, columns);
    `truth` in metres may be NaN.
    """
    valid = torch.isfinite(truth)
    error = torch.where(valid, truth - estimate.height, 0.0) / unit
    count = valid.sum().clamp(min=1)
    size = error.abs() if kind == "l1" else error**2
    loss = size.sum() / count
    if estimate.scale is None:
        return loss
    scale = estimate.scale / unit
    surprise = torch.log(2.0 * scale) + error.detach().abs() / scale
    return loss + torch.where(valid, surprise, 0.0).sum() / count


def measure_scale_factor(estimator: HeightEstimator, patches: Samples) -> float:
    r"""Return the factor of an estimator's scales with which its 80 % intervals hold 80 %.

    The absolute error of a Laplace distribution with scale :math:`b` is below :math:`b \ln 5` with
    a probability of 80 %. The factor is the quotient of the 80 % quantile of :math:`|e| / b` over
    all cells and :math:`\ln 5`.
    """
    ratios = []
    with torch.inference_mode():
        # A generator of its own leaves the global random state alone.
        for sample in DataLoader(cast("Any", patches), BATCH, generator=torch.Generator()):
            height, scale = estimator(sample)
            ratio = ((height - sample["truth"]).abs() / scale).numpy()
            ratios.append(ratio[np.isfinite(ratio)])
    found = np.concatenate(ratios) if ratios else np.empty(0)
    if not found.size:
        return 1.0
    return float(np.quantile(found, LEVEL) / -np.log1p(-LEVEL))


class HeightTask(lightning.LightningModule):
    """Training of an estimator of terrain heights."""

    def __init__(self, estimator: HeightEstimator, settings: TerrainSettings, steps: int) -> None:
        super().__init__()
        self.estimator = estimator
        estimator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings, self.steps = settings, steps
        self.all_cells, self.in_layover = MeanMetric(), MeanMetric()

    def training_step(self, sample: Sample, _index: int) -> Tensor:
        """Return the loss of a batch."""
        return self._logged_loss("training_loss", self.estimator(sample), sample)

    def validation_step(self, sample: Sample, _index: int) -> None:
        """Accumulate squared errors of a batch."""
        estimate = self.estimator(sample)
        self._logged_loss("validation_loss", estimate, sample)
        error = (estimate.height - sample["truth"]).float() ** 2
        layover = torch.isin(sample["mask"], torch.tensor(LAYOVER, device=error.device))
        valid = torch.isfinite(error)
        for metric, where in ((self.all_cells, valid), (self.in_layover, valid & layover)):
            if where.any():
                metric.update(error[where])

    def _logged_loss(self, name: str, estimate: HeightEstimate, sample: Sample) -> Tensor:
        """Compute the loss of a batch, and log its mean over the epoch."""
        truth = sample["truth"]
        loss = height_loss(estimate, truth, self.estimator.output_std, self.settings.loss)
        self.log(name, loss, on_step=False, on_epoch=True, batch_size=len(truth))
        return loss

    def on_validation_epoch_end(self) -> None:
        """Log the root mean squared errors in metres."""
        for metric, suffix in ((self.all_cells, ""), (self.in_layover, "_layover")):
            if metric.update_called:
                self.log(MONITORED + suffix, torch.sqrt(metric.compute()), prog_bar=True)
            metric.reset()

    def configure_optimizers(self) -> Any:  # noqa: ANN401  # as Lightning has it
        """Return AdamW and its schedule."""
        return one_cycle_adamw(
            self.estimator.parameters(), self.settings, self.steps, warm_up=WARM_UP
        )


def normalised_channels(scenes: Sequence[xr.Dataset], names: Sequence[str]) -> list[Channel]:
    """Return the channels of the image, with statistics over the scenes."""
    described = _layers(scenes[0], names)
    statistics = ChannelStatistics([channel for channel, _ in described])
    for scene in scenes:
        for channel, layer in _layers(scene, names):
            if channel.transform == "decibel":
                require_power(channel.name, layer)
            statistics.update({channel.name: layer})
    return statistics.channels()


def _layers(scene: xr.Dataset, names: Sequence[str]) -> list[tuple[Channel, NDArray[np.floating]]]:
    """Return the layers of an image, one for each polarisation, and what they are."""
    found = []
    for name in names:
        variable = scene[name]
        power = name.startswith(POWER) and "variance" not in name
        transform: Transform = "decibel" if power else "none"
        units = str(variable.attrs.get("units", "1"))
        if "polarisation" not in variable.dims:
            found.append((Channel(name, units, transform), variable.values))
            continue
        for label in variable["polarisation"].values:
            channel = Channel(f"{name}_{str(label).lower()}", units, transform)
            found.append((channel, variable.sel(polarisation=label).values))
    return found


def training_range(scenes: Sequence[xr.Dataset]) -> dict[str, list[float]]:
    """Return the range of posting, coarse cells, errors of the coarse DEM and incidence of scenes.

    The error is that of heights averaged over a coarse cell: detail within cells is no error of
    theirs. Where scenes do not state the posting of their coarse DEM, cells are left out.
    """
    found: dict[str, list[float]] = {"posting": [], "coarse_error": [], "incidence": []}
    cells = []
    for scene in scenes:
        posting = float(np.sqrt(np.prod(local_posting(scene["height"]))))
        found["posting"].append(posting)
        ratio = 3.0
        if "coarse_posting_m" in scene.attrs:
            ratio = float(np.sqrt(np.prod(scene.attrs["coarse_posting_m"]))) / posting
            cells.append(round(ratio, 3))
        error = (scene["coarse_height"] - scene["height"]).values.astype(np.float64)
        valid = np.isfinite(error)
        if valid.any():
            size = max(round(ratio), 1)
            mean = uniform_filter(np.where(valid, error, 0.0), size)[valid]
            found["coarse_error"].append(float(np.sqrt(np.mean(mean**2))))
        if "ellipsoid_incidence" in scene:
            angles = scene["ellipsoid_incidence"].values
            found["incidence"] += [float(np.nanmin(angles)), float(np.nanmax(angles))]
    if len(cells) == len(scenes):
        found["cells"] = cells
    limits = {name: [min(values), max(values)] for name, values in found.items() if values}
    return {name: values for name, values in limits.items() if np.isfinite(values).all()}


def train_terrain(
    scenes: Sequence[xr.Dataset],
    training: Sequence[Part],
    validation: Sequence[Part | None],
    settings: TerrainSettings,
    folder: str | os.PathLike[str],
    *,
    accelerator: str = "auto",
    progress: bool = True,
    card: Mapping[str, Any] | None = None,
) -> HeightEstimator:
    """Train a network to estimate terrain heights.

    The folder gets ``settings.json``, the curves (``curves/metrics.csv``, and those for
    TensorBoard if it is installed), ``last.ckpt`` after each epoch, and at the end ``model``:
    the network of the epoch with the lowest validation RMSE, with intervals calibrated on the
    parts for validation. An interrupted run is resumed by the same call, after its last complete
    epoch, with the same result.

    Parameters
    ----------
    scenes : sequence of xarray.Dataset
        As `sarheight.terrain.simulate_scene` or `prepare_scene` return them, with true heights.
    training : sequence of Part
        For each scene the part from which patches for training are taken.
    validation : sequence of Part or None
        For each scene the part for validation, disjoint from the other; None for a scene that is
        used for training only.
    settings : TerrainSettings
        Network and settings of the run.
    folder : path-like
        Folder of the run; created if missing.
    accelerator : str
        "auto", "cpu", "gpu", ...; as Lightning takes it.
    progress : bool
        Whether to show a progress bar.
    card : mapping, optional
        Further information to store with the model.

    Returns
    -------
    HeightEstimator
        The network of the best epoch, in evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder holds a run with other settings.
    ValueError
        If parts do not pair with scenes or overlap, scenes give no patch, an image is in decibels,
        or the accelerator is not available.
    OutputError
        If the model cannot be written.
    """
    held_out = [[] if part is None else [part] for part in validation]
    require_disjoint(len(scenes), [[part] for part in training], held_out)
    model = prepare_run(folder, settings, accelerator)
    if model.exists():
        return HeightEstimator.from_pretrained(model)
    pairs = list(zip(scenes, validation, strict=True))
    loader = EpochLoader(
        make_patches(scenes, training, settings, for_training=True),
        make_patches(
            [scene for scene, part in pairs if part is not None],
            [part for _, part in pairs if part is not None],
            settings,
            for_training=False,
        ),
        settings,
    )
    parts = [part.of(scene) for scene, part in zip(scenes, training, strict=True)]
    heights = np.concatenate([part["height"].values.ravel() for part in parts])
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        estimator = HeightEstimator(
            normalised_channels(parts, settings.channels),
            network=settings.network,
            options=settings.options,
            reference=settings.reference,
            surfaces=settings.surfaces,
            uncertainty=settings.uncertainty,
            height_std=settings.height_std,
            output_std=settings.output_std,
            height_mean=float(np.nanmean(heights)),
            height_spread=float(np.nanstd(heights)),
            training_range=training_range(parts),
        )
        best = fit(
            HeightTask(estimator, settings, count_steps(loader.training, settings)),
            loader,
            settings,
            folder,
            monitored=MONITORED,
            accelerator=accelerator,
            progress=progress,
        )
    estimator.eval()
    if estimator.uncertainty:
        estimator.scale_factor *= measure_scale_factor(estimator, loader.validation)
    figures = {} if best is None else {MONITORED: best}
    estimator.save_pretrained(model, card={**(card or {}), "training": figures})
    return estimator


def make_patches(
    scenes: Sequence[xr.Dataset],
    within: Sequence[Part],
    settings: TerrainSettings,
    *,
    for_training: bool,
) -> TerrainPatches:
    """Make the patches of a training: overlapping and mirrored at random, or side by side."""
    interpolated = "interpolated" in {*settings.surfaces, settings.reference}
    return TerrainPatches(
        scenes,
        settings.channels,
        within=within,
        size=settings.size,
        stride=settings.stride if for_training else settings.size,
        known_count=settings.known_count,
        known_sigma=settings.known_sigma,
        method="thin_plate" if interpolated else None,
        augment=for_training,
        seed=settings.seed,
    )
