"""How fast is the refined Lee filter? Pixels a second on two cores.

What is taken is processor time, which other programs on the machine do not lengthen as they do
time by the clock: pixels over the seconds that all threads spent together, times two. It leaves
out what two threads cost each other, which is little: each has rows of its own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from sarheight_kernels.lee import refined_lee

from benchmarks._figures import record

__all__ = ["main"]

CORES = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Filter speckle several times, print the speed, and put it on record."""
    parser = argparse.ArgumentParser("python -m benchmarks.lee", description=__doc__)
    parser.add_argument("--save", action="store_true", help="put the figure on record")
    parser.add_argument("--side", type=int, default=3000, help="pixels along the image")
    parser.add_argument("--runs", type=int, default=7)
    chosen = parser.parse_args(arguments)
    random = np.random.default_rng(0)
    image = random.gamma(4.4, 1.0 / 4.4, (chosen.side, chosen.side)).astype(np.float32)
    result = np.empty_like(image)
    refined_lee(image, 4.4, result)
    speeds = []
    for _ in range(chosen.runs):
        begin = time.process_time()
        refined_lee(image, 4.4, result)
        speeds.append(1e-6 * CORES * image.size / (time.process_time() - begin))
    low, middle, high = np.quantile(speeds, (0.25, 0.5, 0.75))
    Console().print(f"refined Lee filter: {middle:.0f} Mpixel/s on {CORES} cores")
    if chosen.save:
        spread = 0.5 * float(high - low)
        record({"lcz.lee_filter": (float(middle), spread)}, "python -m benchmarks.lee --save")


if __name__ == "__main__":
    main()
