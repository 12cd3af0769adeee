"""Parameters of a run that make no sense."""

from bad_input.frame import Case

CASES = [
    Case("a negative seed", lambda t: t.given.update(seed=-1), ("seed=-1", "whole number")),
]
