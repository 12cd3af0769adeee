"""Figures of grey-matter maps and their quality."""

import matplotlib as mpl
import numpy as np
import seaborn as sns
from nilearn.datasets import load_mni152_template
from nilearn.plotting import plot_anat

from analysis_lib.figures.palette import ACCENT, COLOURS, QUIET, TISSUE

PLAIN = "#455a64"  # no arm's: maps are judged before the arms are looked at


def plot_homogeneity(ax, quality):
    """Outlier score of each map over its likeness to the others."""
    look = {"color": PLAIN, "alpha": 0.7}
    _plot_scores(ax, quality, "mean_correlation", "mean correlation with the other maps", look)


def plot_template_fit(ax, quality):
    """Outlier score of each image (`map_quality.quality`) over its resemblance to the template."""
    look = {"color": "black", "alpha": 0.6}
    label = "correlation with the template's grey matter"
    _plot_scores(ax, quality, "template_correlation", label, look)


def _plot_scores(ax, quality, column, label, look):
    ax.plot(quality[column], quality["outlier_score"], "o", ms=3, **look)
    _name_outliers(ax, quality, column, "outlier_score")
    ax.axhline(3, color=ACCENT, lw=0.8, ls="--")
    ax.set(xlabel=label, ylabel="outlier score (robust SD)")
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))


def plot_volumes(ax, quality):
    """Grey-matter volume (ml) of each participant before and after treatment."""
    wide = quality.pivot(index="participant_id", columns="session", values="volume_ml")
    ax.plot("pre", "post", "o", data=wide, ms=3, color=PLAIN, alpha=0.7)
    ends = [wide.to_numpy().min(), wide.to_numpy().max()]
    ax.plot(ends, ends, color=QUIET, lw=0.8, ls="--")
    ax.set(xlabel="volume before treatment, ml", ylabel="after treatment, ml")


def plot_variance_ratio(ax, ratio, limits, names):
    """Variance of change with active over that with control, by voxel (n_voxels,).

    ``limits`` are what normal data of equal variance give in 95 % of cases.
    """
    sns.histplot(ratio, log_scale=2, bins=60, element="step", color=PLAIN, alpha=0.4, ax=ax)
    ax.axvspan(*limits, color=QUIET, alpha=0.25, lw=0, zorder=0)
    ax.axvline(1, color=QUIET, lw=0.8, ls="--")
    ax.set(xlabel=f"variance of change, {names['active']} / {names['control']}", ylabel="voxels")
    ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))


def plot_skewness(ax, skewness, limits):
    """Skewness of change (n_voxels,) by arm; what normal data exceed in 5 % of cases."""
    for arm, values in skewness.items():
        look = {"bins": 60, "element": "step", "alpha": 0.3, "color": COLOURS[arm]}
        sns.histplot(values, ax=ax, **look)
        for side in (-1, 1):
            ax.axvline(side * limits[arm], color=COLOURS[arm], lw=0.8, ls="--")
    ax.set(xlabel="skewness of change", ylabel="voxels")


def plot_mosaic(ax, images, titles, columns=3, cuts=(-20, 5, 30)):
    """Axial slices of each map, at z = cuts (mm), all on one grey scale, in rows within the Axes.

    The Axes are of the figure itself: nilearn places its own there.
    """
    ax.set_axis_off()
    look = {"display_mode": "z", "cut_coords": list(cuts), "annotate": False, "colorbar": False}
    places = _grid(ax.get_position(), len(images), columns, 0.17 / ax.figure.get_figheight())
    for place, image, title in zip(places, images, titles, strict=True):
        cell = ax.figure.add_axes(place)
        plot_anat(image, axes=cell, vmin=0, vmax=0.9, black_bg=True, **look)
        cell.set_title(title, fontsize=7, fontweight="normal")


def _grid(box, n, columns, head):
    """Places of n cells in rows, from the top, with room for a title above each."""
    height, width = box.height / -(-n // columns), box.width / columns
    for k in range(n):
        row, column = divmod(k, columns)
        left, low = box.x0 + column * width, box.y1 - (row + 1) * height
        yield left, low, 0.98 * width, height - head


def plot_head_size(ax, quality):
    """Grey-matter volume over head size (`map_quality.quality`), a person's images joined."""
    for _, own in quality.groupby("participant_id"):
        ax.plot(own["tiv_ml"], own["grey_ml"], "o-", ms=3, lw=0.7, color="black", alpha=0.6)
    _name_outliers(ax, quality, "tiv_ml", "grey_ml")
    ax.set(xlabel="total intracranial volume, ml", ylabel="grey matter, ml")


def _name_outliers(ax, quality, x, y, threshold=3.0):
    for _, row in quality[quality["outlier_score"] > threshold].iterrows():
        ax.annotate(row["image"], (row[x], row[y]), fontsize=6.5)


def plot_segmentation(axes, images, cuts):
    """What became of one T1-weighted image: segmentation, grey-matter map, normalisation.

    Axes (3, 2): sagittal slices at the left, axial ones at the right. Images: t1, brain (mask) and
    grey (probability) in the participant's own space; map (modulated grey matter) and normalised
    (T1, brain alone) in MNI space. Cuts: "own" and "mni", x and z of the slices of each space, mm.
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
