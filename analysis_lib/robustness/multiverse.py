"""Joint inference over many analyses of one data set, from sign flips that all of them share.

PIMA (Girardi, Vesely, Lakens, Altoè, Pastore, Calcagnì & Finos 2024, Psychometrika 89:542-568): the
score of an analysis is a sum of contributions, one per subject, after nuisance columns have been
projected out. Under the null the sign of each is arbitrary, and flipping the same subjects in every
analysis keeps the dependence between them. Scores are *standardised*: divided by their standard
deviation under these flips given the hat matrix (De Santis, Goeman, Hemerik, Davenport & Finos
2022), so that small samples keep the level.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

ROUNDING = 1e-9
AT_ONCE = 8_000_000  # residuals that are made anew at once


@dataclass(frozen=True)
class Design:
    """One linear model: what is tested, and what is held constant, by row.

    ``subject`` (n_rows,) numbers the subjects from 0 where one can have several rows, which are
    then flipped together.
    """

    tested: np.ndarray  # (n_rows,)
    nuisance: np.ndarray  # (n_rows, q)
    subject: np.ndarray | None = None

    def parts(self):
        """Orthonormal columns of the nuisance, and the tested one without what they explain."""
        u, size, _ = np.linalg.svd(self.nuisance, full_matrices=False)
        basis = u[:, size > ROUNDING * size.max(initial=0)]
        left = self.tested - basis @ (basis.T @ self.tested)
        if left @ left <= ROUNDING * (self.tested @ self.tested):
            raise ValueError("what is tested follows from what is held constant: no estimate")
        return basis, left


def draw_flips(n, n_draws, seed=0):
    """Signs (n_draws, n), the first row all 1: what was observed is one of the draws."""
    flips = np.random.default_rng(seed).choice([-1.0, 1.0], (n_draws, n))
    flips[0] = 1
    return flips


def estimates(design, outcomes, errors="equal"):
    """Coefficient of what is tested in each outcome (n_rows, m), its standard error, and df.

    Errors: "equal"; "unequal", HC2; "hc3" (MacKinnon & White 1985).
    """
    basis, left = design.parts()
    full = np.column_stack([basis, left / np.linalg.norm(left)])
    residual = outcomes - full @ (full.T @ outcomes)
    df = len(left) - full.shape[1]
    variance = _weights(full, left, errors) @ np.square(residual)
    if errors == "equal":
        variance = (left @ left) * np.square(residual).sum(axis=0) / max(df, 1)
    return left @ outcomes / (left @ left), np.sqrt(variance) / (left @ left), df


def _weights(full, left, errors):
    """Of squared residuals in the variance of the score."""
    room = np.maximum(1 - np.square(full).sum(axis=1), ROUNDING)
    return np.square(left) / room ** (2 if errors == "hc3" else 1)


def flipped(design, outcomes, flips, errors="equal"):
    """Statistics of outcomes (n_rows, m) under flips (n_draws, n_subjects): (n_draws, m).

    Signs of the residuals of the model without what is tested are flipped. "equal": the score over
    its standard deviation under flips, given the hat matrix. "unequal": the full model is fitted
    again, and the coefficient studentised by HC2; a row must be a subject.
    """
    basis, left = design.parts()
    residual = outcomes - basis @ (basis.T @ outcomes)
    if errors != "equal":
        return _studentised(basis, left, residual, flips)
    by_row = flips if design.subject is None else flips[:, design.subject]
    explained = np.square((by_row * left) @ basis).sum(axis=1)
    spread = np.sqrt(np.maximum(left @ left - explained, ROUNDING * (left @ left)))
    sigma = np.sqrt(np.square(residual).sum(axis=0) / (len(left) - basis.shape[1]))
    return by_row @ (left[:, None] * residual) / spread[:, None] / sigma


def _studentised(basis, left, residual, flips):
    full = np.column_stack([basis, left / np.linalg.norm(left)])
    weights = _weights(full, left, "unequal")
    # residuals drawn from have one variance again, which the model has shrunk unevenly
    room = np.maximum(1 - np.square(basis).sum(axis=1), ROUNDING)
    scaled, n_at_once = residual / np.sqrt(room)[:, None], max(1, AT_ONCE // residual.size)
    found = []
    for some in np.array_split(flips, range(n_at_once, len(flips), n_at_once)):
        drawn = some[:, :, None] * scaled
        if not found:
            drawn[0] = residual  # observed
        score = left @ drawn
        drawn -= full @ (full.T @ drawn)
        found.append(score / np.sqrt(weights @ np.square(drawn, out=drawn)))
    return np.concatenate(found)


def p_of(draws):
    """Two-sided p of each draw within its own column, (n_draws, m): the first row is observed."""
    size = np.abs(draws)
    columns = zip(np.sort(size, axis=0).T, size.T, strict=True)
    below = [np.searchsorted(ordered, own * (1 - ROUNDING)) for ordered, own in columns]
    return 1 - np.transpose(below) / len(draws)


@dataclass(frozen=True)
class Joint:
    """Inference over all analyses at once; p-values are two-sided."""

    p_adjusted: np.ndarray  # (m,) family-wise, by the largest |t|
    median: float  # of the estimates
    p_median: float
    share: float  # with p <= level, of the sign that more of these have
    p_share: float
    stouffer: float
    p_stouffer: float
    n_true: int  # at least so many null hypotheses are false, with confidence 1 - level


def joint_test(draws, estimates, level=0.05):
    """Simonsohn's three statistics, adjusted p and the number of true ones, from shared flips.

    The median estimate, the share significant with the sign that more of them have, and Stouffer's
    Z, each compared with itself in every draw (Simonsohn, Simmons & Nelson 2020, Nature Human
    Behaviour 4:1208-1214). Adjusted p: step-down maximum (Westfall & Young 1993). That is the
    closed test whose local test is the maximum, so that the number at or below the level is a lower
    confidence bound on the number of true ones (Goeman & Solari 2011, Statistical Science
    26:584-597).

    Parameters
    ----------
    draws : numpy.ndarray, shape (n_draws, m)
        From `flipped`; the first row is observed.
    estimates : numpy.ndarray, shape (m,)
        In one unit.
    level : float

    Returns
    -------
    Joint
    """
    p, sign = p_of(draws), np.sign(draws)
    scale = np.divide(estimates, draws[0], out=np.zeros(len(estimates)), where=draws[0] != 0)
    shares = [((p <= level) & (sign == side)).mean(axis=1) for side in (-1, 1)]
    z = sign * _normal_scores(len(draws))[np.rint(p * len(draws)).astype(int) - 1]
    together = np.column_stack(
        [np.median(draws * scale, axis=1), np.maximum(*shares), z.sum(axis=1) / np.sqrt(z.shape[1])]
    )
    pairs = np.column_stack([together[0], p_of(together)[0]])
    adjusted = step_down(draws)
    return Joint(adjusted, *map(float, pairs.ravel()), int((adjusted <= level).sum()))


def _normal_scores(n):
    """|z| of each two-sided p that n draws can give: 1/n, 2/n ... 1."""
    steps = np.arange(1, n + 1) / n
    return np.array([NormalDist().inv_cdf(1 - step / 2) for step in steps])


def step_down(draws):
    """Family-wise p (m,) by the step-down maximum of |t|; the first row is observed."""
    size = np.abs(draws)
    order = np.argsort(-size[0], kind="stable")
    largest = np.maximum.accumulate(size[:, order[::-1]], axis=1)[:, ::-1]
    p = (largest >= size[0, order] * (1 - ROUNDING)).mean(axis=0)
    found = np.empty(len(p))
    found[order] = np.maximum.accumulate(p)
    return found
