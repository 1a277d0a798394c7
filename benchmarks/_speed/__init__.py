"""Parts of `benchmarks.speed`: a date of a series, and the way from a product to layers."""
