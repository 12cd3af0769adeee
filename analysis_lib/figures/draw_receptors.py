"""Figures of receptor correlations and null distributions."""

from functools import partial

import matplotlib as mpl
import numpy as np
import seaborn as sns
from scipy import stats

from analysis_lib.figures.appearance import (
    LEVEL,
    SMALL,
    draw_marks,
    wrapped,
    write_beside,
    write_nothing,
    write_rows,
)
from analysis_lib.figures.palette import ACCENT, BANDS, COLOURS, QUIET, TISSUE, VERDICTS
from analysis_lib.receptors.library import systems
from analysis_lib.results.words import number_text, p_cell

ANATOMY = {  # in words
    "ventricle_distance": "distance to the ventricles",
    "depth": "depth below the brain's edge",
    "log_size": "size of the region (log)",
    "grey_density": "grey-matter density",
    "registration_error": "error of registration",
    "image_sharpness": "sharpness of the images",
}

DASHES = ("-", "--", ":", "-.", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (8, 2)))
# Marker, colour and place of structures, in the order of the table.
LOOKS = (("o", "black", 0.25), ("s", ACCENT, 0.0), ("^", TISSUE, -0.25))


def central(draws, share=0.95):
    """Limits (n_maps, 2) of the central share of null draws (n_draws, n_maps)."""
    return np.nanquantile(draws, [(1 - share) / 2, (1 + share) / 2], axis=0).T


def plot_correlations(ax, rows, bands, within=False):
    """Correlation with each receptor map in order, and what anatomy leaves of it.

    ``bands``: "spatial" and "spatial_anatomy", limits (n_maps, 2) of the central 95 % of each null,
    in the order of ``rows``. ``within``: of a mean change, and not a difference between arms. Where
    no patients are known, r has no interval and slopes have no p.
    """
    if not len(rows):
        return write_nothing(ax, "no receptor map")
    patients = rows["p_fwe"].notna().any()
    order = np.argsort(rows["r"].to_numpy())  # NaN last: on top
    rows, y = rows.iloc[order], np.arange(len(rows))
    reach = [rows["ci_low"], rows["ci_high"], rows["r"], rows["r_anatomy"]]
    words = {
        "spatial": "95 % of r among equally smooth maps",
        "spatial_anatomy": "the same, anatomy held constant",
    }
    for side, (null, label) in zip((0.19, -0.19), words.items(), strict=True):
        low, high = np.asarray(bands[null], dtype=float)[order].T
        reach += [low, high]
        ax.barh(y + side, high - low, 0.36, low, color=BANDS[null], lw=0, label=label, zorder=0)
    ax.axvline(0, color="white", lw=0.8, zorder=0.5)
    ax.hlines(y + 0.19, rows["ci_low"], rows["ci_high"], color="black", lw=1)
    marks = (
        ("r", 0.19, "o", *(("p_fwe", "r, 95 % CI") if patients else ("p_fwe_spatial", "r"))),
        ("r_anatomy", -0.19, "D", "p_fwe_spatial_anatomy", "r, anatomy held constant"),
    )
    for column, side, shape, p, label in marks:
        draw_marks(ax, rows[column], y + side, rows[p] < LEVEL, label=label, marker=shape, ms=4)
    _write_ps(ax, rows, y, *(("mean slope\nof 0",) if within else ()))
    limits = np.nanmin(np.concatenate(reach)) - 0.04, np.nanmax(np.concatenate(reach)) + 0.04
    ax.set(ylim=(-0.7, len(rows) - 0.3), xlim=limits)
    people = [f" ({n:.0f})" if np.isfinite(n) else "" for n in rows["n_subjects_map"]]
    write_rows(ax, y, map_names(rows) + people, fontsize=SMALL)
    over = f"r over {range_text(rows['n_parcels'])} regions"
    ax.set_xlabel(f"correlation of receptor map and {'change' if patients else 'the map'}, {over}")
    _legend_below(ax, handlelength=1.4, columnspacing=1.2)


