"""Panels: a drawing with its caption, alone or composed."""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import matplotlib as mpl
import matplotlib.pyplot as plt

from analysis_lib.figures.appearance import COLUMN, PAGE, STYLE, style, write_marks
from analysis_lib.figures.palette import COLOURS
from analysis_lib.results.words import in_markdown


@dataclass(frozen=True)
class Panel:
    """One drawing and what is said of it."""

    draw: Callable  # takes Axes
    title: str
    caption: str  # what is drawn, with n, units and the meaning of marks and intervals
    alt: str  # for readers who do not see it: axes, and what they show
    size: tuple = (COLUMN, 2.6)  # width and height when it stands alone, inches
    arms: bool = False  # whether the colours of the arms need a key
    brain: bool = False  # drawn by nilearn, which fixes its own Axes: after the layout is settled
    late: bool = False  # drawn after all others, since it looks for room for names


@dataclass(frozen=True)
class Drawn:
    """A figure and what is said of it; a notebook shows both."""

    name: str  # of its files
    figure: mpl.figure.Figure
    said: dict  # title, caption, alt
    further: Callable[[], Iterable["Drawn"]] = list  # saved beside it, drawn on demand

    def png(self, dpi="figure") -> bytes:
        """The picture, by default as a notebook shows it."""
        picture = io.BytesIO()
        with style():
            self.figure.savefig(picture, format="png", dpi=dpi)
        return picture.getvalue()

    def _ipython_display_(self):
        from IPython.display import Markdown, display  # slow to import

        display({"image/png": self.png(), "text/plain": self.said["alt"]}, raw=True)
        title, caption = (in_markdown(self.said[name]) for name in ("title", "caption"))
        display(Markdown(f"**{title}.** {caption}"))


@mpl.rc_context(STYLE)
def compose(panels, blocks, names, marks=(), lettered=True, width=PAGE):
    """A figure of several panels: letters and titles aligned, one key for the arms.

    Panels, by name, are in the order of the letters. Blocks, from the top, are (rows, height in
    inches, relative widths of the columns or None). Rows are names of panels as they lie on the
    page, "." for an empty place (``subplot_mosaic``). Columns of different blocks are independent.
    The width is in inches, marks are from `warnings_of`.
    """
    keyed = [any(panels[n].arms for row in rows for n in row if n != ".") for rows, *_ in blocks]
    heights = [height for _, height, _ in blocks]
    if any(keyed):
        heights[keyed.index(True)] += 0.2
    fig = plt.figure(figsize=(width, sum(heights) + 0.16 * bool(marks)))
    fig.get_layout_engine().set(w_pad=0.06, h_pad=0.04, hspace=0.02, wspace=0.02)
    parts = fig.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
    axes = {}
    for part, (rows, _, widths) in zip(parts, blocks, strict=True):
        axes |= part.subplot_mosaic(rows, width_ratios=widths)
    for name, panel in sorted(panels.items(), key=lambda item: item[1].late):
        axes[name].set_axis_off() if panel.brain else panel.draw(axes[name])
        axes[name].set_title(panel.title)
    if any(keyed):
        _arm_key(parts[keyed.index(True)], names)
    write_marks(fig, marks, side=0.05)
    _settle(fig)
    for name, panel in panels.items():
        if panel.brain:
            _draw_brain(fig, axes[name], panel)
    _align_titles(fig, {name: axes[name] for name in panels}, lettered)
    plt.close(fig)  # for pyplot: a notebook shows it once, with its caption
    return fig


def alone(panel, names, marks=()):
    """A figure of one panel: :func:`compose` with its own size."""
    width, height = panel.size
    return compose({"a": panel}, [([["a"]], height, None)], names, marks, False, width)


def captions(title, panels, marks=(), lettered=True):
    """Title, caption and text alternative of a figure, from those of its panels."""
    words = {
        "SIMULATED": "Simulated data: no patient took part.",
        "IDENTIFIABLE": "Participants are named as they are: not to be shared.",
        "QUICK": "Quick run with few permutations: do not quote these p-values.",
    }
    parts = {"caption": [], "alt": []}
    for letter, panel in zip("abcdefghijklmnopqrstuvwxyz", panels.values(), strict=False):
        for kind, said in parts.items():
            before = f"({letter}) {panel.title}. " if lettered else ""
            said.append(before + getattr(panel, kind))
    parts["caption"] += [words[mark] for mark in marks]
    parts["alt"] = [words[mark] for mark in marks] + parts["alt"]
    return {"title": title} | {kind: " ".join(said) for kind, said in parts.items()}


def _arm_key(part, names):
    handles = [
        mpl.lines.Line2D([], [], color=colour, marker="o", ms=4, label=names[arm])
        for arm, colour in COLOURS.items()
    ]
    part.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=7.5, borderpad=0.1)


def _settle(fig):
    """Lay the figure out, then keep every Axes where it is."""
    for _ in range(2):  # the first changes which ticks are labelled
        fig.draw_without_rendering()
    fig.set_layout_engine("none")


def _draw_brain(fig, ax, panel):
    """Draw with nilearn on Axes of the figure itself, which it asks for, in the place of others.

    Room is left for the colour bar, and below for the places of the slices.
    """
    place = ax.get_window_extent().transformed(fig.transFigure.inverted())
    low = 0.12 / fig.get_figheight()
    place = [place.x0, place.y0 + low, 0.92 * place.width, place.height - low]
    panel.draw(fig.add_axes(place))


def _align_titles(fig, axes, lettered):
    """Move titles to the left edge of what their column shows, each behind its letter."""
    fig.draw_without_rendering()
    turn = fig.transFigure.inverted().transform
    columns = {n: (id(ax.figure), ax.get_subplotspec().colspan.start) for n, ax in axes.items()}
    tight = {name: ax.get_tightbbox() for name, ax in axes.items()}
    left = {c: min(tight[n].x0 for n in axes if columns[n] == c) for c in columns.values()}
    margin = 0.04 * fig.dpi
    for letter, (name, ax) in zip("abcdefghijklmnopqrstuvwxyz", axes.items(), strict=False):
        title, column = ax._left_title, columns[name]
        edge = margin if column[1] == 0 else left[column]
        x, y = turn((edge, title.get_window_extent().y0))
        title.set_visible(False)
        if lettered:
            fig.text(x, y, letter, fontsize=9.5, fontweight="bold", va="baseline")
            x += 0.16 / fig.get_figwidth()
        look = {"fontsize": STYLE["axes.titlesize"], "fontweight": "bold", "va": "baseline"}
        written = fig.text(x, y, title.get_text(), **look)
        beyond = [left[o] for o in left if o[0] == column[0] and o[1] > column[1]]
        room = min([*beyond, fig.bbox.x1]) - margin - x * fig.bbox.width
        wide = written.get_window_extent().width
        if wide > room:  # long names of arms
            written.set_fontsize(max(6, STYLE["axes.titlesize"] * room / wide))
