"""Families of results of notebook 03: all contrasts, all receptors, all patients."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from analysis_lib.atlas.grids import parcel_means
from analysis_lib.receptors import assessment, dominance_analysis, individual
from analysis_lib.receptors.juspace import juspace_table
from analysis_lib.receptors.library import combine
from analysis_lib.receptors.power import power_curve
from analysis_lib.receptors.reliability import split_half
from analysis_lib.receptors.surrogates import moran_surrogates, variogram_surrogates
from analysis_lib.results.contrasts import ARM_BY_TIME, OF_CHANGE
from analysis_lib.results.words import p_text
from analysis_lib.study.scores import improvement_at_scan

SURROGATES = {"moran": moran_surrogates, "variogram": variogram_surrogates}
MOST_SURROGATES = 1000  # of a dominance analysis, which is slow


def assess(inputs, draws, seed, statistic="gaussianised", null="moran", distances="centroid"):
    """Every test of every contrast against every receptor map.

    Parameters
    ----------
    inputs : analysis_lib.receptors.inputs.Inputs
    draws : dict of int
        permutations, surrogates, bootstrap.
    seed : int
    statistic : str
        See `analysis_lib.receptors.correlation.correlate`.
    null : {"moran", "variogram"}
        Kind of surrogates.
    distances : {"centroid", "voxels"}

    Returns
    -------
    dict of analysis_lib.receptors.assessment.ContrastResult
        By contrast.
    """
    apart = inputs.distances(distances)
    make = partial(SURROGATES[null], distances=apart, n=draws["surrogates"], seed=seed)
    options = {"n_permutations": draws["permutations"], "n_bootstrap": draws["bootstrap"]}
    options |= {"seed": seed, "method": statistic, **inputs.model}
    data = (inputs.change, inputs.arm, inputs.maps, make)
    return {c: assessment.assess_contrast(*data, c, **options) for c in OF_CHANGE}


def null_draws(assessed) -> dict:
    """r of every draw under both nulls: receptors/nulls.npz, arrays <null>_<contrast>."""
    return {
        f"{which}_{contrast}": getattr(result, which).null.astype("f4")
        for contrast, result in assessed.items()
        for which in ("randomisation", "spatial")
    }


def leading(correlations, contrast=ARM_BY_TIME) -> pd.Series:
    """Row of the receptor map with the largest |r|."""
    rows = correlations[correlations["contrast"] == contrast]
    return rows.loc[rows["r"].abs().idxmax()]


def sensitivity(inputs, assessed) -> pd.DataFrame:
    """Rows of receptors/sensitivity.tsv, with the density of grey matter of the MNI template."""
    from analysis_lib.atlas.template import grey_matter_template  # slow to import

    density = parcel_means(grey_matter_template(3), inputs.parcels).reindex(inputs.change.columns)
    said = (inputs.maps, inputs.about, density, inputs.regions)
    return pd.concat([assessment.sensitivity_table(r, *said) for r in assessed.values()])


@dataclass(frozen=True)
class JointModel:
    """All receptors in one model."""

    tables: dict  # combined, given_others, dominance, as they are written
    described: str  # its size, fit and prediction, in words

    @property
    def shown(self) -> pd.DataFrame:
        """Dominance and what is left of r beside the others, one row per receptor."""
        others = self.tables["given_others"].drop(columns=["contrast", "receptor", "n_parcels"])
        others = others.rename(columns={"p_fwe": "p_fwe_given_others"})
        rows = self.tables["dominance"].merge(others, on="annotation").drop(columns="annotation")
        return rows.sort_values("total_dominance", ascending=False)


def joint_model(inputs, main, receptor, n_surrogates, seed, null="moran", distances="centroid"):
    """All receptors at once: held constant, dominance, prediction of regions far away.

    Parameters
    ----------
    inputs : analysis_lib.receptors.inputs.Inputs
    main : analysis_lib.receptors.assessment.ContrastResult
    receptor : str
        That of the leading map: kept where regions are too few for all receptors.
    n_surrogates, seed : int
    null, distances : str
        See `assess`.

    Returns
    -------
    JointModel
    """
    every, about = combine(inputs.maps, inputs.about)
    maps = assessment.joint_maps(main, every, about.index[about["receptor"] == receptor][0])
    covered = maps.columns[maps.notna().all()]
    predictors, outcome = maps[covered].T, main.effect[covered].to_numpy()
    at = inputs.change.columns.get_indexer(covered)
    apart = inputs.distances(distances)[np.ix_(at, at)]
    n = min(n_surrogates, MOST_SURROGATES)
    smooth = SURROGATES[null](outcome, apart, n, seed, gaussianise=False)
    drawn = main.effects.null[:MOST_SURROGATES, at]
    spatial, randomised = (
        dominance_analysis.dominance_test(predictors, outcome, null_maps)
        for null_maps in (smooth, drawn)
    )
    far = dominance_analysis.cross_validated_r(predictors, outcome, apart)["test_r"].median()
    tables = {
        "combined": about[["receptor", "tracer", "n_subjects", "note"]].reset_index(),
        "given_others": assessment.others_table(main, maps, about),
        "dominance": assessment.dominance_rows(spatial, randomised, about),
    }
    return JointModel(tables, _described(maps, every, covered, spatial, randomised, far))


def _described(maps, every, covered, spatial, randomised, far):
    lines = [
        f"{len(maps)} receptors, {len(covered)} regions: adjusted R² "
        f"{spatial.observed.adjusted_r2:.2f}; surrogates "
        f"{p_text(spatial.p_model, len(spatial.null_total))}, re-randomised "
        f"{p_text(randomised.p_model, len(randomised.null_total))}; r with regions far away: "
        f"median {far:.2f}"
    ]
    if len(maps) < len(every):
        lines += [
            f"too few regions for {len(every)} receptors at once; kept, by |r|: {len(maps)}. The "
            "p-values do not allow for this choice"
        ]
    return "\n".join(lines)


def patients(inputs, n_permutations, seed, statistic="gaussianised") -> dict:
    """Each patient's own coupling with every receptor map, as an outcome of the trial.

    Parameters
    ----------
    inputs : analysis_lib.receptors.inputs.Inputs
    n_permutations, seed : int
    statistic : str

    Returns
    -------
    dict of pandas.DataFrame
        individual, coupling_arm, coupling_improvement, as they are written.
    """
    z = individual.individual_coupling(inputs.change, inputs.maps, statistic)
    improved = improvement_at_scan(inputs.study, inputs.change.index)
    options = {"n_permutations": n_permutations, "seed": seed, **inputs.model}
    said = (inputs.arm, inputs.about)
    return {
        "individual": assessment.individual_rows(z, *said),
        "coupling_arm": individual.arm_table(z, *said, **options),
        "coupling_improvement": individual.improvement_table(z, improved, *said, **options),
    }


def halves(inputs, n_splits, seed, statistic="gaussianised"):
    """Agreement of effect maps from two halves of the patients: see `split_half`.

    Parameters
    ----------
    inputs : analysis_lib.receptors.inputs.Inputs
    n_splits, seed : int
    statistic : str

    Returns
    -------
    analysis_lib.receptors.reliability.SplitHalf
    """
    options = {"n_splits": n_splits, "seed": seed, "method": statistic}
    return split_half(inputs.change, inputs.arm, **options, **inputs.model)


def power_rows(inputs, annotation, reliability, n_trials, seed, statistic="gaussianised"):
    """Power over the noise-free correlation with one receptor map: see `power_curve`.

    Parameters
    ----------
    inputs : analysis_lib.receptors.inputs.Inputs
    annotation : str
    reliability : float
        Kept between .05 and .95.
    n_trials, seed : int
    statistic : str
    """
    options = {"n_trials": n_trials, "seed": seed, "method": statistic}
    options["reliability"] = float(np.clip(reliability, 0.05, 0.95))
    receptor = inputs.maps.loc[annotation].to_numpy()
    return power_curve(inputs.change, inputs.arm, receptor, **options, **inputs.model)


def juspace_rows(inputs, n_permutations, seed) -> pd.DataFrame:
    """What JuSpace would report: see `juspace_table`; receptor maps keep their background.

    Parameters
    ----------
    inputs : analysis_lib.receptors.inputs.Inputs
        Read with ``background="keep"``.
    n_permutations, seed : int
    """
    options = {"n_permutations": n_permutations, "seed": seed, "atlas": inputs.parcels}
    return juspace_table(inputs.change, inputs.arm, inputs.maps, inputs.about, **options)
