"""Participants and clinical scales of a study: read, checked, tidy.

Tables are read as text and then checked by pandera, so that a message can quote what the file
says. Missing is ``n/a``, as in BIDS; an empty cell is an error.
"""

import csv
import difflib
import io
import json
import re

import numpy as np
import pandas as pd
import pandera.pandas as pa

from analysis_lib.study import StudyError

ARMS = ("active", "control")
MISSING = "n/a"
SHOWN = 5  # rows quoted for one kind of problem
LEVELS = 8  # a covariate with more words than this is taken for a mistake
NOT_MISSING = {"na", "nan", "n.a.", "none", "null", "missing", "-", ".", "?"}  # in other programs


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
    found = [
        *_check_problems(path, table, _participant_columns(study, table, arms))[1],
        *_duplicates(path, table, ["participant_id"]),
        *_word_problems(study, path, table),
        *_exclusion_problems(study, table),
    ]
    absent = [value for value in arms if value not in set(table[study.arms.column])]
    if absent and not any(f": {study.arms.column}: " in problem for problem in found):
        problem = f"{study.arms.column}: participants of both arms expected, found none of "
        found.append(f"participants.tsv: {problem}{absent[0]}")
    if found:
        raise StudyError(dict.fromkeys(found))
    return _tidy_participants(study, table.reset_index(drop=True), arms)


def _participant_columns(study, table, arms):
    columns = {
        "participant_id": _text_column(
            r"^sub-[A-Za-z0-9]+$",
            "sub- and letters or digits",
            ["sub-" + _bare(name) for name in table["participant_id"].dropna()],
        ),
        study.arms.column: _one_of(list(arms), f"one of {' or '.join(arms)}"),
    }
    if "withdrawn_after" in table:
        columns["withdrawn_after"] = _one_of(
            list(study.visits), f"{MISSING} or a visit ({', '.join(study.visits)})", nullable=True
        )
    return columns


def _word_problems(study, path, table):
    """Covariates and strata in which one thing is written in several ways."""
    levels = _levels(path)
    for name in dict.fromkeys([*study.covariates, *study.strata]):
        values = table[name][table[name].notna() & table[name].ne("")]
        numbers = pd.to_numeric(values, errors="coerce")
        plain = values.str.strip().str.casefold()
        if name in levels:
            wrong, expected = (
                ~values.isin(levels[name]),
                (f"{' or '.join(levels[name])}, as participants.json says,"),
            )
        elif name in study.covariates and (_is_decimal(values) | numbers.notna()).mean() > 0.5:
            wrong, expected = numbers.isna(), "a number"
        else:
            wrong, expected = values.groupby(plain).transform("nunique").gt(1), "one spelling"
        if wrong.any():
            yield _problem(
                path, table, values.index[wrong], name, expected, values, levels.get(name, ())
            )


def _is_decimal(values):
    return values.str.fullmatch(r"\s*-?\d+,\d+\s*")


def _levels(path):
    """Levels of the columns that the JSON file beside a table describes; none where it has none."""
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return {k: list(map(str, v["Levels"])) for k, v in about.items() if v.get("Levels")}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


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


def _exclusion_problems(study, table):
    for column, values in _excluding(study).items():
        unseen = values - set(table[column].dropna())
        if unseen:
            yield (
                f"{study.path.name}: exclude: a value of column {column} in participants.tsv "
                f"expected, found {', '.join(sorted(unseen))}, which nobody has"
            )


def _excluding(study):
    """Values of participants left out, as text, by column."""
    given = study.exclude.items()
    return {
        k: {str(v) for v in (value if isinstance(value, list) else [value])} for k, value in given
    }


def _exclusions(study, table):
    reasons = pd.Series(pd.NA, index=table.index, dtype="object")
    for column, values in _excluding(study).items():
        if column in table:
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
    columns = _scale_columns(study, scale, table, participants, items)
    numeric = [column for column in columns if column in (*items, scale.column)]
    table, found = _check_problems(path, table, columns, numeric)
    table["visit"] = table["session_id"].str.removeprefix("ses-")
    found += _duplicates(path, table, ["participant_id", "visit"])
    table["score"], wrong = _total(path, table, scale, items)
    if found := found + wrong:
        raise StudyError(dict.fromkeys(found))
    return _tidy_scores(study, scale, table, participants, items)


