"""A random forest of bands, indices and neighbourhoods: the classifier for few labels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sarheight_kernels.trees import mean_leaf_fractions
from torch import Tensor

from sarheight._files import read_settings
from sarheight._runtime import is_installed
from sarheight.errors import DatasetError
from sarheight.learning.channels import Channel, Transform, transform_values
from sarheight.learning.weights import Pretrained
from sarheight.zones.evaluation import (
    LEAST_PROBABILITY,
    calibration_error,
    class_scores,
    fit_temperature,
)
from sarheight.zones.features import FeaturePlan, map_features, patch_features, plan_features
from sarheight.zones.samples import BLOCK

if TYPE_CHECKING:
    import os

    from sarheight.zones.samples import ZoneSamples

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
LARGEST_ARRAY = 2**31 - 1
"""Nodes of all trees: their numbers are of 32 bits."""
DRAWS, CLEAR_DEVIATIONS = 40, 2.0
"""Draws of blocks, and deviations over them by which a temperature must differ from 1."""


@dataclass(frozen=True, kw_only=True)
class ForestSettings:
    """Settings of a forest for Local Climate Zones.

    Parameters
    ----------
    trees : int
        Number of trees.
    leaf : int
        Least number of samples in a leaf.
    windows : tuple of int
        Sides of the neighbourhoods in cells, odd numbers.
    indices : bool
        Whether to add normalised differences of bands.
    decibel : tuple of str
        Channels of power that enter in decibels.
    folds : int
        Parts of the training blocks that are held out in turn to fit the temperature.
    seed : int
        Seed of the forest.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    trees: int = 200
    leaf: int = 1
    windows: tuple[int, ...] = (3, 5, 9, 15)
    indices: bool = True
    decibel: tuple[str, ...] = ()
    folds: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values; lists, as in JSON, become tuples."""
        object.__setattr__(self, "windows", tuple(self.windows))
        object.__setattr__(self, "decibel", tuple(self.decibel))
        if min(self.trees, self.leaf) < 1 or self.folds < 2:
            msg = (
                f"found trees={self.trees}, leaf={self.leaf}, folds={self.folds}; expected trees "
                "and samples in a leaf from 1 on, and at least two folds"
            )
            raise ValueError(msg)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read settings from JSON; missing ones have their defaults.

        Raises
        ------
        ValueError
            If the file is no JSON, or holds an unknown setting.
        OSError
            If it cannot be read.
        """
        return read_settings(cls, path)


