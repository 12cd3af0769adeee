"""S1, clinical p-values: trials drawn from the study's own fitted model, without an effect."""

from dataclasses import dataclass

import formulaic
import numpy as np
import pandas as pd

from analysis_lib.clinical.models import fit_mmrm_rows, fit_models
from analysis_lib.clinical.outcomes import ancova, rm_anova
from analysis_lib.clinical.randomisation import randomisation_test
from analysis_lib.clinical.risks import responders
from analysis_lib.clinical.trial_data import read_trial
from analysis_lib.results.problems import NotComputed
from analysis_lib.robustness.calibration import attempt, skewed
from analysis_lib.study.contract import Study
from analysis_lib.study.scores import baseline_scores

ACTIVE_SD, SKEWED = "active SD twice the control's", "skewness 1"
AT_RANDOM, NOT_AT_RANDOM = "missing at random", "missing not at random"
MMRM = ("MMRM, Kenward-Roger", "clinical/mmrm_contrasts.tsv", "p", None)
ANCOVA = ("ANCOVA, HC3", "clinical/ancova.tsv", "p", None)
ANOVA = ("ANOVA, arm × time (Greenhouse-Geisser)", "clinical/anova.tsv", "p_gg", None)
DRAWN_ANEW = ("re-randomisation", "clinical/randomisation.tsv", "p_randomisation", None)
COUNTED = {"missing_is_failure": "missing is failure", "observed": "observed"}


@dataclass(frozen=True)
class Clinical:
    """A trial's primary scale: who was rated when, and the model that scores are drawn from.

    Each draw re-randomises: people, with their baseline and what is adjusted for, change places
    within strata, while arms and missing visits stay with the places.
    """

    study: Study
    places: pd.DataFrame  # participant_id, arm, stratum
    people: pd.DataFrame  # baseline and columns to adjust for
    rated: np.ndarray  # (n, n_visits)
    means: np.ndarray  # (n, n_visits), change without an effect of the arm
    root: np.ndarray  # (n_visits, n_visits), of the covariance of visits
    visits: tuple
    n_permutations: int
    words: str
    name = "clinical"
    maps = ()
    assumptions = (ACTIVE_SD, SKEWED, AT_RANDOM, NOT_AT_RANDOM)

    def draw(self, assumption, rng) -> dict:
        """p of each test in one simulated trial."""
        changes = self.changes(assumption, rng)
        scale, final = self.study.primary_scale.name, self.study.final_visit
        last = changes[changes["visit"] == final].dropna()
        scores, strata = self._scores(changes), self.places.set_index("participant_id")["stratum"]
        options = {"n_permutations": self.n_permutations, "seed": int(rng.integers(2**31))}
        found = attempt(MMRM, mmrm_p, changes.dropna(), final)
        found |= attempt(ANCOVA, lambda: ancova(last)["p"].iloc[0])
        found |= attempt(
            DRAWN_ANEW,
            lambda: randomisation_test(changes, scale, final, strata, **options)[
                "p_randomisation"
            ].iloc[0],
        )
        if len(self.visits) > 1:
            found |= attempt(ANOVA, lambda: _interaction(rm_anova(scores)))
        return found | self._responders(scores, final)

    def changes(self, assumption, rng) -> pd.DataFrame:
        """A simulated trial as `with_baseline` gives it; missed visits have no outcome."""
        who = self._assigned(rng)
        z = rng.standard_normal(self.means.shape)
        noise = (skewed(z) if assumption == SKEWED else z) @ self.root.T
        if assumption == ACTIVE_SD:
            noise[self.places["arm"] == "active"] *= 2
        outcomes = self.means[who] + noise
        rated = self._rated(assumption, outcomes, rng)
        wide = pd.DataFrame(np.where(rated, outcomes, np.nan), columns=list(self.visits))
        own = self.places.join(self.people.iloc[who].reset_index(drop=True)).join(wide)
        keys = [c for c in own if c not in self.visits and c != "stratum"]
        rows = own.melt(keys, list(self.visits), var_name="visit", value_name="outcome")
        visit = pd.Categorical(rows["visit"], list(self.visits), ordered=True)
        return rows.assign(visit=visit, scale=self.study.primary_scale.name, kind="change")

    def _assigned(self, rng):
        """Which person stands at each place: exchanged within strata."""
        who = np.arange(len(self.places))
        for rows in self.places.groupby("stratum").indices.values():
            who[rows] = rng.permutation(rows)
        return who

    def _rated(self, assumption, outcomes, rng):
        """Patterns of missing visits by place; given to those who do badly, if asked for.

        At random: by the outcome at the first visit, of those rated at it. Not at random: by the
        outcome at the last visit, which they then miss; the worst leave the active arm and the best
        the control arm. A pattern follows the outcome and as much noise.
        """
        if assumption not in (AT_RANDOM, NOT_AT_RANDOM):
            return self.rated
        rated = self.rated.copy()
        seen = outcomes[:, 0 if assumption == AT_RANDOM else -1]
        order = _unit(seen) + rng.standard_normal(len(seen))
        for arm, sign in (("active", 1), ("control", 1 if assumption == AT_RANDOM else -1)):
            known = self.rated[:, 0] | (assumption == NOT_AT_RANDOM)
            rows = np.flatnonzero((self.places["arm"] == arm) & known)
            fewest = rows[np.argsort(rated[rows].sum(axis=1), kind="stable")]
            badly = rows[np.argsort(sign * self.study.primary_scale.gain * order[rows])]
            rated[badly] = self.rated[fewest]
        return rated

    def _scores(self, changes):
        """Ratings, baseline included, in long form."""
        first = changes.drop_duplicates("participant_id")
        first = first.assign(visit=self.study.baseline, score=first["baseline"])
        later = changes.assign(score=changes["baseline"] + changes["outcome"])
        rows = pd.concat([first, later.astype({"visit": str})], ignore_index=True)
        order = [self.study.baseline, *self.visits]
        return rows.assign(visit=pd.Categorical(rows["visit"], order, ordered=True))

    def _responders(self, scores, final):
        """p of response and remission at the last visit, both ways of counting the unrated."""
        people = self.places.assign(excluded=None)
        ends = scores[scores["visit"].isin([self.study.baseline, final])]
        ends = ends.assign(visit=ends["visit"].cat.remove_unused_categories())
        try:
            table = responders(self.study, people, ends)
        except NotComputed:  # no rule for this scale
            return {}
        return {
            (f"{row.outcome}, {COUNTED[row.analysis]}", "clinical/responders.tsv", "p", None): row.p
            for row in table.itertuples()
        }


