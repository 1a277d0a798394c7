"""What a comparison of an image with its simulation has found."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

__all__ = ["Shift"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shift:
    """How far a radar image lies from its simulation.

    A place that orbit and DEM put at (line, sample) is seen at (line + `line`, sample + `sample`).
    Where nothing can be said the shift is NaN, and `reason` says why.

    Attributes
    ----------
    line, sample : float
        The shift in pixels of the image.
    line_error, sample_error : float
        Its standard errors in pixels.
    along_track, across_track : float
        The same in metres on the ground: in the direction of flight, and away from the track.
    along_track_error, across_track_error : float
        Standard errors in metres.
    correlation_before, correlation_after : float
        Correlation of log-intensity, measured with simulated, as it was and with the shift taken
        out. Both without what varies more slowly than a few cells of the DEM.
    significance : float
        Height of the correlation's peak above its surroundings, in their standard deviations.
    windows : xarray.Dataset
        The windows that were compared, dim ``window``: ``line`` and ``sample`` of their centres,
        their own ``line_shift`` and ``sample_shift`` in pixels, their ``correlation`` with the
        common shift taken out, and whether each was ``used`` or set aside as an outlier.
    reason : str
        Why nothing can be said; empty where something can.
    """

    line: float = math.nan
    sample: float = math.nan
    line_error: float = math.nan
    sample_error: float = math.nan
    along_track: float = math.nan
    across_track: float = math.nan
    along_track_error: float = math.nan
    across_track_error: float = math.nan
    correlation_before: float = math.nan
    correlation_after: float = math.nan
    significance: float = math.nan
    windows: xr.Dataset = field(default_factory=xr.Dataset)
    reason: str = ""

    @property
    def found(self) -> bool:
        """Whether anything can be said about the shift."""
        return not self.reason

    @property
    def windows_used(self) -> int:
        """Number of windows on which the shift rests."""
        return int(self.windows["used"].sum()) if "used" in self.windows else 0

    def attributes(self) -> dict[str, Any]:
        """Return the numbers for the attributes of a result; those that are not known are None."""
        names = (
            *("line", "sample", "line_error", "sample_error"),
            *("along_track", "across_track", "along_track_error", "across_track_error"),
            *("correlation_before", "correlation_after", "significance"),
        )
        values = {name: getattr(self, name) for name in names}
        return {
            "found": self.found,
            "reason": self.reason,
            **{name: value if math.isfinite(value) else None for name, value in values.items()},
            "windows_used": self.windows_used,
            "windows_compared": int(self.windows.sizes.get("window", 0)),
        }

    def to_json(self) -> str:
        """Return the attributes as JSON."""
        return json.dumps(self.attributes())

    def __str__(self) -> str:
        """Say in a line what was found."""
        if not self.found:
            return f"nothing can be said about the shift: {self.reason}"
        return (
            f"the image lies {self.along_track:+.1f} ± {self.along_track_error:.1f} m along and "
            f"{self.across_track:+.1f} ± {self.across_track_error:.1f} m across the track from its "
            f"simulation ({self.line:+.2f} ± {self.line_error:.2f} lines, {self.sample:+.2f} ± "
            f"{self.sample_error:.2f} samples; {self.windows_used} windows, correlation "
            f"{self.correlation_before:.2f}, {self.correlation_after:.2f} with the shift taken out)"
        )
