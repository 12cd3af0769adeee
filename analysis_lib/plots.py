"""Figures: each function draws given results on given Axes; none computes or reads.

One colour an arm, safe for colour-blind readers (Okabe & Ito); text stays text in PDF. ``plot_x``
draws one panel; a :class:`Panel` is such a drawing with its caption; :func:`compose` puts panels
together, one or many. What they show is said in words by :mod:`analysis_lib.captions`.
"""

import contextlib
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from nilearn.datasets import load_mni152_template
from nilearn.image import new_img_like
from nilearn.plotting import plot_anat, plot_glass_brain, plot_stat_map

from analysis_lib.palette import ACCENT, BANDS, COLOURS, DIVERGING, QUIET, TISSUE
from analysis_lib.text import p_text, true_minus, visit_words

STYLE = {
    "font.size": 8,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "savefig.facecolor": "white",
}
COLUMN, PAGE = 3.5, 7.2  # widths of a journal's column and page, inches
LEVEL = 0.05  # below it a p is drawn as significant
SMALL = 6.5  # points, of labels that stand close together


@contextlib.contextmanager
def style():
    """The look of every figure of the compendium."""
    with mpl.rc_context(STYLE):
        yield


def figure(n_rows=1, n_columns=1, width=PAGE, height=2.8, **options):
    """A figure and its Axes (always a two-dimensional array), in the compendium's style."""
    mpl.rcParams.update(STYLE)
    fig = plt.figure(figsize=(width, height))
    return fig, fig.subplots(n_rows, n_columns, squeeze=False, **options)


def brain_figure(n_rows=1, n_columns=1, width=PAGE, height=2.0, right=0.02):
    """A figure for brain slices: fixed margins, since nilearn places its own Axes."""
    mpl.rcParams.update(STYLE)
    fig = plt.figure(figsize=(width, height), layout="none")
    axes = fig.subplots(n_rows, n_columns, squeeze=False)
    head = 0.25 / height  # room for a title above each row
    fig.subplots_adjust(0.01, 0.2 / height, 1 - right, 1 - head, 0.03, head * n_rows + 0.05)
    return fig, axes


def receptor_figure(n_maps):
    """Axes of the receptor figure by name: all maps at the left, the leading one at the right."""
    mpl.rcParams.update(STYLE)
    fig = plt.figure(figsize=(PAGE, max(4.6, 0.22 * n_maps + 1)))
    places = [["all", "random"], ["all", "spatial"], ["all", "scatter"]]
    return fig, fig.subplot_mosaic(places, width_ratios=[1.15, 1], height_ratios=[1, 1, 1.5])


def contrast_title(contrast, names):
    """A contrast in the study's words."""
    words = {
        "active_change": f"Change with {names['active']}",
        "control_change": f"Change with {names['control']}",
        "arm_by_time": f"Change, {names['active']} − {names['control']}",
    }
    return words[contrast]


def where(image, p_image, level):
    """An image set to 0 where p is not below a level."""
    kept = np.where(p_image.get_fdata() < level, image.get_fdata(), 0)
    return new_img_like(image, kept.astype(np.float32))


def warnings_of(study, quick=False, simulated_maps=False):
    """What a figure has to say of its numbers: SIMULATED, SIMULATED RECEPTOR MAPS, QUICK."""
    words = {
        "SIMULATED": study.simulated,
        "SIMULATED RECEPTOR MAPS": simulated_maps,
        "QUICK": quick,
    }
    return [word for word, true in words.items() if true]


def mark(fig, study, quick=False, simulated_maps=False):
    """Write on a figure that its data, or its receptor maps, are simulated, or its run QUICK."""
    _write_marks(fig, warnings_of(study, quick, simulated_maps))


def _write_marks(fig, words, side=0.0):
    """Words below the Axes, for which room is made; ``side``: empty margins, inches."""
    if isinstance(fig.get_layout_engine(), mpl.layout_engine.ConstrainedLayoutEngine):
        room, side = 0.16 * bool(words) / fig.get_figheight(), side / fig.get_figwidth()
        fig.get_layout_engine().set(rect=(side, room, 1 - 2 * side, 1 - room))
    look = {"ha": "right", "va": "bottom", "fontsize": 7, "color": ACCENT, "fontweight": "bold"}
    fig.text(0.995, 0.005, " · ".join(words), **look)


@dataclass(frozen=True)
class Panel:
    """One drawing and what is said of it.

    Parameters
    ----------
    draw : callable
        Takes Axes.
    title : str
    caption : str
        What is drawn, with n, units and the meaning of marks and intervals.
    alt : str
        For readers who do not see it: axes, and what they show.
    size : tuple of float
        Width and height when it stands alone, inches.
    arms : bool
        Whether the colours of the arms need a key.
    brain : bool
        Drawn by nilearn, which fixes its own Axes: after the layout is settled.
    late : bool
        Drawn after all others, since it looks for room for names.
    """

    draw: Callable
    title: str
    caption: str
    alt: str
    size: tuple = (COLUMN, 2.6)
    arms: bool = False
    brain: bool = False
    late: bool = False


