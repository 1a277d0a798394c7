"""Exit codes of the command line, beside 0 for done."""

from __future__ import annotations

FAILED = 1
"""The data or the work."""
USAGE = 2
"""The command was given wrongly."""
INTERRUPTED = 130
TERMINATED = 143
