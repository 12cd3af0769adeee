"""Expected numbers: what agrees, what moved, why, and what is not compared."""

import importlib.util
import json
import shutil
from functools import partial

import nbformat
import numpy as np
import pandas as pd
import pytest
import typer
from conftest import write_stub_study
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from analysis_lib.pipeline import agreement, comparison, expected, plan, running, steps
from analysis_lib.pipeline.differences import cells_apart, table_apart_from
from analysis_lib.pipeline.steps import Step
from analysis_lib.pipeline.tolerance import TOLERANCE, counted_draws
from analysis_lib.results import files, writing
from analysis_lib.results.environment import PROJECT
from analysis_lib.results.problems import PipelineError, UsageError
from analysis_lib.study.contract import load_study

PARAMETERS = """\
study: str = "demo"  # name or path of a study file
quick: bool = False  # few permutations
n_permutations: int = 99  # re-randomisations
shift: float = 0.0  # points
"""
READ = """\
import numpy as np
import pandas as pd
from analysis_lib.results import writing
from analysis_lib.study.contract import load_study
trial = load_study(study)
"""
CLINICAL = """\
rows = 15
table = pd.DataFrame({"arm": ["active"] * rows, "n": range(rows)})
table["estimate"] = np.sqrt(np.arange(rows)) + shift
table["se"] = np.cbrt(np.arange(rows)) + 1
table["p_randomisation"] = (1 + np.arange(rows)) / (1 + n_permutations)
writing.write(trial.derived / "clinical", {"means.tsv": table, "growth.tsv": table[["arm", "n"]]})
numbers = {f"e{i}.estimate": (v, "means.tsv") for i, v in enumerate(table["estimate"])}
numbers |= {"n": (rows, "means.tsv"), "p": (0.05, "means.tsv"), "none": (None, "means.tsv")}
writing.write_numbers(trial, "clinical", numbers)
"""
RECEPTORS = """\
table = pd.DataFrame({"receptor": ["D1", "DAT"], "r": [0.5, -0.25]})
settings = {"densities": "volumes"}
writing.write(trial.derived / "receptors", {"correlations.tsv": table, "settings.json": settings})
writing.write_numbers(trial, "receptors", {"D1.r": (0.5, "correlations.tsv")})
"""
pytestmark = pytest.mark.usefixtures("without_kernels")
STEPS = (
    Step("01_clinical", reads=(steps.tables,), writes=("clinical",)),
    Step("03_receptors", uses=("clinical",), writes=("receptors",)),
)
ALL_AGREE = (
    "19 of 19 numbers agree with the published run (data/expected/tiny.json), and 3 of 3 tables, "
    "3 of them byte for byte"
)
FINITE = st.floats(-1e12, 1e12)


def write_notebook(path, code):
    """A notebook of parameters and two cells."""
    new = nbformat.v4
    cells = [new.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [new.new_code_cell(READ), new.new_code_cell(code)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new.new_notebook(cells=cells), path)


def plan_of(folder, study=None, **options):
    """A plan on the stub notebooks."""
    study = study or load_study(folder / "data" / "studies" / "tiny.yml")
    return plan.make_plan(study, steps=STEPS, notebooks=folder / "notebooks", **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, without_kernels):
    """A stub project after a run, whose results are the published ones."""
    folder = tmp_path_factory.mktemp("finished")
    write_notebook(folder / "notebooks" / "01_clinical.ipynb", CLINICAL)
    write_notebook(folder / "notebooks" / "03_receptors.ipynb", RECEPTORS)
    (folder / "data" / "studies").mkdir(parents=True)
    write_stub_study(folder / "data" / "studies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPENDIUM_OUTPUT", str(folder))
        done = running.run(plan_of(folder))
        assert done.failure is None
        assert done.comparison is None  # nothing is published yet
    content = expected.describe_results(folder / "data" / "derived" / "tiny")
    files.write_text(folder / "data" / "expected" / "tiny.json", expected.as_text(content))
    return folder


@pytest.fixture
def project(finished, tmp_path, monkeypatch):
    """A copy of that project, for a test to change."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder)
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(folder))
    monkeypatch.setattr(agreement, "EXPECTED", folder / "data" / "expected")
    return folder


@pytest.fixture
def study(project):
    """The study of that copy."""
    return load_study(project / "data" / "studies" / "tiny.yml")


def edit_json(path, change):
    """Change a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_table(path, change):
    """Change a result table in place: other rows, columns or cells."""
    table = change(pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False))
    table.to_csv(path, sep="\t", index=False)


