"""Clinical scales of a study: read, checked, tidy."""

import numpy as np
import pandas as pd

from analysis_lib.results.problems import CompendiumError, Listing, Problem, StudyError, caught
from analysis_lib.study.items import item_columns, item_maxima
from analysis_lib.study.participants import analysed, aside_rows, excluded_rows, read_participants
from analysis_lib.study.participants import errors as participant_errors
from analysis_lib.study.tables import (
    MISSING,
    bare_id,
    cell_problems,
    duplicate_problems,
    missing_column,
    number_column,
    numeric_if_all_are,
    one_of,
    plain_number,
    read_tsv,
    table_problems,
)
from analysis_lib.study.visit_days import visit_days, visit_order


def read_scale(study, scale, participants=None):
    """Read and check the scores of one scale.

    One row a participant and visit that the file holds, by participant and visit: participant_id,
    arm, scale, visit, week, score (missing where not rated), prorated (from incomplete items), and
    ``item_*`` where there are any. A total that is missing is the sum of the items; with as many
    items missing as `prorate_at_most` allows, their mean times the number of items, rounded; else
    it stays missing. Participants that the study excludes are left out. A `StudyError` has every
    problem of the file: missing columns, unknown participants or visits, scores that are no numbers
    or out of range, participants rated twice at a visit, totals that are not the sum of their
    items; of the primary scale, no score at baseline.
    """
    if participants is None:
        participants = read_participants(study)
    table = read_tsv(study, scale.file, ["participant_id", "session_id"])
    items = item_columns(table)
    if scale.column not in table and not items:
        raise StudyError(missing_column(study, scale.column, table))
    columns = _scale_columns(study, scale, table, participants, items)
    numeric = [column for column in columns if column in (*items, scale.column)]
    table, found = table_problems(table, columns, numeric)
    table["visit"] = table["session_id"].str.removeprefix("ses-")
    found += duplicate_problems(table, ["participant_id", "visit"])
    table["score"], wrong = _total(table, scale, items)
    given = table.get(scale.column, pd.Series(np.nan, table.index))
    table["prorated"] = given.isna() & table["score"].notna() & table[items].isna().any(axis=1)
    if found := found + wrong:
        raise StudyError(found)
    scores = _tidy_scores(study, scale, table, participants, items)
    rated = scores.loc[scores["score"].notna(), "visit"]
    if scale.primary and study.baseline not in set(rated):
        raise StudyError(Problem(scale.file, "", f"scores at ses-{study.baseline}", "none"))
    return scores


def _scale_columns(study, scale, table, participants, items):
    visits = [f"ses-{visit}" for visit in [*study.visits, *study.other_sessions]]
    known = f"a session of the study ({', '.join(visits)})"
    columns = {
        "participant_id": one_of(list(participants["participant_id"]), "in participants.tsv"),
        "session_id": one_of([*visits, *(v.removeprefix("ses-") for v in visits)], known),
        **{item: number_column(0, high) for item, high in item_maxima(scale, items).items()},
    }
    if scale.column in table:
        columns[scale.column] = number_column(*scale.range)
    return columns


def _total(table, scale, items):
    """Total of each row, and what is wrong with those that can be compared with items or range."""
    if not items:
        return table[scale.column], []
    total = table[items].sum(axis=1, skipna=False)
    given = table.get(scale.column, pd.Series(np.nan, table.index))
    wrong = given.notna() & total.notna() & ~np.isclose(given, total)
    found = cell_problems(table, wrong, scale.column, "the sum of item_*", given)
    low, high = scale.range
    wrong = given.isna() & total.notna() & ~total.between(low, high)
    expected = f"items that add up to {low:g} to {high:g}"
    found += cell_problems(table, wrong, "item_*", expected, total)
    return given.fillna(total).fillna(prorated(scale, table[items])), found


def prorated(scale, items):
    """Totals of rows that lack as few items as the scale's rule allows: mean times their number."""
    lacking = items.isna().sum(axis=1)
    few = lacking.between(1, min(scale.prorate_at_most, items.shape[1] - 1))
    return (items.mean(axis=1) * items.shape[1]).round().where(few)


def total_counts(study, participants):
    """How totals came about, of scales with items: one row per scale.

    scale, n_items, n_totals, n_prorated (from incomplete items), n_lost (an item is missing, and no
    total was given), prorate_at_most.
    """
    return _counts((scale, read_scale(study, scale, participants)) for scale in study.scales)


def _counts(read):
    rows = []
    for scale, table in read:
        items = table[item_columns(table)]
        lacking, rated = items.isna().any(axis=1), items.notna().any(axis=1)
        row = {
            "scale": scale.name,
            "n_items": items.shape[1],
            "n_totals": int(table["score"].notna().sum()),
            "n_prorated": int(table["prorated"].sum()),
            "n_lost": int((lacking & rated & table["score"].isna()).sum()),
            "prorate_at_most": scale.prorate_at_most,
        }
        rows += [row] if row["n_items"] else []
    return pd.DataFrame(rows, columns=TOTALS)


