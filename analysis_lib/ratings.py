"""Participants and clinical scales of a study: read, checked, tidy.

Tables are read as text and then checked by pandera, so that a message can quote what the file
says. Missing is ``n/a``, as in BIDS; an empty cell is an error.
"""

import difflib

import numpy as np
import pandas as pd
import pandera.pandas as pa

from analysis_lib.study import StudyError

ARMS = ("active", "control")
MISSING = "n/a"
SHOWN = 5  # rows quoted for one kind of problem
LEVELS = 8  # a covariate with more words than this is taken for a mistake


def read_participants(study):
    """Read and check participants.tsv.

    Parameters
    ----------
    study : Study

    Returns
    -------
    pandas.DataFrame
        One row a participant, in the file's order: participant_id, arm ("active" or "control"),
        excluded (the reason, or missing), withdrawn_after (a visit, or missing), and all other
        columns of the file; numeric where every value is a number.

    Raises
    ------
    StudyError
        With every problem of the file.
    """
    path = study.root / "participants.tsv"
    arms = {str(getattr(study.arms, arm)): arm for arm in ARMS}
    needed = ["participant_id", study.arms.column, *study.covariates, *study.strata, *study.exclude]
    table = _read_tsv(study, path, needed)
    columns = {
        "participant_id": _text_column(r"^sub-[A-Za-z0-9]+$", "sub- and letters or digits"),
        study.arms.column: _one_of(list(arms), f"one of {' or '.join(arms)}"),
    }
    if "withdrawn_after" in table:
        columns["withdrawn_after"] = _one_of(
            list(study.visits), f"{MISSING} or a visit ({', '.join(study.visits)})", nullable=True
        )
    _check(path, table, pa.DataFrameSchema(columns))
    _refuse_duplicates(path, table, ["participant_id"])
    absent = [value for value in arms if value not in set(table[study.arms.column])]
    if absent:
        problem = f"{study.arms.column}: participants of both arms expected, found none of "
        raise StudyError([f"participants.tsv: {problem}{absent[0]}"])
    return _tidy_participants(study, table.reset_index(drop=True), arms)


def _tidy_participants(study, table, arms):
    fixed = ["participant_id", "arm", "excluded", "withdrawn_after"]
    rest = table.drop(columns=[c for c in [*fixed, study.arms.column] if c in table])
    tidy = pd.DataFrame(
        {
            "participant_id": table["participant_id"],
            "arm": table[study.arms.column].map(arms),
            "excluded": _exclusions(study, table),
            "withdrawn_after": table.get("withdrawn_after", pd.Series(pd.NA, table.index)),
        }
    )
    return tidy.join(rest.apply(_numeric_if_all_are))


def _exclusions(study, table):
    reasons = pd.Series(pd.NA, index=table.index, dtype="object")
    for column, value in study.exclude.items():
        values = {str(v) for v in (value if isinstance(value, list) else [value])}
        unseen = values - set(table[column].dropna())
        if unseen:
            raise StudyError(
                [
                    f"{study.path.name}: exclude: a value of column {column} in participants.tsv "
                    f"expected, found {', '.join(sorted(unseen))}, which nobody has"
                ]
            )
        reasons[table[column].isin(values)] = column
    return reasons


def _numeric_if_all_are(column):
    numbers = pd.to_numeric(column, errors="coerce")
    return column if (numbers.isna() & column.notna()).any() else numbers.astype(float)


