"""The specification curve: every analysis in order, over the choices that it was made by."""

import numpy as np

from analysis_lib.figures.appearance import SMALL, wrapped, write_beside, write_rows
from analysis_lib.figures.palette import ACCENT, COLOURS, QUIET

MOST = 240  # columns of the grid: more analyses than these share one
ROW, CURVE = 0.125, 1.9  # inches, of a row of the grid and of the curve


def grid_rows(decisions):
    """Options that some analyses have, in the order in which they are drawn."""
    used = decisions[decisions["n_specifications"] > 0]
    return used[used.groupby("decision")["option"].transform("size") > 1]


def height(decisions) -> float:
    """Of the whole figure, inches."""
    return CURVE + ROW * _units(grid_rows(decisions)) + 0.5


def plot_choices(ax, rows, decisions, label):
    """Estimates in order, with intervals; below, the share of analyses with each option."""
    options = grid_rows(decisions)
    low = _units(options) * ROW / (_units(options) * ROW + CURVE)
    ax.set_axis_off()
    _curve(ax.inset_axes([0, low, 1, 1 - low]), rows, label)
    _grid(ax.inset_axes([0, 0, 1, low]), rows, options)


def _units(options):
    """Height of the grid in rows, with a gap above each decision."""
    return len(options) + 0.7 * options["decision"].nunique()


def _curve(ax, rows, label):
    x = rows["place"].to_numpy()
    arbitrary, beyond = rows["label"].eq("arbitrary"), rows["ci_low"] * rows["ci_high"] > 0
    look = {"step": "mid", "lw": 0}
    ax.fill_between(x, rows["ci_low"], rows["ci_high"], color=QUIET, alpha=0.35, **look)
    ax.plot(x, rows["estimate"], color="black", lw=1)
    for chosen, face in ((arbitrary & beyond, ACCENT), (arbitrary & ~beyond, "white")):
        ax.plot(x[chosen], rows["estimate"][chosen], "o", ms=2.2, mec=ACCENT, mfc=face, mew=0.5)
    ax.axhline(0, color=QUIET, lw=0.8, ls="--")
    ax.set(ylabel=wrapped(label, 28), xlim=(0.5, len(x) + 0.5), xticks=[])
    ax.spines["bottom"].set_visible(False)


def _grid(below, rows, options):
    """The choices below the curve: dark where all analyses of a column have the option."""
    n = min(len(rows), MOST)
    column = np.minimum(np.arange(len(rows)) * n // len(rows), n - 1)
    below.set(xlim=(0, n), ylim=(_units(options), 0), xticks=[], yticks=[])
    below.spines[:].set_visible(False)
    y, names, edges = 0.0, [], np.arange(n + 1)
    for decision, own in options.groupby("decision", sort=False):
        y += 0.7
        look = {"fontsize": SMALL, "fontweight": "bold", "va": "center", "annotation_clip": False}
        place, name = (0, y + len(own) / 2), decision.replace("_", " ")
        below.annotate(name, place, (-118, 0), textcoords="offset points", **look)
        for row in own.itertuples():
            share = np.bincount(column, rows[decision].eq(row.option)) / np.bincount(column)
            colour = {"default": "Greys", "arbitrary": "Oranges"}.get(row.label, "Blues")
            below.pcolormesh(edges, [y + 0.1, y + 0.9], share[None], cmap=colour, vmin=0, vmax=1.2)
            names.append((y + 0.5, row.option.replace("_", " ")))
            y += 1
    places, words = zip(*names, strict=True) if names else ((), ())
    write_rows(below, places, words, fontsize=SMALL)


def plot_variance(ax, rows):
    """Share of the variance of the estimate by decision."""
    y = -np.arange(len(rows))
    ax.barh(y, rows["share"], color=COLOURS["active"], height=0.7)
    write_beside(ax, y, [f"{n} options" for n in rows["n_options"]], 4)
    write_rows(ax, y, rows["decision"].astype(str).str.replace("_", " "))
    ax.set(xlabel="share of the variance of the estimate", xlim=(0, None))
