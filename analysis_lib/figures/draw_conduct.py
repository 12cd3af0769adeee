"""Figures of the trial's conduct: flow, ratings by visit, stimulation."""

import textwrap

import matplotlib as mpl
import numpy as np

from analysis_lib.figures.palette import COLOURS, QUIET
from analysis_lib.results.words import visit_words


def consort_height(boxes):
    """Height that the boxes of a flow diagram need, inches."""
    return 0.15 * _consort_rows(boxes)[-1]["bottom"] + 0.2


def plot_consort(ax, boxes):
    """Flow diagram of a trial: boxes from enrolment to analysis, a column an arm.

    ``boxes`` are `consort.consort_flow`'s; the Axes are as high as `consort_height` says.
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

    A pattern is text, a 1 or 0 for each of the visits; the first row is drawn on top.
    """
    y = np.arange(len(patterns))[::-1]
    for x in range(len(visits)):
        for place, rated in zip(y, patterns["pattern"].str[x], strict=True):
            face = "#4D4D4D" if rated == "1" else "white"
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


def plot_stimulation(ax, dose, planned, names):
    """Treatment sessions received by each participant, most first, against those planned."""
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