def set_value(key, value):
    """A change of one number."""
    return lambda content: content[key].update(value=value)


def listed(study, **options):
    """What is printed of the comparison with the published numbers."""
    return comparison.lines(comparison.with_published(study), **options)


# --- what agrees, what moved ---


def test_a_run_that_is_up_to_date_ends_with_the_comparison(project, study):
    done = running.run(plan_of(project))
    assert [outcome.status for outcome in done.outcomes] == ["up to date", "up to date"]
    assert done.compared == [ALL_AGREE]
    kept = json.loads((study.derived / "comparison.json").read_text())
    assert kept["lines"] == [ALL_AGREE]
    assert kept["moved"] == []


def test_what_was_said_of_the_published_numbers_holds_until_they_change(project, study):
    running.run(plan_of(project))
    again = running.run(plan_of(project))
    assert (again.comparison, again.compared) == (None, [ALL_AGREE])  # nothing was compared anew
    path = project / "data" / "expected" / "tiny.json"
    edit_json(path, lambda content: content["numbers"]["clinical.e4.estimate"].update(value=2.5))
    assert running.run(plan_of(project)).compared[0].startswith("18 of 19 numbers agree")


def test_a_moved_number_is_listed_with_both_values_and_the_difference(study):
    edit_json(study.derived / "numbers.json", set_value("clinical.e4.estimate", 2.5))
    first, moved, why = listed(study)
    assert first.startswith("18 of 19 numbers agree with the published run")
    assert first.endswith("; these moved:")
    assert moved == "  clinical.e4.estimate: 2 expected, found 2.5, by 0.5"
    assert why.endswith("are the same, so the code must have changed")


def test_the_list_is_cut_and_the_rest_is_in_a_file(study):
    def change(content):
        for i in range(12):
            content[f"clinical.e{i}.estimate"]["value"] += 10.0**-i

    edit_json(study.derived / "numbers.json", change)
    shown = listed(study)
    assert shown[0].startswith("13 of 19 numbers agree")  # the others moved by 1e-6 or less
    assert len(comparison.with_published(study).moved) == 6
    assert len(listed(study, most=3)) == 1 + 3 + 1 + 1
    assert listed(study, most=3, rest="here.json")[4] == "  and 3 more: here.json"
    assert shown[1].startswith("  clinical.e0.estimate")  # moved by most tolerances
    comparison.write(study, comparison.with_published(study))
    path = study.derived / agreement.NAME
    assert len(json.loads(path.read_text())["moved"]) == 6


def test_missing_and_new_numbers_and_values_are_said(study):
    def change(content):
        content["clinical.other"] = content.pop("clinical.n")
        content["clinical.p"]["value"] = None
        content["clinical.e1.estimate"]["source"] = "clinical/growth.tsv"

    edit_json(study.derived / "numbers.json", change)
    shown = "\n".join(listed(study))
    assert shown.startswith("16 of 19 numbers agree")
    assert "clinical.n: is missing" in shown
    assert "clinical.other: is new: none expected" in shown
    assert "clinical.p: 0.05 expected, found no value" in shown
    assert "clinical.e1.estimate: another source, clinical/means.tsv expected, found" in shown


def test_whole_numbers_have_no_tolerance(study):
    edit_json(study.derived / "numbers.json", set_value("clinical.n", 16))
    assert "  clinical.n: 15 expected, found 16, by 1" in listed(study)


