"""How figures look: fonts, sizes, marks of what is simulated or quick."""

import contextlib
import textwrap
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from analysis_lib.figures.palette import ACCENT

TICKS = {
    name: value
    for name, value in sns.axes_style("ticks").items()
    if name.startswith(("xtick", "ytick", "grid", "axes.axisbelow"))
}
STYLE = {  # seaborn's theme for print, and what is ours
    **TICKS,
    **sns.plotting_context("paper", font_scale=8 / 9.6),  # labels of 8 points
    **mpl.rc_params_from_file(Path(__file__).with_suffix(".mplstyle"), use_default_template=False),
}
COLUMN, PAGE = 3.5, 7.2  # widths of a journal's column and page, inches
LEVEL = 0.05  # below it a p is drawn as significant
SMALL = 6.5  # points, of labels that stand close together


@contextlib.contextmanager
def style():
    """The look of every figure of the compendium."""
    with mpl.rc_context(STYLE):
        yield


@mpl.rc_context(STYLE)
def brain_figure(n_rows=1, n_columns=1, height=2.0):
    """A figure for brain slices: fixed margins, since nilearn places its own Axes."""
    fig = plt.figure(figsize=(PAGE, height), layout="none")
    axes = fig.subplots(n_rows, n_columns, squeeze=False)
    head = 0.25 / height  # room for a title above each row
    fig.subplots_adjust(0.01, 0.2 / height, 0.98, 1 - head, 0.03, head * n_rows + 0.05)
    return fig, axes


def warnings_of(study, quick=False):
    """What a figure has to say of its numbers: SIMULATED or IDENTIFIABLE, QUICK."""
    return [*filter(None, [study.label]), *["QUICK"] * bool(quick)]


def write_marks(fig, words, side=0.0):
    """Words below the Axes, for which room is made; ``side``: empty margins, inches."""
    if isinstance(fig.get_layout_engine(), mpl.layout_engine.ConstrainedLayoutEngine):
        room, side = 0.16 * bool(words) / fig.get_figheight(), side / fig.get_figwidth()
        fig.get_layout_engine().set(rect=(side, room, 1 - 2 * side, 1 - room))
    look = {"ha": "right", "va": "bottom", "fontsize": 7, "color": ACCENT, "fontweight": "bold"}
    fig.text(0.995, 0.005, " · ".join(words), **look)


def write_nothing(ax, words):
    """An empty panel that says why."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", fontsize=7.5)


def write_beside(ax, y, words, points, **look):
    """Text at the right of the Axes, some points from its edge, at heights of the data."""
    look = {"fontsize": SMALL, "va": "center", "textcoords": "offset points"} | look
    for place, one in np.broadcast(y, words):
        ax.annotate(str(one), (1, place), (points, 0), xycoords=ax.get_yaxis_transform(), **look)


def write_rows(ax, y, labels, **look):
    """Labels of rows at these heights, without ticks."""
    ax.set_yticks(list(y), list(labels), **look)
    ax.tick_params(axis="y", length=0)


def draw_marks(ax, x, y, filled, colour=ACCENT, label=None, **look):
    """Marks, filled where that is so; the label is of open ones."""
    x, y, filled = np.asarray(x), np.asarray(y), np.asarray(filled)
    look |= {"ls": "none", "mec": colour}
    ax.plot(x[filled], y[filled], mfc=colour, **look)
    ax.plot(x[~filled], y[~filled], mfc="white", label=label, **look)


def wrapped(words, width):
    """Words in lines of at most this many characters."""
    return "\n".join(textwrap.wrap(words, width, break_long_words=False))