def _scale_columns(study, scale, table, participants, items):
    visits = [f"ses-{visit}" for visit in [*study.visits, *study.other_sessions]]
    known = f"a session of the study ({', '.join(visits)})"
    columns = {
        "participant_id": _one_of(list(participants["participant_id"]), "in participants.tsv"),
        "session_id": _one_of([*visits, *(v.removeprefix("ses-") for v in visits)], known),
        **{item: _number_column(0, 10) for item in items},
    }
    if scale.column in table:
        columns[scale.column] = _number_column(*scale.range)
    return columns


def _total(path, table, scale, items):
    """Total of each row, and what is wrong with those that can be compared with items or range."""
    if not items:
        return table[scale.column], []
    total = table[items].sum(axis=1, skipna=False)
    if scale.column not in table:
        low, high = scale.range
        wrong = table.index[total.notna() & ~total.between(low, high)]
        expected = f"items that add up to {low:g} to {high:g}"
        return total, _problem_if_any(path, table, wrong, "item_*", expected, total)
    given = table[scale.column]
    wrong = table.index[given.notna() & total.notna() & ~np.isclose(given, total)]
    return given, _problem_if_any(path, table, wrong, scale.column, "the sum of item_*", given)


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
    found, rated, participants = [], set(), provisional_participants(study)
    try:
        read_participants(study)
    except StudyError as error:
        found += error.problems
        if not study.root.is_dir():
            return found
    for scale in study.scales:
        try:
            people = _named_in(study, scale) if participants is None else participants
            found += _unrated(study, scale, people)
            scores = read_scale(study, scale, people).dropna(subset=["score"])
        except StudyError as error:
            found += error.problems
            continue
        rated |= set(scores["participant_id"])
        if scale.primary and study.baseline not in set(scores["visit"]):
            found.append(f"{scale.file}: scores at ses-{study.baseline} expected, found none")
    return [*found, *_covariate_gaps(study, participants, rated)]


def provisional_participants(study):
    """Participants as far as they can be told, for checks of what refers to them.

    Parameters
    ----------
    study : Study

    Returns
    -------
    pandas.DataFrame or None
        As from :func:`read_participants` where participants.tsv has no problem. Else one row for
        each participant_id, as it should be written; arm is missing. None where there is no table.
    """
    try:
        return read_participants(study)
    except StudyError:
        pass
    try:
        table = _read_tsv(study, study.root / "participants.tsv", ["participant_id"])
    except StudyError:
        return None
    table["participant_id"] = "sub-" + table["participant_id"].fillna("").map(_bare)
    table = table.drop_duplicates("participant_id").reset_index(drop=True)
    left = table.get("withdrawn_after", pd.Series(pd.NA, table.index)).replace("", pd.NA)
    people = pd.DataFrame(
        {
            "participant_id": table["participant_id"],
            "arm": pd.NA,
            "excluded": _exclusions(study, table),
            # a visit that cannot be told excuses the same as the first one
            "withdrawn_after": left.where(left.isna() | left.isin(study.visits), study.baseline),
        }
    )
    rest = table.drop(columns=[*people.columns.intersection(table.columns)])
    return people.join(rest.apply(_numeric_if_all_are))


def _bare(text):
    """A participant or session without prefix, as written where nothing is wrong with it."""
    return re.sub(r"(?i)^s(?:ub|es)-", "", text.strip())


def _named_in(study, scale):
    """Those whom the scale's own table names, where participants.tsv cannot tell who took part."""
    table = _read_tsv(study, study.root / scale.file, ["participant_id", "session_id"])
    names = table["participant_id"].dropna().unique()
    return pd.DataFrame({"participant_id": names, "arm": pd.NA, "excluded": pd.NA})


def _unrated(study, scale, participants):
    """Participants of whom a scale's table has no row, however their names are written."""
    table = _read_tsv(study, study.root / scale.file, ["participant_id"])
    named = set(table["participant_id"].dropna().map(_plain))
    analysed = participants.loc[participants["excluded"].isna(), "participant_id"]
    absent = [who for who in analysed if _plain(who) not in named]
    if absent:
        yield (
            f"{scale.file}: a row of every participant expected, found none of {_some(absent)}. "
            f"Add them; of a participant who was never rated, one with {MISSING}"
        )