def test_missing_and_new_tables_are_said(study):
    (study.derived / "clinical" / "growth.tsv").rename(study.derived / "clinical" / "other.tsv")
    shown = listed(study)
    assert "and 2 of 3 tables, 2 of them byte for byte; these are new or missing:" in shown[0]
    assert shown[1:3] == ["  clinical/growth.tsv: is missing", "  clinical/other.tsv: is new"]


def swap_contents(table):
    """Two columns under each other's names."""
    return table.assign(estimate=table["se"], se=table["estimate"])


def swap_rows(table):
    """The numbers of two rows exchanged; every sum stays."""
    values = table["estimate"].to_list()
    values[3], values[7] = values[7], values[3]
    return table.assign(estimate=values)


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (swap_contents, ["means.tsv, estimate: ", "means.tsv, se: "]),
        (swap_rows, ["means.tsv, estimate: 2 of 15 cells (row 5, 9), sum"]),
        (lambda t: t[["n", *t.columns.drop("n")]], ["means.tsv: order of columns, arm, n,"]),
        (lambda t: t.rename(columns={"se": "sd"}), ["se: is missing", "sd: is new"]),
        (lambda t: t.iloc[:-1], ["means.tsv, rows: 15 expected, found 14, by 1"]),
        (lambda t: t.replace({"arm": {"active": "control"}}), ["arm: other text, labels"]),
        (lambda t: t.replace({"estimate": {"2": "n/a"}}), ["estimate: 1 of 15 cells (row 6)"]),
        (lambda t: t.replace({"estimate": {"2": "inf"}}), ["estimate: 1 of 15 cells (row 6)"]),
        (lambda t: t.replace({"p_randomisation": {"0.05": "0.07"}}), ["1 of 15 cells (row 6)"]),
    ],
)
def test_a_change_of_a_table_is_noticed(study, change, messages):
    edit_table(study.derived / "clinical" / "means.tsv", change)
    shown = "\n".join(listed(study))
    assert "and 2 of 3 tables, 2 of them byte for byte; these" in shown
    for message in messages:
        assert message in shown


@pytest.mark.parametrize(
    "cells", [{"estimate": {"2": "2.000001"}}, {"p_randomisation": {"0.05": "0.06"}}]
)
def test_a_table_of_other_bytes_may_agree(study, cells):
    edit_table(study.derived / "clinical" / "means.tsv", lambda table: table.replace(cells))
    assert listed(study) == [ALL_AGREE.replace("3 of them", "2 of them")]


# --- the tolerance ---


@pytest.mark.parametrize(
    ("one", "other", "draws", "agrees"),
    [
        (2.0, 2.0 + 2e-6, None, True),  # exactly the tolerance
        (2.0, 2.0 + 2.01e-6, None, False),
        (-2.0, -2.0 - 2.01e-6, None, False),
        (0.0, 1e-8, None, True),
        (0.0, 1.01e-8, None, False),
        (0.01, 0.01 + 1e-8, None, True),  # where the floor and the share meet
        (0.05, 0.06, 99, True),  # one count
        (0.05, 0.07, 99, False),
        (np.nan, np.nan, None, True),
        (np.nan, 0.0, None, False),
        (np.inf, np.inf, None, True),
        (np.inf, -np.inf, None, False),
        (1.0, np.inf, None, False),
    ],
)
def test_tolerance_has_its_border_where_it_says(one, other, draws, agrees):
    assert bool(TOLERANCE.agrees(one, other, draws)) is agrees


def test_only_p_values_that_are_counts_may_be_a_count_apart():
    counts = [0.01, 0.4, np.nan, 1.0]
    assert counted_draws("p_randomisation", counts, [99]) == 99
    assert counted_draws("clinical.hamd17.week3.p", [0.05], [5000, 99]) == 99
    assert counted_draws("p", [0.0512], [99]) is None  # parametric
    assert counted_draws("percent", counts, [99]) is None
    assert counted_draws("p", [np.nan], [99]) is None


