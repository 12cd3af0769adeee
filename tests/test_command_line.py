"""The command line: what it prints, and with which status it ends."""

import inspect
import shutil
import subprocess
import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import grey_matter, write_head
from typer.testing import CliRunner

from analysis_lib.__main__ import app
from analysis_lib.datasets import fetch, simulate, trial
from analysis_lib.study.contract import STUDIES

STUDY = """\
name: small
title: A small trial
data: data
arms: {column: arm, active: active, control: sham}
visits: {baseline: 0, week3: 3}
scales:
  - {name: HAMD-17, file: phenotype/hamd17.tsv, range: [0, 52], primary: true}
imaging:
  sessions: {pre: baseline, post: week3}
  grey_matter: derivatives/vbm/sub-*/ses-*/anat/*_label-GM_desc-modulated_probseg.nii.gz
"""


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_map(folder, who, visit, **content):
    name = f"sub-{who}_ses-{visit}_label-GM_desc-modulated_probseg.nii.gz"
    path = folder / "data/derivatives/vbm" / f"sub-{who}" / f"ses-{visit}" / "anat" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(grey_matter(f"sub-{who}", visit, **content), path)
    return path


@pytest.fixture
def small(tmp_path):
    """A study of five participants, with tables and maps that are right."""
    (tmp_path / "data/phenotype").mkdir(parents=True)
    (tmp_path / "small.yml").write_text(STUDY)
    participants = (
        "participant_id\tarm\nsub-1\tactive\nsub-2\tsham\nsub-3\tactive\nsub-4\tsham\nsub-5\tsham\n"
    )
    (tmp_path / "data/participants.tsv").write_text(participants)
    scores = (("baseline", 20), ("week3", 15))
    rows = [f"sub-{who}\tses-{visit}\t{n}" for who in range(1, 6) for visit, n in scores]
    table = "\n".join(["participant_id\tsession_id\ttotal", *rows]) + "\n"
    (tmp_path / "data/phenotype/hamd17.tsv").write_text(table)
    for who in range(1, 6):
        for visit in ("baseline", "week3"):
            write_map(tmp_path, who, visit)
    return tmp_path


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_check_study_without_problems(small):
    result = run("check-study", small / "small.yml")
    assert result.exit_code == 0
    assert "small.yml: no problems" in result.output
    assert "2 active, 3 sham, 0 excluded; HAMD-17 at 2 visits; 10 grey-matter maps" in result.output


def test_check_study_lists_problems_of_tables_and_images_at_once(small):
    scores = small / "data/phenotype/hamd17.tsv"
    replace(scores, "sub-1\tses-baseline\t20", "sub-1\tses-baseline\t99")
    replace(scores, "sub-2\tses-week3", "sub-2\tses-week9")
    write_map(small, 2, "week3", shape=(4, 5, 7))
    write_map(small, 1, "week3", value=np.nan)
    result = run("check-study", small / "small.yml")
    assert result.exit_code == 1
    assert "small.yml: 4 problems" in result.output
    # square brackets and all, each problem is one line
    lines = [line for line in result.output.splitlines() if line.startswith("- ")]
    assert len(lines) == 4
    for words in (
        "phenotype/hamd17.tsv: total: a number from 0 to 52 expected",
        "phenotype/hamd17.tsv: session_id: a session of the study",
        "sub-2_ses-week3_label-GM_desc-modulated_probseg.nii.gz: shape (4, 5, 6) expected",
        "sub-1_ses-week3_label-GM_desc-modulated_probseg.nii.gz: finite values in the brain",
    ):
        assert any(words in line for line in lines), words


def test_check_study_finds_the_missing_map(small):
    write_map(small, 2, "week3").unlink()
    result = run("check-study", small / "small.yml")
    assert result.exit_code == 1
    assert "sub-2: maps of ses-baseline and ses-week3 expected" in result.output


def write_t1w(folder, who, visit):
    name = f"sub-{who}_ses-{visit}_T1w.nii.gz"
    return write_head(folder / f"data/sub-{who}/ses-{visit}/anat/{name}")


def test_check_study_that_starts_from_t1w_images(small, monkeypatch):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(small / "out"))
    replace(small / "small.yml", STUDY.splitlines()[-1] + "\n", "")
    for who, visit in (("1", "baseline"), ("1", "week3"), ("2", "baseline"), ("2", "week3")):
        last = write_t1w(small, who, visit)
    result = run("check-study", small / "small.yml")
    assert result.exit_code == 0
    assert "no grey-matter maps, 4 T1w images" in result.output
    last.rename(last.with_name("sub-9_T1w.nii"))
    result = run("check-study", small / "small.yml")
    assert result.exit_code == 1
    found = "data/sub-2/ses-week3/anat/sub-9_T1w.nii: a participant of participants.tsv expected"
    assert found.removeprefix("data/") in result.output


