"""What we found, in words: the sentences that notebooks and the report both show."""

import functools
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

QUICK = "QUICK: few permutations, for a first look. Do not quote these p-values."
ONE_ARM = (
    "No control arm: there is one contrast, the change of all participants, and it is meant where "
    "the text speaks of a difference between arms. Such a change is not an effect of treatment."
)
VARIANT = "VARIANT {}: some parameters differ from their defaults; the default results are kept."
MARKS = {
    "": "",
    "SIMULATED": "SIMULATED DATA: no patient took part. The demo trial is drawn from a known truth "
    "(`analysis_lib/datasets/simulate.py`), and nothing below is evidence about rTMS.",
    "IDENTIFIABLE": "IDENTIFIABLE: made with `--identifiable`, outputs name participants as they "
    "are. Not to be shared.",
}


def findings(results) -> str:
    """What the results of one notebook say, in Markdown, under the notices that apply.

    Parameters
    ----------
    results : Section
        "clinical", "vbm", "receptors", "conduct", "calibration", "specifications", "power",
        "juspace" or "trials".

    Returns
    -------
    str
        For ``IPython.display.Markdown``.
    """
    quotes = Quotes(results.study, results)
    said = sentences(quotes, environment())
    noted = "" if results.name == "trials" else notice(results.study, results.quick)
    return "\n\n".join([noted] * bool(noted) + paragraphs(said, results.name))


@functools.cache
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
    quoting = ("row", "cell", "count", "entry", "largest", "of_study")
    functions = {name: getattr(quotes, name) for name in (*quoting, "exists", "json")}
    return functions | {
        "study": study,
        "names": study.arm_names,
        "primary": study.primary_scale if study.scales else None,
        "final": study.final_visit if study.visits else None,
        "one_map": study.effect is not None,
        "not_available": "not available: one map, no patients",
        "level": LEVEL,
        "main": study.main,
        "others": OTHERS,
        "contrast_words": lambda name: contrasts.contrast_words(name, study.arm_names),
        "excludes_zero": excludes_zero,
        "is_least": is_least,
        "nothing_planted": lambda contrast: nothing_planted(study, contrast),
        "gain": lambda name: next(scale.gain for scale in study.scales if scale.name == name),
        "records": lambda file, **where: quotes.select(file, **where).to_dict("records"),
        "leading": lambda file, column, **where: leading(quotes, file, column, **where),
        "receptor_maps": lambda: receptor_maps(quotes),
    }


def excludes_zero(low, high) -> bool:
    """Whether an interval leaves zero out."""
    return low > 0 or high < 0


def is_least(p, n_permutations) -> bool:
    """Whether a p is the smallest that its permutations allow."""
    return p <= 1.5 / (1 + n_permutations)


def by_size(rows, column):
    """Rows by the absolute value of a column, the largest first."""
    return rows.sort_values(column, key=abs, ascending=False, kind="stable")


def leading(quotes, file, column, **where) -> list:
    """Rows that `Quotes.select` gives, by the absolute value of a column, the largest first.

    Rows without a value are left out.
    """
    rows = quotes.select(file, **where)
    return by_size(rows.dropna(subset=[column]), column).to_dict("records") if len(rows) else []


def receptor_maps(quotes) -> list:
    """Rows of receptors/correlations.tsv by |r|; none where nothing was computed."""
    return leading(quotes, "receptors/correlations.tsv", "r", contrast=quotes.study.main)


def place(peak) -> str:
    """Where a peak lies, in words: "left putamen"."""
    if not isinstance(peak["region"], str):
        return "no region of the atlas"
    side = "" if peak["hemisphere"] == "midline" else peak["hemisphere"]
    return f"{side} {peak['region'].lower()}".strip()


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
    variant = VARIANT.format(study.variant) if study.variant else ""
    warned = warning_words(json.loads(os.environ.get(WARNINGS) or "{}"))  # in a run
    one_arm = ONE_ARM if study.scales and not study.arms else ""
    lines = filter(None, (MARKS[study.label], QUICK * quick, variant, one_arm, warned))
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
