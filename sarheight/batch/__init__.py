"""Many scenes: a list of jobs, a manifest of what is complete, and the work itself."""

from __future__ import annotations

from sarheight.batch._jobs import Entry, Job, Manifest, jobs_of_files, read_jobs
from sarheight.batch._run import Expected, Outcome, expected, pending, run

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
