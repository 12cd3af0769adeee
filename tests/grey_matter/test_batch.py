"""The batch of notebook 00: what is processed, kept, written and reported.

A stand-in takes the place of ANTs: see without_ants.py.
"""

import gzip
import json
import runpy
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pytest
from conftest import image_lines
from joblib import parallel_config
from nilearn.image import resample_img
from without_ants import AFFINE, SHAPE, Settings, stand_in, template

from analysis_lib.figures import catalogue
from analysis_lib.figures.segmentation import segmentation_picture
from analysis_lib.grey_matter import batch as grey_matter_batch
from analysis_lib.grey_matter import map_quality, writing
from analysis_lib.results import columns, reading, times
from analysis_lib.results.environment import PROJECT
from analysis_lib.results.problems import StudyError
from analysis_lib.study import head_size, images, participants, pseudonyms

VISITS = ("baseline", "week2")
PEOPLE = ("sub-01", "sub-02", "sub-03", "sub-04")


METHOD = grey_matter_batch.Method(
    stand_in, segmentation_picture, Settings(), None, "code", "MNI152NLin2009aSym", 300.0
)


def write_t1w(root, who, visit, ml):
    image = nib.Nifti1Image(np.full((3, 3, 3), ml, "i2"), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    path = root / who / f"ses-{visit}" / "anat" / f"{who}_ses-{visit}_T1w.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    return path


class Trial:
    """The tiny trial with T1w images of four participants."""

    def __init__(self, tiny):
        self.tiny = tiny
        tiny.participants = tiny.participants.iloc[:4]
        tiny.scales = {name: table.iloc[:12] for name, table in tiny.scales.items()}
        tiny.content["imaging"] = {"sessions": dict(zip(("pre", "post"), VISITS, strict=True))}
        self.root = tiny.folder / "bids"
        for i, who in enumerate(PEOPLE):
            for k, visit in enumerate(VISITS):
                write_t1w(self.root, who, visit, 600 + 10 * i + 6 * k)

    @property
    def study(self):
        return self.tiny.write()

    def pairs(self):
        study = self.study
        return grey_matter_batch.scans(study, participants.read_participants(study))

    def plan(self, method=METHOD):
        return grey_matter_batch.plan(self.study, self.pairs(), method)

    def run(self, method=METHOD, **options):
        grey_matter_batch.run(self.plan(method), **options)


@pytest.fixture
def plain(tiny, tmp_path, monkeypatch):
    """The trial; pictures are empty files, since drawing takes most of the time."""
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "out"))
    monkeypatch.setattr(writing, "_draw", lambda path, *rest: path.write_bytes(b""))
    return Trial(tiny)


