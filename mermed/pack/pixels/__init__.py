"""From raw values to the one image that is stored, and what is measured of it."""
