"""How often the two intervals of r hold what they speak of, where the truth is known.

    python -m benchmarks.intervals                # 1,000 trials a row, some minutes

Trials of 18 + 18 patients on the grey-matter regions of neuromorphometrics. The arms differ by a
planted map, a mixture of the real D1 map and of an unrelated Gaussian random field (covariance
exp(-distance / 30 mm), made orthogonal to it), both as normal scores; noise is another such field,
as strong as the reliability of the effect map asks for. `skewed` maps are exponentiated mixtures: a
few regions change much, most hardly. `plain` is the percentile interval without correction.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from analysis_lib.atlas import distances as atlas_distances
from analysis_lib.atlas import grids, parcellation
from analysis_lib.receptors import densities, intervals, reliability
from analysis_lib.receptors.correlation import correlate, gaussianise
from analysis_lib.receptors.effects import effect_map

HERE = Path(__file__).parent
RECEPTOR = "kaller2017/sch23390"
RANGE = 30  # mm
N_ARM = 18
ARM = np.repeat([1, 0], N_ARM)
RELIABILITIES = (0.3, 0.6, 0.9)
CORRELATIONS = (0.0, 0.4, 0.8)
SHAPES = ("normal", "skewed")
N_BOOTSTRAP = 500
BLOCK = 50


def main():
    """Simulate, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000, help="trials a row")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    receptor, field = _world()
    cells = [(s, a, r) for s in SHAPES for a in RELIABILITIES for r in CORRELATIONS]
    jobs = [(cell, block) for cell in cells for block in range(-(-options.trials // BLOCK))]
    found = Parallel(n_jobs=options.jobs)(
        delayed(_block)(receptor, field, *cell, block) for cell, block in jobs
    )
    table = summary(pd.concat(found))
    table.to_csv(HERE / "intervals.tsv", sep="\t", index=False, float_format="%.4g")
    print(table.to_string(index=False))


def _world():
    parcels = parcellation.load_atlas("neuromorphometrics")
    labels = grids.grey_matter_labels(parcels)
    distances = atlas_distances.parcel_distances(parcels, labels)
    receptor = densities.parcellate([RECEPTOR], parcels, labels).to_numpy()[0]
    field = np.linalg.cholesky(np.exp(-distances / RANGE) + 1e-9 * np.eye(len(labels)))
    return _scores(receptor), field


def _scores(values):
    scores = gaussianise(values)
    return (scores - scores.mean()) / scores.std()


def _block(receptor, field, shape, share, rho, block):
    rng = np.random.default_rng([SHAPES.index(shape), int(100 * share), int(100 * rho), block])
    with threadpool_limits(1):
        rows = [_trial(receptor, field, shape, share, rho, rng) for _ in range(BLOCK)]
    return pd.DataFrame(rows).assign(map=shape, reliability=share, noise_free_r=rho)


def _trial(receptor, field, shape, share, rho, rng):
    planted = _planted(receptor, field, rho, rng)
    truth = correlate(planted, receptor)[0, 0]
    if shape == "skewed":
        planted = np.exp(planted)
    planted = (planted - planted.mean()) / planted.std()
    size = np.sqrt((1 - share) / share / _spatial_variance(field) / (2 / N_ARM))
    noise = size * (field @ rng.standard_normal((len(field), 2 * N_ARM))).T
    change = noise + np.outer(ARM, planted)
    # what such trials show on average, from many effect maps of the same truth
    maps = planted + size * np.sqrt(2 / N_ARM) * (field @ rng.standard_normal((len(field), 200))).T
    expected = correlate(maps, receptor).mean()
    seed = int(rng.integers(2**31))
    found = intervals.bootstrap_intervals(change, ARM, receptor, n_bootstrap=N_BOOTSTRAP, seed=seed)
    plain = _plain(change, receptor, seed)
    halves = reliability.split_half(change, ARM, n_splits=50, seed=seed)
    return {
        "estimated_reliability": found.reliability,
        "split_half_reliability": halves.reliability,
        "expected_r": expected,
        "expected_covered": found.expected[0, 0] <= expected <= found.expected[0, 1],
        "expected_width": np.ptp(found.expected[0]),
        "noise_free_covered": found.noise_free[0, 0] <= truth <= found.noise_free[0, 1],
        "noise_free_width": np.ptp(found.noise_free[0]),
        "plain_covers_expected": plain[0] <= expected <= plain[1],
        "plain_covers_noise_free": plain[0] <= truth <= plain[1],
    }


def _planted(receptor, field, rho, rng):
    other = _scores(field @ rng.standard_normal(len(field)))
    other = other - (other @ receptor) / len(receptor) * receptor
    return rho * receptor + np.sqrt(1 - rho**2) * other / other.std()


def _spatial_variance(field):
    covariance = field @ field.T
    return (np.trace(covariance) - covariance.mean() * len(field)) / len(field)


def _plain(change, receptor, seed):
    rng = np.random.default_rng(seed)
    drawn = np.concatenate(
        [rng.integers(N_ARM, size=(N_BOOTSTRAP, N_ARM)) + k for k in (0, N_ARM)], 1
    )
    maps = np.array([effect_map(change[rows], ARM) for rows in drawn])
    return np.quantile(correlate(maps, receptor)[:, 0], (0.025, 0.975))


def summary(trials):
    """Mean of every column by cell; coverages come with their Monte-Carlo error at .95."""
    grouped = trials.groupby(["map", "reliability", "noise_free_r"], sort=False)
    table = grouped.mean().reset_index()
    n_trials = grouped.size().to_numpy()
    return table.assign(n_trials=n_trials, monte_carlo_se=np.sqrt(0.95 * 0.05 / n_trials))


if __name__ == "__main__":
    main()