def below(folder):
    return {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


def waiting(batch):
    return [job.participant_id for job in batch.waiting]


# --- what is processed


def test_participants_come_without_their_arm(plain):
    pairs = plain.pairs()
    assert list(pairs) == ["participant_id", "pre", "post", "status"]
    assert list(pairs["participant_id"]) == list(PEOPLE)
    assert pairs["post"].iloc[1].name == "sub-02_ses-week2_T1w.nii.gz"
    assert waiting(plain.plan()) == list(PEOPLE)


def test_one_session_needs_a_reason(plain):
    for who in ("sub-02", "sub-03"):
        write_t1w(plain.root, who, "week2", 0).unlink()
    with pytest.raises(StudyError) as caught:
        plain.pairs()
    assert len(caught.value.problems) == 2
    assert str(caught.value).startswith(
        "sub-02: T1w images of ses-baseline and ses-week2 expected, found ses-baseline only"
    )
    assert "otherwise add the T1w image (sub-*/ses-*/anat/*_T1w.nii*)" in str(caught.value)
    plain.tiny.participants.loc[[1, 2], "withdrawn_after"] = "baseline"
    plain.run()
    assert len(plain.study.grey_matter_maps()) == 6
    quality = map_quality.quality(plain.study, plain.pairs())
    assert list(quality["session"]) == ["pre", "post", "pre", "pre", "pre", "post"]


def test_excluded_participants_are_not_processed(plain):
    plain.tiny.content["exclude"] = {"sex": "M"}
    assert waiting(plain.plan()) == ["sub-01", "sub-02"]


def test_study_without_images_is_told_where_they_were_looked_for(plain):
    plain.tiny.content["imaging"]["t1w"] = "sub-*/ses-*/anat/*_T2w.nii"
    with pytest.raises(StudyError, match=r"T1w images expected at sub-\*/.*_T2w.nii in .*found"):
        plain.pairs()


def test_summary_says_what_memory_is_needed(plain):
    batch = plain.plan()
    text = batch.summary(n_jobs=2)
    assert "4 participants to process, 0 done already" in text
    assert "about 300 MB each, 2 at a time: 600 MB of " in text
    assert "too little" not in text
    huge = replace(batch, method=replace(METHOD, memory_mb=1e9))
    assert "too little: choose fewer n_jobs" in huge.summary(2)


# --- what is written


def test_layout_and_content(plain):
    plain.run()
    study = plain.study
    stem = "sub-01/ses-week2/anat/sub-01_ses-week2_space-MNI152NLin2009aSym_label-GM_desc-"
    files = below(study.made_maps)
    assert len(files) == 3 * 8 + 3
    assert {".bidsignore", "README", "dataset_description.json"} <= set(files)
    assert "figures/sub-01_ses-week2.png" in files
    image = nib.load(files[f"{stem}modulated_probseg.nii.gz"])
    assert image.get_data_dtype() == np.float32
    assert np.allclose(image.get_fdata(), template() * 606 / 600)
    assert (int(image.header["sform_code"]), image.header.get_xyzt_units()[0]) == (4, "mm")
    about = json.loads(files[f"{stem}modulated_probseg.json"].read_text())
    assert (about["TIV_ml"], about["GM_ml"], about["WM_ml"], about["CSF_ml"]) == (
        *(1500, 606, 500, 300),
    )
    assert about["Settings"] == {"working_mm": 2.0, "output_mm": 12.0}
    assert about["Seconds"] == {"all": 0.1}
    assert about["PackageVersions"]["nibabel"] == nib.__version__
    assert about["Sources"] == [
        f"bids:raw:sub-01/ses-{visit}/anat/sub-01_ses-{visit}_T1w.nii.gz" for visit in VISITS
    ]
    text = "".join(p.read_text() for name, p in files.items() if name.endswith("json"))
    assert str(plain.root) not in text


def test_maps_are_read_by_the_notebooks_that_follow(plain):
    plain.run()
    study = plain.study
    people = participants.read_participants(study)
    maps = images.find_maps(study, people)
    assert list(maps["path"]) == study.grey_matter_maps()
    assert set(images.pair_maps(study, people, maps)["status"]) == {"analysed"}
    tiv = head_size.total_intracranial_volume(study, people, maps)
    assert tiv.to_dict() == dict.fromkeys(PEOPLE, 1500)
    assert image_lines(study) == []


def test_maps_that_the_study_brings_come_first(plain):
    plain.run()
    glob = "derivatives/vbm/*.nii.gz"
    plain.tiny.content["imaging"]["grey_matter"] = glob
    assert len(plain.study.grey_matter_maps()) == 8  # the pattern matches nothing
    own = plain.root / "derivatives/vbm/sub-01_ses-week2_desc-modulated.nii.gz"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"")
    assert plain.study.grey_matter_maps() == plain.study.own_maps() == [own]


def test_maps_of_several_settings_are_not_mixed(plain):
    plain.run()
    other = replace(METHOD, settings=Settings(working_mm=1))
    job = plain.plan(other).waiting[0]
    assert grey_matter_batch._make(job, other)[1] is None
    (found,) = image_lines(plain.study)
    assert "the same settings expected, found 6 with working_mm 2.0; 2 with working_mm 1." in found
    assert "run_all.py --only 00" in found


# --- what is kept


