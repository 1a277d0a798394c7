"""The independent simulator: images as sums of point scatterers, on ground of several kinds."""
