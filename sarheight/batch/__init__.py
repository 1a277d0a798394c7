"""Many scenes: a list of jobs, a manifest of what is complete, and the work itself."""

from __future__ import annotations

from sarheight.batch._estimate import Expected, expected
from sarheight.batch._jobs import Job, jobs_of_files, read_jobs
from sarheight.batch._manifest import Entry, Manifest
from sarheight.batch._run import Outcome, pending, run

__all__ = [
    "Entry",
    "Expected",
    "Job",
    "Manifest",
    "Outcome",
    "expected",
    "jobs_of_files",
    "pending",
    "read_jobs",
    "run",
]
