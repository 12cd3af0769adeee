"""Runs in variants: what runs there, what is taken from the default run, and what is compared."""

import importlib.util
import json
import shutil
from dataclasses import replace
from functools import partial

import nbformat
import pytest
import typer
from conftest import write_stub_study
from typer.testing import CliRunner

from analysis_lib.pipeline import headline, moved, plan, running, variant_runs
from analysis_lib.pipeline.steps import Step, tables
from analysis_lib.report import manifest
from analysis_lib.results import reading
from analysis_lib.results.environment import PROJECT
from analysis_lib.results.problems import UsageError
from analysis_lib.study.contract import load_study

PARAMETERS = """\
study: str = "demo"  # name or path of a study file
quick: bool = False  # few permutations
n_jobs: int = 1  # processes
{}variant: str = ""  # folder
"""
READ = """\
import pandas as pd
from analysis_lib.results import reading, writing
from analysis_lib.pipeline import what_moved
from analysis_lib.study.contract import load_study
trial = load_study(study, variant=variant)
"""
CLINICAL = """\
row = {"scale": "HAMD-17", "visit": "week1", "estimate": -5.0 + shift, "p": 0.01}
writing.write(trial.derived / "clinical", {"mmrm_contrasts.tsv": pd.DataFrame([row])})
numbers = {f"hamd17.week1.{key}": (row[key], "mmrm_contrasts.tsv") for key in ("estimate", "p")}
writing.write_numbers(trial, "clinical", numbers)
what_moved(trial, "clinical")
"""
VBM = """\
row = {"contrast": "arm_by_time", "smallest_p": 0.01, "n_voxels_fwe": int(100 * fwhm_mm)}
tables = {"summary.tsv": pd.DataFrame([row])}
tables["arm_by_time_clusters.tsv"] = pd.DataFrame({"t": [3.0, -fwhm_mm]})
writing.write(trial.derived / "vbm", tables)
numbers = {f"arm_by_time.{key}": (row[key], "summary.tsv") for key in list(row)[1:]}
writing.write_numbers(trial, "vbm", {**numbers, "a.n_active": (3, "summary.tsv")})
what_moved(trial, "vbm")
"""
RECEPTORS = """\
n = reading.read_table(trial.result("vbm/summary.tsv"))["n_voxels_fwe"].iloc[0]
rows = pd.DataFrame({"contrast": "arm_by_time", "receptor": ["D2", "D1"], "annotation": ["b", "a"]})
rows["r"], rows["p_fwe"], rows["p_fwe_spatial"] = [0.1, -n / 1000], 0.02, 0.03
writing.write(trial.derived / "receptors", {"correlations.tsv": rows})
numbers = {f"arm_by_time.{a}.r": (r, "correlations.tsv") for a, r in zip("ba", rows["r"])}
writing.write_numbers(trial, "receptors", numbers)
what_moved(trial, "receptors")
"""
FIGURES = """\
clinical, maps = trial.result("clinical/mmrm_contrasts.tsv"), trial.result("vbm/summary.tsv")
text = "\\n".join(path.read_text() for path in (clinical, maps))
writing.write(trial.figures, {"figure.txt": text})
what_moved(trial, "clinical", "vbm", "receptors")
"""
NOTEBOOKS = {
    "01_clinical": ("shift: float = 0.0  # points\nseed: int = 0  # of draws\n", CLINICAL),
    "02_vbm": (
        "fwhm_mm: float = 8.0  # mm; from 0 to 30\nregions: list = []  # of an atlas\n"
        "seed: int = 0  # of draws\n",
        VBM,
    ),
    "03_receptors": ('null: str = "moran"  # surrogates; one of: moran, variogram\n', RECEPTORS),
    "04_figures": ("most_maps: int = 24  # in Figure 4\n", FIGURES),
}
pytestmark = pytest.mark.usefixtures("without_kernels")
STEPS = (
    Step("01_clinical", reads=(tables,), writes=("clinical",)),
    Step("02_vbm", reads=(tables,), writes=("vbm",)),
    Step("03_receptors", uses=("vbm",), writes=("receptors",)),
    Step("04_figures", uses=("clinical",), may_use=("vbm", "receptors"), writes=("figures",)),
)


