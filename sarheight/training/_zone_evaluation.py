"""What a classifier makes of samples, and how far its confidence can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from sarheight.metrics import class_scores
from sarheight.predict._device import device_of
from sarheight.training._zone_loading import batches_of

if TYPE_CHECKING:
    from sarheight.data import ZoneSamples
    from sarheight.metrics import ClassScores
    from sarheight.models import ZoneClassifier

__all__ = ["best_temperature", "evaluate_zones", "zone_probabilities"]

Floats = NDArray[np.float64]
LEAST_LOG, MOST_LOG = -3.0, 3.0
"""Bounds of the logarithm of a temperature."""
LEAST_PROBABILITY = 1e-12


def zone_probabilities(
    classifier: ZoneClassifier, samples: ZoneSamples, *, batch: int = 256, device: str = "auto"
) -> Floats:
    """Classify samples.

    Parameters
    ----------
    classifier : ZoneClassifier
        A trained one.
    samples : ZoneSamples
        With all of its channels, and its classes.
    batch : int
        Samples that are seen at once.
    device : str
        "auto" takes a GPU if there is one, "cpu", "cuda", ...

    Returns
    -------
    array, shape (n, classes)
        Probabilities at the temperature of the classifier.

    Raises
    ------
    ValueError
        If the samples lack a channel, or have other classes, or there is no such device.
    """
    places = places_of(classifier, samples)
    found = np.empty((len(samples), len(classifier.classes)))
    chosen = device_of(device)
    classifier = classifier.to(chosen).eval()
    with torch.inference_mode():
        for numbers in batches_of(np.arange(len(samples)), batch):
            image = torch.from_numpy(samples.read(numbers)[:, places]).to(chosen)
            found[numbers] = classifier.probabilities(image).double().cpu().numpy()
    classifier.cpu()
    return found


def places_of(classifier: ZoneClassifier, samples: ZoneSamples) -> list[int]:
    """Return where among the channels of samples those of a classifier are."""
    missing = [each.name for each in classifier.channels if each.name not in samples.channels]
    if missing or samples.classes != classifier.classes:
        msg = (
            f"found samples of {len(samples.classes)} classes without the channels "
            f"{', '.join(missing) or 'none'}; expected the {len(classifier.classes)} classes of "
            "the classifier, and all of its channels"
        )
        raise ValueError(msg)
    return [samples.channels.index(channel.name) for channel in classifier.channels]


def evaluate_zones(
    classifier: ZoneClassifier, samples: ZoneSamples, *, batch: int = 256, device: str = "auto"
) -> ClassScores:
    """Measure how well a classifier does.

    Parameters
    ----------
    classifier, samples, batch, device
        See `zone_probabilities`.

    Returns
    -------
    ClassScores
        Overall and average accuracy, kappa, figures by class, and confusion.
    """
    found = zone_probabilities(classifier, samples, batch=batch, device=device)
    return class_scores(samples.labels, found.argmax(axis=1), classifier.classes)


def best_temperature(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    r"""Find the temperature at which the truth is most likely.

    Parameters
    ----------
    probabilities : array, shape (n, classes)
        At a temperature of 1, of samples that were not trained with.
    truth : array of int, shape (n,)
        Numbers of their classes.

    Returns
    -------
    float
        Above 1 where a classifier is too sure of itself. From 0.05 to 20.

    References
    ----------
    Guo, C. et al. (2017). On Calibration of Modern Neural Networks. ICML, arXiv:1706.04599,
    section 4.2.
    """
    logarithms = np.log(np.maximum(probabilities, LEAST_PROBABILITY))

    def unlikeliness(log_temperature: float) -> float:
        scaled = logarithms / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        norm = np.log(np.exp(scaled).sum(axis=1))
        return float((norm - scaled[np.arange(truth.size), truth]).mean())

    found = minimize_scalar(unlikeliness, bounds=(LEAST_LOG, MOST_LOG), method="bounded")
    return float(np.exp(found.x))
