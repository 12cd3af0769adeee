"""How a p-value, a visit, a minus and a long list of names are written."""

import re

import numpy as np


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


def p_text(p, n_permutations=None):
    """A p-value as it is printed: three decimals, "< .001" below and "> .999" above.

    Parameters
    ----------
    p : float
    n_permutations : int, optional
        Of a permutation p: the smallest one possible is then given as it is.
    """
    if p is None or not np.isfinite(p):
        return "p not available"
    if n_permutations is not None and p <= 1.5 / (1 + n_permutations):
        least = f"{p:.2g}".replace("0.", ".", 1)
        if p < 0.999 / (1 + n_permutations):
            return f"p = {least} (fitted tail of {n_permutations} permutations)"
        return f"p = {least} (the smallest that {n_permutations} permutations allow)"
    if p > 0.9995:
        return "p > .999"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def shortened(names, most=5):
    """Names with commas between them; of more than ``most`` the others are counted."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
