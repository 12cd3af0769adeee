"""Write docs/power.md: what S3 says of the demo and of a real trial (`make gallery`)."""

from pathlib import Path

from analysis_lib.report import findings
from analysis_lib.results import Section
from analysis_lib.results.columns import head
from analysis_lib.results.words import printed
from analysis_lib.study.contract import load_study

HEAD = """\
# Power

What [appendix S3](../notebooks/appendix/S3_power.ipynb) says of the demo and of a real trial: the
smallest true effect that trials of this size find with 80 % power, and what it would take to find
the effects of other studies ([sources](../analysis_lib/robustness/power_effects.tsv)).
`make gallery` writes this page from results that were made by

    python run_all.py --only 02,03,S3
    python -m analysis_lib fetch claus2020
    python run_all.py --study claus2020 --only S3
"""
STUDIES = ("demo", "claus2020")


def table(section, name):
    """A result table in Markdown, without its sources and columns that are empty here."""
    rows = section.table(name).dropna(axis=1, how="all").drop(columns="source", errors="ignore")
    heads = [head(column, section.study.arm_names, name) for column in rows]
    cells = [[cell(value, c) for c, value in row.items()] for row in rows.to_dict("records")]
    return "\n".join(f"| {' | '.join(one)} |" for one in [heads, ["---"] * len(heads), *cells])


def cell(value, column):
    """A number with two decimals, a count without; a dash for none."""
    if value != value:
        return "–"
    kind = "count" if column.startswith("n_") else "two"
    return value if isinstance(value, str) else printed(value, kind)


def page(name):
    """Sentences and tables of one study."""
    found = Section(load_study(name), "power")
    return "\n\n".join(
        [f"## {name}", findings(found), table(found, "seen"), table(found, "needed")]
    )


if __name__ == "__main__":
    path = Path(__file__).with_suffix(".md")
    path.write_text("\n\n".join([HEAD.strip(), *map(page, STUDIES)]) + "\n", encoding="utf-8")
