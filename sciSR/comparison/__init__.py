"""Images side by side on one grid: against a truth, half against half, an image against itself."""
