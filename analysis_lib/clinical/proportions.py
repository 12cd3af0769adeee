"""Two proportions: differences and ratios with limits and p, all of one score test."""

import math

import numpy as np
from scipy import optimize, special

EDGE = 1e-12  # how near the ends of its range a measure is searched


def compare_proportions(events, n, inflation=1.0, df=np.inf):
    """Compare two proportions: difference, ratio and odds ratio with 95 % limits, and p.

    Miettinen & Nurminen 1985, Stat Med 4:213-226: limits are the values that the score test does
    not reject, p is that of the same test at no difference, so that they never disagree. With the
    restricted estimates in place, each score is Pearson's chi-squared times (N - 1) / N.

    ``events`` and ``n`` are of the active and the control arm; events may be means over
    imputations. Then ``inflation`` is the total over the within-imputation variance, with ``df``
    degrees of freedom (Lott & Reiter 2020, Am Stat 74:109-115, who widen Wilson's interval so). All
    are missing if an arm is empty, a ratio if it is 0 / 0.
    """
    found = {}
    scale = (1 - 1 / max(sum(n), 2)) / inflation
    for names, (at, restricted) in MEASURES.items():
        found |= dict.fromkeys(names, np.nan)
        place = at(events, n) if min(n) > 0 else np.nan
        if np.isfinite(place):
            score = _score(events, n, restricted, scale, special.stdtrit(df, 0.975) ** 2)
            limits = (place, _limit(score, place, 0.0), _limit(score, place, 1.0))
            found |= dict(zip(names, map(OF_PLACE[names], limits), strict=True))
    chi2 = scale * _chi2(events, n, (sum(events) / sum(n),) * 2) if min(n) > 0 else np.nan
    return found | {"p": 2 * special.stdtr(df, -math.sqrt(chi2))}


def number_needed(difference, low, high):
    """Number needed to treat with limits, from a risk difference: positive to benefit, or to harm.

    Limits of opposite signs stand for two intervals that meet at infinity (Altman 1998, BMJ
    317:1309-1312).
    """
    with np.errstate(divide="ignore"):
        found = np.divide(1.0, (difference, high, low))
    return dict(zip(("nnt", "nnt_ci_low", "nnt_ci_high"), found, strict=True))


def _score(events, n, restricted, scale, critical):
    return lambda place: scale * _chi2(events, n, restricted(place, events, n)) - critical


def _chi2(events, n, shares):
    """Pearson's chi-squared of both arms; an empty cell adds what it was expected to hold."""
    total = 0.0
    for x, size, share in zip(events, n, shares, strict=True):
        for count, chance in ((x, share), (size - x, 1 - share)):
            expected = max(size * chance, 1e-300)
            total += (count - expected) ** 2 / expected if count > 0 else expected
    return total


def _limit(score, place, end):
    """Where the score is critical between the estimate and an end of the measure's range."""
    far = abs(end - EDGE)
    if abs(place - end) <= EDGE or score(far) <= 0:
        return end
    near = min(max(place, EDGE), 1 - EDGE)
    return optimize.brentq(score, far, near, xtol=1e-13)


# Each measure is searched on (0, 1): its estimate there, and the restricted proportions at a place.


def _at_difference(events, n):
    return (1 + events[0] / n[0] - events[1] / n[1]) / 2


def _at_risk_ratio(events, n):
    return _share(events[0] / n[0], events[1] / n[1])


def _at_odds_ratio(events, n):
    return _share(events[0] * (n[1] - events[1]), events[1] * (n[0] - events[0]))


def _share(first, second):
    return first / (first + second) if first + second > 0 else np.nan


def _given_difference(place, events, n):
    """The root of the paper's cubic (its equation 13 and appendix)."""
    d, total, m = 2 * place - 1, sum(n), sum(events)
    b = ((n[0] + 2 * n[1]) * d - total - m) / (3 * total)
    c = ((n[1] * d - total - 2 * events[1]) * d + m) / (3 * total)
    q = b**3 - 1.5 * b * c + events[1] * d * (1 - d) / (2 * total)
    r = math.copysign(math.sqrt(max(b**2 - c, 0.0)), q)
    cosine = min(max(q / r**3, -1.0), 1.0) if r else 0.0
    control = 2 * r * math.cos((math.pi + math.acos(cosine)) / 3) - b
    control = min(max(control, 0.0, -d), 1.0, 1 - d)
    return control + d, control


def _given_risk_ratio(place, events, n):
    ratio = place / (1 - place)
    b = n[0] * ratio + events[0] + n[1] + events[1] * ratio
    c = sum(events)
    control = 2 * c / (b + math.sqrt(max(b**2 - 4 * sum(n) * ratio * c, 0.0)))
    return min(ratio * control, 1.0), control


def _given_odds_ratio(place, events, n):
    ratio, m = place / (1 - place), sum(events)
    a = n[1] * (ratio - 1)
    b = n[0] * ratio + n[1] - m * (ratio - 1)
    control = 2 * m / (b + math.sqrt(b**2 + 4 * a * m))
    return ratio * control / (1 + control * (ratio - 1)), control


def _ratio(place):
    return place / (1 - place) if place < 1 else np.inf


DIFFERENCE = ("risk_difference", "ci_low", "ci_high")
RISK_RATIO = ("risk_ratio", "rr_ci_low", "rr_ci_high")
ODDS_RATIO = ("odds_ratio", "or_ci_low", "or_ci_high")
MEASURES = {
    DIFFERENCE: (_at_difference, _given_difference),
    RISK_RATIO: (_at_risk_ratio, _given_risk_ratio),
    ODDS_RATIO: (_at_odds_ratio, _given_odds_ratio),
}
OF_PLACE = {DIFFERENCE: lambda place: 2 * place - 1, RISK_RATIO: _ratio, ODDS_RATIO: _ratio}
