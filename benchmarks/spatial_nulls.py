"""How often each p of the receptor link rejects at .05 when nothing links the two maps.

    python -m benchmarks.spatial_nulls              # 4,000 pairs a range, about half an hour
    python -m benchmarks.spatial_nulls --pairs 200  # a first look

Effect maps are Gaussian random fields on the grey-matter regions of neuromorphometrics, covariance
exp(-distance / range); the other side is a second field, or one of 18 real receptor maps, or all of
these at once (family-wise, largest |r|). For re-randomisation whole trials are simulated, 18
patients an arm, each with a change map of that field. r is Pearson's of normal scores, so that
exponentiated fields give the same p (rows "exponentiated" repeat the pairs with both sides
exponentiated; the raw Pearson r of those is in the rows "pearson"). The table is written beside
this file, and notebook 03 quotes from it.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from analysis_lib.atlas import distances, grids, parcellation
from analysis_lib.receptors import correlation, densities, nulls
from analysis_lib.receptors import surrogates as receptors_surrogates

HERE = Path(__file__).parent
RANGES = (5, 20, 40, 80)  # mm
N_DRAWS = 199  # (199 + 1) * .05 is whole: the nominal rate is exactly .05
LEVEL = 0.05
FAMILY = "18 maps, family-wise"
LIMITS = {"simulated": 0.07, "exponentiated": 0.07, FAMILY: 0.10}  # aimed at, plus two errors
REAL = 0.12  # the same for a single real map
WARN = 0.07  # a cell above is marked
BLOCK = 100  # pairs of one seed


def main():
    """Simulate, print the table and write it."""
    options = _options()
    world = _World()
    jobs = [(range_mm, block) for range_mm in RANGES for block in range(-(-options.pairs // BLOCK))]
    counted = Parallel(n_jobs=options.jobs)(
        delayed(_block)(world, range_mm, block, min(BLOCK, options.pairs))
        for range_mm, block in jobs
    )
    table = summary(pd.concat(counted))
    table.to_csv(HERE / "spatial_nulls.tsv", sep="\t", index=False, float_format="%.4g")
    print(table.to_string(index=False))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=4000, help="pairs of maps a range")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


class _World:
    """Real regions, their distances, and the real maps by annotation."""

    def __init__(self):
        parcels = parcellation.load_atlas("neuromorphometrics")
        labels = grids.grey_matter_labels(parcels)
        self.distances = distances.parcel_distances(parcels, labels)
        maps = densities.parcellate("default", parcels, labels)
        self.maps, self.names = maps.to_numpy(), ["simulated", *maps.index]

    def field(self, range_mm):
        """Matrix that turns white noise into a field of this range."""
        n = len(self.distances)
        return np.linalg.cholesky(np.exp(-self.distances / range_mm) + 1e-9 * np.eye(n))


def _block(world, range_mm, block, n_pairs):
    """Rejections (null, side, range_mm, rejected) of some pairs, one row each."""
    rng, rows = np.random.default_rng([block, range_mm]), []
    field = world.field(range_mm)
    with threadpool_limits(1):
        for _ in range(n_pairs):
            seed = int(rng.integers(2**31))
            rows += _pair(world, field, rng, seed) + _trial(world, field, rng, seed)
    return pd.DataFrame(rows, columns=["null", "side", "rejected"]).assign(range_mm=range_mm)


def _pair(world, field, rng, seed):
    effect, other = (field @ rng.standard_normal((len(field), 2))).T
    sides, rows = np.vstack([other, world.maps]), []
    for name, make in (
        ("Moran", receptors_surrogates.moran_surrogates),
        ("variogram", receptors_surrogates.variogram_surrogates),
    ):
        surrogates = make(effect, world.distances, N_DRAWS, seed)
        test = nulls.spatial_test(effect, sides, surrogates)
        rows += _decisions(name, test, world.names)
        again = nulls.spatial_test(np.exp(effect), np.exp(other), surrogates)
        rows.append((name, "exponentiated", again.p[0] <= LEVEL))
    raw = receptors_surrogates.moran_surrogates(
        np.exp(effect), world.distances, N_DRAWS, seed, gaussianise=False
    )
    test = nulls.spatial_test(np.exp(effect), np.exp(other), raw, "pearson")
    rows.append(("Moran, pearson of raw values", "exponentiated", test.p[0] <= LEVEL))
    p = nulls.parametric_p(correlation.correlate(effect, sides)[0], len(effect))
    named = zip(world.names, p <= LEVEL, strict=True)
    return rows + [("parametric", name, rejected) for name, rejected in named]


def _trial(world, field, rng, seed):
    change = (field @ rng.standard_normal((len(field), 36))).T
    sides = np.vstack([field @ rng.standard_normal(len(field)), world.maps])
    arm = np.repeat([1, 0], 18)
    test = nulls.randomisation_test(change, arm, sides, n_permutations=N_DRAWS, seed=seed)
    return _decisions("re-randomisation", test, world.names)


def _decisions(null, test, names):
    """Whether p <= .05, for each side by itself and for the real maps as a family."""
    family = nulls.null_test(test.r[1:], test.null[:, 1:]).p_fwe.min() <= LEVEL
    named = zip([*names, FAMILY], [*(test.p <= LEVEL), family], strict=True)
    return [(null, name, rejected) for name, rejected in named]


def summary(rows):
    """Rates with their Monte-Carlo errors, what was asked for, and marks."""
    grouped = rows.groupby(["null", "side", "range_mm"], sort=False)["rejected"]
    table = grouped.agg(n_pairs="size", rate="mean").reset_index()
    table["monte_carlo_se"] = np.sqrt(LEVEL * (1 - LEVEL) / table["n_pairs"])
    nominal = table["null"].eq("re-randomisation")
    limit = table["side"].map(LIMITS).fillna(REAL).mask(nominal, LEVEL)
    table["limit"] = limit.mask(table["null"].isin(["parametric", "Moran, pearson of raw values"]))
    room = 2 * table["monte_carlo_se"]
    table["mark"] = np.select(
        [
            table["limit"].isna() & table["rate"].gt(WARN),
            table["rate"] > table["limit"] + room,
            table["rate"] > WARN,
        ],
        ["warning", "above the limit", "above .07"],
        "",
    )
    return table


if __name__ == "__main__":
    main()
