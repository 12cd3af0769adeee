"""Families of results of notebook 03: all contrasts, all receptors, all patients."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from analysis_lib.atlas.anatomy import regional_anatomy
from analysis_lib.atlas.distances import mirrored, parcel_distances
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.receptors import assessment, correlation, dominance_analysis, juspace
from analysis_lib.receptors.library import combine
from analysis_lib.receptors.slopes import arm_table, improvement_table, mean_table, slope_test
from analysis_lib.receptors.surrogates import moran_surrogates, variogram_surrogates
from analysis_lib.results.contrasts import ARM_BY_TIME
from analysis_lib.results.section import UNANSWERED
from analysis_lib.results.words import p_text
from analysis_lib.study.catalogue import library
from analysis_lib.study.images import ERROR_MAPS
from analysis_lib.study.scores import improvement_at_scan

SURROGATES = {"moran": moran_surrogates, "variogram": variogram_surrogates}
MOST_SURROGATES = 1000  # of a dominance analysis, which is slow
TESTED = ("coupling_arm", "coupling_mean")  # tables of the slopes' test, one of which there is


def assess_contrasts(
    inputs, draws, seed, statistic="gaussianised", null="moran", distances="centroid"
):
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
    apart = inputs.mirrored(distances)[0]
    make = partial(SURROGATES[null], distances=apart, n=draws["surrogates"], seed=seed)
    options = {"n_permutations": draws["permutations"], "n_bootstrap": draws["bootstrap"]}
    options |= {"seed": seed, "method": statistic, **inputs.model}
    data = (inputs.change, inputs.arm, inputs.maps, make, inputs.anatomy)
    return {c: assessment.assess_contrast(*data, c, **options) for c in inputs.study.contrasts}


def assess(
    change,
    arm,
    maps,
    atlas="neuromorphometrics",
    contrast=ARM_BY_TIME,
    covariates=None,
    strata=None,
    n_permutations=5000,
    n_surrogates=5000,
    seed=0,
):
    """Does regional change follow receptor maps? For trials that are not a study file.

    Parameters
    ----------
    change : pandas.DataFrame, shape (n_participants, n_regions)
        Percent; columns are labels of the atlas.
    arm : pandas.Series, shape (n_participants,)
        "active" / "control", in the order of ``change``.
    maps : pandas.DataFrame, shape (n_annotations, n_regions)
        Receptor densities, with the same columns.
    atlas : str, path, mapping, image or analysis_lib.atlas.parcellation.Atlas
    contrast : str
        One of those of `results.contrasts`.
    covariates, strata : pandas.DataFrame, optional
        In the order of ``change``.
    n_permutations, n_surrogates, seed : int

    Returns
    -------
    pandas.DataFrame
        By annotation, with the other columns of receptors/correlations.tsv; receptor, tracer and
        number of people are those of the library, for maps that are in it.
    """
    parcels = load_atlas(atlas)
    apart = mirrored(parcel_distances(parcels, change.columns), parcels, change.columns)[0]
    make = partial(moran_surrogates, distances=apart, n=n_surrogates, seed=seed)
    data = (change, arm, maps, make, regional_anatomy(parcels, change.columns))
    model = {"contrast": contrast, "covariates": covariates, "strata": strata}
    draws = {"n_permutations": n_permutations, "seed": seed}
    result = assessment.assess_contrast(*data, **model, **draws)
    about = library()[["receptor", "tracer", "n_subjects"]].reindex(maps.index)
    return assessment.correlation_table([result], about).set_index("annotation")


def null_draws(assessed) -> dict:
    """Every draw: receptors/nulls.npz, arrays <null>_<contrast>.

    |t| of the slopes with signs flipped (randomisation); r of surrogates (spatial), and their
    partial r given anatomy (spatial_anatomy).
    """
    return {
        f"{which}_{contrast}": getattr(result, which).null.astype("f4")
        for contrast, result in assessed.items()
        for which in ("randomisation", "spatial", "spatial_anatomy")
    }


def anatomy_rows(inputs, assessed) -> pd.DataFrame:
    """Rows of receptors/anatomy.tsv: r of each effect map with head anatomy.

    Below it stand the contrast's own maps of registration error and image sharpness, which notebook
    00 keeps; their rows are empty where another program made the maps.
    """
    lacking, rows = [measure for measure in ERROR_MAPS if measure not in inputs.suspects], []
    for contrast, result in assessed.items():
        beside = pd.concat([inputs.anatomy, inputs.suspect_maps(contrast)])
        rows.append(assessment.anatomy_table(result, beside))
        rows.append(pd.DataFrame({"contrast": contrast, "measure": lacking}))
    return pd.concat([part for part in rows if len(part)], ignore_index=True)


def rivals(inputs, assessed) -> pd.DataFrame:
    """Rows of receptors/rivals.tsv: the leading receptor of each contrast against all others."""
    rows = [assessment.rival_table(result, inputs.about) for result in assessed.values()]
    return pd.concat(rows, ignore_index=True)


def leading(correlations, contrast=ARM_BY_TIME) -> pd.Series:
    """Row of the receptor map with the largest |r| in one contrast."""
    rows = correlations[correlations["contrast"] == contrast]
    return rows.loc[rows["r"].abs().idxmax()]


def sensitivity(inputs, assessed) -> pd.DataFrame:
    """Rows of receptors/sensitivity.tsv."""
    said = (inputs.maps, inputs.about, inputs.regions)
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


def joint_model(inputs, main, draws, seed, null="moran", distances="centroid"):
    """All receptors at once: held constant, dominance, prediction of regions far away.

    Everything is of the statistic of ``main``: normal scores, ranks or values. Where regions are
    too few for all receptors, that of the leading map is kept.

    Parameters
    ----------
    inputs : analysis_lib.receptors.inputs.Inputs
    main : analysis_lib.receptors.assessment.ContrastResult
    draws : dict of int
        permutations, surrogates.
    seed : int
    null, distances : str
        See `assess_contrasts`.

    Returns
    -------
    JointModel
    """
    every, about = combine(inputs.maps, inputs.about)
    first = about["receptor"].eq(inputs.about.loc[main.leading, "receptor"]).idxmax()
    maps = assessment.joint_maps(main, every, first)
    covered = maps.columns[maps.notna().all()]
    scores = partial(correlation.scores, method=main.method)
    predictors = pd.DataFrame(scores(maps[covered]), maps.index, covered).T
    outcome = scores(main.effect[covered])
    at = inputs.change.columns.get_indexer(covered)
    apart = inputs.mirrored(distances)[0][np.ix_(at, at)]
    n = min(draws["surrogates"], MOST_SURROGATES)
    smooth = SURROGATES[null](outcome, apart, n, seed, main.method == "gaussianised")
    test = dominance_analysis.dominance_test(predictors, outcome, smooth)
    plain = inputs.distances(distances)[np.ix_(at, at)]
    far = dominance_analysis.cross_validated_r(predictors, outcome, plain)["test_r"].median()
    slopes = correlation.slopes_given_others(inputs.change, maps, main.method)
    options = {"n_permutations": draws["permutations"], "seed": seed, **inputs.model}
    trial = slope_test(slopes, inputs.arm, main.contrast, **options)
    tables = {
        "combined": about[["receptor", "tracer", "n_subjects", "note"]].reset_index(),
        "given_others": assessment.others_table(main, maps, about, trial),
        "dominance": assessment.dominance_rows(test, about),
    }
    return JointModel(tables, _described(maps, every, covered, test, far))


def _described(maps, every, covered, test, far):
    p = p_text(test.p_model, len(test.null_total))
    said = (
        f"{len(maps)} receptors, {len(covered)} regions: adjusted R² "
        f"{test.observed.adjusted_r2:.2f}, {p} among equally smooth maps; r with regions far away: "
        f"median {far:.2f}"
    )
    if len(maps) == len(every):
        return said
    return (
        f"{said}\ntoo few regions for {len(every)} receptors at once; kept, by |r|: {len(maps)}. "
        "The p-values do not allow for this choice"
    )


@dataclass(frozen=True)
class Coupling:
    """Each patient's own coupling."""

    tables: dict  # as they are written; empty for one map without patients
    unanswered: dict = field(default_factory=dict)  # why improvement was not related, by scale

    @property
    def shown(self) -> pd.DataFrame:
        """The six maps with the largest |t|: difference between the arms, or mean."""
        name = next((name for name in self.tables if name in TESTED), None)
        rows = self.tables[name] if name else pd.DataFrame(columns=["t"])
        order = rows["t"].abs().sort_values(ascending=False).index[:6]
        return rows.loc[order].drop(columns=["n_active", "n_control", "df"], errors="ignore")

    @property
    def scales(self) -> list:
        """Scales on which improvement is known, the primary one first."""
        rows = self.tables.get("coupling_improvement", pd.DataFrame(columns=["scale"]))
        return list(rows["scale"].unique())


