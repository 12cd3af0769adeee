"""Correlation of a map of treatment change with receptor maps, and its tests."""

import itertools
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from analysis_lib.dominance import dominance as dominance  # a public name of this module

CONTRASTS = ("active_change", "control_change", "arm_by_time")
METHODS = ("gaussianised", "pearson", "spearman")
BLOM = 3 / 8  # offset of the rank-based normal scores
TIE = 1e-10  # two values of |r| closer than this are equal: rounding must not decide a p
TABLE_COLUMNS = (
    "contrast",
    "receptor",
    "annotation",
    "tracer",
    "n_subjects_map",
    "n_parcels",
    "statistic",
    "r",
    "ci_low",
    "ci_high",
    "p_parametric",
    "p_spatial",
    "p_fwe_spatial",
    "p_randomisation",
    "p_fwe",
    "q_fdr",
)


# --- correlation ---------------------------------------------------------------------------------


def individual_rows(z, arm, about):
    """Rows of receptors/individual.tsv.

    Parameters
    ----------
    z : array_like, shape (n_participants, n_receptors)
        From `individual_coupling`, receptors in the order of `about`.
    arm : pandas.Series
        Arm by participant_id, in the order of `z`.
    about : pandas.DataFrame
        Rows of `library`.

    Returns
    -------
    pandas.DataFrame
        participant_id, arm, receptor, annotation, z.
    """
    frame = pd.DataFrame(z, index=arm.index.rename("participant_id"), columns=about.index)
    rows = frame.melt(ignore_index=False, var_name="annotation", value_name="z").reset_index()
    rows["arm"] = rows["participant_id"].map(arm)
    rows["receptor"] = rows["annotation"].map(about["receptor"])
    return rows[["participant_id", "arm", "receptor", "annotation", "z"]]


def dominance_rows(test, about):
    """Rows of receptors/dominance.tsv.

    Parameters
    ----------
    test : analysis_lib.dominance.DominanceTest
        Predictors named by annotation.
    about : pandas.DataFrame
        Rows of `library`.

    Returns
    -------
    pandas.DataFrame
        receptor, annotation, total_dominance, percent, p, p_fwe.
    """
    found = test.observed
    rows = {"total_dominance": found.total, "percent": found.percent, "p": test.p}
    table = pd.DataFrame(rows | {"p_fwe": test.p_fwe}).rename_axis("annotation").reset_index()
    table.insert(0, "receptor", about.loc[table["annotation"], "receptor"].to_numpy())
    return table


def gaussianise(x, axis=-1):
    """Rank-based inverse normal scores.

    Phi^-1((rank - 3/8) / (n + 1/4)), Blom's (1958) approximation of normal order statistics; ties
    share their average rank. NaN stays NaN and counts neither as a rank nor in n.

    Parameters
    ----------
    x : array_like
    axis : int

    Returns
    -------
    numpy.ndarray of the shape of `x`
    """
    x = np.asarray(x, dtype=float)
    if np.isnan(x).any():
        ranks = stats.rankdata(x, axis=axis, nan_policy="omit")
    else:
        ranks = stats.rankdata(x, axis=axis)
    n = np.count_nonzero(~np.isnan(x), axis=axis, keepdims=True)
    return special.ndtri((ranks - BLOM) / (n + 1 - 2 * BLOM))