def write_notebook(path, own, code):
    """A notebook of parameters and two cells."""
    new = nbformat.v4
    parameters = PARAMETERS.format(own)
    cells = [new.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [new.new_code_cell(READ), new.new_code_cell(code)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new.new_notebook(cells=cells), path)


def use_stubs(folder, patch):
    """Make every plan one of the stub notebooks, and write no report of theirs."""
    make = partial(plan.make_plan, steps=STEPS, notebooks=folder / "notebooks")
    patch.setattr(plan, "make_plan", make)
    patch.setattr(running, "needed_by_report", lambda study: ("there is none",))
    patch.setenv("COMPENDIUM_OUTPUT", str(folder))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, without_kernels):
    """Four stub notebooks after a default run and one with fwhm_mm=4; and what ran."""
    folder = tmp_path_factory.mktemp("finished")
    for name, (own, code) in NOTEBOOKS.items():
        write_notebook(folder / "notebooks" / f"{name}.ipynb", own, code)
    write_stub_study(folder)
    with pytest.MonkeyPatch.context() as patch:
        use_stubs(folder, patch)
        first = run(folder)
        before = contents(folder)
        second = run(folder, ["fwhm_mm=4"])
    return folder, before, first, second


@pytest.fixture
def project(finished, tmp_path, monkeypatch):
    """A copy of that project, for a test to change."""
    folder = tmp_path / "project"
    shutil.copytree(finished[0], folder)
    use_stubs(folder, monkeypatch)
    return folder


def plans_of(folder, overrides=(), only=()):
    """Plans on the stub notebooks."""
    return variant_runs.make_plans(load_study(folder / "tiny.yml"), only, overrides)


def run(folder, overrides=(), only=()):
    """Outcomes of the plans, one after the other."""
    done = [running.run(one) for one in plans_of(folder, overrides, only)]
    assert not any(one.failure for one in done)
    return done


def contents(folder):
    """Bytes of every default result, but for what the lock says."""
    derived = folder / "data" / "derived" / "tiny"
    paths = [*derived.rglob("*"), *(folder / "figures").rglob("*")]
    own = [p for p in paths if p.is_file() and not p.is_relative_to(derived / "variants")]
    return {path: path.read_bytes() for path in own if path.name != ".run.lock"}


def what_runs(plans):
    """By variant: numbers of the notebooks that run in it."""
    return {one.study.variant: [step.number for step in one.steps] for one in plans}


# --- what runs where


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], {"": ["01", "02", "03", "04"]}),
        (["n_jobs=2"], {"": ["01", "02", "03", "04"]}),
        (["fwhm_mm=8.0"], {"": ["01", "02", "03", "04"]}),
        (["fwhm_mm=4"], {"": ["01"], "fwhm_mm=4": ["02", "03", "04"]}),
        (["null=variogram"], {"": ["01", "02"], "null=variogram": ["03", "04"]}),
        (["most_maps=3"], {"": ["01", "02", "03"], "most_maps=3": ["04"]}),
        (["seed=3"], {"seed=3": ["01", "02", "03", "04"]}),
        (["fwhm_mm=4", "variant=mine"], {"": ["01"], "mine": ["02", "03", "04"]}),
        (
            ["fwhm_mm=4,6,8"],
            {
                "": ["01", "02", "03", "04"],
                "fwhm_mm=4": ["02", "03", "04"],
                "fwhm_mm=6": ["02", "03", "04"],
            },
        ),
        (
            ["fwhm_mm=4", "null=moran,variogram"],
            {
                "": ["01"],
                "fwhm_mm=4": ["02", "03", "04"],
                "fwhm_mm=4,null=variogram": ["02", "03", "04"],
            },
        ),
    ],
)
def test_a_step_runs_in_a_variant_where_it_or_what_it_takes_is_changed(
    project, overrides, expected
):
    shutil.rmtree(project / "data")
    plans = plans_of(project, overrides)
    assert what_runs(plans) == expected
    for one in plans:
        assert {told.get("variant", "") for told in one.passed.values()} == {one.study.variant}


