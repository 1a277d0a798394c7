"""Labelled cells of Local Climate Zones, and tables of how well they are told apart."""
