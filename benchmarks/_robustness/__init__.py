"""Mutants of files: how they are made, what is read from them, and what may come of it."""
