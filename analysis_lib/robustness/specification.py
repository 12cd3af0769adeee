"""Analyses that could have been made: the table of decisions, and every analysis that follows.

``specifications.tsv`` labels each option after Del Giudice & Gangestad (2021, Advances in Methods
and Practices in Psychological Science 4): *arbitrary*, no reason speaks for or against it;
*uncertain*, there are reasons, and it is not known which hold; *another question*, it estimates
something else. Arbitrary and uncertain options are crossed; options of another question are taken
one at a time, and so are regions left out.
"""

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from analysis_lib.results.problems import NotComputed
from analysis_lib.robustness.multiverse import joint_test

TABLE = Path(__file__).with_suffix(".tsv").with_name("specifications.tsv")
DEFAULT, ARBITRARY, UNCERTAIN, ANOTHER = "default", "arbitrary", "uncertain", "another question"
OWN, OTHERS = "first", "*"  # options whose names depend on the study
SINGLY = ("region",)  # decisions whose options are taken one at a time
JOINT = ("median", "p_median", "share", "p_share", "stouffer", "p_stouffer", "n_true")

OF_JOINT = ["family", "n_specifications", "n_draws", *JOINT]


@dataclass(frozen=True)
class Curve:
    """Every analysis of one family."""

    family: str
    rows: pd.DataFrame  # one per analysis: `crossed`, estimate, ci_low, ci_high, p
    decisions: pd.DataFrame  # from `offered`
    apart: pd.DataFrame  # one at a time: decision, option, estimate, ci_low, ci_high, p
    draws: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))  # of arbitrary ones
    notes: tuple = ()  # analyses that could not be made, in words
    about: str = ""  # what is estimated, in words


def offered(family, offers) -> pd.DataFrame:
    """Options of a family for the study at hand: decision, option, label, reason, lacking.

    ``offers`` says of a decision why all but its default is lacking (a text), or which options
    there are and why each is lacking ("": it is there), the study's own first. What it does not
    name is there.
    """
    rows = []
    for row in _table(family).to_dict("records"):
        known = offers.get(row["decision"], {})
        for option in _names(row["option"], known):
            why = known if isinstance(known, str) else known.get(option, "")
            rows.append({**row, "option": option, "lacking": why * (row["label"] != DEFAULT)})
    return pd.DataFrame(rows)


def _table(family):
    table = pd.read_csv(TABLE, sep="\t", keep_default_na=False)
    return table[table["family"] == family]


def _names(option, known):
    """Names that the study gives to an option of the table."""
    if option not in (OWN, OTHERS) or isinstance(known, str):
        return [option]
    return list(known)[:1] if option == OWN else list(known)[1:]


def crossed(decisions, admissible=lambda row: True) -> pd.DataFrame:
    """All combinations of default, arbitrary and uncertain options: a column per decision.

    A column ``label`` is "arbitrary" where every choice is that or the default, else "uncertain".
    """
    used = decisions[decisions["lacking"].eq("") & decisions["decision"].isin(choices(decisions))]
    used = used[used["label"] != ANOTHER]
    options = {name: list(own["option"]) for name, own in used.groupby("decision", sort=False)}
    made = (dict(zip(options, row, strict=True)) for row in product(*options.values()))
    rows = pd.DataFrame([row for row in made if admissible(row)])
    uncertain = used[used["label"] == UNCERTAIN]
    pairs = set(zip(uncertain["decision"], uncertain["option"], strict=True))
    doubt = [any(pair in pairs for pair in row.items()) for row in rows.to_dict("records")]
    return rows.assign(label=np.where(doubt, UNCERTAIN, ARBITRARY))


def choices(decisions) -> list:
    """Decisions that are crossed, in the order of the table."""
    table = _table(decisions["family"].iloc[0])
    used = table[table["label"].isin([ARBITRARY, UNCERTAIN])]
    return [name for name in used["decision"].unique() if name not in SINGLY]


def limits(estimate, se, df) -> dict:
    """An estimate with its 95 % interval by Student's t; missing where it has no error."""
    margin = stats.t.ppf(0.975, df) * se if df > 0 else np.full(np.shape(estimate), np.nan)
    return {"estimate": estimate, "ci_low": estimate - margin, "ci_high": estimate + margin}


