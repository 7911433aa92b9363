"""One training loop for everything, counted in images; told nothing about satellites."""