def compose(panels, blocks, names, marks=(), lettered=True, width=PAGE):
    """A figure of several panels: letters and titles aligned, one key for the arms.

    Parameters
    ----------
    panels : dict
        Name to :class:`Panel`, in the order of the letters.
    blocks : list of tuple
        From the top: (rows, height, relative widths of the columns or None). Rows are names of
        panels as they lie on the page, "." for an empty place (``subplot_mosaic``); the height of
        the block is in inches. Columns of different blocks are independent.
    names : dict
        Words for "active" and "control".
    marks : sequence of str
        From :func:`warnings_of`.
    lettered : bool
        Write a, b, c before the titles.
    width : float
        Of the figure, inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    mpl.rcParams.update(STYLE)
    keyed = [any(panels[n].arms for row in rows for n in row if n != ".") for rows, *_ in blocks]
    heights = [height for _, height, _ in blocks]
    if any(keyed):
        heights[keyed.index(True)] += 0.2
    fig = plt.figure(figsize=(width, sum(heights) + 0.16 * bool(marks)))
    fig.get_layout_engine().set(w_pad=0.06, h_pad=0.04, hspace=0.02, wspace=0.02)
    parts = fig.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
    axes = {}
    for part, (rows, _, widths) in zip(parts, blocks, strict=True):
        axes |= part.subplot_mosaic(rows, width_ratios=widths)
    for name, panel in sorted(panels.items(), key=lambda item: item[1].late):
        axes[name].set_axis_off() if panel.brain else panel.draw(axes[name])
        axes[name].set_title(panel.title)
    if any(keyed):
        _arm_key(parts[keyed.index(True)], names)
    _write_marks(fig, marks, side=0.05)
    _settle(fig)
    for name, panel in panels.items():
        if panel.brain:
            _draw_brain(fig, axes[name], panel)
    _align_titles(fig, {name: axes[name] for name in panels}, lettered)
    return fig


def alone(panel, names, marks=()):
    """A figure of one panel: :func:`compose` with its own size."""
    width, height = panel.size
    return compose({"a": panel}, [([["a"]], height, None)], names, marks, False, width)


def captions(title, panels, marks=(), lettered=True):
    """Title, caption and text alternative of a figure, from those of its panels.

    Returns
    -------
    dict of str
        title, caption, alt.
    """
    words = {
        "SIMULATED": "Simulated data: no patient took part.",
        "SIMULATED RECEPTOR MAPS": "The receptor maps are simulated, no measurements.",
        "QUICK": "Quick run with few permutations: no p here is fit to be quoted.",
    }
    parts = {"caption": [], "alt": []}
    for letter, panel in zip("abcdefghijklmnopqrstuvwxyz", panels.values(), strict=False):
        for kind, said in parts.items():
            before = f"({letter}) {panel.title}. " if lettered else ""
            said.append(before + getattr(panel, kind))
    parts["caption"] += [words[mark] for mark in marks]
    parts["alt"] = [words[mark] for mark in marks] + parts["alt"]
    return {"title": title} | {kind: " ".join(said) for kind, said in parts.items()}


def _arm_key(part, names):
    handles = [
        mpl.lines.Line2D([], [], color=colour, marker="o", ms=4, label=names[arm])
        for arm, colour in COLOURS.items()
    ]
    part.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=7.5, borderpad=0.1)


def _settle(fig):
    """Lay the figure out, then keep every Axes where it is."""
    for _ in range(2):  # the first changes which ticks are labelled
        fig.draw_without_rendering()
    fig.set_layout_engine("none")


def _draw_brain(fig, ax, panel):
    """Draw with nilearn on Axes of the figure itself, which it asks for, in the place of others.

    Room is left for the colour bar, and below for the places of the slices.
    """
    place = ax.get_window_extent().transformed(fig.transFigure.inverted())
    low = 0.12 / fig.get_figheight()
    place = [place.x0, place.y0 + low, 0.92 * place.width, place.height - low]
    panel.draw(fig.add_axes(place))


def _align_titles(fig, axes, lettered):
    """Move titles to the left edge of what their column shows, each behind its letter."""
    fig.draw_without_rendering()
    turn = fig.transFigure.inverted().transform
    columns = {n: (id(ax.figure), ax.get_subplotspec().colspan.start) for n, ax in axes.items()}
    tight = {name: ax.get_tightbbox() for name, ax in axes.items()}
    left = {c: min(tight[n].x0 for n in axes if columns[n] == c) for c in columns.values()}
    margin = 0.04 * fig.dpi
    for letter, (name, ax) in zip("abcdefghijklmnopqrstuvwxyz", axes.items(), strict=False):
        title, column = ax._left_title, columns[name]
        edge = margin if column[1] == 0 else left[column]
        x, y = turn((edge, title.get_window_extent().y0))
        title.set_visible(False)
        if lettered:
            fig.text(x, y, letter, fontsize=9.5, fontweight="bold", va="baseline")
            x += 0.16 / fig.get_figwidth()
        look = {"fontsize": STYLE["axes.titlesize"], "fontweight": "bold", "va": "baseline"}
        written = fig.text(x, y, title.get_text(), **look)
        beyond = [left[o] for o in left if o[0] == column[0] and o[1] > column[1]]
        room = min([*beyond, fig.bbox.x1]) - margin - x * fig.bbox.width
        wide = written.get_window_extent().width
        if wide > room:  # long names of arms
            written.set_fontsize(max(6, STYLE["axes.titlesize"] * room / wide))


def _nothing(ax, words):
    """An empty panel that says why."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", fontsize=7.5)


def plot_trajectories(ax, scores, means, names, unit="points"):
    """Individual scores over weeks, with observed means and 95 % intervals by arm.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    scores : pandas.DataFrame
        participant_id, arm, week, score of one scale.
    means : pandas.DataFrame
        arm, week, n, mean, ci_low, ci_high of the same scale.
    names : dict
        Words for "active" and "control".
    unit : str
    """
    for shift, (arm, colour) in zip((-0.04, 0.04), COLOURS.items(), strict=True):
        for _, one in scores[scores["arm"] == arm].groupby("participant_id"):
            one = one.dropna(subset=["score"]).sort_values("week")
            ax.plot(one["week"], one["score"], color=colour, alpha=0.16, lw=0.7)
        own = means[means["arm"] == arm].sort_values("week")
        error = np.abs(own[["ci_low", "ci_high"]].to_numpy().T - own["mean"].to_numpy())
        label = f"{names[arm]} (n = {own['n'].iloc[0]} to {own['n'].iloc[-1]})"
        style = {"fmt": "o-", "color": colour, "ms": 3.5, "capsize": 2, "label": label}
        ax.errorbar(own["week"] + shift * own["week"].max() / 3, own["mean"], error, **style)
    ax.set(xlabel="weeks since baseline", ylabel=unit, xticks=sorted(means["week"].unique()))
    ax.set_ylim(0, 1.25 * scores["score"].max())  # room for the legend
    ax.legend(loc="upper right")


def since_baseline(scores):
    """Scores as change since each participant's own baseline (week 0).

    Parameters
    ----------
    scores : pandas.DataFrame
        participant_id, week, score of one scale.

    Returns
    -------
    pandas.DataFrame
        The same rows, with ``value``; those without a baseline are left out.
    """
    first = scores[scores["week"] == 0].set_index("participant_id")["score"]
    value = scores["score"] - scores["participant_id"].map(first)
    return scores.assign(value=value).dropna(subset=["value"])