def _covariate_gaps(study, participants, rated):
    """Covariates that participants who were rated lack; a gap of others does not matter."""
    if participants is None:
        return
    people = participants[participants["excluded"].isna()]
    people = people[people["participant_id"].isin(rated)]
    for name in [name for name in study.covariates if name in people]:
        absent = people.loc[people[name].isna(), "participant_id"]
        if len(absent):
            yield (
                f"participants.tsv: {name}: a value for everybody expected, found {MISSING} of "
                f"{_some(absent)}. Give it, or take {name} out of covariates in {study.path.name}"
            )


def _some(names):
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


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
    return covariate_matrix(chosen, study.covariates), randomisation_blocks(study, chosen)


def randomisation_blocks(study, participants):
    """Stratum of each participant, for a test that draws the arms anew.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`read_participants`.

    Returns
    -------
    numpy.ndarray or None
        (n,), one text for each stratum; None when the randomisation was not stratified.
    """
    if not study.strata:
        return None
    return participants[study.strata].astype(str).agg(" / ".join, axis=1).to_numpy()


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
        rows = "participant" if path.name == "participants.tsv" else "participant and visit"
        raise StudyError([f"{where}: rows expected, one a {rows}, found none. Fill it in"])
    return table


def _read_text_table(path, where):
    options = {"dtype": str, "na_values": [MISSING], "keep_default_na": False}
    try:
        text = path.read_bytes().decode("utf-8-sig")
        _check_cells(text)
        table = pd.read_csv(io.StringIO(text), sep="\t", skip_blank_lines=False, **options)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        problem = f"{where}: a table in UTF-8, tabs between columns, expected, found: {error}"
        raise StudyError([f"{problem.strip()}{_how_to_save(path, error)}"]) from None
    return table[(table != "").any(axis=1)]  # blank lines count in row numbers, no further


def _check_cells(text):
    """Refuse a first line that is not one of names with tabs between, and surplus cells."""
    header, *rows = csv.reader(io.StringIO(text), delimiter="\t") if text else [[]]
    other = {",": "commas", ";": "semicolons"}
    if len(header) == 1 and (found := [word for c, word in other.items() if c in header[0]]):
        raise pd.errors.ParserError(f"{' and '.join(found)} between columns")
    nameless = [str(k) for k, name in enumerate(header, 1) if not name.strip()]
    if nameless and len(header) > 1:
        where = f"no name over column {', '.join(nameless)}"
        raise pd.errors.ParserError(f"{where}. Delete the column, if it is empty, or name it")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice and header != [""]:
        raise pd.errors.ParserError(f"two columns named {', '.join(twice)}. Keep one")
    longer = [str(k) for k, row in enumerate(rows, 2) if len(row) > len(header) and any(row)]
    if longer:
        raise pd.errors.ParserError(
            f"rows with more cells than the header has columns ({len(header)}): row "
            f"{_some(longer)}. Delete what lies to the right of the table"
        )


def _how_to_save(path, error):
    """What to do about a file of another kind, which its first bytes tell."""
    start = path.read_bytes()[:2]
    if start in (b"PK", b"\xd0\xcf"):
        return ". It is a spreadsheet: save it as text, tab-delimited, UTF-8"
    if start in (b"\xff\xfe", b"\xfe\xff"):
        return ". It is in UTF-16: save it as UTF-8"
    other = isinstance(error, UnicodeDecodeError) or "between columns" in str(error)
    return ". Save it as text, tab-delimited, UTF-8" if other else ""


def _missing_column(study, path, name, table):
    near = difflib.get_close_matches(name, list(table), n=1)
    guess = f"; did you mean '{near[0]}'?" if near else "."
    return (
        f"{path.relative_to(study.root).as_posix()}: column '{name}' expected, "
        f"found {', '.join(table)}{guess} Rename it in the file or in {study.path.name}"
    )


def _text_column(pattern, expected, meant=()):
    check = pa.Check.str_matches(pattern, error=expected)
    return pa.Column(str, check, metadata={"values": [m for m in meant if re.match(pattern, m)]})


def _one_of(values, expected, nullable=False):
    check = pa.Check.isin(values, error=expected)
    return pa.Column(str, check, nullable=nullable, metadata={"values": list(values)})


def _number_column(low, high):
    check = pa.Check.in_range(low, high, error=f"a number from {low:g} to {high:g}")
    return pa.Column(float, check, nullable=True)


