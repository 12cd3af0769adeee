"""Power by simulated trials: sizes, draws, and what significant results say of the truth."""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.computing import blocks

ARMS = ("active", "control")
ENOUGH = 0.8  # power that is asked for
REAL = Path(__file__).with_name("power_effects.tsv")
COLUMNS = ["question", "setting", "reliability", "multiple", "n_active", "n_control", "unit"]
COLUMNS += ["points_per_unit", "true_effect", "power", "monte_carlo_se", "closed_form"]
COLUMNS += ["wrong_sign", "exaggeration", "exaggeration_closed_form"]
NEEDED = ["question", "setting", "treatment", "true_effect", "unit", "true_points", "power"]
NEEDED += ["wrong_sign", "exaggeration", "n_active_needed", "n_control_needed"]
NEEDED += ["n_active_closed_form", "source"]
QUOTED = ["power", "wrong_sign", "exaggeration"]


def sizes_of(n_active, n_control, multiples):
    """Numbers of each arm by multiple of this trial, its allocation kept; it is among them."""
    scale = sorted({1.0, *map(float, multiples)})
    n = {m: [round(m * one) for one in (n_active, n_control)] for m in scale}
    return {m: tuple(max(one, 4) if one else 0 for one in sizes) for m, sizes in n.items()}


def simulate(function, sizes, n_trials, shared, seed, per_block=50, **work):
    """Draws of ``function((n_active, n_control, draws, seed), shared)`` by size of the trial.

    The largest trials come first: they tell what the rest will cost at most. ``work`` is as
    `Study.work` gives it.
    """
    counts = [min(per_block, n_trials - k) for k in range(0, n_trials, per_block)]
    sizes = dict.fromkeys(sizes.values())  # two multiples of a small trial may be one size
    order = [n for n in reversed(sizes) for _ in counts]
    seeds = np.random.SeedSequence(seed).spawn(len(order))
    parts = [
        (*n, count, own) for n, count, own in zip(order, counts * len(sizes), seeds, strict=True)
    ]
    found = blocks.told("trials", function, parts, shared, **work)
    return {
        n: np.concatenate([f for f, own in zip(found, order, strict=True) if own == n])
        for n in sizes
    }


def tally(estimate, se, limit, effects):
    """What draws without an effect would have found of each true effect, (n_draws, 3, n_effects).

    An estimate by least squares or REML moves with the effect, and its error stays: the same draws
    serve all effects, and so do the draws with all signs turned. A failed fit (NaN) finds nothing.
    """
    limit = np.asarray(limit * se)[:, None]
    moved = (side * np.asarray(estimate)[:, None] + effects for side in (1, -1))
    return sum(counted(one, np.abs(one) > limit) for one in moved) / 2


def counted(estimate, found):
    """Found; found with the wrong sign; |estimate| if found: (n_draws, 3, n_effects)."""
    return np.stack([found, found & (estimate < 0), np.where(found, np.abs(estimate), 0)], axis=1)


def curve(tallies, effects, size, **labels):
    """Rows of power/power.tsv: one effect each."""
    power, wrong, magnitude = tallies.mean(axis=0)
    spread = tallies[:, 0].std(axis=0) / np.sqrt(len(tallies))
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = {
            "true_effect": effects,
            "power": power,
            "monte_carlo_se": spread,
            "wrong_sign": wrong / power,
            "exaggeration": np.where(effects > 0, magnitude / power / effects, np.nan),
        }
    place = {**labels, "n_active": size[0], "n_control": size[1]}
    return pd.DataFrame(rows).assign(**place)


def crossing(x, power):
    """Where a curve first reaches 80 %, interpolated; its start if it does there; NaN if never."""
    rising = np.maximum.accumulate(np.asarray(power, float))
    if not rising[-1] >= ENOUGH:
        return np.nan
    place = np.argmax(rising >= ENOUGH)
    ends = slice(max(place - 1, 0), place + 1)
    return float(np.interp(ENOUGH, rising[ends], np.asarray(x)[ends]))


def at(rows, effect, column="power"):
    """A column of a curve at an effect, interpolated."""
    return float(np.interp(effect, rows["true_effect"], rows[column]))


def needed(rows, effect, column="power"):
    """Active participants for 80 % at an effect, between the sizes simulated (log scale)."""
    by_size = {np.log(n): at(own, effect, column) for n, own in rows.groupby("n_active")}
    return float(np.ceil(np.exp(crossing(list(by_size), list(by_size.values()))) - 1e-9))


def seen_table(curves):
    """Rows of power/seen.tsv: what a trial of this size finds with 80 % power."""
    rows = []
    for (question, setting), own in curves.groupby(["question", "setting"], sort=False):
        here = own[own["multiple"] == 1]
        first, effect = here.iloc[0], crossing(here["true_effect"], here["power"])
        row = {"question": question, "setting": setting, "reliability": first["reliability"]}
        row |= first[["n_active", "n_control"]].to_dict() | {"detectable": effect}
        row |= {"unit": first["unit"], "detectable_points": effect * first["points_per_unit"]}
        rows.append(row | {f"{name}_at_half": at(here, effect / 2, name) for name in QUOTED})
    return pd.DataFrame(rows)


def needed_table(curves, study=""):
    """Rows of power/needed.tsv: what it would take to find effects that other studies had."""
    real = pd.read_csv(REAL, sep="\t")
    rows = []
    for other in real[real["study"] != study].itertuples():
        asked = curves[curves["question"] == other.question]
        for setting, own in asked.groupby("setting", sort=False):
            if own["multiple"].nunique() < 2:
                continue  # another reliability, at this trial's size alone
            here, effect = own[own["multiple"] == 1], other.true_effect
            row = {"question": other.question, "setting": setting, "treatment": other.treatment}
            row |= {"true_effect": effect, "unit": here["unit"].iloc[0]}
            row["true_points"] = effect * here["points_per_unit"].iloc[0]
            row |= {name: at(here, effect, name) for name in QUOTED}
            ratio, n = here["n_control"].iloc[0] / here["n_active"].iloc[0], needed(own, effect)
            row |= {"n_active_needed": n, "n_control_needed": np.ceil(n * ratio)}
            row["n_active_closed_form"] = needed(own, effect, "closed_form")
            rows.append(row | {"source": other.source})
    return pd.DataFrame(rows, columns=NEEDED)


def power_tables(curves, study=""):
    """The curves of all parts, what they show of this trial, and what real effects would take.

    Parameters
    ----------
    curves : list of pandas.DataFrame
        From `clinical_power`, `voxel_power`, `receptor_power`: those that could be computed.
    study : str
        Its name: the effect that it found itself is none to plan with.

    Returns
    -------
    dict of pandas.DataFrame
        power, seen, needed; empty without any curve.
    """
    if not curves:
        return {}
    whole = pd.concat(curves, ignore_index=True).reindex(columns=COLUMNS)
    return {"power": whole, "seen": seen_table(whole), "needed": needed_table(whole, study)}
