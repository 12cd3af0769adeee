"""Level and power of the joint tests of notebook S2 (`multiverse.joint_test`).

    python -m benchmarks.specifications              # 1,000 trials of each kind, minutes
    python -m benchmarks.specifications --trials 200

A trial is made as in `benchmarks/randomisation.py`, over the real D1 map, and analysed in 48 ways:
two correlations, with and without two covariates, equal or unequal variances, all regions or one of
five random halves, which move the estimate as other atlases and filters do.
"""

import argparse
from itertools import product

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from analysis_lib.receptors.correlation import patient_slopes
from analysis_lib.robustness.multiverse import Design, draw_flips, estimates, flipped, joint_test
from benchmarks.randomisation import BLOCK, DESIGNS, HERE, LEVEL, _world, summary, trial

N_DRAWS, N_HALVES = 200, 5
CHOSEN = ("18 + 18", "12 + 24", "18 + 18, active SD x 2", "24 + 12, active SD x 2")
CHOSEN += ("18 + 18, response varies along D1", "18 + 18, r = .4")
TESTS = ("p_median", "p_share", "p_stouffer", "any adjusted p")


def main():
    """Simulate, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000, help="trials of each design")
    parser.add_argument("--jobs", type=int, default=2)
    options, world = parser.parse_args(), _world()
    jobs = [(name, b) for name in CHOSEN for b in range(-(-options.trials // BLOCK))]
    rows = Parallel(n_jobs=options.jobs)(delayed(block)(*world, *job) for job in jobs)
    table = summary(pd.concat(rows))
    table.to_csv(HERE / "specifications.tsv", sep="\t", index=False, float_format="%.4g")
    print(table.to_string(index=False))


def block(target, noise, name, number, n_trials=BLOCK):
    """Whether each joint test rejects, in some trials of a design."""
    rng, rows = np.random.default_rng([number, sum(map(ord, name))]), []
    with threadpool_limits(1):
        for _ in range(n_trials):
            found = joint_test(*analysed(*trial(target, noise, rng, **DESIGNS[name]), target, rng))
            p = [getattr(found, test) for test in TESTS[:3]] + [found.p_adjusted.min()]
            rows += [(name, test, x <= LEVEL + 1e-12) for test, x in zip(TESTS, p, strict=True)]
    return pd.DataFrame(rows, columns=["design", "test", "rejected"])


def analysed(change, arm, target, rng):
    """Draws (n_draws, n_analyses) and estimates of every analysis of one trial."""
    regions = [np.arange(target.size)]
    regions += [rng.permutation(target.size)[: target.size // 2] for _ in range(N_HALVES)]
    slopes = np.column_stack(
        [
            patient_slopes(change[:, some], target[None, some], method)[:, 0]
            for some, method in product(regions, ("gaussianised", "spearman"))
        ]
    )
    flips, ones = draw_flips(len(arm), N_DRAWS, int(rng.integers(2**31))), np.ones((len(arm), 1))
    held = np.column_stack([ones, rng.standard_normal((len(arm), 2))])
    designs = [Design(arm.astype(float), nuisance) for nuisance in (ones, held)]
    kinds = list(product(designs, ("equal", "unequal")))
    draws = [flipped(design, slopes, flips, errors) for design, errors in kinds]
    return np.hstack(draws), np.hstack([estimates(design, slopes)[0] for design, _ in kinds])


if __name__ == "__main__":
    main()
