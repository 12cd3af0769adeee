"""Outcomes of one scale as a table of visits, and which of them are missing."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis_lib.results.problems import NotComputed
from analysis_lib.study.contract import ARMS
from analysis_lib.study.participants import ADJUST

CONTRAST = "active - control"


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of one scale, one row per participant."""

    participants: list
    visits: list  # after baseline, in order
    active: np.ndarray  # (n,)
    baseline: np.ndarray  # (n,)
    values: np.ndarray  # (n, n_visits); NaN where not rated
    held: np.ndarray | None = None  # (n, n_columns) that the model adjusts for beside baseline
    n_before: np.ndarray | None = None  # (n,) visits up to an intercurrent event; all without one

    @property
    def observed(self):
        """Whether rated: bool, (n, n_visits)."""
        return ~np.isnan(self.values)

    @property
    def after_event(self):
        """Whether a visit is later than an intercurrent event: bool, (n, n_visits)."""
        return np.arange(len(self.visits)) >= self.n_before[:, None]

    @property
    def design(self):
        """Columns intercept, baseline (centred), active, then those held, centred: (n, 3 + k)."""
        n = len(self.active)
        held = np.empty((n, 0)) if self.held is None else self.held - self.held.mean(axis=0)
        return np.column_stack(
            [np.ones(n), self.baseline - self.baseline.mean(), self.active, held]
        )

    def visit_index(self, visit):
        """Position of a visit."""
        return self.visits.index(visit)


def adjusting(table):
    """Names of the columns that models adjust for beside baseline (`study.adjustment`)."""
    return [name for name in table if str(name).startswith(ADJUST)]


def at_estimable_visits(rows):
    """The rows at visits with two participants of each arm or more: the others tell nothing."""
    counts = rows.dropna().groupby("visit", observed=True)["arm"].value_counts()
    counts = counts.unstack(fill_value=0).reindex(columns=list(ARMS), fill_value=0)
    visits = counts.index[counts.min(axis=1) > 1]
    if not len(visits):
        raise NotComputed("no visit after baseline at which two of each arm were rated")
    rows = rows[rows["visit"].isin(visits)]
    return rows.assign(visit=rows["visit"].cat.remove_unused_categories())


def outcome_table(changes, baselines=None, n_before=None):
    """Put the outcomes of one scale (`with_baseline`) into a table with a row per participant.

    A missing outcome is a visit not rated. ``baselines`` (participant_id, arm, baseline: everyone
    with a baseline) brings in the participants without any later score, who have no row in
    ``changes`` and yet belong to the trial. ``n_before`` (by participant_id) is the number of these
    visits up to an intercurrent event, for those who had one.
    """
    people = _people(changes, baselines)
    wide = changes.pivot(index="participant_id", columns="visit", values="outcome")
    wide = wide.reindex(index=people.index, columns=changes["visit"].cat.categories)
    before = pd.Series(dtype=float) if n_before is None else n_before
    before = before.reindex(people.index).fillna(wide.shape[1])
    return Outcomes(
        participants=people.index.tolist(),
        visits=wide.columns.tolist(),
        active=(people["arm"] == "active").to_numpy(),
        baseline=people["baseline"].to_numpy(float),
        values=wide.to_numpy(float),
        held=people[adjusting(people)].to_numpy(float),
        n_before=before.to_numpy(int),
    )


def with_known_baseline(changes):
    """The rows whose change is known; those without a baseline tell nothing of change."""
    return changes.dropna(subset=["baseline", "outcome"])


def _people(changes, baselines):
    """Arm and baseline by participant_id, sorted."""
    columns = ["participant_id", "arm", "baseline", *adjusting(changes)]
    rows = changes[columns]
    if baselines is not None:
        rows = pd.concat([rows, baselines[columns]])
    return rows.drop_duplicates().set_index("participant_id").sort_index()


def missing_patterns(changes, baselines=None):
    """Count the participants by which visits they were rated at, as `outcome_table` reads them.

    One row a pattern, the most complete first: pattern (text, a 1 or 0 for each of
    :func:`pattern_visits`), n_active, n_control, and missingness: complete, monotone (all visits
    until withdrawal; "none rated" where that was before the first) or intermittent.
    """
    outcomes = outcome_table(_at_rated_visits(changes), baselines)
    rated = np.where(outcomes.observed, "1", "0")
    marks = pd.DataFrame({"pattern": ["".join(row) for row in rated]})
    marks["n_active"], marks["n_control"] = outcomes.active, ~outcomes.active
    table = marks.groupby("pattern", as_index=False)[["n_active", "n_control"]].sum()
    table["missingness"] = [_missingness(pattern) for pattern in table["pattern"]]
    order = table["pattern"].str.count("1")
    table = table.assign(order=order).sort_values(["order", "pattern"], ascending=False)
    return table.drop(columns="order").reset_index(drop=True)


def pattern_visits(changes):
    """The visits of the patterns of :func:`missing_patterns`: those at which anybody was rated.

    place (of the visit in the pattern, from 1) and visit, in order.
    """
    visits = _at_rated_visits(changes)["visit"].cat.categories
    return pd.DataFrame({"place": range(1, len(visits) + 1), "visit": visits})


def _at_rated_visits(changes):
    """The same rows; a visit at which the study did not rate this scale is nobody's gap."""
    rated = changes.dropna(subset=["outcome"])["visit"].cat.remove_unused_categories()
    return changes.drop(columns=adjusting(changes)).assign(
        visit=changes["visit"].cat.set_categories(rated.cat.categories)
    )


def _missingness(pattern):
    if "0" not in pattern:
        return "complete"
    if "1" not in pattern:
        return "none rated"
    return "intermittent" if "01" in pattern else "monotone"


@dataclass(frozen=True)
class _Pattern:
    """Participants of one arm who were rated at the same visits."""

    rows: np.ndarray  # positions of the participants
    seen: np.ndarray  # bool, (n_visits,)
    active: bool


def group_by_pattern(outcomes):
    """Participants who were rated at the same visits, together."""
    keys = np.column_stack([outcomes.active, outcomes.observed])
    found, which = np.unique(keys, axis=0, return_inverse=True)
    which = which.reshape(-1)
    return [
        _Pattern(np.flatnonzero(which == k), seen=key[1:], active=bool(key[0]))
        for k, key in enumerate(found)
    ]