def test_nothing_is_done_twice(plain):
    plain.run()
    before = {name: p.stat().st_mtime_ns for name, p in below(plain.study.made_maps).items()}
    assert waiting(plain.plan()) == []
    assert "0 participants to process, 4 done already" in plain.plan().summary(2)
    plain.run()
    after = {name: p.stat().st_mtime_ns for name, p in below(plain.study.made_maps).items()}
    about = {"README", ".bidsignore", "dataset_description.json"}
    assert {name for name in before if before[name] != after[name]} <= about


def _new_image(plain):
    write_t1w(plain.root, "sub-02", "week2", 640)


def _no_picture(plain):
    (plain.study.made_maps / "figures/sub-02_ses-baseline.png").unlink()


def _damaged_map(plain):
    path = plain.study.grey_matter_maps()[2]
    path.write_bytes(path.read_bytes()[:-9])


def _no_sidecar(plain):
    path = plain.study.grey_matter_maps()[3]
    path.with_suffix("").with_suffix(".json").unlink()


@pytest.mark.parametrize("change", [_new_image, _no_picture, _damaged_map, _no_sidecar])
def test_only_whom_it_concerns_is_processed_again(plain, change):
    plain.run()
    change(plain)
    assert waiting(plain.plan()) == ["sub-02"]
    plain.run()
    assert waiting(plain.plan()) == []
    assert len(below(plain.study.made_maps)) == 27


@pytest.mark.parametrize(
    "method", [replace(METHOD, code="other"), replace(METHOD, settings=Settings(output_mm=6))]
)
def test_other_code_or_settings_process_everybody_again(plain, method):
    plain.run()
    assert waiting(plain.plan(method)) == list(PEOPLE)


def test_a_withdrawn_second_image_takes_its_map_with_it(plain):
    plain.run()
    write_t1w(plain.root, "sub-04", "week2", 0).unlink()
    plain.tiny.participants.loc[3, "withdrawn_after"] = "week1"
    plain.run()
    names = [name for name in below(plain.study.made_maps) if "sub-04" in name]
    assert len(names) == 3
    assert not any("week2" in name for name in names)


def test_a_participant_appears_whole_or_not_at_all(plain, monkeypatch):
    def full_disk(path, *rest):
        if "sub-03_ses-week2" in path.name:
            raise OSError("no space left on device")
        path.write_bytes(b"")

    monkeypatch.setattr(writing, "_draw", full_disk)
    with pytest.raises(StudyError, match=r"sub-03: OSError: no space left on device"):
        plain.run()
    folder = plain.study.made_maps
    assert not any("sub-03" in name for name in below(folder))
    assert len(plain.study.grey_matter_maps()) == 6


def test_half_written_images_are_not_taken(plain):
    path = write_t1w(plain.root, "sub-01", "week2", 606)
    path.with_name(f".{path.name}.part").write_bytes(b"")
    path.with_name(f"{path.name}.part").write_bytes(b"")
    assert len(plain.study.t1w_images()) == 8


# --- failures


def test_one_failure_stops_nobody_else(plain):
    write_t1w(plain.root, "sub-01", "week2", 666)
    write_t1w(plain.root, "sub-03", "baseline", 666)
    with pytest.raises(StudyError) as caught:
        plain.run()
    first, *causes = list(map(str, caught.value.problems))
    assert first.startswith("2 of 4 participants failed, 2 are in place. Mend or exclude them")
    assert causes == [
        f"{who}: ValueError: an image with a brain expected, found none"
        for who in ("sub-01", "sub-03")
    ]
    assert waiting(plain.plan()) == ["sub-01", "sub-03"]
    write_t1w(plain.root, "sub-01", "week2", 620)
    with pytest.raises(StudyError, match=r"1 of 4 participants failed, 3 are in place"):
        plain.run()


def test_a_failure_leaves_the_earlier_result_in_place(plain):
    plain.run()
    before = plain.study.grey_matter_maps()[0].read_bytes()
    write_t1w(plain.root, "sub-01", "week2", 666)
    with pytest.raises(StudyError, match="1 of 4"):
        plain.run()
    assert plain.study.grey_matter_maps()[0].read_bytes() == before


