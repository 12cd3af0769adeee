"""The skeleton of a trial of one's own: every key explained, valid once filled, whole or not."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pandas as pd
import pytest
from conftest import grey_matter, image_lines, lines
from typer.testing import CliRunner

from analysis_lib.__main__ import app
from analysis_lib.results.environment import PROJECT
from analysis_lib.results.problems import StudyError
from analysis_lib.study import conduct, participants, skeleton
from analysis_lib.study import scores as study_scores
from analysis_lib.study.contract import Arms, Imaging, LocalMap, Scale, Sessions, Study, load_study

CONFIG = PROJECT / "data" / "bids_validator_config.json"
COMMENTED_KEY = re.compile(r"^( *)# ( *(?:[a-z_0-9]+:|- ))", flags=re.MULTILINE)
MADE_UP = ["MADRS:0:60:10", "HAMA:0:56"]


@pytest.fixture
def trial(tmp_path):
    """Study file of a skeleton with rows for six participants."""
    return skeleton.new_study(
        tmp_path / "trial", scales=MADE_UP, visits="baseline,week2,week4", n_participants=6
    )


def read(path):
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def fill(path):
    """Fill the tables as their user would: no column or row is added."""
    bids = path.parent / "bids"
    people = read(bids / "participants.tsv")
    people["age"], people["sex"] = [31, 45, 52, 28, 60, 39], list("FMFMFM")
    people["arm"] = ["active", "sham"] * 3
    people.to_csv(bids / "participants.tsv", sep="\t", index=False)
    for table in sorted((bids / "phenotype").glob("*.tsv")):
        scores = read(table)
        scores["total"] = [30 - k % 11 for k in range(len(scores))]
        scores.to_csv(table, sep="\t", index=False)


def add_maps(path):
    bids = path.parent / "bids"
    for who in read(bids / "participants.tsv")["participant_id"]:
        for visit in ("baseline", "week4"):
            stem = f"{who}_ses-{visit}_space-MNI152NLin2009cAsym_label-GM_desc-modulated_probseg"
            file = bids / f"derivatives/vbm/{who}/ses-{visit}/anat/{stem}.nii.gz"
            file.parent.mkdir(parents=True)
            nib.save(grey_matter(who, visit), file)
            about = {"Sources": [], "SkullStripped": True, "Resolution": "3 mm"}
            file.with_name(f"{stem}.json").write_text(json.dumps(about))


def check(study):
    people = study_scores.provisional_participants(study)
    return [
        *lines(study_scores.problems(study)),
        *conduct.problems(study, people),
        *image_lines(study, people),
    ]


# ---- the study file


@pytest.mark.parametrize("kind", skeleton.IMAGES)
@pytest.mark.parametrize("model", [Study, Arms, Scale, Imaging, Sessions, LocalMap])
def test_every_key_of_a_study_file_is_in_the_template(tmp_path, model, kind):
    text = skeleton.new_study(tmp_path / "trial", images=kind).read_text()
    missing = [key for key in model.model_fields if not re.search(rf"\b{key}: ", text)]
    assert [key for key in missing if f"{key}:\n" not in text] == []


@pytest.mark.parametrize("kind", skeleton.IMAGES)
def test_commented_keys_show_their_defaults(tmp_path, kind):
    """With every "# " taken away the file is valid, and what has a default is as it was."""
    path = skeleton.new_study(tmp_path / "trial", images=kind)
    given = load_study(path)
    path.write_text(COMMENTED_KEY.sub(r"\1\2", path.read_text()))
    full = load_study(path)
    assert {*Study.model_fields} - full.model_fields_set == {"effect"}  # of one map: no trial
    asked_for_by_name = {"arms", "primary_visit", "scales", "imaging"}
    for key in {*Study.model_fields} - asked_for_by_name:
        assert getattr(full, key) == getattr(given, key), key
    assert full.final_visit == given.final_visit
    for mine, its in zip(full.scales, given.scales, strict=True):
        assert (mine.column, mine.primary) == (its.column, its.primary)
    assert full.imaging.t1w == Imaging.model_fields["t1w"].default
    assert full.imaging.accept_unmodulated is False


def test_template_without_images_has_no_imaging(tmp_path):
    assert load_study(skeleton.new_study(tmp_path / "a", images="none")).imaging is None
    made = load_study(skeleton.new_study(tmp_path / "b", images="t1w")).imaging
    assert made.grey_matter is None


@pytest.mark.parametrize("name", ["no", "1e3", 'a "b": {c} #d', "Échelle", "MADRS: short"])
def test_words_are_quoted_where_yaml_needs_it(tmp_path, name):
    title = f"{name} of a trial"
    path = skeleton.new_study(tmp_path / "t", title=title, arms="yes,no", scales=["HAMD:0:52"])
    study = load_study(path)
    assert study.title == title
    assert (study.arms.active, study.arms.control) == ("yes", "no")


def test_options_are_in_the_study(trial):
    study = load_study(trial)
    assert study.visits == {"baseline": 0, "week2": 2, "week4": 4}
    primary, second = study.scales
    assert (primary.name, primary.range, primary.remission_at_most) == ("MADRS", (0, 60), 10)
    assert (primary.primary, second.primary, second.remission_at_most) == (True, False, None)
    assert (study.imaging.sessions.pre, study.imaging.sessions.post) == ("baseline", "week4")


@pytest.mark.parametrize(
    ("text", "weeks"),
    [
        ("baseline,week1,week3", {"baseline": 0, "week1": 1, "week3": 3}),
        ("pre=0, post=4", {"pre": 0, "post": 4}),
        ("ses-t0,ses-t1=2.5", {"t0": 0, "t1": 2.5}),
    ],
)
def test_weeks_of_visits(text, weeks):
    assert skeleton.read_visits(text) == weeks


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"visits": "pre,post"}, "a week for 'post' expected, as in post=4, found 'post'"),
        ({"visits": "baseline,week3,week1"}, r"weeks must start at 0 and increase, found \[0.0, 3"),
        ({"visits": "baseline,week 1"}, r"visits\.week 1.*should match pattern"),
        ({"scales": ["HAMD-17:0"]}, "NAME:LOWEST:HIGHEST.* expected, found 'HAMD-17:0'"),
        ({"scales": ["HAMD-17:52:0"]}, r"range of HAMD-17 is \[52, 0\]: low before high"),
        ({"scales": ["A:0:9:10"]}, "remission_at_most of A is 10, outside its range"),
        ({"scales": ["A:0:9", "a:0:9"]}, "2 scales share the name 'a'"),
        ({"arms": "active,sham,drug"}, "Trials with more arms are not supported"),
        ({"arms": "sham,sham"}, "two words, active first"),
        ({"name": "My Trial"}, "name: String should match pattern"),
        ({"name": "demo"}, "one that no study in data/studies has expected, found 'demo'"),
        ({"images": "ct"}, "one of maps, t1w, none expected, found 'ct'"),
        ({"n_participants": 1000}, "0 to 999 expected, found 1000"),
    ],
)
def test_what_cannot_be_a_study_is_refused_and_nothing_written(tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        skeleton.new_study(tmp_path / "trial", **option)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("folder", "name"), [("My Trial 2", "my_trial_2"), ("__", "my_trial")])
def test_name_of_the_study_is_made_from_the_folder(tmp_path, folder, name):
    assert skeleton.new_study(tmp_path / folder) == tmp_path / folder / f"{name}.yml"


# ---- the tables


def test_skeleton_says_what_to_fill(trial):
    assert check(load_study(trial)) == [
        "participants.tsv: age: a value or n/a expected, found '' in every row",
        "participants.tsv: sex: a value or n/a expected, found '' in every row",
        "participants.tsv: arm: a value expected, found '' in every row",
        "phenotype/madrs.tsv: total: a value or n/a expected, found '' in every row",
        "phenotype/hama.tsv: total: a value or n/a expected, found '' in every row",
    ]


def test_skeleton_without_rows_says_so_of_each_table(tmp_path):
    found = lines(study_scores.problems(load_study(skeleton.new_study(tmp_path / "trial"))))
    assert [line.split(":")[0] for line in found] == [
        *("participants.tsv", "phenotype/hamd17.tsv", "phenotype/hama.tsv")
    ]


def test_filled_skeleton_has_no_problems(trial):
    fill(trial)
    study = load_study(trial)
    assert check(study) == []
    add_maps(trial)
    assert check(study) == []
    assert len(study.own_maps()) == 12
    assert len(study_scores.read_ratings(study)) == 6 * 3 * 2


def test_tables_that_state_something_by_being_there_are_kept_apart(trial):
    fill(trial)
    study = load_study(trial)
    people = participants.read_participants(study)
    assert conduct.read_adverse_events(study, people) is None
    assert conduct.read_stimulation(study, people) is None
    for name in ("adverse_events.tsv", "stimulation.tsv"):
        (trial.parent / "optional" / name).rename(study.root / name)
    assert conduct.read_adverse_events(study, people).empty
    with pytest.raises(StudyError, match="rows expected"):
        conduct.read_stimulation(study, people)
    row = ["sub-01", "1", "2025-12-31", "110", "3000"]
    with (study.root / "stimulation.tsv").open("a") as table:
        table.write("\t".join(row) + "\n")
    assert conduct.read_stimulation(study, people)["pulses"].tolist() == [3000]


@pytest.mark.parametrize("kind", skeleton.IMAGES)
def test_every_column_is_described(tmp_path, kind):
    folder = skeleton.new_study(tmp_path / "trial", images=kind, n_participants=2).parent
    tables = sorted(folder.rglob("*.tsv"))
    assert len(tables) == 7
    for table in tables:
        about = json.loads(table.with_suffix(".json").read_text())
        assert set(read(table)) <= set(about), table.name


@pytest.mark.parametrize("kind", skeleton.IMAGES)
def test_filled_skeleton_is_valid_bids(tmp_path, kind):
    path = skeleton.new_study(
        tmp_path / "trial", images=kind, visits="baseline,week4", n_participants=6
    )
    fill(path)
    parts = [path.parent / "bids"]
    if kind == "maps":
        add_maps(path)
        parts.append(path.parent / "bids/derivatives/vbm")
    for part in parts:
        program = Path(sys.executable).with_name("bids-validator-deno")
        command = [program, "--config", CONFIG, "--max-rows", "-1", "--format", "json", part]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        issues = json.loads(done.stdout)["issues"]["issues"]
        errors = [issue for issue in issues if issue["severity"] == "error"]
        assert (done.returncode, errors) == (0, [])


# ---- whole or not at all


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="a new or empty folder expected, found files"):
        skeleton.new_study(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / "trial").mkdir()
    skeleton.new_study(tmp_path / "trial")
    assert sorted(path.name for path in (tmp_path / "trial").iterdir()) == [
        *(".gitignore", "bids", "optional", "trial.yml")
    ]


def test_a_disk_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(path, *args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(skeleton.Path, "write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        skeleton.new_study(tmp_path / "trial")
    assert list(tmp_path.iterdir()) == []


# ---- the page that leads through it

PAGE = PROJECT / "docs" / "your_own_trial.md"


def test_the_command_of_the_page_makes_the_tables_that_it_shows(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    (command,) = re.findall(r"^python -m analysis_lib (new-study ~/my_trial .*)$", text, re.M)
    arguments = command.replace("~/my_trial", str(tmp_path / "my_trial")).split()
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    bids = tmp_path / "my_trial" / "bids"
    for table in ("participants.tsv", "phenotype/madrs.tsv"):
        header = list(read(bids / table))
        assert f"| {' | '.join(header)} |" in text
    assert len(read(bids / "participants.tsv")) == 12


def test_links_of_the_page_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