def _check(path, table, schema, numeric=()):
    """Validate a table; raise StudyError with one line for each kind of problem in a column."""
    checked, found = _check_problems(path, table, schema.columns, numeric)
    if found:
        raise StudyError(dict.fromkeys(found))
    return checked


def _check_problems(path, table, columns, numeric=()):
    """The table with numbers for text, and a line for each kind of problem in a column."""
    found = []
    for column in [c for c in table if (table[c] == "").any()]:
        rows = table.index[table[column] == ""]
        required = column in columns and not columns[column].nullable
        expected = "a value" if required else f"a value or {MISSING}"
        found.append(_problem(path, table, rows, column, expected, table[column]))
    numbers = {
        c: pd.to_numeric(table[c].replace("", pd.NA), errors="coerce").astype(float)
        for c in numeric
    }
    for column, values in numbers.items():
        rows = table.index[values.isna() & table[column].notna() & (table[column] != "")]
        found += _problem_if_any(path, table, rows, column, "a number", table[column])
    checked = table.assign(**numbers)
    try:
        pa.DataFrameSchema(columns).validate(checked, lazy=True)
    except pa.errors.SchemaErrors as errors:
        told = errors.failure_cases["failure_case"].map(lambda value: value == "")
        found += _schema_problems(path, checked, errors.failure_cases[~told], columns, table)
    return checked, list(dict.fromkeys(found))


def _schema_problems(path, table, cases, columns, text):
    for (column, check), group in cases.groupby(["column", "check"], sort=False):
        expected = "a value" if check == "not_nullable" else check
        rows = sorted(group["index"])
        if check == "not_nullable":  # what is no number has been told; so has an empty cell
            rows = [row for row in rows if pd.isna(text.loc[row, column])]
        if rows:
            allowed = columns[column].metadata or {}
            known = allowed.get("values", ())
            yield _problem(path, table, rows, column, expected, table[column], known)


def _problem_if_any(path, table, rows, column, expected, values):
    return [_problem(path, table, rows, column, expected, values)] if len(rows) else []


def _problem(path, table, rows, column, expected, values, allowed=()):
    """Name file, rows (line numbers of the file), column, what was expected, what was found."""
    rows = list(rows)
    file = table.attrs.get("file", path.name)
    found = _rows_text(table, rows, values)
    return f"{file}: {column}: {expected} expected, found {found}{_hint(values[rows], allowed)}"


def _rows_text(table, rows, values):
    alike = {_quote(value) for value in values[rows]}
    if len(rows) == len(table) > SHOWN and len(alike) == 1:
        return f"{alike.pop()} in every row"
    quoted = [f"row {i + 2}{_who(table, i)}: {_quote(values[i])}" for i in rows[:SHOWN]]
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f"{'; '.join(quoted)}{more}"


def _hint(values, allowed):
    """What to write instead, where the values tell what was meant."""
    texts = [value for value in values.dropna().unique() if isinstance(value, str)]
    hints = []
    if any(text.strip().casefold() in NOT_MISSING for text in texts):
        hints.append(f". Missing is written {MISSING}")
    if any(_is_decimal(pd.Series(texts, dtype=str))):
        hints.append(". Write a decimal point, not a comma")
    meant = {_plain(value): value for value in reversed([str(value) for value in allowed])}
    near = list(dict.fromkeys(meant[_plain(text)] for text in texts if _plain(text) in meant))
    if near and not hints:
        more = " and so on" if len(near) > 2 else ""
        hints.append(f"; did you mean {' or '.join(map(repr, near[:2]))}{more}?")
    return "".join(hints)


def _plain(text):
    """What is left of a word without capitals, spaces, hyphens, prefix and leading zeros."""
    return re.sub(r"[\s_-]+", "", _bare(text)).casefold().lstrip("0")


def _who(table, row):
    names = [c for c in ("participant_id", "session_id") if c in table]
    return f" ({', '.join(str(table.loc[row, name]) for name in names)})"


def _quote(value):
    if pd.isna(value):
        return MISSING
    return f"{value:g}" if isinstance(value, float | np.floating) else repr(value)


def _refuse_duplicates(path, table, keys):
    if found := _duplicates(path, table, keys):
        raise StudyError(found)


def _duplicates(path, table, keys):
    twice = table.index[table.duplicated(keys, keep=False) & table[keys].notna().all(axis=1)]
    expected = f"each {' and '.join(keys)} once"
    return _problem_if_any(path, table, twice, keys[0], expected, table[keys[0]])
