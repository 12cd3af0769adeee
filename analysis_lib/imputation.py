"""Missing outcomes: patterns, multiple imputation (MAR and reference-based), tipping point.

One scale at a time. The imputation model is the one of the "five macros" (Roger) and of the R
package rbmi: outcomes after baseline are multivariate normal, their mean is
``baseline*visit + arm*visit``, their covariance is unstructured, common to the arms or one an arm.
Its parameters are drawn from their posterior by a Gibbs sampler; each draw completes the data once.

Reference-based strategies (Carpenter, Roger & Kenward 2013, J Biopharm Stat 23:1352-1371) say what
a participant of the active arm would have done after the last visit that was rated:

- mar: go on like the others of the own arm (missing at random);
- jump_to_reference: have the control arm's mean from then on;
- copy_reference: have belonged to the control arm all along;
- copy_increments: keep what was gained, then change as the control arm does.

Visits missing before the last one rated (intermittent) are imputed under MAR when the participant
did not withdraw. After a withdrawal the whole course is drawn from one joint distribution, as rbmi
does; so an earlier gap is still MAR under all strategies but copy_reference, where it comes from
the control arm too.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

ARMS = ("active", "control")
CONTRAST = "active - control"
STRATEGIES = ("mar", "jump_to_reference", "copy_reference", "copy_increments")
COVARIANCES = ("common", "by_arm")
N_CHAINS = 50  # chains advance side by side, as one array operation
EM_STEPS, EM_TOLERANCE = 2000, 1e-9
SHOWN = 5  # participants quoted in a message


# --- the outcomes as a table: one row a participant, one column a visit ---------------------------


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of one scale, one row a participant.

    Attributes
    ----------
    participants : list of str
    visits : list
        Visits after baseline, in order.
    active : numpy.ndarray of bool, (n,)
        Whether a participant belongs to the active arm.
    baseline : numpy.ndarray, (n,)
    values : numpy.ndarray, (n, n_visits)
        NaN where not rated.
    """

    participants: list
    visits: list
    active: np.ndarray
    baseline: np.ndarray
    values: np.ndarray

    @property
    def observed(self):
        """Whether rated: bool, (n, n_visits)."""
        return ~np.isnan(self.values)

    @property
    def n_before_withdrawal(self):
        """Number of visits up to the last one rated, 0 without any: int, (n,)."""
        n_visits = len(self.visits)
        backwards = self.observed[:, ::-1].argmax(axis=1)
        return np.where(self.observed.any(axis=1), n_visits - backwards, 0)

    @property
    def withdrawn(self):
        """Whether a visit is later than the last one rated: bool, (n, n_visits)."""
        return np.arange(len(self.visits)) >= self.n_before_withdrawal[:, None]

    @property
    def design(self):
        """Columns intercept, baseline (centred), active: (n, 3)."""
        ones = np.ones(len(self.active))
        return np.column_stack([ones, self.baseline - self.baseline.mean(), self.active])

    def visit_index(self, visit):
        """Position of a visit; ValueError if there is none of that name."""
        if visit not in self.visits:
            known = ", ".join(map(str, self.visits))
            raise ValueError(f"a visit among {known} expected, found {visit!r}")
        return self.visits.index(visit)


def outcome_table(changes, baselines=None):
    """Put the outcomes of one scale into a table with a row a participant.

    Parameters
    ----------
    changes : pandas.DataFrame
        From :func:`analysis_lib.ratings.with_baseline`, one scale: participant_id, arm, visit
        (ordered categorical), baseline, outcome. A missing outcome is a visit not rated.
    baselines : pandas.DataFrame, optional
        participant_id, arm, baseline: everyone with a baseline. It brings in the participants
        without any later score, who have no row in ``changes`` and yet belong to the trial.

    Returns
    -------
    Outcomes

    Raises
    ------
    ValueError
        If there is more than one scale, a baseline is missing or not unique, or a participant is
        rated twice at a visit.
    """
    _check_rows(changes)
    people = _people(changes, baselines)
    wide = changes.pivot(index="participant_id", columns="visit", values="outcome")
    wide = wide.reindex(index=people.index, columns=changes["visit"].cat.categories)
    return Outcomes(
        participants=people.index.tolist(),
        visits=wide.columns.tolist(),
        active=(people["arm"] == "active").to_numpy(),
        baseline=people["baseline"].to_numpy(float),
        values=wide.to_numpy(float),
    )