def plot_course(ax, individuals, means, counts, ylabel):
    """Every participant's course, with model means and 95 % intervals, and n below each week.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    individuals : pandas.DataFrame
        participant_id, arm, week, value.
    means : pandas.DataFrame
        arm, week, mean, ci_low, ci_high, in the unit of ``value``. A change starts at 0, without
        an interval.
    counts : pandas.DataFrame
        arm, week, n: participants rated.
    ylabel : str
        With the unit.
    """
    weeks = sorted(individuals["week"].unique())
    if not weeks:
        return _nothing(ax, "no ratings")
    span = max(weeks) - min(weeks) or 1
    for side, (arm, colour) in zip((-1, 1), COLOURS.items(), strict=True):
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
    ax.set(xticks=weeks, xlabel="weeks since baseline", ylabel=_wrap(ylabel, 22))
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
    """Participants rated at each week, a line an arm, between tick labels and axis label."""
    below = ax.get_xaxis_transform()
    look = {"textcoords": "offset points", "va": "center", "fontsize": SMALL}
    for line, (arm, colour) in enumerate(COLOURS.items()):
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

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    contrasts : pandas.DataFrame
        Rows of ``clinical/mmrm_contrasts.tsv``.
    names : dict
        Words for "active" and "control".
    primary : tuple of str, optional
        Scale and visit of the primary outcome, which is filled.
    """
    if not len(contrasts):
        return _nothing(ax, "no difference estimated")
    rows = contrasts.reset_index(drop=True)
    scales = rows["scale"].drop_duplicates().tolist()
    y = -(rows.index.to_numpy() + 0.5 * rows["scale"].map(scales.index).to_numpy())
    ax.axvline(0, color=QUIET, lw=0.8, ls="--")
    ax.hlines(y, rows["ci_low"], rows["ci_high"], color="black", lw=1.2)
    for place, row in zip(y, rows.itertuples(), strict=True):
        face = "black" if (row.scale, row.visit) == primary else "white"
        ax.plot(row.estimate, place, "s", ms=4, mec="black", mfc=face)
        _beside(ax, place, estimate_text(row), 4)
        _beside(ax, place, f"{row.n_active} + {row.n_control}", 82)
    _beside(ax, 0.9, "difference (95 % CI)", 4, fontweight="bold")
    _beside(ax, 0.9, "n", 82, fontweight="bold")
    when = rows["visit"].replace("all", "all visits").map(visit_words)
    ax.set(yticks=y, yticklabels=rows["scale"] + ", " + when, ylim=(y.min() - 0.7, 1.3))
    ax.set_xlabel(
        _wrap(f"{names['active']} − {names['control']}, points; left favours {names['active']}", 44)
    )
    ax.tick_params(axis="y", length=0, labelsize=7)
    ax.spines["left"].set_visible(False)


def estimate_text(row):
    """An estimate with its interval, as it is printed; a second decimal where one says 0."""
    values = (row.estimate, row.ci_low, row.ci_high)
    texts = (f"{value:.{2 if 0 < abs(value) < 0.05 else 1}f}" for value in values)
    return true_minus("{} ({} to {})".format(*texts))


def _beside(ax, y, words, points, **look):
    """Text at the right of the Axes, some points from its edge, at a height of the data."""
    look = {"fontsize": SMALL, "va": "center", "textcoords": "offset points"} | look
    ax.annotate(words, (1, y), (points, 0), xycoords=ax.get_yaxis_transform(), **look)


def _wrap(words, width):
    return "\n".join(textwrap.wrap(words, width, break_long_words=False))


def plot_forest(ax, table, label, xlabel):
    """Estimates with intervals, a row each, and a line at zero.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    table : pandas.DataFrame
        estimate, ci_low, ci_high; the first row is drawn on top.
    label : sequence of str
        One a row.
    xlabel : str
    """
    y = np.arange(len(table))[::-1]
    ax.axvline(0, color=QUIET, lw=0.8, ls="--")
    ax.hlines(y, table["ci_low"], table["ci_high"], color="black", lw=1.2)
    ax.plot(table["estimate"], y, "s", color="black", ms=4)
    ax.set(yticks=y, yticklabels=list(label), xlabel=xlabel, ylim=(-0.7, len(table) - 0.3))
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def plot_risks(ax, rows, names, legend=True):
    """Share of participants with an outcome, by arm, events over participants written above.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    rows : pandas.DataFrame
        outcome, n_active, n_control, events_active, events_control: one row an outcome. With
        risk_difference, ci_low and ci_high, these are written below, in percentage points.
    names : dict
    legend : bool
        Draw a key of the arms.
    """
    if not len(rows):
        return _nothing(ax, "no response or remission defined")
    width, x = 0.36, np.arange(len(rows))
    for side, (arm, colour) in zip((-1, 1), COLOURS.items(), strict=True):
        events, n = rows[f"events_{arm}"].to_numpy(), rows[f"n_{arm}"].to_numpy()
        shares = [100 * e / total if total else np.nan for e, total in zip(events, n, strict=True)]
        bars = ax.bar(x + side * width / 2, shares, width, color=colour, label=names[arm])
        texts = [f"{e:.0f}/{total:.0f}" for e, total in zip(events, n, strict=True)]
        ax.bar_label(bars, texts, fontsize=7, padding=1)
    labels = [_risk_label(row, names) for row in rows.itertuples()]
    ax.set(xticks=x, xticklabels=labels, ylabel="participants, %", ylim=(0, 109))
    ax.set(yticks=range(0, 101, 25), xlim=(-0.6, max(len(rows), 2) - 0.4))
    if legend:
        ax.legend(loc="upper right")


def _risk_label(row, names):
    if not hasattr(row, "risk_difference") or not np.isfinite(row.risk_difference):
        return row.outcome
    found = (f"{100 * value:.0f}" for value in (row.risk_difference, row.ci_low, row.ci_high))
    below = "{} percentage points\n(95 % CI {} to {})".format(*found)
    difference = _wrap(f"{names['active']} − {names['control']}:", 24)
    return true_minus(f"{row.outcome}\n{difference}\n{below}")


def plot_flow(ax, flow, study):
    """Participants left at each stage, by arm.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    flow : dict
        From :func:`analysis_lib.outcomes.participant_flow`.
    study : Study
    """
    stages = ["randomised", *(visit_words(f"rated at {visit}") for visit in study.visits)]
    if "scanned_twice" in flow["active"]:
        stages.append("scanned twice")
    y = np.arange(len(stages))[::-1]
    for side, (arm, colour) in zip((1, -1), COLOURS.items(), strict=True):
        own = flow[arm]
        counts = [own["randomised"], *own["rated"].values()]
        counts += [own["scanned_twice"]] if "scanned_twice" in own else []
        name = study.arm_names[arm]
        bars = ax.barh(y + side * 0.19, counts, 0.36, color=colour, label=name)
        ax.bar_label(bars, fontsize=7, padding=2)
    ax.set(yticks=y, yticklabels=stages, xlabel="participants")
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=2)


def plot_homogeneity(ax, quality, threshold=3.0):
    """Outlier score of each map, those above the threshold named.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    quality : pandas.DataFrame
        participant_id, session, arm, mean_correlation, outlier_score.
    threshold : float
    """
    for arm, colour in COLOURS.items():
        own = quality[quality["arm"] == arm]
        ax.plot(own["mean_correlation"], own["outlier_score"], "o", ms=3, color=colour, alpha=0.7)
    for _, row in quality[quality["outlier_score"] > threshold].iterrows():
        name = f"{row['participant_id']} {row['session']}"
        ax.annotate(name, (row["mean_correlation"], row["outlier_score"]), fontsize=6.5)
    ax.axhline(threshold, color=ACCENT, lw=0.8, ls="--")
    ax.set(xlabel="mean correlation with the other maps", ylabel="outlier score (robust SD)")
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))


def plot_volumes(ax, quality, names):
    """Grey-matter volume of each participant before and after treatment.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    quality : pandas.DataFrame
        participant_id, arm, session (pre, post), volume_ml.
    names : dict
    """
    wide = quality.pivot(index=["participant_id", "arm"], columns="session", values="volume_ml")
    for arm, colour in COLOURS.items():
        own = wide.xs(arm, level="arm")
        ax.plot(own["pre"], own["post"], "o", ms=3, color=colour, alpha=0.7, label=names[arm])
    ends = [wide.to_numpy().min(), wide.to_numpy().max()]
    ax.plot(ends, ends, color=QUIET, lw=0.8, ls="--")
    ax.set(xlabel="volume before treatment, ml", ylabel="after treatment, ml")
    ax.legend(loc="upper left")


def plot_mosaic(axes, images, titles, cuts=(-20, 5, 30)):
    """Three axial slices of each map, one Axes a map, on one grey scale."""
    look = {"display_mode": "z", "cut_coords": list(cuts), "annotate": False, "colorbar": False}
    for ax, image, title in zip(np.ravel(axes), images, titles, strict=False):
        plot_anat(image, axes=ax, vmin=0, vmax=0.9, black_bg=True, **look)
        ax.set_title(title, fontsize=7)
    for ax in np.ravel(axes)[len(images) :]:
        ax.set_axis_off()


def plot_head_size(ax, quality):
    """Grey-matter volume over head size; a participant's images are joined.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    quality : pandas.DataFrame
        From :func:`analysis_lib.derivatives.quality`.
    """
    for _, own in quality.groupby("participant_id"):
        ax.plot(own["tiv_ml"], own["grey_ml"], "o-", ms=3, lw=0.7, color="black", alpha=0.6)
    _name_outliers(ax, quality, "tiv_ml", "grey_ml")
    ax.set(xlabel="total intracranial volume, ml", ylabel="grey matter, ml")


def plot_template_fit(ax, quality):
    """Outlier score of each image over its resemblance to the template.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    quality : pandas.DataFrame
        From :func:`analysis_lib.derivatives.quality`.
    """
    columns = ("template_correlation", "outlier_score")
    ax.plot(*(quality[column] for column in columns), "o", ms=3, color="black", alpha=0.6)
    ax.axhline(3, color=ACCENT, lw=0.8, ls="--")
    _name_outliers(ax, quality, *columns)
    ax.set(xlabel="correlation with the template's grey matter", ylabel="outlier score (robust SD)")
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))


def _name_outliers(ax, quality, x, y, threshold=3.0):
    for _, row in quality[quality["outlier_score"] > threshold].iterrows():
        ax.annotate(f"{row['participant_id']} {row['session']}", (row[x], row[y]), fontsize=6.5)


def plot_segmentation(axes, images, cuts):
    """What became of one T1-weighted image: segmentation, grey-matter map, normalisation.

    Parameters
    ----------
    axes : numpy.ndarray of matplotlib.axes.Axes
        (3, 2): sagittal slices at the left, axial ones at the right.
    images : dict
        t1, brain (mask) and grey (probability) in the participant's own space; map (modulated grey
        matter) and normalised (T1, brain alone) in MNI space.
    cuts : dict
        "own" and "mni": x and z of the slices of each space, mm.
    """
    look = {"annotate": False, "colorbar": False, "black_bg": True}
    template = load_mni152_template(resolution=1)
    # fat is brighter than any brain: without a limit the brain would be drawn nearly black
    inside = np.asarray(images["brain"].dataobj) > 0.5
    bright = float(np.quantile(np.asarray(images["t1"].dataobj)[inside], 0.995)) * 1.1
    for column, mode in enumerate("xz"):
        own = look | {"display_mode": mode, "cut_coords": list(cuts["own"][mode])}
        mni = look | {"display_mode": mode, "cut_coords": list(cuts["mni"][mode])}
        first = plot_anat(images["t1"], axes=axes[0, column], vmin=0, vmax=bright, **own)
        first.add_contours(images["grey"], levels=[0.5], colors=[TISSUE], linewidths=0.5)
        first.add_contours(images["brain"], levels=[0.5], colors=[ACCENT], linewidths=0.9)
        plot_anat(images["map"], axes=axes[1, column], vmin=0, vmax=0.9, **mni)
        last = plot_anat(images["normalised"], axes=axes[2, column], **mni)
        last.add_edges(template, color=TISSUE)
    titles = (
        "T1w, with the brain mask (orange) and grey matter (blue)",
        "grey-matter map, MNI space",
        "normalised, with the template's edges",
    )
    for ax, title in zip(axes[:, 0], titles, strict=True):
        ax.set_title(title, fontsize=7)


def plot_slices(
    ax, image, threshold, label, cuts=(-20, -8, 2, 14, 30, 46), vmax=None, outline=None
):
    """Axial slices of a map on the MNI template, with a colour bar at the right of the Axes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    image : nibabel image
    threshold : float or None
        Smaller absolute values are not drawn; None draws all but zero.
    label : str
        Of the colour bar, with its unit.
    cuts : sequence of float
        z in mm.
    vmax : float, optional
        End of the colour scale.
    outline : nibabel image, optional
        Family-wise p: all values are then drawn, the smaller the fainter, and voxels with p below
        .05 are outlined (after Taylor et al. 2023, NeuroImage 274:120138: highlight results, do
        not hide them).
    """
    end = vmax or np.abs(image.get_fdata()).max()
    empty = end == 0
    faint = {} if outline is None else {"transparency": image, "transparency_range": [0, 0.6 * end]}
    display = plot_stat_map(
        image,
        bg_img=load_mni152_template(resolution=2),
        axes=ax,
        display_mode="z",
        cut_coords=list(cuts),
        threshold=1e-6 if threshold is None else threshold,
        vmax=end if not empty else None,
        cmap=DIVERGING,
        symmetric_cbar=True,
        colorbar=False,
        annotate=False,
        black_bg=False,
        **faint,
    )
    _place_slices(display)
    if outline is not None and (outline.get_fdata() < LEVEL).any():
        inside = new_img_like(outline, (outline.get_fdata() < LEVEL).astype(np.float32))
        display.add_contours(inside, levels=[0.5], colors=["black"], linewidths=0.6)
    if empty:
        ax.text(1, 0.5, "no voxel", transform=ax.transAxes, rotation=90, va="center", fontsize=7)
    else:
        _colour_bar(ax, end, label)
    return display


def _place_slices(display):
    """Write z below each slice, and the sides beside the first."""
    look = {"fontsize": SMALL, "ha": "center"}
    for number, (z, cut) in enumerate(display.axes.items()):
        look |= {"transform": cut.ax.transAxes}
        cut.ax.text(0.5, -0.01, true_minus(f"z = {z:g} mm"), va="top", **look)
        for x, side in ((0.04, "L"), (0.96, "R")) if number == 0 else ():
            cut.ax.text(x, 0.9, side, **look)


def _colour_bar(ax, end, label):
    """A colour bar from -end to end beside Axes that nilearn has taken."""
    bar = ax.inset_axes([1.005, 0.12, 0.012, 0.76])
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(-end, end), DIVERGING)
    drawn = ax.figure.colorbar(scale, cax=bar)
    drawn.set_label(label, fontsize=7)
    drawn.locator = mpl.ticker.MaxNLocator(4, symmetric=True)
    drawn.ax.tick_params(labelsize=SMALL, length=2)
    drawn.outline.set_linewidth(0.5)


def plot_glass(ax, image, p_image, label, vmax=None):
    """Voxels with a family-wise p below .05, seen through the head from four sides.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    image : nibabel image
        t, or another statistic with a sign.
    p_image : nibabel image
        Family-wise p.
    label : str
        Of the colour bar.
    vmax : float, optional
        End of the colour scale.
    """
    kept = where(image, p_image, LEVEL)
    end = vmax or np.abs(image.get_fdata()).max()
    empty = not np.any(kept.get_fdata())
    display = plot_glass_brain(
        None if empty else kept,
        axes=ax,
        display_mode="lyrz",
        threshold=None if empty else 1e-6,
        vmin=-end,
        vmax=end,
        cmap=DIVERGING,
        colorbar=False,
        plot_abs=False,
        symmetric_cbar=True,
        annotate=False,
        resampling_interpolation="nearest",
        interpolation="nearest",
    )
    display.annotate(size=SMALL + 0.5)
    if empty:
        words = f"no voxel survives family-wise correction (p < {LEVEL:g})".replace("0.", ".", 1)
        look = {"ha": "center", "va": "center", "fontsize": 7.5, "zorder": 20}
        ax.figure.text(*_middle(ax), words, bbox={"fc": "white", "ec": QUIET, "lw": 0.6}, **look)
    else:
        _colour_bar(ax, end, label)
    return display


def _middle(ax):
    place = ax.get_position()
    return (place.x0 + place.x1) / 2, (place.y0 + place.y1) / 2


def plot_region_change(ax, change, means, regions, names, legend=True):
    """Change by region and arm: density, each participant, mean and 95 % interval.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    change : pandas.DataFrame
        participant_id, arm, region, change (percent).
    means : pandas.DataFrame
        arm, region, n, mean, ci_low, ci_high (percent).
    regions : sequence of str
        The first is drawn on top.
    names : dict
    legend : bool
        Draw a key of the arms.
    """
    if not len(regions):
        return _nothing(ax, "no region named")
    ax.axvline(0, color=QUIET, lw=0.8, ls="--")
    for side, (arm, colour) in zip((1, -1), COLOURS.items(), strict=True):
        place = np.arange(len(regions))[::-1] + side * 0.22
        for y, region in zip(place, regions, strict=True):
            own = change[(change["arm"] == arm) & (change["region"] == region)]["change"].dropna()
            _cloud(ax, np.sort(own), y, colour)
        row = means[means["arm"] == arm].set_index("region").reindex(list(regions))
        error = np.abs(row[["ci_low", "ci_high"]].to_numpy().T - row["mean"].to_numpy())
        look = {"fmt": "D", "ms": 3.8, "mec": "black", "mew": 0.5, "capsize": 2, "ecolor": "black"}
        label = f"{names[arm]} (n = {row['n'].max():.0f})"
        ax.errorbar(row["mean"], place, xerr=error, color=colour, label=label, lw=1, **look)
    ax.set(yticks=range(len(regions)), ylim=(-0.6, len(regions) - 0.4))
    ax.set_yticklabels([_wrap(region, 26) for region in regions][::-1])
    ax.set_xlabel("grey-matter volume change, % of before treatment")
    ax.tick_params(axis="y", length=0)
    if legend:
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0.1)


def _cloud(ax, values, y, colour):
    """Points of one arm in a narrow band below their density."""
    spread = 0.045 * np.resize([-1, 0, 1], len(values))  # neighbours apart, the same every time
    ax.plot(values, y - 0.08 + spread, "o", ms=2.2, color=colour, alpha=0.6, mew=0)
    if len(np.unique(values)) < 5:  # too few for a density
        return
    drawn = ax.violinplot(
        values, [y], orientation="horizontal", widths=0.34, side="high", showextrema=False
    )
    for body in drawn["bodies"]:
        body.set(facecolor=colour, alpha=0.3, linewidth=0)


def plot_receptors(ax, rows, title=""):
    """Correlation with each receptor and its interval; filled where family-wise p < .05.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    rows : pandas.DataFrame
        Rows of ``receptors/correlations.tsv`` of one contrast.
    title : str
    """
    rows = rows.sort_values("r")
    y = np.arange(len(rows))
    ax.axvline(0, color=QUIET, lw=0.8, ls="--")
    ax.hlines(y, rows["ci_low"], rows["ci_high"], color=QUIET, lw=1)
    for chosen, face, label in (
        (rows["p_fwe"] < 0.05, ACCENT, "family-wise p < .05 (re-randomisation)"),
        (rows["p_fwe"] >= 0.05, "white", "family-wise p at least .05"),
    ):
        if chosen.any():
            ax.plot(rows["r"][chosen], y[chosen], "o", ms=4.5, mfc=face, mec=ACCENT, label=label)
    labels = [f"{row.receptor}  {row.annotation}" for row in rows.itertuples()]
    ax.set(yticks=y, xlabel="correlation with the effect map, r", title=title)
    ax.set_yticklabels(labels, fontsize=6.5)
    ax.legend(loc="upper center", bbox_to_anchor=(0.3, -0.09), fontsize=6.5)


def central(draws, share=0.95):
    """Limits of the central share of null draws, by map.

    Parameters
    ----------
    draws : array_like
        (n_draws, n_maps).

    Returns
    -------
    numpy.ndarray
        (n_maps, 2).
    """
    return np.nanquantile(draws, [(1 - share) / 2, (1 + share) / 2], axis=0).T


def plot_correlations(ax, rows, bands):
    """Correlation with each receptor map in order, against the central 95 % of two nulls.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    rows : pandas.DataFrame
        Rows of ``receptors/correlations.tsv`` of one contrast.
    bands : dict of numpy.ndarray
        "randomisation" and "spatial": (n_maps, 2), limits of each null in the order of ``rows``.
    """
    if not len(rows):
        return _nothing(ax, "no receptor map")
    order = np.argsort(rows["r"].to_numpy())  # NaN last: on top
    rows, y = rows.iloc[order], np.arange(len(rows))
    reach = [rows["ci_low"], rows["ci_high"], rows["r"]]
    words = {
        "randomisation": "95 % of r if treatment did nothing",
        "spatial": "95 % of r among equally smooth maps",
    }
    for side, (null, label) in zip((0.19, -0.19), words.items(), strict=True):
        low, high = np.asarray(bands[null], dtype=float)[order].T
        reach += [low, high]
        ax.barh(y + side, high - low, 0.36, low, color=BANDS[null], lw=0, label=label, zorder=0)
    ax.axvline(0, color="white", lw=0.8, zorder=0.5)
    ax.hlines(y, rows["ci_low"], rows["ci_high"], color="black", lw=1)
    for chosen, face, label in (
        (
            rows["p_fwe"] < LEVEL,
            ACCENT,
            "r, 95 % CI; if treatment did nothing, family-wise p < .05",
        ),
        (~(rows["p_fwe"] < LEVEL), "white", "r, 95 % CI; the same p at least .05"),
    ):
        if chosen.any():
            look = {"ms": 4.5, "mfc": face, "mec": ACCENT, "label": label}
            ax.plot(rows["r"][chosen], y[chosen], "o", **look)
    _write_ps(ax, rows, y)
    limits = np.nanmin(np.concatenate(reach)) - 0.04, np.nanmax(np.concatenate(reach)) + 0.04
    ax.set(yticks=y, ylim=(-0.7, len(rows) - 0.3), xlim=limits)
    ax.set_yticklabels([_map_label(row) for row in rows.itertuples()], fontsize=SMALL)
    ax.tick_params(axis="y", length=0)
    over = f"r over {range_text(rows['n_parcels'])} regions"
    ax.set_xlabel(f"correlation of receptor map and change, {over}")
    under = mpl.transforms.offset_copy(ax.transAxes, ax.figure, 0, -27, units="points")
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": under}
    ax.legend(**place, ncols=2, fontsize=SMALL, handlelength=1.4, columnspacing=1.2)


def _write_ps(ax, rows, y):
    """Both p in words, family-wise in brackets, at the right of the Axes."""
    columns = (
        ("if treatment\ndid nothing\n(family-wise)", "p_randomisation", "p_fwe", 6),
        ("among equally\nsmooth maps\n(family-wise)", "p_spatial", "p_fwe_spatial", 78),
    )
    for head, p, corrected, points in columns:
        _beside(ax, len(rows) - 0.2, f"p {head}", points, fontweight="bold", va="bottom")
        for place, one, over_maps in zip(y, rows[p], rows[corrected], strict=True):
            _beside(ax, place, f"{_short_p(one)} ({_short_p(over_maps)})", points)


def _short_p(p):
    if not np.isfinite(p):
        return "–"
    return p_text(p).removeprefix("p ").removeprefix("= ")


def _map_label(row):
    """Receptor, map and the people behind it."""
    people = f" ({row.n_subjects_map:.0f})" if np.isfinite(row.n_subjects_map) else ""
    return f"{row.receptor}  {row.annotation}{people}"


def range_text(values):
    """Smallest to largest count, or the one that there is."""
    low, high = values.min(), values.max()
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def plot_nulls(ax, draws, observed):
    """Both null distributions of one receptor's r, with the observed r.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    draws : dict of numpy.ndarray
        "randomisation" and "spatial": (n_draws,).
    observed : float
    """
    words = {"randomisation": "treatment did nothing", "spatial": "equally smooth maps"}
    looks = {"randomisation": {"lw": 0}, "spatial": {"lw": 0, "alpha": 0.75}}
    n = range_text(np.array([len(draws[null]) for null in words]))
    for null, label in words.items():
        own = draws[null][np.isfinite(draws[null])]
        bins = np.linspace(-1, 1, 51)
        ax.hist(own, bins, histtype="stepfilled", color=BANDS[null], label=label, **looks[null])
    ax.axvline(observed, color=ACCENT, lw=1.6, label=true_minus(f"observed, r = {observed:.2f}"))
    ax.set(xlabel="correlation, r", ylabel=f"draws, of {n}", xlim=(-1, 1))
    ax.set_xticks([-1, -0.5, 0, 0.5, 1])
    ax.set_ylim(top=1.5 * ax.get_ylim()[1])
    ax.legend(loc="upper left", fontsize=SMALL, handlelength=1.2, borderpad=0.1)


def plot_without(ax, rows):
    """r with all regions and without the one that moves it most, which is named at the right.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    rows : pandas.DataFrame
        receptor, annotation, r, r_without, region_without; the first is drawn on top.
    """
    rows = rows.dropna(subset=["r", "r_without"])
    if not len(rows):
        return _nothing(ax, "no receptor map")
    y = np.arange(len(rows))[::-1]
    ax.hlines(y, rows["r"], rows["r_without"], color=QUIET, lw=1)
    ax.plot(rows["r"], y, "D", ms=4, color=ACCENT, label="all regions")
    ax.plot(rows["r_without"], y, "o", ms=4.5, mfc="white", mec="black", label="without one")
    for place, region in zip(y, rows["region_without"], strict=True):
        _beside(ax, place, region, 4)
    _beside(ax, len(rows) - 0.2, "without", 4, fontweight="bold")
    ax.set(yticks=y, xlabel="correlation, r", ylim=(-0.6, len(rows) - 0.1))
    ax.set_yticklabels([_wrap(f"{r.receptor} {r.annotation}", 32) for r in rows.itertuples()])
    ax.tick_params(axis="y", labelsize=SMALL, length=0)
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    ax.margins(x=0.12)
    under = mpl.transforms.offset_copy(ax.transAxes, ax.figure, 0, -27, units="points")
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": under}
    ax.legend(**place, ncols=2, fontsize=SMALL, borderpad=0)


def plot_null(ax, null, observed, title, label):
    """A null distribution of r with the observed r.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    null : numpy.ndarray
        (n,).
    observed : float
    title, label : str
        Of the Axes, and of the null in words.
    """
    ax.hist(null, bins=40, color="#C8C8C8", label=label)
    ax.axvline(observed, color=ACCENT, lw=1.6, label=f"observed r = {observed:.2f}")
    ax.set(xlabel="r", ylabel="number of draws", title=title, xlim=(-1, 1))
    ax.set_ylim(top=ax.get_ylim()[1] * 1.6)
    ax.legend(loc="upper left", fontsize=6.5)


def plot_variograms(ax, lags, target, surrogates, title):
    """Variogram of a map and the band of its surrogates.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    lags : array_like
        (n_lags,), mm.
    target : array_like
        (n_lags,).
    surrogates : array_like
        (3, n_lags): 2.5 %, 50 % and 97.5 % of the surrogates.
    title : str
    """
    low, middle, high = surrogates
    ax.fill_between(lags, low, high, color="#DDDDDD", label="95 % of surrogates")
    ax.plot(lags, middle, color=QUIET, label="their median")
    ax.plot(lags, target, color=ACCENT, label="effect map")
    ax.set(xlabel="distance, mm", ylabel="semivariance, normal scores", title=title)
    ax.set_ylim(0, 1.45 * max(np.max(high), np.max(target)))
    ax.legend(loc="upper left", ncols=3, fontsize=6, handlelength=1, columnspacing=0.8)


def plot_influence(ax, without, r):
    """r of some receptors without each region in turn, and with all of them.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    without : pandas.DataFrame
        A row a receptor (index: its name), a column a region.
    r : pandas.Series
        With all regions, by the same names.
    """
    y = np.arange(len(without))[::-1]
    for place, (name, row) in zip(y, without.iterrows(), strict=True):
        ax.plot(row, np.full(len(row), place), "|", ms=8, color=COLOURS["active"], alpha=0.5)
        ax.plot(r[name], place, "D", ms=4, color=ACCENT)
        far = (row - r[name]).abs().idxmax()
        look = {"fontsize": 6, "textcoords": "offset points", "ha": "center"}
        ax.annotate(f"without {far}", (row[far], place), (0, 7), **look)
    ax.set(yticks=y, yticklabels=list(without.index), ylim=(-0.6, len(without) - 0.3))
    ax.margins(x=0.2)
    ax.set_xlabel("r without one region (bars), with all (diamond)")


def plot_power(ax, curve, detectable=np.nan, power=0.8):
    """Power of the re-randomisation test over the noise-free correlation.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    curve : pandas.DataFrame
        true_r, power, monte_carlo_se.
    detectable : float
        Where the curve reaches the power; NaN if it does not.
    power : float
    """
    ax.errorbar(
        curve["true_r"], curve["power"], curve["monte_carlo_se"], fmt="o-", ms=3, color="black"
    )
    ax.axhline(0.05, color=QUIET, lw=0.8, ls="--")
    ax.axhline(power, color=QUIET, lw=0.8, ls="--")
    if np.isfinite(detectable):
        ax.axvline(detectable, color=ACCENT, lw=1.2)
        ax.annotate(f"{detectable:.2f}", (detectable, 0.4), (3, 0), textcoords="offset points")
    ax.set(xlabel="noise-free r", ylabel="share of trials with p < .05", ylim=(0, 1.02))


def plot_dominance(ax, rows):
    """Share of the explained variance of each receptor.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    rows : pandas.DataFrame
        Rows of ``receptors/dominance.tsv``.
    """
    rows = rows.dropna(subset=["total_dominance"]).sort_values("total_dominance")
    if not len(rows):
        return _nothing(ax, "no receptor map")
    faces = [ACCENT if p < LEVEL else "white" for p in rows["p_fwe"]]
    bars = ax.barh(rows["receptor"], rows["total_dominance"], color=faces, edgecolor=ACCENT)
    texts = [f"{percent:.0f} %" for percent in rows["percent"]]
    ax.bar_label(bars, texts, fontsize=6.5, padding=2)
    ax.set(xlabel="total dominance, part of adjusted R²\n(filled: family-wise p < .05)")
    ax.margins(x=0.14)
    ax.tick_params(axis="y", labelsize=SMALL, length=0)


def plot_scatter(ax, points, r, xlabel, ylabel, n_named=8):
    """Effect map against receptor map, a point a region, those at the edge of the cloud named.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    points : pandas.DataFrame
        region, x_value, y_value.
    r : float
        Slope of the line: that of normal scores is their correlation.
    xlabel, ylabel : str
    n_named : int
        Regions to name at most; a name that would lie on another is left out.
    """
    points = points.dropna(subset=["x_value", "y_value"])
    if not len(points):
        return _nothing(ax, "no region")
    ax.plot(points["x_value"], points["y_value"], "o", ms=3, color="#4D4D4D", alpha=0.7, mew=0)
    ends = np.array([-2.6, 2.6])
    ax.plot(ends, r * ends, color=ACCENT, lw=1.2)
    ax.set_title(true_minus(f"r = {r:.2f}, {len(points)} regions"))
    ax.set(xlabel=_wrap(xlabel, 40), ylabel=_wrap(ylabel, 28))
    ax.margins(0.1)
    _name_points(ax, points, r, n_named)


def _name_points(ax, points, r, n_named):
    """Name the points furthest out (along or off the line) where there is room."""
    x, y = points["x_value"], points["y_value"]
    far = np.maximum(x.abs(), 1.5 * (y - r * x).abs())
    ax.get_figure(root=True).draw_without_rendering()
    taken = list(ax.transData.transform(points[["x_value", "y_value"]].to_numpy()))
    boxes, middle = [], x.median()
    for place in far.sort_values(ascending=False).index:
        right = x[place] < middle
        look = {"fontsize": 6, "textcoords": "offset points", "va": "center"}
        look |= {"ha": "left" if right else "right"}
        name = ax.annotate(
            points["region"][place], (x[place], y[place]), (4 if right else -4, 0), **look
        )
        box = name.get_window_extent().padded(1)
        inside = box.x0 > ax.bbox.x0 and box.x1 < ax.bbox.x1
        crowd = sum(box.contains(*dot) for dot in taken)
        if not inside or crowd or any(box.overlaps(other) for other in boxes):
            name.remove()
            continue
        boxes.append(box)
        if len(boxes) == n_named:
            return


def consort_height(boxes):
    """Height that the boxes of a flow diagram need, inches."""
    return 0.15 * _consort_rows(boxes)[-1]["bottom"] + 0.2


def consort_figure(boxes):
    """A figure as high as its boxes need, and its Axes, for :func:`plot_consort`."""
    mpl.rcParams.update(STYLE)
    fig = plt.figure(figsize=(PAGE, consort_height(boxes)))
    return fig, fig.subplots()


def plot_consort(ax, boxes):
    """Flow diagram of a trial: boxes from enrolment to analysis, a column an arm.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        From :func:`consort_figure`, or as high as the boxes need.
    boxes : pandas.DataFrame
        From :func:`analysis_lib.conduct.consort_flow`: stage, arm (both, active, control), text
        (lines, "; " between them).
    """
    rows = _consort_rows(boxes)
    centres = {"both": 0.5, "active": 0.25, "control": 0.75}
    ends = {}  # the place below which an arm's next box hangs
    for row in rows:
        for arm, lines in row["texts"].items():
            x = centres[arm]
            if arm in ends:
                _arrow(ax, (x, ends[arm]), (x, row["top"]))
            elif ends:  # the arms part here
                middle = (ends["both"] + row["top"]) / 2
                ax.plot([0.5, 0.5, x], [ends["both"], middle, middle], color="black", lw=0.8)
                _arrow(ax, (x, middle), (x, row["top"]))
            _consort_box(ax, x, row, lines, COLOURS.get(arm, QUIET))
            ends[arm] = row["bottom"]
    ax.set(xlim=(0, 1), ylim=(rows[-1]["bottom"] + 0.1, 0))
    ax.set_axis_off()


def _consort_rows(boxes, padding=1.0, gap=1.4):
    """Stages from the top: their place, counted in lines of text, and the lines of each box."""
    rows, top = [], 0.1
    for _, own in boxes.groupby("stage", sort=False):
        lines = own["text"].map(lambda text: [w for line in text.split("; ") for w in _lines(line)])
        texts = dict(zip(own["arm"], lines, strict=True))
        bottom = top + max(map(len, texts.values())) + padding
        rows.append({"top": top, "bottom": bottom, "texts": texts})
        top = bottom + gap
    return rows


def _lines(text, width=48):
    return textwrap.wrap(visit_words(text), width) or [""]


def _consort_box(ax, x, row, lines, colour):
    height = row["bottom"] - row["top"]
    look = {"fc": "white", "ec": colour, "lw": 1.2, "clip_on": False}
    ax.add_patch(mpl.patches.Rectangle((x - 0.22, row["top"]), 0.44, height, **look))
    first = row["top"] + (height - len(lines)) / 2 + 0.5
    for i, line in enumerate(lines):
        weight = "bold" if i == 0 else "normal"
        ax.text(x, first + i, line, ha="center", va="center", fontsize=7.5, fontweight=weight)


def _arrow(ax, start, end):
    look = {"arrowstyle": "-|>", "lw": 0.8, "color": "black", "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=look)


def plot_missing(ax, patterns, visits, names):
    """Patterns of missing ratings: a row each, filled where rated; participants at the right.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    patterns : pandas.DataFrame
        One column a visit, true (or 1) where rated, and n_active, n_control; the first row is
        drawn on top.
    visits : sequence of str
        Columns to draw.
    names : dict
        Words for "active" and "control".
    """
    y = np.arange(len(patterns))[::-1]
    for x, visit in enumerate(visits):
        for place, rated in zip(y, patterns[visit].astype(bool), strict=True):
            face = "#4D4D4D" if rated else "white"
            box = mpl.patches.Rectangle((x - 0.42, place - 0.36), 0.84, 0.72, fc=face, ec=QUIET)
            ax.add_patch(box)
    for x, arm in enumerate(COLOURS, start=len(visits)):
        look = {"ha": "center", "va": "center", "fontweight": "bold"}
        for place, n in zip(y, patterns[f"n_{arm}"], strict=True):
            ax.text(x, place, f"{n:.0f}", **look)
    ticks = [*map(visit_words, visits), *(f"n, {names[arm]}" for arm in COLOURS)]
    ax.set(xticks=range(len(ticks)), yticks=[], xlim=(-0.6, len(ticks) - 0.4))
    ax.set(xticklabels=ticks, ylim=(-0.6, len(patterns) - 0.4), ylabel="pattern")
    ax.set_xlabel("filled: rated")
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def plot_tipping(ax, curve, names, tip=None, unit="points"):
    """Estimate over what is added to imputed outcomes; filled where p < .05; the tipping point.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    curve : pandas.DataFrame
        delta_active, estimate, ci_low, ci_high, p: a row each delta of the active arm.
    names : dict
        Words for "active" and "control".
    tip : float, optional
        Where p reaches .05; none is drawn when it is missing.
    unit : str
    """
    curve = curve.sort_values("delta_active")
    delta, estimate = curve["delta_active"], curve["estimate"]
    ax.axhline(0, color=QUIET, lw=0.8, ls="--")
    ax.fill_between(
        delta, curve["ci_low"], curve["ci_high"], color="#DDDDDD", label="95 % interval"
    )
    ax.plot(delta, estimate, color="black", lw=1)
    for chosen, face, label in (
        (curve["p"] < LEVEL, "black", "p < .05"),
        (curve["p"] >= LEVEL, "white", "p at least .05"),
    ):
        if chosen.any():
            ax.plot(
                delta[chosen], estimate[chosen], "o", ms=3.5, mec="black", mfc=face, label=label
            )
    if tip is not None and np.isfinite(tip):
        ax.axvline(tip, 0, 0.72, color=ACCENT, lw=1.2, label=f"p = .05 at {tip:+.1f} {unit}")
    ax.set_xlabel(_wrap(f"{unit} added to imputed scores, {names['active']}", 42))
    ax.set_ylabel(_wrap(f"{names['active']} − {names['control']}, {unit}", 24))
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
    ax.legend(loc="upper left", ncols=2, fontsize=SMALL, handlelength=1.2, columnspacing=1)


def plot_items(ax, differences, names):
    """Difference between arms in each item's change, with its interval; items without are named.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    differences : pandas.DataFrame
        From :func:`analysis_lib.items.item_differences`: label, estimate, ci_low, ci_high.
    names : dict
        Words for "active" and "control".
    """
    labels = [
        row.label if np.isfinite(row.estimate) else f"{row.label} (no estimate)"
        for row in differences.itertuples()
    ]
    difference = f"{names['active']} − {names['control']}, points (95 % CI)"
    plot_forest(ax, differences, labels, f"{difference}; left favours {names['active']}")
    ax.tick_params(axis="y", labelsize=7)


def plot_stimulation(ax, dose, planned, names):
    """Treatment sessions received by each participant, most first, against those planned.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    dose : pandas.DataFrame
        From :func:`analysis_lib.conduct.participant_dose`: arm, sessions.
    planned : int
    names : dict
    """
    start = 0
    for arm, colour in COLOURS.items():
        own = dose.loc[dose["arm"] == arm, "sessions"].sort_values(ascending=False)
        ax.bar(start + np.arange(len(own)), own, 0.8, color=colour, label=names[arm])
        start += len(own) + 1
    ax.axhline(planned, color=QUIET, lw=0.8, ls="--", label=f"planned: {planned}")
    ax.set(xticks=[], xlabel="participants", ylabel="sessions received", xlim=(-1, start - 1))
    ax.set_ylim(0, planned * 1.3)
    ax.yaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    ax.legend(loc="upper center", ncols=3, fontsize=7, columnspacing=1, handlelength=1.2)
