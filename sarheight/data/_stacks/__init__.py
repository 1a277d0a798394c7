"""Co-registered image series of a city: their form, and where they come from."""