def test_a_change_of_a_notebook_that_the_study_cannot_run_makes_no_variant(project, monkeypatch):
    first, second, *rest = STEPS
    skipped = replace(second, needs=("images",))
    make = partial(plan.make_plan, steps=(first, skipped, *rest))
    monkeypatch.setattr(plan, "make_plan", make)
    assert what_runs(plans_of(project, ["fwhm_mm=4"], ["01", "02"])) == {"": ["01", "02"]}


def test_a_list_with_commas_is_one_value(project):
    (_, ours) = plans_of(project, ['regions=["left putamen", "right putamen"]'])
    assert ours.passed["02_vbm"]["regions"] == ["left putamen", "right putamen"]
    assert ours.study.variant.startswith("regions=-left-putamen")


def test_one_name_cannot_stand_for_several_variants(project):
    with pytest.raises(UsageError, match=r"variant=mine: one value of each other parameter exp"):
        plans_of(project, ["variant=mine", "fwhm_mm=4,6"])
    with pytest.raises(UsageError, match=r"variant: at most 80 letters"):
        plans_of(project, ["variant=../mine"])


def test_a_parameter_saved_in_the_notebook_makes_a_variant_too(project):
    scripts = project / "notebooks" / "percent"
    scripts.mkdir()
    own, code = NOTEBOOKS["02_vbm"]
    script = f'# %% tags=["parameters"]\n{PARAMETERS.format(own)}\n# %%\n'
    (scripts / "02_vbm.py").write_text(script)
    write_notebook(project / "notebooks" / "02_vbm.ipynb", own.replace("8.0", "5.0"), code)
    assert what_runs(plans_of(project)) == {"": ["01"], "fwhm_mm=5": ["02", "03", "04"]}


# --- what it writes and takes


def test_default_results_stay_as_they_were_to_the_byte(finished):
    folder, before, first, second = finished
    assert [o.status for o in first[0].outcomes] == ["run"] * 4
    assert [[o.status for o in done.outcomes] for done in second] == [["up to date"], ["run"] * 3]
    assert contents(folder) == before


def test_a_quick_variant_leaves_full_default_results_alone_and_says_that_draws_differ(project):
    before, study = contents(project), load_study(project / "tiny.yml")
    plans = variant_runs.make_plans(study, (), ["fwhm_mm=6"], quick=True)
    default, ours = (running.run(one) for one in plans)
    assert [outcome.status for outcome in default.outcomes] == ["up to date"]
    assert [outcome.quick for outcome in ours.outcomes] == [True] * 3
    assert contents(project) == before
    assert not any("QUICK" in line for line in moved.moved_lines(ours.plan.study))
    for folder, quick in ((study.derived, False), (ours.plan.study.derived, True)):
        (folder / "vbm" / "settings.json").write_text(json.dumps({"quick": quick}))
    assert moved.moved_lines(ours.plan.study)[1].startswith("  QUICK here, in full there")


