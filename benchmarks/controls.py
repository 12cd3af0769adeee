"""p-values that are known to err, judged by S1: each must be called too small.

    python -m benchmarks.controls               # about five minutes
    python -m benchmarks.controls --trials 100

Parametric r: pairs of Gaussian maps on the grey-matter regions of neuromorphometrics, covariance
exp(-distance / range), which nothing links. Random intercept: z tests of the week-3 contrast in the
trials of benchmarks/mmrm.py, without an effect. Pooled t: labels permuted at 12 v 24, SD of the
smaller arm doubled (benchmarks/calibration.py). The table is written beside this file.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.atlas import distances, grids, parcellation
from analysis_lib.computing import blocks
from analysis_lib.receptors.correlation import gaussianise
from analysis_lib.receptors.nulls import parametric_p
from analysis_lib.robustness.calibration import OWN, Drawn
from benchmarks import calibration, mmrm
from voxelperm import permutation_test

HERE = Path(__file__).parent
RANGES = (20, 40, 80)  # mm
POOLED = "pooled t, 12 v 24, SD x 2"
INTERCEPT = "random intercept, z"


def main():
    """Draw, judge, print the table and write it."""
    options = _options()
    p = {f"parametric r, {mm} mm": parametric(mm, 4000) for mm in RANGES}
    for name, draw in ((INTERCEPT, _intercept), (POOLED, _pooled)):
        p[name] = np.array(blocks.run(draw, range(options.trials), None, options.jobs))
    table = judged(p)
    table.to_csv(HERE / "controls.tsv", sep="\t", index=False, float_format="%.4g")
    print(table.to_string(index=False))


def judged(p):
    """Rows of S1's table, each p a family of its own."""
    tests = {
        name: Drawn("controls", {OWN: {(name, "", "p", None): v[:, None]}}) for name, v in p.items()
    }
    rows = pd.concat([one.rates() for one in tests.values()], ignore_index=True)
    return rows[["test", "n_draws", "rate", "ci_low", "ci_high", "verdict"]]


def parametric(range_mm, n, seed=0):
    """p of r between unrelated smooth maps, as if regions were independent, (n,)."""
    parcels = parcellation.load_atlas("neuromorphometrics")
    apart = distances.parcel_distances(parcels, grids.grey_matter_labels(parcels))
    values, vectors = np.linalg.eigh(np.exp(-apart / range_mm))
    root, rng = vectors * np.sqrt(np.maximum(values, 0)), np.random.default_rng(seed)
    pairs = gaussianise(rng.standard_normal((2, n, len(apart))) @ root.T)
    pairs = pairs - pairs.mean(axis=2, keepdims=True)
    pairs = pairs / np.linalg.norm(pairs, axis=2, keepdims=True)
    return parametric_p(np.einsum("np,np->n", *pairs), len(apart))


def _intercept(seed, _):
    return mmrm.mixedlm_p(seed)


def _pooled(seed, _):
    data = calibration.data(seed, n=(12, 24), ratio=2)
    test = permutation_test(**data, errors="equal", n_permutations=199, statistics=("max_t",))
    return test.p["max_t"].min()


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000, help="of the last two")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
