"""Benchmarks for asv, which imports them from the folder that holds them."""

from __future__ import annotations

import sys
from pathlib import Path

# They use what lies beside that folder.
sys.path.append(str(Path(__file__).parents[2]))
