"""Real images: ENVISAT over hills of the Mojave, and Sentinel-1 over hills in Morocco."""