def test_a_variant_holds_its_results_and_the_default_ones_that_it_takes(finished):
    folder = finished[0] / "data" / "derived" / "tiny" / "variants" / "fwhm_mm=4"
    assert reading.read_table(folder / "vbm" / "summary.tsv")["n_voxels_fwe"].tolist() == [400]
    correlations = reading.read_table(folder / "receptors" / "correlations.tsv")
    assert correlations["r"].tolist() == [0.1, -0.4]  # 03 has read what 02 wrote here
    assert "-5" in (folder / "figures" / "figure.txt").read_text()  # and 04 the default clinical
    numbers = json.loads((folder / "numbers.json").read_text())
    assert numbers["clinical.hamd17.week1.estimate"]["value"] == -5
    assert numbers["vbm.arm_by_time.n_voxels_fwe"]["value"] == 400
    steps = json.loads((folder / "manifest.json").read_text())["steps"]
    assert [name for name, step in steps.items() if step.get("taken_from_default")] == [
        "01_clinical"
    ]
    assert steps["02_vbm"]["parameters"]["fwhm_mm"] == 4
    assert (folder / "notebooks" / "01_clinical.ipynb").is_file()


def test_numbers_of_a_variant_can_be_traced(finished, monkeypatch):
    study = load_study(finished[0] / "tiny.yml", output=finished[0], variant="fwhm_mm=4")
    origins = manifest.number_origins(study)
    assert origins["clinical.hamd17.week1.p"]["notebook"] == "01_clinical"
    assert origins["vbm.arm_by_time.n_voxels_fwe"]["notebook"] == "02_vbm"


def test_a_variant_is_up_to_date_until_the_default_results_that_it_takes_change(project):
    again = run(project, ["fwhm_mm=4"])
    assert [o.status for o in again[1].outcomes] == ["up to date"] * 3
    own, code = NOTEBOOKS["01_clinical"]
    write_notebook(project / "notebooks" / "01_clinical.ipynb", own, code.replace("-5.0", "-6.0"))
    again = run(project, ["fwhm_mm=4"])
    statuses = [[o.status for o in done.outcomes] for done in again]
    assert statuses == [["run"], ["up to date", "up to date", "run"]]
    folder = again[1].plan.study.derived
    assert "-6" in (folder / "figures" / "figure.txt").read_text()


def test_a_later_notebook_goes_on_with_a_variant_that_is_named(project):
    before = contents(project)
    shutil.rmtree(project / "data/derived/tiny/variants/fwhm_mm=4/receptors")
    (ours,) = run(project, ["variant=fwhm_mm=4"], ["03"])
    assert ours.plan.study.variant == "fwhm_mm=4"
    rows = reading.read_table(ours.plan.study.derived / "receptors" / "correlations.tsv")
    assert rows["r"].tolist() == [0.1, -0.4]
    assert contents(project) == before


def test_results_that_a_notebook_wrote_by_hand_are_not_replaced_by_default_ones(project):
    study = load_study(project / "tiny.yml", variant="by_hand")
    shutil.copytree(study.as_variant("fwhm_mm=4").derived / "vbm", study.derived / "vbm")
    (ours,) = run(project, ["variant=by_hand"], ["03"])
    rows = reading.read_table(study.derived / "receptors" / "correlations.tsv")
    assert rows["r"].tolist() == [0.1, -0.4]
    assert [step.number for step in ours.plan.taken] == ["01"]


def test_results_downstream_of_a_change_are_not_taken_from_the_default_run(project):
    (ours,) = run(project, ["fwhm_mm=6"], ["02"])
    folder = ours.plan.study.derived
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == [
        *("clinical", "notebooks", "vbm")
    ]


# --- what is said


def test_the_end_of_a_notebook_says_where_results_are_and_what_moved(finished):
    folder = finished[0] / "data" / "derived" / "tiny"
    executed = nbformat.read(folder / "variants/fwhm_mm=4/notebooks/02_vbm.ipynb", 4)
    assert executed.cells[-1].outputs[0].text.splitlines() == [
        "These results are in variants/fwhm_mm=4; the default ones are as they were.",
        'To go on, set variant = "fwhm_mm=4" in notebook 03.',
        "1 of 3 numbers moved against the default run",
        "  vbm.arm_by_time.n_voxels_fwe: 800 -> 400",
    ]
    executed = nbformat.read(folder / "notebooks" / "02_vbm.ipynb", 4)
    assert executed.cells[-1].outputs == []  # nothing to say of the default run


