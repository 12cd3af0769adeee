"""What the tests assume, looked at before any result: spread, skewness, and the covariates."""

import numpy as np
import pandas as pd
from scipy import stats

from analysis_lib.atlas.grids import parcel_mean_matrix, region_names
from analysis_lib.results.problems import CompendiumError, Problem
from analysis_lib.study.participants import design_columns
from analysis_lib.vbm.null_rates import FEWEST, null_rates
from voxelperm import variance_inflation

ARMS = ("active", "control")
WARNED, REFUSED = 2, 5  # variance inflation of the arm


def diagnose(maps, parcels, errors="unequal", errors_within="skewed") -> dict:
    """How unequal the arms' spread is, how skewed their change, how tied the covariates to the arm.

    All of it from the residuals of the model: no effect is looked at.

    Parameters
    ----------
    maps : analysis_lib.vbm.scans.Maps
    parcels : Atlas
    errors, errors_within : str
        What the tests are to assume: see `assess_contrasts`.

    Returns
    -------
    dict
        Images variance_ratio, skewness_active, skewness_control; tables diagnostics (see
        :func:`spread_table`), variance_by_region, design, and null_rates (see
        :func:`~analysis_lib.vbm.null_rates.null_rates`). Without a control arm what concerns it,
        and the ratio, are left out.
    """
    residuals, arm = maps.residuals(), maps.arm.to_numpy()
    names = [name for name in ARMS if name in set(arm)]
    skewness = {name: stats.skew(residuals[arm == name], bias=False) for name in names}
    by_region = region_variances(residuals, arm, maps.image(1), parcels)
    images, ratios = {f"skewness_{name}": values for name, values in skewness.items()}, {}
    designed = {}
    if names == list(ARMS):
        images["variance_ratio"] = variance_ratio(residuals, arm)
        designed = {"design": design_table(arm, maps.covariates)}
        ratios = {"voxels": images["variance_ratio"], "regions": by_region["variance_ratio"]}
    spread = spread_table(ratios, skewness, arm)
    tables = {
        "diagnostics": spread,
        "null_rates": null_rates(spread, arm, errors, errors_within, maps.contrasts),
        "variance_by_region": by_region,
    }
    return {name: maps.image(values) for name, values in images.items()} | tables | designed


def variance_ratio(values, arm):
    """Variance with active over that with control, (n_columns,); NaN where control's is 0."""
    active, control = (values[arm == name].var(axis=0, ddof=1, dtype=float) for name in ARMS)
    return np.divide(active, control, out=np.full_like(active, np.nan), where=control > 0)


def region_variances(residuals, arm, mask_image, parcels) -> pd.DataFrame:
    """Standard deviation of change by region and arm, and the ratio of the variances."""
    means = parcel_mean_matrix(residuals, mask_image, parcels).dropna(axis=1)
    table = pd.DataFrame({"region": region_names(parcels)[means.columns].to_numpy()})
    names = [name for name in ARMS if name in set(arm)]
    for name in names:
        table[f"sd_{name}"] = means[arm == name].std().to_numpy()
    if names != list(ARMS):
        return table
    return table.assign(variance_ratio=variance_ratio(means.to_numpy(), arm))


def spread_table(ratios, skewness, arm) -> pd.DataFrame:
    """Quartiles of what the tests assume, and how often normal, equally varying data exceed it.

    Parameters
    ----------
    ratios : dict of array_like
        Variance ratios of voxels and of regions; empty without a control arm.
    skewness : dict of array_like
        By arm, (n_voxels,) each.
    arm : array_like of str

    Returns
    -------
    pandas.DataFrame
        measure, n_values (voxels or regions), q1, median, q3, share_beyond: the share outside
        the central 95 % of what normal data with equal variances give, so that 0.05 is expected
        (variances: F distribution; skewness: D'Agostino 1970, from 8 participants per arm on).
    """
    df = [(arm == name).sum() - 1 for name in ARMS]
    low, high = stats.f.ppf([0.025, 0.975], *df)
    rows = {
        f"variance ratio, {what}": (ratio, (ratio < low) | (ratio > high))
        for what, ratio in ratios.items()
    }
    for name, values in skewness.items():
        rows[f"skewness, {name}"] = (values, _skewed(values, (arm == name).sum()))
    return pd.DataFrame([_quartiles(measure, *row) for measure, row in rows.items()])