def read_scale(study, scale, participants=None):
    """Read and check the scores of one scale.

    Parameters
    ----------
    study : Study
    scale : Scale
    participants : pandas.DataFrame, optional
        From :func:`read_participants`; read again when left out.

    Returns
    -------
    pandas.DataFrame
        One row a participant and visit that the file holds, by participant and visit:
        participant_id, arm, scale, visit, week, score (missing where not rated), and ``item_*``
        where there are any. A total that the file lacks is the sum of the items, missing when an
        item is. Participants that the study excludes are left out.

    Raises
    ------
    StudyError
        With every problem of the file: missing columns, unknown participants or visits, scores
        that are no numbers or out of range, participants rated twice at a visit, totals that are
        not the sum of their items.
    """
    if participants is None:
        participants = read_participants(study)
    path = study.root / scale.file
    table = _read_tsv(study, path, ["participant_id", "session_id"])
    items = [column for column in table if column.startswith("item_")]
    if scale.column not in table and not items:
        raise StudyError([_missing_column(study, path, scale.column, table)])
    visits = [f"ses-{visit}" for visit in [*study.visits, *study.other_sessions]]
    known = f"a session of the study ({', '.join(visits)})"
    columns = {
        "participant_id": _one_of(list(participants["participant_id"]), "in participants.tsv"),
        "session_id": _one_of([*visits, *(v.removeprefix("ses-") for v in visits)], known),
        **{item: _number_column(0, 10) for item in items},
    }
    if scale.column in table:
        columns[scale.column] = _number_column(*scale.range)
    numeric = [column for column in columns if column in (*items, scale.column)]
    table = _check(path, table, pa.DataFrameSchema(columns), numeric)
    table["visit"] = table["session_id"].str.removeprefix("ses-")
    _refuse_duplicates(path, table, ["participant_id", "visit"])
    table["score"] = _total(path, table, scale, items)
    return _tidy_scores(study, scale, table, participants, items)


def _total(path, table, scale, items):
    if not items:
        return table[scale.column]
    total = table[items].sum(axis=1, skipna=False)
    if scale.column not in table:
        low, high = scale.range
        wrong = table.index[total.notna() & ~total.between(low, high)]
        expected = f"items that add up to {low:g} to {high:g}"
        if len(wrong):
            raise StudyError([_problem(path, table, wrong, "item_*", expected, total)])
        return total
    given = table[scale.column]
    wrong = table.index[given.notna() & total.notna() & ~np.isclose(given, total)]
    if len(wrong):
        problem = _problem(path, table, wrong, scale.column, "the sum of item_*", given)
        raise StudyError([problem])
    return given


def _tidy_scores(study, scale, table, participants, items):
    analysed = participants.loc[participants["excluded"].isna(), ["participant_id", "arm"]]
    scores = table[["participant_id", "visit", "score", *items]].merge(analysed, "inner")
    scores = scores[scores["visit"].isin(list(study.visits))]
    scores["visit"] = pd.Categorical(scores["visit"], list(study.visits), ordered=True)
    scores["week"] = scores["visit"].map(study.visits).astype(float)
    scores["scale"] = scale.name
    order = ["participant_id", "arm", "scale", "visit", "week", "score", *items]
    return scores[order].sort_values(["participant_id", "visit"]).reset_index(drop=True)


def read_ratings(study, participants=None):
    """Read every scale of a study.

    Returns
    -------
    pandas.DataFrame
        The rows of :func:`read_scale` for all scales, without items.
    """
    if participants is None:
        participants = read_participants(study)
    tables = [read_scale(study, scale, participants) for scale in study.scales]
    columns = ["participant_id", "arm", "scale", "visit", "week", "score"]
    return pd.concat([table[columns] for table in tables], ignore_index=True)


def problems(study):
    """List what is wrong with participants.tsv and the scales; an empty list if nothing is.

    Returns
    -------
    list of str
    """
    found = []
    try:
        participants = read_participants(study)
    except StudyError as error:
        return error.problems
    for scale in study.scales:
        try:
            read_scale(study, scale, participants)
        except StudyError as error:
            found += error.problems
    return found


