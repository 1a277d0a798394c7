"""Parts of `benchmarks.independent`: places, observations, methods, scores, report."""
