"""The command line, as ``python -m sarheight``."""

from __future__ import annotations

from sarheight.cli import main

if __name__ == "__main__":
    main()
