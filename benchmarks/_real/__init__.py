"""Real images of ENVISAT, Sentinel-1 and OPERA, and what is measured in them."""
