"""Figures: each function draws given results on given Axes; none computes or reads.

One colour an arm, safe for colour-blind readers (Okabe & Ito); text stays text in PDF.
"""

import contextlib

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from nilearn.datasets import load_mni152_template
from nilearn.image import new_img_like
from nilearn.plotting import plot_anat, plot_stat_map

COLOURS = {"active": "#0072B2", "control": "#E69F00"}
ACCENT, QUIET = "#D55E00", "#8C8C8C"
TISSUE = "#56B4E9"  # lines on dark images
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
        "arm_by_time": f"Change, {names['active']} - {names['control']}",
    }
    return words[contrast]


def where(image, p_image, level):
    """An image set to 0 where p is not below a level."""
    kept = np.where(p_image.get_fdata() < level, image.get_fdata(), 0)
    return new_img_like(image, kept.astype(np.float32))


def mark(fig, study, quick=False):
    """Write SIMULATED, and QUICK, on a figure that shows such numbers."""
    words = [word for word, true in (("SIMULATED", study.simulated), ("QUICK", quick)) if true]
    if words:
        if isinstance(fig.get_layout_engine(), mpl.layout_engine.ConstrainedLayoutEngine):
            room = 0.16 / fig.get_figheight()  # below the axes
            fig.get_layout_engine().set(rect=(0, room, 1, 1 - room))
        fig.text(0.995, 0.005, " · ".join(words), ha="right", va="bottom", fontsize=7, color=ACCENT)


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


def plot_risks(ax, rows, names):
    """Share of participants with an outcome, by arm, events over participants written above.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    rows : pandas.DataFrame
        outcome, n_active, n_control, events_active, events_control: one row an outcome.
    names : dict
    """
    width, x = 0.36, np.arange(len(rows))
    for side, (arm, colour) in zip((-1, 1), COLOURS.items(), strict=True):
        events, n = rows[f"events_{arm}"].to_numpy(), rows[f"n_{arm}"].to_numpy()
        bars = ax.bar(x + side * width / 2, 100 * events / n, width, color=colour, label=names[arm])
        texts = [f"{e}/{total}" for e, total in zip(events, n, strict=True)]
        ax.bar_label(bars, texts, fontsize=7, padding=1)
    ax.set(xticks=x, xticklabels=rows["outcome"], ylabel="participants, %", ylim=(0, 100))
    ax.set_xlim(-0.75, max(len(rows), 2) - 0.25)
    ax.legend(loc="upper right")


def plot_flow(ax, flow, study):
    """Participants left at each stage, by arm.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    flow : dict
        From :func:`analysis_lib.outcomes.participant_flow`.
    study : Study
    """
    stages = ["randomised", *(f"rated at {visit}" for visit in study.visits)]
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
    for column, mode in enumerate("xz"):
        own = look | {"display_mode": mode, "cut_coords": list(cuts["own"][mode])}
        mni = look | {"display_mode": mode, "cut_coords": list(cuts["mni"][mode])}
        first = plot_anat(images["t1"], axes=axes[0, column], **own)
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


def plot_slices(ax, image, threshold, label, cuts=(-20, -8, 2, 14, 30, 46), vmax=None):
    """Axial slices of a map on the MNI template, with a colour bar.

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
    """
    empty = not np.any(image.get_fdata())  # nilearn draws no colour bar then
    display = plot_stat_map(
        image,
        bg_img=load_mni152_template(resolution=2),
        axes=ax,
        display_mode="z",
        cut_coords=list(cuts),
        threshold=1e-6 if threshold is None else threshold,
        vmax=vmax,
        cmap="RdBu_r",
        symmetric_cbar=True,
        colorbar=not empty,
        annotate=True,
        black_bg=False,
    )
    if empty:
        ax.text(1, 0.5, "no voxel", transform=ax.transAxes, rotation=90, va="center", fontsize=7)
    else:
        display._cbar.set_label(label, fontsize=7)
        display._cbar.ax.tick_params(labelsize=6.5)
    return display


