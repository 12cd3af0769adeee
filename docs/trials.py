"""Write docs/trials.md: each public trial's result beside another program's (`make gallery`)."""

import json
from pathlib import Path

import pandas as pd

from analysis_lib.report.trials import side_by_side
from analysis_lib.results.words import p_text, printed
from analysis_lib.study.contract import load_study

DOCS = Path(__file__).parent
HEAD = """\
# Public trials

Results of the trials that had been run, with default parameters, when `make gallery` wrote this
page. Sources and licences are in [data/README.md](../data/README.md#public-trials); a run is
`python run_all.py --study NAME`. Seconds are those of its notebooks on two cores, which were busy
with other work. A difference is between the arms, at the last visit of the primary scale; without a
control arm it is the change since baseline, which is not an effect of treatment.

| study | n | input | seconds | estimate (95 % CI) | another program |
|---|---|---|---|---|---|
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
        seconds = sum(step["seconds"] for step in steps.values())
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


if __name__ == "__main__":
    (DOCS / "trials.md").write_text(HEAD + "\n".join(rows()) + "\n", encoding="utf-8")
