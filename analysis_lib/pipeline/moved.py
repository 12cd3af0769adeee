"""Which numbers of a variant are not those of the default run: said where a notebook ends."""

from analysis_lib.pipeline.tolerance import TOLERANCE
from analysis_lib.results.files import read_if_there

SHOWN = 7  # numbers
SECTIONS = ("clinical", "vbm", "receptors")
NEXT = {
    "grey_matter": "notebooks 01 and 02",
    "clinical": "notebook 04",
    "vbm": "notebook 03",
    "receptors": "notebook 04",
}
TAKES = {("receptors",): ("vbm",), SECTIONS: SECTIONS}  # what a notebook writes: what it reads


def what_moved(study, *sections) -> None:
    """Print where a variant's results are, and which numbers are not those of the default run.

    Nothing is printed where the results are the default ones.

    Parameters
    ----------
    study : Study
    *sections : str
        Folders of results whose numbers are compared: the one that a notebook wrote, or all.
    """
    if not study.variant:
        return
    print(f"These results are in variants/{study.variant}; the default ones are as they were.")
    if taken := [n for n in TAKES.get(sections, ()) if study.result(n).parent != study.derived]:
        print(f"{' and '.join(taken)} of the default run went into them.")
    if len(sections) == 1 and sections[0] in NEXT:
        print(f'To go on, set variant = "{study.variant}" in {NEXT[sections[0]]}.')
    print(*moved_lines(study, sections), sep="\n")


def moved_lines(study, sections=SECTIONS) -> list[str]:
    """Numbers of a variant that are not those of the default run, the main ones first."""
    before, now = (_numbers(one, sections) for one in (study.as_variant(), study))
    both = [key for key in now if key in before]
    if not both:
        return ["There are no default numbers of this notebook to compare with."] if now else []
    main = [key for values in (before, now) for key in main_keys(study, values)]
    moved = [key for key in both if not _agree(before[key], now[key])]
    moved.sort(key=lambda key: (main.index(key) if key in main else len(main), key))
    listed = [f"  {key}: {_text(before[key])} -> {_text(now[key])}" for key in moved[:SHOWN]]
    more = [f"  and {len(moved) - SHOWN} more"] if len(moved) > SHOWN else []
    alone = len({*before, *now}) - len(both)
    others = f"; {alone} are in only one of the two" if alone else ""
    first = f"{len(moved)} of {len(both)} numbers moved against the default run{others}"
    return [first, *_of_quick(study, sections), *listed, *more]


def _of_quick(study, sections):
    """A remark where a quick variant stands beside full default results."""
    from analysis_lib.results.section import Section  # slow to import

    here, there = (
        {n for n in sections if Section(s, n).quick} for s in (study, study.as_variant())
    )
    said = "QUICK here, in full there: p-values and counts also move because fewer draws were made"
    return [f"  {said}"] if here - there else []


def _numbers(study, sections):
    content = read_if_there(study.derived / "numbers.json")
    return {key: item["value"] for key, item in content.items() if key.split(".")[0] in sections}


def main_keys(study, values) -> list[str]:
    """Keys of what a reader asks for first: outcome, difference in change, closest receptor."""
    lead = f"receptors.{study.main}."
    rs = {k.removesuffix(".r"): abs(v) for k, v in values.items() if v and k.endswith(".r")}
    rs = {key: r for key, r in rs.items() if key.startswith(lead)}
    receptor = max(rs, key=rs.get, default=lead)
    outcome = f"clinical.{study.primary_scale.key}.{study.final_visit}" if study.scales else ""
    return [
        *(f"{outcome}.{name}" for name in ("estimate", "p")),
        *(f"vbm.{study.main}.{name}" for name in ("n_voxels_fwe", "smallest_p")),
        *(f"{receptor}.{name}" for name in ("r", "p_fwe", "p_fwe_spatial")),
    ]


def _agree(before, now):
    numbers = all(isinstance(value, int | float) for value in (before, now))
    return bool(TOLERANCE.agrees(before, now)) if numbers else before == now


def _text(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
