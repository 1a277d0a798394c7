"""How channels are parted into branches, and where these may meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "OPTICAL_CHANNELS",
    "RADAR_CHANNELS",
    "ZONE_SPLITS",
    "FusionForm",
    "fusion_forms",
    "split_channels",
]

RADAR_CHANNELS = (
    "vh_real", "vh_imaginary", "vv_real", "vv_imaginary",
    "vh_intensity", "vv_intensity", "covariance_real", "covariance_imaginary",
)  # fmt: skip
"""Radar channels in So2Sat's order: complex VH and VV, Lee-filtered intensities, covariance."""
OPTICAL_CHANNELS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
"""Bands of Sentinel-2 in So2Sat's order."""
_RADAR_GROUPS = (RADAR_CHANNELS[:4], RADAR_CHANNELS[4:6], RADAR_CHANNELS[6:])
_OPTICAL_GROUPS = (("B2", "B3", "B4"), ("B5", "B6", "B7"), ("B8", "B8A"), ("B11", "B12"))

Split = tuple[tuple[str, ...], ...]

ZONE_SPLITS: dict[str, Split] = {
    "all": ((*RADAR_CHANNELS, *OPTICAL_CHANNELS),),
    "radar": (RADAR_CHANNELS,),
    "optical": (OPTICAL_CHANNELS,),
    "radar groups": _RADAR_GROUPS,
    "optical groups": _OPTICAL_GROUPS,
    "radar|optical": (RADAR_CHANNELS, OPTICAL_CHANNELS),
    "seven groups": (*_RADAR_GROUPS, *_OPTICAL_GROUPS),
}
"""Named splits: for each branch the names of its channels.

The physical groups are RGB, red edge, near infrared and short-wave infrared; complex, Lee-filtered
intensity and covariance. B8A, at 865 nm, stands with the near infrared.
"""
FUSED = ("radar groups", "optical groups", "radar|optical", "seven groups")
LAST_STAGE = 6


@dataclass(frozen=True)
class FusionForm:
    """A split of the channels, and the stage at which its branches meet.

    Parameters
    ----------
    name : str
        Of the split.
    groups : tuple of tuple of str
        For each branch the names of its channels.
    stage : int
        0 to 6, see `sarheight.models.FusionCNN`.
    independent : bool
        At stage 6: whether the branches are trained apart and then summed.

    Raises
    ------
    ValueError
        If branches are to be independent that meet before stage 6.
    """

    name: str
    groups: tuple[tuple[str, ...], ...]
    stage: int
    independent: bool = False

    def __post_init__(self) -> None:
        """Check the stage."""
        if not 0 <= self.stage <= LAST_STAGE or (self.independent and self.stage != LAST_STAGE):
            msg = (
                f"found stage {self.stage} with independent={self.independent}, expected 0 to "
                f"{LAST_STAGE}, and independent branches only at the last"
            )
            raise ValueError(msg)

    @property
    def label(self) -> str:
        """Name for tables and folders, such as ``radar|optical 6 independent``."""
        return f"{self.name} {self.stage}{' independent' if self.independent else ''}"

    @property
    def fusion(self) -> str:
        """Say in a word when the branches meet: none, early, middle or late."""
        if len(self.groups) == 1:
            return "none"
        return "early" if self.stage == 0 else "late" if self.stage == LAST_STAGE else "middle"


def fusion_forms(
    splits: Mapping[str, Sequence[Sequence[str]]] | None = None, *, independent: bool = False
) -> list[FusionForm]:
    """List all forms of the fusion network.

    The four splits with several branches (the three groups of radar, the four groups of optical
    channels, radar | optical, all seven groups), each fused at stages 0 to 6, are the 28 forms.
    The sum of softmaxes at stage 6 can be trained in two ways; those four further rows come with
    ``independent=True``. Splits of a single branch have nothing to fuse, and give one form each.

    Parameters
    ----------
    splits : mapping, optional
        By name, for each branch the names of its channels; by default those four.
    independent : bool
        Whether to add, for each split, the branches that are trained apart and summed.

    Returns
    -------
    list of FusionForm
        28 by default, 32 with independent ones.
    """
    chosen = {name: ZONE_SPLITS[name] for name in FUSED} if splits is None else splits
    forms = []
    for name, split in chosen.items():
        groups = tuple(map(tuple, split))
        stages = range(LAST_STAGE + 1) if len(groups) > 1 else range(1)
        forms += [FusionForm(name, groups, stage) for stage in stages]
        if independent and len(groups) > 1:
            forms.append(FusionForm(name, groups, LAST_STAGE, independent=True))
    return forms


def split_channels(
    split: str | Sequence[Sequence[str]], channels: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """Return a split by its name, or check one of your own.

    Parameters
    ----------
    split : str or sequence of sequence of str
        One of `ZONE_SPLITS`, "all" for all channels in one branch, or for each branch the names of
        its channels.
    channels : sequence of str
        What the data have.

    Returns
    -------
    tuple of tuple of str

    Raises
    ------
    ValueError
        If there is no such split, a channel is not there or in two branches, or there are more
        branches than channels.
    """
    if split == "all":
        return (tuple(channels),)
    if isinstance(split, str):
        if split not in ZONE_SPLITS:
            msg = f"found split {split!r}, expected one of {', '.join(ZONE_SPLITS)}, or groups"
            raise ValueError(msg)
        groups: Split = ZONE_SPLITS[split]
    else:
        groups = tuple(tuple(group) for group in split)
    named = [name for group in groups for name in group]
    if len(groups) > len(channels):
        msg = (
            f"found {len(groups)} branches for {len(channels)} channels, expected no more branches "
            "than channels"
        )
        raise ValueError(msg)
    missing = [name for name in named if name not in channels]
    if missing or not groups or not all(groups) or len(set(named)) != len(named):
        msg = (
            f"found groups {groups} of data with the channels {', '.join(channels)}; expected one "
            "channel at least in each group, each only once, and only channels that are there"
        )
        raise ValueError(msg)
    return groups
