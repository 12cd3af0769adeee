"""S1: how often each p is at most .05 in trials like this one, in which treatment does nothing.

A family is a set of p-values of one notebook with a way to draw all of them from a simulated trial:
`calibration_clinical.Clinical`, `calibration_images.Voxels`, `.Regions` and `.Receptors`.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint

from analysis_lib.computing import blocks
from analysis_lib.results.section import UNANSWERED

LEVEL, CAREFUL = 0.05, 0.03  # nominal; a rate below the second is called conservative
CONFIDENCE, POWER = 0.95, 0.8
LEVELS = np.geomspace(0.005, 1, 41)  # of the quantile plots
BLOCK = 10  # draws at once: some seconds
OWN = "this design"  # a true null on the study's own design: the only rates that are judged
KEY = ["test", "source", "column", "contrast"]
HOLDS, INFLATED, CONSERVATIVE = "holds", "too small", "conservative"


@dataclass(frozen=True)
class Drawn:
    """p-values of simulated trials of one family.

    Attributes
    ----------
    family : str
    p : dict
        By assumption and then by test (a tuple of `KEY`): (n_draws, n_maps), where n_maps is 1 for
        all but the p of single receptor maps.
    maps : tuple of str
        Names of these.
    """

    family: str
    p: dict = field(default_factory=dict)
    maps: tuple = ()

    def rates(self) -> pd.DataFrame:
        """How often each p is at most .05: rows of calibration/rates.tsv."""
        return pd.concat([self._rates(name) for name in self.p], ignore_index=True)

    def _rates(self, assumption):
        """With simultaneous intervals over the family; only this design is judged."""
        p = self.p[assumption]
        level = (1 - CONFIDENCE) / len(p)
        rows = [dict(zip(KEY, key, strict=True)) | self._rate(v, level) for key, v in p.items()]
        table = pd.DataFrame(rows)
        verdict = [verdict_of(*row) for row in table[["rate", "ci_low", "ci_high"]].to_numpy()]
        table["verdict"] = verdict if assumption == OWN else None
        return table.assign(family=self.family, assumption=assumption)[COLUMNS]

    def _rate(self, p, level):
        known = ~np.isnan(p).any(axis=1)
        share = (p[known] <= LEVEL + 1e-12).mean(axis=0)
        worst = self.maps[share.argmax()] if p.shape[1] > 1 else None
        n = int(known.sum())
        low, high = interval(share.mean() * n, n, level)
        row = {"n_draws": n, "rate": share.mean(), "ci_low": low, "ci_high": high}
        row |= {"detectable": detectable(n, level)}
        return row | {"worst_map": worst, "worst_rate": share.max() if worst else np.nan}

    def quantiles(self, contrast) -> pd.DataFrame:
        """Share of p at or below each level, on this design: rows of calibration/quantiles.tsv.

        Of the tests of one contrast, and of those of none.
        """
        keys = [key for key in self.p[OWN] if key[-1] in (contrast, None)]
        table = pd.concat([self._quantiles(key) for key in keys], ignore_index=True)
        return table.assign(family=self.family)[["family", *KEY, "n_draws", "nominal", "observed"]]

    def _quantiles(self, key):
        p = self.p[OWN][key]
        known = p[~np.isnan(p).any(axis=1)]
        share = [np.mean(known <= level + 1e-12) for level in LEVELS]
        rows = {"nominal": LEVELS, "observed": share, "n_draws": len(known)}
        return pd.DataFrame(rows | dict(zip(KEY, key, strict=True)))


COLUMNS = ["family", *KEY, "assumption", "n_draws", "rate", "ci_low", "ci_high", "verdict"]
COLUMNS += ["detectable", "worst_map", "worst_rate"]


def tables(drawn, contrast) -> dict:
    """Result tables of all families.

    Parameters
    ----------
    drawn : sequence of Drawn
    contrast : str
        Whose p-values the quantile plots show.

    Returns
    -------
    dict of pandas.DataFrame
        rates: of this design; failing: where an assumption fails, without verdicts; quantiles.
    """
    if not drawn:
        return {}
    rates = pd.concat([one.rates() for one in drawn], ignore_index=True)
    own = rates["assumption"] == OWN
    found = {"rates": rates[own].drop(columns="assumption")}
    left_out = ["verdict", "detectable", "worst_map", "worst_rate"]
    if not own.all():
        found["failing"] = rates[~own].drop(columns=left_out)
    found["quantiles"] = pd.concat([one.quantiles(contrast) for one in drawn])
    return {name: table.reset_index(drop=True) for name, table in found.items()}


def interval(count, n, level):
    """Clopper and Pearson's exact limits (1934, Biometrika 26:404-413) of a rate.

    Over a family of m p-values ``level`` is .05 / m (Bonferroni): all intervals of the family hold
    together with 95 % confidence, however their tests depend on each other. A mean count over
    receptor maps varies less than that of one, so that its interval is too wide, never too narrow.
    """
    return proportion_confint(count, n, alpha=level, method="beta")


def verdict_of(rate, low, high):
    """Whether a p holds its level, by the simultaneous interval of its rate."""
    if low > LEVEL:
        return INFLATED
    return CONSERVATIVE if rate < CAREFUL and high < LEVEL else HOLDS


def detectable(n, level):
    """Smallest true rate that ``n`` draws call too small a p, with a chance of four in five.

    The count x from which the interval lies above .05 is the smallest with P(X >= x | .05) <
    level / 2, and P(X >= x | q) = .8 at the .8 quantile of Beta(x, n - x + 1).
    """
    counts = np.arange(n + 1)
    beyond = stats.binom.sf(counts - 1, n, LEVEL) < level / 2
    if not beyond.any():
        return np.nan
    x = counts[beyond.argmax()]
    return float(stats.beta.ppf(POWER, x, n - x + 1))


def calibrate(family, n_draws, n_broken, seed=0, **work) -> Drawn:
    """Draw the p-values of a family, on the study's own design and where assumptions fail.

    Parameters
    ----------
    family : object
        With ``name``, ``words``, ``maps``, ``assumptions``; ``draw(assumption, rng)``: p by test.
    n_draws, n_broken : int
        Simulated trials of the study's own design, and of each broken assumption.
    seed : int
        Each draw has a generator of its own: numbers depend neither on blocks nor on processes.
    **work
        `Study.work`.

    Returns
    -------
    Drawn
    """
    sizes = {OWN: n_draws} | {name: n_broken for name in family.assumptions if n_broken}
    parts = [(a, i, min(i + BLOCK, n)) for a, n in sizes.items() for i in range(0, n, BLOCK)]
    what = f"{family.name} ({family.words})"
    found = blocks.told(what, _block, parts, (family, seed), **work)
    rows = {name: [] for name in sizes}
    for (assumption, *_), result in zip(parts, found, strict=True):
        rows[assumption] += result
    p = {name: _answered(own) for name, own in rows.items()}
    return Drawn(family.name, p, family.maps)


def _answered(rows):
    """p by test, (n_draws, n_maps); a test that no trial could answer is left out."""
    p = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return {key: values for key, values in p.items() if not np.isnan(values).any(axis=1).all()}


def _block(part, shared):
    """p by test of some draws, each an array by map."""
    (assumption, first, last), (family, seed) = part, shared
    name = zlib.crc32(f"{family.name} {assumption}".encode())
    rngs = (np.random.default_rng([seed, name, k]) for k in range(first, last))
    drawn = (family.draw(assumption, rng) for rng in rngs)
    return [{key: np.atleast_1d(p) for key, p in one.items()} for one in drawn]


def attempt(key, compute, *arguments):
    """{key: p} of one test; missing where the simulated trial cannot answer it."""
    try:
        return {key: compute(*arguments)}
    except UNANSWERED:
        return {key: np.nan}


def skewed(z, skewness=1.0):
    """Normal z as a z + b (z^2 - 1), of unit variance and this skewness."""

    def excess(b):
        return 6 * (1 - 2 * b**2) * b + 8 * b**3 - skewness

    b = optimize.brentq(excess, 0, np.sqrt(0.5))
    return np.sqrt(1 - 2 * b**2) * z + b * (z**2 - 1)
