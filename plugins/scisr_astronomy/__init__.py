"""Astronomy for sciSR: FITS images and WCS grids."""
