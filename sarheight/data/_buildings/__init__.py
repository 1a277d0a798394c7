"""Buildings as polygons and as rasters, and patches of city stacks."""
