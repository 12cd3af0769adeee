"""Figures of clinical outcomes."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns

from analysis_lib.figures.appearance import LEVEL, SMALL, wrapped, write_beside, write_nothing
from analysis_lib.figures.palette import ACCENT, COLOURS, QUIET, colours_of
from analysis_lib.results.words import printed, visit_words


def since_baseline(scores):
    """Scores of one scale as change since each participant's own baseline (week 0): ``value``.

    Participants without a baseline are left out.
    """
    first = scores[scores["week"] == 0].set_index("participant_id")["score"]
    value = scores["score"] - scores["participant_id"].map(first)
    return scores.assign(value=value).dropna(subset=["value"])


def plot_course(ax, individuals, means, counts, ylabel):
    """Every participant's course, with model means and 95 % intervals, and n below each week.

    Means are in the unit of ``value``. A change starts at 0, without an interval.
    """
    weeks = sorted(individuals["week"].unique())
    if not weeks:
        return write_nothing(ax, "no ratings")
    span = max(weeks) - min(weeks) or 1
    for side, (arm, colour) in zip((-1, 1), colours_of(individuals["arm"]).items(), strict=False):
        own = individuals[individuals["arm"] == arm]
        alpha = float(np.clip(5 / max(own["participant_id"].nunique(), 1), 0.1, 0.35))
        for _, one in own.groupby("participant_id"):
            one = one.dropna(subset=["value"]).sort_values("week")
            ax.plot(one["week"], one["value"], color=colour, alpha=alpha, lw=0.6, zorder=1)
        model = means[means["arm"] == arm].sort_values("week")
        error = np.abs(model[["ci_low", "ci_high"]].to_numpy().T - model["mean"].to_numpy())
        look = {"fmt": "o-", "ms": 4.5, "lw": 1.8, "elinewidth": 1.1, "capsize": 2, "mew": 0}
        place = model["week"] + side * 0.012 * span
        ax.errorbar(place, model["mean"], error, color=colour, zorder=3, **look)
    if individuals.loc[individuals["week"] == min(weeks), "value"].eq(0).all():
        ax.axhline(0, color=QUIET, lw=0.8, ls="--", zorder=0)
    ax.set(xticks=weeks, xlabel="weeks since baseline", ylabel=wrapped(ylabel, 22))
    ax.set_xticklabels([f"{week:g}" for week in weeks])
    _write_counts(ax, counts, _spaced(weeks, 0.07 * span))


def _spaced(values, least):
    """Values of a sorted list that lie no closer than ``least``."""
    kept = []
    for value in values:
        if not kept or value - kept[-1] >= least:
            kept.append(value)
    return kept


def _write_counts(ax, counts, weeks):
    """Participants rated at each week, one line per arm, between tick labels and axis label."""
    below = ax.get_xaxis_transform()
    look = {"textcoords": "offset points", "va": "center", "fontsize": SMALL}
    for line, (arm, colour) in enumerate(colours_of(counts["arm"]).items()):
        own = counts[counts["arm"] == arm].set_index("week")["n"]
        down = -19 - 9 * line
        for week in weeks:
            n = f"{own[week]:.0f}" if week in own.index else "–"
            ax.annotate(n, (week, 0), (0, down), xycoords=below, ha="center", **look)
        ax.annotate("n", (0, 0), (-10, down), xycoords="axes fraction", ha="right", **look)
        dot = mpl.transforms.offset_copy(ax.transAxes, ax.figure, -6, down, units="points")
        ax.plot(0, 0, "o", ms=3.5, color=colour, transform=dot, clip_on=False)
    ax.xaxis.labelpad = 22


def plot_differences(ax, contrasts, names, primary=None):
    """Difference between arms at each visit of each scale, with numbers and n at the right.

    ``contrasts`` are rows of ``clinical/mmrm_contrasts.tsv``; the ``primary`` outcome, scale and
    visit, is filled.
    """
    if not len(contrasts):
        return write_nothing(ax, "no difference estimated")
    rows = contrasts.reset_index(drop=True)
    scales = rows["scale"].drop_duplicates().tolist()
    y = -(rows.index.to_numpy() + 0.5 * rows["scale"].map(scales.index).to_numpy())
    ax.axvline(0, color=QUIET, lw=0.8, ls="--")
    ax.hlines(y, rows["ci_low"], rows["ci_high"], color="black", lw=1.2)
    for place, row in zip(y, rows.itertuples(), strict=True):
        face = "black" if (row.scale, row.visit) == primary else "white"
        ax.plot(row.estimate, place, "s", ms=4, mec="black", mfc=face)
        write_beside(ax, place, estimate_text(row), 4)
        write_beside(ax, place, f"{row.rated_active} + {row.rated_control}", 82)
    write_beside(ax, 0.9, "difference (95 % CI)", 4, fontweight="bold")
    write_beside(ax, 0.9, "n rated", 82, fontweight="bold")
    when = rows["visit"].replace("all", "all visits").map(visit_words)
    ax.set(yticks=y, yticklabels=rows["scale"] + ", " + when, ylim=(y.min() - 0.7, 1.3))
    difference = f"{names['active']} − {names['control']}, points"
    ax.set_xlabel(wrapped(f"{difference}; {favoured_side(rows, names['active'])}", 44))
    ax.tick_params(axis="y", length=0, labelsize=7)
    ax.spines["left"].set_visible(False)


def favoured_side(rows, active):
    """Which side of zero favours the active arm, in words; by scale where that differs."""
    told = rows[rows["favours"] != "neither"]
    left = (told["estimate"] < 0) == (told["favours"] == "active")
    sides = told.assign(side=np.where(left, "left", "right")).groupby("scale", sort=False)["side"]
    sides = sides.first()
    if sides.nunique() < 2:
        return f"{next(iter(sides), 'left')} of zero favours {active}"
    return f"{active} is favoured " + ", ".join(
        f"{side} of zero on {s}" for s, side in sides.items()
    )


def estimate_text(row):
    """An estimate with its interval, as it is printed; a second decimal where one says 0."""
    values = (row.estimate, row.ci_low, row.ci_high)
    return "{} ({} to {})".format(*(printed(value, "points") for value in values))


def plot_forest(ax, table, label, xlabel):
    """Estimates with intervals, a labelled row each from the top, and a line at zero."""
    y = np.arange(len(table))[::-1]
    ax.axvline(0, color=QUIET, lw=0.8, ls="--")
    ax.hlines(y, table["ci_low"], table["ci_high"], color="black", lw=1.2)
    ax.plot(table["estimate"], y, "s", color="black", ms=4)
    ax.set(yticks=y, yticklabels=list(label), xlabel=xlabel, ylim=(-0.7, len(table) - 0.3))
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def plot_risks(ax, rows, names):
    """Share of participants with an outcome, by arm, events over participants written above.

    One row an outcome. A risk difference and its interval are written below, in percentage points.
    """
    if not len(rows):
        return write_nothing(ax, "no response or remission defined")
    x, shares = np.arange(len(rows)), _shares(rows)
    look = {"hue": "arm", "hue_order": list(COLOURS), "palette": COLOURS, "saturation": 1}
    look |= {"width": 0.72, "errorbar": None, "legend": False, "ax": ax}
    sns.barplot(shares, x="outcome", y="share", **look)
    for arm, bars in zip(COLOURS, ax.containers, strict=True):
        ax.bar_label(bars, shares.loc[shares["arm"] == arm, "text"], fontsize=7, padding=1)
    labels = [_risk_label(row, names) for row in rows.itertuples()]
    ax.set(xticks=x, xticklabels=labels, xlabel="", ylabel="participants, %", ylim=(0, 109))
    ax.set(yticks=range(0, 101, 25), xlim=(-0.6, max(len(rows), 2) - 0.4))


def _shares(rows):
    """Percent of each arm with each outcome, long; 0, written 0/0, where nobody could have it."""
    parts = []
    for arm in COLOURS:
        events, n = rows[f"events_{arm}"].astype(float), rows[f"n_{arm}"].astype(float)
        text = [f"{e:.0f}/{total:.0f}" for e, total in zip(events, n, strict=True)]
        share = (100 * events / n.where(n > 0)).fillna(0)
        parts.append(rows[["outcome"]].assign(arm=arm, share=share, text=text))
    return pd.concat(parts, ignore_index=True)


def _risk_label(row, names):
    if not hasattr(row, "risk_difference") or not np.isfinite(row.risk_difference):
        return row.outcome
    found = (printed(v, "percent") for v in (row.risk_difference, row.ci_low, row.ci_high))
    below = "{} percentage points\n(95 % CI {} to {})".format(*found)
    difference = wrapped(f"{names['active']} − {names['control']}:", 24)
    return f"{row.outcome}\n{difference}\n{below}"


def plot_tipping(ax, curve, names, tip=None):
    """Estimate over what is added to imputed outcomes; filled where p < .05; the tipping point.

    ``curve`` has a row for each delta of the active arm; no ``tip`` is drawn when it is missing.
    """
    curve = curve.sort_values("delta_active")
    delta, estimate = curve["delta_active"], curve["estimate"]
    ax.axhline(0, color=QUIET, lw=0.8, ls="--")
    band = {"color": "#DDDDDD", "label": "95 % interval"}
    ax.fill_between(delta, curve["ci_low"], curve["ci_high"], **band)
    ax.plot(delta, estimate, color="black", lw=1)
    p = curve["p"]
    kinds = ((p < LEVEL, "black", "p < .05"), (p >= LEVEL, "white", "p at least .05"))
    for chosen, face, label in kinds:
        if chosen.any():
            look = {"ms": 3.5, "mec": "black", "mfc": face, "label": label}
            ax.plot(delta[chosen], estimate[chosen], "o", **look)
    if tip is not None and np.isfinite(tip):
        label = f"p = .05 at {printed(tip, 'change')} points"
        ax.axvline(tip, 0, 0.72, color=ACCENT, lw=1.2, label=label)
    ax.set_xlabel(wrapped(f"points added to imputed scores, {names['active']}", 42))
    ax.set_ylabel(wrapped(f"{names['active']} − {names['control']}, points", 24))
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
    ax.legend(loc="upper left", ncols=2, fontsize=SMALL, handlelength=1.2, columnspacing=1)


def plot_residuals(ax, rows):
    """Standardised residuals against normal quantiles, a shade for each visit."""
    visits = rows["visit"].unique()
    for shade, visit in zip(np.linspace(0.7, 0.1, len(visits)), visits, strict=True):
        own = rows[rows["visit"] == visit]
        look = {"color": str(shade), "label": visit_words(visit)}
        ax.plot(own["quantile"], own["residual"], "o", ms=3, mew=0, alpha=0.8, **look)
    ax.axline((0, 0), slope=1, color=QUIET, lw=0.8, ls="--")
    ax.set(xlabel="normal quantile", ylabel="standardised residual")
    ax.legend(loc="upper left", fontsize=SMALL, handlelength=0.8)


def plot_left_out(ax, rows, names):
    """The primary contrast without each participant, in order, against that with all."""
    rows = rows.dropna(subset=["estimate"]).sort_values("estimate").reset_index(drop=True)
    if not len(rows):
        return write_nothing(ax, "no contrast to fit again")
    for arm, colour in COLOURS.items():
        own = rows[rows["arm"] == arm]
        ax.plot(own.index, own["estimate"], "o", ms=3.5, mew=0, color=colour)
    whole = (rows["estimate"] - rows["shift"]).iloc[0]
    ax.axhline(whole, color=QUIET, lw=0.8, ls="--")
    difference = f"{names['active']} − {names['control']}, points"
    ax.set(xticks=[], xlabel="participant left out", ylabel=wrapped(difference, 24))


def plot_items(ax, differences, names):
    """Difference between arms in each item's change, with its interval; items without are named."""
    labels = [
        row.label if np.isfinite(row.estimate) else f"{row.label} (no estimate)"
        for row in differences.itertuples()
    ]
    difference = f"{names['active']} − {names['control']}, points (95 % CI)"
    side = favoured_side(differences, names["active"])
    plot_forest(ax, differences, labels, f"{difference}; {side}")
    ax.tick_params(axis="y", labelsize=7)
