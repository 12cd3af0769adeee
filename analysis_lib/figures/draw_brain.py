"""Figures of change on the brain and by region."""

import matplotlib as mpl
import numpy as np
import seaborn as sns
from nilearn.datasets import load_fsaverage, load_fsaverage_data, load_mni152_template
from nilearn.image import new_img_like
from nilearn.plotting import (
    plot_glass_brain,
    plot_stat_map,
    plot_surf_contours,
    plot_surf_stat_map,
)
from nilearn.surface import SurfaceImage

from analysis_lib.figures.appearance import LEVEL, SMALL, wrapped, write_nothing, write_rows
from analysis_lib.figures.palette import COLOURS, DIVERGING, QUIET, colours_of
from analysis_lib.results.words import number_text

BESIDE = 0.2  # seaborn's distance of an arm's strip from the middle of its region
COLOUR_SCALE = {"cmap": DIVERGING, "symmetric_cbar": True, "colorbar": False}


def where(image, p_image, level):
    """An image set to 0 where p is not below a level."""
    kept = np.where(p_image.get_fdata() < level, image.get_fdata(), 0)
    return new_img_like(image, kept.astype(np.float32))


def plot_slices(ax, image, label, outline, cuts, vmax=None):
    """Axial slices of a map on the MNI template, with a colour bar at the right of the Axes.

    All values are drawn, the smaller the fainter, and voxels with a family-wise p (``outline``)
    below .05 outlined (Taylor et al. 2023, NeuroImage 274:120138: highlight results, do not hide
    them). Cuts are z in mm, ``label`` is of the colour bar, ``vmax`` the end of its scale.
    """
    end = vmax or np.abs(image.get_fdata()).max()
    place = {"axes": ax, "display_mode": "z", "cut_coords": list(cuts), "annotate": False}
    scale = {"vmax": end or None, "threshold": 1e-6, **COLOUR_SCALE}
    faint = {"transparency": image, "transparency_range": [0, 0.6 * end]}
    template = load_mni152_template(resolution=2)
    display = plot_stat_map(image, bg_img=template, black_bg=False, **place, **scale, **faint)
    _place_slices(display)
    inside = outline.get_fdata() < LEVEL
    if inside.any():
        inside = new_img_like(outline, inside.astype(np.float32))
        display.add_contours(inside, levels=[0.5], colors=["black"], linewidths=0.6)
    if end == 0:
        ax.text(1, 0.5, "no voxel", transform=ax.transAxes, rotation=90, va="center", fontsize=7)
    else:
        _colour_bar(ax, end, label)
    return display


