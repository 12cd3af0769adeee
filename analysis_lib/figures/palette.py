"""Colours: each means one thing everywhere, and colour-blind readers can tell them apart."""

COLOURS = {"active": "#0072B2", "control": "#E69F00"}
ACCENT, QUIET = "#D55E00", "#8C8C8C"
BANDS = {"spatial": "#4DB399", "spatial_anatomy": "#CCCCCC"}  # null distributions
VERDICTS = {"too small": "#C0392B", "conservative": "#1F6FB2", "holds": "#1E7B34"}  # of a p
TISSUE = "#56B4E9"  # lines on dark images
DIVERGING = "RdBu_r"  # maps with a sign


def colours_of(arms):
    """Colours of the arms that there are."""
    return {arm: colour for arm, colour in COLOURS.items() if arm in set(arms)}
