"""Receptor library and its files, against neuromaps' own metadata and real maps."""

import hashlib
import re
import shutil
import unicodedata
from pathlib import Path

import neuromaps.datasets.utils as neuromaps_utils
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import requests
from conftest import lines
from scipy import stats

from analysis_lib.atlas import parcellation
from analysis_lib.datasets import receptor_maps
from analysis_lib.pipeline import steps
from analysis_lib.receptors import densities
from analysis_lib.receptors import library as receptors_library
from analysis_lib.report import manifest
from analysis_lib.results import environment, problems
from analysis_lib.results.problems import StudyError
from analysis_lib.study import catalogue, receptor_files
from analysis_lib.study.contract import LocalMap

D1 = "kaller2017/sch23390"
FEOBV = "tuominen/feobv"
DASB = ["savli2012/dasb", "beliveau2017/dasb", "fazio2016/madam"]
MGLUR5 = ["dubois2015/abp688", "rosaneto/abp688", "smart2019/abp688"]
DEFAULT = [
    *("kaller2017/sch23390", "alarkurtti2015/raclopride", "dukart2018/fpcit"),
    *("savli2012/way100635", "beliveau2017/cumi101", "savli2012/p943", "beliveau2017/az10419369"),
    *("savli2012/altanserin", "beliveau2017/cimbi36", "beliveau2017/sb207145", *DASB),
    *("hesse2017/methylreboxetine", "dukart2018/flumazenil", "kantonen2020/carfentanil"),
    *("turtonen2020/carfentanil", "tuominen/feobv"),
]


@pytest.fixture
def real_cache(reference_data, monkeypatch):
    folder = reference_data / "data" / "neuromaps"
    monkeypatch.setenv("NEUROMAPS_DATA", str(folder))
    return folder


@pytest.fixture(scope="module")
def library():
    return catalogue.library()


@pytest.fixture(scope="module")
def metadata():
    """neuromaps' own entries, as neuromaps reads them."""
    return {
        f"{entry['annot']['source']}/{entry['annot']['desc']}": entry
        for entry in neuromaps_utils.NEUROMAPS_META["annotations"]
        if entry["annot"]["space"] == "MNI152"
    }


def plain(text):
    """Letters and digits, lower case, without accents."""
    text = unicodedata.normalize("NFKD", text.replace("ø", "o"))
    return "".join(c for c in text.lower() if c.isascii() and c.isalnum())


# --- the library


def test_library_is_what_neuromaps_tags_as_receptors(library):
    volumes = [
        record
        for record in neuromaps_utils.get_dataset_info("annotations")
        if record["space"] == "MNI152"
    ]
    tagged = {f"{r['source']}/{r['desc']}": r for r in volumes if "receptors" in r["tags"]}
    assert set(library.index) == set(tagged)
    assert len(library) == 41
    for annotation, row in library.iterrows():
        assert row["md5"] == tagged[annotation]["checksum"]
        assert Path(row["file"]).name == tagged[annotation]["fname"]
    left_out = {r["desc"] for r in volumes if "receptors" not in r["tags"]}
    assert left_out == {"ps13", "martinostat", "pbr28", "ucbj", "cmrglc", "meancbf", "cogpc1"}


def test_library_agrees_with_neuromaps_own_metadata(library, metadata):
    for annotation, row in library.iterrows():
        entry = metadata[annotation]
        about = entry["full_desc"].lower().replace("-", "").replace(" receptor, ", "")
        assert re.search(rf"\b{row['receptor'].lower().replace('-', '')}\b", about)
        assert row["n_subjects"] == entry["demographics"]["N"]
        assert row["age"] == entry["demographics"]["age"]
        assert row["res"] == entry["annot"]["res"]
        assert row["licence"].startswith(entry.get("license", {"type": "CC BY-NC-SA"})["type"])
        assert row["licence"].endswith("(neuromaps)") == ("license" not in entry)
        assert all(item["citation"] in row["citation"] for item in entry["refs"]["primary"])
        assert entry.get("warning", "") in row["note"]
        assert ("subcortical" in row["note"]) == ("warning" in entry)


