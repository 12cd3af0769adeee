"""Every analysis of the primary scale: model, covariance, covariates, missing scores."""

from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
from scipy import linalg, stats

from analysis_lib.clinical.imputation import STRATEGIES, imputation_table
from analysis_lib.clinical.imputed_scales import impute_scales
from analysis_lib.clinical.models import fit_mmrm_rows
from analysis_lib.clinical.rating_patterns import adjusting, at_estimable_visits
from analysis_lib.clinical.trial_data import read_trial
from analysis_lib.computing import blocks
from analysis_lib.results.problems import NotComputed
from analysis_lib.results.section import UNANSWERED
from analysis_lib.results.words import visit_words
from analysis_lib.robustness.multiverse import Design, draw_flips, estimates, flipped
from analysis_lib.robustness.specification import (
    ANOTHER,
    ARBITRARY,
    Curve,
    crossed,
    limits,
    offered,
)
from analysis_lib.study.participants import ADJUST, covariate_matrix

BLOCK = 8  # analyses that are made in one block
COVARIANCES = {
    "unstructured": "us",
    "Toeplitz": "toeph",
    "compound symmetry": "csh",
    "equal variances": "cs",
}
ERRORS = {"unequal": "hc3", "equal": "equal"}
FEW = ["estimate", "ci_low", "ci_high", "p"]


@dataclass(frozen=True)
class _Scores:
    """What the analyses of one scale are made from."""

    rows: pd.DataFrame  # outcomes after baseline, in the columns of `with_baseline`
    added: pd.DataFrame  # the study's other covariates, by participant
    final: str
    flips: np.ndarray  # (n_draws, n_participants)
    people: pd.Index


def symptom_curve(study, n_draws=1000, n_imputations=200, seed=0, n_jobs=1) -> Curve:
    """Every analysis of the difference between arms at the primary visit, on the primary scale.

    Parameters
    ----------
    study : Study
    n_draws : int
        Sign flips of participants, the same in every analysis.
    n_imputations, seed, n_jobs : int

    Raises
    ------
    NotComputed
        The study has no scores or no control arm, or the primary model cannot be fitted.
    """
    if not study.scales:
        raise NotComputed("the study has no scores")
    if not study.arms:
        raise NotComputed("there is no control arm, and so no difference to estimate")
    data = read_trial(study)
    scores = _scores(study, data, study.primary_scale.name, n_draws, seed)
    decisions = offered("symptoms", _offers(study, data, scores))
    rows = crossed(decisions, _admissible)
    imputed = _imputed(study, data, n_imputations, seed)
    made = rows["missing"] == "imputed"
    specs = rows[~made].to_dict("records")
    parts = [specs[k : k + BLOCK] for k in range(0, len(specs), BLOCK)]
    work = study.work("specifications", n_jobs)
    found = chain(*blocks.told("scores", some_fitted, parts, scores, **work))
    found = dict(zip(rows.index[~made], found, strict=True))
    found |= {at: (imputed["mar"], None) for at in rows.index[made]}
    notes = [
        f"{_named(rows.loc[at])}: {why}" for at, (why, _) in found.items() if isinstance(why, str)
    ]
    there = [at for at in rows.index if not isinstance(found[at][0], str)]
    rows = rows.loc[there].join(pd.DataFrame([found[at][0] for at in there], there))
    draws = [found[at][1] for at in rows.index[rows["label"] == ARBITRARY]]
    apart = pd.DataFrame(_apart(study, data, decisions, imputed, scores))
    at = visit_words(study.final_visit)
    about = f"difference in {study.primary_scale.name} at {at}, points"
    kept = rows.reset_index(drop=True)
    kept["covariance"] = kept["covariance"].where(kept["model"] == "MMRM")
    kept["errors"] = kept["errors"].where(kept["model"] == "ANCOVA")
    return Curve("symptoms", kept, decisions, apart, np.column_stack(draws), tuple(notes), about)


def _scores(study, data, scale, n_draws, seed):
    rows = data.changes[data.changes["scale"] == scale].dropna(subset=["baseline", "outcome"])
    rows = at_estimable_visits(rows)
    people = pd.Index(rows["participant_id"].unique())
    if study.final_visit not in set(rows["visit"]):
        raise NotComputed(f"fewer than two of an arm were rated at {study.final_visit}")
    table = data.participants.set_index("participant_id", drop=False).loc[people]
    held = {*study.model.covariates, *study.model_factors}
    names = [n for n in study.covariates if n not in held and table[n].notna().all()]
    added = covariate_matrix(table, names)
    added = added.set_axis([f"{ADJUST}added{k}" for k in range(added.shape[1])], axis=1)
    return _Scores(rows, added, study.final_visit, draw_flips(len(people), n_draws, seed), people)


def _offers(study, data, scores):
    """What the study has of each decision: see `offered`."""
    one_visit = scores.rows["visit"].nunique() < 2 and "there is one visit after baseline"
    wide = scores.rows.pivot(index="participant_id", columns="visit", values="outcome")
    whole = wide.notna().all(axis=None) and "every participant has every score"
    events = data.events.index.isin(scores.people).any()
    harsh = dict.fromkeys(STRATEGIES[1:], "" if events else "nobody stopped treatment")
    value = scores.rows["kind"].iloc[0] == "value"
    names = [scale.name for scale in study.scales]
    names.insert(0, names.pop(names.index(study.primary_scale.name)))
    return {
        "model": one_visit or {},
        "covariance": one_visit or {},
        "visit": one_visit or {},
        "errors": {},
        "covariates": {
            "added": "" if scores.added.shape[1] else "the study names no others",
            "none": "" if adjusting(scores.rows) else "the study's model holds none",
        },
        "baseline": "the scale was not rated at baseline" if value else {},
        "missing": whole or harsh,
        "scale": dict.fromkeys(names, ""),
    }