def _legend_below(ax, **look):
    under = mpl.transforms.offset_copy(ax.transAxes, ax.figure, 0, -27, units="points")
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": under}
    ax.legend(**place, ncols=2, fontsize=SMALL, **look)


def plot_structures(ax, rows):
    """r by receptor map, by transmitter system, in each structure; filled: beyond anatomy."""
    maps = rows.drop_duplicates("annotation")
    maps = maps.assign(place=systems(maps["receptor"]))
    maps = maps.sort_values(["place", "receptor"], kind="stable")
    places = dict(zip(maps["annotation"], range(len(maps))[::-1], strict=True))
    for (structure, own), look in zip(rows.groupby("structure", sort=False), LOOKS, strict=False):
        shape, colour, side = look
        y, beyond = own["annotation"].map(places) + side, own["p_fwe_spatial_anatomy"] < LEVEL
        label = f"{structure}, {range_text(own['n_parcels'])} regions"
        draw_marks(ax, own["r"], y, beyond, colour, label, marker=shape, ms=4.5)
    ax.axvline(0, color=QUIET, lw=0.8, zorder=0)
    ax.hlines(np.arange(len(maps))[1:] - 0.5, -1, 1, color=QUIET, lw=0.3, zorder=0)
    ax.set(xlim=(-1, 1), ylim=(-0.6, len(maps) - 0.4), xlabel="correlation with the change, r")
    write_rows(ax, places.values(), maps["system"] + ": " + map_names(maps), fontsize=SMALL)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=SMALL)


def _write_ps(ax, rows, y, slopes="no treatment\neffect on\nslopes"):
    """Each p in words, family-wise in brackets, at the right of the Axes."""
    columns = (
        (slopes, "p_randomisation", "p_fwe", 6),
        ("equally\nsmooth\nmaps", "p_spatial", "p_fwe_spatial", 72),
        ("the same,\nbeyond\nanatomy", "p_spatial_anatomy", "p_fwe_spatial_anatomy", 138),
    )
    for head, p, corrected, points in (one for one in columns if rows[one[1]].notna().any()):
        write_beside(ax, len(rows) - 0.2, f"p {head}", points, fontweight="bold", va="bottom")
        words = rows[p].map(p_cell) + " (" + rows[corrected].map(p_cell) + ")"
        write_beside(ax, y, words, points)


def map_names(rows):
    """Receptor and map of each row."""
    return rows["receptor"] + "  " + rows["annotation"]


def range_text(values):
    """Smallest to largest count, or the one that there is."""
    low, high = values.min(), values.max()
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def plot_nulls(ax, draws, observed):
    """r among equally smooth maps, and partial r given anatomy, each with the observed one."""
    words = {"spatial": "equally smooth maps", "spatial_anatomy": "anatomy held constant"}
    n = range_text(np.array([len(draws[null]) for null in words]))
    for null, label in words.items():
        own = draws[null][np.isfinite(draws[null])]
        look = {"color": BANDS[null], "alpha": 0.75, "linewidth": 0, "element": "step"}
        sns.histplot(x=own, bins=np.linspace(-1, 1, 51), label=label, ax=ax, **look)
    for null, style in (("spatial", "-"), ("spatial_anatomy", "--")):
        said = f"observed, r = {number_text(observed[null])}"
        ax.axvline(observed[null], color=ACCENT, lw=1.6, ls=style, label=said)
    ax.set(xlabel="correlation, r", ylabel=f"draws, of {n}", xlim=(-1, 1))
    ax.set_xticks([-1, -0.5, 0, 0.5, 1])
    ax.set_ylim(top=1.7 * ax.get_ylim()[1])
    ax.legend(loc="upper left", fontsize=SMALL, handlelength=1.2, borderpad=0.1)


