"""Patches labelled with Local Climate Zones: read, simulated, and parted."""
