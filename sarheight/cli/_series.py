"""``sarheight series``: many dates of one track on one grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from sarheight.cli._files import require_apart
from sarheight.cli._session import Session, session
from sarheight.errors import OptionError
from sarheight.workflow.config import Running, SeriesConfig
from sarheight.workflow.options import option
from sarheight.workflow.words import OUTPUT

if TYPE_CHECKING:
    from sarheight.series import Report


def series(
    settings: SeriesConfig,
    output: Annotated[Path, option(OUTPUT, "--output", "-o")],
    running: Running,
) -> None:
    """Reconstruct many dates of one track on one grid, as a stack that grows.

    The first date is the reference: masks and angles are found once, for its orbit. Writes a Zarr
    store with dims time, polarisation, y, x: γ⁰ of each date, the same after a multi-temporal
    speckle filter, its mean and spread over time, masks, angles, heights; and for each date
    platform, orbit, baseline, shift, provenance.

    Dates that the stack has already change nothing: pass the whole folder again when new ones have
    arrived. A run that was interrupted resumes. A damaged product is named and skipped.

    ```
    sarheight series track/*.zip --dem auto --orbit auto -o stack.zarr
    sarheight series track/ -o stack.zarr
    sarheight series track/*.zip --dem auto --mgrs 32TPT --resolution 20 -o stack.zarr
    sarheight series a.nc b.nc c.nc --dem glo30.tif --vertical EGM2008 -o stack.zarr
    ```

    Parameters
    ----------
    output : pathlib.Path
        The stack, `.zarr`. It is appended to if it exists.
    """
    for name, path in settings.files().items():
        # An image that is not there is named among those that are skipped.
        if "images" not in name and not path.exists():
            msg = f"there is no '{path}'"
            raise OptionError(msg, option=name.split(" ")[0])
    if output.suffix.lower() != ".zarr":
        msg = f"found '{output}', expected a name that ends in .zarr"
        raise OptionError(msg, option="output")
    require_apart(output, "output", settings.files().values())
    if not settings.dem and not output.exists():
        msg = f"there is no stack '{output}' yet: a new one needs the elevation model"
        raise OptionError(msg, option="dem")
    with session("series", running, {"read": 1}) as current:
        current.stage("read")
        current.compile_kernels()
        from sarheight.workflow.series import run_series

        _tell(run_series(settings, output, current), current)


def _tell(report: Report, current: Session) -> None:
    """Say what was appended, what not, and why."""
    for name, reason in report.skipped.items():
        current.warn(f"{name} was skipped: {reason}")
    for name, reason in report.by_themselves.items():
        current.say(f"{name} was reconstructed by itself: {reason}")
    if report.present:
        current.say(f"{len(report.present)} dates were there already")
    current.say(f"{report.path}: {len(report.added)} dates appended, {report.dates} in all")
