"""Candidates that were to beat the forest on Hong Kong, for splits of the open blocks alone.

All of them see the features of the forest of `sarheight.zones`, or what is learnt from the same
bands: other classifiers, ensembles, a small network, dates as samples, self-supervised features
with dates as views, and a map whose probabilities are smoothed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import nn

from benchmarks._zones.hongkong_data import BANDS, CLASSES, DATES, HongKong
from benchmarks._zones.hongkong_methods import TREES, Floats, Integers, Method, Probabilities
from sarheight.zones import plan_features
from sarheight.zones.features import map_features

__all__ = ["CANDIDATES"]

SMOOTHING = 1.5
"""Standard deviation in cells of the window that averages probabilities."""
REACH = 5
"""Cells beyond a cell whose probabilities enter its average."""
LIMIT = 6.0
"""Standard deviations at which features are cut off for networks and distances."""
EPOCH_SAMPLES, BATCH, EPOCHS = 4000, 128, 30
SSL_STEPS, SSL_BATCH, SSL_WIDTH = 800, 256, 48


@lru_cache(maxsize=2)
def _layers(place: HongKong, training: bytes, *, by_date: bool = False) -> list[Floats]:
    """Return the features of all cells, (features, rows, columns); of each date if asked."""
    cells = np.frombuffer(training, dtype=np.int64)
    values = place.stack.values
    known = values[:, place.rows[cells], place.columns[cells]]
    mean, std = np.nanmean(known, axis=1), np.nanstd(known, axis=1)
    rows, columns = (axis.ravel() for axis in np.indices(values.shape[1:]))
    names = [str(name) for name in place.stack["band"].values]
    count = len(BANDS)
    groups = [range(k * count, (k + 1) * count) for k in range(len(DATES))]
    found = []
    for group in groups if by_date else [range(len(names))]:
        chosen = list(group)
        plan = plan_features([names[k] for k in chosen])
        features = map_features(
            values[chosen],
            plan,
            mean[chosen].astype(np.float32),
            std[chosen].astype(np.float32),
            np.zeros(len(chosen), dtype=bool),
            rows,
            columns,
        ).T.reshape(-1, *values.shape[1:])
        usual = np.nanmedian(features[:, place.rows[cells], place.columns[cells]], axis=1)
        found.append(np.where(np.isfinite(features), features, usual[:, None, None]))
    return found


def _pairs(
    place: HongKong, training: Integers, rows: Integers, columns: Integers
) -> tuple[Floats, Floats]:
    """Return the features of the cells for training and of others."""
    (layers,) = _layers(place, training.tobytes())
    return layers[:, place.rows[training], place.columns[training]].T, layers[:, rows, columns].T


def _scaled(seen: Floats, others: Floats) -> tuple[Floats, Floats]:
    mean, std = seen.mean(axis=0), np.maximum(seen.std(axis=0), 1e-6)
    first, second = (np.clip((each - mean) / std, -LIMIT, LIMIT) for each in (seen, others))
    return first.astype(np.float32), second.astype(np.float32)


def _given(model: Any, features: Floats) -> Probabilities:  # noqa: ANN401  # of scikit-learn
    given = np.zeros((len(features), len(CLASSES)))
    given[:, model.classes_] = model.predict_proba(features)
    return given


def _forest(seed: int) -> Any:  # noqa: ANN401
    return RandomForestClassifier(TREES, class_weight="balanced", random_state=seed, n_jobs=1)


def forests(
    place: HongKong, training: Integers, rows: Integers, columns: Integers, seed: int
) -> Probabilities:
    """Average a random forest and extremely randomised trees."""
    seen, others = _pairs(place, training, rows, columns)
    extra = ExtraTreesClassifier(TREES, class_weight="balanced", random_state=seed, n_jobs=1)
    labels = place.labels[training]
    models = [model.fit(seen, labels) for model in (_forest(seed), extra)]
    return np.asarray(np.mean([_given(model, others) for model in models], axis=0))


def vectors(
    place: HongKong, training: Integers, rows: Integers, columns: Integers, seed: int
) -> Probabilities:
    """Classify by support vectors with a Gaussian kernel."""
    seen, others = _scaled(*_pairs(place, training, rows, columns))
    model = SVC(C=1.0, class_weight="balanced", random_state=seed).fit(seen, place.labels[training])
    scores = model.decision_function(others)
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    given = np.zeros((len(others), len(CLASSES)))
    given[:, model.classes_] = raised / raised.sum(axis=1, keepdims=True)
    return given


def discriminant(
    place: HongKong, training: Integers, rows: Integers, columns: Integers, _seed: int
) -> Probabilities:
    """Classify by linear discriminants with a shrunken covariance."""
    seen, others = _scaled(*_pairs(place, training, rows, columns))
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)
    return _given(model.fit(seen, place.labels[training]), others)


def logistic(
    place: HongKong, training: Integers, rows: Integers, columns: Integers, _seed: int
) -> Probabilities:
    """Classify by logistic regression."""
    seen, others = _scaled(*_pairs(place, training, rows, columns))
    model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=300)
    return _given(model.fit(seen, place.labels[training]), others)


def _network(seen: Floats, labels: Integers, others: Floats, seed: int) -> Probabilities:
    """Train a small network on balanced batches with noise, and classify others."""
    torch.manual_seed(seed)
    width, classes = 128, len(CLASSES)
    network = nn.Sequential(
        nn.Linear(seen.shape[1], width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(width, classes),
    )  # fmt: skip
    steps = EPOCHS * EPOCH_SAMPLES // BATCH
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps, pct_start=0.2)
    random = np.random.default_rng(seed)
    weight = 1.0 / np.bincount(labels, minlength=classes)[labels]
    images, truth = torch.from_numpy(seen), torch.from_numpy(labels)
    for _ in range(steps):
        drawn = random.choice(labels.size, BATCH, p=weight / weight.sum())
        noisy = images[drawn] + 0.3 * torch.randn(BATCH, seen.shape[1])
        loss = nn.functional.cross_entropy(network(noisy), truth[drawn], label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        return torch.softmax(network(torch.from_numpy(others)), dim=1).double().numpy()


def network(
    place: HongKong, training: Integers, rows: Integers, columns: Integers, seed: int
) -> Probabilities:
    """Classify by a small network on the features of the forest."""
    seen, others = _scaled(*_pairs(place, training, rows, columns))
    return _network(seen, place.labels[training], others, seed)


def dates_as_samples(
    place: HongKong, training: Integers, rows: Integers, columns: Integers, seed: int
) -> Probabilities:
    """Train a small network on each date as a sample of its own, and average the dates."""
    layers = _layers(place, training.tobytes(), by_date=True)
    seen = np.concatenate([each[:, place.rows[training], place.columns[training]].T
                           for each in layers])  # fmt: skip
    others = np.concatenate([each[:, rows, columns].T for each in layers])
    labels = np.tile(place.labels[training], len(layers))
    given = _network(*_reordered(_scaled(seen, others), labels), seed)
    return np.asarray(given.reshape(len(layers), rows.size, -1).mean(axis=0))


def _reordered(
    pair: tuple[Floats, Floats], labels: Integers
) -> tuple[Floats, NDArray[np.int64], Floats]:
    return pair[0], labels, pair[1]


def everything(
    place: HongKong, training: Integers, rows: Integers, columns: Integers, seed: int
) -> Probabilities:
    """Average forest, discriminant and network, as logarithms."""
    parts = [forests, discriminant, network]
    given = [part(place, training, rows, columns, seed) for part in parts]
    raised = np.exp(np.mean([np.log(np.maximum(each, 1e-3)) for each in given], axis=0))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def smoothed(
    place: HongKong, training: Integers, rows: Integers, columns: Integers, seed: int
) -> Probabilities:
    """Average the probabilities of a forest over the cells around each cell of the map."""
    shape = place.stack.shape[1:]
    around = np.zeros(shape, dtype=bool)
    around[rows, columns] = True
    around = maximum_filter(around, 2 * REACH + 1)
    down, along = np.nonzero(around)
    seen, others = _pairs(place, training, down.astype(np.int64), along.astype(np.int64))
    given = _given(_forest(seed).fit(seen, place.labels[training]), others)
    result = np.empty((rows.size, len(CLASSES)))
    for number in range(len(CLASSES)):
        layer = np.zeros(shape)
        layer[down, along] = given[:, number]
        result[:, number] = gaussian_filter(layer, SMOOTHING)[rows, columns]
    return result / result.sum(axis=1, keepdims=True)


def self_supervised(
    place: HongKong, training: Integers, rows: Integers, columns: Integers, seed: int
) -> Probabilities:
    """Add features that agree between the dates of a cell, learnt on all open cells, to a forest.

    The loss is that of Bardes, Ponce and LeCun (2022), VICReg, ICLR, arXiv:2105.04906: two dates
    of a cell are close, features vary, and are not correlated.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    layers = _layers(place, training.tobytes(), by_date=True)
    down, along = np.nonzero(place.open_area & np.isfinite(place.stack.values).all(axis=0))
    views = [each[:, down, along].T for each in layers]
    mean, std = views[0].mean(axis=0), np.maximum(views[0].std(axis=0), 1e-6)
    count = views[0].shape[1]
    encoder = nn.Sequential(
        nn.Linear(count, 192), nn.BatchNorm1d(192), nn.ReLU(), nn.Linear(192, SSL_WIDTH)
    )
    head = nn.Sequential(nn.ReLU(), nn.Linear(SSL_WIDTH, 128))
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], 2e-3)

    def scaled(values: Floats) -> torch.Tensor:
        return torch.from_numpy(np.clip((values - mean) / std, -LIMIT, LIMIT).astype(np.float32))

    for _ in range(SSL_STEPS):
        drawn = random.integers(0, down.size, SSL_BATCH)
        dates = random.permutation(len(views))[:2]
        outputs = [
            head(encoder(scaled(views[k][drawn]) + 0.1 * torch.randn(SSL_BATCH, count)))
            for k in dates
        ]
        loss = 25.0 * ((outputs[0] - outputs[1]) ** 2).mean()
        for output in outputs:
            centred = output - output.mean(dim=0)
            matrix = centred.T @ centred / (SSL_BATCH - 1)
            loss += 25.0 * torch.relu(1.0 - (matrix.diagonal() + 1e-4).sqrt()).mean()
            loss += ((matrix**2).sum() - (matrix.diagonal() ** 2).sum()) / len(matrix)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    encoder.eval()
    with torch.no_grad():
        learnt = [
            np.mean([encoder(scaled(each[:, r, c].T)).numpy() for each in layers], axis=0)
            for r, c in ((place.rows[training], place.columns[training]), (rows, columns))
        ]
    seen, others = _pairs(place, training, rows, columns)
    model = _forest(seed).fit(np.concatenate([seen, learnt[0]], axis=1), place.labels[training])
    return _given(model, np.concatenate([others, learnt[1]], axis=1))


CANDIDATES: dict[str, Method] = {
    "random forest and extra trees": forests,
    "support vectors": vectors,
    "linear discriminants": discriminant,
    "logistic regression": logistic,
    "small network": network,
    "small network, dates as samples": dates_as_samples,
    "forests, discriminants and network": everything,
    "forest, map smoothed": smoothed,
    "forest with self-supervised features": self_supervised,
}
