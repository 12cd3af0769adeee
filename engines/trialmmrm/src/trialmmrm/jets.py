"""Arrays that carry their first and second derivatives along (forward differentiation)."""

import numpy as np


class Jet:
    """Array with its first and second derivatives with respect to K parameters.

    Parameters
    ----------
    value : numpy.ndarray, shape S
    first : numpy.ndarray, shape S + (K,)
    second : numpy.ndarray, shape S + (K, K)
    """

    def __init__(self, value, first, second):
        self.value, self.first, self.second = value, first, second

    @classmethod
    def parameters(cls, values):
        """The parameters themselves, shape (K,)."""
        k = len(values)
        return cls(np.asarray(values, float), np.eye(k), np.zeros((k, k, k)))

    def constant(self, values):
        """Numbers that do not depend on the parameters."""
        values, k = np.asarray(values, float), self.first.shape[-1]
        return Jet(values, np.zeros((*values.shape, k)), np.zeros((*values.shape, k, k)))

    def __getitem__(self, key):
        return Jet(self.value[key], self.first[key], self.second[key])

    def __add__(self, other):
        other = other if isinstance(other, Jet) else self.constant(other)
        return Jet(self.value + other.value, self.first + other.first, self.second + other.second)

    def __mul__(self, other):
        if not isinstance(other, Jet):
            return Jet(self.value * other, self.first * other, self.second * other)
        a, b = self.value[..., None], other.value[..., None]
        cross = self.first[..., :, None] * other.first[..., None, :]
        second = a[..., None] * other.second + b[..., None] * self.second
        return Jet(
            self.value * other.value,
            a * other.first + b * self.first,
            second + cross + np.swapaxes(cross, -1, -2),
        )

    def apply(self, value, slope, curvature):
        """A function of this array, given its value and two derivatives at this array."""
        slope, curvature = np.asarray(slope)[..., None], np.asarray(curvature)[..., None, None]
        cross = self.first[..., :, None] * self.first[..., None, :]
        first = slope * self.first
        return Jet(value, first, curvature * cross + slope[..., None] * self.second)

    def exp(self):
        e = np.exp(self.value)
        return self.apply(e, e, e)

    def sqrt(self):
        root = np.sqrt(self.value)
        return self.apply(root, 0.5 / root, -0.25 / root**3)

    def tanh(self):
        t = np.tanh(self.value)
        return self.apply(t, 1 - t**2, -2 * t * (1 - t**2))

    def sum(self, axis):
        return Jet(self.value.sum(axis), self.first.sum(axis), self.second.sum(axis))


def join(jets):
    """Jets of shape (n_i,), one after another."""
    parts = zip(*((j.value, j.first, j.second) for j in jets), strict=True)
    return Jet(*(np.concatenate(part) for part in parts))
