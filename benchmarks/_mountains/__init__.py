"""Simulated images of real mountains, and how far each method is from their truth."""
