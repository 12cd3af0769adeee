"""Whether numbers of a table can be what its columns say, and those far from all others."""

import numpy as np
import pandas as pd

from analysis_lib.results.problems import Problem
from analysis_lib.study.tables import cell_problems

LARGEST = 1e9  # of a covariate, either sign: beyond, squares are no longer exact
AGE = (1, 120)  # years
YEARS = {"year", "years", "yr", "yrs", "y", "a"}
FAR = 20  # robust standard deviations from the median


def number_problems(table, names, about):
    """Covariates out of the range that their name or sidecar gives them, or in another unit."""
    for name in names:
        low, high = _range(name, about.get(name, {}))
        values = pd.to_numeric(table[name], errors="coerce")
        wrong = np.isfinite(values) & ~values.between(low, high)
        expected = f"a number from {low:g} to {high:g}{' (years)' * _is_age(name)}"
        yield from cell_problems(table, wrong, name, expected)
        unit = str(about.get(name, {}).get("Units", "year"))
        if _is_age(name) and unit.strip().lower() not in YEARS:
            remedy = "Give ages in years, or correct the unit"
            yield Problem("participants.json", name, "Units: year", repr(unit), remedy)


def _is_age(name):
    return name.lower() == "age" or name.lower().startswith("age_")


def _range(name, about):
    """Lowest and highest value: what the sidecar says (Minimum, Maximum of BIDS), at most."""
    low, high = AGE if _is_age(name) else (-LARGEST, LARGEST)
    given = [about.get(key) for key in ("Minimum", "Maximum")]
    given = [value if isinstance(value, int | float) else np.nan for value in given]
    return np.nanmax([low, given[0]]), np.nanmin([high, given[1]])


def far_values(table, names):
    """A warning for each covariate with numbers unlike all others, as of another unit."""
    for name in names:
        values = pd.to_numeric(table[name], errors="coerce")
        apart = (values - values.median()).abs()
        far = apart > FAR * 1.4826 * apart[apart > 0].median()
        yield from cell_problems(table, far, name, "numbers of one unit", warning="far-value")
