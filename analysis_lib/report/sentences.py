"""What we found, in words: the sentences that notebooks and the report both show."""

import json
import os
from pathlib import Path

from analysis_lib.report.quoting import Quotes
from analysis_lib.results import contrasts, words
from analysis_lib.results.problems import warning_words
from analysis_lib.study.place import WARNINGS
from analysis_lib.vbm.discoveries import OTHERS
from analysis_lib.vbm.planted_truth import nothing_planted

TEMPLATES = Path(__file__).parent / "template"
SENTENCES = "findings.md.j2"
LEVEL = 0.05  # below it a family-wise p is called significant in words
TOLERATED = 0.07  # a false-positive rate at .05 above this is marked

QUICK = "QUICK: few permutations, for a first look. Do not quote these p-values."
ONE_ARM = (
    "No control arm: there is one contrast, the change of all participants, and it is meant where "
    "the text speaks of a difference between arms. Such a change is not an effect of treatment."
)
VARIANT = "VARIANT {}: some parameters differ from their defaults; the default results are kept."
SIMULATED = (
    "SIMULATED DATA: no patient took part. The demo trial is drawn from a known truth "
    "(`analysis_lib/datasets/simulate.py`), and nothing below is evidence about rTMS."
)
IDENTIFIABLE = (
    "IDENTIFIABLE: made with `--identifiable`, outputs name participants as they are. "
    "Not to be shared."
)
MARKS = {"SIMULATED": SIMULATED, "IDENTIFIABLE": IDENTIFIABLE}


def findings(results) -> str:
    """What the results of one notebook say, in Markdown, under the notices that apply.

    Parameters
    ----------
    results : Section
        "clinical", "vbm", "receptors", "conduct", "calibration", "power", "juspace" or "trials".

    Returns
    -------
    str
        For ``IPython.display.Markdown``.
    """
    quotes = Quotes(results.study, results)
    said = sentences(quotes, environment())
    noted = "" if results.name == "trials" else notice(results.study, results.quick)
    return "\n\n".join([noted] * bool(noted) + paragraphs(said, results.name))


