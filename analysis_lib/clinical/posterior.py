"""Draws from the posterior of means and covariances of incomplete outcomes."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis_lib.clinical.rating_patterns import group_by_pattern
from analysis_lib.study.contract import ARMS
from trialmmrm import MMRM, ConvergenceError, fit_with_fallback
from trialmmrm.identifiability import MOST_UNSTRUCTURED
from trialmmrm.structures import FALLBACK

N_CHAINS = 50  # chains advance side by side, as one array operation
BURN_IN, THINNING = 100, 10  # steps of a chain before the first draw, and from one to the next
MAX_R_HAT = 1.05
EM_STEPS, EM_TOLERANCE = 2000, 1e-9


@dataclass(frozen=True)
class Posterior:
    """Draws of the imputation model's parameters."""

    coefficients: np.ndarray  # (n_draws, columns of Outcomes.design, n_visits)
    covariances: np.ndarray  # (n_draws, n_visits, n_visits), of both arms
    mixing: pd.DataFrame  # r_hat, autocorrelation of successive draws, effective_draws
    structure: str = "us"
    fallback_reason: str | None = None


class TooRich(ConvergenceError, ValueError):
    """The data cannot bear an unstructured covariance."""


def draw_posterior(outcomes, n_draws=1000, seed=0):
    """Draw the imputation model's parameters from their posterior.

    Priors are those of the five macros and of rbmi (its "Statistical Specifications"): flat for the
    coefficients, inverse Wishart for the covariance matrix with n_visits + 2 degrees of freedom and
    the REML estimate as scale, so that the REML estimate is its mean and it weighs about as much as
    one participant. Where the data cannot bear an unstructured covariance, a simpler one is drawn
    as :meth:`trialmmrm.MMRM.draw` does.

    The sampler alternates covariance, coefficients (with missing outcomes integrated out) and
    missing outcomes (data augmentation: Schafer 1997, Analysis of Incomplete Multivariate Data, ch.
    5). Chains start at the REML estimate and run side by side. A RuntimeWarning names the worst
    parameter whose R-hat is too large. Data that cannot identify the model are a ValueError.
    """
    ready = prepare(outcomes)
    if isinstance(ready, MMRM):
        return _draw_patterned(outcomes, ready, n_draws, seed)
    patterns, scale = _rated(group_by_pattern(outcomes)), ready
    n_chains = max(2, min(N_CHAINS, n_draws // 20))
    n_kept = -(-n_draws // n_chains)
    rng = np.random.default_rng([seed, 0])
    sigma = np.repeat(scale[None], n_chains, axis=0)
    kept, traces = [], []
    for step in range(BURN_IN + THINNING * n_kept):
        beta, completed = _augment(outcomes, patterns, sigma, rng)
        if step >= BURN_IN:
            traces.append(_trace(outcomes, beta, sigma))
            if (step - BURN_IN) % THINNING == 0:
                kept.append((beta, sigma))
        sigma = _draw_covariance(outcomes, patterns, beta, completed, scale, rng)
    betas, sigmas = (np.stack(draws, axis=1) for draws in zip(*kept, strict=True))
    mixing = _mixing(traces, n_draws)
    _warn_of_mixing(mixing)
    return Posterior(
        coefficients=betas.reshape(-1, *betas.shape[2:])[:n_draws],
        covariances=sigmas.reshape(-1, *sigmas.shape[2:])[:n_draws],
        mixing=mixing,
    )


def prepare(outcomes):
    """All that comes before the draws: the REML covariance, or a model with a simpler one.

    Raises ValueError if the data cannot identify the model.
    """
    _check_design(outcomes)
    try:
        _check_richness(outcomes)
        return reml_covariance(outcomes)
    except (TooRich, np.linalg.LinAlgError) as error:
        return _fit_patterned(outcomes, str(error))


def _fit_patterned(outcomes, reason):
    """The imputation model with the first covariance after unstructured that converges."""
    columns = [f"d{k}" for k in range(outcomes.design.shape[1])]
    wide = pd.DataFrame(outcomes.values, columns=pd.Index(outcomes.visits, name="visit"))
    long = wide.rename_axis("who").stack().rename("outcome").reset_index()
    long["visit"] = pd.Categorical(long["visit"], outcomes.visits, ordered=True)
    long = long.join(pd.DataFrame(outcomes.design, columns=columns), on="who")
    formula = "outcome ~ 0 + " + " + ".join(f"visit:{name}" for name in columns)
    order = FALLBACK[1:] if len(outcomes.visits) > 1 else FALLBACK[:1]
    fit = fit_with_fallback(long, formula, "who", "visit", order=order)
    fit.fallback_reason = "; ".join(filter(None, [f"us: {reason}", fit.fallback_reason]))
    return fit


def _draw_patterned(outcomes, fit, n_draws, seed):
    """Independent draws: there is no chain whose mixing could be watched."""
    betas, sigmas = fit.draw(n_draws, np.random.default_rng([seed, 0]))
    n_visits = len(outcomes.visits)
    rows = [
        {"parameter": "arm effect", "visit": visit, "r_hat": 1.0, "autocorrelation": 0.0}
        for visit in outcomes.visits
    ]
    mixing = pd.DataFrame(rows).assign(effective_draws=float(n_draws))
    betas = betas.reshape(n_draws, -1, n_visits)
    found = fit.covariance_structure, fit.fallback_reason
    return Posterior(betas, sigmas, mixing, *found)


def _rated(patterns):
    """Without participants who were never rated: they hold no information on the parameters."""
    return [pattern for pattern in patterns if pattern.seen.any()]


def _check_richness(outcomes):
    """Refuse what an unstructured covariance cannot be estimated from."""
    n_visits, rated = len(outcomes.visits), outcomes.observed.any(axis=1)
    if n_visits > MOST_UNSTRUCTURED:
        raise TooRich(
            f"at most {MOST_UNSTRUCTURED} visits expected for an unstructured covariance, found "
            f"{n_visits}"
        )
    if rated.sum() < n_visits + 3:
        raise TooRich(
            f"all participants: at least {n_visits + 3} rated participants expected for a "
            f"covariance matrix of {n_visits} visits, found {rated.sum()}. Use fewer visits"
        )
    _check_variation(outcomes)
    _check_complete(outcomes)
    seen = outcomes.observed.astype(int)
    if (seen.T @ seen).min() < 2:
        raise TooRich("two visits at which fewer than two participants were both rated")


def _check_complete(outcomes):
    for arm, own in zip(ARMS, (outcomes.active, ~outcomes.active), strict=True):
        if not outcomes.observed[own].all(axis=1).any():
            raise TooRich(
                f"{arm} arm: at least one participant rated at every visit expected, found none. "
                "Leave out a visit that few attended"
            )


def _check_design(outcomes):
    for visit, seen in zip(outcomes.visits, outcomes.observed.T, strict=True):
        if np.linalg.matrix_rank(outcomes.design[seen]) < outcomes.design.shape[1]:
            raise ValueError(
                f"visit {visit}: ratings that distinguish arm, baseline and what else the model "
                f"adjusts for expected, found {seen.sum()} that do not (is the baseline the same "
                "for all, or nobody of a site rated?). Leave the visit out, or the factor"
            )


def _check_variation(outcomes):
    flat = np.nanvar(outcomes.values, axis=0) == 0
    if flat.any():
        visit = outcomes.visits[int(np.argmax(flat))]
        raise ValueError(
            f"all participants, visit {visit}: outcomes that vary between participants expected, "
            "found one value. Check the scores, or use fewer visits"
        )


def _precision_parts(outcomes, patterns, sigma):
    """Information matrix of the coefficients and its right-hand side, by chain.

    ``sigma`` is (chains, n_visits, n_visits). Also returns, for each pattern, the inverse of the
    rated visits' covariance, with zeros at the others.
    """
    n_chains, n_visits, k = sigma.shape[0], sigma.shape[-1], outcomes.design.shape[1]
    information = np.zeros((n_chains, k, n_visits, k, n_visits))
    right = np.zeros((n_chains, k, n_visits))
    inverses = []
    for pattern in patterns:
        x = outcomes.design[pattern.rows]
        y = np.nan_to_num(outcomes.values[pattern.rows])
        inverse = inverse_of_seen(sigma, pattern.seen)
        information += np.einsum("ab,cij->caibj", x.T @ x, inverse)
        right += (x.T @ y) @ inverse
        inverses.append(inverse)
    size = k * n_visits
    return information.reshape(n_chains, size, size), right.reshape(n_chains, size), inverses


def inverse_of_seen(sigma, seen):
    """Inverse of a covariance matrix over the visits rated, zeros elsewhere."""
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
    beta = beta.reshape(n_chains, -1, n_visits)
    completed = np.repeat(outcomes.values[None], n_chains, axis=0)
    for pattern, inverse in zip(patterns, inverses, strict=True):
        if not pattern.seen.all():
            mean = outcomes.design[pattern.rows] @ beta
            drawn = draw_missing(
                outcomes.values[pattern.rows],
                mean,
                sigma,
                inverse,
                pattern.seen,
                rng.standard_normal((n_chains, len(pattern.rows), n_visits)),
            )
            completed[:, pattern.rows] = drawn
    return beta, completed


def draw_missing(values, mean, sigma, inverse, seen, normal):
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


def _draw_covariance(outcomes, patterns, beta, completed, scale, rng):
    """The covariance given coefficients and completed outcomes: inverse Wishart."""
    rows = np.concatenate([pattern.rows for pattern in patterns])
    residual = (completed - outcomes.design @ beta)[:, rows]
    total = scale + np.swapaxes(residual, 1, 2) @ residual
    return inverse_wishart(len(scale) + 2 + len(rows), total, rng)


def inverse_wishart(df, scale, rng):
    """Draw from inverse Wishart distributions by Bartlett's decomposition, (n, p, p).

    Their means are scale / (df - p - 1), of scales (n, p, p).
    """
    n, p = scale.shape[:2]
    lower = np.tril(rng.standard_normal((n, p, p)), -1)
    diagonal = np.arange(p)
    lower[:, diagonal, diagonal] = np.sqrt(rng.chisquare(df - diagonal, (n, p)))
    # The Bartlett factor of a Wishart of identity scale; its inverse, scaled, is the draw's root.
    root = np.linalg.solve(lower, np.swapaxes(np.linalg.cholesky(scale), 1, 2))
    return np.swapaxes(root, 1, 2) @ root


def reml_covariance(outcomes):
    """The covariance matrix by REML (n_visits, n_visits); visits must not determine one another.

    By the EM algorithm with the coefficients integrated out (Laird & Ware 1982, Biometrics
    38:963-974).
    """
    patterns = _rated(group_by_pattern(outcomes))
    spread = np.nanvar(outcomes.values, axis=0)
    sigma = np.diag(spread)
    for _ in range(EM_STEPS):
        new = _em_step(outcomes, patterns, sigma)
        change = np.abs(new - sigma).max() / spread.max()
        sigma = new
        if change < EM_TOLERANCE:
            break
        _check_covariance(outcomes, sigma)
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
    total, n = np.zeros_like(sigma), 0
    for pattern, inverse in zip(patterns, inverses, strict=True):
        x = outcomes.design[pattern.rows]
        residual = np.where(pattern.seen, outcomes.values[pattern.rows] - x @ beta, 0.0)
        slope = inverse @ sigma
        expected = residual @ slope
        doubt = np.einsum("ab,aibj->ij", x.T @ x, uncertainty)  # of the means, summed
        total += expected.T @ expected + slope.T @ doubt @ slope
        total += len(x) * (sigma - sigma @ slope)
        n += len(x)
    return total / n


def _gls(outcomes, patterns, sigma):
    """Coefficients (k, n_visits) and their covariance (k, n_visits, k, n_visits)."""
    n_visits = sigma.shape[-1]
    information, right, inverses = _precision_parts(outcomes, patterns, sigma[None])
    uncertainty = np.linalg.inv(information[0])
    beta = (uncertainty @ right[0]).reshape(-1, n_visits)
    shape = (len(beta), n_visits, len(beta), n_visits)
    return beta, uncertainty.reshape(shape), [inverse[0] for inverse in inverses]


def _check_covariance(outcomes, sigma):
    sd = np.sqrt(np.diag(sigma))
    if np.linalg.eigvalsh(sigma / np.outer(sd, sd))[0] < 1e-6:
        raise TooRich(
            f"visits {', '.join(map(str, outcomes.visits))}: a covariance matrix of full rank "
            "expected, found visits that determine one another. Too few participants were rated at "
            "all of them, or scores were copied from one visit to the next: use fewer visits"
        )


def _trace(outcomes, beta, sigma):
    """What is watched of a step: {(parameter, visit): (chains,)}."""
    logs = np.log(np.diagonal(sigma, axis1=-2, axis2=-1))
    watched = {"arm effect": beta[:, 2], "log variance": logs}
    return {
        (parameter, visit): values[:, j]
        for parameter, values in watched.items()
        for j, visit in enumerate(outcomes.visits)
    }


def _mixing(traces, n_draws):
    """R-hat (Gelman & Rubin 1992, Stat Sci 7:457-472) over all steps, and what thinning leaves."""
    rows = []
    for parameter, visit in traces[0]:
        values = np.stack([trace[parameter, visit] for trace in traces], axis=1)
        n_chains, n = values.shape
        centred = values - values.mean(axis=1, keepdims=True)
        within = (centred**2).sum() / (n_chains * (n - 1))
        between = values.mean(axis=1).var(ddof=1) if n_chains > 1 else np.nan
        lagged = np.mean(centred[:, THINNING:] * centred[:, :-THINNING]) / within
        row = {"parameter": parameter, "visit": visit}
        row |= {"r_hat": np.sqrt((n - 1) / n + between / within), "autocorrelation": lagged}
        shrink = (1 - lagged) / (1 + lagged)  # of a first-order autoregression
        rows.append(row | {"effective_draws": n_draws * min(1.0, shrink)})
    return pd.DataFrame(rows)


def _warn_of_mixing(mixing):
    slow = mixing[mixing["r_hat"] > MAX_R_HAT]
    if len(slow):
        worst = slow.loc[slow["r_hat"].idxmax()]
        warnings.warn(
            f"{worst['parameter']}, visit {worst['visit']}: R-hat of at most {MAX_R_HAT:g} "
            f"expected, found {worst['r_hat']:.3f}: the sampler's chains disagree. Raise BURN_IN "
            "and THINNING in analysis_lib/clinical/posterior.py",
            RuntimeWarning,
            stacklevel=3,
        )