def patients(inputs, main, n_permutations, seed) -> Coupling:
    """Each patient's own coupling with every receptor map, as an outcome of the trial.

    Parameters
    ----------
    inputs : analysis_lib.receptors.inputs.Inputs
    main : analysis_lib.receptors.assessment.ContrastResult
        Of the main contrast: its slopes and their test.
    n_permutations, seed : int

    Returns
    -------
    Coupling
        Tables individual, coupling_arm or coupling_mean, coupling_improvement.
    """
    if inputs.study.effect:
        return Coupling({})
    z = np.arctanh(correlation.correlate(inputs.change, inputs.maps, main.method))
    slopes, arm, about = main.slopes, inputs.arm, inputs.about
    tables = {"individual": assessment.participant_rows(arm, about, slope=slopes, z=z)}
    if main.contrast == ARM_BY_TIME:
        tables["coupling_arm"] = arm_table(slopes, arm, about, main.randomisation)
    else:
        tables["coupling_mean"] = mean_table(slopes, about, main.randomisation)
    options = {"n_permutations": n_permutations, "seed": seed, **inputs.model}
    improved, unanswered = _improvement(inputs, slopes, options)
    if improved:
        rows = pd.concat(improved, names=["scale", None]).reset_index("scale")
        tables["coupling_improvement"] = rows.reset_index(drop=True)
    return Coupling(tables, unanswered)


