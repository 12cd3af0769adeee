"""Figures of receptor correlations, null distributions and power."""

import matplotlib as mpl
import numpy as np
import seaborn as sns

from analysis_lib.figures.appearance import LEVEL, SMALL, wrapped, write_beside, write_nothing
from analysis_lib.figures.palette import ACCENT, BANDS, QUIET
from analysis_lib.results.words import number_text, p_cell


def central(draws, share=0.95):
    """Limits (n_maps, 2) of the central share of null draws (n_draws, n_maps)."""
    return np.nanquantile(draws, [(1 - share) / 2, (1 + share) / 2], axis=0).T


def plot_correlations(ax, rows, bands):
    """Correlation with each receptor map in order, against the central 95 % of two nulls.

    ``bands``: "randomisation" and "spatial", limits (n_maps, 2) in the order of ``rows``.
    """
    if not len(rows):
        return write_nothing(ax, "no receptor map")
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
        write_beside(ax, len(rows) - 0.2, f"p {head}", points, fontweight="bold", va="bottom")
        for place, one, over_maps in zip(y, rows[p], rows[corrected], strict=True):
            write_beside(ax, place, f"{p_cell(one)} ({p_cell(over_maps)})", points)


def _map_label(row):
    """Receptor, map and the people behind it."""
    people = f" ({row.n_subjects_map:.0f})" if np.isfinite(row.n_subjects_map) else ""
    return f"{row.receptor}  {row.annotation}{people}"


def range_text(values):
    """Smallest to largest count, or the one that there is."""
    low, high = values.min(), values.max()
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def plot_nulls(ax, draws, observed):
    """Null distributions ("randomisation", "spatial") of one receptor's r, with the observed r."""
    words = {"randomisation": "treatment did nothing", "spatial": "equally smooth maps"}
    alphas = {"randomisation": 1, "spatial": 0.75}
    n = range_text(np.array([len(draws[null]) for null in words]))
    for null, label in words.items():
        own = draws[null][np.isfinite(draws[null])]
        look = {"color": BANDS[null], "alpha": alphas[null], "linewidth": 0, "element": "step"}
        sns.histplot(x=own, bins=np.linspace(-1, 1, 51), label=label, ax=ax, **look)
    ax.axvline(observed, color=ACCENT, lw=1.6, label=f"observed, r = {number_text(observed)}")
    ax.set(xlabel="correlation, r", ylabel=f"draws, of {n}", xlim=(-1, 1))
    ax.set_xticks([-1, -0.5, 0, 0.5, 1])
    ax.set_ylim(top=1.7 * ax.get_ylim()[1])
    ax.legend(loc="upper left", fontsize=SMALL, handlelength=1.2, borderpad=0.1)


def plot_without(ax, rows):
    """r with all regions and without the one that moves it most, which is named at the right."""
    rows = rows.dropna(subset=["r", "r_without"])
    if not len(rows):
        return write_nothing(ax, "no receptor map")
    y = np.arange(len(rows))[::-1]
    ax.hlines(y, rows["r"], rows["r_without"], color=QUIET, lw=1)
    ax.plot(rows["r"], y, "D", ms=4, color=ACCENT, label="all regions")
    ax.plot(rows["r_without"], y, "o", ms=4.5, mfc="white", mec="black", label="without one")
    for place, region in zip(y, rows["region_without"], strict=True):
        write_beside(ax, place, region, 4)
    write_beside(ax, len(rows) - 0.2, "without", 4, fontweight="bold")
    ax.set(yticks=y, xlabel="correlation, r", ylim=(-0.6, len(rows) - 0.1))
    ax.set_yticklabels([wrapped(f"{r.receptor} {r.annotation}", 32) for r in rows.itertuples()])
    ax.tick_params(axis="y", labelsize=SMALL, length=0)
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    ax.margins(x=0.12)
    under = mpl.transforms.offset_copy(ax.transAxes, ax.figure, 0, -27, units="points")
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": under}
    ax.legend(**place, ncols=2, fontsize=SMALL, borderpad=0)


def plot_variograms(ax, lags, target, surrogates):
    """Variogram (n_lags,) of a map, and 2.5, 50 and 97.5 % of its surrogates, (3, n_lags)."""
    low, middle, high = surrogates
    ax.fill_between(lags, low, high, color="#DDDDDD", label="95 % of surrogates")
    ax.plot(lags, middle, color=QUIET, label="their median")
    ax.plot(lags, target, color=ACCENT, label="effect map")
    ax.set(xlabel="distance, mm", ylabel="semivariance, normal scores")
    ax.set_ylim(0, 1.45 * max(np.max(high), np.max(target)))
    ax.legend(loc="upper left", ncols=3, fontsize=6, handlelength=1, columnspacing=0.8)


def plot_power(ax, curve, detectable=np.nan, power=0.8):
    """Power of the re-randomisation test over the noise-free r, and where it reaches ``power``."""
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
    """Share of the explained variance of each receptor."""
    rows = rows.dropna(subset=["total_dominance"])
    rows = rows.sort_values("total_dominance", ascending=False)
    if not len(rows):
        return write_nothing(ax, "no receptor map")
    look = {"color": "white", "edgecolor": ACCENT, "linewidth": 1, "saturation": 1}
    sns.barplot(rows, x="total_dominance", y="receptor", errorbar=None, ax=ax, **look)
    for bar, p in zip(ax.patches, rows["p_fwe"], strict=True):
        bar.set_facecolor(ACCENT if p < LEVEL else "white")
    texts = [f"{percent:.0f} %" for percent in rows["percent"]]
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