def test_check_study_lists_warnings_apart_and_passes(small):
    for visit, volume in (("baseline", 1400), ("week3", 1600)):
        path = write_map(small, 1, visit)
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(f'{{"TIV_ml": {volume}}}')
    for visit in ("baseline", "week3"):
        path = write_map(small, 2, visit)
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text('{"TIV_ml": 1500}')
    result = run("check-study", small / "small.yml")
    assert result.exit_code == 0
    first, second, *others, warning, accept, summary = result.output.splitlines()
    assert all("cannot be computed" in line for line in others)  # of five people
    assert first.endswith("small.yml: no problems")
    assert second == f"{1 + len(others)} warnings (these stop nothing; look at each):"
    assert warning.startswith(
        "- sub-1: total intracranial volumes within 5% of each other expected"
    )
    assert accept == "Once looked at, accept them in small.yml: accept: [head-size, not-computed]"
    assert summary.startswith("2 active, 3 sham")


def test_check_study_cuts_lists_at_five_unless_all_are_asked_for(small):
    rows = "".join(f"sub-{i}\tactive\n" for i in range(10, 18))
    with (small / "data/participants.tsv").open("a") as file:
        file.write(rows)
    result = run("check-study", small / "small.yml")
    assert "found none of sub-10, sub-11, sub-12, sub-13, sub-14 and 3 more. Add" in result.output
    whole = run("check-study", small / "small.yml", "--all")
    assert whole.exit_code == result.exit_code == 1
    assert "sub-13, sub-14, sub-15, sub-16, sub-17. Add them" in whole.output


def test_check_study_lists_every_problem_of_the_yaml(small):
    replace(small / "small.yml", "title:", "tilte:")
    replace(small / "small.yml", "range: [0, 52]", "range: [52, 0]")
    result = run("check-study", small / "small.yml")
    assert result.exit_code == 1
    assert "small.yml: 3 problems" in result.output
    assert "unknown key 'tilte'; did you mean 'title'?" in result.output
    assert "key 'title' is missing" in result.output
    assert "range of HAMD-17 is [52, 0]: low before high" in result.output


def test_check_study_lists_a_problem_once_though_two_readers_meet_it(small):
    replace(small / "data/participants.tsv", "sham", "placebo")
    result = run("check-study", small / "small.yml")
    assert result.exit_code == 1
    assert "1 problem\n" in result.output
    assert result.output.count("'placebo'") == 1


def test_check_study_names_regions_that_the_atlas_lacks(small):
    replace(small / "small.yml", "imaging:", "atlas: aal\nimaging:")
    result = run("check-study", small / "small.yml")
    assert result.exit_code == 1
    assert "1 problem\n" in result.output
    assert "small.yml: regions: a grey-matter region of the atlas expected, found" in result.output


def test_check_study_without_problems_names_who_has_no_map(small):
    for path in (small / "data/derivatives/vbm/sub-2").rglob("*.nii.gz"):
        path.unlink()
    result = run("check-study", small / "small.yml")
    assert result.exit_code == 0
    assert "8 grey-matter maps, none of sub-2" in result.output


def test_new_study_is_written_and_says_what_is_next(tmp_path):
    result = run(
        "new-study", tmp_path / "My Trial", "--visits", "baseline,week4", "--images", "t1w"
    )
    assert result.exit_code == 0
    assert f"check-study {tmp_path / 'My Trial' / 'my_trial.yml'}" in result.output
    checked = run("check-study", tmp_path / "My Trial" / "my_trial.yml")
    assert checked.exit_code == 1
    assert "3 problems" in checked.output
    assert checked.output.count("Fill it in") == 3