def environment():
    """Jinja's environment for the sentences and for the page: names are text, never markup."""
    import jinja2  # slow to import

    loader = jinja2.FileSystemLoader(TEMPLATES)
    options = {"lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    made = jinja2.Environment(loader=loader, autoescape=True, finalize=_as_text, **options)
    made.filters |= {"visit": words.visit_words, "listed": words.listed, "place": place}
    return made


def _as_text(value):
    return value if hasattr(value, "__html__") else words.in_markdown(value)


def sentences(quotes, made):
    """The macros of `SENTENCES`, which quote from these results."""
    return made.get_template(SENTENCES).make_module(context(quotes))


def paragraphs(said, section) -> list[str]:
    """All sentences on a section, in paragraphs of one line."""
    return blocks(getattr(said, section)())


def blocks(text) -> list[str]:
    """Paragraphs of a template, of one line each: there, ¶ ends one."""
    return [words for words in (" ".join(block.split()) for block in str(text).split("¶")) if words]


def context(quotes) -> dict:
    """What sentences are made from: quoted numbers, rows to choose by, the study's words."""
    study = quotes.study
    names = ("row", "cell", "count", "entry", "largest", "smallest", "of_study", "exists")
    return {name: getattr(quotes, name) for name in names} | {
        "study": study,
        "names": study.arm_names,
        "primary": study.primary_scale if study.scales else None,
        "final": study.final_visit if study.visits else None,
        "one_map": study.effect is not None,
        "not_available": "not available: one map, no patients",
        "largest_changes": lambda contrast: largest_changes(quotes, contrast),
        "level": LEVEL,
        "tolerated": TOLERATED,
        "detectable": lambda: quotes.json("power/settings.json").get("minimum_detectable_r"),
        "main": study.main,
        "others": OTHERS,
        "title": lambda contrast: contrasts.contrast_title(contrast, study.arm_names),
        "contrast_words": lambda name: contrasts.contrast_words(name, study.arm_names),
        "excludes_zero": excludes_zero,
        "is_least": is_least,
        "nothing_planted": lambda contrast: nothing_planted(study, contrast),
        "gain": lambda name: next(scale.gain for scale in study.scales if scale.name == name),
        "flow_of": lambda arm: (
            quotes.json("clinical/flow.json").get(arm, {}).get("not_analysed", {})
        ),
        "incomplete": lambda: incomplete(quotes),
        "records": lambda file, **where: quotes.select(file, **where).to_dict("records"),
        "leading_peaks": lambda contrast: leading_peaks(quotes, contrast),
        "leading_regions": lambda contrast: leading_regions(quotes, contrast),
        "strongest": lambda file, column="r": strongest(quotes, file, column),
        "receptor_maps": lambda: receptor_maps(quotes),
        "of_receptor": lambda name: of_receptor(quotes, name),
        "largest_shares": lambda: largest_shares(quotes),
        "closest_rival": lambda: closest_rival(quotes),
        "largest_slope": lambda: largest_slope(quotes),
        "leads_by_structure": lambda: leads_by_structure(quotes),
    }


# --- which rows are reported ----------------------------------------------------------------------


def excludes_zero(low, high) -> bool:
    """Whether an interval leaves zero out."""
    return low > 0 or high < 0


def is_least(p, n_permutations) -> bool:
    """Whether a p is the smallest that its permutations allow."""
    return p <= 1.5 / (1 + n_permutations)


def by_size(rows, column):
    """Rows by the absolute value of a column, the largest first."""
    return rows.sort_values(column, key=abs, ascending=False, kind="stable") if len(rows) else rows


def strongest(quotes, file, column) -> list:
    """The row of a table with the largest absolute value; none where there is no table."""
    rows = by_size(quotes.select(file), column)
    return (rows.dropna(subset=[column]) if len(rows) else rows).head(1).to_dict("records")


def incomplete(quotes) -> bool:
    """Whether a rating of the primary scale is missing."""
    patterns = quotes.select("clinical/missing_patterns.tsv")
    return len(patterns) > 0 and not patterns["missingness"].eq("complete").all()


def place(peak) -> str:
    """Where a peak lies, in words: "left putamen"."""
    if not isinstance(peak["region"], str):
        return "no region of the atlas"
    side = "" if peak["hemisphere"] == "midline" else peak["hemisphere"]
    return f"{side} {peak['region'].lower()}".strip()


def leading_peaks(quotes, contrast, n=4) -> list:
    """Surviving peaks by |t|, of vbm/<contrast>_clusters.tsv; none where there is no table."""
    rows = quotes.select(f"vbm/{contrast}_clusters.tsv")
    rows = rows[rows["p_fwe_t"] < LEVEL] if len(rows) else rows
    return by_size(rows, "t").head(n).to_dict("records")


def leading_regions(quotes, contrast, n=4) -> list:
    """Regions with surviving voxels, by |t|: rows of vbm/<contrast>_regions.tsv."""
    rows = quotes.select(f"vbm/{contrast}_regions.tsv")
    rows = rows[rows["n_voxels_fwe"] > 0] if "n_voxels_fwe" in rows else rows.iloc[:0]
    return by_size(rows, "t").head(n).to_dict("records")


def largest_changes(quotes, contrast, n=4) -> list:
    """Regions with the largest |t|: rows of vbm/<contrast>_regions.tsv of a table of regions."""
    return by_size(quotes.select(f"vbm/{contrast}_regions.tsv"), "t").head(n).to_dict("records")


def receptor_maps(quotes) -> list:
    """Rows of receptors/correlations.tsv by |r|; none where nothing was computed."""
    rows = quotes.select("receptors/correlations.tsv", contrast=quotes.study.main)
    return by_size(rows.dropna(subset=["r"]) if len(rows) else rows, "r").to_dict("records")


def of_receptor(quotes, name):
    """The map of a receptor with the largest |r|, or None."""
    return next((row for row in receptor_maps(quotes) if row["receptor"] == name), None)


def largest_shares(quotes, n=2) -> list:
    """Receptors with the largest dominance; none where there is no joint model."""
    rows = quotes.select("receptors/dominance.tsv")
    return by_size(rows, "total_dominance").head(n).to_dict("records")


def closest_rival(quotes) -> list:
    """The rival that comes closest to the leading receptor; none where there is no table."""
    rows = quotes.select("receptors/rivals.tsv", contrast=quotes.study.main)
    return (rows.sort_values("difference") if len(rows) else rows).head(1).to_dict("records")


def largest_slope(quotes) -> list:
    """The map with the largest t of the slopes, if it is not that of the largest |r|."""
    rows = by_size(quotes.select("receptors/coupling_arm.tsv"), "t").head(1).to_dict("records")
    return [row for row in rows if row["annotation"] != receptor_maps(quotes)[0]["annotation"]]


def leads_by_structure(quotes) -> list:
    """The map with the largest |r| in the cortex and in the subcortex alone, where assessed."""
    rows = quotes.select("receptors/structure_correlations.tsv", contrast=quotes.study.main)
    rows = by_size(rows[rows["structure"] != "all"] if len(rows) else rows, "r")
    return rows.drop_duplicates("structure").to_dict("records") if len(rows) else []


# --- notices --------------------------------------------------------------------------------------


def notice(study, quick=False):
    """What a reader must know before any number, in Markdown; empty where there is nothing.

    Parameters
    ----------
    study : Study
    quick : bool

    Returns
    -------
    str
    """
    lines = [said for said in (MARKS.get(study.label),) if said]
    lines += [QUICK] if quick else []
    lines += [VARIANT.format(study.variant)] if study.variant else []
    lines += [ONE_ARM] if study.scales and not study.arms else []
    warned = warning_words(json.loads(os.environ.get(WARNINGS) or "{}"))  # in a run
    lines += [warned] if warned else []
    return "\n\n".join(f"> **{line.split(':')[0]}**:{line.split(':', 1)[1]}" for line in lines)


def receptor_notice(about):
    """What a reader must know of the receptor maps, in Markdown.

    Parameters
    ----------
    about : pandas.DataFrame
        Table of the maps, by annotation.
    """
    own = int(about.index.astype(str).str.startswith("local/").sum())
    bundled = int((about["densities"] == "bundled").sum())
    kinds = {
        "volumes in the cache, md5 checked": len(about) - own - bundled,
        "regional densities in `data/receptors` (`fetch receptors` gets the volumes)": bundled,
        "files of the study": own,
    }
    told = "; ".join(f"{n} from {kind}" for kind, n in kinds.items() if n)
    return f"Receptor and transporter maps: {told}."


def marked_rates(rates, warn=TOLERATED):
    """False-positive rates as they are printed: an asterisk above what is tolerated.

    Parameters
    ----------
    rates : array_like
    warn : float
        Above it a rate is marked.

    Returns
    -------
    list of str
    """
    return [f"{rate:.3f}".replace("0.", ".", 1) + " *" * int(rate > warn) for rate in rates]