def plot_slopes(ax, rows, names):
    """Slope of each patient by arm, and the mean of each arm; ``rows`` of one receptor map."""
    arms = [arm for arm in COLOURS if rows["arm"].eq(arm).any()]
    look = {"hue": "arm", "palette": COLOURS, "order": arms, "legend": False}
    look |= {"warn_thresh": 1}  # places follow from the data: a strip would jitter them at random
    sns.swarmplot(rows, x="slope", y="arm", size=4, alpha=0.7, ax=ax, **look)
    for place, arm in enumerate(arms):
        mean = rows.loc[rows["arm"] == arm, "slope"].mean()
        ax.plot([mean, mean], [place - 0.35, place + 0.35], color="black", lw=1.6)
    ax.axvline(0, color=QUIET, lw=0.8, ls="--", zorder=0)
    ax.set(xlabel="change per SD of density, %", ylabel="")
    ax.set_yticks(range(len(arms)), [names[arm] for arm in arms])


def plot_patients_z(ax, rows, names):
    """Fisher's z of each participant's change with each receptor map, by arm: JuSpace's picture."""
    look = {"x": "z", "y": "annotation", "hue": "arm", "hue_order": list(COLOURS)}
    look |= {"palette": COLOURS, "ax": ax, "dodge": True}
    sns.boxplot(rows, **look, showfliers=False, fill=False, linewidth=0.8)
    sns.stripplot(rows, **look, size=2, alpha=0.6, jitter=False, legend=False)
    ax.axvline(0, color=QUIET, lw=0.8, zorder=0)
    maps = rows.drop_duplicates("annotation")
    ax.set_yticks(range(len(maps)), map_names(maps), fontsize=SMALL)
    ax.set(xlabel="Fisher's z of change and receptor map", ylabel="")
    handles, arms = ax.get_legend_handles_labels()
    ax.legend(handles, [names[arm] for arm in arms], fontsize=SMALL)


def plot_anatomy(ax, rows):
    """r of an effect map with head anatomy; filled: family-wise p < .05 among smooth maps."""
    if not len(rows):
        return write_nothing(ax, "no region")
    rows, y = rows.iloc[::-1], np.arange(len(rows))
    ax.axvline(0, color=QUIET, lw=0.8, zorder=0)
    ax.hlines(y, 0, rows["r"], color=QUIET, lw=1)
    for place, (_, row) in zip(y, rows.iterrows(), strict=True):
        if np.isnan(row["r"]):
            ax.text(0, place, "not available", ha="center", va="center", fontsize=SMALL)
            continue
        face = ACCENT if row["p_fwe_spatial"] < LEVEL else "white"
        ax.plot(row["r"], place, "o", ms=5, mfc=face, mec=ACCENT)
        write_beside(ax, place, p_cell(row["p_spatial"]), 4)
    write_beside(ax, len(rows) - 0.4, "p", 4, fontweight="bold")
    ax.set(yticks=y, xlabel="correlation with the effect map, r", xlim=(-1, 1))
    ax.set_yticklabels([ANATOMY[name] for name in rows["measure"]])
    ax.set_ylim(-0.6, len(rows) - 0.2)


def plot_improvement(ax, rows):
    """Relation of slopes to improvement on one scale: r and its interval by receptor map."""
    rows = rows.sort_values("r")
    y = np.arange(len(rows))
    ax.axvline(0, color=QUIET, lw=0.8, zorder=0)
    ax.hlines(y, rows["ci_low"], rows["ci_high"], color="black", lw=1)
    faces = np.where(rows["p_fwe"] < LEVEL, ACCENT, "white")
    for place, r, face in zip(y, rows["r"], faces, strict=True):
        ax.plot(r, place, "o", ms=4, mfc=face, mec=ACCENT)
    ax.set(xlabel="r of slope and improvement", ylim=(-0.7, len(rows) - 0.3))
    write_rows(ax, y, map_names(rows), fontsize=SMALL)