def _improvement(inputs, slopes, options):
    """Relation of slopes to improvement by scale, the primary first; and reasons where none."""
    tables, unanswered = {}, {}
    for scale in sorted(inputs.study.scales, key=lambda scale: not scale.primary):
        improved = improvement_at_scan(inputs.study, inputs.change.index, scale)
        if np.isfinite(improved).any():
            data = (slopes, improved, inputs.arm, inputs.about)
            try:
                tables[scale.name] = improvement_table(*data, **options)
            except UNANSWERED as error:  # hardly anyone was rated
                unanswered[scale.name] = error
    return tables, unanswered


def juspace_tables(inputs, n_permutations, seed) -> dict:
    """What JuSpace would report, as it is written: juspace, options, patients_juspace.

    Parameters
    ----------
    inputs : analysis_lib.receptors.inputs.Inputs
        Read with ``background="keep"``.
    n_permutations, seed : int
    """
    options = {"n_permutations": n_permutations, "seed": seed, "atlas": inputs.parcels}
    data = (inputs.change, inputs.arm, inputs.maps, inputs.about)
    grey = inputs.anatomy.loc["grey_density"]
    return {
        "juspace": juspace.juspace_table(*data, **options),
        "options": juspace.options_table(*data, grey, **options),
        "patients_juspace": juspace.patients_table(*data),
    }
