"""How long does it take? Jobs in turn, so that what else the machine does meets all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Sample", "in_turn"]


@dataclass(frozen=True)
class Sample:
    """How long several runs of a job took."""

    seconds: tuple[float, ...]  # Wall-clock time of each run
    # Processor time of each run in all threads, that of the system included
    processor: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, or the range of fewer than four runs."""
        if len(self.seconds) < 4:
            return 0.5 * (max(self.seconds) - min(self.seconds))
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return 0.5 * (high - low)

    def shared(self, threads: int) -> Sample:
        """Return the processor time of each run, divided among threads.

        It is what a run takes where nothing else uses the machine and threads share work evenly.
        """
        return Sample(tuple(each / threads for each in self.processor), self.processor)

    def per(self, count: float) -> tuple[float, float]:
        """Median and spread in nanoseconds for each of `count` things."""
        return 1e9 * self.median / count, 1e9 * self.spread / count


def in_turn(jobs: Mapping[str, Callable[[], object]], runs: int = 5) -> dict[str, Sample]:
    """Run jobs by name in turn, round after round; a first round is not counted."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for round_ in range(runs + 1):
        for name, job in jobs.items():
            begin = time.perf_counter(), time.process_time()
            job()
            end = time.perf_counter(), time.process_time()
            if round_:
                taken[name].append((end[0] - begin[0], end[1] - begin[1]))
    return {name: Sample(*zip(*pairs, strict=True)) for name, pairs in taken.items()}
