"""Simulated cities, and how radar and optical sensors see them."""
