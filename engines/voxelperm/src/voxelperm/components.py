"""Voxels in descending order, and the components that they grow into.

A component starts at a local maximum; smooth images have few, so that what is known of components
stays in the processor's cache, and only the label of each voxel, the component that it joined, is
spread over memory. ``top`` is the component that one has become part of, itself at first.
Components are numbered from 1; 0 is what lies outside the mask or has not been added.
"""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def integral(height, power):
    """The integral of h to the power, from 0 to a height; other powers take ten times as long."""
    if power == 2.0:
        return height * height * height / 3.0
    return height ** (power + 1.0) / (power + 1.0)


@njit(nogil=True, cache=True)
def join(root, other, top, following):
    """Make a component part of another: ``top`` of all that it has taken in is the new one.

    Members of a component are a ring, along ``following``.
    """
    member = other
    while True:
        top[member] = root
        member = following[member]
        if member == other:
            break
    following[root], following[other] = following[other], following[root]


@njit(nogil=True, cache=True)
def sort_descending(keys, order, other_keys, other_order, n):
    """Radix sort of n positive float32 bit patterns, stable; three passes of 11 bits.

    Positive floats sort as their bit patterns do. Returns whether the result is in the second pair.
    """
    places = np.zeros((3, 2048), np.int64)
    for i in range(n):
        key = ~keys[i]
        for k in range(3):
            places[k, (key >> (11 * k)) & 2047] += 1
    swapped = False
    for k in range(3):
        place, total = places[k], 0
        for digit in range(2048):
            count = place[digit]
            place[digit] = total
            total += count
        source, target = (other_keys, keys) if swapped else (keys, other_keys)
        source_order, target_order = (other_order, order) if swapped else (order, other_order)
        for i in range(n):
            digit = (~source[i] >> (11 * k)) & 2047
            to = place[digit]
            place[digit] += 1
            target[to] = source[i]
            target_order[to] = source_order[i]
        swapped = not swapped
    return swapped
