"""How often the spatial p-values err on maps most like the effect map: measured rates."""

import numpy as np
import pandas as pd

from analysis_lib.receptors.correlation import gaussianise
from analysis_lib.results.environment import PROJECT

MEASURED = PROJECT / "benchmarks" / "spatial_nulls.tsv"
NULL_NAMES = {"moran": "Moran", "variogram": "variogram"}  # in that file
SIDES = {"simulated": "rate_single", "18 maps, family-wise": "rate_family"}
SYMMETRIES = {
    0: "VBM-like, homotopic 0",
    0.5: "VBM-like, homotopic 0.5",
    0.9: "VBM-like, homotopic 0.9",
}


def spatial_rates(effect, homologue, null) -> pd.DataFrame:
    """Rows of receptors/spatial_rates.tsv: how often p_spatial is at most .05 by mistake.

    One row per kind of noise of benchmarks/spatial_nulls.tsv, without and with anatomy held
    constant: for one map, and for the largest |r| of 18. ``fits`` marks noise as smooth as VBM's
    whose symmetry is nearest to that of the effect map (n_parcels,): the correlation of regions
    with their ``homologue`` (positions), 0 without any.
    """
    measured, null = pd.read_csv(MEASURED, sep="\t", keep_default_na=False), NULL_NAMES[null]
    measured = measured[measured["noise"].str.contains("homotopic")]
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