def test_processes_give_the_same_files_and_a_dead_one_is_named(tiny, tmp_path, monkeypatch):
    """Real worker processes; the picture is a part of what they do."""
    trial = Trial(tiny)
    for who in PEOPLE[2:]:
        shutil.rmtree(trial.root / who)
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "one"))
    trial.run()
    one = below(trial.study.made_maps)
    plt.close("all")
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "two"))
    write_t1w(trial.root, "sub-02", "week2", 667)
    with pytest.raises(StudyError) as caught:
        trial.run(n_jobs=2)
    assert [text.partition(":")[0] for text in list(map(str, caught.value.problems))[1:]] == [
        "sub-02"
    ]
    assert "ended without a word, most often for want of memory" in str(caught.value)
    two = below(trial.study.made_maps)
    assert set(one) - set(two) == {name for name in one if "sub-02" in name}
    for name in two:
        if name.endswith((".nii.gz", ".png")):
            assert two[name].read_bytes() == one[name].read_bytes(), name
    assert one["figures/sub-01_ses-week2.png"].stat().st_size > 20_000


def test_the_callers_backend_is_used(plain):
    with parallel_config(backend="threading", n_jobs=2):
        plain.run(n_jobs=None)
    assert waiting(plain.plan()) == []


# --- progress


def test_progress_counts_and_estimates(plain, monkeypatch):
    clock = iter(range(0, 10_000, 30))
    monkeypatch.setattr(
        grey_matter_batch, "_attempts", lambda batch, n: ((who, None, 60.0) for who in PEOPLE)
    )
    monkeypatch.setattr(grey_matter_batch.time, "perf_counter", lambda: next(clock))
    told, line = [], grey_matter_batch.progress_file(plain.study)

    def progress(step):
        told.append((str(step), line.is_file() and line.read_text()))

    plain.run(n_jobs=2, progress=progress)  # two at once: 120 s in all, one done every 30 s
    assert [text for text, _ in told] == [
        "1 of 4: sub-01 done; about 2 min left",
        "2 of 4: sub-02 done; about 60 s left",
        "3 of 4: sub-03 done; about 30 s left",
        "4 of 4: sub-04 done",
    ]
    assert told[1][1] == "2 of 4: sub-02 done; about 60 s left\n"
    assert not line.exists()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "1 h 0 min")]
)
def test_times_in_words(seconds, text):
    assert times.duration(seconds) == text


# --- quality


def test_quality_has_volumes_change_and_no_arm(plain):
    plain.run()
    table = map_quality.quality(plain.study, plain.pairs())
    assert "arm" not in table
    assert set(table) <= set(columns.registry())
    assert list(table["participant_id"]) == [who for who in PEOPLE for _ in VISITS]
    first, second = table.iloc[0], table.iloc[1]
    assert first["grey_share"] == pytest.approx(600 / 1500)
    assert np.isnan(first["grey_change"])
    assert second["grey_change"] == pytest.approx(1)
    assert second["tiv_ml"] == 1500
    assert table["outlier_score"].max() < 3


def test_outliers_have_a_high_score_of_the_measure_and_are_kept(plain):
    write_t1w(plain.root, "sub-04", "week2", 900)
    plain.run()
    table = map_quality.quality(plain.study, plain.pairs())
    assert len(table) == 8
    (odd,) = table[table["outlier_score"] > 3].itertuples()
    assert (odd.participant_id, odd.session, odd.furthest) == ("sub-04", "post", "grey_change")
    assert odd.grey_change == pytest.approx(42.9, abs=0.05)
    post = table[table["session"] == "post"]["grey_change"]
    mad = np.median(np.abs(post - post.median()))
    expected = (post.iloc[3] - post.median()) / (1.4826 * mad)
    assert table["outlier_score"].iloc[7] == pytest.approx(expected)