class ZoneForest(Pretrained):
    """Random forest from patches in physical units to class probabilities.

    Features are those of `sarheight.zones.features.FeaturePlan`: of bands and indices median and
    spread over the dates, and mean and standard deviation in neighbourhoods. Trees are arrays, so a
    file of weights holds numbers only, and reading one runs no code of it.

    Parameters
    ----------
    channels : sequence of Channel
        Channels of the patches, in their order. Mean and standard deviation make dates alike.
    classes : sequence of str
        Names.
    plan : FeaturePlan
        What is computed from a patch.
    trees, nodes, leaves : int
        Sizes of the arrays.
    codes : sequence of int, optional
        Code of each class in a map; by default 1, 2, 3, ...
    posting : float, optional
        Cell size of the patches in metres, if known.
    temperature : float
        Divides the log-probabilities before they are normalised.

    Raises
    ------
    ValueError
        If sizes, codes or temperature are inconsistent.
    """

    kind: ClassVar[str] = "local climate zones, forest"
    largest_number: ClassVar[int] = LARGEST_ARRAY

    def __init__(
        self,
        channels: Sequence[Channel],
        classes: Sequence[str],
        plan: FeaturePlan,
        *,
        trees: int,
        nodes: int,
        leaves: int,
        codes: Sequence[int] | None = None,
        posting: float | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.classes, self.plan = tuple(channels), tuple(classes), plan
        self.codes = tuple(range(1, len(classes) + 1) if codes is None else map(int, codes))
        last = max(number for date in plan.dates for number in date)
        if len(self.codes) != len(self.classes) or last >= len(self.channels):
            msg = (
                f"found {len(self.codes)} codes for {len(self.classes)} classes, and features of "
                f"channel {last} among {len(self.channels)}; expected as many codes as classes, "
                "and features of the channels"
            )
            raise ValueError(msg)
        if not temperature > 0.0 or not 0 < trees <= leaves <= nodes <= LARGEST_ARRAY:
            msg = (
                f"found temperature={temperature:g}, {trees} trees with {leaves} leaves among "
                f"{nodes} nodes; expected a temperature above 0, and a leaf at least for each tree"
            )
            raise ValueError(msg)
        self.size, self.posting, self.temperature = plan.size, posting, float(temperature)
        integers = {"roots": trees, "feature": nodes, "left": nodes, "right": nodes}
        for name, length in integers.items():
            self.register_buffer(name, torch.zeros(length, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(nodes))
        self.register_buffer("fractions", torch.zeros(leaves, len(self.classes)))
        self.register_buffer("usual", torch.zeros(plan.count))
        self.roots: Tensor
        self.feature: Tensor
        self.left: Tensor
        self.right: Tensor
        self.threshold: Tensor
        self.fractions: Tensor
        self.usual: Tensor

    def configuration(self) -> dict[str, Any]:
        """Return the arguments of the constructor in JSON's types."""
        return {
            "channels": [channel.as_dict() for channel in self.channels],
            "classes": list(self.classes),
            "plan": self.plan.as_dict(),
            "trees": self.roots.numel(),
            "nodes": self.left.numel(),
            "leaves": len(self.fractions),
            "codes": list(self.codes),
            "posting": self.posting,
            "temperature": self.temperature,
        }

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> Self:
        """Build the forest that `configuration` describes, with empty arrays."""
        rest = dict(configuration)
        channels = [Channel(**channel) for channel in rest.pop("channels")]
        plan = FeaturePlan.from_dict(rest.pop("plan"))
        return cls(channels, rest.pop("classes"), plan, **rest)

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any],
        strict: bool = True,  # noqa: FBT001, FBT002  # as in torch
        assign: bool = False,  # noqa: FBT001, FBT002
    ) -> Any:  # noqa: ANN401
        """Load the arrays; refuse trees that a walk could leave, or never end in."""
        result = super().load_state_dict(state_dict, strict, assign)
        self._require_trees()
        return result

    def _require_trees(self) -> None:
        """Raise RuntimeError where a number points outside its array, or upwards."""
        left, right = self.left.numpy(), self.right.numpy()
        inner = left >= 0
        own = np.arange(left.size)
        inside = (
            (left[inner] > own[inner]).all()
            and (right[inner] > own[inner]).all()
            and (np.maximum(left, right)[inner] < left.size).all()
            and (-1 - left[~inner] < len(self.fractions)).all()
            and (self.feature.numpy()[inner] >= 0).all()
            and (self.feature.numpy()[inner] < self.plan.count).all()
            and ((self.roots.numpy() >= 0) & (self.roots.numpy() < left.size)).all()
        )
        if not inside or not bool(torch.isfinite(self.fractions).all()):
            msg = "found nodes that point outside the trees or upwards, expected trees"
            raise RuntimeError(msg)

    def probabilities(self, image: Tensor) -> Tensor:
        """Return the calibrated probabilities of patches.

        Parameters
        ----------
        image : Tensor, shape (batch, channels, rows, columns)
            In the units of `channels`; NaN where data are missing. Cell ``rows // 2`` is the one
            that is classified.

        Returns
        -------
        Tensor, shape (batch, classes)
            Rows sum to 1.

        Raises
        ------
        ValueError
            If the number of channels differs, or patches are smaller than the neighbourhoods.
        """
        if image.shape[1] != len(self.channels) or image.shape[-1] < self.size:
            msg = (
                f"found patches of shape {tuple(image.shape[1:])}, expected "
                f"{len(self.channels)} channels and at least {self.size} cells along each side"
            )
            raise ValueError(msg)
        features = patch_features(image.cpu().numpy(), self.plan, *self._scales())
        return torch.from_numpy(self._classify(features)).to(image.device)

    def cell_probabilities(self, values: Floats, rows: Integers, columns: Integers) -> Floats:
        """Return the probabilities of cells of a stack (channels, rows, columns), (n, classes)."""
        return self._classify(map_features(values, self.plan, *self._scales(), rows, columns))

    def _scales(self) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        mean = np.array([channel.mean for channel in self.channels], dtype=np.float32)
        std = np.array([channel.std for channel in self.channels], dtype=np.float32)
        return mean, std, np.array([each.transform == "decibel" for each in self.channels])

    def _classify(self, features: Floats) -> Floats:
        filled = np.where(np.isfinite(features), features, self.usual.numpy())
        result = np.empty((len(filled), len(self.classes)), dtype=np.float32)
        mean_leaf_fractions(
            np.ascontiguousarray(filled, dtype=np.float32),
            self.roots.numpy(),
            self.feature.numpy(),
            self.threshold.numpy(),
            self.left.numpy(),
            self.right.numpy(),
            self.fractions.numpy(),
            result,
        )
        return tempered(result, self.temperature).astype(np.float32)