def _place_slices(display):
    """Write z below each slice, and the sides beside the first."""
    look = {"fontsize": SMALL, "ha": "center"}
    for number, (z, cut) in enumerate(display.axes.items()):
        look |= {"transform": cut.ax.transAxes}
        cut.ax.text(0.5, -0.01, f"z = {number_text(z, 'g')} mm", va="top", **look)
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

    ``image`` is t, or another statistic with a sign; ``vmax`` ends the colour scale.
    """
    kept = where(image, p_image, LEVEL)
    end = vmax or np.abs(image.get_fdata()).max()
    empty = not np.any(kept.get_fdata())
    shown, threshold = (None, None) if empty else (kept, 1e-6)
    place = {"axes": ax, "display_mode": "lyrz", "annotate": False, "plot_abs": False}
    scale = {"vmin": -end, "vmax": end, "threshold": threshold, **COLOUR_SCALE}
    plain = dict.fromkeys(("resampling_interpolation", "interpolation"), "nearest")
    display = plot_glass_brain(shown, **place, **scale, **plain)
    display.annotate(size=SMALL + 0.5)
    if empty:
        words = f"no voxel survives family-wise correction (p < {LEVEL:g})".replace("0.", ".", 1)
        look = {"ha": "center", "va": "center", "fontsize": 7.5, "zorder": 20}
        middle = ax.get_position().get_points().mean(axis=0)
        ax.figure.text(*middle, words, bbox={"fc": "white", "ec": QUIET, "lw": 0.6}, **look)
    else:
        _colour_bar(ax, end, label)
    return display


VIEWS = (("left", "lateral"), ("left", "medial"), ("right", "medial"), ("right", "lateral"))


def plot_surface(ax, image, outline, label, vmax):
    """A map on the cortical surface (nilearn's packaged fsaverage5, pial) from four sides.

    t is sampled along the normal between the white and the pial surface, and pale where it is
    small; vertices with a family-wise p (``outline``, of the nearest voxel) below .05 are outlined.
    """
    ax.set_axis_off()
    pial, white = (load_fsaverage()[name] for name in ("pial", "white_matter"))
    depth = load_fsaverage_data(data_type="sulcal")
    t = SurfaceImage.from_volume(pial, image, inner_mesh=white)
    p = SurfaceImage.from_volume(pial, outline, interpolation="nearest_most_frequent")
    box = ax.get_position()
    for k, (side, view) in enumerate(VIEWS):
        place = (box.x0 + k * box.width / 4, box.y0, box.width / 4, box.height)
        cell = ax.figure.add_axes(place, projection="3d")
        look = {"hemi": side, "view": view, "axes": cell, "cmap": DIVERGING}
        scale = {"vmin": -vmax, "vmax": vmax, "colorbar": False}
        plot_surf_stat_map(pial, t, bg_map=depth, bg_on_data=True, **look, **scale)
        survives = (p.data.parts[side] < LEVEL).astype(int)
        if survives.any() and not survives.all():
            line = {"hemi": side, "axes": cell, "levels": [1], "colors": ["black"]}
            plot_surf_contours(pial, SurfaceImage(pial, _halves(side, survives)), **line)
        cell.set_box_aspect(None, zoom=1.35)
        words = {"transform": cell.transAxes, "ha": "center", "fontsize": SMALL}
        cell.text2D(0.5, 0, f"{side}, {view}", **words)
    _colour_bar(ax, vmax, label)


def _halves(side, values):
    """Values of one hemisphere beside zeros of the other."""
    return {name: values if name == side else np.zeros_like(values) for name in ("left", "right")}


def plot_region_change(ax, change, means, regions, names):
    """Change (percent) by region and arm: density, each participant, mean and 95 % interval.

    The first of the regions is drawn on top.
    """
    if not len(regions):
        return write_nothing(ax, "no region named")
    ax.axvline(0, color=QUIET, lw=0.8, ls="--")
    _strips(ax, change[change["region"].isin(list(regions))], list(regions))
    colours = colours_of(means["arm"])
    for side, (arm, colour) in zip((-1, 1), colours.items(), strict=False):
        row = means[means["arm"] == arm].set_index("region").reindex(list(regions))
        error = np.abs(row[["ci_low", "ci_high"]].to_numpy().T - row["mean"].to_numpy())
        look = {"fmt": "D", "ms": 3.8, "mec": "black", "mew": 0.5, "capsize": 2, "ecolor": "black"}
        place = np.arange(len(regions)) + (side * BESIDE if len(colours) > 1 else 0) - 0.11
        ax.errorbar(row["mean"], place, xerr=error, color=colour, lw=1, **look)
    ax.set(xlabel="change from baseline, %", ylabel="", ylim=(len(regions) - 0.4, -0.6))
    write_rows(ax, range(len(regions)), [wrapped(region, 26) for region in regions])


def _strips(ax, rows, regions):
    """Each participant, on the density of the arm."""
    look = {"data": rows.dropna(subset=["change"]), "x": "change", "y": "region", "ax": ax}
    look |= {"hue": "arm", "hue_order": list(colours_of(rows["arm"])), "palette": COLOURS}
    look |= {"order": regions, "legend": False, "dodge": True, "formatter": str}
    sns.violinplot(**look, inner=None, cut=0, linewidth=0, saturation=1, density_norm="width")
    for body in ax.collections:
        body.set(alpha=0.25)
    sns.stripplot(**look, jitter=False, size=2.6, alpha=0.6, linewidth=0)
