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
SIDES = {"simulated": "rate_single", "18 maps, family-wise": "rate_family"}
SYMMETRIES = {
    0: "VBM-like, homotopic 0",
    0.5: "VBM-like, homotopic 0.5",
    0.9: "VBM-like, homotopic 0.9",
}


def measured_rates() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rates of the spatial nulls, benchmarks/spatial_nulls.tsv: for noise, and for artefacts."""
    labels = {"null": str, "side": str, "noise": str}
    rates = pd.read_csv(MEASURED, sep="\t", dtype=labels, keep_default_na=False)
    noise = rates["noise"].str.contains("homotopic")
    return rates[noise], rates[~noise]


def spatial_rates(effect, homologue, null) -> pd.DataFrame:
    """Rows of receptors/spatial_rates.tsv: how often p_spatial is at most .05 by mistake.

    One row per kind of noise of benchmarks/spatial_nulls.tsv, without and with anatomy held
    constant: for one map, and for the largest |r| of 18. ``fits`` marks noise as smooth as VBM's
    whose symmetry is nearest to that of the effect map (n_parcels,): the correlation of regions
    with their ``homologue`` (positions), 0 without any.
    """
    measured, null = measured_rates()[0], NULL_NAMES[null]
    measured = measured.assign(anatomy_held=measured["null"].ne(null))
    mine = measured["null"].isin([null, f"{null}, anatomy held constant"])
    rows = measured[mine & measured["side"].isin(SIDES)]
    table = rows.pivot(index=["noise", "anatomy_held"], columns="side", values="rate")
    table = table.rename(columns=SIDES).reset_index().rename_axis(columns=None)
    r = _symmetry(effect, homologue)
    nearest = SYMMETRIES[min(SYMMETRIES, key=lambda known: abs(known - r))]
    table = table.assign(fits=table["noise"].eq(nearest), symmetry=r)
    return table[["noise", "fits", "symmetry", "anatomy_held", *SIDES.values()]]


def _symmetry(effect, homologue):
    """Correlation of an effect map with its mirror image, over the regions that have one."""
    scores, paired = gaussianise(effect), homologue != np.arange(len(homologue))
    if paired.sum() < 3:
        return 0.0
    return float(np.corrcoef(scores[paired], scores[homologue[paired]])[0, 1])


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
        Of the change between the arms, by |r|; rates without and with anatomy held constant.
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
        Rows of calibration/variograms.tsv: semivariances of normal scores.
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
