"""Figures of power and of the errors of significant results."""

import matplotlib as mpl
import numpy as np

from analysis_lib.figures.appearance import LEVEL, SMALL
from analysis_lib.figures.palette import ACCENT, QUIET

ENOUGH = 0.8  # power that is asked for
LARGEST = 5  # exaggeration shown


def plot_power(ax, rows, real, xlabel):
    """Power over the true effect, a line each; dashed: closed form; ``real``: other trials'."""
    for level in (LEVEL, ENOUGH):
        ax.axhline(level, color=QUIET, lw=0.8, ls=":")
    for colour, name, own in _lines(rows):
        look = {"color": colour, "lw": 1.2, "ms": 2}
        se = own["monte_carlo_se"]
        ax.errorbar(own["true_effect"], own["power"], se, fmt="o-", label=name, **look)
        ax.plot(own["true_effect"], own["closed_form"], ls="--", color=colour, lw=0.8)
    _mark(ax, real)
    ax.set(xlabel=xlabel, ylabel="share of trials with p < .05", ylim=(0, 1.02))


def plot_exaggeration(ax, rows, real, xlabel):
    """What significant trials observe, as a multiple of the truth."""
    ax.axhline(1, color=QUIET, lw=0.8, ls=":")
    for colour, name, own in _lines(rows[rows["power"] > 0.02]):
        ax.plot(own["true_effect"], own["exaggeration"], "o-", color=colour, ms=2, label=name)
        ax.plot(own["true_effect"], own["exaggeration_closed_form"], ls="--", color=colour, lw=0.8)
    _mark(ax, real)
    ax.set(xlabel=xlabel, ylabel="observed / true, if p < .05", ylim=(0.9, LARGEST))
    ax.set_xlim(0, rows["true_effect"].max())


def _lines(rows):
    names = rows["line"].unique()
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(names)))
    for colour, name in zip(colours, names, strict=True):
        yield colour, name, rows[rows["line"] == name]


def _mark(ax, real):
    """Effects of other trials as vertical lines with their names; the legend beside the Axes."""
    look = {"rotation": 90, "fontsize": SMALL, "color": ACCENT, "ha": "right", "va": "center"}
    look["bbox"] = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5}
    for one in real.itertuples():
        ax.axvline(one.true_effect, color=ACCENT, lw=1)
        ax.text(one.true_effect, 0.5, one.treatment, transform=ax.get_xaxis_transform(), **look)
    ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=SMALL)