def marks(values, draws=None):
    """Marks of the cells of a column."""
    return expected.describe_values(np.array(values, dtype=float), draws)["cells"]


@given(FINITE, st.floats(-1, 1), st.sampled_from([None, 99, 5000]))
def test_cells_that_agree_have_marks_that_agree(value, share, draws):
    value = abs(value) % 1 if draws else value  # a p-value lies between 0 and 1
    other = value + share * float(TOLERANCE.allowed(value, draws))
    assume(bool(TOLERANCE.agrees(value, other, draws)))
    assert expected.rows_apart(marks([value], draws), marks([other], draws)) == []


@given(FINITE, st.floats(2.01, 4000), st.sampled_from([-1, 1]))
def test_a_cell_that_moved_by_a_few_tolerances_is_noticed(value, tolerances, sign):
    other = value + sign * np.sign(value or 1) * tolerances * float(TOLERANCE.allowed(value))
    apart = abs(float(TOLERANCE.steps(other)) - float(TOLERANCE.steps(value)))
    assume(2.01 < apart < 4090)
    assert expected.rows_apart(marks([value]), marks([other])) == [0]


@settings(derandomize=True)  # 3 of 4,096 changes of a cell are missed by their marks alone
@given(st.lists(FINITE, min_size=2, max_size=30, unique=True), st.data())
def test_two_rows_exchanged_are_noticed(values, data):
    rows = st.integers(0, len(values) - 1)
    i, j = data.draw(st.tuples(rows, rows))
    assume(abs(TOLERANCE.steps(values[i]) - TOLERANCE.steps(values[j])) > 2)
    other = list(values)
    other[i], other[j] = values[j], values[i]
    assert expected.rows_apart(marks(values), marks(other)) == sorted({i, j})


# --- what made them ---


def test_other_packages_platform_and_inputs_are_named(study):
    edit_json(study.derived / "numbers.json", set_value("clinical.n", 16))

    def change(manifest):
        for step in manifest["steps"].values():
            step["packages"] |= {"numpy": "9.9", "python": "3.99.0"}
            step["machine"] |= {"system": "Darwin", "processor": "arm64"}
            step["inputs"]["{data}/participants.tsv"] = {"sha256": "0", "bytes": 1}

    before = comparison.with_published(study)
    assert before.differs == ()
    edit_json(study.derived / "manifest.json", change)
    last = listed(study)[-1]
    assert last.startswith("What else differs: numpy 9.9 instead of 2.")
    assert "; python 3.99.0 instead of 3." in last
    assert "; platform Darwin arm64 instead of " in last
    assert last.endswith("; inputs: {data}/participants.tsv")


def test_what_has_not_run_is_not_compared(project, study):
    shutil.rmtree(study.derived)
    done = running.run(plan_of(project, only=["01"]))
    assert comparison.lines(done.comparison)[1:] == [
        "1 number and 1 table of receptors are not compared: the notebook that writes them has "
        "not run"
    ]


def test_nothing_is_said_of_a_notebook_that_runs_on_request_alone(project, study, monkeypatch):
    monkeypatch.setattr(comparison, "ON_REQUEST", {"receptors"})
    shutil.rmtree(study.derived)
    found = running.run(plan_of(project, only=["01"])).comparison
    assert len(comparison.lines(found)) == 1
    assert not found.moved


