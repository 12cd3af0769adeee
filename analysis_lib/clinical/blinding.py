"""Blinding indices (Bang, James)."""

import math

import numpy as np
import pandas as pd
from scipy import optimize, stats

from analysis_lib.study.conduct import UNKNOWN
from analysis_lib.study.contract import ARMS

CRITICAL = stats.chi2.ppf(0.95, 1)


def bang_index(correct, wrong, unknown):
    """Bang's blinding index of one arm, its error and 95 % limits, from counts of guesses.

    (correct - wrong) / all: 1 when all guess right, 0 when as many are wrong as right, -1 when all
    guess the other arm (Bang, Ni & Davis 2004, Control Clin Trials 25:143-156). The paper's Wald
    interval covers .86 on average at n = 12. This one inverts the score test, as Tango (1998, Stat
    Med 17:891-908) does for the same difference of two multinomial shares: over all shares it
    covers .96 on average at n = 12, and .85 at worst, where nearly all guess alike. The error, of
    the multinomial variance, is missing where all answers are alike.
    """
    n = correct + wrong + unknown
    if n == 0:
        return (np.nan,) * 4
    value = (correct - wrong) / n
    variance = ((correct + wrong) / n - value**2) / n
    limits = [_bang_limit(correct, wrong, n, end) for end in (-1.0, 1.0)]
    return value, np.sqrt(variance) if variance > 1e-12 else np.nan, *limits


def _bang_limit(correct, wrong, n, end):
    """Where the score test of an index, between its estimate and ``end``, has p = .05."""

    def score(index):
        b = (2 * n - correct + wrong) * index - correct - wrong
        root = math.sqrt(max(b**2 + 8 * n * wrong * index * (1 - index), 0.0))
        guessed_wrong = (root - b) / (4 * n)  # the restricted estimate of their share
        variance = n * (2 * guessed_wrong + index * (1 - index))
        return (correct - wrong - n * index) ** 2 - CRITICAL * variance

    near = (correct - wrong) / n
    if near == end:
        return end
    return optimize.brentq(score, near + math.copysign(1e-9, end), end)


def james_index(counts):
    """James' blinding index of both arms together, its error and 95 % limits.

    1 when nobody ventures a guess, 0.5 when guesses are right and wrong as by chance, 0 when all
    are right (James et al. 1996, Stat Med 15:1421-1434; weights 0 for a right guess, 1/2 for a
    wrong one, 1 for none). With q the share who guess, a their wrong guesses and e the wrong
    guesses expected from the margins (both as shares of all, e before division by q), it is 1 - q +
    q^2 a / (2 e). Its variance is the multinomial delta method, which the paper's formula equals.
    Counts are (3, 2): guesses active, control, unknown by arms active, control. All are missing
    where the index is not defined: guesses were made in one arm only, and all of them right. Error
    and limits are missing where the variance is 0.
    """
    p = np.asarray(counts, float)
    n = p.sum()
    if n == 0:
        return (np.nan,) * 4
    p, guessed = p / n, p[:2] / n
    q, wrong = guessed.sum(), guessed[0, 1] + guessed[1, 0]
    if q == 0:
        return _interval(1.0, 0.0, 0)
    rows, columns = guessed.sum(axis=1), guessed.sum(axis=0)
    expected = rows[0] * columns[1] + rows[1] * columns[0]
    if expected == 0:
        return (np.nan,) * 4
    slope = columns[::-1][:, None] + rows[::-1]  # of expected, by cell
    gradient = np.zeros((3, 2))  # of the index, by cell; 0 for those who do not guess
    gradient[:2] = -1 + q * wrong / expected - q**2 * wrong * slope / (2 * expected**2)
    gradient[[0, 1], [1, 0]] += q**2 / (2 * expected)
    variance = np.sum(p * gradient**2) - np.sum(p * gradient) ** 2
    return _interval(1 - q + q**2 * wrong / (2 * expected), variance / n, 0)


def _interval(value, variance, lowest):
    if variance < 1e-12:
        return value, np.nan, np.nan, np.nan
    se = np.sqrt(variance)
    margin = stats.norm.ppf(0.975) * se
    return value, se, max(value - margin, lowest), min(value + margin, 1.0)


def blinding_table(guesses):
    """Blinding indices of Bang, by arm, and of James, over both.

    Parameters
    ----------
    guesses : pandas.DataFrame
        From :func:`analysis_lib.study.read_guesses`.

    Returns
    -------
    pandas.DataFrame
        Rows of conduct/blinding.tsv. James' interval is a large-sample one.
    """
    cross = pd.crosstab(guesses["guess"], guesses["arm"])
    counts = cross.reindex(index=[*ARMS, UNKNOWN], columns=ARMS, fill_value=0)
    rows = []
    for arm, other in (ARMS, ARMS[::-1]):
        answers = [int(counts.loc[guess, arm]) for guess in (arm, other, UNKNOWN)]
        rows.append(_blinding_row("Bang", arm, answers, bang_index(*answers)))
    both = [sum(row[name] for row in rows) for name in ("n_correct", "n_wrong", "n_unknown")]
    rows.append(_blinding_row("James", "both", both, james_index(counts.to_numpy())))
    return pd.DataFrame(rows)


def _blinding_row(index, arm, answers, found):
    value, se, low, high = found
    note = ""
    if np.isnan(value):
        note = "nobody was asked" if sum(answers) == 0 else "not defined: only one arm guessed"
    elif np.isnan(low):
        note = "all answers alike: no interval"
    counts = dict(zip(("n_correct", "n_wrong", "n_unknown"), answers, strict=True))
    found = {"value": value, "se": se, "ci_low": low, "ci_high": high, "note": note}
    return {"index": index, "arm": arm, "n": sum(answers)} | counts | found
