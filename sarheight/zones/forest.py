"""A random forest of bands and their neighbourhood: the classifier for few labels.

Features of a cell are its bands, and the mean and the standard deviation of each band in the square
around it. Scikit-learn fits the trees. They are kept as arrays of numbers, which are checked when
they are read: the files of scikit-learn hold code, or are trusted not to point outside their trees.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sarheight_kernels.trees import mean_leaf_fractions
from scipy.ndimage import uniform_filter
from torch import Tensor

from sarheight._files import read_settings
from sarheight.errors import DatasetError
from sarheight.learning.channels import Channel, transform_values
from sarheight.learning.weights import Pretrained
from sarheight.zones.evaluation import (
    LEAST_PROBABILITY,
    fit_temperature,
)
from sarheight.zones.samples import zone_statistics

if TYPE_CHECKING:
    import os

    from sarheight.zones.samples import ZoneSamples

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
ARRAYS = ("roots", "feature", "left", "right", "threshold", "fractions")


@dataclass(frozen=True, kw_only=True)
class ForestSettings:
    """Settings of a forest for Local Climate Zones.

    Parameters
    ----------
    trees : int
        Number of trees.
    leaf : int
        Least number of samples in a leaf.
    window : int
        Cells along the side of the neighbourhood, an odd number; 1 for the bands of the cell alone,
        as WUDAPT classifies.
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
    window: int = 5
    decibel: tuple[str, ...] = ()
    folds: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values; lists, as in JSON, become tuples."""
        object.__setattr__(self, "decibel", tuple(self.decibel))
        if (
            min(self.trees, self.leaf) < 1
            or self.folds < 2
            or self.window < 1
            or self.window % 2 == 0
        ):
            msg = (
                f"found trees={self.trees}, leaf={self.leaf}, window={self.window}, "
                f"folds={self.folds}; expected trees and samples in a leaf from 1 on, a window of "
                "an odd number of cells, and at least two folds"
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


# Features of patches, and of the cells of a map.


def patch_features(patches: Floats, window: int) -> Floats:
    """Return the features of the middles of patches (n, channels, size, size), (n, features)."""
    middle, half = patches.shape[-1] // 2, window // 2
    features = [patches[..., middle, middle]]
    if window > 1:
        inner = slice(middle - half, middle + half + 1)
        around = patches[..., inner, inner].reshape(*patches.shape[:2], -1)
        features += _mean_and_deviation(around)
    return np.concatenate(features, axis=1).astype(np.float32)


def _mean_and_deviation(values: Floats) -> list[Floats]:
    """Return both over the last axis, without missing values."""
    with warnings.catch_warnings():
        # A neighbourhood without any value has no mean.
        warnings.filterwarnings("ignore", "Mean of empty|Degrees of freedom", RuntimeWarning)
        wide = values.astype(np.float64)
        return [np.nanmean(wide, axis=-1), np.nanstd(wide, axis=-1)]


def map_features(values: Floats, window: int, rows: Integers, columns: Integers) -> Floats:
    """Return the features of cells of a stack (channels, rows, columns), (n, features).

    The same as `patch_features` of the patches around them, without cutting patches.
    """
    features = [values[:, rows, columns]]
    if window > 1:
        known = np.isfinite(values)
        filled = np.where(known, values, 0.0).astype(np.float64)
        size = (1, window, window)
        share = uniform_filter(known.astype(np.float64), size, mode="constant")
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = uniform_filter(filled, size, mode="constant") / share
            square = uniform_filter(filled**2, size, mode="constant") / share
            deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        # Running sums leave remainders where a window holds no data at all.
        empty = share < 0.5 / window**2
        features += [np.where(empty, np.nan, each)[:, rows, columns] for each in (mean, deviation)]
    return np.concatenate(features, axis=0).T.astype(np.float32)


# The classifier.


class ZoneForest(Pretrained):
    """Random forest from patches in physical units to class probabilities.

    Parameters
    ----------
    channels : sequence of Channel
        Channels of the patches, in their order.
    classes : sequence of str
        Names.
    arrays : mapping of array
        The trees, one after the other, as `sarheight_kernels.trees` has them: ``roots``,
        ``feature``, ``left``, ``right``, ``threshold``, ``fractions``; and ``usual``, the values of
        features that are missing.
    window : int
        Cells along the side of the neighbourhood.
    codes : sequence of int, optional
        Code of each class in a map; by default 1, 2, 3, ...
    posting : float, optional
        Cell size of the patches in metres, if known.
    temperature : float
        Divides the log-probabilities before they are normalised.

    Raises
    ------
    ValueError
        If codes, arrays or temperature are inconsistent, or a node points outside the trees.
    """

    kind: ClassVar[str] = "local climate zones, forest"

    def __init__(
        self,
        channels: Sequence[Channel],
        classes: Sequence[str],
        arrays: Mapping[str, Tensor],
        *,
        window: int,
        codes: Sequence[int] | None = None,
        posting: float | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.classes, self.window = tuple(channels), tuple(classes), int(window)
        self.codes = tuple(range(1, len(classes) + 1) if codes is None else map(int, codes))
        if len(self.codes) != len(self.classes) or not temperature > 0.0 or window % 2 == 0:
            msg = (
                f"found {len(self.codes)} codes for {len(self.classes)} classes, a temperature of "
                f"{temperature:g} and a window of {window}; expected as many codes as classes, a "
                "temperature above 0, and an odd window"
            )
            raise ValueError(msg)
        self.size, self.posting, self.temperature = self.window, posting, float(temperature)
        for name in (*ARRAYS, "usual"):
            self.register_buffer(name, arrays[name])
        self._require_trees()

    @property
    def features(self) -> int:
        """Number of features."""
        return len(self.channels) * (3 if self.window > 1 else 1)

    def configuration(self) -> dict[str, Any]:
        """Return the arguments of the constructor but the arrays, in JSON's types."""
        return {
            "channels": [channel.as_dict() for channel in self.channels],
            "classes": list(self.classes),
            "window": self.window,
            "codes": list(self.codes),
            "posting": self.posting,
            "temperature": self.temperature,
        }

    @classmethod
    def from_weights(cls, configuration: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Self:
        """Build the forest of a configuration and its arrays."""
        rest = dict(configuration)
        channels = [Channel(**channel) for channel in rest.pop("channels")]
        return cls(channels, rest.pop("classes"), weights, **rest)

    def _require_trees(self) -> None:
        """Refuse arrays of other types and shapes, and nodes that point outside or upwards."""
        arrays = {name: self.get_buffer(name).numpy() for name in (*ARRAYS, "usual")}
        roots, feature, left, right, threshold, fractions = (arrays[name] for name in ARRAYS)
        whole = all(arrays[name].dtype == np.int32 for name in ARRAYS[:4])
        real = all(arrays[name].dtype == np.float32 for name in ("threshold", "fractions", "usual"))
        nodes = (left.size,)
        fits = (
            whole
            and real
            and all(each.shape == nodes for each in (feature, left, right, threshold))
            and roots.ndim == 1
            and roots.size > 0
            and fractions.ndim == 2
            and fractions.shape[1] == len(self.classes)
            and arrays["usual"].shape == (self.features,)
        )
        if fits:
            own, inner = np.arange(left.size), left >= 0
            fits = bool(
                (np.minimum(left, right)[inner] > own[inner]).all()
                and (np.maximum(left, right)[inner] < left.size).all()
                and (-1 - left[~inner] < len(fractions)).all()
                and ((feature[inner] >= 0) & (feature[inner] < self.features)).all()
                and ((roots >= 0) & (roots < left.size)).all()
                and np.isfinite(fractions).all()
            )
        if not fits:
            msg = "found nodes that point outside the trees or upwards, expected trees"
            raise ValueError(msg)

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
            If the number of channels differs, or patches are smaller than the neighbourhood.
        """
        if image.shape[1] != len(self.channels) or image.shape[-1] < self.size:
            msg = (
                f"found patches of shape {tuple(image.shape[1:])}, expected "
                f"{len(self.channels)} channels and at least {self.size} cells along each side"
            )
            raise ValueError(msg)
        values = transformed(image.cpu().numpy(), self.channels)
        found = self._classify(patch_features(values, self.window))
        return torch.from_numpy(found).to(image.device)

    def cell_probabilities(self, values: Floats, rows: Integers, columns: Integers) -> Floats:
        """Return the probabilities of cells of a stack (channels, rows, columns), (n, classes)."""
        values = transformed(values[None], self.channels)[0]
        return self._classify(map_features(values, self.window, rows, columns))

    def _classify(self, features: Floats) -> Floats:
        filled = np.where(np.isfinite(features), features, self.get_buffer("usual").numpy())
        result = np.empty((len(filled), len(self.classes)), dtype=np.float32)
        roots, feature, left, right, threshold, fractions = (
            self.get_buffer(name).numpy() for name in ARRAYS
        )
        mean_leaf_fractions(
            np.ascontiguousarray(filled, dtype=np.float32),
            roots,
            feature,
            threshold,
            left,
            right,
            fractions,
            result,
        )
        return tempered(result, self.temperature).astype(np.float32)


def transformed(patches: Floats, channels: Sequence[Channel]) -> Floats:
    """Apply the transforms of channels to patches (n, channels, rows, columns)."""
    if all(channel.transform == "none" for channel in channels):
        return patches
    layers = [transform_values(patches[:, k], each.transform) for k, each in enumerate(channels)]
    return np.stack(layers, axis=1).astype(np.float32)


def tempered(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """Return probabilities to the power of 1 / temperature, normalised."""
    raised = np.maximum(np.asarray(probabilities, dtype=np.float64), LEAST_PROBABILITY)
    raised **= 1.0 / temperature
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


# Training.

DRAWS, CLEAR_DEVIATIONS = 40, 3.0
"""Draws of blocks, and deviations over them by which a temperature must differ from 1. Temperatures
that were clear by 2 to 3 made calibration worse on open blocks of Hong Kong."""


def train_forest(
    training: ZoneSamples,
    settings: ForestSettings | None = None,
    *,
    blocks: ArrayLike | None = None,
    posting: float | None = None,
) -> ZoneForest:
    """Train a random forest of Local Climate Zones, or of other classes.

    Classes count alike, whatever the number of their samples. With blocks, a temperature of the
    probabilities is fitted on those that are held out in turn; it stays 1 unless the blocks agree
    that it should not.

    Parameters
    ----------
    training : ZoneSamples
        Labelled patches, at least as large as the neighbourhood.
    settings : ForestSettings, optional
        Trees and features.
    blocks : array of int, shape (n,), optional
        Block of the map that each training sample lies in.
    posting : float, optional
        Cell size of the patches in metres, stored with the model.

    Returns
    -------
    ZoneForest
        In evaluation mode.

    Raises
    ------
    DatasetError
        If there are fewer than two classes, patches are too small, or all samples lie in one block.
    """
    chosen = settings or ForestSettings()
    labels, classes = training.labels, len(training.classes)
    present = np.flatnonzero(training.counts())
    if training.size < chosen.window or present.size < 2:
        msg = (
            f"found {present.size} classes in patches of {training.size} cells, expected at least "
            f"two classes, and patches of {chosen.window} cells for the neighbourhood"
        )
        raise DatasetError(msg)
    channels = _channels(training, chosen.decibel)
    features = np.concatenate(
        [patch_features(transformed(each, channels), chosen.window) for each in training.blocks()]
    )
    with warnings.catch_warnings():
        # A feature that is missing everywhere gets 0.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        usual = np.nan_to_num(np.nanmedian(features, axis=0)).astype(np.float32)
    filled = np.where(np.isfinite(features), features, usual)
    temperature = 1.0
    if blocks is not None:
        groups = np.asarray(blocks)
        given = _held_out(filled, labels, groups, classes, chosen)
        temperature = _block_temperature(given, labels, groups)
    arrays = tree_arrays(_fit(filled, labels, chosen), classes)
    forest = ZoneForest(
        channels,
        training.classes,
        arrays | {"usual": torch.from_numpy(usual)},
        window=chosen.window,
        codes=training.codes,
        posting=posting,
        temperature=temperature,
    )
    return forest.eval()


def _fit(features: Floats, labels: Integers, settings: ForestSettings) -> Any:  # noqa: ANN401
    from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]

    return RandomForestClassifier(
        settings.trees,
        min_samples_leaf=settings.leaf,
        class_weight="balanced",
        random_state=settings.seed,
        n_jobs=1,
    ).fit(features, labels)


def _held_out(
    features: Floats, labels: Integers, blocks: Integers, classes: int, settings: ForestSettings
) -> NDArray[np.float64]:
    """Classify each block by a forest of others."""
    from sklearn.model_selection import StratifiedGroupKFold  # type: ignore[import-untyped]

    folds = min(settings.folds, np.unique(blocks).size)
    if folds < 2:
        msg = (
            "found all training samples in one block, expected several, of which some are held out "
            "to calibrate the probabilities: take smaller blocks"
        )
        raise DatasetError(msg)
    given = np.zeros((labels.size, classes))
    with warnings.catch_warnings():
        # A class may have fewer labels than there are folds.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = list(StratifiedGroupKFold(folds).split(features, labels, blocks))
    for seen, held in parts:
        model = _fit(features[seen], labels[seen], settings)
        # A forest of scikit-learn has the classes that occur.
        given[np.ix_(held, model.classes_)] = model.predict_proba(features[held])
    return given


def _block_temperature(given: NDArray[np.float64], truth: Integers, blocks: Integers) -> float:
    """Fit a temperature; return 1 where other blocks might as well have asked for the opposite.

    Fractions of many trees are nearly calibrated. A temperature that a few blocks decide makes
    them worse in others, so it must be clear of 1 by `CLEAR_DEVIATIONS` over draws of blocks.
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


def _channels(samples: ZoneSamples, decibel: Sequence[str]) -> list[Channel]:
    """Describe the channels; refuse those that are constant."""
    unknown = [name for name in decibel if name not in samples.channels]
    if unknown:
        msg = f"found decibel={unknown}, expected some of {', '.join(samples.channels)}"
        raise ValueError(msg)
    return zone_statistics(samples, dict.fromkeys(decibel, "decibel"))


def tree_arrays(model: Any, classes: int) -> dict[str, Tensor]:  # noqa: ANN401  # of scikit-learn
    """Return the trees of a forest of scikit-learn as arrays, one after the other."""
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ARRAYS}
    nodes = leaves = 0
    for estimator in model.estimators_:
        tree = estimator.tree_
        is_leaf = tree.children_left < 0
        numbers = np.cumsum(is_leaf) - 1 + leaves
        values = tree.value[is_leaf, 0, :]
        fractions = np.zeros((len(values), classes))
        fractions[:, model.classes_] = values / values.sum(axis=1, keepdims=True)
        parts["roots"].append(np.array([nodes]))
        parts["feature"].append(np.where(is_leaf, 0, tree.feature))
        parts["left"].append(np.where(is_leaf, -1 - numbers, tree.children_left + nodes))
        parts["right"].append(np.where(is_leaf, 0, tree.children_right + nodes))
        # A float32 feature is at most a double threshold just when it is at most the float32 below.
        below = tree.threshold.astype(np.float32)
        smaller = np.nextafter(below, np.float32(-np.inf))
        parts["threshold"].append(np.where(below > tree.threshold, smaller, below))
        parts["fractions"].append(fractions)
        nodes += is_leaf.size
        leaves += int(is_leaf.sum())
    joined = {name: np.concatenate(each) for name, each in parts.items()}
    kinds = dict.fromkeys(ARRAYS[:4], np.int32) | dict.fromkeys(ARRAYS[4:], np.float32)
    return {name: torch.from_numpy(each.astype(kinds[name])) for name, each in joined.items()}
