"""The gallery of public trials: what is bundled, and every score where its source has it."""

import http.server
import threading
from functools import partial

import pandas as pd
import pooch
import pytest

from analysis_lib.atlas import files
from analysis_lib.datasets import downloads, fetch
from analysis_lib.results.environment import PROJECT
from analysis_lib.study.contract import load_study

AT_HAND = ["antidepressant", "argyelan_ect", "argyelan_rtms"]


def table(folder, name):
    return pd.read_csv(folder / name, sep="\t")


def wide(folder, scale, visits):
    """Scores, participants by visits."""
    rows = table(folder, f"phenotype/{scale}.tsv")
    return rows.pivot(index="participant_id", columns="session_id", values="total")[visits]


@pytest.fixture
def written(tmp_path):
    """Write a trial's folder from what the repository holds, or from the real files."""

    def write(name, cache=None):
        return fetch.fetch_study(
            name, tmp_path / name, cache or tmp_path / "empty", base="x:"
        ).folder

    return write


@pytest.fixture
def trials(reference_data):
    return reference_data / "data" / "trials"


def test_three_trials_are_at_hand_and_each_folder_has_its_licence():
    assert [name for name in fetch.TRIALS if fetch.is_at_hand(name)] == AT_HAND
    for name in [*AT_HAND, "enigma_mdd"]:
        assert list((files.BUNDLED / name).glob("LICENSE*"))


def test_bundled_files_are_the_published_ones():
    for file in [one for name in AT_HAND for one in fetch.TRIALS[name]]:
        assert pooch.file_hash(str(files.place(file))) == file.sha256
    (atlas,) = files.ATLASES["dkt31_aseg"]
    assert files.is_bundled(atlas)
    assert pooch.file_hash(str(files.place(atlas))) == atlas.sha256


@pytest.mark.parametrize("name", sorted(fetch.TRIALS))
def test_each_trial_has_a_study_file_and_a_section_of_the_data_page(name):
    study = load_study(name)
    assert study.name == name
    assert study.public
    assert f"\n### {name}\n" in (PROJECT / "data" / "README.md").read_text(encoding="utf-8")


def test_sites_and_scores_of_the_rtms_series_are_those_of_the_source(written):
    folder, source = written("argyelan_rtms"), files.BUNDLED / "argyelan_rtms"
    scores = pd.read_csv(source / "MADRS_hash.csv")
    order = scores["id_hash"].drop_duplicates().tolist()
    visits = ["Baseline", *(f"Week {k}" for k in range(1, 6))]
    expected = scores.pivot(index="id_hash", columns="event", values="madrs").loc[order, visits]
    found = wide(folder, "madrs", ["ses-baseline", *(f"ses-week{k}" for k in range(1, 6))])
    assert list(found.index) == [f"sub-{k:02d}" for k in range(1, 42)]
    pd.testing.assert_frame_equal(pd.DataFrame(found.to_numpy()), pd.DataFrame(expected.to_numpy()))
    sites = pd.read_csv(source / "TMS_locations_MNI.csv").set_index("id_hash")
    people = table(folder, "participants.tsv").set_axis(order)
    assert people.loc[sites.index, "target_x"].to_numpy() == pytest.approx(sites["x"], abs=0.051)
    assert people.loc[sites.index, "target_z"].to_numpy() == pytest.approx(sites["z"], abs=0.051)
    assert people["target_x"].isna().sum() == len(order) - len(sites)


def test_regions_after_electroconvulsive_therapy_are_those_of_the_source(written):
    regions = table(written("argyelan_ect"), "regions.tsv")
    assert round(regions["Amygdala"].mean(), 2) == 2.91
    assert round(regions["Hippocampus"].mean(), 2) == 2.68


