"""What a training run for building heights is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from sarheight.data import SAR_BANDS
from sarheight.models._building_heights import BUILDING_NETWORKS
from sarheight.training._run_settings import RunSettings, require_one_of, require_positive

__all__ = ["BuildingSettings"]

PUBLISHED_BANDS = ("B02", "B03", "B04", "B08", "B11")


@dataclass(frozen=True, kw_only=True)
class BuildingSettings(RunSettings):
    """Settings of a training run for building heights.

    Parameters
    ----------
    network, options
        See `sarheight.models.BuildingHeightEstimator`.
    weights : mapping of str
        Of ``mbhr``: files of public weights of ResNet50 by modality, with which training begins;
        see `sarheight.models.load_resnet_weights`.
    sar_bands, optical_bands : tuple of str
        Bands of the city stacks that the network sees; there may be none of one kind.
    months : int
        Months of a sample. With one, each month is an image of its own of the same heights; with
        twelve, they are one series.
    kept_months : int
        How many of them, drawn anew, a batch of training has; 0 takes all. Fewer cost less, and
        the network learns to do with what there is.
    drop_modality, drop_month : float
        Probability that a sample loses a modality, and that a modality loses an image.
    size, stride : int
        Of the patches for training in cells, and from one to the next.
    plateau : int
        Of ``mbhr``: epochs without a better validation after which the learning rate falls to a
        tenth.
    batch, epochs, patience, rate, decay, clip, precision, workers, seed
        See `RunSettings`. ``mbhr`` is trained by Adam, whose rate falls on a plateau. ``series`` is
        trained by AdamW, whose rate rises over the first tenth of the steps, and falls as a cosine
        to nothing.

    Raises
    ------
    ValueError
        If a name is not known or a number makes no sense.
    """

    network: str = "series"
    options: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    sar_bands: tuple[str, ...] = SAR_BANDS
    optical_bands: tuple[str, ...] = PUBLISHED_BANDS
    months: int = 12
    kept_months: int = 6
    drop_modality: float = 0.1
    drop_month: float = 0.1
    size: int = 64
    stride: int = 32
    plateau: int = 10
    epochs: int = 30
    patience: int = 30
    rate: float = 2e-3
    decay: float = 1e-2

    def __post_init__(self) -> None:
        """Check the values; lists, as JSON has them, become tuples."""
        for name in ("sar_bands", "optical_bands"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        require_one_of("network", self.network, tuple(BUILDING_NETWORKS))
        require_positive(self, ("months", "size", "stride", "plateau"))
        chances = self.drop_modality, self.drop_month
        if not 0 <= self.kept_months <= self.months or not all(0.0 <= c <= 1.0 for c in chances):
            msg = (
                f"found kept_months={self.kept_months} of {self.months}, drop_modality and "
                f"drop_month {chances}; expected no more months than there are, and shares from 0 "
                "to 1"
            )
            raise ValueError(msg)

    @classmethod
    def published(cls, **others: Any) -> Self:  # noqa: ANN401  # any of the settings
        """Return the settings of the published network, apart from those given.

        Patches of one month, none lost, a batch of 16 patches, Adam at a rate of 1e-4. How many
        bands and how large a batch are not printed: the released code reads five bands. No limit of
        the gradient is printed either; here it is the usual one, unless ``clip=None`` takes it off.
        """
        usual: dict[str, Any] = {
            "network": "mbhr",
            "months": 1,
            "kept_months": 0,
            "drop_modality": 0.0,
            "drop_month": 0.0,
            "batch": 16,
            "epochs": 50,
            "patience": 20,
            "rate": 1e-4,
            "decay": 0.0,
        }
        return cls(**(usual | others))