def test_short_references_are_those_that_neuromaps_cites(library):
    """For two maps neuromaps' metadata cite another paper; its bibliography has the right one."""
    bibliography = Path(neuromaps_utils.__file__).parent / "data" / "neuromaps.bib"
    entries = bibliography.read_text(encoding="utf-8").split("\n@")
    (h3,) = [e for e in entries if e.startswith("article{gallezot2017jcerebbloodflowmetab")]
    (nmda,) = [e for e in entries if e.startswith("article{galovic2021validation")]
    assert "GSK189254" in h3
    assert "GE-179" in nmda
    own = {"gallezot2017/gsk189254": h3, "galovic2021/ge179": nmda}
    for annotation, row in library.iterrows():
        author, year = re.fullmatch(
            r"(?:[\w-]+, in )?([\w-]+) et al\. (\d{4})", row["reference"]
        ).groups()
        cited = [own[annotation]] if annotation in own else row["citation"].split("; ")
        assert any(plain(author) in plain(text) and year in text for text in cited), annotation


def test_tracers_are_those_of_the_annotations(library):
    isotopes = 0
    for annotation, row in library.iterrows():
        isotope, name = re.fullmatch(r"\[(11C|18F|123I)\](.+)", row["tracer"]).groups()
        desc = {"methylreboxetine": "mrb"}.get(annotation.split("/")[1], annotation.split("/")[1])
        assert plain(name) == desc
        in_citation = re.search(rf"(11c|18f|123i){desc}", plain(row["citation"]))
        if in_citation:
            assert in_citation.group(1) == isotope.lower()
            isotopes += 1
    assert isotopes >= 12


def test_default_set_stays_what_it_was(library):
    assert catalogue.resolve() == catalogue.resolve("default") == DEFAULT
    assert library.index[library["default"]].tolist() == DEFAULT
    assert library["age"][D1] == "33 +/- 13"


# --- names


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("D1", [D1]),
        ("5-HTT", DASB),
        ("mGluR5", MGLUR5),
        ("ding2010/mrb", ["ding2010/mrb"]),
        (["mGluR5", "D1", "ding2010/mrb"], [*MGLUR5, D1, "ding2010/mrb"]),
        (["default", "mGluR5"], [*DEFAULT, *MGLUR5]),
        (
            [LocalMap(receptor="D1", file="a/mine.nii.gz"), "D1"],
            ["local/mine", D1],
        ),
    ],
)
def test_maps_are_chosen_by_name(asked, expected):
    assert catalogue.resolve(asked) == expected


def test_all_is_what_neuromaps_downloads_without_a_token(library):
    public = {record["fname"] for record in neuromaps_utils.get_dataset_info("annotations", False)}
    open_to_all = library.index[[Path(file).name in public for file in library["file"]]]
    assert catalogue.resolve("all") == open_to_all.tolist()
    assert set(library.index) - set(open_to_all) == set(catalogue.WITHHELD)
    (line,) = catalogue.skipped(["D1", "all"])
    assert line.startswith("spreng/feobv is not used")
    assert catalogue.skipped("gallezot2010/p943") == []


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("kaller2017/sch23380", "kaller2017/sch23390"),
        ("5HTT", "5-HTT"),
        ("d1", "D1"),
        ("defualt", "default"),
        ("xyzzyx", "D1, D2, DAT, 5-HT1A"),
    ],
)
def test_unknown_name_lists_near_ones(name, near):
    with pytest.raises(ValueError, match=f"'{name}' is unknown; near: .*{near}") as caught:
        catalogue.resolve([name])
    assert "the name of a receptor, 'default' or 'all'" in str(caught.value)


def test_a_map_named_twice_is_refused():
    with pytest.raises(ValueError, match="named twice: tuominen/feobv"):
        catalogue.resolve([FEOBV, FEOBV])
    with pytest.raises(ValueError, match=r"twice: kaller2017/sch23390\. A receptor's name and"):
        catalogue.resolve(["default", "D1"])


def test_one_file_needs_one_annotation():
    with pytest.raises(ValueError, match=r"'5-HTT' stands for savli2012/dasb, .*Name one"):
        catalogue.locate("5-HTT")
    with pytest.raises(ValueError, match=r"local/mine is a file of a study's own"):
        catalogue.locate("local/mine")


# --- files in neuromaps' cache


def test_every_map_of_the_library_is_found_and_whole(real_cache):
    found = {name: catalogue.locate(name) for name in catalogue.resolve("default")}
    assert len(set(found.values())) == 18
    assert all(path.is_relative_to(real_cache) for path in found.values())
    assert catalogue.missing() == []