def _admissible(row):
    """Analyses that there are: a covariance belongs to the MMRM, other errors to ANCOVA."""
    ancova, plain = row["model"] == "ANCOVA", row["covariance"] == "unstructured"
    if row["missing"] == "imputed":  # by the model that notebook 01 imputes with
        fixed = {"covariates": "model", "baseline": "adjusted", "errors": "equal"}
        return ancova and plain and all(row[k] == v for k, v in fixed.items())
    return plain if ancova else row["errors"] == "unequal"


def _named(row):
    return ", ".join(str(row[name]) for name in ("model", "covariance", "covariates", "missing"))


def some_fitted(specs, scores):
    """`fitted` of each."""
    return [fitted(spec, scores) for spec in specs]


def fitted(spec, scores):
    """One analysis: estimate, interval and p, with its statistic in every draw (n_draws,).

    Where it cannot be made, the reason instead, and no draws.
    """
    try:
        return (_ancova if spec["model"] == "ANCOVA" else _mmrm)(spec, scores)
    except UNANSWERED as error:
        return " ".join(str(error).split()), None


def _rows(spec, scores):
    """Rows of an analysis, with the columns that it adjusts for."""
    rows = scores.rows
    if spec["missing"] == "complete":
        n = rows.groupby("participant_id")["visit"].transform("size")
        rows = rows[n == rows["visit"].nunique()]
    if spec["covariates"] == "none":
        rows = rows.drop(columns=adjusting(rows))
    if spec["covariates"] == "added":
        rows = rows.join(scores.added, on="participant_id")
    return rows


def _mmrm(spec, scores):
    rows = _rows(spec, scores)
    fit = fit_mmrm_rows(rows, [COVARIANCES[spec["covariance"]]], spec["baseline"] == "adjusted")
    table = fit.contrasts("arm", "control").set_index("visit")
    at = table.index.get_loc(scores.final)
    x, y, who = fit.whitened()
    design = contrast_design(x, fit.difference_weights("arm", "control")[at], who)
    drawn = flipped(design, y[:, None], scores.flips[:, scores.people.get_indexer(pd.unique(who))])
    return table.iloc[at][FEW].to_dict(), drawn[:, 0]


def contrast_design(x, weights, who) -> Design:
    """A contrast of the coefficients of y on x (n_rows, q), as the one coefficient tested.

    The others, held constant, are those combinations of x on which the contrast is zero.
    """
    inverse = np.linalg.inv(x.T @ x) @ weights
    tested = x @ inverse / (weights @ inverse)
    return Design(tested, x @ linalg.null_space(weights[None]), pd.factorize(who)[0])


def _ancova(spec, scores):
    rows = _rows(spec, scores)
    rows = rows[rows["visit"] == scores.final]
    held = ["baseline"] * (spec["baseline"] == "adjusted") + adjusting(rows)
    design = Design(
        (rows["arm"] == "active").to_numpy(float),
        np.column_stack([np.ones(len(rows)), rows[held].to_numpy(float)]),
    )
    y = rows["outcome"].to_numpy(float)[:, None]
    estimate, se, df = (np.ravel(v)[0] for v in estimates(design, y, ERRORS[spec["errors"]]))
    p = 2 * stats.t.sf(abs(estimate / se), df)
    drawn = flipped(design, y, scores.flips[:, scores.people.get_indexer(rows["participant_id"])])
    return {**limits(estimate, se, df), "p": p}, drawn[:, 0]


def _imputed(study, data, n_imputations, seed):
    """Estimates from completed data at the primary visit, by strategy; else the reason."""
    try:
        fit = impute_scales(study, data, n_imputations, seed)[study.primary_scale.name]
        table = imputation_table(fit, STRATEGIES, [study.final_visit]).set_index("analysis")
        return {strategy: table.loc[strategy, FEW].to_dict() for strategy in STRATEGIES}
    except UNANSWERED as error:
        return dict.fromkeys(STRATEGIES, str(error))


def _apart(study, data, decisions, imputed, scores):
    """Analyses of another question, one at a time."""
    default = {"model": "MMRM", "covariance": "unstructured", "baseline": "adjusted"}
    default |= {"covariates": "model", "missing": "observed"}
    asked = decisions[decisions["label"].eq(ANOTHER) & decisions["lacking"].eq("")]
    for decision, option in asked[["decision", "option"]].itertuples(index=False):
        found = None
        if decision == "missing":
            found = imputed[option]
        elif decision == "scale":
            try:
                found = fitted(default, _scores(study, data, option, 1, 0))[0]
            except NotComputed as error:
                found = str(error)
        elif decision == "visit":
            fit = fit_mmrm_rows(_rows(default, scores))
            found = fit.contrasts("arm", "control", by=None)[FEW].iloc[0].to_dict()
        if not isinstance(found, str):
            yield {"decision": decision, "option": option, **found}
