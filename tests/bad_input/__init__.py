"""A catalogue of bad input: one module per kind, each with a list of cases."""
