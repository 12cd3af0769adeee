"""Level and power of the test of each patient's slope (`p_randomisation` of notebook 03).

    python -m benchmarks.randomisation              # 1,000 trials of each kind, about half an hour
    python -m benchmarks.randomisation --trials 100

A trial is made on the grey-matter regions of neuromorphometrics over the real D1 map: each patient
has a map of change: noise as in VBM (benchmarks/fields.py), in some designs a response along D1.
Nothing links the arms' *mean* to D1 where level is asked for. Beside the test stand what it
replaces, |r| of the group's map against re-randomised arms; a pooled t of the slopes under
relabelling; and the same test of Fisher's z. With an effect, the noise-free map follows D1 with
r, and the effect map has a reliability of .86. The table is written beside this file.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from analysis_lib.atlas import grids, parcellation
from analysis_lib.receptors import densities
from analysis_lib.receptors.correlation import correlate, gaussianise, patient_slopes
from analysis_lib.receptors.nulls import randomisation_test
from analysis_lib.receptors.slopes import slope_test
from benchmarks.fields import VBM_LIKE, Regions, root
from voxelperm import permutation_test

HERE = Path(__file__).parent
LEVEL, N_DRAWS, BLOCK, D1 = 0.05, 199, 50, "kaller2017/sch23390"
DESIGNS = {  # patients of both arms; noise of the active arm; SD of the response; common slope; r
    "18 + 18": {},
    "12 + 24": {"n": (12, 24)},
    "24 + 12": {"n": (24, 12)},
    "18 + 18, active SD x 2": {"noise": 2},
    "12 + 24, active SD x 2": {"n": (12, 24), "noise": 2},
    "24 + 12, active SD x 2": {"n": (24, 12), "noise": 2},
    "18 + 18, response varies along D1": {"response": 1},
    "12 + 24, response varies along D1": {"n": (12, 24), "response": 1},
    "18 + 18, common slope .7, active SD x 2": {"common": 0.7, "noise": 2},
    "18 + 18, r = .2": {"r": 0.2},
    "18 + 18, r = .4": {"r": 0.4},
    "18 + 18, r = .6": {"r": 0.6},
    "12 + 24, r = .6": {"n": (12, 24), "r": 0.6},
}
RELIABILITY = 0.86


def main():
    """Simulate, print the table and write it."""
    options = _options()
    world = _world()
    jobs = [(name, b) for b in range(-(-options.trials // BLOCK)) for name in DESIGNS]
    run = Parallel(n_jobs=options.jobs, return_as="generator")
    rows = []
    for number, found in enumerate(run(delayed(_block)(*world, *job) for job in jobs), 1):
        rows.append(found)
        if number % len(DESIGNS) == 0:
            table = summary(pd.concat(rows))
            table.to_csv(HERE / "randomisation.tsv", sep="\t", index=False, float_format="%.4g")
    print(table.to_string(index=False))


def summary(rows):
    """Share of trials in which each test rejects, with its Monte-Carlo error."""
    table = rows.groupby(["design", "test"], sort=False)["rejected"]
    table = table.agg(n_trials="size", rate="mean").reset_index()
    rate = table["rate"]
    return table.assign(monte_carlo_se=np.sqrt(rate * (1 - rate) / table["n_trials"]))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000, help="trials of each design")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def _world():
    """The D1 map by region, as standard normal scores, and the root of the noise's covariance."""
    parcels = parcellation.load_atlas("neuromorphometrics")
    labels = grids.grey_matter_labels(parcels)
    target = gaussianise(densities.parcellate("default", parcels, labels).loc[D1].to_numpy())
    return target / target.std(), root(Regions(parcels, labels).noise(VBM_LIKE, 0.5))


def _block(target, noise, name, block):
    rng, rows = np.random.default_rng([block, sum(map(ord, name))]), []
    with threadpool_limits(1):
        for _ in range(BLOCK):
            change, arm = trial(target, noise, rng, **DESIGNS[name])
            p = tests(change, arm, target, int(rng.integers(2**31)))
            rows += [(name, test, value <= LEVEL + 1e-12) for test, value in p.items()]
    return pd.DataFrame(rows, columns=["design", "test", "rejected"])


def trial(target, root_of_noise, rng, n=(18, 18), noise=1, response=0, common=0, r=None):
    """Change (n_participants, n_regions), percent, and arm (1 active) of one trial."""
    arm = np.repeat([1, 0], n)
    change = rng.standard_normal((sum(n), target.size)) @ root_of_noise.T
    change *= np.where(arm, noise, 1)[:, None]
    change += (common + response * arm * rng.standard_normal(sum(n)))[:, None] * target
    if r is not None:
        other = root_of_noise @ rng.standard_normal(target.size)
        other -= (other @ target) / target.size * target
        other -= other.mean()
        planted = r * target + np.sqrt(1 - r**2) * other / other.std()
        variance = RELIABILITY / (1 - RELIABILITY) * (1 / n[0] + 1 / n[1])
        change += np.outer(arm, np.sqrt(variance) * planted)
    return change, arm


def tests(change, arm, target, seed):
    """p of each test."""
    options = {"n_permutations": N_DRAWS, "seed": seed}
    slopes, z = patient_slopes(change, target), np.arctanh(correlate(change, target))
    pooled = permutation_test(
        slopes, np.ones((1, 1, 1), bool), arm, errors="equal", statistics=("max_t",), **options
    )
    return {
        "slope, unequal variances": slope_test(slopes, arm, **options).p[0],
        "slope, pooled t relabelled": pooled.p["max_t"][0],
        "Fisher z, unequal variances": slope_test(z, arm, **options).p[0],
        "|r| of the group's map": randomisation_test(change, arm, target, **options).p[0],
    }


if __name__ == "__main__":
    main()