def plot_region_change(ax, change, means, regions, names):
    """Each participant's change in some regions, with mean and 95 % interval by arm.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    change : pandas.DataFrame
        participant_id, arm, region, change (percent).
    means : pandas.DataFrame
        arm, region, n, mean, ci_low, ci_high (percent).
    regions : sequence of str
    names : dict
    """
    ax.axhline(0, color=QUIET, lw=0.8, ls="--")
    for side, (arm, colour) in zip((-1, 1), COLOURS.items(), strict=True):
        place = np.arange(len(regions)) + side * 0.2
        for x, region in zip(place, regions, strict=True):
            own = change[(change["arm"] == arm) & (change["region"] == region)]["change"]
            spread = np.linspace(-0.09, 0.09, len(own))
            ax.plot(x + spread, np.sort(own), "o", ms=2.2, color=colour, alpha=0.45, mew=0)
        row = means[means["arm"] == arm].set_index("region").loc[list(regions)]
        error = np.abs(row[["ci_low", "ci_high"]].to_numpy().T - row["mean"].to_numpy())
        label = f"{names[arm]} (n = {row['n'].iloc[0]})"
        look = {"fmt": "D", "ms": 3.5, "mec": "black", "mew": 0.4, "capsize": 2}
        ax.errorbar(place, row["mean"], error, color=colour, label=label, **look)
    ax.set(xticks=range(len(regions)), ylabel="grey-matter volume change, %")
    ax.set_xticklabels([region.replace(" ", "\n") for region in regions], fontsize=6.5)
    ax.legend(loc="upper right")


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
    rows = rows.sort_values("total_dominance")
    faces = [ACCENT if p < 0.05 else "white" for p in rows["p_fwe"]]
    bars = ax.barh(rows["receptor"], rows["total_dominance"], color=faces, edgecolor=ACCENT)
    texts = [f"{percent:.0f} %" for percent in rows["percent"]]
    ax.bar_label(bars, texts, fontsize=6.5, padding=2)
    ax.set(xlabel="total dominance (adjusted R²); filled: family-wise p < .05")
    ax.margins(x=0.12)
    ax.tick_params(axis="y", labelsize=6.5)


def plot_scatter(ax, points, r, xlabel, ylabel):
    """Effect map against receptor map, a point a region, the densest named.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    points : pandas.DataFrame
        region, x_value, y_value.
    r : float
    xlabel, ylabel : str
    """
    ax.plot(points["x_value"], points["y_value"], "o", ms=3, color=COLOURS["active"], alpha=0.7)
    ends = np.array([-2.6, 2.6])
    ax.plot(ends, r * ends, color=ACCENT, lw=1.2)
    ax.set_title(f"r = {r:.2f}, {len(points)} regions")
    look = {"fontsize": 6, "textcoords": "offset points", "ha": "right", "va": "center"}
    top = points.loc[points["x_value"].idxmax()]
    ax.annotate(top["region"], (top["x_value"], top["y_value"]), (-5, 0), **look)
    ax.set(xlabel=xlabel, ylabel=ylabel)


def consort_figure(boxes):
    """A figure as high as its boxes need, and its Axes, for :func:`plot_consort`."""
    mpl.rcParams.update(STYLE)
    lines = _consort_rows(boxes)[-1]["bottom"]
    fig = plt.figure(figsize=(PAGE, 0.15 * lines + 0.2))
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
        texts = dict(zip(own["arm"], own["text"].str.split("; "), strict=True))
        bottom = top + max(map(len, texts.values())) + padding
        rows.append({"top": top, "bottom": bottom, "texts": texts})
        top = bottom + gap
    return rows


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
        look = {"ha": "center", "va": "center", "color": COLOURS[arm], "fontweight": "bold"}
        for place, n in zip(y, patterns[f"n_{arm}"], strict=True):
            ax.text(x, place, f"{n:.0f}", **look)
    ticks = [*visits, *(f"n, {names[arm]}" for arm in COLOURS)]
    ax.set(xticks=range(len(ticks)), yticks=[], xlim=(-0.6, len(ticks) - 0.4))
    ax.set(xticklabels=ticks, ylim=(-0.6, len(patterns) - 0.4), ylabel="pattern")
    ax.set_title("filled: rated", fontweight="normal")
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
        (curve["p"] < 0.05, "black", "p below .05"),
        (curve["p"] >= 0.05, "white", "p at least .05"),
    ):
        if chosen.any():
            ax.plot(
                delta[chosen], estimate[chosen], "o", ms=3.5, mec="black", mfc=face, label=label
            )
    if tip is not None and np.isfinite(tip):
        ax.axvline(tip, 0, 0.72, color=ACCENT, lw=1.2, label=f"p = .05 at {tip:+.1f} {unit}")
    ax.set(xlabel=f"added to imputed scores, {names['active']} arm, {unit}")
    ax.set(ylabel=f"{names['active']} - {names['control']}, {unit}")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
    ax.legend(loc="upper left", ncols=2, fontsize=6.5)


def plot_items(ax, differences):
    """Difference between arms in each item's change, with its interval; items without are named.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    differences : pandas.DataFrame
        From :func:`analysis_lib.items.item_differences`: label, estimate, ci_low, ci_high.
    """
    labels = [
        row.label if np.isfinite(row.estimate) else f"{row.label} (no estimate)"
        for row in differences.itertuples()
    ]
    plot_forest(ax, differences, labels, "active - control, points (95 % CI); left favours active")
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
