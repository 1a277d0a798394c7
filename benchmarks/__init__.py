"""Benchmarks: one script for each question; each prints a table and can save its answers.

``python -m benchmarks`` runs all of them, `x.
"""