def _check_rows(changes):
    if "scale" in changes and changes["scale"].nunique() > 1:
        found = ", ".join(map(str, changes["scale"].unique()))
        raise ValueError(f"one scale expected, found {found}: select the rows of one of them")
    if not isinstance(changes["visit"].dtype, pd.CategoricalDtype):
        raise ValueError(
            f"visit: an ordered categorical expected, found {changes['visit'].dtype}; "
            "pandas.Categorical(visit, visits_in_order, ordered=True) makes one"
        )
    twice = changes[changes.duplicated(["participant_id", "visit"])]
    if len(twice):
        who = f"{twice['participant_id'].iloc[0]}, {twice['visit'].iloc[0]}"
        raise ValueError(f"one row a participant and visit expected, found two for {who}: keep one")


def _people(changes, baselines):
    """Arm and baseline by participant_id, sorted."""
    columns = ["participant_id", "arm", "baseline"]
    rows = changes[columns]
    if baselines is not None:
        rows = pd.concat([rows, baselines[columns]])
    people = rows.drop_duplicates().set_index("participant_id").sort_index()
    _refuse(people["baseline"].isna(), "a baseline expected, found none. Give it, or leave out {}")
    doubled = people.index.duplicated(keep=False)
    _refuse(pd.Series(doubled, people.index), "one arm and one baseline expected, found several")
    _refuse(~people["arm"].isin(ARMS), f"an arm among {', '.join(ARMS)} expected, found another")
    return people


def _refuse(wrong, problem):
    who = wrong.index[wrong].unique().tolist()
    if who:
        more = f" and {len(who) - SHOWN} more" if len(who) > SHOWN else ""
        names = ", ".join(map(str, who[:SHOWN])) + more
        these = "this participant" if len(who) == 1 else "these participants"
        raise ValueError(f"{names}: {problem.format(these)}")


# --- which visits are missing ---------------------------------------------------------------------


def missing_patterns(changes, baselines=None):
    """Count the participants by which visits they were rated at.

    Parameters
    ----------
    changes, baselines
        As for :func:`outcome_table`.

    Returns
    -------
    pandas.DataFrame
        One row a pattern, the most complete first: pattern (text, a 1 or 0 a visit), a column of 1
        and 0 for each visit, n_active, n_control, and missingness: complete, monotone (all visits
        until withdrawal; "none rated" where that was before the first) or intermittent.
    """
    outcomes = outcome_table(changes, baselines)
    marks = pd.DataFrame(outcomes.observed.astype(int), columns=outcomes.visits)
    marks.insert(0, "pattern", marks.astype(str).agg("".join, axis=1))
    marks["n_active"], marks["n_control"] = outcomes.active, ~outcomes.active
    keys = ["pattern", *outcomes.visits]
    table = marks.groupby(keys, as_index=False)[["n_active", "n_control"]].sum()
    table["missingness"] = [_missingness(pattern) for pattern in table["pattern"]]
    order = table["pattern"].str.count("1")
    table = table.assign(order=order).sort_values(["order", "pattern"], ascending=False)
    return table.drop(columns="order").reset_index(drop=True)


def _missingness(pattern):
    if "0" not in pattern:
        return "complete"
    if "1" not in pattern:
        return "none rated"
    return "intermittent" if "01" in pattern else "monotone"


@dataclass(frozen=True)
class _Pattern:
    """Participants of one arm who were rated at the same visits."""

    rows: np.ndarray  # positions of the participants
    seen: np.ndarray  # bool, (n_visits,)
    active: bool
    group: int  # which covariance matrix is theirs


def _patterns(outcomes, covariance):
    keys = np.column_stack([outcomes.active, outcomes.observed])
    found, which = np.unique(keys, axis=0, return_inverse=True)
    which = which.reshape(-1)
    return [
        _Pattern(
            rows=np.flatnonzero(which == k),
            seen=key[1:],
            active=bool(key[0]),
            group=int(key[0]) if covariance == "by_arm" else 0,
        )
        for k, key in enumerate(found)
    ]


# --- the imputation model -------------------------------------------------------------------------


@dataclass(frozen=True)
class Posterior:
    """Draws of the imputation model's parameters.

    Attributes
    ----------
    coefficients : numpy.ndarray, (n_draws, 3, n_visits)
        Rows intercept (at the mean baseline), baseline, active.
    covariances : numpy.ndarray, (n_draws, n_groups, n_visits, n_visits)
        One group, or control and active in this order.
    mixing : pandas.DataFrame
        parameter, visit, r_hat (over all steps of the chains), autocorrelation (between successive
        draws of a chain), effective_draws.
    """

    coefficients: np.ndarray
    covariances: np.ndarray
    mixing: pd.DataFrame