TOTALS = ["scale", "n_items", "n_totals", "n_prorated", "n_lost", "prorate_at_most"]


def _lost_totals(study, read):
    """A warning for totals that are missing because an item is."""
    for row in _counts(read).itertuples():
        if row.n_lost:
            scale = next(scale for scale in study.scales if scale.name == row.scale)
            text = f"{row.n_lost} totals of {row.scale} are missing because an item is missing"
            remedy = (
                f"prorate_at_most: N in {study.path.name} gives totals with up to N items missing: "
                "the mean of the others times the number of items"
            )
            yield Problem(scale.file, "", text=text, remedy=remedy, warning="lost-totals")


def _tidy_scores(study, scale, table, participants, items):
    arms = analysed(participants)[["participant_id", "arm"]]
    scores = table[["participant_id", "visit", "score", "prorated", *items]].merge(arms, "inner")
    scores = scores[scores["visit"].isin(list(study.visits))]
    scores["visit"] = pd.Categorical(scores["visit"], list(study.visits), ordered=True)
    scores["week"] = scores["visit"].map(study.visits).astype(float)
    scores["scale"] = scale.name
    order = ["participant_id", "arm", "scale", "visit", "week", "score", "prorated", *items]
    return scores[order].sort_values(["participant_id", "visit"]).reset_index(drop=True)


def read_ratings(study, participants=None):
    """Read every scale of a study: the rows of :func:`read_scale`, without items."""
    if participants is None:
        participants = read_participants(study)
    tables = [read_scale(study, scale, participants) for scale in study.scales]
    columns = ["participant_id", "arm", "scale", "visit", "week", "score"]
    return pd.concat([table[columns] for table in tables], ignore_index=True)


def problems(study):
    """List what is wrong with participants.tsv and the scales; an empty list if nothing is."""
    found, rated, read = participant_errors(study), set(), []
    if not found:
        found = caught(visit_days, study, read_participants(study))
    if found and not study.root.is_dir():
        return found
    participants = provisional_participants(study)
    for scale in study.scales:
        try:
            people = _named_in(study, scale) if participants is None else participants
            found += _unrated(study, scale, people)
            read.append((scale, read_scale(study, scale, people)))
            scores = read[-1][1].dropna(subset=["score"])
        except CompendiumError as error:
            found += error.problems
            continue
        rated |= set(scores["participant_id"])
        if len(scores) > 1 and scores["score"].nunique() == 1:
            always = f"{scores['score'].iloc[0]:g} in every row"
            found.append(Problem(scale.file, scale.column, "scores that differ", always, COPIED))
    if not found:
        found += [*visit_order(study, participants), *_lost_totals(study, read)]
        found += [problem for one in read for problem in _reversed_visits(study, *one)]
    return [*found, *_covariate_gaps(study, participants, rated)]


COPIED = "Was one cell copied down? Give the scores"


def _reversed_visits(study, scale, scores):
    """A warning for each participant whose scores look as if their visits were in reverse order.

    They begin lower, or higher, than others and move against them (five robust standard deviations
    in all, at least 1.5 each); the other way round, both are as usual (within 2.5).
    """
    wide = scores.pivot(index="participant_id", columns="visit", values="score")
    wide = wide.reindex(columns=list(study.visits)).astype(float)
    first, last = wide[study.baseline], wide.ffill(axis=1).iloc[:, -1]
    change = last - first
    side = np.sign(change.median())
    begins, moves = side * _z(first, first), -side * _z(change, change)
    odd = (begins > 1.5) & (moves > 1.5) & (begins + moves > 5)
    odd &= (_z(last, first).abs() < 2.5) & (_z(-change, change).abs() < 2.5)
    for who in wide.index[odd]:
        text = f"scores of {who} look as if the visits were in reverse order"
        said = ", ".join(f"{v:g}" for v in wide.loc[who].dropna())
        remedy = "Compare with the source"
        yield Problem(
            scale.file, "session_id", text=f"{text}: {said}", remedy=remedy, warning="visit-order"
        )


def _z(values, usual):
    """Distance from the median of usual values, in robust standard deviations."""
    apart = (usual - usual.median()).abs().median()
    return (values - usual.median()) / (1.4826 * apart if apart else np.nan)


def provisional_participants(study):
    """Participants as far as they are readable, for checks of what refers to them.

    As from `read_participants` where participants.tsv has no problem. Else one row for each
    participant_id, as it should be written; arm is missing. None where there is no table.
    """
    try:
        return read_participants(study)
    except CompendiumError:
        pass
    try:
        table = read_tsv(study, "participants.tsv", ["participant_id"])
    except CompendiumError:
        return None
    table["participant_id"] = "sub-" + table["participant_id"].fillna("").map(bare_id)
    table = table.drop_duplicates("participant_id").reset_index(drop=True)
    left = table.get("withdrawn_after", pd.Series(pd.NA, table.index)).replace("", pd.NA)
    people = pd.DataFrame(
        {
            "participant_id": table["participant_id"],
            "arm": pd.NA,
            "excluded": excluded_rows(study, table).fillna(aside_rows(study, table)),
            # an unknown visit excuses as much as the first one
            "withdrawn_after": left.where(left.isna() | left.isin(study.visits), study.baseline),
        }
    )
    rest = table.drop(columns=[*people.columns.intersection(table.columns)])
    return people.join(rest.apply(numeric_if_all_are))


def _named_in(study, scale):
    """Those whom the scale's own table names, where participants.tsv cannot tell who took part."""
    table = read_tsv(study, scale.file, ["participant_id", "session_id"])
    names = table["participant_id"].dropna().unique()
    return pd.DataFrame({"participant_id": names, "arm": pd.NA, "excluded": pd.NA})


def _unrated(study, scale, participants):
    """Participants of whom a scale's table has no row, however their names are written."""
    table = read_tsv(study, scale.file, ["participant_id"])
    named = set(table["participant_id"].dropna().map(plain_number))
    people = analysed(participants)["participant_id"]
    absent = [who for who in people if plain_number(who) not in named]
    if absent:
        found = Listing(tuple(absent), "none of {}")
        remedy = f"Add them; of a participant who was never rated, one with {MISSING}"
        yield Problem(scale.file, "", "a row of every participant", found, remedy)


def _covariate_gaps(study, participants, rated):
    """Covariates missing in rated participants; gaps in others do not matter."""
    if participants is None:
        return
    people = analysed(participants)
    people = people[people["participant_id"].isin(rated)]
    for name in [name for name in study.covariates if name in people]:
        absent = people.loc[people[name].isna(), "participant_id"]
        if len(absent):
            found = Listing(tuple(absent), f"{MISSING} of {{}}")
            remedy = f"Give it, or take {name} out of covariates in {study.path.name}"
            yield Problem("participants.tsv", name, "a value for every participant", found, remedy)


def with_baseline(study, ratings):
    """Put each participant's baseline beside the later scores (`read_ratings`).

    One row a participant, scale and visit after baseline with a score: the columns of ``ratings``
    and baseline, outcome, kind. Where the scale was rated at baseline, kind is "change" and outcome
    is score - baseline; where no participant was, kind is "value", outcome is the score and
    baseline is that of the primary scale.
    """
    first = ratings[ratings["visit"] == study.baseline].set_index("participant_id")
    tables = []
    for scale in study.scales:
        rows = ratings[(ratings["scale"] == scale.name) & (ratings["visit"] != study.baseline)]
        own = first.loc[first["scale"] == scale.name, "score"].dropna()
        primary = first.loc[first["scale"] == study.primary_scale.name, "score"]
        kind = "change" if len(own) else "value"
        baseline = rows["participant_id"].map(own if len(own) else primary)
        outcome = rows["score"] - baseline if len(own) else rows["score"]
        tables.append(rows.assign(baseline=baseline, outcome=outcome, kind=kind))
    table = pd.concat(tables, ignore_index=True).dropna(subset=["score"])
    table["visit"] = table["visit"].cat.remove_categories([study.baseline])
    return table.reset_index(drop=True)


def baseline_scores(study, ratings, scale):
    """Baseline of everybody who has one (participant_id, arm), with or without later scores.

    A scale that was not rated at baseline gets the primary scale's.
    """
    first = ratings[ratings["visit"] == study.baseline].dropna(subset=["score"])
    own = first[first["scale"] == scale.name]
    rows = own if len(own) else first[first["scale"] == study.primary_scale.name]
    return rows[["participant_id", "arm", "score"]].rename(columns={"score": "baseline"})


def improvement(study, scores, visit):
    """Fall of a scale's score from baseline to a visit, points, by participant_id.

    A rise where higher is better: positive is better. Missing where one of the two scores is.
    """
    wide = scores.pivot(index="participant_id", columns="visit", values="score")
    wide = wide.reindex(columns=[study.baseline, visit])
    gain = next((s.gain for s in study.scales if s.name in set(scores["scale"])), -1)
    return gain * (wide[visit] - wide[study.baseline])


def improvement_at_scan(study, who, scale=None):
    """Fall of a scale's score from baseline to the second imaging session, points.

    Parameters
    ----------
    study : Study
    who : sequence of str
        participant_id of those wanted, in this order.
    scale : optional
        One of ``study.scales``; default: the primary one.

    Returns
    -------
    pandas.Series
        By participant_id, see :func:`improvement`.
    """
    scores = read_scale(study, scale or study.primary_scale, read_participants(study))
    return improvement(study, scores, study.imaging.sessions.post).reindex(who)
