"""How far apart two results may be and still agree: the one place that says so.

Two machines round differently, by about 1e-12 of a number, and more where an optimiser stops; 1e-6
is far above both and far below anything that a text could print. p-values that count permutations
are multiples of 1 / (1 + n): rounding can move one relabelling across a tie, and p by a count.
"""

import re
from dataclasses import dataclass

import numpy as np

_P_VALUE = re.compile(r"(smallest_)?p(_|$)")
_BORDER = 1 + 1e-6  # a difference of exactly one tolerance agrees, however it is rounded


@dataclass(frozen=True)
class Tolerance:
    """Difference at which two numbers agree: a share of the expected one; the least, near zero."""

    relative: float = 1e-6
    floor: float = 1e-8

    def allowed(self, values, draws=None):
        """Largest difference that agrees; with ``draws``, of p-values that count permutations."""
        values = np.asarray(values, dtype=float)
        if draws:
            return np.full(values.shape, 1 / (1 + draws))
        return np.maximum(self.floor, self.relative * np.abs(values))

    def agrees(self, expected, found, draws=None):
        """Whether numbers agree; missing and infinite ones agree with their like."""
        expected, found = np.asarray(expected, dtype=float), np.asarray(found, dtype=float)
        same = (expected == found) | (np.isnan(expected) & np.isnan(found))
        finite = np.isfinite(expected) & np.isfinite(found)
        expected, found = np.where(finite, expected, 0.0), np.where(finite, found, 0.0)
        near = self.within(np.abs(found - expected), self.allowed(expected, draws))
        return same | (finite & near)

    @staticmethod
    def within(difference, allowed):
        """Whether a difference is one that is allowed."""
        return difference <= allowed * _BORDER

    def steps(self, values, draws=None):
        """Numbers in steps of one tolerance: linear near zero, then logarithmic.

        Numbers that agree are at most one step apart.
        """
        values = np.asarray(values, dtype=float)
        if draws:
            return values * (1 + draws)
        bend = self.floor / self.relative
        beyond = np.log(np.maximum(np.abs(values), bend) / bend) / self.relative
        return np.sign(values) * (np.minimum(np.abs(values), bend) / self.floor + beyond)


TOLERANCE = Tolerance()


def counted_draws(name, values, draws):
    """Of how many permutations numbers are p-values, None if they are not.

    The first of ``draws`` for which every value is a multiple of 1 / (1 + draws). Where a small
    trial has fewer distinct relabellings, none is: the usual tolerance then applies.
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    if not _P_VALUE.match(name.rsplit(".", 1)[-1]) or not values.size:
        return None
    for n in draws:
        counts = values * (1 + n)  # whole numbers, as far as ten digits of p tell
        if np.all(np.abs(counts - np.round(counts)) <= 1e-9 * (1 + n)):
            return n
    return None
