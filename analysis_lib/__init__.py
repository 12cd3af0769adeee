"""Library behind the notebooks: see README.md for the map."""