def test_a_notebook_that_takes_default_results_says_so(project, capsys):
    study = load_study(project / "tiny.yml", variant="new")
    moved.what_moved(study, "receptors")
    assert "\nvbm of the default run went into them.\n" in capsys.readouterr().out
    moved.what_moved(study, "clinical", "vbm", "receptors")
    assert "clinical and vbm and receptors of the default run" in capsys.readouterr().out
    moved.what_moved(study.as_variant("fwhm_mm=4"), "receptors")
    assert "went into them" not in capsys.readouterr().out


def test_the_end_of_a_run_says_it_too_and_compares_with_no_published_number(finished):
    done = finished[3][1]
    assert done.compared[0] == "2 of 7 numbers moved against the default run"
    assert done.compared[1:] == [
        "  vbm.arm_by_time.n_voxels_fwe: 800 -> 400",
        "  receptors.arm_by_time.a.r: -0.8 -> -0.4",
    ]
    assert done.comparison.reference == "the default run"
    assert done.comparison.numbers == (5, 7)


def test_what_moved_is_short_and_says_what_cannot_be_compared(project):
    study = load_study(project / "tiny.yml", variant="fwhm_mm=4")
    path = study.derived / "numbers.json"
    content = json.loads(path.read_text())
    content |= {f"vbm.c{i}.n": {"value": i, "source": "vbm/summary.tsv"} for i in range(40)}
    path.write_text(json.dumps(content))
    assert moved.moved_lines(study)[0].endswith("; 40 are in only one of the two")
    default = study.as_variant().derived / "numbers.json"
    default.write_text(json.dumps({k: {**v, "value": 0.5} for k, v in content.items()}))
    lines = moved.moved_lines(study)
    assert len(lines) == moved.SHOWN + 2
    assert lines[1].startswith("  clinical.hamd17.week1.estimate: 0.5 -> -5")
    assert lines[-1] == "  and 40 more"
    default.unlink()
    assert moved.moved_lines(study) == [
        "There are no default numbers of this notebook to compare with."
    ]


@pytest.fixture
def command(project, monkeypatch):
    """Call run_all.py on the stub study."""
    spec = importlib.util.spec_from_file_location("run_all", PROJECT / "run_all.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app = typer.Typer()
    app.command()(module.main)
    study = ["--study", str(project / "tiny.yml")]
    return lambda *options: CliRunner().invoke(app, [*study, *options])


def test_several_values_give_a_table_of_main_numbers_beside_the_default_run(command, project):
    done = command("--set", "fwhm_mm=4,6.5")
    assert done.exit_code == 0, done.output
    assert "Variant fwhm_mm=6.5" in done.stdout
    folder = project / "data" / "derived" / "tiny" / "variants"
    assert (folder / "fwhm_mm=6.5" / "vbm").is_dir()
    table = reading.read_table(folder / headline.NAME).set_index("variant")
    assert list(table.index) == ["default", "fwhm_mm=4", "fwhm_mm=6.5"]
    assert table["n_voxels_fwe"].tolist() == [800, 400, 650]
    assert table["peak_t"].tolist() == [-8, -4, -6.5]
    assert table["estimate"].tolist() == [-5] * 3
    assert table["receptor"].tolist() == ["D1"] * 3
    assert table["r"].tolist() == [-0.8, -0.4, -0.65]
    printed = [line.split() for line in done.stdout.splitlines()]
    assert ["variant", "default", "fwhm_mm=4", "fwhm_mm=6.5"] in printed
    assert ["p_fwe", ".020", ".020", ".020"] in printed


def test_list_shows_what_would_run_where(command):
    shown = command("--list", "--set", "fwhm_mm=4")
    assert "01_clinical  up to date" in shown.stdout
    assert "Variant fwhm_mm=4\n\n02_vbm  up to date" in shown.stdout