def with_baseline(study, ratings):
    """Put each participant's baseline beside the later scores.

    Parameters
    ----------
    study : Study
    ratings : pandas.DataFrame
        From :func:`read_ratings`.

    Returns
    -------
    pandas.DataFrame
        One row a participant, scale and visit after baseline with a score: the columns of
        ``ratings`` and baseline, outcome, kind. Where the scale was rated at baseline, kind is
        "change" and outcome is score - baseline; where no participant was, kind is "value",
        outcome is the score and baseline is that of the primary scale.
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
    """Baseline of everybody who has one, with or without later scores.

    Parameters
    ----------
    study : Study
    ratings : pandas.DataFrame
        From :func:`read_ratings`.
    scale : Scale
        One that was not rated at baseline gets the primary scale's.

    Returns
    -------
    pandas.DataFrame
        participant_id, arm, baseline.
    """
    first = ratings[ratings["visit"] == study.baseline].dropna(subset=["score"])
    own = first[first["scale"] == scale.name]
    rows = own if len(own) else first[first["scale"] == study.primary_scale.name]
    return rows[["participant_id", "arm", "score"]].rename(columns={"score": "baseline"})


def covariate_matrix(participants, names):
    """Covariates as numbers, one row a participant, each column centred.

    Parameters
    ----------
    participants : pandas.DataFrame
        From :func:`read_participants`.
    names : list of str
        Columns to use. A column of words becomes one 0/1 column for each level but the first.

    Returns
    -------
    pandas.DataFrame
        (n_participants, n_columns), index as in ``participants``.

    Raises
    ------
    StudyError
        If a participant lacks a covariate: nothing is filled in.
    """
    chosen = participants[list(names)]
    lacking = chosen.isna().any(axis=1)
    if lacking.any():
        who = ", ".join(participants.loc[lacking, "participant_id"])
        raise StudyError(
            [
                f"participants.tsv: {who}: a value of {', '.join(names)} expected, found "
                f"{MISSING}. Give it, or leave the covariate out of the study file"
            ]
        )
    for name in chosen.select_dtypes(exclude="number"):
        levels = chosen[name].unique()
        if len(levels) > LEVELS:
            raise StudyError(
                [
                    f"participants.tsv: {name}: numbers, or at most {LEVELS} different words, "
                    f"expected, found {len(levels)} ({', '.join(map(str, levels[:SHOWN]))}, ...). "
                    "Is one of them a misspelt number?"
                ]
            )
    if chosen.empty:  # get_dummies needs a column
        return chosen.astype(float)
    numbers = pd.get_dummies(chosen, drop_first=True, dtype=float)
    return numbers - numbers.mean()


def design_columns(study, participants, who):
    """Covariates and randomisation strata of some participants, for a test of the arms.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
    who : sequence of str
        participant_id of those analysed, in the order of their data.

    Returns
    -------
    covariates : pandas.DataFrame
        (n, n_columns), from :func:`covariate_matrix`, centred on these participants.
    blocks : numpy.ndarray or None
        (n,), one text for each stratum; None when the randomisation was not stratified.
    """
    chosen = participants.set_index("participant_id", drop=False).loc[list(who)]
    blocks = None
    if study.strata:
        blocks = chosen[study.strata].astype(str).agg(" / ".join, axis=1).to_numpy()
    return covariate_matrix(chosen, study.covariates), blocks


def improvement(study, scores, visit):
    """Fall of a scale's score from baseline to a visit, points, by participant_id.

    Parameters
    ----------
    study : Study
    scores : pandas.DataFrame
        From :func:`read_scale`.
    visit : str

    Returns
    -------
    pandas.Series
        Positive is better; missing where one of the two scores is.
    """
    wide = scores.pivot(index="participant_id", columns="visit", values="score")
    return wide[study.baseline] - wide[visit]


def _read_tsv(study, path, needed):
    where = path.relative_to(study.root).as_posix()
    if not path.is_file():
        hint = " Simulate it: python -m analysis_lib simulate FOLDER" if study.simulated else ""
        raise StudyError([f"{where}: file expected in {study.root}, found none.{hint}"])
    table = _read_text_table(path, where)
    table.attrs["file"] = where
    missing = [_missing_column(study, path, name, table) for name in needed if name not in table]
    if missing:
        raise StudyError(missing)
    if table.empty:
        raise StudyError([f"{where}: rows expected, found none"])
    return table


def _read_text_table(path, where):
    options = {"dtype": str, "na_values": [MISSING], "keep_default_na": False}
    try:
        table = pd.read_csv(path, sep="\t", skip_blank_lines=False, **options)
        if not isinstance(table.index, pd.RangeIndex):  # pandas takes surplus cells for an index
            raise pd.errors.ParserError("rows with more cells than the header has columns")
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        problem = f"{where}: a table in UTF-8, tabs between columns, expected, found: {error}"
        raise StudyError([problem.strip()]) from None
    return table[(table != "").any(axis=1)]  # blank lines count in row numbers, no further


def _missing_column(study, path, name, table):
    near = difflib.get_close_matches(name, list(table), n=1)
    guess = f"; did you mean '{near[0]}'?" if near else "."
    return (
        f"{path.relative_to(study.root).as_posix()}: column '{name}' expected, "
        f"found {', '.join(table)}{guess} Rename it in the file or in {study.path.name}"
    )


def _text_column(pattern, expected):
    return pa.Column(str, pa.Check.str_matches(pattern, error=expected))


def _one_of(values, expected, nullable=False):
    return pa.Column(str, pa.Check.isin(values, error=expected), nullable=nullable)


def _number_column(low, high):
    check = pa.Check.in_range(low, high, error=f"a number from {low:g} to {high:g}")
    return pa.Column(float, check, nullable=True)


def _check(path, table, schema, numeric=()):
    """Validate a table; raise StudyError with one line for each kind of problem in a column."""
    found = []
    for column in [c for c in table if (table[c] == "").any()]:
        rows = table.index[table[column] == ""]
        found.append(_problem(path, table, rows, column, f"a value or {MISSING}", table[column]))
    numbers = {
        c: pd.to_numeric(table[c].replace("", pd.NA), errors="coerce").astype(float)
        for c in numeric
    }
    for column, values in numbers.items():
        rows = table.index[values.isna() & table[column].notna() & (table[column] != "")]
        if len(rows):
            found.append(_problem(path, table, rows, column, "a number", table[column]))
    checked = table.assign(**numbers)
    try:
        schema.validate(checked, lazy=True)
    except pa.errors.SchemaErrors as errors:
        found += _schema_problems(path, checked, errors.failure_cases)
    if found:
        raise StudyError(dict.fromkeys(found))
    return checked


def _schema_problems(path, table, cases):
    for (column, check), group in cases.groupby(["column", "check"], sort=False):
        expected = "a value" if check == "not_nullable" else check
        yield _problem(path, table, sorted(group["index"]), column, expected, table[column])


def _problem(path, table, rows, column, expected, values):
    """Name file, rows (line numbers of the file), column, what was expected, what was found."""
    quoted = [f"row {i + 2}{_who(table, i)}: {_quote(values[i])}" for i in list(rows)[:SHOWN]]
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    file = table.attrs.get("file", path.name)
    return f"{file}: {column}: {expected} expected, found {'; '.join(quoted)}{more}"


def _who(table, row):
    names = [c for c in ("participant_id", "session_id") if c in table]
    return f" ({', '.join(str(table.loc[row, name]) for name in names)})"


def _quote(value):
    if pd.isna(value):
        return MISSING
    return f"{value:g}" if isinstance(value, float | np.floating) else repr(value)


def _refuse_duplicates(path, table, keys):
    twice = table.index[table.duplicated(keys, keep=False)]
    if len(twice):
        expected = f"each {' and '.join(keys)} once"
        raise StudyError([_problem(path, table, twice, keys[0], expected, table[keys[0]])])
