"""Everything that a step's results depend on makes them out of date."""

import copy

import numpy as np
import pandas as pd
import pytest

from analysis_lib.pipeline import freshness
from analysis_lib.pipeline.steps import STEPS
from analysis_lib.report import manifest
from analysis_lib.results import hashing
from analysis_lib.results.environment import NOTEBOOKS
from analysis_lib.study.contract import load_study

NOW = {
    "notebook": "hash of its code",
    "library": {"analysis_lib/clinical/models.py": "1"},
    "parameters": {"seed": 0},
    "packages": {"numpy": "2.0"},
    "inputs": {"participants.tsv": {"sha256": "2", "bytes": 3}},
    "shown": {"analysis_lib/report/page.py": "4"},
}
OTHER = {
    "notebook": "another",
    "library": {"analysis_lib/clinical/models.py": "9"},
    "parameters": {"seed": 1},
    "packages": {"numpy": "2.1"},
    "inputs": {"participants.tsv": {"sha256": "8", "bytes": 3}},
}


@pytest.fixture
def study(tiny):
    return tiny.write()


def test_a_step_of_which_nothing_has_changed_is_up_to_date(study):
    assert freshness.why_stale(copy.deepcopy(NOW), NOW, study) is None
    assert freshness.why_stale(None, NOW, study) == "not run yet"


@pytest.mark.parametrize("part", list(OTHER))
def test_each_part_of_the_signature_makes_a_step_out_of_date(part, study):
    why = freshness.why_stale(NOW | {part: OTHER[part]}, NOW, study)
    assert why.startswith(f"{part} changed")
    named = {"library": "models.py", "parameters": "seed", "packages": "numpy"}
    assert named.get(part, "") in why


def test_what_only_draws_makes_a_picture_older_and_no_result_out_of_date(study):
    before = NOW | {"shown": {"analysis_lib/report/page.py": "5"}}
    assert freshness.why_stale(before, NOW, study) is None
    assert freshness.older_pictures(before, NOW) == "analysis_lib/report/page.py"
    assert freshness.older_pictures(NOW, NOW) is None


def test_an_output_that_was_changed_or_is_missing_makes_a_step_out_of_date(tiny, tmp_path):
    study = load_study(tiny.write().path, output=tmp_path)
    study.derived.mkdir(parents=True)
    table = study.derived / "t.tsv"
    table.write_text("a\n1\n")
    record = NOW | {"outputs": {"t.tsv": {"sha256": hashing.file_hash(table)}}}
    assert freshness.why_stale(record, NOW, study) is None
    table.write_text("a\n2\n")
    assert freshness.why_stale(record, NOW, study) == "outputs changed: t.tsv"
    table.unlink()
    assert freshness.why_stale(record, NOW, study) == "outputs changed: t.tsv is missing"


def test_the_signature_holds_versions_inputs_and_parameters_but_not_the_number_of_jobs(
    study, monkeypatch
):
    step = next(step for step in STEPS if step.number == "02")
    notebook = NOTEBOOKS / f"{step.notebook}.ipynb"
    found = freshness.signature(step, study, notebook, {"seed": 7})
    assert found["packages"]["numpy"] == np.__version__
    assert found["packages"]["pandas"] == pd.__version__
    assert found["parameters"]["seed"] == 7
    assert found["parameters"]["fwhm_mm"] == 8.0
    assert not {"study", "n_jobs"} & set(found["parameters"])
    names = " ".join(found["inputs"])
    assert "participants.tsv" in names
    assert "hamd17.tsv" in names
    assert "analysis_lib/vbm/contrasts.py" in found["library"]
    assert not [file for file in found["library"] if file.startswith(freshness.SHOWN)]
    assert "analysis_lib/figures/draw_brain.py" in found["shown"]
    monkeypatch.setattr(manifest, "package_versions", lambda: {"numpy": "0"})
    later = freshness.signature(step, study, notebook, {"seed": 7})
    assert freshness.why_stale(found, later, study).startswith("packages changed")


def test_what_code_reaches_is_taken_from_the_record_while_no_code_has_changed(study, monkeypatch):
    step = next(step for step in STEPS if step.number == "01")
    notebook = NOTEBOOKS / f"{step.notebook}.ipynb"
    record = freshness.signature(step, study, notebook, {})
    marked = record | {"library": {"from the record": "1"}}
    again = freshness.signature(step, study, notebook, {}, record=marked)
    assert again["library"] == {"from the record": "1"}
    monkeypatch.setattr(freshness, "house_hash", lambda project: "another")
    later = freshness.signature(step, study, notebook, {}, record=marked)
    assert later["library"] == record["library"]
    assert later["house"] != record["house"]


def test_the_demo_s_files_are_inputs_of_the_steps_that_read_them():
    study = load_study("demo")
    files = {step.number: freshness.input_files(step, study) for step in STEPS}
    assert all(study.path in found for found in files.values())
