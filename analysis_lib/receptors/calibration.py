"""How far the spatial p-values can be trusted: measured false-positive rates, variograms."""

import numpy as np
import pandas as pd

from analysis_lib.receptors.correlation import gaussianise
from analysis_lib.receptors.surrogates import variogram
from analysis_lib.receptors.together import SURROGATES
from analysis_lib.results.contrasts import ARM_BY_TIME
from analysis_lib.results.environment import PROJECT

MEASURED = PROJECT / "benchmarks" / "spatial_nulls.tsv"
NULL_NAMES = {"moran": "Moran", "variogram": "variogram"}  # in that file


def measured_rates() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rates of the spatial nulls, benchmarks/spatial_nulls.tsv: for noise, and for artefacts."""
    labels = {"null": str, "side": str, "noise": str}
    rates = pd.read_csv(MEASURED, sep="\t", dtype=labels, keep_default_na=False)
    noise = rates["noise"].str.contains("homotopic")
    return rates[noise], rates[~noise]


def rate_rows(measured, correlations, null) -> pd.DataFrame:
    """p_spatial of each receptor map beside the false-positive rate that was measured for it.

    Parameters
    ----------
    measured : pandas.DataFrame
        The first of `measured_rates`.
    correlations : pandas.DataFrame
        receptors/correlations.tsv.
    null : {"moran", "variogram"}

    Returns
    -------
    pandas.DataFrame
        receptor, annotation, r, p_spatial, p_fwe_spatial, false_positive_rate, and the same given
        anatomy, of the change between the arms, by |r|.
    """
    rows = correlations[correlations["contrast"] == ARM_BY_TIME]
    names = {"": NULL_NAMES[null], "_anatomy": f"{NULL_NAMES[null]}, anatomy held constant"}
    columns = ["receptor", "annotation", "r", "p_spatial", "p_fwe_spatial"]
    rows = rows[[*columns, "r_anatomy", "p_spatial_anatomy", "p_fwe_spatial_anatomy"]]
    for ending, name in names.items():
        rates = false_positive_rates(measured, name, rows["annotation"])
        rows = rows.assign(**{f"false_positive_rate{ending}": rates.to_numpy()})
    return rows.sort_values("r", key=abs, ascending=False).reset_index(drop=True)


def false_positive_rates(measured, null, annotations):
    """How often a p has been seen at or below .05 where nothing links the two maps, by annotation.

    The worst rate over the kinds of noise that were simulated for this ``null`` in
    benchmarks/spatial_nulls.tsv (``measured``); that of simulated pairs for a map not measured.
    """
    worst = measured[measured["null"] == null].groupby("side")["rate"].max()
    return worst.reindex(annotations).fillna(worst["simulated"]).rename("false_positive_rate")


def variogram_table(inputs, distances, seed, n_surrogates=500) -> pd.DataFrame:
    """Variogram of the change between the arms, and the central 95 % of its surrogates.

    Parameters
    ----------
    inputs : analysis_lib.receptors.inputs.Inputs
    distances : {"centroid", "voxels"}
    seed, n_surrogates : int

    Returns
    -------
    pandas.DataFrame
        null, distance (mm), effect, low, median, high: semivariances of normal scores.
    """
    effect = gaussianise(inputs.effect_maps()[ARM_BY_TIME].to_numpy())
    apart = inputs.mirrored(distances)[0]
    lags, target = variogram(effect, apart)
    tables = []
    for null, make in SURROGATES.items():
        drawn = variogram(make(effect, apart, n_surrogates, seed), apart)[1]
        low, median, high = np.quantile(drawn, [0.025, 0.5, 0.975], axis=0)
        band = {"low": low, "median": median, "high": high}
        rows = {"null": NULL_NAMES[null], "distance": lags, "effect": target[0], **band}
        tables.append(pd.DataFrame(rows))
    return pd.concat(tables, ignore_index=True)
