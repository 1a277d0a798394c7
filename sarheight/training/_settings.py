"""What a training run is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sarheight.models._heights import NETWORKS, Reference
from sarheight.training._run_settings import RunSettings, require_one_of, require_positive

Loss = Literal["l1", "l2"]


@dataclass(frozen=True, kw_only=True)
class TerrainSettings(RunSettings):
    """Settings of a training run for terrain heights.

    Parameters
    ----------
    channels : tuple of str
        Variables of the scenes that make the image. Names that begin with gamma0, sigma0 or beta0
        are power, and enter in decibels.
    network, options, reference, surfaces, uncertainty, height_std, output_std
        See `sarheight.models.HeightEstimator`.
    loss : {"l1", "l2"}
        Of the heights, in units of `output_std`: absolute or squared errors.
    size, stride : int
        Of the patches, in cells.
    known : tuple of int
        Fewest and most known elevations in a patch.
    error : float
        Standard deviation of their errors in metres.
    batch, epochs, patience, rate, decay, clip, precision, workers, seed
        See `RunSettings`. The optimiser is AdamW, whose rate rises over the first twentieth of
        the steps, and falls as a cosine to nothing.

    Raises
    ------
    ValueError
        If a name is not known or a number makes no sense.
    """

    channels: tuple[str, ...] = (
        "gamma0_posterior_unflattened",
        "local_incidence",
        "contribution_share",
    )
    network: str = "ask_unet"
    options: dict[str, Any] = field(default_factory=lambda: {"width": 32, "depth": 4})
    reference: Reference = "prompt"
    surfaces: tuple[str, ...] = ()
    uncertainty: bool = True
    height_std: float = 100.0
    output_std: float | None = 10.0
    loss: Loss = "l2"
    size: int = 128
    stride: int = 64
    known: tuple[int, int] = (4, 64)
    error: float = 0.0

    def __post_init__(self) -> None:
        """Check the values; lists, as JSON has them, become tuples."""
        for name in ("channels", "surfaces", "known"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        require_one_of("network", self.network, tuple(NETWORKS))
        require_one_of("reference", self.reference, get_args(Reference))
        require_one_of("loss", self.loss, get_args(Loss))
        require_positive(self, ("size", "stride", "height_std"))
        if not self.channels:
            msg = "found no channels, expected one at least: a network needs something to see"
            raise ValueError(msg)

    @property
    def seen(self) -> set[str]:
        """Surfaces that the network sees."""
        return {*self.surfaces, self.reference} - {"mean"}
