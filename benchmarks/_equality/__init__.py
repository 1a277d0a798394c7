"""The cases of `benchmarks.equality`."""