def plot_without(ax, rows):
    """r with all regions and without the one that moves it most, which is named at the right."""
    rows = rows.dropna(subset=["r", "r_without"])
    if not len(rows):
        return write_nothing(ax, "no receptor map")
    y = np.arange(len(rows))[::-1]
    ax.hlines(y, rows["r"], rows["r_without"], color=QUIET, lw=1)
    ax.plot(rows["r"], y, "D", ms=4, color=ACCENT, label="all regions")
    ax.plot(rows["r_without"], y, "o", ms=4.5, mfc="white", mec="black", label="without one")
    write_beside(ax, y, rows["region_without"], 4)
    write_beside(ax, len(rows) - 0.2, "without", 4, fontweight="bold")
    ax.set(xlabel="correlation, r", ylim=(-0.6, len(rows) - 0.1))
    names = (rows["receptor"] + " " + rows["annotation"]).map(partial(wrapped, width=32))
    write_rows(ax, y, names, fontsize=SMALL)
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    ax.margins(x=0.12)
    _legend_below(ax, borderpad=0)


def plot_quantiles(ax, quantiles, rates):
    """Share of p at or below each level, a line per test; grey: 95 % of a test that holds it."""
    verdicts = rates.set_index("test")["verdict"]
    for k, (test, rows) in enumerate(quantiles.groupby("test", sort=False)):
        look = {"color": VERDICTS[verdicts[test]], "ls": DASHES[k % len(DASHES)], "lw": 1.3}
        ax.plot(rows["nominal"], rows["observed"], label=f"{test}: {verdicts[test]}", **look)
    levels, n = rows["nominal"].to_numpy(), quantiles["n_draws"].min()
    limits = stats.binom.ppf([[0.025], [0.975]], n, levels) / n
    ax.fill_between(levels, *limits, color="#E2E2E2", lw=0, zorder=0)
    ax.plot(levels, levels, color=QUIET, lw=0.8, zorder=1)
    ax.axvline(LEVEL, color=QUIET, lw=0.8, ls=":")
    ax.set(xscale="log", yscale="log", xlabel="level", ylabel="share of p at or below it")
    ax.set(xlim=(levels[0], 1), ylim=(levels[0] / 2, 1.1))
    ticks = {"ticks": [0.005, 0.05, 0.5, 1], "labels": [".005", ".05", ".5", "1"]}
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(**ticks)
        axis.set_minor_formatter(mpl.ticker.NullFormatter())
    ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=SMALL, handlelength=2.6)


def plot_dominance(ax, rows):
    """Share of the explained variance of each receptor."""
    rows = rows.dropna(subset=["total_dominance"])
    rows = rows.sort_values("total_dominance", ascending=False)
    if not len(rows):
        return write_nothing(ax, "no receptor map")
    look = {"color": "white", "edgecolor": ACCENT, "linewidth": 1, "saturation": 1}
    sns.barplot(rows, x="total_dominance", y="receptor", errorbar=None, ax=ax, **look)
    for bar, p in zip(ax.patches, rows["p_fwe"], strict=True):
        bar.set_facecolor(ACCENT if p < LEVEL else "white")
    texts = [f"{number_text(x, '.0f')} %" if np.isfinite(x) else "" for x in rows["percent"]]
    ax.bar_label(ax.containers[0], texts, fontsize=6.5, padding=2)
    ax.set(xlabel="total dominance, part of adjusted R²\n(filled: family-wise p < .05)", ylabel="")
    ax.margins(x=0.14)
    ax.tick_params(axis="y", labelsize=SMALL, length=0)


def plot_scatter(ax, points, r, xlabel, ylabel, n_named=8):
    """Effect map against receptor map, a point per region, those at the edge of the cloud named.

    The line has slope r: that of normal scores is their correlation. At most ``n_named`` regions
    are named; a name that would lie on another is left out.
    """
    points = points.dropna(subset=["x_value", "y_value"])
    if not len(points):
        return write_nothing(ax, "no region")
    ax.plot(points["x_value"], points["y_value"], "o", ms=3, color="#4D4D4D", alpha=0.7, mew=0)
    ends = np.array([-2.6, 2.6])
    ax.plot(ends, r * ends, color=ACCENT, lw=1.2)
    ax.set_title(f"r = {number_text(r)}, {len(points)} regions")
    ax.set(xlabel=wrapped(xlabel, 40), ylabel=wrapped(ylabel, 28))
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
