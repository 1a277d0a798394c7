"""The rows of `benchmarks.terrain`: what is trained, and what is compared with what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sarheight.terrain import TerrainSettings

__all__ = ["CUTS", "GOALS", "KNOWN", "LARGE", "NETWORKS", "ROWS", "USUAL", "settings_of"]

KNOWN = (4, 16, 64)
USUAL = 16
"""Known elevations in a patch of 128 x 128 cells."""

PUBLISHED = TerrainSettings(
    channels=("gamma0_geocoded",),
    network="unet",
    options={"width": 8, "depth": 4},
    reference="mean",
    uncertainty=False,
    output_std=None,
    known_count=(USUAL, USUAL),
    batch=4,
    epochs=12,
    patience=12,
    rate=2e-3,
)
SELECTIVE = {**PUBLISHED.options, "normalisation": "batch"}
"""The published kind. Where it runs away, normalisation by each image does not."""
RECONSTRUCTED = ("gamma0_reallocated_unflattened",)
UNFOLDED = ("gamma0_posterior_unflattened",)
RESIDUAL = replace(
    PUBLISHED,
    channels=UNFOLDED,
    network="ask_unet",
    options=SELECTIVE,
    reference="interpolated",
    uncertainty=True,
    known_count=(min(KNOWN), max(KNOWN)),
)
NETWORKS = {
    "unet_level": replace(PUBLISHED, channels=("gamma0_level",)),
    "unet_plain": PUBLISHED,
    "unet_reconstructed": replace(PUBLISHED, channels=RECONSTRUCTED),
    "ask_plain": replace(PUBLISHED, network="ask_unet", options=SELECTIVE),
    "ask_reconstructed": replace(
        PUBLISHED, network="ask_unet", options=SELECTIVE, channels=RECONSTRUCTED
    ),
    "residual": RESIDUAL,
}
LARGE: dict[str, Any] = {
    "batch": 32,
    "epochs": 150,
    "patience": 30,
}
WIDE = 32
"""What the form for a GPU has instead, and channels at its finest level."""
ROWS = {
    "priors": "known elevations, thin plate",
    "coarse": "coarse elevation model",
    "unet_level": "U-Net, geocoded without a model",
    "unet_plain": "U-Net, plain geocoded",
    "unet_reconstructed": "U-Net, reconstructed",
    "ask_plain": "ASK-UNet, plain geocoded",
    "ask_reconstructed": "ASK-UNet, reconstructed (published)",
    "residual": "residual on the thin plate, posterior mean",
}
CUTS = {
    "cut_reconstruction": ("unet_reconstructed", "unet_plain"),
    "cut_network": ("ask_reconstructed", "unet_reconstructed"),
    "cut_network_plain": ("ask_plain", "unet_plain"),
    "cut_published": ("ask_reconstructed", "unet_plain"),
    "cut_model": ("unet_plain", "unet_level"),
    "cut_model_and_reconstruction": ("unet_reconstructed", "unet_level"),
    "cut_published_level": ("ask_reconstructed", "unet_level"),
    "cut_residual": ("residual", "unet_plain"),
}
"""Key, row, and the row it is compared with."""
GOALS = {
    "cut_reconstruction": 0.056,
    "cut_network": 0.055,
    "cut_published": 0.124,
}
"""The least of what is reported for three regions."""


def settings_of(row: str, seed: int, *, large: bool = False) -> TerrainSettings:
    """Return the settings of a row's training.

    Parameters
    ----------
    row : str
        Key of `NETWORKS`.
    seed : int
        Of the training.
    large : bool
        Whether it is the form for a GPU.
    """
    settings = replace(NETWORKS[row], seed=seed)
    if not large:
        return settings
    return replace(settings, **LARGE, options={**settings.options, "width": WIDE})
