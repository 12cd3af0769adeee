"""Least-squares means and their differences, as rows of weights of the coefficients.

As emmeans (Lenth) and SAS's lsmeans: other factors are averaged with equal weights over their
levels, and numeric covariates stand at their mean over the rows used.
"""

from itertools import product

import pandas as pd


def mean_rows(design, arm, visit):
    """Least-squares means by arm and visit.

    Parameters
    ----------
    design : Design
    arm : str
        Column of the arms.
    visit : str or None
        The visit's column (or the word visit); None averages over visits, equal weights.

    Returns
    -------
    (pandas.DataFrame, numpy.ndarray)
        arm and visit of each mean, and its weights, shape (n_means, q).

    Raises
    ------
    ValueError
        ``arm`` is not a factor of the formula, or ``visit`` is another column.
    """
    arms = _arms(design, arm)
    return _grid(design, arm, arms, by_visit(design, visit))


def difference_rows(design, arm, reference, by):
    """Differences of least-squares means between arms, at each visit.

    Parameters
    ----------
    design : Design
    arm : str
        Column of the arms, or one of its levels (then only that one is compared).
    reference : object
        Level that the others are compared with; None: the reference of the formula.
    by : str or None
        The visit's column (or the word visit); None averages over visits, equal weights.

    Returns
    -------
    (pandas.DataFrame, numpy.ndarray)
        visit and contrast of each difference, and its weights, shape (n_differences, q).

    Raises
    ------
    ValueError
        As in :func:`mean_rows`, or there is no such reference.
    """
    column, others, reference = _comparison(design, arm, reference)
    keys, rows = _grid(design, column, [*others, reference], by_visit(design, by))
    visits = list(keys["visit"].unique())
    rows = rows.reshape(len(others) + 1, len(visits), -1)
    difference = (rows[:-1] - rows[-1]).swapaxes(0, 1).reshape(-1, rows.shape[-1])
    labels = [(v, f"{other} - {reference}") for v in visits for other in others]
    return pd.DataFrame(labels, columns=["visit", "contrast"]), difference


def by_visit(design, name):
    """Whether means are wanted at each visit: ``name`` is the visit's column, or else None."""
    if name not in (None, "visit", design.visit):
        raise ValueError(f"visit {name!r}: {design.visit!r} or None expected")
    return name is not None


def _arms(design, arm):
    if arm in design.factors and arm != design.visit:
        return design.factors[arm]
    values = sorted(design.used[arm].unique()) if arm in design.numbers else []
    if len(values) == 2:
        return values
    known = [name for name in design.factors if name != design.visit]
    raise ValueError(f"arm {arm!r}: a factor of the formula expected ({', '.join(known)})")


def _comparison(design, arm, reference):
    """Column of the arms, levels to compare, reference level."""
    others = None
    if arm not in [*design.factors, *design.numbers]:
        holders = [n for n, lv in design.factors.items() if arm in lv and n != design.visit]
        if len(holders) == 1:
            arm, others = holders[0], [arm]
    levels = _arms(design, arm)
    reference = levels[0] if reference is None else reference
    if reference not in levels:
        raise ValueError(f"reference {reference!r}: one of {levels} ({arm}) expected")
    others = others or [level for level in levels if level != reference]
    if others == [reference]:
        raise ValueError(f"arm and reference are both {reference!r}: nothing to compare")
    return arm, others, reference


def _grid(design, arm, arms, each_visit):
    """Arms and visits, and the rows of weights that give their least-squares means."""
    fixed = {arm: arms, design.visit: design.visits}
    rest = {n: levels for n, levels in design.factors.items() if n not in fixed}
    grid = pd.DataFrame(product(*fixed.values(), *rest.values()), columns=[*fixed, *rest])
    numbers = [n for n in design.numbers if n not in fixed]
    grid = grid.assign(**{n: float(design.used[n].mean()) for n in numbers})
    for name in fixed | rest:
        if isinstance(design.used[name].dtype, pd.CategoricalDtype):
            grid[name] = pd.Categorical(grid[name], design.used[name].cat.categories)
    rows = design.spec.get_model_matrix(grid, na_action="raise").to_numpy(float)
    rows = rows.reshape(len(arms), len(design.visits), -1, rows.shape[1]).mean(2)
    if not each_visit:
        rows = rows.mean(1, keepdims=True)
    visits = design.visits if each_visit else ["all"]
    keys = pd.DataFrame(product(arms, visits), columns=["arm", "visit"])
    return keys, rows.reshape(-1, rows.shape[-1])
