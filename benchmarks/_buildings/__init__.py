"""Cities with known heights of buildings, and what networks make of them."""