def tempered(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """Return probabilities to the power of 1 / temperature, normalised."""
    raised = np.maximum(np.asarray(probabilities, dtype=np.float64), LEAST_PROBABILITY)
    raised **= 1.0 / temperature
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


# Training.


def train_forest(
    training: ZoneSamples,
    settings: ForestSettings | None = None,
    *,
    blocks: ArrayLike | None = None,
    validation: ZoneSamples | None = None,
    posting: float | None = None,
) -> tuple[ZoneForest, dict[str, Any]]:
    """Train a random forest of Local Climate Zones, or of other classes.

    Classes count alike, whatever the number of their samples. The temperature of the probabilities
    is fitted on samples that the trees did not see: on blocks of the training samples that are held
    out in turn, or else on validation samples. It stays 1 unless the blocks agree that it should
    not.

    Parameters
    ----------
    training : ZoneSamples
        Labelled patches, at least as large as the largest neighbourhood.
    settings : ForestSettings, optional
        Trees and features.
    blocks : array of int, shape (n,), optional
        Block of the map that each training sample lies in.
    validation : ZoneSamples, optional
        Samples for the temperature, where `blocks` is left out.
    posting : float, optional
        Cell size of the patches in metres, stored with the model.

    Returns
    -------
    ZoneForest, dict
        The forest, and its scores on the held-out samples.

    Raises
    ------
    DatasetError
        If there are fewer than two classes, patches are too small, or neither blocks nor
        validation samples are given.
    ImportError
        If scikit-learn is not installed.
    """
    chosen = settings or ForestSettings()
    if not is_installed("sklearn"):
        msg = "found no scikit-learn, which trains forests: pip install 'sarheight[learn]'"
        raise ImportError(msg)
    plan = plan_features(training.channels, windows=chosen.windows, indices=chosen.indices)
    present = np.flatnonzero(training.counts())
    if training.size < plan.size or present.size < 2 or (blocks is None and validation is None):
        msg = (
            f"found {present.size} classes in patches of {training.size} cells, with "
            f"{'no ' if blocks is None else ''}blocks and {'no ' if validation is None else ''}"
            f"validation samples; expected at least two classes, patches of {plan.size} cells for "
            "the largest neighbourhood, and one of the two for the temperature"
        )
        raise DatasetError(msg)
    scales = _scales(training, chosen.decibel)
    features = _features(training, plan, scales)
    with warnings.catch_warnings():
        # A feature that is missing everywhere gets 0.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        usual = np.nan_to_num(np.nanmedian(features, axis=0))
    filled = np.where(np.isfinite(features), features, usual).astype(np.float32)
    labels = training.labels
    if blocks is not None:
        given, known = _held_out(filled, labels, np.asarray(blocks), len(training.classes), chosen)
        truth = labels[known]
        temperature = _block_temperature(given, truth, np.asarray(blocks)[known])
    else:
        assert validation is not None  # noqa: S101  # checked above
        others = _features(validation.with_channels(training.channels), plan, scales)
        others = np.where(np.isfinite(others), others, usual).astype(np.float32)
        given = _fit(filled, labels, chosen).probabilities(others, len(training.classes))
        truth = validation.labels
        temperature = fit_temperature(given, truth, score="brier")
    forest = _assemble(_fit(filled, labels, chosen), training, plan, scales, posting, temperature)
    forest.usual.copy_(torch.from_numpy(usual.astype(np.float32)))
    return forest, _card(given, truth, temperature, training.classes, chosen)


@dataclass(frozen=True)
class _Fitted:
    """A forest of scikit-learn, whose numbers of classes are those that occur."""

    model: Any

    def probabilities(self, features: Floats, classes: int) -> NDArray[np.float64]:
        result = np.zeros((len(features), classes))
        result[:, self.model.classes_] = self.model.predict_proba(features)
        return result


def _fit(features: Floats, labels: Integers, settings: ForestSettings) -> _Fitted:
    from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]

    model = RandomForestClassifier(
        settings.trees,
        min_samples_leaf=settings.leaf,
        class_weight="balanced",
        random_state=settings.seed,
        n_jobs=1,
    )
    return _Fitted(model.fit(features, labels))


