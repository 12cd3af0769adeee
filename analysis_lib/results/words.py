"""How numbers, p-values, visits and lists of names are written: the one formatter."""

import re

import numpy as np
from markupsafe import Markup

_MARKUP = re.compile(  # what may begin an element in Markdown or HTML, wherever a name stands
    r"""[\\`*_\[\]<>&|~$@"'\n]|(?<=:)/(?=/)|(?<=www)\.|^[-+=#](?![\d.])|(?<=^\d)[.)](?=\s)"""
)


def in_markdown(text) -> Markup:
    """Words that others chose, as they stand in Markdown and in HTML alike: none of it is markup.

    CommonMark (6.2): a character reference is never taken for a sign of structure.
    """
    return Markup(_MARKUP.sub(lambda found: f"&#{ord(found[0])};", str(text)))


def visit_words(label) -> str:
    """Visits as prose says them: "week3" becomes "week 3", also within a sentence.

    "all" by itself is the average over visits.
    """
    if label == "all":
        return "all visits, averaged"
    return re.sub(r"\b(week|day|month|visit)(\d+)\b", r"\1 \2", str(label), flags=re.IGNORECASE)


def true_minus(words) -> str:
    """Hyphens that stand for a minus as minus signs; those of HAMD-17 and 5-HT stay."""
    return re.sub(r"(?<![\w)])-(?=\.?\d)", "−", words)


def number_text(value, form=".2f") -> str:
    """A number with a minus sign, and none before zero; form is of ``format``: ".1f", "+.1f"."""
    sign = "+" if form.startswith("+") else ""
    words = format(value, f"{sign}z{form.removeprefix('+')}")
    return words.replace("-", "−").replace("inf", "∞")


def p_text(p, n_permutations=None):
    """A p-value as it is printed: three decimals, "< .001" below and "> .999" above.

    Of ``n_permutations`` permutations, the smallest one possible is given as it is.
    """
    if p is None or not np.isfinite(p):
        return "p not available"
    if n_permutations is not None and p <= 1.5 / (1 + n_permutations):
        if p < 0.999 / (1 + n_permutations):
            return f"{exact_p(p)} (fitted tail of {n_permutations:,} permutations)"
        return f"{exact_p(p)} (the smallest that {n_permutations:,} permutations allow)"
    if p > 0.9995:
        return "p > .999"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def exact_p(p):
    """A p-value with its first digits, however small: "p = .0002"."""
    digits = np.format_float_positional(float(f"{p:.2g}"), trim="-")
    return f"p = {digits}".replace("0.", ".", 1)


def p_cell(p):
    """A p-value in a column, or beside a name, that says that it is one: ".017", "< .001", "–"."""
    missing = p is None or not np.isfinite(p)
    return "–" if missing else p_text(p).removeprefix("p ").removeprefix("= ")


def rate_cell(rate):
    """A rate in a column, as p is printed: ".049"."""
    return f"{rate:.3f}".replace("0.", ".", 1)


def printed(value, kind) -> str:
    """A number as texts print it, by its kind.

    "count"; "points": one decimal, two where one would say 0; "size": one, without sign; "change":
    one, always with its sign; "two"; "distance": two, without sign; "percent" of a proportion;
    "rate": the same, one decimal; "at_least": the same, rounded down; "p"; "small_p": a permutation
    p, as it is; "nnt": number needed to treat to benefit, or below 0 to harm; "plain"; "text".
    """
    if kind not in FORMS:
        raise ValueError(f"kind {kind!r}: one of {', '.join(FORMS)} expected")
    if value is None or (kind != "text" and not isinstance(value, str) and np.isnan(value)):
        return "not available"
    return FORMS[kind](value)


FORMS = {
    "count": lambda v: number_text(v, ",.0f"),
    "points": lambda v: number_text(v, ".2f" if 0 < abs(v) < 0.05 else ".1f"),
    "size": lambda v: number_text(abs(v), ".1f"),
    "change": lambda v: number_text(v, "+.1f"),
    "two": number_text,
    "distance": lambda v: number_text(abs(v)),
    "rate": lambda v: number_text(100 * v, ".1f"),
    "percent": lambda v: number_text(100 * v, ".0f"),
    "at_least": lambda v: number_text(np.floor(100 * v), ".0f"),
    "p": p_text,
    "small_p": lambda p: exact_p(p) if p < 0.001 else p_text(p),
    "nnt": lambda v: (
        "∞" if np.isinf(v) else ("NNTH " if v < 0 else "NNTB ") + number_text(abs(v), ".1f")
    ),
    "plain": lambda v: number_text(v, ".4g"),
    "text": str,
}


def interval_words(low, high) -> str:
    """Limits as they are printed; those of a number needed to treat may meet at infinity."""
    split = low.startswith("NNTB") and high.startswith("NNTH")
    return f"{low} to ∞ to {high}" if split else f"{low} to {high}"


def shortened(names, most=5):
    """Names with commas between them; of more than ``most`` the others are counted."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def listed(words) -> str:
    """Words in a row: "a, b and c"."""
    words = [str(word) for word in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