def read_clinical(study, n_permutations=199) -> Clinical:
    """What to draw a study's clinical p-values from: its own MMRM with the arm's effect at 0.

    Parameters
    ----------
    study : Study
    n_permutations : int
        Re-randomisations of each simulated trial.

    Raises
    ------
    NotComputed
        Without scores or a control arm, or where the primary model could not be fitted.
    """
    if not study.scales or not study.arms:
        raise NotComputed("scores of two arms expected, found none: 01 compares no arms here")
    data, primary = read_trial(study), study.primary_scale
    changes = data.changes[data.changes["scale"] == primary.name]
    fit = fit_models(changes, study)[primary.name]
    if study.final_visit not in fit.visits:
        raise NotComputed(f"no primary contrast at {study.final_visit}: too few were rated")
    first = baseline_scores(study, data.scores, primary).reset_index(drop=True)
    strata = "" if data.strata is None else first["participant_id"].map(data.strata).astype(str)
    places = first[["participant_id", "arm"]].assign(stratum=strata)
    people = first[["participant_id", "baseline"]].join(data.adjustment, on="participant_id")
    people = people.drop(columns="participant_id")
    wide = changes.pivot(index="participant_id", columns="visit", values="outcome")
    wide = wide.reindex(index=first["participant_id"], columns=fit.visits)
    root = np.linalg.cholesky(fit.covariance.to_numpy())
    means = np.column_stack([_means(fit, people, visit) for visit in fit.visits])
    rated = wide.notna().to_numpy()
    model, visits = (means, root), tuple(fit.visits)
    words = f"{primary.name}, {len(places)} participants, {rated.mean():.0%} of visits rated"
    return Clinical(study, places, people, rated, *model, visits, n_permutations, words)


def _means(fit, people, visit):
    """What the model expects of each person at a visit, in the control arm."""
    rows = people.assign(arm=pd.Categorical(["control"] * len(people), ["control", "active"]))
    rows = rows.assign(visit=pd.Categorical([visit] * len(people), fit.visits))
    right = fit.formula.split("~")[1]
    design = formulaic.model_matrix(right, rows)[list(fit.terms)]
    return design.to_numpy(float) @ fit.coefficients["estimate"].to_numpy()


def mmrm_p(changes, visit):
    """p of the primary contrast."""
    table = fit_mmrm_rows(changes).contrasts("arm", "control")
    return table.set_index("visit").loc[visit, "p"]


def _interaction(table):
    return np.nan if table.empty else table.set_index("effect").loc["arm x time", "p_gg"]


def _unit(values):
    return (values - values.mean()) / values.std()