def draw_posterior(
    outcomes, n_draws=1000, covariance="common", burn_in=100, thinning=10, seed=0, max_r_hat=1.05
):
    """Draw the imputation model's parameters from their posterior.

    Priors are those of the five macros and of rbmi (its "Statistical Specifications"): flat for the
    coefficients, inverse Wishart for each covariance matrix with n_visits + 2 degrees of freedom
    and the REML estimate as scale, so that the REML estimate is its mean and it weighs about as
    much as one participant. The sampler alternates covariance, coefficients (with missing outcomes
    integrated out) and missing outcomes (data augmentation: Schafer 1997, Analysis of Incomplete
    Multivariate Data, ch. 5). Chains start at the REML estimate and run side by side.

    Parameters
    ----------
    outcomes : Outcomes
    n_draws : int
    covariance : {"common", "by_arm"}
        One covariance matrix, or one an arm.
    burn_in, thinning : int
        Steps of each chain before the first draw, and from one draw to the next.
    seed : int
    max_r_hat : float
        A RuntimeWarning names the worst parameter whose R-hat is above it.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError
        If the data cannot identify the model.
    """
    _check_model(outcomes, covariance)
    patterns = _rated(_patterns(outcomes, covariance))
    scale = reml_covariances(outcomes, covariance)
    n_chains = max(2, min(N_CHAINS, n_draws // 20))
    n_kept = -(-n_draws // n_chains)
    rng = np.random.default_rng([seed, 0])
    sigma = np.repeat(scale[None], n_chains, axis=0)
    kept, traces = [], []
    for step in range(burn_in + thinning * n_kept):
        beta, completed = _augment(outcomes, patterns, sigma, rng)
        if step >= burn_in:
            traces.append(_trace(outcomes, beta, sigma))
            if (step - burn_in) % thinning == 0:
                kept.append((beta, sigma))
        sigma = _draw_covariances(outcomes, patterns, beta, completed, scale, rng)
    betas, sigmas = (np.stack(draws, axis=1) for draws in zip(*kept, strict=True))
    mixing = _mixing(traces, n_draws, thinning)
    _warn_of_mixing(mixing, max_r_hat)
    return Posterior(
        coefficients=betas.reshape(-1, *betas.shape[2:])[:n_draws],
        covariances=sigmas.reshape(-1, *sigmas.shape[2:])[:n_draws],
        mixing=mixing,
    )


def _rated(patterns):
    """Without those who were never rated: they tell nothing about the parameters."""
    return [pattern for pattern in patterns if pattern.seen.any()]


def _check_model(outcomes, covariance):
    """Refuse what the imputation model cannot be estimated from."""
    if covariance not in COVARIANCES:
        raise ValueError(
            f"covariance among {', '.join(COVARIANCES)} expected, found {covariance!r}"
        )
    _check_attendance(outcomes)
    _check_design(outcomes)
    n_needed = len(outcomes.visits) + 3
    rated = outcomes.observed.any(axis=1)
    groups = {"all participants": (rated, "fewer visits")}
    if covariance == "by_arm":
        instead = "covariance='common', or fewer visits"
        groups = {f"{arm} arm": (rated & own, instead) for arm, own in _by_arm(outcomes)}
    for name, (who, instead) in groups.items():
        if who.sum() < n_needed:
            raise ValueError(
                f"{name}: at least {n_needed} rated participants expected for a covariance matrix "
                f"of {len(outcomes.visits)} visits, found {who.sum()}. Use {instead}"
            )
        _check_variation(name, outcomes, who, instead)


def _by_arm(outcomes):
    return zip(ARMS, (outcomes.active, ~outcomes.active), strict=True)


def _check_attendance(outcomes):
    for arm, own in _by_arm(outcomes):
        if not own.any():
            raise ValueError(f"participants of both arms expected, found none of the {arm} arm")
        rated = outcomes.observed[own].any(axis=0)
        if not rated.all():
            visit = outcomes.visits[int(np.argmin(rated))]
            raise ValueError(
                f"visit {visit}: ratings of both arms expected, found none of the {arm} arm. Leave "
                "the visit out (and drop it with visit.cat.remove_unused_categories())"
            )
        if not outcomes.observed[own].all(axis=1).any():
            raise ValueError(
                f"{arm} arm: at least one participant rated at every visit expected, found none. "
                "Leave out a visit that few attended"
            )


def _check_design(outcomes):
    for visit, seen in zip(outcomes.visits, outcomes.observed.T, strict=True):
        if np.linalg.matrix_rank(outcomes.design[seen]) < 3:
            raise ValueError(
                f"visit {visit}: ratings that tell arm and baseline apart expected, found "
                f"{seen.sum()} that do not (is the baseline the same for all?). Leave the visit out"
            )


def _check_variation(name, outcomes, who, instead):
    flat = np.nanvar(outcomes.values[who], axis=0) == 0
    if flat.any():
        visit = outcomes.visits[int(np.argmax(flat))]
        raise ValueError(
            f"{name}, visit {visit}: outcomes that vary between participants expected, found one "
            f"value. Check the scores, or use {instead}"
        )


def _precision_parts(outcomes, patterns, sigma):
    """Information matrix of the coefficients and its right-hand side, by chain.

    ``sigma`` is (chains, groups, n_visits, n_visits). Also returns, for each pattern, the inverse
    of the rated visits' covariance, with zeros at the others.
    """
    n_chains, n_visits = sigma.shape[0], sigma.shape[-1]
    information = np.zeros((n_chains, 3, n_visits, 3, n_visits))
    right = np.zeros((n_chains, 3, n_visits))
    inverses = []
    for pattern in patterns:
        x = outcomes.design[pattern.rows]
        y = np.nan_to_num(outcomes.values[pattern.rows])
        inverse = _inverse_of_seen(sigma[:, pattern.group], pattern.seen)
        information += np.einsum("ab,cij->caibj", x.T @ x, inverse)
        right += (x.T @ y) @ inverse
        inverses.append(inverse)
    size = 3 * n_visits
    return information.reshape(n_chains, size, size), right.reshape(n_chains, size), inverses


def _inverse_of_seen(sigma, seen):
    inverse = np.zeros_like(sigma)
    block = np.ix_(seen, seen)
    inverse[:, block[0], block[1]] = np.linalg.inv(sigma[:, block[0], block[1]])
    return inverse


def _augment(outcomes, patterns, sigma, rng):
    """Coefficients given the covariances and the rated outcomes, then the missing outcomes."""
    n_chains, n_visits = sigma.shape[0], sigma.shape[-1]
    information, right, inverses = _precision_parts(outcomes, patterns, sigma)
    factor = np.linalg.cholesky(information)
    normal = rng.standard_normal(right.shape)
    half = np.linalg.solve(factor, right[..., None])[..., 0]
    beta = np.linalg.solve(np.swapaxes(factor, 1, 2), (half + normal)[..., None])[..., 0]
    beta = beta.reshape(n_chains, 3, n_visits)
    completed = np.repeat(outcomes.values[None], n_chains, axis=0)
    for pattern, inverse in zip(patterns, inverses, strict=True):
        if not pattern.seen.all():
            mean = outcomes.design[pattern.rows] @ beta
            drawn = _draw_missing(
                outcomes.values[pattern.rows],
                mean,
                sigma[:, pattern.group],
                inverse,
                pattern.seen,
                rng.standard_normal((n_chains, len(pattern.rows), n_visits)),
            )
            completed[:, pattern.rows] = drawn
    return beta, completed


def _draw_missing(values, mean, sigma, inverse, seen, normal):
    """Rows with their missing visits drawn given the rated ones.

    ``values`` (n, n_visits) has NaN where missing, ``mean`` (chains, n, n_visits), ``sigma`` and
    ``inverse`` (chains, n_visits, n_visits); ``normal`` as ``mean``, of which the missing visits'
    columns are used.
    """
    residual = np.where(seen, np.where(seen, values, 0.0) - mean, 0.0)
    slope = inverse @ sigma  # (rated, missing)
    expected = mean + residual @ slope
    spread = sigma - sigma @ slope
    missing = np.ix_(~seen, ~seen)
    factor = np.linalg.cholesky(spread[:, missing[0], missing[1]])
    completed = np.broadcast_to(values, mean.shape).copy()
    noise = normal[..., ~seen] @ np.swapaxes(factor, 1, 2)
    completed[..., ~seen] = expected[..., ~seen] + noise
    return completed


def _draw_covariances(outcomes, patterns, beta, completed, scale, rng):
    """Covariances given coefficients and completed outcomes: inverse Wishart, by group."""
    n_visits = scale.shape[-1]
    residual = completed - outcomes.design @ beta
    drawn = []
    for group in range(len(scale)):
        rows = np.concatenate([p.rows for p in patterns if p.group == group])
        own = residual[:, rows]
        total = scale[group] + np.swapaxes(own, 1, 2) @ own
        drawn.append(inverse_wishart(n_visits + 2 + len(rows), total, rng))
    return np.stack(drawn, axis=1)


def inverse_wishart(df, scale, rng):
    """Draw from inverse Wishart distributions by Bartlett's decomposition.

    Parameters
    ----------
    df : float
    scale : numpy.ndarray, (n, p, p)
        The mean is scale / (df - p - 1).
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray, (n, p, p)
    """
    n, p = scale.shape[:2]
    lower = np.tril(rng.standard_normal((n, p, p)), -1)
    diagonal = np.arange(p)
    lower[:, diagonal, diagonal] = np.sqrt(rng.chisquare(df - diagonal, (n, p)))
    # The Bartlett factor of a Wishart of identity scale; its inverse, scaled, is the draw's root.
    root = np.linalg.solve(lower, np.swapaxes(np.linalg.cholesky(scale), 1, 2))
    return np.swapaxes(root, 1, 2) @ root


def reml_covariances(outcomes, covariance="common"):
    """Estimate the covariance matrices by REML.

    By the EM algorithm with the coefficients integrated out (Laird & Ware 1982, Biometrics
    38:963-974).

    Returns
    -------
    numpy.ndarray, (n_groups, n_visits, n_visits)

    Raises
    ------
    ValueError
        If an estimate is singular: visits that determine one another.
    """
    patterns = _rated(_patterns(outcomes, covariance))
    n_groups = len({p.group for p in patterns})
    spread = np.nanvar(outcomes.values, axis=0)
    sigma = np.repeat(np.diag(spread)[None], n_groups, axis=0)
    for _ in range(EM_STEPS):
        new = _em_step(outcomes, patterns, sigma)
        change = np.abs(new - sigma).max() / spread.max()
        sigma = new
        if change < EM_TOLERANCE:
            break
        _check_covariances(outcomes, sigma)
    else:
        warnings.warn(
            f"the REML covariance was still changing by {change:.1e} after {EM_STEPS} EM steps: "
            "too few participants for some pair of visits?",
            RuntimeWarning,
            stacklevel=2,
        )
    return sigma


def _em_step(outcomes, patterns, sigma):
    beta, uncertainty, inverses = _gls(outcomes, patterns, sigma)
    total, n = np.zeros_like(sigma), np.zeros(len(sigma))
    for pattern, inverse in zip(patterns, inverses, strict=True):
        own, x = sigma[pattern.group], outcomes.design[pattern.rows]
        residual = np.where(pattern.seen, outcomes.values[pattern.rows] - x @ beta, 0.0)
        slope = inverse @ own
        expected = residual @ slope
        doubt = np.einsum("ab,aibj->ij", x.T @ x, uncertainty)  # of the means, summed
        total[pattern.group] += expected.T @ expected + slope.T @ doubt @ slope
        total[pattern.group] += len(x) * (own - own @ slope)
        n[pattern.group] += len(x)
    return total / n[:, None, None]


def _gls(outcomes, patterns, sigma):
    """Coefficients (3, n_visits) and their covariance (3, n_visits, 3, n_visits)."""
    n_visits = sigma.shape[-1]
    information, right, inverses = _precision_parts(outcomes, patterns, sigma[None])
    uncertainty = np.linalg.inv(information[0])
    beta = (uncertainty @ right[0]).reshape(3, n_visits)
    shape = (3, n_visits, 3, n_visits)
    return beta, uncertainty.reshape(shape), [inverse[0] for inverse in inverses]


def _check_covariances(outcomes, sigma):
    arms, instead = ("",), "fewer visits"
    if len(sigma) > 1:
        arms = ("control arm, ", "active arm, ")
        instead = "covariance='common', or fewer visits"
    for arm, own in zip(arms, sigma, strict=True):
        sd = np.sqrt(np.diag(own))
        if np.linalg.eigvalsh(own / np.outer(sd, sd))[0] < 1e-6:
            raise ValueError(
                f"{arm}visits {', '.join(map(str, outcomes.visits))}: a covariance matrix of full "
                "rank expected, found visits that determine one another. Too few participants were "
                "rated at all of them, or scores were copied from one visit to the next: use "
                f"{instead}"
            )


def _trace(outcomes, beta, sigma):
    """What is watched of a step: {(parameter, visit): (chains,)}."""
    logs = np.log(np.diagonal(sigma, axis1=-2, axis2=-1))
    groups = ("",) if logs.shape[1] == 1 else (" control", " active")
    watched = {"arm effect": beta[:, 2]}
    watched |= {f"log variance{name}": logs[:, g] for g, name in enumerate(groups)}
    return {
        (parameter, visit): values[:, j]
        for parameter, values in watched.items()
        for j, visit in enumerate(outcomes.visits)
    }


def _mixing(traces, n_draws, thinning):
    """R-hat (Gelman & Rubin 1992, Stat Sci 7:457-472) over all steps, and what thinning leaves."""
    rows = []
    for parameter, visit in traces[0]:
        values = np.stack([trace[parameter, visit] for trace in traces], axis=1)
        n_chains, n = values.shape
        centred = values - values.mean(axis=1, keepdims=True)
        within = (centred**2).sum() / (n_chains * (n - 1))
        between = values.mean(axis=1).var(ddof=1) if n_chains > 1 else np.nan
        lagged = np.mean(centred[:, thinning:] * centred[:, :-thinning]) / within
        row = {"parameter": parameter, "visit": visit}
        row |= {"r_hat": np.sqrt((n - 1) / n + between / within), "autocorrelation": lagged}
        shrink = (1 - lagged) / (1 + lagged)  # of a first-order autoregression
        rows.append(row | {"effective_draws": n_draws * min(1.0, shrink)})
    return pd.DataFrame(rows)


def _warn_of_mixing(mixing, max_r_hat):
    slow = mixing[mixing["r_hat"] > max_r_hat]
    if len(slow):
        worst = slow.loc[slow["r_hat"].idxmax()]
        warnings.warn(
            f"{worst['parameter']}, visit {worst['visit']}: R-hat of at most {max_r_hat:g} "
            f"expected, found {worst['r_hat']:.3f}: the sampler's chains disagree. Raise burn_in "
            "and thinning",
            RuntimeWarning,
            stacklevel=3,
        )


# --- completing the outcomes ----------------------------------------------------------------------


@dataclass(frozen=True)
class Imputation:
    """Outcomes with the draws that complete them: see :func:`fit_imputation`."""

    outcomes: Outcomes
    posterior: Posterior
    covariance: str
    seed: int

    @property
    def n_imputations(self):
        """Number of completed data sets."""
        return len(self.posterior.coefficients)

    def complete(self, strategy="mar"):
        """Complete the outcomes under a strategy: see :func:`impute`."""
        rng = np.random.default_rng([self.seed, 1])
        normal = rng.standard_normal((self.n_imputations, *self.outcomes.values.shape))
        return impute(self.outcomes, self.posterior, normal, strategy, self.covariance)


def fit_imputation(
    changes, baselines=None, n_imputations=1000, covariance="common", seed=0, **sampler
):
    """Fit the imputation model to one scale.

    Parameters
    ----------
    changes, baselines
        As for :func:`outcome_table`.
    n_imputations : int
        At least 2. The Monte-Carlo error of a result falls with its square root.
    covariance : {"common", "by_arm"}
    seed : int
        The same seed gives the same numbers; every strategy and delta uses the same random normals,
        so that their differences are not blurred by them.
    **sampler
        burn_in, thinning, max_r_hat of :func:`draw_posterior`.

    Returns
    -------
    Imputation
    """
    if n_imputations < 2:
        raise ValueError(f"n_imputations: at least 2 expected, found {n_imputations}")
    outcomes = outcome_table(changes, baselines)
    posterior = draw_posterior(outcomes, n_imputations, covariance, seed=seed, **sampler)
    return Imputation(outcomes, posterior, covariance, seed)


def impute(outcomes, posterior, normal, strategy="mar", covariance="common"):
    """Complete the outcomes once for each draw of the parameters.

    Parameters
    ----------
    outcomes : Outcomes
    posterior : Posterior
    normal : numpy.ndarray, (n_draws, n, n_visits)
        Standard normal numbers; zeros give conditional means.
    strategy : {"mar", "jump_to_reference", "copy_reference", "copy_increments"}
        For visits after the last one rated, in the active arm. The control arm is its own
        reference, so every strategy is MAR there.
    covariance : {"common", "by_arm"}
        As the posterior was drawn.

    Returns
    -------
    numpy.ndarray, (n_draws, n, n_visits)
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy among {', '.join(STRATEGIES)} expected, found {strategy!r}")
    completed = np.repeat(outcomes.values[None], len(normal), axis=0)
    for pattern in _patterns(outcomes, covariance):
        if pattern.seen.all():
            continue
        own = outcomes.design[pattern.rows]
        reference = own * [1, 1, 0]  # as if of the control arm
        n_before = int(outcomes.n_before_withdrawal[pattern.rows[0]])
        mean, sigma = joint_distribution(
            strategy if pattern.active else "mar",
            n_before,
            own @ posterior.coefficients,
            reference @ posterior.coefficients,
            posterior.covariances[:, pattern.group],
            posterior.covariances[:, 0],
        )
        inverse = _inverse_of_seen(sigma, pattern.seen)
        completed[:, pattern.rows] = _draw_missing(
            outcomes.values[pattern.rows],
            mean,
            sigma,
            inverse,
            pattern.seen,
            normal[:, pattern.rows],
        )
    return completed


def joint_distribution(strategy, n_before, own_mean, reference_mean, own_sigma, reference_sigma):
    """Mean and covariance of all visits of participants who withdrew, under a strategy.

    Carpenter, Roger & Kenward 2013, section 4.3. A participant who was never rated has the
    reference's distribution, one who did not withdraw the own arm's.

    Parameters
    ----------
    strategy : str
    n_before : int
        Number of visits before withdrawal.
    own_mean, reference_mean : numpy.ndarray, (..., n, n_visits)
    own_sigma, reference_sigma : numpy.ndarray, (..., n_visits, n_visits)

    Returns
    -------
    mean, sigma : numpy.ndarray
    """
    n_visits = own_mean.shape[-1]
    if strategy == "mar" or n_before == n_visits:
        return own_mean, own_sigma
    if strategy == "copy_reference" or n_before == 0:
        return reference_mean, reference_sigma
    after = reference_mean[..., n_before:]
    if strategy == "copy_increments":
        last = slice(n_before - 1, n_before)
        after = own_mean[..., last] + after - reference_mean[..., last]
    mean = np.concatenate([own_mean[..., :n_before], after], axis=-1)
    return mean, _joined_covariance(own_sigma, reference_sigma, n_before)


def _joined_covariance(own, reference, n_before):
    """The own covariance before withdrawal; the reference's regression of after on before."""
    if own is reference or np.array_equal(own, reference):
        return own
    before, after = slice(None, n_before), slice(n_before, None)
    own_before = own[..., before, before]
    slope = np.linalg.solve(reference[..., before, before], reference[..., before, after])
    across = own_before @ slope
    difference = own_before - reference[..., before, before]
    rest = reference[..., after, after] + np.swapaxes(slope, -1, -2) @ difference @ slope
    top = np.concatenate([own_before, across], axis=-1)
    bottom = np.concatenate([np.swapaxes(across, -1, -2), rest], axis=-1)
    return np.concatenate([top, bottom], axis=-2)


# --- analysing and pooling ------------------------------------------------------------------------


def pool(estimates, variances, df_complete):
    """Pool the results of completed data sets by Rubin's rules.

    Degrees of freedom after Barnard & Rubin (1999, Biometrika 86:948-955); where nothing that
    matters was imputed (no variance between data sets) they are those of the complete data. The
    fraction of missing information is that of Rubin (1987, Multiple Imputation, eq. 3.1.10).

    Parameters
    ----------
    estimates, variances : numpy.ndarray, (n_imputations,)
        Of each data set; variances are squared standard errors.
    df_complete : float
        Degrees of freedom had nothing been missing.

    Returns
    -------
    dict
        estimate, se, df, ci_low, ci_high, t, p, n_imputations, fraction_missing_information,
        monte_carlo_se.
    """
    m = len(estimates)
    within, between = np.mean(variances), np.var(estimates, ddof=1)
    if between < 1e-20 * within:  # rounding
        between = 0.0
    estimate, total = np.mean(estimates), within + (1 + 1 / m) * between
    df, information = _pooled_df((1 + 1 / m) * between, within, m, df_complete)
    se = np.sqrt(total)
    t = estimate / se
    margin = stats.t.ppf(0.975, df) * se
    return {
        "estimate": estimate,
        "se": se,
        "df": df,
        "ci_low": estimate - margin,
        "ci_high": estimate + margin,
        "t": t,
        "p": 2 * stats.t.sf(abs(t), df),
        "n_imputations": m,
        "fraction_missing_information": information,
        "monte_carlo_se": np.sqrt(between / m),
    }


def _pooled_df(extra, within, m, df_complete):
    """Barnard and Rubin's degrees of freedom, and the fraction of missing information."""
    if extra == 0:
        return float(df_complete), 0.0
    share = extra / (within + extra)
    old = (m - 1) / share**2
    observed = (df_complete + 1) / (df_complete + 3) * df_complete * (1 - share)
    ratio = extra / within
    information = (ratio + 2 / (old + 3)) / (ratio + 1)
    return old * observed / (old + observed), information


def ancova_completed(outcomes, values):
    """Fit outcome ~ baseline + arm by least squares to each completed data set at one visit.

    Parameters
    ----------
    outcomes : Outcomes
    values : numpy.ndarray, (n_imputations, n)

    Returns
    -------
    estimates, variances : numpy.ndarray, (n_imputations,)
        Of active - control.
    df : int
    """
    x = outcomes.design
    df = len(x) - x.shape[1]
    coefficients = values @ np.linalg.pinv(x).T
    residual = values - coefficients @ x.T
    unscaled = np.linalg.inv(x.T @ x)[2, 2]
    return coefficients[:, 2], (residual**2).sum(axis=1) / df * unscaled, df


def imputation_table(imputation, strategies=STRATEGIES, visits=None):
    """Compare the arms by ANCOVA on completed data, pooled by Rubin's rules.

    Parameters
    ----------
    imputation : Imputation
    strategies : sequence of str
    visits : sequence, optional
        All by default.

    Returns
    -------
    pandas.DataFrame
        analysis (the strategy), visit, contrast, estimate, se, df, ci_low, ci_high, t, p,
        n_imputations, fraction_missing_information, monte_carlo_se.
    """
    outcomes = imputation.outcomes
    rows = []
    for strategy in strategies:
        completed = imputation.complete(strategy)
        for visit in outcomes.visits if visits is None else visits:
            values = completed[:, :, outcomes.visit_index(visit)]
            row = {"analysis": strategy, "visit": visit, "contrast": CONTRAST}
            rows.append(row | pool(*ancova_completed(outcomes, values)))
    return pd.DataFrame(rows)


# --- tipping point --------------------------------------------------------------------------------


@dataclass(frozen=True)
class TippingPoint:
    """Result of :func:`tipping_point`.

    Attributes
    ----------
    table : pandas.DataFrame
        visit, contrast, delta_active, delta_control, estimate, se, df, ci_low, ci_high, t, p; one
        row a pair of deltas.
    tips : pandas.DataFrame
        One row a delta_control: visit, delta_control, status, delta_before and p_before (the last
        delta of the grid that leaves p below alpha), delta_tips and p_tips (the first that does
        not), delta_interpolated (where p would be alpha on a straight line between the two).
        status: "tips", "does not tip" (within the grid) or "not significant at delta 0".
    """

    table: pd.DataFrame
    tips: pd.DataFrame


def tipping_point(imputation, visit, deltas_active, deltas_control=(0.0,), alpha=0.05):
    """Find how much worse withdrawn participants must have done for the result to be lost.

    To each MAR imputation after the last visit rated delta is added (points of the scale; positive
    is worse where lower scores are better), as rbmi and the five macros do, and the data are
    analysed and pooled again. Only the delta at the analysed visit matters. All deltas share the
    same imputations, so the curve is smooth.

    Parameters
    ----------
    imputation : Imputation
    visit
        The visit analysed.
    deltas_active, deltas_control : sequence of float
        Grid, for the participants of each arm who withdrew before the visit. ``deltas_active``
        contains 0.
    alpha : float

    Returns
    -------
    TippingPoint
    """
    deltas_active, deltas_control = (np.unique(d) for d in (deltas_active, deltas_control))
    if 0 not in deltas_active:
        raise ValueError("deltas_active: a grid that contains 0 expected, found one without")
    outcomes, index = imputation.outcomes, imputation.outcomes.visit_index(visit)
    values = imputation.complete("mar")[:, :, index]
    gone = outcomes.withdrawn[:, index]
    rows = []
    for delta_control in deltas_control:
        for delta_active in deltas_active:
            shift = np.where(outcomes.active, delta_active, delta_control) * gone
            row = {"visit": visit, "contrast": CONTRAST}
            row |= {"delta_active": delta_active, "delta_control": delta_control}
            rows.append(row | pool(*ancova_completed(outcomes, values + shift)))
    unchanged = ["n_imputations", "fraction_missing_information", "monte_carlo_se"]
    table = pd.DataFrame(rows).drop(columns=unchanged)
    groups = table.groupby("delta_control", sort=True)
    return TippingPoint(table, pd.DataFrame([_tip(rows, alpha) for _, rows in groups]))


def _tip(rows, alpha):
    """Walk from delta 0 in the direction that takes the estimate to 0."""
    start = rows[rows["delta_active"] == 0].iloc[0]
    row = {"visit": start["visit"], "delta_control": start["delta_control"]}
    row["status"] = "not significant at delta 0"
    found = ("delta_before", "p_before", "delta_tips", "p_tips", "delta_interpolated")
    row |= dict.fromkeys(found, np.nan)
    if start["p"] >= alpha:
        return row
    towards_zero = -np.sign(start["estimate"])
    path = rows[rows["delta_active"] * towards_zero >= 0]
    path = path.sort_values("delta_active", ascending=towards_zero > 0)
    delta, p = path["delta_active"].to_numpy(), path["p"].to_numpy()
    n_below = len(p) if (p < alpha).all() else int(np.argmax(p >= alpha))
    before = {"delta_before": delta[n_below - 1], "p_before": p[n_below - 1]}
    if n_below == len(p):
        return row | {"status": "does not tip"} | before
    tips = {"delta_tips": delta[n_below], "p_tips": p[n_below]}
    share = (alpha - before["p_before"]) / (tips["p_tips"] - before["p_before"])
    between = before["delta_before"] + share * (tips["delta_tips"] - before["delta_before"])
    return row | {"status": "tips"} | before | tips | {"delta_interpolated": between}
