"""Captions and text alternatives of pictures, as ``descriptions.j2`` words them."""

import functools
import re
from functools import partial
from pathlib import Path

from analysis_lib.figures import draw_clinical, draw_receptors
from analysis_lib.figures.appearance import LEVEL
from analysis_lib.figures.palette import COLOURS, colours_of
from analysis_lib.results import contrasts, words

WORDED = Path(__file__).with_suffix(".j2")


def describe(picture, names, **shown):
    """Caption and text alternative of what ``plot_<picture>`` shows, from the same results.

    ``names`` are the study's words for the arms, ``shown`` what the section of ``descriptions.j2``
    quotes.
    """
    section = _sections().get_template(picture)
    text = section.render(shown, names=names, by_arm=partial(_by_arm, names))
    caption, alt = (_one_line(part) for part in text.split("¶"))
    return caption, alt


@functools.cache
def _sections():
    import jinja2  # slow to import

    _, *parts = re.split(r"^## (\w+)$", WORDED.read_text(encoding="utf-8"), flags=re.MULTILINE)
    loader = jinja2.DictLoader(dict(zip(parts[::2], parts[1::2], strict=True)))
    made = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined)
    made.filters |= {"visit": words.visit_words, "minus": words.true_minus, "capital": _capital}
    made.globals |= {
        "arms": COLOURS,
        "colours_of": colours_of,
        "level": LEVEL,
        "measures": draw_receptors.ANATOMY,
        "number": words.number_text,
        "p": words.p_text,
        "printed": words.printed,
        "span": draw_receptors.range_text,
        "interval": _interval,
        "estimate": draw_clinical.estimate_text,
        "favoured": draw_clinical.favoured_side,
        "title": contrasts.contrast_title,
        "contrast_words": contrasts.contrast_words,
        "each": _each,
    }
    return made


def _one_line(text):
    return " ".join(text.split())


def _capital(text):
    return text[:1].upper() + text[1:]


def _each(items, between=", ", *, caller):
    """What a section says of each item; nothing where it says nothing."""
    return between.join(filter(None, (_one_line(caller(item)) for item in items)))


def _by_arm(names, arms=COLOURS, *, caller):
    """One clause per arm, in the study's words."""
    if set(arms) == {"active"}:  # no control arm
        return _one_line(caller("active"))
    said = [f"{_one_line(caller(arm))} with {names[arm]}" for arm in COLOURS if len(arms)]
    return ", ".join(said) or "none"


def _interval(row):
    values = (words.number_text(row[name], ".1f") for name in ("mean", "ci_low", "ci_high"))
    return "{} ({} to {})".format(*values)