def test_quick_and_other_parameters_say_why_nothing_is_compared(project, study):
    assert (study.derived / "comparison.json").exists() is False
    quick = comparison.lines(running.run(plan_of(project, quick=True)).comparison)
    start = "Not compared with the published run (data/expected/tiny.json): "
    assert quick == [f"{start}01_clinical, 03_receptors ran with --quick"]
    done = running.run(plan_of(project, only=["01"], overrides=["shift=1"]))
    assert done.failure is None
    shown = comparison.lines(done.comparison)
    assert shown == [f"{start}03_receptors ran with --quick"]
    running.run(plan_of(project, only=["03"]))
    assert listed(study) == [f"{start}01_clinical ran with shift=1 (published: 0.0)"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("expected/tiny.json", "{"),
        ("expected/tiny.json", '{"numbers": {}}'),
        ("derived/tiny/clinical/means.tsv", ""),
        ("derived/tiny/numbers.json", '{"clinical.n": 3}'),
    ],
)
def test_what_cannot_be_read_is_said_and_fails_nothing(project, study, name, text):
    (project / "data" / name).write_text(text)
    start = "Not compared with the published run (data/expected/tiny.json): the file or a result"
    assert listed(study)[0].startswith(f"{start} cannot be read (")


def test_a_missing_cell_is_written_as_in_tables(project, study):
    other = project / "other"
    shutil.copytree(study.derived, other)
    edit_table(other / "clinical" / "means.tsv", lambda t: t.replace({"estimate": {"2": "n/a"}}))
    shown = comparison.lines(comparison.with_folder(study, other))
    assert shown[1].endswith("1 of 15 cells (row 6), at most in row 6, n/a expected, found 2")


def test_somebody_elses_study_of_the_same_name_is_not_compared(project):
    (project / "elsewhere").mkdir()
    write_stub_study(project / "elsewhere")
    assert comparison.with_published(load_study(project / "elsewhere" / "tiny.yml")) is None


# --- the command line ---


