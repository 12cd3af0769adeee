"""Everything that is asked of a map of change and the receptor maps, and its result tables."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from analysis_lib.receptors import correlation, nulls
from analysis_lib.receptors import intervals as receptors_intervals
from analysis_lib.receptors import slopes as slopes_test
from analysis_lib.receptors.effects import effect_map
from analysis_lib.results.contrasts import ARM_BY_TIME


@dataclass(frozen=True)
class ContrastResult:
    """All that is known of one contrast: its effect map and what was tested of it."""

    contrast: str
    method: str
    effect: pd.Series  # percent, by label
    annotations: list
    n_parcels: np.ndarray  # (n_receptors,)
    slopes: np.ndarray  # (n_participants, n_receptors)
    surrogates: np.ndarray  # (n_surrogates, n_parcels)
    randomisation: slopes_test.SlopeTest
    spatial: nulls.NullTest
    spatial_anatomy: nulls.NullTest  # of the partial r given anatomy
    intervals: receptors_intervals.Intervals

    @property
    def leading(self) -> str:
        """The receptor map with the largest |r|."""
        return self.annotations[int(np.abs(self.spatial.r).argmax())]


def assess_contrast(
    change,
    arm,
    receptors,
    surrogates,
    anatomy,
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
    (n_surrogates, n_parcels), or made from it by a function. ``anatomy`` (n_measures, n_parcels) is
    held constant, as normal scores, in one of the two spatial tests. The rest is as in
    `slopes.slope_test` and `intervals.bootstrap_intervals`.
    """
    correlation.check_labels(change, receptors)
    model = {"contrast": contrast, "covariates": covariates, "strata": strata}
    effect = effect_map(change, arm, **model)
    surrogates = np.asarray(surrogates(effect) if callable(surrogates) else surrogates)
    slopes = correlation.patient_slopes(change, receptors, method)
    model |= {"seed": seed}
    maps = (effect, receptors, surrogates, method)
    given = partial(correlation.correlate, given=correlation.gaussianise(anatomy))
    return ContrastResult(
        contrast,
        method,
        pd.Series(effect, index=change.columns, name=contrast),
        receptors.index.tolist(),
        correlation.n_covered(effect, receptors),
        slopes,
        surrogates,
        slopes_test.slope_test(slopes, arm, **model, n_permutations=n_permutations),
        nulls.spatial_test(*maps),
        nulls.spatial_test(*maps, given),
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
        One row per contrast and receptor map. What is corrected is corrected over the maps of one
        contrast (q_fdr: Benjamini & Hochberg 1995, from p_randomisation).
    """
    return pd.concat([_contrast_rows(result, maps) for result in results], ignore_index=True)


def _contrast_rows(result, maps):
    about = maps.loc[result.annotations]
    trial, spatial, anatomy = result.randomisation, result.spatial, result.spatial_anatomy
    rows = {
        "contrast": result.contrast,
        "receptor": about["receptor"].to_numpy(),
        "annotation": result.annotations,
        "tracer": about["tracer"].to_numpy(),
        "n_subjects_map": about["n_subjects"].array,
        "n_parcels": result.n_parcels,
        "statistic": result.method,
        "r": spatial.r,
        "ci_low": result.intervals.expected[:, 0],
        "ci_high": result.intervals.expected[:, 1],
        "r_anatomy": anatomy.r,
        "p_parametric": nulls.parametric_p(spatial.r, result.n_parcels),
        "p_spatial": spatial.p,
        "p_fwe_spatial": spatial.p_fwe,
        "p_spatial_anatomy": anatomy.p,
        "p_fwe_spatial_anatomy": anatomy.p_fwe,
        "p_randomisation": trial.p,
        "p_fwe": trial.p_fwe,
        "q_fdr": trial.p if np.isnan(trial.p).any() else multipletests(trial.p, method="fdr_bh")[1],
    }
    return pd.DataFrame(rows)


def anatomy_table(result, anatomy):
    """Rows of receptors/anatomy.tsv: r of an effect map with head anatomy, before any receptor.

    ``anatomy`` (n_measures, n_parcels) is `analysis_lib.atlas.anatomy.regional_anatomy`.
    """
    test = nulls.spatial_test(result.effect, anatomy, result.surrogates, result.method)
    rows = {"contrast": result.contrast, "measure": anatomy.index, "r": test.r}
    return pd.DataFrame(rows | {"p_spatial": test.p, "p_fwe_spatial": test.p_fwe})


def rival_table(result, about):
    """Rows of receptors/rivals.tsv: does the leading receptor lead, or does chance choose it?

    The difference in |r| between the map with the largest |r| and each map of another receptor,
    with its interval from the same resampled patients as those of r, and the share of resamples in
    which the leading map is ahead: of this rival, and of all of them at once.
    """
    receptor = about.loc[result.annotations, "receptor"].to_numpy()
    first = result.annotations.index(result.leading)
    rivals = np.flatnonzero(receptor != receptor[first])
    found = result.intervals.differences(first, rivals)
    rows = {
        "contrast": result.contrast,
        "receptor": receptor[first],
        "annotation": result.annotations[first],
        "rival": receptor[rivals],
        "rival_annotation": np.array(result.annotations)[rivals],
        "r": result.spatial.r[first],
        "r_rival": result.spatial.r[rivals],
        **found,
    }
    return pd.DataFrame(rows).sort_values("difference", kind="stable", ignore_index=True)


def sensitivity_table(result, receptors, about, regions):
    """Rows of receptors/sensitivity.tsv: how far each correlation depends on something else.

    That is the noise-free r and its interval; the region without which r moves most, and r without
    it; the smallest |r| that the spatial null calls significant. ``regions`` holds their names by
    label.
    """
    without = correlation.influence(result.effect, receptors, result.method)
    r, intervals = result.spatial.r, result.intervals
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
        "region_without": regions.loc[without.columns[moved]].to_numpy(),
        "r_without": without.to_numpy()[np.arange(len(r)), moved],
        "critical_r_spatial": nulls.critical_r(result.spatial)[0],
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


def others_table(result, receptors, about, test):
    """Rows of receptors/given_others.tsv: what is left of a receptor beside all the others.

    ``receptors`` has one map a receptor: `library.combine`. ``test`` is the `slopes.slope_test` of
    the patients' slopes on all of these maps at once (`correlation.slopes_given_others`).
    """
    maps = (result.effect, receptors, result.surrogates, result.method)
    spatial = nulls.spatial_test(*maps, correlation.partial_given_others)
    rows = {
        "contrast": result.contrast,
        "receptor": about.loc[receptors.index, "receptor"].to_numpy(),
        "annotation": receptors.index,
        "n_parcels": int((receptors.notna().all() & result.effect.notna()).sum()),
        "r": correlation.correlate(result.effect, receptors, result.method)[0],
        "r_given_others": spatial.r,
        "p_given_others": test.p,
        "p_fwe": test.p_fwe,
        "p_spatial_given_others": spatial.p,
    }
    return pd.DataFrame(rows)


def participant_rows(arm, about, **values):
    """A row per participant and receptor map, from values (n_participants, n_receptors) by name."""
    pairs = pd.MultiIndex.from_product([about.index, arm.index])
    annotation, who = pairs.get_level_values(0), pairs.get_level_values(1)
    rows = pd.DataFrame({"participant_id": who, "arm": who.map(arm)})
    rows = rows.assign(receptor=annotation.map(about["receptor"]), annotation=annotation)
    return rows.assign(**{name: np.ravel(found, order="F") for name, found in values.items()})


def dominance_rows(test, about):
    """Rows of receptors/dominance.tsv, tested against surrogates of the effect map."""
    found = test.observed
    rows = {"total_dominance": found.total, "percent": found.percent}
    rows |= {"p": test.p, "p_fwe": test.p_fwe}
    table = pd.DataFrame(rows).rename_axis("annotation").reset_index()
    table.insert(0, "receptor", about.loc[table["annotation"], "receptor"].to_numpy())
    return table
