"""Figures that compare trials: symptoms, a few regions, receptors."""

import numpy as np

from analysis_lib.figures.appearance import (
    LEVEL,
    SMALL,
    draw_marks,
    wrapped,
    write_beside,
    write_rows,
)
from analysis_lib.figures.draw_clinical import estimate_text
from analysis_lib.figures.draw_receptors import map_names
from analysis_lib.figures.palette import ACCENT, QUIET, TISSUE
from analysis_lib.results.words import printed

MARKERS = "os^Dv<>P"  # of the trials, in the order of the tables


def _label(row):
    return row.study + (" (SIMULATED)" if row.data == "simulated" else "")


def plot_trials_symptoms(ax, rows):
    """Standardised change of each trial's primary scale; filled where arms are compared."""
    y = -np.arange(len(rows))
    ax.axvline(0, color=QUIET, lw=0.8, ls="--")
    ax.hlines(y, rows["g_ci_low"], rows["g_ci_high"], color="black", lw=1.2)
    for place, row in zip(y, rows.itertuples(), strict=True):
        face = "black" if row.design == "arms compared" else "white"
        ax.plot(row.hedges_g, place, "s", ms=4, mec="black", mfc=face)
        write_beside(ax, place, f"{row.scale}: {estimate_text(row)}", 4)
    write_beside(ax, y, rows["n"], 150)
    write_beside(ax, 0.8, "points (95 % CI)", 4, fontweight="bold")
    write_beside(ax, 0.8, "n", 150, fontweight="bold")
    ax.set(ylim=(y.min() - 0.7, 1.2), xlabel="difference or change over its SD (Hedges g)")
    write_rows(ax, y, [_label(row) for row in rows.itertuples()])


def plot_trials_regions(ax, rows):
    """Mean change in each region and trial, with its interval."""
    labels, place = [], 0
    for _, own in rows.groupby("structure"):
        for row in own.itertuples():
            color = TISSUE if row.data == "simulated" else "black"
            ax.hlines(place, row.ci_low, row.ci_high, color=color, lw=1.2)
            ax.plot(row.mean, place, "o", ms=4, mec=color, mfc=color)
            write_beside(ax, place, f"SD {printed(row.sd, 'points')}", 4)
            labels.append((place, f"{row.region}: {_label(row)}, {row.arm}"))
            place -= 1
        place -= 0.6
    ax.axvline(0, color=QUIET, lw=0.8, ls="--")
    places, words = zip(*labels, strict=True)
    ax.set(ylim=(min(places) - 0.7, 0.7), xlabel="change, % (95 % CI)")
    write_rows(ax, places, words, fontsize=SMALL)


def plot_trials_receptors(ax, rows):
    """r of each receptor map in each trial; filled where it is singled out beyond anatomy."""
    maps = rows.drop_duplicates("annotation").sort_values(["receptor", "annotation"])
    places = dict(zip(maps["annotation"], -np.arange(len(maps)), strict=True))
    for (_, own), marker in zip(rows.groupby("study", sort=False), MARKERS, strict=False):
        color = TISSUE if own["data"].iloc[0] == "simulated" else ACCENT
        y, beyond = own["annotation"].map(places), own["p_fwe_spatial_anatomy"] < LEVEL
        draw_marks(ax, own["r"], y, beyond, color, _label(own.iloc[0]), marker=marker, ms=4.5)
    ax.axvline(0, color=QUIET, lw=0.8, zorder=0)
    ax.set(xlim=(-1, 1), xlabel="correlation of receptor map and change, r")
    write_rows(ax, places.values(), [wrapped(name, 60) for name in map_names(maps)], fontsize=SMALL)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -2.2 / len(maps)), ncols=3, fontsize=SMALL)
