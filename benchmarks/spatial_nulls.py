"""How often each p of the receptor correlation is at most .05, where nothing links the two maps.

    python -m benchmarks.spatial_nulls              # 1,000 maps of each kind, about an hour
    python -m benchmarks.spatial_nulls --pairs 100  # a first look

Effect maps on the grey-matter regions of neuromorphometrics are noise on voxels (benchmarks/
fields.py), correlated with the mirrored noise: smooth like VBM, smoother, or an error of
registration; or an artefact of head anatomy in such noise, twice as large as it (`mark`: nothing
links it to a receptor either); or a map that follows D1 with r = .5 (power). The other side is
noise of the same kind, or one of 18 real receptor maps, or all of these at once (family-wise).
Nulls: Moran surrogates on plain distances (as was), on mirrored ones, the same with anatomy held
constant, variogram surrogates, and regions taken for independent. The table is written beside this
file after every 50 maps of each kind; notebook 03 quotes from it.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from analysis_lib.atlas import anatomy, distances, grids, parcellation
from analysis_lib.receptors import correlation, densities, nulls
from analysis_lib.receptors.correlation import gaussianise
from analysis_lib.receptors.surrogates import moran_surrogates, variogram_surrogates
from benchmarks.fields import VBM_LIKE, Regions, root

HERE = Path(__file__).parent
N_DRAWS = 199  # (199 + 1) * .05 is whole: the nominal rate is exactly .05
LEVEL, BLOCK = 0.05, 50  # maps of one seed
FAMILY, D1 = "18 maps, family-wise", "kaller2017/sch23390"
NOISE = {  # name: covariance of regions
    **{
        f"VBM-like, homotopic {h}": (lambda regions, h=h: regions.noise(VBM_LIKE, h))
        for h in (0, 0.5, 0.9)
    },
    "60 mm, homotopic 0.5": lambda regions: regions.noise(((60, 1),), 0.5),
    "registration error, homotopic 0.5": lambda regions: regions.registration(20, 0.5),
}
ARTEFACTS = {  # change by region, from its anatomy
    "ventricles, exp(-d / 5 mm)": lambda a: np.exp(-a["ventricle_distance"] / 5),
    "ventricles, exp(-d / 10 mm)": lambda a: np.exp(-a["ventricle_distance"] / 10),
    "ventricles, exp(-d / 20 mm)": lambda a: np.exp(-a["ventricle_distance"] / 20),
    "ventricles, 1 / d": lambda a: 1 / a["ventricle_distance"],
    "edge of the brain, exp(-d / 10 mm)": lambda a: np.exp(-a["depth"] / 10),
    "small regions": lambda a: -a["log_size"],
    "little grey matter": lambda a: -a["grey_density"],
}
SIZE = 2  # standard deviation of an artefact over that of its noise
POWER = "follows D1, r = 0.5"
ASKED = {"simulated": 0.07, FAMILY: 0.08}
COLUMNS = ["null", "side", "noise", "n_pairs", "rate", "monte_carlo_se", "mark"]


def main():
    """Simulate, print the table and write it."""
    options = _options()
    world = _World()
    names = [*NOISE, *ARTEFACTS, POWER]
    jobs = [(name, block) for block in range(-(-options.pairs // BLOCK)) for name in names]
    run = Parallel(n_jobs=options.jobs, return_as="generator")
    rows = []
    for number, found in enumerate(run(delayed(_block)(world, *job) for job in jobs), 1):
        rows.append(found)
        if number % len(names) == 0:
            table = summary(pd.concat(rows))
            table.to_csv(HERE / "spatial_nulls.tsv", sep="\t", index=False, float_format="%.4g")
    print(table[~table["side"].str.contains("/") | table["side"].eq(D1)].to_string(index=False))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000, help="maps of each kind")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


class _World:
    """Real regions, their distances and anatomy, real receptor maps, and noise."""

    def __init__(self):
        parcels = parcellation.load_atlas("neuromorphometrics")
        labels = grids.grey_matter_labels(parcels)
        self.plain = distances.parcel_distances(parcels, labels)
        self.mirrored = distances.mirrored(self.plain, parcels, labels)[0]
        self.anatomy = anatomy.regional_anatomy(parcels, labels)
        self.maps = densities.parcellate("default", parcels, labels)
        regions = Regions(parcels, labels)
        self.roots = {name: root(make(regions)) for name, make in NOISE.items()}

    def effect(self, name, rng):
        """A map of change, and the root of the covariance of its noise."""
        if name in NOISE:
            return self.roots[name] @ rng.standard_normal(len(self.plain)), self.roots[name]
        noise = self.roots["VBM-like, homotopic 0.5"]
        drawn = noise @ rng.standard_normal(len(self.plain))
        if name == POWER:
            target = gaussianise(self.maps.loc[D1].to_numpy())
            return 0.5 * _unit(target) + np.sqrt(0.75) * _unit(_without(drawn, target)), noise
        return SIZE * _unit(ARTEFACTS[name](self.anatomy.T).to_numpy()) + _unit(drawn), noise


def _unit(values):
    return (values - values.mean()) / values.std()


def _without(values, other):
    values, other = _unit(values), _unit(other)
    return values - (values @ other) / len(other) * other


def _block(world, name, block):
    """Rejections (null, side, rejected) of some maps, one row each."""
    rng, rows = np.random.default_rng([block, sum(map(ord, name))]), []
    with threadpool_limits(1):
        for _ in range(BLOCK):
            rows += _pair(world, name, rng)
    return pd.DataFrame(rows, columns=["null", "side", "rejected"]).assign(noise=name)


def _pair(world, name, rng):
    effect, noise = world.effect(name, rng)
    other = noise @ rng.standard_normal(len(noise))
    sides = np.vstack([other, world.maps.to_numpy()])
    seed = int(rng.integers(2**31))
    given = partial(correlation.correlate, given=gaussianise(world.anatomy.to_numpy()))
    plain = moran_surrogates(effect, world.plain, N_DRAWS, seed)
    made = moran_surrogates(effect, world.mirrored, N_DRAWS, seed)
    tests = {
        "Moran, plain distances": nulls.spatial_test(effect, sides, plain),
        "Moran": nulls.spatial_test(effect, sides, made),
        "Moran, anatomy held constant": nulls.spatial_test(effect, sides, made, statistic=given),
    }
    if name in NOISE:
        smooth = variogram_surrogates(effect, world.mirrored, N_DRAWS, seed)
        tests["variogram"] = nulls.spatial_test(effect, sides, smooth)
        tests["variogram, anatomy held constant"] = nulls.spatial_test(
            effect, sides, smooth, statistic=given
        )
    names = ["simulated", *world.maps.index]
    rows = [row for null, test in tests.items() for row in _decisions(null, test, names)]
    p = nulls.parametric_p(correlation.correlate(effect, sides)[0], len(effect))
    return rows + [("parametric", *pair) for pair in zip(names, p <= LEVEL, strict=True)]


def _decisions(null, test, names):
    """Whether p <= .05, for each side by itself and for the real maps as a family."""
    family = nulls.null_test(test.r[1:], test.null[:, 1:]).p_fwe.min() <= LEVEL
    named = zip([*names, FAMILY], [*(test.p <= LEVEL), family], strict=True)
    return [(null, name, rejected) for name, rejected in named]


def summary(rows):
    """Rates with their Monte-Carlo errors, marked two errors above what is asked for."""
    grouped = rows.groupby(["null", "side", "noise"], sort=False)["rejected"]
    table = grouped.agg(n_pairs="size", rate="mean").reset_index()
    table["monte_carlo_se"] = np.sqrt(LEVEL * (1 - LEVEL) / table["n_pairs"])
    limit = table["side"].map(ASKED).fillna(0.07).mask(table["noise"].isin(ARTEFACTS), 0.10)
    limit += 2 * table["monte_carlo_se"]
    above = (table["rate"] > limit) & table["noise"].ne(POWER)
    return table.assign(mark=np.where(above, "above the limit", ""))[COLUMNS]


if __name__ == "__main__":
    main()
