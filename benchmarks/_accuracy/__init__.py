"""Parts of `benchmarks.accuracy`: shifts of images, and the geocoding of sarsen."""
