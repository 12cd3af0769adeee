"""Public trials and atlases: cache, hashes, failed downloads, the BIDS folders that are written."""

import functools
import gzip
import http.server
import json
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pooch
import pytest
from typer.testing import CliRunner

from analysis_lib.__main__ import app
from analysis_lib.atlas import files as atlas_files
from analysis_lib.atlas import parcellation
from analysis_lib.datasets import antidepressant, downloads, fetch, folders, sudmex
from analysis_lib.results import environment, problems
from analysis_lib.study import participants
from analysis_lib.study import scores as study_scores
from analysis_lib.study.contract import STUDIES, Imaging, Scale, Study, load_study

NAMES = ("antidepressant", "sudmex_tms")


@pytest.fixture
def trials(reference_data):
    """The real files; the folder is laid out as the cache is."""
    return reference_data / "data" / "trials"


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to connect fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    """No proxy for the local server, no cache of the user's, nothing bundled, no waiting."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(atlas_files, "BUNDLED", Path("none"))
    monkeypatch.delenv("COMPENDIUM_CACHE", raising=False)
    monkeypatch.setattr(downloads, "PAUSE", 0.001)


class Server(http.server.ThreadingHTTPServer):
    """Serves bytes by path; a path in ``broken`` is cut off that many times."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.broken, self.asked = files, {}, []

    @property
    def base(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.lstrip("/")
        self.server.asked.append(path)
        if path not in self.server.files:
            self.send_error(404)
            return
        body = self.server.files[path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.broken.get(path, 0) > 0
        self.server.broken[path] = self.server.broken.get(path, 0) - 1
        self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(trials):
    """A local server of the real files, at the addresses of their public homes."""
    files = {f.home: (trials / f.name).read_bytes() for name in NAMES for f in fetch.TRIALS[name]}
    with Server(files) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def templates(reference_data):
    """Content of SPM12's templates by public home: the files here are compressed copies."""
    folder = reference_data / "data"
    return {
        f.home: gzip.decompress((folder / f"{f.name}.gz").read_bytes())
        for f in atlas_files.TEMPLATES
    }


def files_below(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def first_file(name):
    return fetch.TRIALS[name][0]


# --- cache and downloads


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_downloaded_when_the_cache_holds_the_files(name, trials, tmp_path, no_network):
    got = fetch.fetch_study(name, tmp_path / name, cache=trials)
    assert got.is_new
    assert got.notes == ()
    assert (got.folder / "participants.tsv").is_file()


def test_cache_is_taken_from_the_environment(trials, tmp_path, no_network, monkeypatch):
    file = first_file("antidepressant")
    (tmp_path / "cache/antidepressant").mkdir(parents=True)
    shutil.copy(trials / file.name, tmp_path / "cache" / file.name)
    monkeypatch.setenv("COMPENDIUM_CACHE", str(tmp_path / "cache"))
    assert fetch.fetch_study("antidepressant", tmp_path / "study").is_new


def test_cache_is_the_systems_by_default():
    assert environment.cache_folder() == Path(pooch.os_cache("rtms-compendium")).resolve()


@pytest.mark.parametrize("name", NAMES)
def test_download_fills_the_cache_once(name, server, trials, tmp_path):
    homes = [file.home for file in fetch.TRIALS[name]]
    fetch.fetch_study(name, tmp_path / "a", cache=tmp_path / "cache", base=server.base)
    assert server.asked == homes
    for file in fetch.TRIALS[name]:
        assert (tmp_path / "cache" / file.name).read_bytes() == (trials / file.name).read_bytes()
    fetch.fetch_study(name, tmp_path / "b", cache=tmp_path / "cache", base=server.base)
    assert server.asked == homes


def test_only_the_missing_file_is_downloaded(server, trials, tmp_path):
    have, lack = fetch.TRIALS["sudmex_tms"]
    (tmp_path / "sudmex_tms").mkdir()
    shutil.copy(trials / have.name, tmp_path / have.name)
    fetch.fetch_files([have, lack], tmp_path, base=server.base)
    assert server.asked == [lack.home]


def test_wrong_file_from_the_server_is_refused_and_not_kept(server, tmp_path):
    file = first_file("sudmex_tms")
    server.files[file.home] = b"participant_id\tage\nsub-001\t18\n"
    with pytest.raises(problems.FetchError) as caught:
        fetch.fetch_study("sudmex_tms", tmp_path / "s", tmp_path / "cache", base=server.base)
    message = str(caught.value)
    assert "participants.tsv: " in message
    assert f"{server.base}/{file.home} does not serve the expected file" in message
    assert f"expected {file.sha256} but got" in message
    assert files_below(tmp_path) == []


def test_broken_connection_leaves_nothing_in_the_cache(server, tmp_path):
    file = first_file("antidepressant")
    server.broken[file.home] = 99
    with pytest.raises(problems.FetchError, match=r"antidepressant_data\.rda: download failed"):
        fetch.fetch_files([file], tmp_path, base=server.base, retries=1)
    assert server.asked == [file.home] * 2
    assert files_below(tmp_path) == []


def test_download_is_tried_again_after_a_broken_connection(server, tmp_path):
    file = first_file("antidepressant")
    server.broken[file.home] = 2
    (path,) = fetch.fetch_files([file], tmp_path, base=server.base, retries=2)
    assert pooch.file_hash(str(path)) == file.sha256
    assert len(server.asked) == 3


def test_file_that_is_gone_names_its_status(server, tmp_path):
    file = first_file("antidepressant")
    del server.files[file.home]
    with pytest.raises(problems.FetchError, match=r"download failed \(HTTP status 404\)"):
        fetch.fetch_files([file], tmp_path, base=server.base, retries=0)


def test_offline_message_says_what_to_put_where(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(problems.FetchError) as caught:
            fetch.fetch_study("sudmex_tms", tmp_path / "s", tmp_path / "c", base=base, retries=0)
    message = str(caught.value)
    assert "download failed (ConnectionError). Run again with a connection, or put" in message
    for file in fetch.TRIALS["sudmex_tms"]:
        assert f"{base}/{file.home}\n    to {tmp_path.resolve() / 'c' / file.name}" in message
        assert file.sha256 in message
    assert files_below(tmp_path) == []


def test_damaged_file_in_the_cache_is_named_and_left(trials, tmp_path, no_network):
    file = first_file("antidepressant")
    path = tmp_path / file.name
    path.parent.mkdir()
    path.write_bytes((trials / file.name).read_bytes()[:-1])
    before = path.read_bytes()
    with pytest.raises(problems.FetchError, match="damaged, or another file") as caught:
        fetch.fetch_study("antidepressant", tmp_path / "study", cache=tmp_path)
    assert str(path) in str(caught.value)
    assert f"sha256 {file.sha256} expected, found {pooch.file_hash(str(path))}" in str(caught.value)
    assert path.read_bytes() == before
    assert not (tmp_path / "study").exists()


def test_cache_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(problems.FetchError, match="cannot be written into the cache folder"):
        fetch.fetch_study("antidepressant", tmp_path / "s", tmp_path / "cache", base=server.base)


def test_unknown_trial_lists_the_known():
    with pytest.raises(
        problems.FetchError, match=r"no such public trial\. Known: antidepressant, "
    ):
        fetch.fetch_study("reisby")


# --- atlases


@pytest.fixture
def atlas_server(reference_data):
    """A local server of the real Schaefer-Tian atlas, and of small stand-ins for schaefer100."""
    (file,) = atlas_files.ATLASES["schaefer100_tian_s1"]
    image = nib.Nifti1Image(np.arange(101, dtype=np.int16).reshape(-1, 1, 1), np.eye(4))
    names = "".join(f"{i}\t7Networks_{'LR'[i > 50]}H_Vis_{i}\t1\t2\t3\t0\n" for i in range(1, 101))
    stem = f"{fetch._PARCELLATIONS}Schaefer2018_100Parcels_7Networks_order"
    files = {
        file.home: (reference_data / "data" / file.name).read_bytes(),
        f"{stem}_FSLMNI152_2mm.nii.gz": gzip.compress(image.to_bytes()),
        f"{stem}.txt": names.encode(),
    }
    with Server(files) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(("name", "n_files"), [("schaefer100_tian_s1", 1), ("schaefer100", 2)])
def test_atlas_is_downloaded_once_and_then_found_without_a_connection(
    name, n_files, atlas_server, tmp_path, monkeypatch
):
    paths = fetch.fetch_atlas(name, tmp_path, base=atlas_server.base)
    assert len(atlas_server.asked) == len(paths) == n_files
    assert fetch.fetch_atlas(name, tmp_path, base=atlas_server.base) == paths
    assert len(atlas_server.asked) == n_files
    assert atlas_files.cached_atlas(name, tmp_path) == paths
    monkeypatch.setenv("COMPENDIUM_CACHE", str(tmp_path))
    assert len(parcellation.load_atlas(name).table) == {1: 116, 2: 100}[n_files]


def test_another_file_than_the_atlas_is_refused_and_not_kept(atlas_server, tmp_path):
    (file,) = atlas_files.ATLASES["schaefer100_tian_s1"]
    atlas_server.files[file.home] = b"another"
    with pytest.raises(problems.FetchError, match="does not serve the expected file"):
        fetch.fetch_atlas("schaefer100_tian_s1", tmp_path, base=atlas_server.base)
    assert files_below(tmp_path) == []


def test_failed_download_through_nilearn_says_what_to_put_where(atlas_server, tmp_path):
    atlas_server.files.clear()
    with pytest.raises(problems.FetchError, match=r"schaefer100: download failed \(HTTPError") as e:
        fetch.fetch_atlas("schaefer100", tmp_path, base=atlas_server.base)
    name = "Schaefer2018_100Parcels_7Networks_order.txt"
    here = tmp_path.resolve() / "nilearn" / "schaefer_2018" / name
    assert f"{atlas_server.base}/{fetch._PARCELLATIONS}{name}\n    to {here}" in str(e.value)
    with pytest.raises(FileNotFoundError, match=r"fetch atlas schaefer100$"):
        atlas_files.cached_atlas("schaefer100", tmp_path)


def test_unknown_atlas_lists_the_known(tmp_path):
    for get in (fetch.fetch_atlas, atlas_files.cached_atlas):
        with pytest.raises(
            problems.FetchError, match=r"schaefer150: no such atlas .*, schaefer1000$"
        ):
            get("schaefer150", tmp_path)


def test_fetch_atlas_on_the_command_line(atlas_server, tmp_path, monkeypatch):
    monkeypatch.setenv("COMPENDIUM_CACHE", str(tmp_path))
    get = functools.partial(fetch.fetch_atlas, base=atlas_server.base)
    monkeypatch.setattr(fetch, "fetch_atlas", get)
    run = CliRunner().invoke(app, ["fetch", "atlas", "schaefer100_tian_s1", "atlas", "aal"])
    assert run.exit_code == 0
    assert "schaefer100_tian_s1: 116 regions, checked" in run.output
    assert "aal: 120 regions, checked" in run.output
    for words in (["fetch", "atlas"], ["fetch", "atlas", "receptors"], ["fetch", "schaefer100"]):
        refused = CliRunner().invoke(app, words)
        assert refused.exit_code == 2
        assert "expected, found" in refused.output


# --- the folder: whole or not at all


def test_folder_is_that_of_the_study_by_default(trials, tmp_path, monkeypatch):
    study = study_in(tmp_path, "sudmex_tms")
    monkeypatch.setattr(fetch, "load_study", lambda name: study)
    assert fetch.fetch_study("sudmex_tms", cache=trials).folder == tmp_path / "raw/sudmex_tms"


def test_same_folder_is_up_to_date_even_with_images(trials, tmp_path):
    folder = tmp_path / "study"
    fetch.fetch_study("sudmex_tms", folder, cache=trials)
    image = folder / "sub-001/ses-t0/anat/sub-001_ses-t0_T1w.nii.gz"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"came later")
    assert not fetch.fetch_study("sudmex_tms", folder, cache=trials).is_new
    assert image.read_bytes() == b"came later"


def test_changed_folder_is_never_overwritten(trials, tmp_path):
    folder = tmp_path / "study"
    fetch.fetch_study("sudmex_tms", folder, cache=trials)
    (folder / "phenotype/hdrs.tsv").write_text("mine")
    (folder / "README").unlink()
    before = files_below(folder)
    with pytest.raises(problems.FetchError, match=r"2 of its 59 files are missing or differ") as e:
        fetch.fetch_study("sudmex_tms", folder, cache=trials)
    assert "README, phenotype/hdrs.tsv. Nothing was changed" in str(e.value)
    assert (folder / "phenotype/hdrs.tsv").read_text() == "mine"
    assert files_below(folder) == before


def test_interrupted_write_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match=r"study.a"):
        folders.write_folder(tmp_path / "study", {"a": "text", "a/b": "a is no folder"})
    assert list(tmp_path.iterdir()) == []


# --- the content


def study_in(folder, name):
    """The study, with data/studies and data/raw below another folder."""
    (folder / "studies").mkdir()
    shutil.copy(STUDIES / f"{name}.yml", folder / "studies")
    return load_study(folder / "studies" / f"{name}.yml")


@pytest.fixture
def written(trials, tmp_path):
    """Write a trial's folder and load its study."""

    def write(name):
        study = study_in(tmp_path, name)
        fetch.fetch_study(name, study.root, cache=trials)
        return study

    return write


def means(study, file, arm):
    """Mean and number of scores by arm and session, from the BIDS tables alone."""
    people = pd.read_csv(study.root / "participants.tsv", sep="\t", dtype=str)
    scores = pd.read_csv(study.root / file, sep="\t")
    table = scores.merge(people, on="participant_id", validate="many_to_one")
    return table.groupby([arm, "session_id"])["total"].agg(["mean", "count"])


@pytest.mark.parametrize(
    ("file", "column"), [("phenotype/hamd17.tsv", "HAMDTL17"), ("phenotype/hama.tsv", "HAMATOTL")]
)
def test_antidepressant_means_agree_with_the_raw_file(written, trials, file, column):
    raw = pd.read_csv(trials / "antidepressant/antidepressant_data.csv")
    raw["session_id"] = (
        raw["RELDAYS"]
        .groupby(raw["VISIT"])
        .transform("median")
        .map({7: "ses-week1", 14: "ses-week2", 28: "ses-week4", 42: "ses-week6"})
    )
    expected = raw.groupby(["THERAPY", "session_id"])[column].agg(["mean", "count"])
    found = means(written("antidepressant"), file, "therapy")
    later = found.drop("ses-baseline", level="session_id", errors="ignore")
    pd.testing.assert_frame_equal(later, expected, check_names=False)


def test_antidepressant_baseline_agrees_with_the_raw_file(written, trials):
    raw = pd.read_csv(trials / "antidepressant/antidepressant_data.csv")
    raw["implied"] = raw["HAMDTL17"] - raw["CHANGE"]
    one = raw.groupby(["THERAPY", "PATIENT"])["implied"].agg(["min", "max"])
    assert (one["min"] == one["max"]).all()
    found = means(written("antidepressant"), "phenotype/hamd17.tsv", "therapy")["mean"]
    for arm, expected in one["min"].groupby("THERAPY").mean().items():
        assert found[arm, "ses-baseline"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("file", "column"), [("phenotype/hdrs.tsv", "hdrs_tot"), ("phenotype/hars.tsv", "hars_tot")]
)
def test_sudmex_means_agree_with_the_raw_file(written, trials, file, column):
    raw = pd.read_csv(trials / "sudmex_tms/data2w.csv")
    expected = raw.groupby(["group", "stage"])[column].agg(["mean", "count"])
    expected.index = expected.index.map(
        lambda key: ({"ACTIVE": "2", "SHAM": "1"}[key[0]], f"ses-{key[1].lower()}")
    )
    found = means(written("sudmex_tms"), file, "group")
    pd.testing.assert_frame_equal(found.sort_index(), expected.sort_index(), check_names=False)


def test_antidepressant_as_the_notebooks_read_it(written):
    study = written("antidepressant")
    assert study_scores.problems(study) == []
    people = participants.read_participants(study)
    assert people["arm"].value_counts().to_dict() == {"active": 84, "control": 88}
    # the numbers who stopped the drug, as the R package's documentation gives them
    stopped = people["withdrawn_after"].notna().groupby(people["arm"]).sum()
    assert stopped.to_dict() == {"active": 20, "control": 23}
    scores = study_scores.read_ratings(study, people)
    hama = scores[scores["scale"] == "HAMA"]
    assert "baseline" not in set(hama["visit"])
    assert len(hama) == 608
    assert len(scores[scores["scale"] == "HAMD-17"]) == 608 + 172


def test_sudmex_as_the_notebooks_read_it(written):
    study = written("sudmex_tms")
    assert study_scores.problems(study) == []
    people = participants.read_participants(study)
    assert len(people) == 50
    assert people["arm"].value_counts().to_dict() == {"active": 27, "control": 23}
    assert people["excluded"].isna().all()
    scores = study_scores.read_ratings(study, people).query("visit == 't0'")
    rated = scores.dropna(subset=["score"]).groupby(["scale", "arm"]).size()
    assert rated.to_dict() == {
        (scale, arm): n
        for scale in ("HDRS", "HARS")
        for arm, n in (("active", 24), ("control", 20))
    }
    assert set(people["sex"]) == {"F", "M"}
    raw = pd.read_csv(study.root / "participants.tsv", sep="\t")
    assert raw.groupby(["group", "exclusion"]).size().to_dict() == {
        (1, 0): 20,
        (1, 1): 3,
        (2, 0): 24,
        (2, 1): 3,
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_column_is_described(written, name):
    root = written(name).root
    tables = [root / "participants.tsv", *root.glob("phenotype/*.tsv")]
    assert len(tables) == 3
    for table in tables:
        described = json.loads(table.with_suffix(".json").read_text())
        columns = list(pd.read_csv(table, sep="\t"))
        assert columns == list(described)
        assert all(entry["Description"] for entry in described.values())
    assert "cite" in (root / "README").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_folder_is_valid_bids(written, name):
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.is_file():
        pytest.skip("bids-validator-deno is not installed")
    config = STUDIES.parent / "bids_validator_config.json"
    command = [validator, "--config", config, "--format", "json", written(name).root]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(run.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert run.returncode == 0


# --- templates


def test_templates_are_downloaded_once(server, templates, tmp_path):
    server.files |= templates
    paths = fetch.fetch_templates(tmp_path, base=server.base)
    assert server.asked == list(templates)
    assert [path.read_bytes() for path in paths] == list(templates.values())
    assert [nib.load(path).shape for path in paths] == [(91, 109, 91), (121, 145, 121)]
    assert fetch.fetch_templates(tmp_path, base=server.base) == paths
    assert server.asked == list(templates)
    assert atlas_files.cached_templates(tmp_path) == paths


def test_another_file_in_place_of_a_template_is_refused(server, templates, tmp_path):
    first, second = atlas_files.TEMPLATES
    server.files |= templates | {second.home: templates[first.home]}
    with pytest.raises(
        problems.FetchError, match=r"mask_ICV\.nii: .* does not serve the expected file"
    ):
        fetch.fetch_templates(tmp_path, base=server.base)
    assert files_below(tmp_path) == [tmp_path.resolve() / first.name]


def test_templates_that_are_not_cached_name_the_command(templates, tmp_path, no_network):
    first = atlas_files.TEMPLATES[0]
    (tmp_path / "templates").mkdir()
    (tmp_path / first.name).write_bytes(templates[first.home])
    with pytest.raises(FileNotFoundError) as caught:
        atlas_files.cached_templates(tmp_path)
    assert "mask_ICV.nii is not in the cache, and a run downloads nothing" in str(caught.value)
    assert str(caught.value).endswith("Get it: python -m analysis_lib fetch templates")
    (tmp_path / first.name).write_bytes(b"damaged")
    with pytest.raises(problems.FetchError, match=r"avg152T1\.nii: damaged, or another file"):
        atlas_files.cached_templates(tmp_path)


def test_command_says_how_many_templates_there_are(templates, tmp_path, no_network, monkeypatch):
    monkeypatch.setenv("COMPENDIUM_CACHE", str(tmp_path))
    for file in atlas_files.TEMPLATES:
        (tmp_path / file.name).parent.mkdir(exist_ok=True)
        (tmp_path / file.name).write_bytes(templates[file.home])
    done = CliRunner().invoke(app, ["fetch", "templates"])
    assert done.exit_code == 0
    assert done.output == "templates: 2 files in the cache, checked\n"


# --- what the sources may not say


def visits_table():
    rows = [
        (patient, arm, sex, visit, days, 20.0, 20.0 - days / 7)
        for patient, arm, sex in (("1", "DRUG", "F"), ("2", "PLACEBO", "M"))
        for visit, days in (("4", 7.0), ("5", 14.0), ("6", 28.0), ("7", 42.0))
    ]
    columns = ["PATIENT", "THERAPY", "GENDER", "VISIT", "RELDAYS", "BASVAL", "HAMDTL17"]
    table = pd.DataFrame(rows, columns=columns).assign(POOLINV="006", HAMATOTL=9.0)
    return table.assign(CHANGE=table["HAMDTL17"] - table["BASVAL"])


def test_withdrawal_and_a_missed_visit_are_told_apart():
    content = antidepressant.antidepressant_dataset(visits_table().drop(index=[1, 6, 7]))
    people = content["participants.tsv"].splitlines()
    assert people[1:] == ["sub-1\tDRUG\tF\t006\tn/a", "sub-2\tPLACEBO\tM\t006\tweek2"]
    assert content["sub-1/sub-1_sessions.tsv"].splitlines()[1:] == [
        "ses-baseline\t0",
        "ses-week1\t7",
        "ses-week4\t28",
        "ses-week6\t42",
    ]


def test_the_antidepressant_trial_is_what_its_converter_assumes(trials):
    table = antidepressant.read_rda(
        trials / "antidepressant/antidepressant_data.rda", "antidepressant_data"
    )
    assert (table["CHANGE"] == table["HAMDTL17"] - table["BASVAL"]).all()
    assert not table.duplicated(["PATIENT", "VISIT"]).any()
    of_patient = ["THERAPY", "GENDER", "POOLINV", "BASVAL"]
    assert table.groupby("PATIENT", observed=True)[of_patient].nunique().eq(1).all(axis=None)
    days = table.groupby(table["VISIT"].astype(str))["RELDAYS"].median()
    assert days.to_dict() == {"4": 7, "5": 14, "6": 28, "7": 42}
    assert (table.groupby("PATIENT", observed=True)["RELDAYS"].diff().dropna() > 0).all()


def test_the_files_of_sudmex_agree_on_arms_and_visits(trials):
    people = pd.read_csv(trials / "sudmex_tms/participants.tsv", sep="\t")
    scores = pd.read_csv(trials / "sudmex_tms/data2w.csv")
    kept = people[people["exclusion"] == 0].set_index("participant_id")
    who = "sub-" + scores["rid"].astype(str).str.zfill(3)
    assert set(who) == set(kept.index)
    assert (who.map(kept["group"]).map({1: "SHAM", 2: "ACTIVE"}) == scores["group"]).all()
    assert scores.sort_values("stage").groupby("rid")["stage"].agg(" ".join).eq("T0 T1").all()


def sudmex_tables():
    people = pd.DataFrame(
        {
            "participant_id": ["sub-001", "sub-002", "sub-005"],
            "age": [18, 44, 37],
            "sex": [1, 2, 1],
            "group": [1, 2, 1],
            "educ": [9.0, 12.0, 16.5],
            "exclusion": [0, 0, 1],
        }
    )
    scores = pd.DataFrame(
        {
            "rid": [1, 1, 2, 2],
            "group": ["SHAM", "SHAM", "ACTIVE", "ACTIVE"],
            "stage": ["T0", "T1", "T0", "T1"],
            "sex": ["M", "M", "F", "F"],
            "age": [18, 18, 44, 44],
            "hdrs_tot": [6, 3, 12, 7],
            "hars_tot": [26, 26, 26, 17],
        }
    )
    return people, scores


def test_age_and_sex_that_disagree_are_reported_not_repaired():
    people, scores = sudmex_tables()
    scores.loc[3, "age"] = 45
    scores.loc[0, "sex"] = "F"
    content, notes = sudmex.sudmex_dataset(people, scores)
    assert notes == [
        "sub-002: age is 44 in participants.tsv (kept), 45 in data2w.csv at T1",
        "sub-001: sex is M in participants.tsv (kept), F in data2w.csv at T0",
    ]
    assert all(note in content["README"] for note in notes)
    assert content["participants.tsv"].splitlines()[1:] == [
        "sub-001\t18\tM\t1\t9\t0",
        "sub-002\t44\tF\t2\t12\t0",
        "sub-005\t37\tM\t1\t16.5\t1",
    ]


# --- data/README.md


def test_readme_names_every_source_with_its_hash(reference_data):
    from analysis_lib.receptors import densities
    from analysis_lib.study import catalogue

    text = (STUDIES.parent / "README.md").read_text()
    for file in (file for name in NAMES for file in fetch.TRIALS[name]):
        assert f"`{file.name}`" in text
        assert file.home.split("/")[2] in text
        assert file.sha256 in text
    for file in atlas_files.TEMPLATES:
        assert f"| `{file.name}` |" in text
        assert file.home.split("/")[2] in text
        assert file.sha256 in text
    (file,) = atlas_files.ATLASES["schaefer100_tian_s1"]
    assert file.sha256 in text
    assert file.home.split("/")[2] in text
    rows = {line.split(" | ")[1]: line for line in text.splitlines() if line.count(" | ") == 8}
    library = catalogue.library()
    assert set(library.index) <= set(rows)
    at_hand = {
        name: catalogue.locate(name, reference_data / "data" / "neuromaps")
        for name in library.index[library["default"]]
    }
    for annotation, about in library.iterrows():
        said = f"| {about.receptor} | {annotation} | {about.tracer} | {about.n_subjects} |"
        assert rows[annotation].startswith(said)
        if annotation in at_hand:
            hash_ = pooch.file_hash(str(at_hand[annotation]))
            licence = about.licence.replace("CC BY-NC-SA 4.0 (neuromaps)", "neuromaps")
            assert rows[annotation].endswith(f"| {licence} | {about.reference} | {hash_} |")
        else:
            told = about[["age", "res", "reference", "licence", "md5"]]
            assert rows[annotation] == f"{said} {' | '.join(told)} |"
    facts = densities.means_and_facts(at_hand, "neuromorphometrics", [57], "drop")[1]
    for annotation, (shape, voxel) in facts[["shape", "voxel_mm"]].iterrows():
        assert f"| {shape}, {voxel} |" in rows[annotation]


def test_readme_explains_every_key_of_a_study_file():
    text = (STUDIES.parent / "README.md").read_text()
    for name in (*Study.model_fields, *Scale.model_fields, *Imaging.model_fields):
        assert f"| `{name}` |" in text
