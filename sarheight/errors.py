"""The errors that a caller may want to catch by name.

Everything else is a plain `ValueError`, `TypeError` or `OSError`. All of them say what was found,
what was expected, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "AnnotationError",
    "CheckpointError",
    "ChecksumError",
    "DatasetError",
    "DemError",
    "FetchError",
    "GeoidGridMissingError",
    "GeometryError",
    "KnownElevationsError",
    "MissingLibraryError",
    "NotThereError",
    "OrbitCoverageError",
    "OutputError",
    "ProductError",
    "SarheightError",
    "StackError",
    "UnsafeAddressError",
    "VerticalDatumError",
]


class SarheightError(Exception):
    """Base of the errors below.

    Parameters
    ----------
    found : str
        What is wrong, or all there is to say.
    advice : str, optional
        What to do about it in Python.
    options : mapping, optional
        What to do instead where one gives options rather than writes Python: arguments of the
        function that was given the file, each with the value that helps, or with several to choose
        from in a tuple. None stands for leaving it out. One of the options is enough.
    file_advice : str, optional
        What to do about the file.
    """

    def __init__(
        self,
        found: str = "",
        advice: str = "",
        *,
        options: Mapping[str, str | float | tuple[str, ...] | None] | None = None,
        file_advice: str = "",
    ) -> None:
        super().__init__(f"{found}; {advice}" if advice else found)
        self.found = found
        self.options = dict(options or {})
        self.file_advice = file_advice


class AnnotationError(SarheightError, ValueError):
    """An annotation or orbit file is damaged, unsafe, or not what it was taken for."""


class ProductError(SarheightError, ValueError):
    """A product is damaged, incomplete, unsafe, or of a kind that cannot be read."""


class OrbitCoverageError(SarheightError, ValueError):
    """A time was asked for that the state vectors do not cover."""


class OutputError(SarheightError, OSError):
    """A result cannot be, or could not be, written. Nothing is left half-written."""


class GeometryError(SarheightError, ValueError):
    """Image and DEM do not meet, or a map projection cannot be followed."""


class DemError(SarheightError, ValueError):
    """An elevation model is unusable as it is: its grid, reference system, units or voids."""


class VerticalDatumError(DemError):
    """It is not stated, or stated in two ways, what the heights are measured from."""


class GeoidGridMissingError(SarheightError, OSError):
    """The geoid grid that turns heights above sea level into ellipsoidal ones is not installed."""


class KnownElevationsError(SarheightError, ValueError):
    """Sparse elevations cannot be used: their places, their heights, or their file."""


class MissingLibraryError(SarheightError, ImportError):
    """A library of an extra is needed that is not installed."""


class FetchError(SarheightError, OSError):
    """Something could not be fetched: network, server, account, or disk."""


class NotThereError(FetchError):
    """A server says that it does not have what was asked for."""


class ChecksumError(FetchError):
    """What was fetched is not what was announced. It was thrown away."""


class UnsafeAddressError(FetchError):
    """An address or a file name that no honest catalogue gives. Nothing was fetched from it."""


class CheckpointError(SarheightError, ValueError):
    """A saved network is damaged, incomplete, or that of another model."""


class JobListError(SarheightError, ValueError):
    """A list of jobs cannot be read, or its jobs get in each other's way."""


class ManifestError(SarheightError, OSError):
    """The manifest of a batch cannot be read or written."""


class StackError(SarheightError, ValueError):
    """Images of a city, its buildings or its recipe do not fit together, or are not what they say.

    Bands, months, grid, units.
    """


class DatasetError(SarheightError, ValueError):
    """Labelled samples for learning are damaged, incomplete, or of another form."""