def test_new_study_overwrites_nothing(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    result = run("new-study", tmp_path)
    assert result.exit_code == 1
    assert "a new or empty folder expected, found files" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("option", ["--scale=HAMD", "--visits=pre,post", "--arms=a,b,c"])
def test_new_study_explains_what_an_option_must_be(tmp_path, option):
    result = run("new-study", tmp_path / "trial", option)
    assert result.exit_code == 2
    assert "expected" in result.output
    assert not list(tmp_path.iterdir())


WIDE = """Patient;Group;HAMD_T0;HAMD_T1
P1;0;20;12
P2;1;22;15
P3;0;19;
P4;1;25;11
"""


def test_import_study_asks_on_a_terminal_and_else_lists_the_lines(tmp_path, monkeypatch):
    (tmp_path / "my.csv").write_text(WIDE)
    listed = run("import-study", tmp_path / "my.csv", "--to", tmp_path / "a")
    assert listed.exit_code == 1
    assert "then run the same command again:" in listed.output
    assert "weeks since baseline of the visits (T0, T1)? Guessed: 0, 1;" in listed.output
    monkeypatch.setattr("analysis_lib.__main__._on_terminal", lambda: True)
    command = ["import-study", str(tmp_path / "my.csv"), "--to", str(tmp_path / "b")]
    asked = CliRunner().invoke(app, command, input="0, 6\n1\n")
    assert asked.exit_code == 0, asked.output
    assert (
        "active against control; primary outcome HAMD-17; T0 (week 0), T1 (week 6)" in asked.output
    )
    assert f"check-study {tmp_path / 'b' / 'b.yml'}" in asked.output


def test_import_study_without_files_is_new_study(tmp_path):
    options = ["--arms", "drug,placebo", "--visits", "baseline,week4", "--images", "none"]
    made = [
        run(*c, *options)
        for c in (
            ["import-study", "--to", tmp_path / "a" / "trial"],
            ["new-study", tmp_path / "b" / "trial"],
        )
    ]
    assert [result.exit_code for result in made] == [0, 0]
    texts = [(tmp_path / n / "trial/trial.yml").read_text() for n in "ab"]
    assert texts[0] == texts[1]
    everything = "".join(p.read_text() for p in (tmp_path / "a").rglob("*.*") if p.is_file())
    for word in ("coil", "sham", "rTMS", "active stimulation"):
        assert word not in everything.replace("Pulses given (by a sham coil: played)", ""), word
    assert run("import-study", tmp_path / "x.csv", *options).exit_code == 2
    assert run("import-study").exit_code == 2


def test_a_table_with_a_column_per_visit_is_told_what_reads_it(small):
    table = small / "data/phenotype/hamd17.tsv"
    rows = pd.read_csv(table, sep="\t", dtype=str)
    wide = rows.pivot(index="participant_id", columns="session_id", values="total")
    wide.add_prefix("HAMD_").to_csv(table, sep="\t", na_rep="n/a")
    result = run("check-study", small / "small.yml")
    assert "column 'session_id' expected" in result.output
    assert "python -m analysis_lib import-study FILE" in result.output


def test_check_study_says_how_to_get_a_public_trial(tmp_path):
    (tmp_path / "studies").mkdir()
    shutil.copy(STUDIES / "sudmex_tms.yml", tmp_path / "studies")
    result = run("check-study", tmp_path / "studies/sudmex_tms.yml")
    assert result.exit_code == 1
    assert "Get it: python -m analysis_lib fetch sudmex_tms" in result.output


@pytest.mark.parametrize("arguments", [["check-study", "nope"], ["check-study"], ["fetch"]])
def test_usage_errors_end_with_2(arguments):
    assert run(*arguments).exit_code == 2


def test_fetch_of_an_unknown_name_lists_the_known():
    result = run("fetch", "reisby")
    assert result.exit_code == 2
    for name in ("receptors", *fetch.TRIALS):
        assert name in result.output


def test_fetch_writes_a_trial_once(reference_data, tmp_path, monkeypatch):
    monkeypatch.setenv("COMPENDIUM_CACHE", str(reference_data / "data/trials"))
    monkeypatch.setattr(fetch, "load_study", lambda name: SimpleNamespace(root=tmp_path / name))
    first = run("fetch", "sudmex_tms")
    assert first.exit_code == 0
    assert f"sudmex_tms: written to {tmp_path / 'sudmex_tms'}" in first.output
    assert "sudmex_tms: up to date in" in run("fetch", "sudmex_tms").output


def test_fetch_goes_on_after_a_failure_and_ends_with_1(reference_data, tmp_path, monkeypatch):
    monkeypatch.setenv("COMPENDIUM_CACHE", str(reference_data / "data/trials"))
    monkeypatch.setattr(fetch, "load_study", lambda name: SimpleNamespace(root=tmp_path / name))
    (tmp_path / "antidepressant").mkdir()
    result = run("fetch", "antidepressant", "sudmex_tms")
    assert result.exit_code == 1
    assert "antidepressant: FAILED" in result.output
    assert "files are missing or differ from the public trial" in result.output
    assert (tmp_path / "sudmex_tms/participants.tsv").is_file()


def test_fetch_receptors_checks_what_the_cache_holds(reference_data, monkeypatch):
    monkeypatch.setenv("NEUROMAPS_DATA", str(reference_data / "data/neuromaps"))
    result = run("fetch", "receptors")
    assert result.exit_code == 0
    assert "receptors: 18 maps in the cache, checked" in result.output


def test_all_receptor_maps_are_an_option_of_the_receptors_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(fetch, "fetch_receptors", lambda wanted: asked.append(wanted) or ["map"])
    assert run("fetch", "receptors", "--all-maps").exit_code == 0
    assert run("fetch", "receptors").exit_code == 0
    assert asked == ["all", "default"]
    refused = run("fetch", "antidepressant", "--all-maps")
    assert refused.exit_code == 2
    assert "--all-maps needs" in refused.output


def test_simulate_passes_on_what_was_given(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(simulate, "simulate_study", lambda to, **given: calls.append((to, given)))
    result = run("simulate", tmp_path / "a", "--seed", 7, "--resolution", 1.5, "--null")
    assert result.exit_code == 0
    assert f"SIMULATED trial written to {tmp_path / 'a'}" in result.output
    assert run("simulate", tmp_path / "b").exit_code == 0
    given = {"seed": 7, "resolution": 1.5, "null": True}
    assert calls == [(tmp_path / "a", given), (tmp_path / "b", {})]
    assert set(given) <= set(inspect.signature(trial.simulate_trial).parameters)


def test_simulate_does_not_write_over_files(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    result = run("simulate", tmp_path)
    assert result.exit_code == 1
    assert "a new or empty folder expected, found files" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_help_does_not_import_the_heavy_packages():
    code = (
        "import sys, analysis_lib.__main__; "
        "heavy = {'pandas', 'numpy', 'pooch', 'nibabel'}; print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