@pytest.fixture
def command(project, monkeypatch):
    """Call run_all.py on the stub study; gives exit code, stdout, stderr."""
    spec = importlib.util.spec_from_file_location("run_all", PROJECT / "run_all.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    make = partial(plan.make_plan, steps=STEPS, notebooks=project / "notebooks")
    monkeypatch.setattr(plan, "make_plan", make)
    app = typer.Typer()
    app.command()(script.main)
    file = str(project / "data" / "studies" / "tiny.yml")
    return lambda *options: CliRunner().invoke(app, ["--study", file, *options])


def test_the_last_line_of_a_run_and_its_exit_status(command, study, project):
    done = command()
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == ALL_AGREE
    edit_json(project / "data" / "expected" / "tiny.json", lambda c: c["numbers"].pop("clinical.n"))
    moved = command()
    assert moved.exit_code == 0
    assert "18 of 18 numbers agree" in moved.stdout
    assert "  clinical.n: is new: none expected\n" in moved.stdout


def test_compare_runs_nothing_and_its_exit_status_says_whether_all_agree(command, study, project):
    other = project / "other"
    shutil.copytree(study.derived, other / "data" / "derived" / "tiny")
    before = sorted((p, p.stat().st_mtime_ns) for p in project.rglob("*"))
    for folder in (other, other / "data" / "derived", other / "data" / "derived" / "tiny"):
        same = command("--compare", str(folder))
        assert (same.exit_code, same.stdout.count("\n")) == (0, 1), same.output
        assert same.stdout.startswith("19 of 19 numbers agree with ")
    assert sorted((p, p.stat().st_mtime_ns) for p in project.rglob("*")) == before

    edit_table(other / "data" / "derived" / "tiny" / "clinical" / "means.tsv", swap_rows)
    moved = command("--compare", str(other))
    assert moved.exit_code == 1
    assert (
        "  clinical/means.tsv, estimate: 2 of 15 cells (row 5, 9), at most in row 5, "
        "2.645751311 expected, found 1.732050808, by 0.914\n"
    ) in moved.stdout


def test_compare_needs_results_on_both_sides(command, study, project):
    nothing = command("--compare", str(project / "notebooks"))
    assert nothing.exit_code == 2
    assert "numbers.json expected there or in data/derived/tiny below it, found neither" in (
        nothing.stderr
    )
    shutil.move(study.derived, project / "other")
    mine = command("--compare", str(project / "other"))
    assert mine.exit_code == 1
    assert "tiny: no results in" in mine.stderr
    assert issubclass(UsageError, PipelineError)


@given(st.lists(st.sampled_from(["estimate", "se", "p"]), min_size=2, max_size=2, unique=True))
@settings(max_examples=6, deadline=None)
def test_two_columns_exchanged_are_noticed_both_ways(tmp_path_factory, names):
    one, other = names
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(3)
    table = pd.DataFrame(rng.normal(size=(9, 3)), columns=["estimate", "se", "p"])
    writing.write(folder / "a", {"means.tsv": table})
    swapped = table.assign(**{one: table[other], other: table[one]})
    writing.write(folder / "b", {"means.tsv": swapped})
    paths = [folder / name / "means.tsv" for name in "ab"]
    about = expected.describe_table(paths[0], [99])
    found = [table_apart_from("t", about, paths[1]), cells_apart("t", *paths, [99])]
    for differences in found:
        assert {d.what for d in differences} == {f"t, {one}", f"t, {other}"}
        assert all("9 of 9 cells" in d.note for d in differences)


# --- make expected ---


def test_the_file_is_the_same_bytes_from_another_folder(project, study, finished):
    moved = expected.as_text(expected.describe_results(study.derived))
    assert moved == (project / "data" / "expected" / "tiny.json").read_text()
    assert str(finished) not in moved
    content = json.loads(moved)
    assert list(content["numbers"]) == sorted(content["numbers"])
    assert sum('"tolerance"' in line and '"source"' in line for line in moved.splitlines()) == 19
    line = ' "clinical.e2.estimate": {"source": "clinical/means.tsv", "tolerance": 1.414213562e-06,'
    assert f'{line} "value": 1.414213562}},' in moved


def test_make_expected_writes_what_is_up_to_date_only(project, study, monkeypatch):
    path = project / "data" / "expected" / "tiny.json"
    before = path.read_bytes()
    make = partial(plan.make_plan, steps=STEPS, notebooks=project / "notebooks")
    monkeypatch.setattr(plan, "make_plan", make)
    path.unlink()
    assert expected.write_expected(study) == path
    assert path.read_bytes() == before

    settings = study.derived / "receptors" / "settings.json"
    edit_json(settings, lambda content: content.update(seed=1))
    with pytest.raises(PipelineError, match=r"up to date expected, found 03_receptors \(to run"):
        expected.write_expected(study)
    assert path.read_bytes() == before


def test_make_expected_drops_no_notebook_on_request_and_takes_none_that_is_stale(
    project, study, monkeypatch
):
    path = project / "data" / "expected" / "tiny.json"
    edit_json(path, lambda content: content["made"]["parameters"].update(S3_power={"seed": 0}))
    asked = []
    monkeypatch.setattr(plan, "make_plan", lambda study, only=(): asked.append(only) or only)
    states = {(): {"02": "up to date"}, ("S3_power",): {"S3_power": "to run: not run yet"}}
    monkeypatch.setattr(plan, "status", lambda only: states[tuple(only)])
    with pytest.raises(PipelineError, match=r"up to date expected, found S3_power \(to run: not"):
        expected.write_expected(study)
    assert asked == [(), ["S3_power"]]


@pytest.mark.parametrize("name", ["demo", "antidepressant", "sudmex_tms"])
def test_committed_files_have_default_parameters_and_no_place(name):
    path = PROJECT / "data" / "expected" / f"{name}.json"
    text = path.read_text()
    assert expected.as_text(json.loads(text)) == text
    assert not any(place in text for place in ("/tmp/", "/home/", "/root/", "/work/"))
    made = json.loads(text)["made"]
    for notebook, values in made["parameters"].items():
        whole = plan.make_plan(load_study(name), only=[notebook])
        assert whole.signature(whole.steps[0])["parameters"] == values