def curve_tables(found, curves) -> dict:
    """Result tables of some families: specifications of each, decisions, joint, variance, apart.

    Parameters
    ----------
    found : analysis_lib.results.section.NewSection
        Is told what could not be computed.
    curves : list of Curve

    Returns
    -------
    dict of pandas.DataFrame
    """
    if not curves:
        raise NotComputed(
            "no analysis could be made: " + "; ".join(n["reason"] for n in found.notes)
        )
    for curve in curves:
        if not curve.draws.size:
            found.note("Joint tests", "one map, no patients: there are no signs to flip")
        for note in curve.notes:
            found.note(f"An analysis ({curve.family})", note)
    tested = {curve.family: _tested(curve) for curve in curves}
    tables = {f"{curve.family}_specifications": tested[curve.family][0] for curve in curves}
    parts = {
        "decisions": [_counted(curve) for curve in curves],
        "joint": [tested[curve.family][1] for curve in curves],
        "variance": [variance_by_decision(curve) for curve in curves],
        "apart": [_asked(curve) for curve in curves],
    }
    return tables | {name: pd.concat(part, ignore_index=True) for name, part in parts.items()}


def _tested(curve):
    """Analyses in order of the estimate, with adjusted p, and a row of joint.tsv."""
    rows, joint = curve.rows.assign(p_adjusted=np.nan), pd.DataFrame(columns=OF_JOINT)
    arbitrary = rows["label"].eq(ARBITRARY)
    if curve.draws.size:
        found = joint_test(curve.draws, rows.loc[arbitrary, "estimate"].to_numpy())
        rows.loc[arbitrary, "p_adjusted"] = found.p_adjusted
        counts = {"n_specifications": int(arbitrary.sum()), "n_draws": len(curve.draws)}
        values = {name: getattr(found, name) for name in JOINT}
        joint = pd.DataFrame([{"family": curve.family, **counts, **values}])
    rows = rows.sort_values("estimate", kind="stable", ignore_index=True)
    rows.insert(0, "place", np.arange(1, len(rows) + 1))
    return rows, joint


def _counted(curve):
    """Rows of decisions.tsv: each option, and in how many analyses it is."""
    rows, table = curve.rows, curve.decisions
    named = zip(table["decision"], table["option"], strict=True)
    n = [int((rows[name] == option).sum()) if name in rows else 0 for name, option in named]
    return table.assign(n_specifications=n, lacking=table["lacking"].replace("", None))


def _asked(curve):
    """Rows of apart.tsv: analyses made one at a time, and what each of them asks."""
    said = curve.decisions[["family", "decision", "option", "reason"]]
    return said.merge(curve.apart, on=["decision", "option"])


def variance_by_decision(curve) -> pd.DataFrame:
    """Share of the variance of the estimate over analyses that lies between a decision's options.

    Each decision by itself (eta squared). Where all combinations can be made, the shares and the
    rest, which is interactions, add up to 1. Of regions left out it is the variance over these
    analyses in relation to that of the curve.
    """
    estimate = curve.rows["estimate"]
    total = np.square(estimate - estimate.mean()).sum()
    rows = []
    for name in choices(curve.decisions):
        means = estimate.groupby(curve.rows[name]).transform("mean")  # missing: does not apply
        centre = estimate[means.notna()].mean()
        between = np.square(means - centre).sum()
        rows.append((name, curve.rows[name].nunique(), between))
    for name in SINGLY:
        own = curve.apart.loc[curve.apart["decision"] == name, "estimate"]
        if len(own):
            rows.append((name, len(own), len(estimate) * own.var(ddof=0)))
    table = pd.DataFrame(rows, columns=["decision", "n_options", "share"]).query("n_options > 1")
    table = table.assign(
        family=curve.family, share=(table["share"] / total).round(12) if total > 0 else 0.0
    )
    order = table.sort_values("share", ascending=False, kind="stable", ignore_index=True)
    return order[["family", "decision", "n_options", "share"]]
