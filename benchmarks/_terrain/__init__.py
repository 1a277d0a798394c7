"""What `benchmarks.terrain` trains, tests and tells."""
