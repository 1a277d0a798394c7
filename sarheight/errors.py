"""Errors that a caller may want to catch by name.

All other errors are plain `ValueError`, `TypeError` or `OSError`. Messages say what was found, what
was expected, and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Self

__all__ = [
    "AnnotationError",
    "CheckpointError",
    "ChecksumError",
    "DamagedFileError",
    "DatasetError",
    "DemError",
    "FetchError",
    "GeoidGridMissingError",
    "GeometryError",
    "JobListError",
    "KnownElevationsError",
    "ManifestError",
    "MissingLibraryError",
    "NotThereError",
    "OptionError",
    "OrbitCoverageError",
    "OutputError",
    "ProductError",
    "SarheightError",
    "SeriesError",
    "SettingsError",
    "StackError",
    "UnsafeAddressError",
    "VerticalDatumError",
]
__dir__ = __all__.copy  # `dir` lists the public names


FLAG = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")
"""An option as it is written on the command line."""
CONTROL = re.compile(r"\s*[\x00-\x1f\x7f-\x9f\u2028\u2029]+\s*")


def python_names(text: str) -> str:
    """Replace names of options on the command line by those in Python."""
    return FLAG.sub(lambda match: match[1].replace("-", "_"), text)


class SarheightError(Exception):
    """Base of the errors below.

    Parameters
    ----------
    found : str
        The problem, or the whole message.
    advice : str, optional
        How to solve it in Python.
    options : mapping, optional
        How to solve it on the command line: arguments of the function that read the file, each with
        the value that helps, or several to choose from in a tuple. None means to leave it out. One
        of the options is enough.
    file_advice : str, optional
        How to change the file.
    """

    def __init__(
        self,
        found: str = "",
        advice: str = "",
        *,
        options: Mapping[str, str | float | tuple[str, ...] | None] | None = None,
        file_advice: str = "",
    ) -> None:
        # Names within files may hold line breaks and terminal sequences: messages have one line.
        message = f"{found}; {advice}" if advice else found
        super().__init__(CONTROL.sub(" ", message))
        self.found = CONTROL.sub(" ", found)
        self.options = dict(options or {})
        self.file_advice = file_advice

    def of_options(self, *, prefix: str) -> Self:
        """Return the error for an input whose options have a prefix, such as ``known-``."""
        error = copy(self)
        error.options = {f"{prefix}{name}": value for name, value in self.options.items()}
        return error


class DamagedFileError(SarheightError, ValueError, OSError):
    """A file is damaged, incomplete, larger than it may be, or of another kind than expected."""


class AnnotationError(SarheightError, ValueError):
    """An annotation or orbit file is damaged, unsafe, or of another kind."""


class ProductError(SarheightError, ValueError):
    """A product is damaged, incomplete, unsafe, or of a kind that cannot be read."""


class OrbitCoverageError(SarheightError, ValueError):
    """A time is outside the state vectors of an orbit."""


class OutputError(SarheightError, OSError):
    """A result cannot be, or could not be, written. Nothing is left half-written."""


class GeometryError(SarheightError, ValueError):
    """Image and DEM do not meet, or a map projection cannot be followed."""


class DemError(SarheightError, ValueError):
    """A DEM is unusable as it is: its grid, reference system, units or voids."""


class VerticalDatumError(DemError):
    """The vertical datum of heights is unknown or contradictory."""


class GeoidGridMissingError(SarheightError, OSError):
    """The geoid grid that turns heights above sea level into ellipsoidal ones is not installed."""


class KnownElevationsError(SarheightError, ValueError):
    """Known elevations cannot be used: their positions, their heights, or their file."""


class MissingLibraryError(SarheightError, ImportError):
    """A library of an extra is needed that is not installed."""


class FetchError(SarheightError, OSError):
    """A download failed: network, server, account, or disk."""


class NotThereError(FetchError):
    """A server does not have the requested file."""


class ChecksumError(FetchError):
    """A download differs from its checksum or size. It was deleted."""


class UnsafeAddressError(FetchError):
    """An address or file name is unsafe. Nothing was fetched from it."""


class CheckpointError(SarheightError, ValueError):
    """A saved network is damaged, incomplete, or that of another model."""


class SettingsError(SarheightError, ValueError):
    """Settings of a command, in a file or a list, are unknown, of the wrong kind, or impossible."""


class OptionError(SettingsError):
    """An option is unknown, missing, impossible, or does not apply to the input.

    Parameters
    ----------
    found : str
        What is wrong. Options are named as on the command line, ``--noise-removal``; the message in
        Python has ``noise_removal``.
    option : str, optional
        Name of the option that is wrong.
    """

    def __init__(self, found: str = "", *, option: str = "") -> None:
        super().__init__(found)
        self.option = option

    def __str__(self) -> str:
        """Return the message with the names of options in Python."""
        text = python_names(self.found)
        return f"{self.option}: {text}" if self.option else text


class JobListError(SarheightError, ValueError):
    """A list of jobs cannot be read, or its jobs contradict each other."""


class ManifestError(SarheightError, OSError):
    """The manifest of a batch cannot be read or written."""


class StackError(SarheightError, ValueError):
    """Images, buildings and configuration of a city differ in bands, months, grid or units."""


class SeriesError(SarheightError, ValueError):
    """Dates of a series do not belong together, or not to the stack that they are to extend."""


class DatasetError(SarheightError, ValueError):
    """Labelled samples for learning are damaged, incomplete, or of another form."""


# Libraries of extras.

EXTRAS = {
    "learn": ("lightning", "safetensors", "sklearn", "torch", "torchmetrics"),
    "fetch": (
        *("aiohttp", "asf_search", "botocore", "filelock", "pystac_client", "requests", "s3fs"),
        "urllib3",
    ),
    "vector": ("geopandas", "pyarrow", "pyogrio"),
    "cluster": ("distributed",),
    "condition": ("skimage",),
    "sicd": ("jbpy", "sarkit"),
}
"""Modules of the optional dependencies by extra."""


@contextmanager
def naming_extras() -> Iterator[None]:
    """Turn the error of an optional library that is missing into one that names its extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        extra = next((extra for extra, names in EXTRAS.items() if name in names), None)
        if extra is None:
            raise
        raise missing_library([name], extra) from error


def missing_library(missing: Sequence[str], extra: str) -> MissingLibraryError:
    """Make the error of libraries that are not installed."""
    verb = "is" if len(missing) == 1 else "are"
    return MissingLibraryError(
        f"this needs {', '.join(missing)}, which {verb} not installed; do: "
        f"pip install 'sarheight[{extra}]'"
    )
