"""Checks of the data before a fit: each says what was expected, what was found and what to do."""

import numpy as np
import pandas as pd


def is_number(column):
    """Whether a column is numeric; booleans are factors."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def check_columns(data, variables, subject, visit):
    """Refuse data without the columns of the formula, or with columns of the same name."""
    if not isinstance(data, pd.DataFrame):
        raise TypeError(f"data: a pandas DataFrame expected, found {type(data).__name__}")
    wanted = {"subject": subject, "visit": visit} | {f"formula ({v})": v for v in variables}
    absent = [f"{name!r} ({role})" for role, name in wanted.items() if name not in data]
    if absent:
        raise ValueError(
            f"no column {', '.join(absent)} in the data; columns found: "
            f"{', '.join(map(str, data.columns))}"
        )
    if not data.columns.is_unique:
        twice = data.columns[data.columns.duplicated()].unique()
        raise ValueError(f"columns that occur twice: {', '.join(map(str, twice))}: rename one")


def check_keys(table, subject, visit):
    """Refuse rows without participant or visit, and two rows for the same pair of them."""
    for name in (subject, visit):
        if (empty := table[name].isna()).any():
            raise ValueError(
                f"column {name!r}: {empty.sum()} rows are empty (the first is row "
                f"{empty.idxmax() + 1} of the data); every row needs a participant and a visit"
            )
    twice = table[table.duplicated([subject, visit], keep=False)]
    if len(twice):
        who, when = twice.iloc[0][[subject, visit]]
        count = ((twice[subject] == who) & (twice[visit] == when)).sum()
        raise ValueError(
            f"participant {who!r} has {count} rows at visit {when!r}; one expected "
            f"({len(twice)} rows share their participant and visit with another): keep one of them"
        )


def check_numbers(table, outcome, variables):
    """Refuse an outcome that is not numeric, and infinite values."""
    if not is_number(table[outcome]):
        raise ValueError(f"outcome {outcome!r}: numbers expected, found {table[outcome].dtype}")
    for name in variables:
        if is_number(table[name]) and np.isinf(table[name].to_numpy(float)).any():
            raise ValueError(f"column {name!r}: infinite values; write them as missing, or mend")


def check_finite(matrices):
    """Refuse values that the formula's transformations could not compute."""
    for matrix in (matrices.lhs, matrices.rhs):
        bad = ~np.isfinite(matrix.to_numpy(float)).all(axis=0)
        if bad.any():
            raise ValueError(
                f"{', '.join(matrix.columns[bad])}: not a number in some rows after the formula's "
                "transformation, such as a logarithm of 0"
            )


def check_factors(used, spec, factors, y, subject, visit):
    """Refuse factor levels whose effect the data cannot estimate."""
    for name, levels in factors.items():
        if name == visit:
            continue
        if len(levels) == 1:
            raise ValueError(
                f"column {name!r} has one level only ({levels[0]!r}): nothing to compare; take it "
                "out of the formula"
            )
        column = used[name].to_numpy()
        crossed = _crossed(spec, name, visit)
        for level in levels:
            own = column == level
            what = f"column {name!r}, level {level!r}"
            _check_level(what, used.loc[own, subject].unique())
            _check_varies(what, y[own], used.loc[own, visit].cat.codes.to_numpy())
            if crossed:
                _check_attended(name, level, used, own, visit)


def _check_level(what, participants):
    """Refuse a level that a single participant holds."""
    if len(participants) < 2:
        raise ValueError(
            f"{what} occurs in one participant only ({participants[0]!r}): a comparison needs two "
            "or more; merge the level with another, or leave the participant or the column out"
        )


def _check_varies(what, y, visits):
    """Refuse a level in which all participants have the same outcome at every visit."""
    counts = np.bincount(visits)
    means = np.bincount(visits, y) / np.maximum(counts, 1)
    away = np.abs(y - means[visits]).max()
    if counts.max() > 1 and away <= 1e-12 * np.abs(y).max():
        raise ValueError(
            f"{what}: no variance, at each visit the outcome is the same in all participants (such "
            f"as {y[0]:g}); check the data, or leave this level out"
        )


def _check_attended(name, level, used, own, visit):
    """Refuse a level without rows at a visit with which it interacts."""
    lacking = sorted(set(used[visit].cat.categories) - set(used.loc[own, visit]), key=str)
    if lacking:
        raise ValueError(
            f"column {name!r}, level {level!r}: nobody was rated at visit "
            f"{', '.join(map(repr, lacking))}, so its effect there cannot be estimated; leave out "
            f"that visit, or the interaction of {name!r} with {visit!r}"
        )


def _crossed(spec, name, visit):
    """Whether a term of the formula contains both variables."""
    terms = ({str(v) for f in t.factors for v in spec.factor_variables[f]} for t in spec.terms)
    return any({name, visit} <= variables for variables in terms)


def check_rank(x):
    """Refuse design matrices with linearly dependent columns, or with too few rows.

    Parameters
    ----------
    x : pandas.DataFrame, shape (n_rows, q)
    """
    values = x.to_numpy(float)
    norm = np.linalg.norm(values, axis=0)
    scaled = values / np.where(norm > 0, norm, 1.0)
    diagonal = np.zeros(scaled.shape[1])
    n = min(scaled.shape)
    diagonal[:n] = np.abs(np.diag(np.linalg.qr(scaled, mode="r")))[:n]
    if diagonal.min() > 1e-8:
        if len(values) <= x.shape[1]:
            raise ValueError(f"{len(values)} rows for {x.shape[1]} coefficients: too few to fit")
        return
    kept, extra = [], []
    for k, name in enumerate(x.columns):
        fuller = np.linalg.matrix_rank(scaled[:, [*kept, k]], tol=1e-7) > len(kept)
        kept, extra = ([*kept, k], extra) if fuller else (kept, [*extra, name])
    raise ValueError(
        f"the design has {x.shape[1]} columns and rank {len(kept)}: {', '.join(extra)} can be told "
        "from the columns before; take the terms out of the formula, or merge levels"
    )
