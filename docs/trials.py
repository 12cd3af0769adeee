"""Write docs/trials.md, each public trial beside another program, and docs/calibration.md.

`make gallery`
"""

import json
from pathlib import Path

import pandas as pd

from analysis_lib.report.trials import side_by_side
from analysis_lib.results.section import Section
from analysis_lib.results.words import p_text, printed
from analysis_lib.study.contract import load_study

DOCS = Path(__file__).parent
HEAD = """\
# Public trials

Results of the trials that had been run, with default parameters, when `make gallery` wrote this
page. Sources and licences are in [data/README.md](../data/README.md#public-trials); a run is
`python run_all.py --study NAME`. Seconds are those of notebooks 01 to 04 on two cores, which were
busy with other work; where a study's images were not at hand, of 01 alone. A difference is between
the arms, at the last visit of the primary scale; without a control arm it is the change since
baseline, which is not an effect of treatment.

| study | n | input | seconds | estimate (95 % CI) | another program |
|---|---|---|---|---|---|
"""
CALIBRATION = """\
# How often each p-value is at most .05 without an effect

[S1](../notebooks/appendix/S1_calibration.ipynb) simulates trials of a study's own design in which
treatment does nothing, and computes from each the p-values of notebooks 01 to 03:
`python run_all.py --study NAME --only S1` (add `--quick` for a first look; rows marked QUICK were
made so). `make gallery` then writes this page. Of images, the difference between the arms is shown.
Intervals are simultaneous over the p-values of a family.

| study | p-value | trials | rate, % (95 % CI) | verdict |
|---|---|---|---|---|
"""


def rows():
    """One line of the table for each study with results."""
    found = side_by_side(load_study("demo"))
    others = pd.read_csv(DOCS / "independent.tsv", sep="\t").groupby("study")
    symptoms = found["symptoms"].set_index("study")
    names = dict.fromkeys(name for table in found.values() for name in table["study"])
    for name in names:
        study = load_study(name)
        steps = json.loads((study.derived / "manifest.json").read_text("utf-8"))["steps"]
        seconds = sum(step["seconds"] for name, step in steps.items() if name[0] == "0")
        said = others.get_group(name) if name in others.groups else ()
        told = (
            "; ".join(f"{r.what}: {r.value} ({r.program})" for r in said.itertuples())
            if len(said)
            else ""
        )
        estimate, n = _estimate(symptoms.loc[name]) if name in symptoms.index else ("", "")
        mark = " (SIMULATED)" if study.simulated else ""
        yield f"| {name}{mark} | {n} | {_input(study)} | {seconds:.0f} | {estimate} | {told} |"


def _estimate(row):
    low, high = (printed(row[name], "points") for name in ("ci_low", "ci_high"))
    what = "difference" if row["design"] == "arms compared" else "change"
    estimate, p = printed(row["estimate"], "points"), p_text(row["p"])
    return f"{row['scale']}, {what}: {estimate} ({low} to {high}; {p})", row["n"]


def _input(study):
    if study.effect:
        return f"one map ({study.effect.kind})"
    kinds = {"regions": study.regional, "images": study.imaging and not study.regional}
    return ", ".join(["scores", *(kind for kind, there in kinds.items() if there)])


def calibrated():
    """One line for each p-value of a study's main contrast that S1 has calibrated."""
    for name in ("demo", "antidepressant", "claus2020"):
        study = load_study(name)
        results = Section(study, "calibration")
        if not results.has("rates"):
            continue
        mark = " (SIMULATED)" * study.simulated + " (QUICK)" * results.quick
        table = results.table("rates")
        for row in table[table["contrast"].isna() | table["contrast"].eq(study.main)].itertuples():
            rate, low, high = (printed(v, "rate") for v in (row.rate, row.ci_low, row.ci_high))
            where = f"`{row.source}`, `{row.column}`"
            what = f"{row.family}: {row.test} ({where})"
            shown = (name + mark, what, row.n_draws, f"{rate} ({low} to {high})", row.verdict)
            yield f"| {' | '.join(map(str, shown))} |"


if __name__ == "__main__":
    pages = {"trials.md": HEAD + "\n".join(rows()), "calibration.md": CALIBRATION}
    pages["calibration.md"] += "\n".join(calibrated())
    for name, text in pages.items():
        (DOCS / name).write_text(text + "\n", encoding="utf-8")