def test_likeness_to_the_template_falls_with_misplacement(tmp_path):
    grid = {"target_affine": AFFINE, "target_shape": SHAPE, "interpolation": "linear"}
    whole = map_quality.load_mni152_gm_template(resolution=1)
    grey = resample_img(whole, force_resample=True, copy_header=True, **grid).get_fdata()
    paths = []
    for k, data in enumerate((grey, 0.7 * grey, np.roll(grey, 1, 2), np.roll(grey, 3, 2))):
        paths.append(tmp_path / f"{k}.nii.gz")
        nib.save(nib.Nifti1Image(data.astype("f4"), AFFINE), paths[-1])
    same, less, near, far = map_quality.template_correlations(paths)
    assert same == pytest.approx(1, abs=1e-5)
    assert less == pytest.approx(1, abs=1e-5)  # how much is the volumes' affair
    assert same > near > far


def test_quality_without_all_maps_is_refused(plain):
    with pytest.raises(StudyError, match=r"a map of each T1w image expected in .*sub-01 ses-base"):
        map_quality.quality(plain.study, plain.pairs())


# --- the notebook, from images to a valid dataset


def run_notebook(plain, monkeypatch):
    """Run notebook 00 on the trial, with a stand-in for ANTs."""
    plain.tiny.write()
    process, settings = (
        types.ModuleType(f"analysis_lib.grey_matter.{name}") for name in ("process", "settings")
    )
    process.process = stand_in
    settings.SPACE, settings.Settings = METHOD.space, Settings
    settings.memory_mb = lambda settings: 300.0
    settings.load_templates = lambda settings, cache=None: None
    for module in (process, settings):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    script = (PROJECT / "notebooks/percent/00_grey_matter.py").read_text()
    script = script.replace('"sudmex_tms"', repr(str(plain.tiny.folder / "tiny.yml")))
    script = script.replace("n_jobs: int = 2", "n_jobs: int = 1")
    script = script.replace("display(Image(", "print((")  # the pictures are empty here
    (plain.tiny.folder / "notebook.py").write_text(script)
    runpy.run_path(str(plain.tiny.folder / "notebook.py"))
    plt.close("all")


def test_notebook_00_on_a_protected_study_shows_no_participant(plain, monkeypatch, capsys):
    plain.tiny.content.pop("public")
    write_t1w(plain.root, "sub-04", "week2", 900)  # an outlier, whom figures would name
    shown, drawn, make = [], [], catalogue._panel
    monkeypatch.setattr("IPython.display.display", lambda *parts: shown.extend(parts))
    monkeypatch.setattr(
        catalogue, "_panel", lambda *given, **look: drawn.append(given) or make(*given, **look)
    )
    run_notebook(plain, monkeypatch)
    names = pseudonyms.read_key(plain.study)
    text = capsys.readouterr().out + " ".join(str(getattr(part, "data", part)) for part in shown)
    assert "4 of 4 done" in text
    assert not [name for pair in names.items() for name in pair if name in text]
    assert drawn[0][2]["quality"]["image"].tolist() == ["pre", "post"] * 4
    out = plain.study.place.output
    apart = [p.relative_to(out).parts[3] for p in below(out).values()]
    assert set(apart) == {"private"}


def test_notebook_00_writes_a_valid_dataset(plain, monkeypatch, capsys):
    run_notebook(plain, monkeypatch)
    printed = capsys.readouterr().out
    assert "4 participants with images at baseline and week2" in printed
    assert "4 of 4: sub-04 done" in printed
    assert "grey_matter/quality.tsv" in printed
    table = reading.read_table(plain.study.made_maps / "quality.tsv")
    described = reading.read_json(plain.study.made_maps / "quality.json")
    assert list(table) == list(described)
    assert len(plain.study.grey_matter_maps()) == 8  # not wiped by the table
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.is_file():
        pytest.skip("bids-validator-deno is not installed")
    config = PROJECT / "data" / "bids_validator_config.json"
    command = [validator, "--config", config, "--format", "json", plain.study.made_maps]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(run.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert run.returncode == 0
