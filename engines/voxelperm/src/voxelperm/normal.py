"""|z|, the normal deviate with the two-sided p of t: what PALM makes clusters and TFCE of."""

import numpy as np
from numba import njit
from scipy import stats

STEPS, LARGEST = 1024, 64  # of the table per unit of |t|; |t| above it has the z of 64
HIGHEST = 37.5  # beyond it p is 0 in double precision


def z_table(df):
    """|z| at every step of |t|, (n_steps,)."""
    p = stats.t.sf(np.arange(LARGEST * STEPS + 1) / STEPS, df)
    return np.minimum(stats.norm.isf(p), HIGHEST)


@njit(nogil=True, cache=True)
def to_z(t, table):
    """|z| of each t, (n_voxels,) of float32: between steps along a line, 1e-6 at most beside it."""
    z = np.empty(len(t), np.float32)
    for v in range(len(t)):
        place = min(abs(np.float64(t[v])) * STEPS, len(table) - 1.001)
        step = int(place)
        z[v] = table[step] + (place - step) * (table[step + 1] - table[step])
    return z