def _quartiles(measure, values, beyond):
    low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75])
    row = {
        "measure": measure,
        "n_values": int(np.isfinite(values).sum()),
        "q1": low,
        "median": middle,
    }
    return row | {"q3": high, "share_beyond": np.mean(beyond) if beyond is not None else np.nan}


def _skewed(skewness, n):
    """Whether each skewness lies beyond what normal data of n give, two-sided 5 %."""
    if n < FEWEST:
        return None
    return np.abs(skewness) > skewness_limit(n)


def skewness_limit(n, level=0.05):
    """Skewness that normal samples of n exceed in size with a given probability.

    The quantile of D'Agostino's (1970, Biometrika 57:679-681) normal approximation, solved for the
    sample skewness G1 that pandas, SAS and SPSS give.
    """
    beta2 = 3 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3)
    beta2 /= (n - 2.0) * (n + 5) * (n + 7) * (n + 9)
    w2 = -1 + np.sqrt(2 * (beta2 - 1))
    delta, alpha = 1 / np.sqrt(0.5 * np.log(w2)), np.sqrt(2 / (w2 - 1))
    y = alpha * np.sinh(stats.norm.isf(level / 2) / delta)
    g1 = y / np.sqrt((n + 1.0) * (n + 3) / (6.0 * (n - 2)))
    return g1 * np.sqrt(n * (n - 1)) / (n - 2)


def design_table(arm, covariates) -> pd.DataFrame:
    """Each column of the model: its correlation with the arm, and its variance inflation.

    Returns
    -------
    pandas.DataFrame
        term, r_arm, variance_inflation: 1 / (1 - R2) of the column given all others.
    """
    columns = covariates.assign(arm=np.asarray(arm) == "active").astype(float)
    rows = (
        {
            "term": name,
            "r_arm": np.corrcoef(columns[name], columns["arm"])[0, 1],
            "variance_inflation": variance_inflation(columns[name], columns.drop(columns=name))[0],
        }
        for name in columns
    )
    return pd.DataFrame(rows)


def problems(study, participants) -> list[Problem]:
    """Covariates that leave little of the arm to test: refused above 5, warned of above 2."""
    if study.arms is None or participants["arm"].isna().any():  # told where it is read
        return []
    try:
        covariates, _ = design_columns(study, participants, participants["participant_id"])
    except CompendiumError:  # told where it is read
        return []
    active = participants["arm"].eq("active").to_numpy(float)
    inflation, names = variance_inflation(active, covariates, covariates.columns)
    if inflation > WARNED:
        return [_of_arm(inflation, names)]
    table = design_table(participants["arm"], covariates).set_index("term")
    double = table.index[np.isinf(table["variance_inflation"])]
    return [_of_covariates(double)] if len(double) else []


def _of_arm(inflation, names):
    """The problem with covariates that stand for the arm."""
    size = "without limit" if np.isinf(inflation) else f"{inflation:.1f}-fold"
    return Problem(
        "participants.tsv",
        ", ".join(names),
        "covariates that leave the arm to be tested (its variance inflated at most "
        f"{WARNED:g}-fold)",
        size,
        "Leave out what stands for the arm",
        warning="" if inflation > REFUSED else "arm-covariate",
    )


def _of_covariates(names):
    """The problem with covariates that say the same."""
    found = "columns that follow from one another: the model uses what they share once"
    remedy = "Leave one of them out of the study file"
    expected = "covariates that differ"
    return Problem(
        "participants.tsv", ", ".join(names), expected, found, remedy, warning="alike-covariates"
    )
