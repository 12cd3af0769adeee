"""The notebooks as they are stored, and the whole chain on small data with a known truth."""

import functools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import changed_tables
from pairs import cells

from analysis_lib import figures
from analysis_lib.datasets.fetch import fetch_study
from analysis_lib.datasets.simulate import simulate_study
from analysis_lib.results import reading
from analysis_lib.study.contract import STUDIES, load_study
from analysis_lib.study.parameters import notebook_parameters

PROJECT = Path(__file__).resolve().parents[1]
NUMBERED = sorted((PROJECT / "notebooks").glob("0*.ipynb"))
APPENDIX = sorted((PROJECT / "notebooks" / "appendix").glob("S*.ipynb"))
NOTEBOOKS = NUMBERED + APPENDIX
CONTRASTS = ("active_change", "control_change", "arm_by_time")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_and_its_percent_script_agree(path):
    scripts = PROJECT / "notebooks" / "percent"
    script = scripts / path.relative_to(PROJECT / "notebooks").with_suffix(".py")
    stored = nbformat.read(path, as_version=4)
    assert cells(stored) == cells(jupytext.read(script, fmt="py:percent")), "run make format"


def in_git(path):
    """A file as git holds it; a file's own outputs may be there. Without git, the file."""
    name = path.relative_to(PROJECT).as_posix()
    command = ["git", "-C", str(PROJECT), "show", f":./{name}"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    return done.stdout if done.returncode == 0 else path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_defines_no_function(path):
    for cell in nbformat.reads(in_git(path), as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert not any(line.startswith(("def ", "class ")) for line in cell.source.splitlines())


def prose(path):
    notebook = nbformat.read(path, as_version=4)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def headings(path):
    """Targets of links within a notebook, as JupyterLab names them."""
    found = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return [heading.strip().replace(" ", "-") for heading in found]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_within_a_notebook_lead_to_a_heading_that_no_other_notebook_has(path):
    # JupyterLab looks in all notebooks that are open, and takes the first such heading.
    everywhere = Counter(heading for other in NOTEBOOKS for heading in headings(other))
    for link in re.findall(r"\]\(#([^)]*)\)", prose(path)):
        assert link in headings(path)
        assert everywhere[link] == 1, link


@pytest.mark.parametrize("path", [*NUMBERED[:-1], APPENDIX[0]], ids=lambda path: path.stem)
def test_a_notebook_opens_with_what_is_asked_what_to_change_and_how_long_it_takes(path):
    opening = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            break
        opening.append(cell.source)
    first = "\n".join(opening)
    assert first.count("?**") == 1, "the question, in bold"
    assert re.search(r"\*\*Change this first[:,]", first)
    assert re.search(r"second|minute", first)
    named = re.findall(r"`(\w+)(?: = [^`]+)?`", first)
    known = notebook_parameters(path)
    assert any(name in known for name in named), "names a parameter of the next cell"


def code_lines(path):
    """Lines of each code cell of a notebook, without blank ones; that of parameters aside."""
    found = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    found = [c for c in found if "parameters" not in c.metadata.get("tags", [])]
    return [len([line for line in c.source.splitlines() if line.strip()]) for c in found]


@pytest.mark.parametrize("path", [NUMBERED[1], APPENDIX[0]], ids=lambda path: path.stem)
def test_cells_are_short_and_stand_between_prose(path):
    lines = code_lines(path)
    assert sorted(lines)[len(lines) // 2] <= 6
    assert max(lines) <= 20
    kinds = [cell.cell_type for cell in nbformat.read(path, as_version=4).cells]
    assert "code code" not in " ".join(kinds), "prose before each code cell"


def run_all(*options, **environment):
    command = [sys.executable, str(PROJECT / "run_all.py"), *map(str, options)]
    variables = {**os.environ, **{key: str(value) for key, value in environment.items()}}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def copy_study(name, folder, **changes):
    """A study file of the project under another root, so that its data and results lie there."""
    content = yaml.safe_load((STUDIES / f"{name}.yml").read_text(encoding="utf-8"))
    path = folder / "data" / "studies" / f"{name}.yml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False), encoding="utf-8")
    return path


def real_maps():
    shared = Path(os.environ.get("REFERENCE_DATA", PROJECT.parent / "shared"))
    folder = shared / "data" / "neuromaps"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The whole chain on a coarse, smaller demo: result folder, figures, and what was printed."""
    root = tmp_path_factory.mktemp("demo")
    path = copy_study("demo", root)
    simulate_study(root / "data" / "raw" / "demo", resolution=4)
    maps = real_maps() or root / "no-maps"
    options = ["--study", path, "--output", root, "--quick"]
    done = run_all(*options, NEUROMAPS_DATA=maps)
    assert done.returncode == 0, done.stdout + done.stderr
    again = run_all(*options, NEUROMAPS_DATA=maps)
    figures = root / "figures" / "demo" / "quick"
    return root / "data" / "derived" / "demo", figures, done.stdout, again.stdout


def test_the_chain_writes_every_table_with_described_columns(demo):
    derived, _, _, _ = demo
    expected = {
        "clinical/baseline.tsv": "variable active control standardised_mean_difference",
        "clinical/mmrm_contrasts.tsv": (
            "scale visit contrast estimate se df ci_low ci_high t p hedges_g g_ci_low g_ci_high"
        ),
        "clinical/mmrm_means.tsv": "scale arm visit mean se df ci_low ci_high",
        "clinical/randomisation.tsv": "scale visit estimate se t p_randomisation n_permutations",
        "clinical/imputation.tsv": "scale analysis visit estimate se df ci_low ci_high p",
        "clinical/tipping_point.tsv": "status delta_interpolated",
        "conduct/blinding.tsv": "index arm value ci_low ci_high",
        "conduct/adverse_events.tsv": "term participants_active participants_control",
        "conduct/adherence.tsv": "arm measure mean sd",
        "conduct/consort_checklist.tsv": "item topic where status",
        "clinical/ancova.tsv": "scale visit estimate se df ci_low ci_high p hedges_g_raw",
        "clinical/anova.tsv": "scale effect df1 df2 F epsilon_gg p p_gg partial_eta2",
        "clinical/responders.tsv": (
            "scale visit outcome analysis n_active n_control events_active events_control "
            "risk_difference ci_low ci_high p nnt"
        ),
        "vbm/parcel_change.tsv": "participant_id arm region change",
        "receptors/correlations.tsv": (
            "contrast receptor annotation tracer n_subjects_map n_parcels statistic r ci_low "
            "ci_high r_anatomy p_parametric p_spatial p_fwe_spatial p_spatial_anatomy "
            "p_fwe_spatial_anatomy p_randomisation p_fwe q_fdr"
        ),
        "receptors/dominance.tsv": "receptor total_dominance percent p",
        "receptors/individual.tsv": "participant_id arm receptor slope z",
    }
    for contrast in CONTRASTS:
        expected[f"vbm/{contrast}_clusters.tsv"] = (
            "cluster region hemisphere k_voxels volume_mm3 x y z t hedges_g p_fwe_t p_fwe_cluster "
            "p_fwe_tfce"
        )
        for kind in ("t", "g", "percent", "p_fwe_t", "p_fwe_cluster", "p_fwe_mass", "p_fwe_tfce"):
            assert (derived / "vbm" / f"{contrast}_{kind}.nii.gz").is_file()
    for name, columns in expected.items():
        table = reading.read_table(derived / name)
        described = reading.read_json((derived / name).with_suffix(".json"))
        assert set(columns.split()) <= set(table), name
        assert set(described) == set(table), name


def test_the_chain_writes_what_codecheck_lists(demo):
    derived, figures, _, _ = demo
    text = (PROJECT / "codecheck.yml").read_text(encoding="utf-8")
    tables = re.findall(r"file: data/derived/demo/(\S+)", text)
    assert len(tables) > 5
    assert [name for name in tables if not (derived / name).is_file()] == []
    pictures = re.findall(r"file: figures/demo/(\S+)", text)
    assert [name for name in pictures if not (figures / name).is_file()] == []


def test_the_chain_finds_what_was_planted(demo):
    derived, _, _, _ = demo
    regions = reading.read_table(derived / "vbm" / "arm_by_time_regions.tsv").set_index("region")
    assert regions.loc["left putamen", "n_voxels_fwe"] > 0
    assert regions.loc["left putamen", "percent"] == pytest.approx(5.5, abs=2)
    correlations = reading.read_table(derived / "receptors" / "correlations.tsv")
    rows = correlations[correlations["contrast"] == "arm_by_time"]
    rank = rows["r"].abs().rank(ascending=False)[rows["receptor"].str.contains("D1")]
    assert rank.iloc[0] <= 2
    mmrm = reading.read_table(derived / "clinical" / "mmrm_contrasts.tsv")
    final = mmrm[(mmrm["scale"] == "HAMD-17") & (mmrm["visit"] == "week3")].iloc[0]
    assert abs(final["estimate"] + 4.5) < 3 * final["se"]


def test_every_table_is_read_with_its_types_and_written_as_the_same_bytes(demo, tmp_path):
    assert changed_tables(demo[0], tmp_path / "again") == []


def test_every_quoted_number_is_in_the_file_it_names(demo):
    derived, _, _, _ = demo
    numbers = reading.read_json(derived / "numbers.json")
    read = functools.cache(reading.read_table)
    assert {key.split(".")[0] for key in numbers} == {"clinical", "vbm", "receptors"}
    for key, item in numbers.items():
        source = derived / item["source"]
        assert source.is_file(), key
        if source.suffix == ".tsv" and item["value"] is not None:
            values = read(source)[key.rsplit(".", 1)[1]]
            assert np.isclose(pd.to_numeric(values), item["value"]).any(), key


def test_figures_are_saved_as_png_and_pdf(demo):
    folder = demo[1]
    assert [path.name for path in folder.parent.iterdir()] == ["quick"]  # others are in git
    names = ("figure1_participants", "figure2_clinical", "figure3_grey_matter", "figure4_receptors")
    assert {path.stem for path in folder.iterdir()} == {*names, "captions"}
    for stem in names:
        assert (folder / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{stem}.pdf").read_bytes().startswith(b"%PDF")


def test_every_panel_is_a_figure_of_its_own_too(demo):
    # a quick run leaves these out
    study = load_study(demo[0].parents[1] / "studies" / "demo.yml", demo[0].parents[2])
    drawn = [figures.participants(study), figures.clinical(study)]
    found = {one.name for figure in drawn for one in figure.further()}
    clinical = "hamd17 hama differences response tipping_point"
    expected = {f"figure2_{name}" for name in clinical.split()}
    assert found == {"figure1_flow", "figure1_ratings"} | expected


def test_simulated_and_quick_are_said_everywhere(demo):
    derived, _, printed, _ = demo
    assert "SIMULATED" in printed
    assert "QUICK" in printed
    manifest = reading.read_json(derived / "manifest.json")
    assert manifest["simulated"] is True
    for path in sorted((derived / "notebooks").glob("*.ipynb")):
        assert "SIMULATED DATA" in path.read_text(encoding="utf-8"), path.name


def test_a_second_run_has_nothing_to_do(demo):
    _, _, _, again = demo
    assert again.count(": up to date") == 5, again
    assert re.search(r"^report:  .*report/index\.html$", again, re.M), again


RAW_MEANS = {
    "antidepressant": [
        ("HAMD-17", "antidepressant_data.csv", "THERAPY", "VISIT", "HAMDTL17"),
        ("HAMA", "antidepressant_data.csv", "THERAPY", "VISIT", "HAMATOTL"),
    ],
    "sudmex_tms": [
        ("HDRS", "data2w.csv", "group", "stage", "hdrs_tot"),
        ("HARS", "data2w.csv", "group", "stage", "hars_tot"),
    ],
}


@pytest.mark.parametrize("name", RAW_MEANS)
def test_a_public_trial_runs_and_prints_the_means_of_its_raw_files(name, reference_data, tmp_path):
    path = copy_study(name, tmp_path)
    trials = reference_data / "data" / "trials"
    fetch_study(name, folder=load_study(path).root, cache=trials)
    done = run_all("--study", path, "--output", tmp_path, "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "02 and 03" in done.stdout
    executed = tmp_path / "data" / "derived" / name / "notebooks" / "01_clinical_outcomes.ipynb"
    printed = json.dumps(nbformat.read(executed, as_version=4))
    for _, file, arm, visit, score in RAW_MEANS[name]:
        raw = pd.read_csv(trials / name / file)
        for _, group in raw.groupby([arm, visit])[score]:
            mean, sd = group.mean(), group.std()
            assert f"{mean:.1f} ({sd:.1f}), n = {len(group)}" in printed
    assert (tmp_path / "figures" / name / "quick" / "figure2_clinical.png").is_file()
    assert changed_tables(tmp_path / "data" / "derived" / name, tmp_path / "again") == []
