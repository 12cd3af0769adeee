"""Everything that is asked of a map of change and the receptor maps, and its result tables."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from analysis_lib.receptors import correlation, nulls, power
from analysis_lib.receptors import intervals as receptors_intervals
from analysis_lib.results.contrasts import ARM_BY_TIME

TABLE_COLUMNS = (
    "contrast",
    "receptor",
    "annotation",
    "tracer",
    "n_subjects_map",
    "n_parcels",
    "statistic",
    "r",
    "ci_low",
    "ci_high",
    "p_parametric",
    "p_spatial",
    "p_fwe_spatial",
    "p_randomisation",
    "p_fwe",
    "q_fdr",
)


@dataclass(frozen=True)
class ContrastResult:
    """All that is known of one contrast: its effect map and what was tested of it."""

    contrast: str
    method: str
    effect: pd.Series  # percent, by label
    annotations: list
    n_parcels: np.ndarray  # (n_receptors,)
    effects: nulls.NullEffects  # of the arms as they are, and re-randomised
    surrogates: np.ndarray  # (n_surrogates, n_parcels)
    randomisation: nulls.NullTest
    spatial: nulls.NullTest
    intervals: receptors_intervals.Intervals

    def test(self, statistic):
        """Another statistic, maps (k, n_parcels) to numbers (k, m): `NullTest` under both nulls."""
        randomisation = nulls.test_statistic(self.effects, statistic)
        return randomisation, nulls.null_test(randomisation.r, statistic(self.surrogates))


def assess_contrast(
    change,
    arm,
    receptors,
    surrogates,
    contrast=ARM_BY_TIME,
    covariates=None,
    strata=None,
    n_permutations=5000,
    n_bootstrap=2000,
    seed=0,
    method="gaussianised",
):
    """Every test of one contrast against every receptor.

    ``change`` (n_participants, n_parcels, percent) and ``receptors`` (n_receptors, n_parcels) have
    the same labels in the same order. ``surrogates`` of this contrast's effect map are
    (n_surrogates, n_parcels), or made from it by a function. The rest is as in
    `nulls.randomisation_test` and `intervals.bootstrap_intervals`.
    """
    correlation.check_labels(change, receptors)
    model = {"contrast": contrast, "covariates": covariates, "strata": strata, "seed": seed}
    effects = nulls.null_effects(change, arm, **model, n_permutations=n_permutations)
    effect = effects.observed
    surrogates = np.asarray(surrogates(effect) if callable(surrogates) else surrogates)
    return ContrastResult(
        contrast,
        method,
        pd.Series(effect, index=change.columns, name=contrast),
        receptors.index.tolist(),
        correlation.n_covered(effect, receptors),
        effects,
        surrogates,
        nulls.test_statistic(effects, lambda maps: correlation.correlate(maps, receptors, method)),
        nulls.spatial_test(effect, receptors, surrogates, method),
        receptors_intervals.bootstrap_intervals(
            change, arm, receptors, **model, n_bootstrap=n_bootstrap, method=method
        ),
    )


def correlation_table(results, maps):
    """Rows of receptors/correlations.tsv.

    Parameters
    ----------
    results : iterable of ContrastResult
    maps : pandas.DataFrame
        `library()` or `simulated_library()`.

    Returns
    -------
    pandas.DataFrame
        One row per contrast and receptor map, in the columns of `TABLE_COLUMNS`. `p_fwe`,
        `p_fwe_spatial` and `q_fdr` (Benjamini & Hochberg 1995, from `p_randomisation`) are over
        the maps of one contrast.
    """
    return pd.concat([_contrast_rows(result, maps) for result in results], ignore_index=True)


def _contrast_rows(result, maps):
    about = maps.loc[result.annotations]
    tests = result.randomisation
    rows = {
        "contrast": result.contrast,
        "receptor": about["receptor"].to_numpy(),
        "annotation": result.annotations,
        "tracer": about["tracer"].to_numpy(),
        "n_subjects_map": about["n_subjects"].array,
        "n_parcels": result.n_parcels,
        "statistic": result.method,
        "r": tests.r,
        "ci_low": result.intervals.expected[:, 0],
        "ci_high": result.intervals.expected[:, 1],
        "p_parametric": nulls.parametric_p(tests.r, result.n_parcels),
        "p_spatial": result.spatial.p,
        "p_fwe_spatial": result.spatial.p_fwe,
        "p_randomisation": tests.p,
        "p_fwe": tests.p_fwe,
        "q_fdr": multipletests(tests.p, method="fdr_bh")[1],
    }
    return pd.DataFrame(rows)[list(TABLE_COLUMNS)]


def sensitivity_table(result, receptors, about, density, regions):
    """Rows of receptors/sensitivity.tsv: how far each correlation depends on something else.

    That is the noise-free r and its interval; r given the regions' grey-matter ``density``, with p
    under both nulls; the region without which r moves most, and r without it; the smallest |r| that
    each null calls significant. ``regions`` holds their names by label.
    """
    given = result.test(
        lambda maps: correlation.partial_correlate(maps, receptors, density, result.method)
    )
    without = correlation.influence(result.effect, receptors, result.method)
    r, intervals = result.randomisation.r, result.intervals
    moved = without.sub(r, axis=0).abs().to_numpy().argmax(axis=1)
    rows = {
        "contrast": result.contrast,
        "receptor": about.loc[result.annotations, "receptor"].to_numpy(),
        "annotation": result.annotations,
        "r": r,
        "r_noise_free": intervals.noise_free_r,
        "noise_free_low": intervals.noise_free[:, 0],
        "noise_free_high": intervals.noise_free[:, 1],
        "reliability": intervals.reliability,
        "r_given_density": given[0].r,
        "p_given_density": given[0].p,
        "p_spatial_given_density": given[1].p,
        "region_without": regions.loc[without.columns[moved]].to_numpy(),
        "r_without": without.to_numpy()[np.arange(len(r)), moved],
        "critical_r": power.critical_r(result.randomisation)[0],
        "critical_r_spatial": power.critical_r(result.spatial)[0],
    }
    return pd.DataFrame(rows)


def joint_maps(result, receptors, first, regions_per_map=5):
    """Receptor maps (n_receptors, n_parcels) that a joint model of all of them has regions for.

    All of them or, where there are not ``regions_per_map`` for each (subcortex alone), the
    annotation ``first`` and those with the largest |r|, two maps at least; their order stays.
    """
    n_regions = int((receptors.notna().all() & result.effect.notna()).sum())
    room = max(2, n_regions // regions_per_map)
    if len(receptors) <= room:
        return receptors
    size = np.abs(correlation.correlate(result.effect, receptors, result.method)[0])
    size[receptors.index.get_loc(first)] = np.inf
    return receptors.iloc[np.sort(np.argsort(-size, kind="stable")[:room])]


def others_table(result, receptors, about):
    """Rows of receptors/given_others.tsv: what is left of a receptor beside all the others.

    ``receptors`` has one map a receptor: `library.combine`.
    """
    randomisation, spatial = result.test(
        lambda maps: correlation.partial_given_others(maps, receptors, result.method)
    )
    rows = {
        "contrast": result.contrast,
        "receptor": about.loc[receptors.index, "receptor"].to_numpy(),
        "annotation": receptors.index,
        "n_parcels": int((receptors.notna().all() & result.effect.notna()).sum()),
        "r": correlation.correlate(result.effect, receptors, result.method)[0],
        "r_given_others": randomisation.r,
        "p_given_others": randomisation.p,
        "p_fwe": randomisation.p_fwe,
        "p_spatial_given_others": spatial.p,
    }
    return pd.DataFrame(rows)


def individual_rows(z, arm, about):
    """Rows of receptors/individual.tsv, from z (n_participants, n_receptors)."""
    frame = pd.DataFrame(z, index=arm.index.rename("participant_id"), columns=about.index)
    rows = frame.melt(ignore_index=False, var_name="annotation", value_name="z").reset_index()
    rows["arm"] = rows["participant_id"].map(arm)
    rows["receptor"] = rows["annotation"].map(about["receptor"])
    return rows[["participant_id", "arm", "receptor", "annotation", "z"]]


def dominance_rows(test, randomised, about):
    """Rows of receptors/dominance.tsv, tested against smooth surrogates and re-randomised arms."""
    found = test.observed
    rows = {"total_dominance": found.total, "percent": found.percent, "p": test.p}
    rows |= {"p_fwe": test.p_fwe, "p_randomisation": randomised.p}
    table = pd.DataFrame(rows).rename_axis("annotation").reset_index()
    table.insert(0, "receptor", about.loc[table["annotation"], "receptor"].to_numpy())
    return table
