"""From a table and a formula to the numbers of a fit."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from formulaic import Formula

from trialmmrm.checks import (
    check_columns,
    check_factors,
    check_finite,
    check_keys,
    check_numbers,
    is_number,
)


@dataclass(frozen=True)
class Design:
    """What a formula makes of a table."""

    used: pd.DataFrame  # the complete rows, factors as categoricals
    x: pd.DataFrame  # (n_rows, q)
    y: np.ndarray  # (n_rows,)
    spec: object  # formulaic's ModelSpec of the right-hand side
    outcome: str
    subject: str
    visit: str
    visits: list
    factors: dict  # variable to levels, including the visit where the formula has it
    numbers: list  # numeric variables
    rows: np.ndarray  # (n_participants, n_visits), row of x or -1
    n_dropped: int
    notes: tuple
    index: pd.Index  # of the rows used, as in the data
    ordered: bool  # whether the order of visits is known


def read_design(data, formula, subject, visit):
    """Check the data, leave out incomplete rows and build the design matrix.

    Parameters
    ----------
    data, formula, subject, visit
        As in :func:`trialmmrm.fit_mmrm`.

    Returns
    -------
    Design

    Raises
    ------
    ValueError
        The data cannot answer; see :func:`trialmmrm.fit_mmrm`.
    TypeError
        ``data`` is not a DataFrame.
    """
    left, right = _parse(formula, data)
    variables = sorted(left | right)
    check_columns(data, variables, subject, visit)
    outcome = sorted(left)[0]
    table = data[list(dict.fromkeys([*variables, subject, visit]))].reset_index(drop=True)
    check_keys(table, subject, visit)
    table = _as_factors(table, {v for v in variables if not is_number(table[v])}, visit)
    check_numbers(table, outcome, variables)
    used, notes = _complete(table, variables, subject, visit)
    visits = list(used[visit].cat.categories)
    matrices = Formula(formula).get_model_matrix(used, na_action="raise")
    spec = matrices.rhs.model_spec
    factors = _factors(spec, used)
    y = matrices.lhs.to_numpy(float)[:, 0]
    check_finite(matrices)
    check_factors(used, spec, factors, y, subject, visit)
    rows = _row_numbers(used, subject, visit)
    numbers = [v for v in sorted(right) if v not in factors and is_number(used[v])]
    dropped, index = len(table) - len(used), data.index[used.index]
    given = isinstance(data[visit].dtype, pd.CategoricalDtype)
    return Design(
        used, matrices.rhs, y, spec, outcome, subject, visit, visits, factors, numbers, rows,
        dropped, notes, index, given or in_known_order(visits),
    )  # fmt: skip


def _parse(formula, data):
    """Variables on the left and on the right of the tilde."""
    parsed = Formula(formula)
    left, right = getattr(parsed, "lhs", None), getattr(parsed, "rhs", None)
    if left is None or right is None or len(list(left)) != 1 or not list(right):
        raise ValueError(
            f"formula {formula!r}: one outcome, a tilde and terms expected, such as "
            "'change ~ baseline*visit + arm*visit'"
        )
    return _variables(left, data), _variables(right, data)


def _variables(side, data):
    """Variables of one side; formulaic 1.2 overlooks those inside center() and scale()."""
    words = {word for term in side for f in term.factors for word in re.findall(r"\w+", f.expr)}
    return {str(v) for v in side.required_variables} | (words & set(getattr(data, "columns", ())))


def _as_factors(table, names, visit):
    """Strings, booleans and the visit as categoricals; levels sorted where there is no order."""
    new = {}
    for name in names | {visit}:
        column = table[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            continue
        try:
            levels = sorted(column.dropna().unique(), key=_natural if name == visit else None)
        except TypeError:
            kinds = sorted({type(value).__name__ for value in column.dropna()})
            raise ValueError(
                f"column {name!r} mixes {' and '.join(kinds)}, which have no order: write all the "
                "same way, or make it a pandas categorical"
            ) from None
        new[name] = pd.Categorical(column, levels)
    return table.assign(**new)


def _natural(level):
    """Words sorted with the numbers in them as numbers: week2 before week12."""
    if not isinstance(level, str):
        return level
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", level)]


def in_known_order(visits):
    """Whether visits are numbers, or words that differ in one number alone."""
    stems = {re.sub(r"\d+", "", v, count=1) for v in visits if isinstance(v, str)}
    return len(stems) <= 1


def _complete(table, variables, subject, visit):
    """Rows without a missing value, and notes on what was left out; unused levels removed."""
    used = table[table[variables].notna().all(axis=1)]
    missing = {v: int(n) for v, n in table[variables].isna().sum().items() if n}
    words = ", ".join(f"{n} without {v}" for v, n in missing.items())
    gone = table[subject].nunique() - used[subject].nunique()
    people = f"; participants without a complete row: {gone}" if gone else ""
    notes = [f"{len(table) - len(used)} rows left out ({words}){people}"] if missing else []
    if used.empty:
        raise ValueError(f"no row is complete: of {len(table)} rows, {words}")
    unused = {}
    for name in table.columns:
        if name == subject or not isinstance(table[name].dtype, pd.CategoricalDtype):
            continue
        present, declared = set(used[name].unique()), table[name].cat.categories
        lost = [level for level in declared if level in set(table[name]) - present]
        if lost:
            raise ValueError(_lost_level(name, lost, name == visit, words))
        unused[name] = [level for level in declared if level not in present]
    notes += [f"{n}: no rows for {', '.join(map(str, lv))}" for n, lv in unused.items() if lv]
    used = used.assign(**{n: used[n].cat.remove_unused_categories() for n in unused})
    return used, tuple(notes)


def _lost_level(name, levels, is_visit, words):
    """The message on levels whose rows are all incomplete."""
    levels = ", ".join(map(repr, levels))
    what = "nobody was rated at" if is_visit else "nobody is left with"
    return (
        f"column {name!r}: {what} {levels} (rows left out: {words}). Take these rows out of the "
        "data before the fit, or complete them"
    )


def _factors(spec, used):
    """Variables that the formula takes as factors, with their levels, the reference first."""
    factors = {}
    for factor, contrasts in spec.factor_contrasts.items():
        names = [str(v) for v in spec.factor_variables[factor] if str(v) in used]
        factors |= {name: list(contrasts.levels) for name in names}
    return factors


def _row_numbers(used, subject, visit):
    """The row of each participant and visit, (n_participants, n_visits) int; -1 where missing."""
    who, people = pd.factorize(used[subject])
    rows = np.full((len(people), len(used[visit].cat.categories)), -1)
    rows[who, used[visit].cat.codes] = np.arange(len(used))
    return rows
