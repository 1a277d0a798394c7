"""How much memory a process has taken."""

from __future__ import annotations

import re
import resource
from pathlib import Path

__all__ = ["peak_bytes"]


def peak_bytes() -> int:
    """Return the largest memory of this process so far.

    Where the system tells it, the process itself is asked: the figure of `resource` begins with
    what the process held that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