def correlate(effect_maps, receptor_maps, method="gaussianised"):
    """Correlation over parcels of every effect map with every receptor map.

    A parcel that a receptor map does not cover (NaN) is left out for that receptor alone, before
    ranking; `n_covered` counts the rest and `uncovered` names what is left out.

    Parameters
    ----------
    effect_maps : array_like, shape (k, n_parcels) or (n_parcels,)
        NaN in the same parcels of every map, if at all.
    receptor_maps : array_like, shape (m, n_parcels) or (n_parcels,)
    method : {"gaussianised", "pearson", "spearman"}
        Pearson's correlation of normal scores, of values, or of ranks.

    Returns
    -------
    numpy.ndarray, shape (k, m)

    Raises
    ------
    ValueError
        Maps of different length, a constant map, fewer than three parcels in common, an unknown
        method.
    """
    effects, receptors = _paired(effect_maps, receptor_maps)
    covered = _covered(effects, receptors)
    r = np.empty((len(effects), len(receptors)))
    patterns, pattern_of = np.unique(covered, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        rows = np.flatnonzero(pattern_of.ravel() == number)
        x = _standardised(effects[:, pattern], method, "effect map")
        y = _standardised(receptors[np.ix_(rows, pattern)], method, "receptor map")
        r[:, rows] = np.clip(x @ y.T, -1, 1)
    return r


def n_covered(effect_maps, receptor_maps):
    """Number of parcels behind each receptor's correlation.

    Parameters
    ----------
    effect_maps, receptor_maps
        As in `correlate`.

    Returns
    -------
    numpy.ndarray of int, shape (m,)
    """
    return _covered(*_paired(effect_maps, receptor_maps)).sum(axis=1)


def _paired(effect_maps, receptor_maps):
    effects = np.atleast_2d(np.asarray(effect_maps, dtype=float))
    receptors = np.atleast_2d(np.asarray(receptor_maps, dtype=float))
    if effects.shape[1] != receptors.shape[1]:
        raise ValueError(
            f"effect maps have {effects.shape[1]} parcels, receptor maps {receptors.shape[1]}. "
            "Both must list the same labels in the same order."
        )
    return effects, receptors


def _covered(effects, receptors):
    gaps = np.isnan(effects)
    if (gaps != gaps[0]).any():
        raise ValueError("effect maps lack different parcels; give them one common set of parcels")
    covered = ~np.isnan(receptors) & ~gaps[0]
    poor = np.flatnonzero(covered.sum(axis=1) < 3)
    if poor.size:
        raise ValueError(f"receptor maps {poor.tolist()} share fewer than three parcels with it")
    return covered


def _standardised(maps, method, what):
    """Rows of mean 0 and length 1, so that a product of rows is a correlation."""
    if method not in METHODS:
        raise ValueError(f"method '{method}' is unknown; expected one of {', '.join(METHODS)}")
    if method == "gaussianised":
        maps = gaussianise(maps)
    elif method == "spearman":
        maps = stats.rankdata(maps, axis=1)
    centred = maps - maps.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    scale = np.abs(maps).max(axis=1, keepdims=True)
    constant = np.flatnonzero(length[:, 0] <= 1e-12 * scale[:, 0])
    if constant.size:
        raise ValueError(
            f"{what} {constant[:5].tolist()}: one value in every parcel, no correlation"
        )
    return centred / length


def individual_coupling(change, receptors, method="gaussianised"):
    """Each participant's own correlation of change with each receptor.

    Parameters
    ----------
    change : array_like, shape (n_participants, n_parcels)
        Percent change.
    receptors : array_like, shape (n_receptors, n_parcels)
    method : str
        See `correlate`.

    Returns
    -------
    numpy.ndarray, shape (n_participants, n_receptors)
        Fisher z, arctanh(r).
    """
    return np.arctanh(correlate(change, receptors, method))


# --- effect maps ---------------------------------------------------------------------------------


def arm_effect(change, arm, covariates=None, strata=None):
    """Difference of change between the arms, active - control, adjusted.

    Parameters
    ----------
    change : array_like, shape (n_participants, n_parcels)
        Percent change.
    arm : array_like, shape (n_participants,)
        "active" / "control", or true for active.
    covariates : array_like or pandas.DataFrame, shape (n_participants, n_covariates), optional
        Columns of text are coded as categories.
    strata : array_like or pandas.DataFrame, optional
        Strata of the randomisation; several columns are crossed. They enter the model as
        categories.

    Returns
    -------
    numpy.ndarray, shape (n_parcels,)
        Coefficient of the arm in ordinary least squares.
    """
    return effect_map(change, arm, "arm_by_time", covariates, strata)


def effect_map(change, arm, contrast="arm_by_time", covariates=None, strata=None):
    """Effect map of a contrast.

    Parameters
    ----------
    change, arm, covariates, strata
        See `arm_effect`.
    contrast : {"active_change", "control_change", "arm_by_time"}
        Mean within an arm, or the difference between the arms. Covariates and strata enter the
        difference alone: a mean within an arm is that arm's plain mean.

    Returns
    -------
    numpy.ndarray, shape (n_parcels,)
    """
    change, active = _checked_change(change, arm, contrast)
    return _weights(active, contrast, covariates, strata) @ change


def _checked_change(change, arm, contrast):
    change = np.asarray(change, dtype=float)
    active = _is_active(arm)
    if contrast not in CONTRASTS:
        raise ValueError(
            f"contrast '{contrast}' is unknown; expected one of {', '.join(CONTRASTS)}"
        )
    if change.ndim != 2 or len(change) != len(active):
        raise ValueError(
            f"change has shape {change.shape}, arm names {len(active)} participants; expected "
            "change (n_participants, n_parcels) with one row for each"
        )
    _check_gaps(change)
    if min(active.sum(), (~active).sum()) < 2:
        raise ValueError(
            f"{active.sum()} active and {(~active).sum()} control participants; expected 2 of each"
        )
    return change, active


def _check_gaps(change):
    """A parcel without voxels is NaN for everybody; anything else is a fault of one participant."""
    gaps = np.isnan(change)
    uneven = gaps.any(axis=0) & ~gaps.all(axis=0)
    if uneven.any():
        rows = np.flatnonzero(gaps[:, uneven].any(axis=1))
        raise ValueError(
            f"change: participants in rows {rows.tolist()} lack parcels that others have "
            f"(columns {np.flatnonzero(uneven).tolist()}). Check their images."
        )


def _is_active(arm):
    arm = np.asarray(arm)
    if arm.dtype.kind in "OUS":
        unknown = sorted(set(arm.astype(str).tolist()) - {"active", "control"})
        if unknown:
            raise ValueError(f"arm holds {unknown}; expected 'active' or 'control'")
        return arm.astype(str) == "active"
    if not np.isin(arm, (0, 1)).all():
        raise ValueError(
            f"arm holds {np.unique(arm).tolist()}; expected 'active' / 'control' or 1 / 0"
        )
    return arm.astype(bool)


def _nuisance(n, covariates, strata):
    """Nuisance columns. The intercept is among them: without it the mean would be permuted too."""
    columns = [np.ones((n, 1))]
    if covariates is not None:
        columns.append(_coded(pd.DataFrame(covariates), n, "covariates"))
    if strata is not None:
        columns.append(pd.get_dummies(_stratum(strata, n)).to_numpy(float)[:, 1:])
    return np.hstack(columns)


def _coded(table, n, what):
    if len(table) != n:
        raise ValueError(f"{what}: {len(table)} rows, expected {n}, one for each participant")
    lacking = table.columns[table.isna().any()].tolist()
    if lacking:
        raise ValueError(
            f"{what} {lacking} have missing values; leave those participants out first"
        )
    return pd.get_dummies(table, drop_first=True).to_numpy(float)


def _stratum(strata, n):
    """Stratum number of each participant; several columns are crossed."""
    if strata is None:
        return np.zeros(n, dtype=int)
    table = pd.DataFrame(strata).reset_index(drop=True)
    if len(table) != n:
        raise ValueError(f"strata: {len(table)} rows, expected {n}, one for each participant")
    return table.groupby(list(table.columns), dropna=False).ngroup().to_numpy()


def _weights(active, contrast, covariates=None, strata=None):
    """Weights (n_participants,) with which the effect is a sum over participants."""
    if contrast != "arm_by_time":
        chosen = active if contrast == "active_change" else ~active
        return chosen / chosen.sum()
    nuisance = _nuisance(len(active), covariates, strata)
    residual = _residuals(nuisance, active.astype(float))
    if residual @ residual < 1e-8:
        raise ValueError(
            "arm is a combination of covariates and strata: its effect has no estimate"
        )
    return residual / (residual @ residual)


def _residuals(nuisance, values):
    return values - nuisance @ (np.linalg.pinv(nuisance) @ values)


# --- tests ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NullTest:
    """A correlation with its null distribution.

    Attributes
    ----------
    r : numpy.ndarray, shape (n_receptors,)
    null : numpy.ndarray, shape (n_null, n_receptors)
        Correlations under the null; the observed one is not among them.
    p : numpy.ndarray, shape (n_receptors,)
        (1 + #{|r*| >= |r|}) / (1 + n_null), two-sided.
    p_fwe : numpy.ndarray, shape (n_receptors,)
        The same with the largest |r*| over receptors.
    exhaustive : bool
        Whether `null` holds every relabelling that differs from the observed one.
    """

    r: np.ndarray
    null: np.ndarray
    p: np.ndarray
    p_fwe: np.ndarray
    exhaustive: bool = False


def _null_test(r, null, exhaustive=False):
    size = np.abs(null)
    largest = size.max(axis=1, keepdims=True)
    bound = np.abs(r) - TIE
    p, p_fwe = ((1 + (x >= bound).sum(axis=0)) / (1 + len(null)) for x in (size, largest))
    return NullTest(r, null, p, p_fwe, exhaustive)


def randomisation_test(
    change,
    arm,
    receptors,
    contrast="arm_by_time",
    covariates=None,
    strata=None,
    n_permutations=5000,
    seed=0,
    method="gaussianised",
):
    """Would this alignment appear if treatment did nothing?

    Between the arms, labels are re-randomised within strata and the whole effect map is computed
    again; with covariates, residuals of the nuisance model (intercept, covariates, strata) are
    permuted (Freedman & Lane 1983, J Bus Econ Stat 1:292). Within an arm, participants' signs are
    flipped, which assumes errors symmetric about 0. Each map is gaussianised again.

    When no more than `n_permutations` relabellings differ from the observed one, all of them are
    used. The observed one is then left out of `null`, since the 1 in (1 + count) / (1 + n) stands
    for it.

    r has no scale. Where one spatial pattern makes up nearly all variance between participants, a
    relabelled map shows that pattern too, however weakly, and |r*| is near 1: the test stays valid
    and loses power.

    Parameters
    ----------
    change, arm, covariates, strata
        See `arm_effect`.
    receptors : array_like, shape (n_receptors, n_parcels)
    contrast : {"active_change", "control_change", "arm_by_time"}
    n_permutations : int
    seed : int
    method : str
        See `correlate`.

    Returns
    -------
    NullTest
    """
    change, active = _checked_change(change, arm, contrast)
    rng = np.random.default_rng(seed)
    weights = _weights(active, contrast, covariates, strata)
    if contrast == "arm_by_time":
        stratum = _stratum(strata, len(active))
        null_weights, exhaustive = _permuted(weights, stratum, n_permutations, rng)
        permuted = _residuals(_nuisance(len(active), covariates, strata), change)
    else:
        null_weights, exhaustive = _flipped(weights, n_permutations, rng)
        permuted = change
    r = correlate(weights @ change, receptors, method)[0]
    return _null_test(r, correlate(null_weights @ permuted, receptors, method), exhaustive)


def _permuted(weights, stratum, n_permutations, rng):
    """Weights permuted within strata, (n_null, n); all distinct ones when they are few."""
    values, codes = np.unique(np.round(weights, 12), return_inverse=True)
    groups = [np.flatnonzero(stratum == s) for s in np.unique(stratum)]
    n_distinct = math.prod(_n_arrangements(codes[group]) for group in groups)
    if n_distinct - 1 <= n_permutations:
        return values[_all_arrangements(codes, groups)], True
    null = np.tile(weights, (n_permutations, 1))
    for group in groups:
        null[:, group] = rng.permuted(null[:, group], axis=1)
    return null, False


def _n_arrangements(codes):
    repeats = math.prod(math.factorial(count) for count in Counter(codes.tolist()).values())
    return math.factorial(len(codes)) // repeats


def _all_arrangements(codes, groups):
    """Every distinct arrangement of codes within groups but the given one, (n, n_participants)."""
    choices = [list(_arrangements(Counter(codes[group].tolist()))) for group in groups]
    order = np.argsort(np.concatenate(groups))
    rows = np.array([sum(parts, ()) for parts in itertools.product(*choices)])[:, order]
    return rows[(rows != codes).any(axis=1)]


def _arrangements(counts):
    if not counts:
        yield ()
    for value in list(counts):
        for rest in _arrangements(counts - Counter([value])):
            yield (value, *rest)


def _flipped(weights, n_permutations, rng):
    """Weights with random signs, (n_null, n); every pattern of signs when they are few."""
    used = np.flatnonzero(weights)
    exhaustive = 2**used.size - 1 <= n_permutations
    if exhaustive:
        signs = np.array(list(itertools.product((1, -1), repeat=used.size)))[1:]
    else:
        signs = rng.choice((-1, 1), size=(n_permutations, used.size))
    null = np.zeros((len(signs), len(weights)))
    null[:, used] = signs * weights[used]
    return null, exhaustive


def spatial_test(effect, receptors, surrogates, method="gaussianised"):
    """Is this receptor special, or would any equally smooth map do?

    Parameters
    ----------
    effect : array_like, shape (n_parcels,)
    receptors : array_like, shape (n_receptors, n_parcels)
    surrogates : array_like, shape (n_surrogates, n_parcels)
        Surrogates of the effect map from `analysis_lib.nulls`, one set for all receptors.
    method : str
        See `correlate`.

    Returns
    -------
    NullTest
    """
    r = correlate(effect, receptors, method)[0]
    return _null_test(r, correlate(surrogates, receptors, method))


def parametric_p(r, n_parcels):
    """Two-sided p of a correlation of independent observations. Parcels are not independent.

    Parameters
    ----------
    r : array_like
    n_parcels : array_like of int

    Returns
    -------
    numpy.ndarray
        From Student's t with n - 2 degrees of freedom.
    """
    r, df = np.asarray(r, dtype=float), np.asarray(n_parcels) - 2
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(df / (1 - r**2))
    return 2 * stats.t.sf(t, df)


def bootstrap_interval(
    change,
    arm,
    receptors,
    contrast="arm_by_time",
    covariates=None,
    strata=None,
    n_bootstrap=2000,
    level=0.95,
    seed=0,
    method="gaussianised",
):
    """Percentile interval of r from patients resampled within arm and stratum.

    It speaks of the correlation to expect at this sample size and noise, not of the noise-free one:
    noise in the effect map pulls r towards 0, and resampling adds noise again.

    Parameters
    ----------
    change, arm, covariates, strata
        See `arm_effect`.
    receptors : array_like, shape (n_receptors, n_parcels)
    contrast : {"active_change", "control_change", "arm_by_time"}
    n_bootstrap : int
    level : float
        Coverage aimed at.
    seed : int
    method : str
        See `correlate`.

    Returns
    -------
    numpy.ndarray, shape (n_receptors, 2)
        Lower and upper end.
    """
    change, active = _checked_change(change, arm, contrast)
    rng = np.random.default_rng(seed)
    counts = _resampled(active, _stratum(strata, len(active)), n_bootstrap, rng)
    if contrast == "arm_by_time":
        weights = _bootstrap_weights(active, counts, _nuisance(len(active), covariates, strata))
    else:
        weights = counts * _weights(active, contrast)
    r = correlate(weights @ change, receptors, method)
    tail = (1 - level) / 2
    return np.quantile(r, (tail, 1 - tail), axis=0).T


def _resampled(active, stratum, n_bootstrap, rng):
    """How often each participant is drawn, (n_bootstrap, n), within arm and stratum."""
    counts = np.zeros((n_bootstrap, len(active)))
    cells = active + 2 * stratum
    for cell in np.unique(cells):
        members = np.flatnonzero(cells == cell)
        shares = np.full(members.size, 1 / members.size)
        counts[:, members] = rng.multinomial(members.size, shares, size=n_bootstrap)
    return counts


def _bootstrap_weights(active, counts, nuisance):
    """Weights of the arm's coefficient in each weighted least-squares fit, (n_bootstrap, n)."""
    design = np.column_stack([active, nuisance])
    cross = np.einsum("bi,ij,ik->bjk", counts, design, design, optimize=True)
    # A sample may lack a category of a covariate: pinv gives the arm's effect all the same.
    return (np.linalg.pinv(cross, hermitian=True)[:, 0] @ design.T) * counts


@dataclass(frozen=True)
class ContrastResult:
    """All that is known of one contrast.

    Attributes
    ----------
    contrast, method : str
    effect : pandas.Series
        Effect map by label, percent.
    annotations : list of str
    n_parcels : numpy.ndarray of int, shape (n_receptors,)
    randomisation, spatial : NullTest
    interval : numpy.ndarray, shape (n_receptors, 2)
    """

    contrast: str
    method: str
    effect: pd.Series
    annotations: list
    n_parcels: np.ndarray
    randomisation: NullTest
    spatial: NullTest
    interval: np.ndarray


def assess_contrast(
    change,
    arm,
    receptors,
    surrogates,
    contrast="arm_by_time",
    covariates=None,
    strata=None,
    n_permutations=5000,
    n_bootstrap=2000,
    seed=0,
    method="gaussianised",
):
    """Every test of one contrast against every receptor.

    Parameters
    ----------
    change : pandas.DataFrame, shape (n_participants, n_parcels)
        Percent change; columns are labels.
    arm, covariates, strata
        See `arm_effect`; rows in the order of `change`.
    receptors : pandas.DataFrame, shape (n_receptors, n_parcels)
        From `parcellate`; the same labels in the same order.
    surrogates : array_like, shape (n_surrogates, n_parcels), or callable
        Surrogates of this contrast's effect map, or a function that makes them from it.
    contrast : {"active_change", "control_change", "arm_by_time"}
    n_permutations, n_bootstrap, seed, method
        See `randomisation_test`, `bootstrap_interval`.

    Returns
    -------
    ContrastResult

    Raises
    ------
    ValueError
        The labels of `change` and `receptors` differ.
    """
    _check_labels(change, receptors)
    effect = effect_map(change, arm, contrast, covariates, strata)
    surrogates = surrogates(effect) if callable(surrogates) else surrogates
    model = {"contrast": contrast, "covariates": covariates, "strata": strata}
    draws = {"seed": seed, "method": method}
    return ContrastResult(
        contrast,
        method,
        pd.Series(effect, index=change.columns, name=contrast),
        receptors.index.tolist(),
        n_covered(effect, receptors),
        randomisation_test(change, arm, receptors, n_permutations=n_permutations, **model, **draws),
        spatial_test(effect, receptors, surrogates, method),
        bootstrap_interval(change, arm, receptors, n_bootstrap=n_bootstrap, **model, **draws),
    )


def _check_labels(change, receptors):
    if not change.columns.equals(receptors.columns):
        differ = change.columns.symmetric_difference(receptors.columns).tolist()
        raise ValueError(
            f"change and receptors list different labels (only in one of them: {differ}; none "
            "means another order). Select receptors[change.columns], or use one atlas for both."
        )


def correlation_table(results, maps):
    """Rows of receptors/correlations.tsv.

    Parameters
    ----------
    results : iterable of ContrastResult
    maps : pandas.DataFrame
        `library()` or `simulated_library()`.

    Returns
    -------
    pandas.DataFrame
        One row a contrast and receptor map, in the columns of `TABLE_COLUMNS`. `p_fwe`,
        `p_fwe_spatial` and `q_fdr` (Benjamini & Hochberg 1995, from `p_randomisation`) are over
        the maps of one contrast.
    """
    return pd.concat([_contrast_rows(result, maps) for result in results], ignore_index=True)


def _contrast_rows(result, maps):
    about = maps.loc[result.annotations]
    tests = result.randomisation
    rows = {
        "contrast": result.contrast,
        "receptor": about["receptor"].to_numpy(),
        "annotation": result.annotations,
        "tracer": about["tracer"].to_numpy(),
        "n_subjects_map": about["n_subjects"].array,
        "n_parcels": result.n_parcels,
        "statistic": result.method,
        "r": tests.r,
        "ci_low": result.interval[:, 0],
        "ci_high": result.interval[:, 1],
        "p_parametric": parametric_p(tests.r, result.n_parcels),
        "p_spatial": result.spatial.p,
        "p_fwe_spatial": result.spatial.p_fwe,
        "p_randomisation": tests.p,
        "p_fwe": tests.p_fwe,
        "q_fdr": multipletests(tests.p, method="fdr_bh")[1],
    }
    return pd.DataFrame(rows)[list(TABLE_COLUMNS)]