def test_every_score_of_claus_2020_stands_where_the_source_has_it(written, trials):
    folder = written("claus2020", trials)
    source = pd.read_csv(trials / "claus2020" / "claus_2020.csv")
    for scale, column in {"hamd": "hamd", "bdi": "bdi", "shaps": "shaps", "who5": "who"}.items():
        expected = source.pivot(index="id", columns="time", values=column).to_numpy()
        found = wide(folder, scale, [f"ses-measurement{k}" for k in range(4)]).to_numpy()
        pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(expected))
    people = table(folder, "participants.tsv")
    first = source.drop_duplicates("id")
    assert people["treatment"].tolist() == first["treatment"].tolist()
    assert people["age"].tolist() == first["age"].tolist()


def test_columns_by_session_become_rows(written, trials):
    folder = written("ds003007", trials)
    source = pd.read_csv(trials / "ds003007" / "participants.tsv", sep="\t")
    for scale, column in {"bdi": "BDI", "zung": "Zung_SDS", "madrs": "MADRS"}.items():
        expected = source[[f"{column}_ses-pre", f"{column}_ses-post"]].to_numpy()
        found = wide(folder, scale, ["ses-pre", "ses-post"]).to_numpy()
        pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(expected))
    assert set(table(folder, "participants.tsv")["sex"]) == {"F", "M"}


def test_the_first_period_has_each_patient_s_own_first_infusion(written, trials):
    folder = written("ds005917", trials)
    people = table(folder, "participants.tsv").set_index("participant_id")["infusion_1"]
    assert people.value_counts().to_dict() == {"d": 17, "p": 14}
    scores = pd.read_csv(trials / "ds005917" / "phenotype" / "phenotype.tsv", sep="\t")
    scores = scores.set_index(["participant_id", "session_id"])["MADRS_Total"].to_dict()
    found = wide(folder, "madrs", ["ses-b0", "ses-day2", "ses-day10"])
    for who, row in found.iterrows():
        names = ["ses-b0", f"ses-{people[who]}2", f"ses-{people[who]}10"]
        expected = [scores.get((who, name), float("nan")) for name in names]
        assert row.tolist() == pytest.approx(expected, nan_ok=True)


def test_images_are_as_openneuro_publishes_them_under_the_names_of_the_visits(trials):
    patients = pd.read_csv(trials / "ds005917" / "participants.tsv", sep="\t", index_col=0)
    for name, n in {"ds003007": 28, "ds005917": 50}.items():
        published = pd.read_csv(trials / name / "t1w_files.tsv", sep="\t").set_index("path")
        wanted = fetch.images_of(name)
        assert len(wanted) == n
        for file in wanted:
            row = published.loc[file.home]
            assert (file.bytes, file.hash.rpartition(":")[2]) == (row["bytes"], row["hash"])
            who = file.home.split("/")[0]
            renamed = file.home
            if name == "ds005917":
                renamed = renamed.replace(f"ses-{patients.loc[who, 'infusion_1']}2", "ses-day2")
            assert file.path == renamed


def test_a_renamed_image_is_fetched_from_its_home_and_checked_by_sha256(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    home, folder = tmp_path / "home", tmp_path / "folder"
    (home / "sub-1" / "ses-p2").mkdir(parents=True)
    (home / "sub-1" / "ses-p2" / "a.gz").write_bytes(b"image")
    right = "sha256:" + pooch.file_hash(str(home / "sub-1" / "ses-p2" / "a.gz"))
    lines = f"path\tbytes\tsha256\tsource\nsub-1/ses-day2/a.gz\t5\t{right[7:]}\tsub-1/ses-p2/a.gz\n"
    (tmp_path / "list.tsv").write_text(lines)
    wanted = downloads.read_list(tmp_path / "list.tsv")
    assert wanted == (downloads.RemoteFile("sub-1/ses-day2/a.gz", 5, right, "sub-1/ses-p2/a.gz"),)
    handler = partial(_Quiet, directory=home)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        assert not downloads.download(wanted, folder, base).failed
        assert (folder / "sub-1" / "ses-day2" / "a.gz").read_bytes() == b"image"
        (folder / "sub-1" / "ses-day2" / "a.gz").write_bytes(b"imagi")
        again = downloads.download(wanted, folder, base)
        server.shutdown()
    assert "sha256" in again.failed["sub-1/ses-day2/a.gz"]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass
