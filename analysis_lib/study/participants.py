"""Participants of a study: arms, covariates, strata."""

import math

import numpy as np
import pandas as pd

from analysis_lib.results.problems import SHOWN, Listing, Problem, StudyError, caught
from analysis_lib.study.contract import ARMS
from analysis_lib.study.plausible import far_values, number_problems
from analysis_lib.study.pseudonyms import shown_people
from analysis_lib.study.tables import (
    MISSING,
    bare_id,
    cell_problems,
    declared_levels,
    duplicate_problems,
    is_decimal,
    numeric_if_all_are,
    one_of,
    read_tsv,
    sidecar,
    table_problems,
    text_column,
)

FEWEST = 2  # participants of an arm
INFLATED = 5  # variance of the arm's effect, for what the models adjust for
ARRANGEMENTS = 20  # of the arms within strata: with fewer, no p could fall below .05
OUT_OF_MODEL = "take the column out of the model (strata, model in the study file)"
LEVELS = 8  # a covariate with more words than this is taken for a mistake


def read_participants(study):
    """Read and check participants.tsv.

    Parameters
    ----------
    study : Study

    Returns
    -------
    pandas.DataFrame
        One row per participant, in the file's order: participant_id, arm ("active" or "control"),
        excluded (the reason, or missing), withdrawn_after (a visit, or missing), and all other
        columns of the file; numeric where every value is a number.

    Raises
    ------
    StudyError
        With every problem of the file.
    """
    path = study.root / "participants.tsv"
    arms = {str(getattr(study.arms, arm)): arm for arm in ARMS} if study.arms else {}
    of_arm = [study.arms.column] if study.arms else []
    needed = ["participant_id", *of_arm, *study.held_columns, *study.exclude]
    needed += study.not_randomised
    table = read_tsv(study, "participants.tsv", needed)
    own, about = table[aside_rows(study, table).isna()], sidecar(path)
    found = [
        *table_problems(own, _participant_columns(study, own, arms))[1],
        *duplicate_problems(table, ["participant_id"]),
        *_word_problems(study, path, own),
        *number_problems(own, study.numeric_columns, about),
        *_unseen(study, table, "exclude"),
        *_unseen(study, table, "not_randomised"),
        *_estimand_problems(study, own),
    ]
    for column in of_arm:
        absent = [value for value in arms if value not in set(own[column])]
        if absent and not any(problem.place == column for problem in found):
            both, none = "participants of both arms", f"none of {absent[0]}"
            found.append(Problem("participants.tsv", column, both, none))
    if found:
        raise StudyError(found)
    return _tidy_participants(study, table.reset_index(drop=True), arms)


def analysed(participants):
    """Participants whom the study does not exclude."""
    return participants[participants["excluded"].isna()]


def problems(study):
    """List what is wrong with participants.tsv, or odd; an empty list if nothing is."""
    return errors(study) or list(_oddities(study, read_participants(study)))


def errors(study):
    """What is wrong with participants.tsv, without warnings."""
    return caught(_read_model, study)


def _read_model(study):
    """Read participants, and what the models take from them."""
    people = read_participants(study)
    own = analysed(people)
    _refuse_few(study, own["arm"].value_counts())
    adjusted = adjustment(study, people)
    _refuse_few_arrangements(study, own, randomisation_blocks(study, own))
    refuse_tied(study, own["arm"], adjusted)


def _refuse_few(study, counts):
    """Refuse arms that have no spread: too few participants are left to be analysed."""
    n = {getattr(study.arms, arm): counts.get(arm, 0) for arm in ARMS if study.arms}
    if few := [f"{n[name]} of {name}" for name in n if n[name] < FEWEST]:
        expected = f"at least {FEWEST} participants of each arm, to be analysed,"
        found = " and ".join(few)
        raise StudyError(Problem("participants.tsv", study.arms.column, expected, found))


def refuse_tied(study, arms, columns):
    """Refuse columns of the clinical models (from `adjustment`) that leave little of the arm."""
    from voxelperm import variance_inflation  # slow to import

    inflation = variance_inflation(arms.eq("active").to_numpy(float), columns)[0]
    if study.arms and inflation > INFLATED:
        found = "without limit" if np.isinf(inflation) else f"{inflation:.1f}-fold"
        expected = f"columns that leave the arm to be tested (its variance at most {INFLATED}-fold)"
        remedy = f"Leave out what stands for the arm ({', '.join(study.adjusted_for)})"
        raise StudyError(Problem(study.path.name, "strata, model", expected, found, remedy))


def _refuse_few_arrangements(study, people, blocks):
    """Refuse strata within which the arms could hardly have been drawn in another way."""
    if blocks is None or not study.arms:
        return
    active = people["arm"].eq("active").groupby(blocks)
    ways = math.prod(math.comb(n, k) for n, k in zip(active.size(), active.sum(), strict=True))
    if ways < ARRANGEMENTS:
        expected = f"at least {ARRANGEMENTS} ways to draw the arms within strata"
        remedy = f"Do the strata ({', '.join(study.strata)}) tell the arm? Leave out or join some"
        raise StudyError(Problem(study.path.name, "strata", expected, str(ways), remedy))


def _oddities(study, participants):
    """Warnings of numbers that are unlike all others."""
    names = [name for name in study.numeric_columns if name in participants]
    own = analysed(participants)
    own.attrs["file"] = "participants.tsv"
    same = [name for name in names if own[name].nunique() == 1]
    for name in same:
        found = f"{own[name].dropna().iloc[0]} in every row"
        expected, remedy = "values that differ", "Leave it out: it adjusts for nothing"
        yield Problem("participants.tsv", name, expected, found, remedy, warning="alike-covariates")
    yield from far_values(own, names)


def _participant_columns(study, table, arms):
    meant = ["sub-" + bare_id(name) for name in table["participant_id"].dropna()]
    pattern, expected = r"^sub-[A-Za-z0-9]{1,64}$", "sub- and letters or digits"
    columns = {"participant_id": text_column(pattern, expected, meant)}
    if study.arms:
        columns[study.arms.column] = one_of(list(arms), f"one of {' or '.join(arms)}")
    for name in ("withdrawn_after", "treatment_stopped_after"):
        if name in table:
            expected = f"{MISSING} or a visit ({', '.join(study.visits)})"
            columns[name] = one_of(list(study.visits), expected, nullable=True)
    return columns


def _word_problems(study, path, table):
    """Covariates and strata in which one thing is written in several ways."""
    known = declared_levels(path)
    for name in study.held_columns:
        values = table[name][table[name].notna() & table[name].ne("")]
        numbers = pd.to_numeric(values, errors="coerce")
        plain = values.str.strip().str.casefold()
        if name in known:
            wrong = ~values.isin(known[name])
            expected = f"{' or '.join(known[name])}, as participants.json says,"
        elif name in study.numeric_columns and (is_decimal(values) | numbers.notna()).mean() > 0.5:
            wrong, expected = ~np.isfinite(numbers), "a number"
        else:
            wrong, expected = values.groupby(plain).transform("nunique").gt(1), "one spelling"
        rows = wrong.reindex(table.index, fill_value=False)
        yield from cell_problems(table, rows, name, expected, allowed=known.get(name, ()))


def _tidy_participants(study, table, arms):
    fixed = ["participant_id", "arm", "excluded", "withdrawn_after"]
    fixed += [study.arms.column] if study.arms else []
    rest = table.drop(columns=[c for c in fixed if c in table])
    tidy = pd.DataFrame(
        {
            "participant_id": table["participant_id"],
            "arm": _arms(study, table, arms),
            "excluded": excluded_rows(study, table).fillna(aside_rows(study, table)),
            "withdrawn_after": table.get("withdrawn_after", pd.Series(pd.NA, table.index)),
        }
    )
    words = rest.columns.intersection(["treatment_stopped_after", "stopped_because"])
    people = tidy.join(rest.drop(columns=words).apply(numeric_if_all_are)).join(rest[words])
    return shown_people(study, people)


def _unseen(study, table, key):
    """Values that the study file leaves out, and that nobody has."""
    for column, values in _chosen(getattr(study, key)).items():
        unseen = values - set(table[column].dropna())
        if unseen:
            expected = f"a value of column {column} in participants.tsv"
            found = f"{', '.join(sorted(unseen))}, which nobody has"
            yield Problem(study.path.name, key, expected, found)


def _estimand_problems(study, table):
    """Strategies for reasons that nobody has."""
    reasons = {"treatment_stopped", *table.get("stopped_because", pd.Series(dtype=str)).dropna()}
    for name in sorted(set(study.estimand) - reasons):
        expected = f"treatment_stopped, or a reason in stopped_because ({', '.join(reasons)})"
        yield Problem(study.path.name, f"estimand.{name}", expected, name)


def _arms(study, table, arms):
    """The arm of each participant; missing where it is neither of the two."""
    of = table[study.arms.column].map(arms) if study.arms else pd.Series("active", table.index)
    return of.where(aside_rows(study, table).isna())


def aside_rows(study, table):
    """Why a participant has neither of the two arms: another arm, or never randomised."""
    reasons = pd.Series(pd.NA, index=table.index, dtype="object")
    if study.arms:
        arm = table.get(study.arms.column, reasons)
        reasons = reasons.mask(arm.isin(study.arms.left_out), "allocated to " + arm.astype(str))
    for column, values in _chosen(study.not_randomised).items():
        if column in table:
            who = table[column].isin(values)
            reasons = reasons.mask(who, f"not randomised ({column} " + table[column] + ")")
    return reasons


def _chosen(given):
    """Values of participants who are left out, as text, by column."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    return {name: set(map(str, values)) for name, values in lists.items()}


def excluded_rows(study, table):
    """Why each row is left out of the analysis; missing where it is not."""
    reasons = pd.Series(pd.NA, index=table.index, dtype="object")
    for column, values in _chosen(study.exclude).items():
        if column in table:
            reasons[table[column].isin(values)] = column
    return reasons


def intercurrent_events(study, participants):
    """Who stopped treatment, after which visit, why, and by which strategy that is handled.

    treatment_stopped_after, or withdrawn_after where that is all that is known: one row per
    participant analysed who stopped, indexed by participant_id; arm, after, event, strategy.
    """
    own = analysed(participants).set_index("participant_id")
    stopped = own.get("treatment_stopped_after", pd.Series(pd.NA, own.index))
    after = stopped.fillna(own["withdrawn_after"]).dropna()
    reason = own.get("stopped_because", pd.Series(pd.NA, own.index)).reindex(after.index)
    general = study.estimand.get("treatment_stopped", "hypothetical")
    return pd.DataFrame(
        {
            "arm": own["arm"].reindex(after.index),
            "after": after,
            "event": reason.fillna("treatment_stopped"),
            "strategy": [study.estimand.get(r, general) for r in reason.fillna("")],
        }
    )


def covariate_matrix(participants, names):
    """Covariates as numbers, (n_participants, n_columns), each column centred.

    A column of words becomes one 0/1 column for each level but the first. A participant who lacks a
    covariate is a `StudyError`: nothing is filled in.
    """
    _refuse_gaps(participants, names, "leave the covariate out of the study file")
    chosen = participants[list(names)]
    for name in chosen.select_dtypes(exclude="number"):
        levels = chosen[name].unique()
        if len(levels) > LEVELS:
            expected = f"numbers, or at most {LEVELS} different words, expected"
            found = f"{len(levels)} ({', '.join(map(str, levels[:SHOWN]))}, ...)"
            remedy = "Is one of them a misspelt number?"
            raise StudyError(Problem("participants.tsv", name, expected, found, remedy))
    if chosen.empty:  # get_dummies needs a column
        return chosen.astype(float)
    numbers = pd.get_dummies(chosen, drop_first=True, dtype=float)
    return numbers - numbers.mean()


ADJUST = "adjust_"  # begins the names of columns that clinical models adjust for


def adjustment(study, participants) -> pd.DataFrame:
    """Columns that the clinical models adjust for beside baseline: a row per participant analysed.

    A factor becomes a 0/1 column for each level but the most frequent one. Levels with a single
    participant are joined: one alone would determine the estimate of its level.
    A participant who lacks a value is a `StudyError`: nothing is filled in.
    """
    own = analysed(participants).set_index("participant_id", drop=False)
    numbers = covariate_matrix(own, study.model.covariates)
    _refuse_gaps(own, study.model_factors, OUT_OF_MODEL)
    levels = [_indicators(own[name]) for name in study.model_factors]
    columns = pd.concat([numbers, *levels], axis=1)
    return columns.set_axis([f"{ADJUST}{k + 1}" for k in range(columns.shape[1])], axis=1)


def _indicators(values):
    """A column for each level of a factor but the most frequent one."""
    text = values.astype(str)
    alone = text.map(text.value_counts()) == 1
    text = text.mask(alone, "others") if alone.sum() != 1 else text.mask(alone, text.mode()[0])
    return pd.get_dummies(text, dtype=float)[text.value_counts().index[1:]]


def _refuse_gaps(people, names, other):
    """Refuse missing values of columns that a model needs."""
    lacking = people[list(names)].isna().any(axis=1)
    if lacking.any():
        who = Listing(tuple(people.loc[lacking, "participant_id"]))
        expected, remedy = f"a value of {', '.join(names)}", f"Give it, or {other}"
        raise StudyError(Problem("participants.tsv", str(who), expected, MISSING, remedy))


def design_columns(study, participants, who):
    """Covariates and randomisation strata of some participants, for a test of the arms.

    ``who`` are the participant_id of those analysed, in the order of their data. Gives the
    `covariate_matrix` (n, n_columns), centred on these participants, and one text (n,) for each
    stratum, None when the randomisation was not stratified.
    """
    chosen = participants.set_index("participant_id", drop=False).loc[list(who)]
    return covariate_matrix(chosen, study.covariates), (
        randomisation_blocks(study, chosen) if study.model.strata else None
    )


def randomisation_blocks(study, participants):
    """Stratum (n,) of each participant as a text, for a test that draws the arms anew.

    None when the randomisation was not stratified.
    """
    if not study.strata:
        return None
    _refuse_gaps(analysed(participants), study.strata, OUT_OF_MODEL)
    return participants[study.strata].fillna("").astype(str).agg(" / ".join, axis=1).to_numpy()