def test_cache_folder_follows_neuromaps_rule(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROMAPS_DATA", str(tmp_path / "maps"))
    assert not (environment.receptor_cache()).exists()
    assert str(environment.receptor_cache()) == neuromaps_utils.get_data_dir()
    monkeypatch.delenv("NEUROMAPS_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert environment.receptor_cache() == tmp_path / "neuromaps-data"
    assert str(environment.receptor_cache()) == neuromaps_utils.get_data_dir()


def test_absent_map_names_the_command_and_creates_nothing(tmp_path):
    cache = tmp_path / "empty"
    with pytest.raises(problems.MissingMap, match=f"{D1} is not at .*{catalogue.FETCH_COMMAND}"):
        catalogue.locate(D1, cache)
    assert catalogue.missing([D1, FEOBV], cache) == [D1, FEOBV]
    assert catalogue.missing("5-HTT", cache) == DASB
    assert not cache.exists()
    with pytest.raises(problems.MissingMap, match=r"fetch receptors --all-maps$"):
        catalogue.locate("ding2010/mrb", cache)


def test_wrong_file_is_named_with_both_checksums(tmp_path):
    record = catalogue.record_of(D1)
    path = catalogue.cached_path(record, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a brain")
    with pytest.raises(problems.WrongMap, match="expected md5") as caught:
        catalogue.locate(D1, tmp_path)
    message = str(caught.value)
    assert str(path) in message
    assert f"expected md5 {record['checksum']}" in message
    assert f"found {hashlib.md5(b'not a brain').hexdigest()}" in message
    assert "remove it, then run python -m analysis_lib fetch receptors" in message
    assert path.read_bytes() == b"not a brain"


def _publish(real_cache, damaged=False):
    """A stand-in for neuromaps' download that copies the real file."""

    def fetch_annotation(record, folder):
        target = catalogue.cached_path(record, folder)
        target.parent.mkdir(parents=True)
        shutil.copy(catalogue.cached_path(record, real_cache), target)
        if damaged:
            target.write_bytes(target.read_bytes()[:-1])

    return fetch_annotation


def test_fetch_gets_only_what_is_missing(real_cache, tmp_path, monkeypatch):
    asked = []
    copy = _publish(real_cache)
    monkeypatch.setattr(
        receptor_maps,
        "_fetch_annotation",
        lambda record, folder: (asked.append(record["desc"]), copy(record, folder)),
    )
    first = receptor_maps.fetch([D1], tmp_path, progress=False)
    before = first[D1].stat().st_mtime_ns
    both = receptor_maps.fetch([D1, FEOBV], tmp_path, progress=False)
    assert asked == ["sch23390", "feobv"]
    assert both == {name: catalogue.locate(name, tmp_path) for name in (D1, FEOBV)}
    assert both[D1].stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["annotations"]


def test_fetch_of_a_study_passes_over_files_of_its_own(real_cache):
    own = LocalMap(receptor="D1", file="mine.nii.gz")
    assert list(receptor_maps.fetch([own, "VAChT"], progress=False)) == [FEOBV]


def test_a_damaged_download_never_enters_the_cache(real_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(receptor_maps, "_fetch_annotation", _publish(real_cache, damaged=True))
    with pytest.raises(problems.WrongMap, match=r"sch23390.*expected md5"):
        receptor_maps.fetch([D1], tmp_path, progress=False)
    assert catalogue.missing([D1], tmp_path) == [D1]
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_a_map_that_its_server_has_lost_does_not_keep_the_others_away(
    real_cache, tmp_path, monkeypatch
):
    copy = _publish(real_cache)

    def lost(record, folder):
        if record["desc"] == "sch23390":
            answer = requests.Response()
            answer.status_code, answer.url = 404, "https://example.org"
            answer.raise_for_status()
        copy(record, folder)

    monkeypatch.setattr(receptor_maps, "_fetch_annotation", lost)
    with pytest.raises(problems.FetchFailed, match=rf"{D1} could not .*404.*the other maps"):
        receptor_maps.fetch([D1, FEOBV], tmp_path, progress=False)
    assert catalogue.missing([D1, FEOBV], tmp_path) == [D1]


def test_offline_fetch_names_the_annotation_and_keeps_what_was_there(tmp_path, monkeypatch):
    def offline(record, folder):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(receptor_maps, "_fetch_annotation", offline)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(problems.FetchFailed, match=f"{D1} could not be downloaded .*no route"):
        receptor_maps.fetch([D1], tmp_path, progress=False)
    with pytest.raises(problems.FetchFailed, match=r"ding2010/mrb could not .*--all-maps$"):
        receptor_maps.fetch(["ding2010/mrb"], tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_neuromaps_itself_puts_the_file_where_it_is_looked_for(real_cache, tmp_path, monkeypatch):
    """Only the transfer is replaced: `fetch_annotation` is neuromaps' own."""
    original = catalogue.locate(FEOBV)

    def transfer(url, folder, **_):
        folder.mkdir(parents=True)
        return shutil.copy(original, folder / "part")

    monkeypatch.setattr("neuromaps.datasets.annotations._fetch_file", transfer)
    path = receptor_maps.fetch([FEOBV], tmp_path, progress=False)[FEOBV]
    assert path.relative_to(tmp_path) == original.relative_to(real_cache)
    assert path.read_bytes() == original.read_bytes()


# --- means by region


def test_parcellated_library_ranks_regions_as_pharmacology_does(real_cache):
    maps = densities.parcellate([D1, "dukart2018/fpcit", "beliveau2017/cumi101"])
    assert maps.shape == (3, 119)
    top = maps.rank(axis=1, ascending=False)
    striatum = [23, 30, 36, 37, 57, 58]
    assert (top.loc[D1, striatum] <= 6).all()
    assert (top.loc["dukart2018/fpcit", striatum] <= 8).all()  # the pallidum is among them
    assert receptors_library.uncovered(maps) == {"beliveau2017/cumi101": [36, 37]}


# --- files of one's own

VALUES = {1: 4.0, 2: 7.0, 3: 10.0}  # by label of `blocks`


@pytest.fixture
def blocks():
    """Three regions, each four voxels thick along the first axis, in a box of 14 x 10 x 10."""
    labels = np.zeros((14, 10, 10), np.int16)
    for label in VALUES:
        labels[4 * label - 3 : 4 * label + 1, 1:9, 1:9] = label
    return parcellation.load_atlas(nib.Nifti1Image(labels, np.diag([3.0, 3, 3, 1])))


@pytest.fixture
def own(tiny, blocks):
    """A study with one map of its own: VALUES, on a background of -0.009, as one 4-D volume."""
    labels = np.asarray(blocks.image.dataobj)
    data = np.full(labels.shape, -0.009)
    for label, value in VALUES.items():
        data[labels == label] = value
    data += np.where(labels > 0, np.resize([-0.5, 0.5], labels.shape), 0)
    path = tiny.folder / "maps" / "mine.nii.gz"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(data[..., None], blocks.image.affine), path)
    tiny.content["receptors"] = [{"receptor": "mGluR5", "file": "maps/mine.nii.gz"}]
    tiny.path = path
    return tiny


def test_own_file_is_read_like_the_others(own, blocks, tmp_path):
    own.content["receptors"][0] |= {
        "n_subjects": 12,
        "md5": hashlib.md5(own.path.read_bytes()).hexdigest(),
    }
    maps, about = receptors_library.maps_for(
        own.write(), blocks, [3, 1, 2], cache=tmp_path / "none"
    )
    assert maps.index.tolist() == about.index.tolist() == ["local/mine"]
    np.testing.assert_allclose(maps.loc["local/mine", [1, 2, 3]], [4, 7, 10])
    row = about.loc["local/mine"]
    assert row[["receptor", "n_subjects", "file"]].tolist() == ["mGluR5", 12, "maps/mine.nii.gz"]
    assert row[["tracer", "age", "licence"]].tolist() == ["not given"] * 3
    assert row[["shape", "n_volumes", "voxel_mm"]].tolist() == ["14 x 10 x 10 x 1", 1, "3"]
    assert row["background_value"] == -0.009
    assert not (tmp_path / "none").exists()


def test_own_files_stand_beside_published_ones(own, real_cache, monkeypatch):
    own.content["receptors"] = ["VAChT", *own.content["receptors"], D1]
    loads = []
    load = nib.load
    monkeypatch.setattr(nib, "load", lambda path: loads.append(path) or load(path))
    neuromorphometrics = parcellation.load_atlas()
    loads.clear()
    study = own.write()
    maps, about = receptors_library.maps_for(study, neuromorphometrics, [57, 58])
    assert len(loads) == 3  # every file is read once
    assert about.index.tolist() == [FEOBV, "local/mine", D1]
    assert about["n_subjects"].isna().tolist() == [False, True, False]
    alone = densities.parcellate([FEOBV, D1], labels=[57, 58])
    pd.testing.assert_frame_equal(maps.loc[[FEOBV, D1]], alone)
    pd.testing.assert_frame_equal(
        densities.means_and_facts(receptor_files.files_for(study), "aal", [1], "drop")[1],
        about[["shape", "n_volumes", "voxel_mm", "background_value"]],
    )


def test_missing_own_file_is_named_with_its_entry(own, blocks):
    own.content["receptors"] = ["D1", {"receptor": "D2", "file": "maps/absent.nii"}]
    study = own.write()
    expected = (
        f"tiny.yml: receptors.1 (D2): no file {own.folder / 'maps/absent.nii'}. Expected "
        "'maps/absent.nii', relative to the study file: put it there, or correct 'file'"
    )
    assert lines(receptor_files.problems(study)) == [expected]
    with pytest.raises(StudyError) as caught:
        receptors_library.maps_for(study, blocks, [1, 2, 3])
    assert lines(caught.value.problems) == [expected]


def test_own_file_that_is_another_one_is_refused(own):
    own.content["receptors"][0]["md5"] = "0" * 32
    (problem,) = lines(receptor_files.problems(own.write()))
    found = hashlib.md5(own.path.read_bytes()).hexdigest()
    assert "tiny.yml: receptors.0 (mGluR5): " in problem
    assert f"expected md5 {'0' * 32}, found {found}" in problem


def test_unknown_receptor_is_a_problem_of_the_study(own):
    own.content["receptors"] = "D11"
    (problem,) = lines(receptor_files.problems(own.write()))
    assert problem.startswith("tiny.yml: receptors: receptor annotation 'D11' is unknown; near: D1")


def test_own_file_must_cover_some_region(own, blocks):
    affine = blocks.image.affine + np.eye(4, k=3) * 1000  # one metre aside
    elsewhere = parcellation.load_atlas(nib.Nifti1Image(np.asarray(blocks.image.dataobj), affine))
    study = own.write()
    with pytest.raises(StudyError, match=r"tiny\.yml: receptors: local/mine has values in none"):
        receptors_library.maps_for(study, elsewhere, [1, 2, 3])


def test_own_file_of_several_volumes_is_refused_by_name(own, blocks):
    nib.save(nib.Nifti1Image(np.ones((14, 10, 10, 2)), blocks.image.affine), own.path)
    with pytest.raises(ValueError, match=r"mine\.nii\.gz: expected one three-dimensional volume"):
        receptors_library.maps_for(own.write(), blocks, [1, 2, 3])


def test_real_study_without_its_published_maps_is_told_which_command(own, blocks, tmp_path):
    own.content["receptors"].append("NMDA")
    with pytest.raises(StudyError, match=r"maps galovic2021/ge179 are not in .*--all-maps"):
        receptors_library.maps_for(own.write(), blocks, [1, 2, 3], cache=tmp_path / "none")


def test_own_files_are_inputs_of_a_run(own, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROMAPS_DATA", str(tmp_path / "cache"))
    cached = tmp_path / "cache" / "annotations" / FEOBV / "MNI152" / "map.nii.gz"
    cached.parent.mkdir(parents=True)
    cached.write_text("")
    own.content["receptors"] += ["VAChT", {"receptor": "D2", "file": "absent.nii"}]
    study = own.write()
    found = steps.receptor_maps(study)
    labels = {manifest.label(study, path) for path in found}
    assert labels == {
        "{study folder}/maps/mine.nii.gz",
        f"{{receptors}}/annotations/{FEOBV}/MNI152/map.nii.gz",
    }
    assert own.path.samefile(next(path for path in found if path.name == "mine.nii.gz"))


# --- what files hold


def test_files_are_described_as_they_are():
    data = np.random.default_rng(0).standard_normal((6, 6, 6, 1))
    filled = data[..., 0].copy()
    filled[:3] = 0.25
    images = {
        "raw": nib.Nifti1Image(data, np.diag([-2.0, 2, 3, 1])),
        "filled": nib.Nifti1Image(filled, np.diag([1.5, 1.5, 1.5, 1])),
    }
    facts = densities.means_and_facts(images, "neuromorphometrics", [57], "drop")[1]
    assert facts["shape"].to_dict() == {"raw": "6 x 6 x 6 x 1", "filled": "6 x 6 x 6"}
    assert facts["voxel_mm"].to_dict() == {"raw": "2 x 2 x 3", "filled": "1.5"}
    assert facts["n_volumes"].tolist() == [1, 1]
    assert np.isnan(facts["background_value"]["raw"])
    assert facts["background_value"]["filled"] == 0.25


# --- several tracers of one receptor


@pytest.fixture
def tracers():
    """Three maps of two receptors; 2 and 6 people behind the two of the first."""
    columns = pd.Index([10, 11, 12], name="label")
    index = pd.Index(["a/x", "b/x", "c/y"], name="annotation")
    maps = pd.DataFrame([[0.0, 1, 2], [50, 20, 80], [5, 5, 9]], index=index, columns=columns)
    about = pd.DataFrame(
        {
            "receptor": ["R", "R", "S"],
            "tracer": ["[11C]x", "[18F]x", "[11C]y"],
            "n_subjects": pd.array([2, 6, 9], dtype="Int64"),
            "age": ["30", "40", "50"],
            "reference": ["A 2001", "B 2002", "C 2003"],
            "md5": ["1", "2", "3"],
            "note": ["", "mind", ""],
            "background_value": [0.0, 0.0, -1.0],
        },
        index=index,
    )
    return maps, about


def test_tracers_are_averaged_as_z_scores_weighted_by_people(tracers):
    maps, about = tracers
    combined, table = receptors_library.combine(maps, about)
    unit = np.sqrt(1.5)  # z of three equally spaced values: -unit, 0, unit
    expected = np.array([-unit, 0, unit]) * 2 / 8 + np.array([0, -unit, unit]) * 6 / 8
    assert combined.index.tolist() == table.index.tolist() == ["combined/R", "c/y"]
    np.testing.assert_allclose(combined.loc["combined/R"], expected)
    pd.testing.assert_series_equal(combined.loc["c/y"], maps.loc["c/y"])
    pd.testing.assert_series_equal(table.loc["c/y"], about.loc["c/y"])
    row = table.loc["combined/R"]
    assert row["tracer"] == "[11C]x 0.25, [18F]x 0.75"
    assert row["n_subjects"] == 8
    assert row["note"] == (
        "mean of z-scores, weights by number of people: a/x 0.25, b/x 0.75; mind"
    )
    assert row["reference"] == "A 2001; B 2002"
    assert row[["md5", "background_value"]].isna().all()
    assert table.dtypes.equals(about.dtypes)


def test_combining_is_what_hansens_code_computes():
    """Three maps of mGluR5 and their numbers of people, with scipy's z-scores."""
    values = np.random.default_rng(4).gamma(2, size=(3, 40))
    about = catalogue.library().loc[["rosaneto/abp688", "dubois2015/abp688", "smart2019/abp688"]]
    combined, _ = receptors_library.combine(pd.DataFrame(values, index=about.index), about)
    z = stats.zscore(values, axis=1)
    expected = (z[0] * 22 + z[1] * 28 + z[2] * 73) / (22 + 28 + 73)
    np.testing.assert_allclose(combined.loc["combined/mGluR5"], expected)


def test_region_that_one_tracer_does_not_cover_is_left_out(tracers):
    maps, about = tracers
    maps = pd.concat([maps, pd.Series([np.nan, 3, 7], index=maps.index, name=13)], axis=1)
    combined, _ = receptors_library.combine(maps, about)
    assert receptors_library.uncovered(combined) == {"combined/R": [13]}
    second = np.array([50, 20, 80, 3])  # z-scored over the regions that it covers, also 13
    expected = 0.25 * -np.sqrt(1.5) + 0.75 * stats.zscore(second)[0]
    assert combined.loc["combined/R", 10] == pytest.approx(expected)


def test_an_unknown_number_of_people_is_refused(tracers):
    maps, about = tracers
    about.loc["b/x", "n_subjects"] = pd.NA
    with pytest.raises(ValueError, match=r"R: b/x cannot be weighted.*n_subjects in the study"):
        receptors_library.combine(maps, about)


def test_what_cannot_be_combined_is_refused(tracers):
    maps, about = tracers
    maps.loc["a/x"] = 3.0
    with pytest.raises(ValueError, match=r"a/x: the same value in every region"):
        receptors_library.combine(maps, about)


def test_the_default_set_combines_to_one_map_a_receptor(real_cache, library):
    maps = densities.parcellate(["5-HTT", "D1"])
    combined, table = receptors_library.combine(maps, library.loc[maps.index])
    assert table.index.tolist() == ["combined/5-HTT", D1]
    assert table["n_subjects"].tolist() == [128, 13]
    assert combined.loc["combined/5-HTT"].mean() == pytest.approx(0, abs=1e-12)
    r = maps.T.corrwith(combined.loc["combined/5-HTT"])
    assert r["beliveau2017/dasb"] > 0.99  # 100 of the 128 people
    pd.testing.assert_series_equal(combined.loc[D1], maps.loc[D1])
