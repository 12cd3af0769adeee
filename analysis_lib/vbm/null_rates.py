"""How often the tests of notebook 02 reject where nothing is to be found, in like trials."""

import numpy as np
import pandas as pd

from analysis_lib.results.contrasts import CONTRASTS, OF_CHANGE
from analysis_lib.results.environment import PROJECT

MEASURED = PROJECT / "benchmarks" / "calibration.tsv"
LIKE = ["n_active", "n_control", "sd_ratio", "skewness"]
FEWEST = 8  # participants, for a test of skewness (D'Agostino 1970)
STATISTICS = ["max_t", "cluster_extent", "tfce"]


def null_rates(spread, arm, errors, errors_within, contrasts=OF_CHANGE) -> pd.DataFrame:
    """False-positive rates of the simulated design that is most like this trial, by contrast.

    Parameters
    ----------
    spread : pandas.DataFrame
        Variance ratio and skewness: see `diagnostics.spread_table`.
    arm : array_like of str
        (n,), "active" or "control".
    errors, errors_within : str
        As for `assess_contrasts`.
    contrasts : sequence of str

    Returns
    -------
    pandas.DataFrame
        contrast, errors, simulated_design, simulated_trials, and the rates at .05 rate_max_t,
        rate_cluster_extent and rate_tfce, from benchmarks/calibration.tsv.
    """
    rows = []
    for contrast in contrasts:
        within = CONTRASTS[contrast].within
        assumed = errors_within if within else errors
        own = own_design(spread, np.asarray(arm), within)
        rows.append({"contrast": contrast, "errors": assumed} | nearest(own, assumed))
    return pd.DataFrame(rows)


def own_design(spread, arm, within):
    """Numbers of a trial as `nearest` compares them; those of one arm stand in the first place."""
    spread = spread.set_index("measure")
    n = {name: (arm == name).sum() for name in ("active", "control")}
    if within:
        skewness = true_skewness(spread.loc[f"skewness, {within}"], n[within])
        return dict(zip(LIKE, (n[within], 0, 1, skewness), strict=True))
    ratio = np.sqrt(spread.loc["variance ratio, voxels", "median"])
    ratio = np.clip(ratio, 1 / 8, 8) if np.isfinite(ratio) else 1
    return dict(zip(LIKE, (n["active"], n["control"], ratio, 0), strict=True))


def true_skewness(quartiles, n):
    """Typical size of skewness over voxels (root mean square), beyond what normal samples show.

    From the quartiles as if voxels were normally distributed; the variance of a normal sample's
    skewness is that of Fisher's G1. 0 where too few participants tell.
    """
    if n < FEWEST:
        return 0.0
    spread = (quartiles["q3"] - quartiles["q1"]) / 1.349
    chance = 6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3))
    return np.sqrt(max(quartiles["median"] ** 2 + spread**2 - chance, 0))


def nearest(own, errors) -> dict:
    """The simulated design without anything special that is nearest to a trial's, and its rates.

    A test of two arms does not know which is which: a design stands for its mirror image, too.
    """
    table = pd.read_csv(MEASURED, sep="\t", keep_default_na=False)
    kind = "equal" if errors == "symmetric" else errors
    table = table[(table["errors"] == kind) & (table["other"] == "n/a")]
    table = table[(table["n_control"] > 0) == (own["n_control"] > 0)]
    rates = table.pivot_table("rejected", ["design", *LIKE, "n_datasets"], "statistic", sort=False)
    rates = rates.reset_index()
    apart = distance(rates, own)
    if own["n_control"]:
        turned = {"n_active": own["n_control"], "n_control": own["n_active"]}
        turned |= {"sd_ratio": 1 / own["sd_ratio"]}
        apart = np.minimum(apart, distance(rates, own | turned))
    best = rates.loc[apart.idxmin()]
    found = {"simulated_design": best["design"], "simulated_trials": best["n_datasets"]}
    return found | {f"rate_{name}": best[name] for name in STATISTICS}


def distance(designs, own):
    """How unlike designs are: doubled numbers, doubled SD and one unit of skewness count alike."""

    def doublings(values):
        sizes = values["n_active"], values["n_control"]
        return np.log2(sum(sizes)), np.log2((sizes[0] + 1) / (sizes[1] + 1))

    apart = [a - b for a, b in zip(doublings(designs), doublings(own), strict=True)]
    apart.append(np.log2(designs["sd_ratio"] / own["sd_ratio"]))
    apart.append(designs["skewness"] - own["skewness"])
    return sum(part**2 for part in apart)
