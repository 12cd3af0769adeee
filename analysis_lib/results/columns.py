"""What a column of a result table holds."""

MISSING = "n/a"
