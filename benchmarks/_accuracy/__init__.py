"""Parts of `benchmarks.accuracy`: geometry, shifts, sarsen's geocoding, constant images."""
