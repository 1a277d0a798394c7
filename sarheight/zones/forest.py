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
from torch import Tensor

from sarheight._files import JsonSettings
from sarheight.errors import DatasetError
from sarheight.learning.channels import Channel, transform_values
from sarheight.zones.classifier import ZoneModel
from sarheight.zones.evaluation import LEAST_PROBABILITY, fit_temperature
from sarheight.zones.samples import zone_statistics

if TYPE_CHECKING:
    from sarheight.zones.samples import ZoneSamples

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
ARRAYS = ("roots", "feature", "left", "right", "threshold", "fractions")


@dataclass(frozen=True, kw_only=True)
class ForestSettings(JsonSettings):
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
        least = min(self.trees, self.leaf, self.window, self.folds - 1)
        if least < 1 or self.window % 2 == 0:
            msg = (
                f"found trees={self.trees}, leaf={self.leaf}, window={self.window}, "
                f"folds={self.folds}; expected trees and samples in a leaf from 1 on, a window of "
                "an odd number of cells, and at least two folds"
            )
            raise ValueError(msg)


def patch_features(patches: Floats, channels: Sequence[Channel], window: int) -> Floats:
    """Return features of the middles of patches (n, channels, rows, columns), (n, features)."""
    middle, half = patches.shape[-1] // 2, window // 2
    inner = slice(middle - half, middle + half + 1)
    around = patches[..., inner, inner].reshape(*patches.shape[:2], -1)
    layers = [transform_values(around[:, k], each.transform) for k, each in enumerate(channels)]
    values = np.stack(layers, axis=1)
    features = [values[..., window**2 // 2]]
    if window > 1:
        with warnings.catch_warnings():
            # A neighbourhood without any value has no mean.
            warnings.filterwarnings("ignore", "Mean of empty|Degrees of freedom", RuntimeWarning)
            wide = values.astype(np.float64)
            features += [np.nanmean(wide, axis=-1), np.nanstd(wide, axis=-1)]
    return np.concatenate(features, axis=1).astype(np.float32)


class ZoneForest(ZoneModel):
    """Random forest from patches in physical units to class probabilities.

    A node compares one feature with its threshold, and leads to the left where the feature is not
    above it, to the right otherwise. The nodes of all trees lie one after the other, and children
    after their parents. A leaf has ``left = -1 - k`` with its class fractions in row k.

    Parameters
    ----------
    channels, classes, codes, posting, temperature
        See `ZoneModel`.
    arrays : mapping of array
        The trees: ``roots``, ``feature``, ``left`` and ``right`` (int32), ``threshold`` and
        ``fractions`` (float32); and ``usual``, the values of features that are missing.
    window : int
        Cells along the side of the neighbourhood.

    Raises
    ------
    ValueError
        If codes, arrays or temperature are inconsistent, or a node points outside the trees.
    """

    kind: ClassVar[str] = "local climate zones, forest"
    batch: ClassVar[int] = 16_384

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
        super().__init__(
            channels, classes, size=window, codes=codes, posting=posting, temperature=temperature
        )
        if window % 2 == 0:
            msg = f"found a window of {window} cells, expected an odd number"
            raise ValueError(msg)
        for name in (*ARRAYS, "usual"):
            self.register_buffer(name, arrays[name])
        if not self._holds_trees():
            msg = "found nodes that point outside the trees or upwards, expected trees"
            raise ValueError(msg)

    @property
    def features(self) -> int:
        """Number of features."""
        return len(self.channels) * (3 if self.size > 1 else 1)

    def configuration(self) -> dict[str, Any]:
        """Return the arguments of the constructor but the arrays, in JSON's types."""
        described = self.described()
        window = described.pop("size")
        return described | {"window": window}

    @classmethod
    def from_weights(cls, configuration: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Self:
        """Build the forest of a configuration and its arrays."""
        rest = dict(configuration)
        channels = [Channel(**channel) for channel in rest.pop("channels")]
        return cls(channels, rest.pop("classes"), weights, **rest)

    def _arrays(self) -> list[NDArray[Any]]:
        return [self.get_buffer(name).numpy() for name in ARRAYS]

    def _holds_trees(self) -> bool:
        """Whether types and shapes are those of trees, in which every way down ends."""
        roots, feature, left, right, threshold, fractions = self._arrays()
        usual = self.get_buffer("usual").numpy()
        if (
            any(each.dtype != np.int32 for each in (roots, feature, left, right))
            or any(each.dtype != np.float32 for each in (threshold, fractions, usual))
            or any(each.shape != (left.size,) for each in (feature, left, right, threshold))
            or (roots.ndim, fractions.ndim, usual.shape) != (1, 2, (self.features,))
            or not roots.size
            or fractions.shape[1] != len(self.classes)
        ):
            return False
        inner = np.flatnonzero(left >= 0)
        children = np.stack([left, right])[:, inner]
        return bool(
            (children > inner).all()
            and (children < left.size).all()
            and (-1 - left[left < 0] < len(fractions)).all()
            and ((feature[inner] >= 0) & (feature[inner] < self.features)).all()
            and ((roots >= 0) & (roots < left.size)).all()
            and np.isfinite(fractions).all()
        )

    def probabilities(self, image: Tensor) -> Tensor:
        """Return the calibrated probabilities of patches, see `ZoneModel.probabilities`.

        Patches may be larger than the neighbourhood: cell ``rows // 2`` is classified.

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
        features = patch_features(image.cpu().numpy(), self.channels, self.size)
        filled = np.where(np.isfinite(features), features, self.get_buffer("usual").numpy())
        return torch.from_numpy(self._classify(filled)).to(image.device)

    def _classify(self, features: Floats) -> Floats:
        """Average the class fractions of the leaves that samples (n, features) reach."""
        roots, feature, left, right, threshold, fractions = self._arrays()
        total = np.zeros((len(features), len(self.classes)), dtype=np.float32)
        for root in roots:
            node = np.full(len(features), root)
            moving = np.arange(len(features))
            while (moving := moving[left[node[moving]] >= 0]).size:
                at = node[moving]
                below = features[moving, feature[at]] <= threshold[at]
                node[moving] = np.where(below, left[at], right[at])
            total += fractions[-1 - left[node]]
        return tempered(total / np.float32(roots.size), self.temperature).astype(np.float32)


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
    ValueError
        If the settings name an unknown channel.
    """
    chosen = settings or ForestSettings()
    present, labels = np.unique(training.labels, return_inverse=True)
    if training.size < chosen.window or present.size < 2:
        msg = (
            f"found {present.size} classes in patches of {training.size} cells, expected at least "
            f"two classes, and patches of {chosen.window} cells for the neighbourhood"
        )
        raise DatasetError(msg)
    channels = zone_statistics(training, chosen.decibel)
    features = np.concatenate(
        [patch_features(each, channels, chosen.window) for each in training.blocks()]
    )
    with warnings.catch_warnings():
        # A feature that is missing everywhere gets 0.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        usual = np.nan_to_num(np.nanmedian(features, axis=0)).astype(np.float32)
    filled = np.where(np.isfinite(features), features, usual)
    model = _forest(chosen)
    temperature = 1.0
    if blocks is not None:
        groups = np.asarray(blocks)
        given = _held_out(model, filled, labels, groups, chosen.folds)
        temperature = _block_temperature(given, labels, groups)
    arrays = tree_arrays(model.fit(filled, training.labels), len(training.classes))
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


def _forest(settings: ForestSettings) -> Any:  # noqa: ANN401  # of scikit-learn
    from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]

    return RandomForestClassifier(
        settings.trees,
        min_samples_leaf=settings.leaf,
        class_weight="balanced",
        random_state=settings.seed,
        n_jobs=1,
    )


def _held_out(
    model: Any,  # noqa: ANN401  # of scikit-learn
    features: Floats,
    labels: Integers,
    blocks: Integers,
    folds: int,
) -> NDArray[np.float64]:
    """Classify each block by a forest of others, shape (n, classes that occur)."""
    from sklearn.model_selection import (  # type: ignore[import-untyped]
        StratifiedGroupKFold,
        cross_val_predict,
    )

    folds = min(folds, np.unique(blocks).size)
    if folds < 2:
        msg = (
            "found all training samples in one block, expected several, of which some are held out "
            "to calibrate the probabilities: take smaller blocks"
        )
        raise DatasetError(msg)
    with warnings.catch_warnings():
        # A class may have fewer labels than there are folds, and lie in one block.
        warnings.filterwarnings("ignore", "The least populated class|Number of classes in")
        return np.asarray(
            cross_val_predict(
                model,
                features,
                labels,
                groups=blocks,
                cv=StratifiedGroupKFold(folds),
                method="predict_proba",
            )
        )


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
