"""Run the benchmarks, print their tables, and put what they find on record."""

from __future__ import annotations

import argparse
import pkgutil
from importlib import import_module

import benchmarks
from benchmarks import _figures


def main() -> None:
    """Run the benchmarks that are named, or all of them."""
    scripts = [each for each in pkgutil.iter_modules(benchmarks.__path__) if not each.ispkg]
    known = [each.name for each in scripts if not each.name.startswith("_")]
    known.remove("equality")  # it compares two versions, and is told of one
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(known)}; all by default")
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--no-save", action="store_true", help="only print the tables")
    parser.add_argument(
        "--prune", action="store_true", help="only remove the figures that no page quotes"
    )
    chosen = parser.parse_args()
    if chosen.prune:
        print(f"{len(_figures.prune())} figures removed")
        return
    unknown = set(chosen.names) - set(known)
    if unknown:
        parser.error(f"found {', '.join(sorted(unknown))}, expected some of {', '.join(known)}")
    arguments = ["--data", chosen.data] if chosen.data else []
    arguments += [] if chosen.no_save else ["--save"]
    for name in chosen.names or known:
        import_module(f"benchmarks.{name}").main(arguments)


if __name__ == "__main__":
    main()