def _held_out(
    features: Floats,
    labels: Integers,
    blocks: NDArray[Any],
    classes: int,
    settings: ForestSettings,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Classify each block by a forest of others; say for which samples that was possible."""
    from sklearn.model_selection import GroupKFold  # type: ignore[import-untyped]

    folds = min(settings.folds, np.unique(blocks).size)
    if folds < 2:
        msg = (
            "found all training samples in one block, expected several, of which some are held out "
            "to calibrate the probabilities: take smaller blocks"
        )
        raise DatasetError(msg)
    given = np.zeros((labels.size, classes))
    known = np.zeros(labels.size, dtype=bool)
    for seen, held in GroupKFold(folds).split(features, labels, blocks):
        given[held] = _fit(features[seen], labels[seen], settings).probabilities(
            features[held], classes
        )
        known[held] = True
    return given[known], known


def _block_temperature(given: NDArray[np.float64], truth: Integers, blocks: NDArray[Any]) -> float:
    """Fit a temperature; return 1 where other blocks might as well have asked for the opposite.

    Fractions of many trees are nearly calibrated. A temperature that a few blocks decide makes
    them worse in others, so it must be clear of 1 by two standard deviations over draws of blocks.
    """
    fitted = fit_temperature(given, truth, score="brier")
    members = [np.flatnonzero(blocks == each) for each in np.unique(blocks)]
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        chosen = random.integers(len(members), size=len(members))
        cells = np.concatenate([members[number] for number in chosen])
        drawn.append(np.log(fit_temperature(given[cells], truth[cells], score="brier")))
    clear = abs(np.log(fitted)) > CLEAR_DEVIATIONS * np.std(drawn)
    return fitted if clear else 1.0


def _scales(samples: ZoneSamples, decibel: Sequence[str]) -> list[Channel]:
    """Describe the channels with the statistics of the labelled cells: no other cell is used."""
    unknown = [name for name in decibel if name not in samples.channels]
    if unknown:
        msg = f"found decibel={unknown}, expected some of {', '.join(samples.channels)}"
        raise ValueError(msg)
    middle = samples.size // 2
    cells = np.concatenate(
        [
            samples.read(np.arange(first, min(first + BLOCK, len(samples))))[:, :, middle, middle]
            for first in range(0, len(samples), BLOCK)
        ]
    )
    channels = []
    for name, values in zip(samples.channels, cells.T, strict=True):
        transform: Transform = "decibel" if name in decibel else "none"
        known = transform_values(values[np.isfinite(values)].astype(np.float64), transform)
        if not known.size or not known.std() > 0.0:
            msg = (
                f"found one value of {name} in all of {len(samples)} labelled cells, or none; "
                "expected a channel that varies: leave it out, or check the file"
            )
            raise DatasetError(msg)
        channels.append(Channel(name, "1", transform, float(known.mean()), float(known.std())))
    return channels


def _features(samples: ZoneSamples, plan: FeaturePlan, channels: Sequence[Channel]) -> Floats:
    mean = np.array([channel.mean for channel in channels], dtype=np.float32)
    std = np.array([channel.std for channel in channels], dtype=np.float32)
    decibel = np.array([channel.transform == "decibel" for channel in channels])
    parts = [
        patch_features(samples.read(np.arange(first, last)), plan, mean, std, decibel)
        for first in range(0, len(samples), BLOCK)
        for last in [min(first + BLOCK, len(samples))]
    ]
    return np.concatenate(parts)


def _assemble(
    fitted: _Fitted,
    samples: ZoneSamples,
    plan: FeaturePlan,
    channels: Sequence[Channel],
    posting: float | None,
    temperature: float,
) -> ZoneForest:
    """Copy the trees of scikit-learn into arrays, one after the other."""
    arrays: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("feature", "threshold", "left", "right", "fractions")
    }
    roots, nodes, leaves = [], 0, 0
    for estimator in fitted.model.estimators_:
        tree = estimator.tree_
        is_leaf = tree.children_left < 0
        numbers = np.cumsum(is_leaf) - 1 + leaves
        arrays["feature"].append(np.where(is_leaf, 0, tree.feature))
        # A float32 feature is at most a double threshold just when it is at most the float32 below.
        arrays["threshold"].append(_rounded_down(tree.threshold))
        arrays["left"].append(np.where(is_leaf, -1 - numbers, tree.children_left + nodes))
        arrays["right"].append(np.where(is_leaf, 0, tree.children_right + nodes))
        values = tree.value[is_leaf, 0, :]
        fractions = np.zeros((len(values), len(samples.classes)))
        fractions[:, fitted.model.classes_] = values / values.sum(axis=1, keepdims=True)
        arrays["fractions"].append(fractions)
        roots.append(nodes)
        nodes += is_leaf.size
        leaves += int(is_leaf.sum())
    forest = ZoneForest(
        channels,
        samples.classes,
        plan,
        trees=len(roots),
        nodes=nodes,
        leaves=leaves,
        codes=samples.codes,
        posting=posting,
        temperature=temperature,
    )
    forest.roots.copy_(torch.tensor(roots, dtype=torch.int32))
    for name, parts in arrays.items():
        getattr(forest, name).copy_(torch.from_numpy(np.concatenate(parts)))
    return forest.eval()


def _rounded_down(values: NDArray[np.float64]) -> Floats:
    """Return the largest float32 that is not above each value."""
    rounded = values.astype(np.float32)
    return np.where(rounded > values, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _card(
    given: NDArray[np.float64],
    truth: Integers,
    temperature: float,
    classes: Sequence[str],
    settings: ForestSettings,
) -> dict[str, Any]:
    """Return scores on held-out samples in JSON's types."""
    scores = class_scores(truth, given.argmax(axis=1), classes)
    return {
        "method": "random forest",
        "settings": asdict(settings),
        "held_out": {
            "overall": scores.overall,
            "average": scores.average,
            "kappa": scores.kappa,
            "calibration_error_before": calibration_error(given, truth),
            "calibration_error": calibration_error(tempered(given, temperature), truth),
        },
    }
