"""Reconstruct many scenes: lists of jobs, a manifest of completed jobs, and their execution."""

from __future__ import annotations

from sarheight.batch._jobs import Entry, Job, Manifest, jobs_of_files, read_jobs
from sarheight.batch._run import Estimate, Outcome, estimate, pending, run

__all__ = [
    "Entry",
    "Estimate",
    "Job",
    "Manifest",
    "Outcome",
    "estimate",
    "jobs_of_files",
    "pending",
    "read_jobs",
    "run",
]
