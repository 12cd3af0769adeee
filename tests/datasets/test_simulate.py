"""The simulated trial: what is planted is there, as large and as noisy as stated."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from analysis_lib.atlas import template
from analysis_lib.atlas.grids import labels_on_grid, parcel_means
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.datasets import simulate, trial_images
from analysis_lib.datasets import trial as datasets_trial
from analysis_lib.datasets import truth as datasets_truth
from analysis_lib.results.environment import PROJECT
from analysis_lib.study.contract import load_study
from analysis_lib.study.participants import read_participants
from analysis_lib.study.scores import read_scale
from benchmarks.simulated_maps import simulate_change_maps

CONFIG = PROJECT / "data" / "bids_validator_config.json"
SMALL = {"seed": 3, "resolution": 6, "n_active": 3, "n_control": 3, "n_missed": 1}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "data" / "raw" / "demo"
    simulate.simulate_study(folder, **SMALL)
    return folder


@pytest.fixture(scope="module")
def large():
    """Scores of 600 + 600; the maps are not made."""
    return datasets_trial.simulate_trial(seed=1, resolution=6, n_active=600, n_control=600)


@pytest.fixture(scope="module")
def null_maps():
    return simulate_change_maps(
        seed=2, resolution=4, null=True, n_active=14, n_control=14, n_withdrawn=0
    )


def wide(trial, scale):
    table = trial.scores.pivot(index="participant_id", columns="session_id", values=scale)
    return table.astype(float), trial.participants.set_index("participant_id")


# ---- what is planted


def test_every_grey_matter_region_has_one_weight():
    table = load_atlas().table
    named = [region for regions in datasets_truth.D1_REGIONS.values() for region in regions]
    assert len(named) == len(set(named))
    assert set(named) == set(table.loc[table["tissue"].isin(["grey", "other"]), "region"])


@pytest.mark.parametrize(
    ("region", "percent"),
    [
        ("putamen", 6.0),
        ("insula", 3.3),
        ("anterior cingulate", 3.3),
        ("amygdala", 3.0),
        ("hippocampus", 2.5),
        ("dorsolateral prefrontal", 2.4),
        ("occipital", 0),
        ("cerebellum", 0),
        ("pre- and postcentral", 0),
        ("superior parietal", 0),
    ],
)
def test_planted_percent(region, percent):
    planted = datasets_truth.percent_change(
        datasets_truth.D1_WEIGHTS[region], datasets_truth.Plan()
    )
    assert planted == pytest.approx(percent, abs=0.05)


def test_weights_are_those_of_the_cited_map(reference_data):
    path = next((reference_data / "data" / "neuromaps").rglob("*kaller2017*.nii.gz"))
    table = load_atlas().table
    receptor = nib.load(path)
    labels = labels_on_grid("neuromorphometrics", receptor.shape, receptor.affine)
    voxels = np.bincount(labels.ravel(), minlength=table.index.max() + 1)[table.index]
    table = table.assign(total=parcel_means(receptor) * voxels, voxels=voxels)
    for name, regions in datasets_truth.D1_REGIONS.items():
        rows = table[table["region"].isin(regions)]
        table.loc[rows.index, "class"] = name
    sums = table.dropna(subset=["class"]).groupby("class")[["total", "voxels"]].sum()
    measured = sums["total"] / sums["voxels"]
    measured /= measured["putamen"]
    stated = pd.Series(datasets_truth.D1_WEIGHTS)
    off = (measured - stated).drop("occipital").abs()
    assert off.max() < 0.01, off[off >= 0.01].to_dict()


def test_planted_change_follows_the_table_voxel_by_voxel():
    grid = template.grey_matter_template(4)
    planted = datasets_truth.planted_change(grid).get_fdata()
    labels = labels_on_grid("neuromorphometrics", grid.shape, grid.affine)
    table = load_atlas().table
    for region, weight in (("Putamen", 1.0), ("Hippocampus", 0.18), ("cuneus", 0.0)):
        voxels = np.isin(labels, table.index[table["region"] == region])
        assert np.allclose(planted[voxels], 6 * np.sqrt(weight), atol=1e-5)


def test_true_change_is_what_noise_free_maps_show(tmp_path):
    quiet = datasets_truth.Plan(noise_sd=0, global_sd=0, z_slope=0, anatomy_sd=0)
    options = {**SMALL, "n_withdrawn": 0, "plan": quiet}
    simulate.simulate_study(tmp_path / "quiet", **options)
    trial = simulate_change_maps(**options)
    expected = simulate.true_change(tmp_path / "quiet", fwhm_mm=8).get_fdata()
    sigma = 8 / np.sqrt(8 * np.log(2)) / 6
    pre, post = (
        np.array([ndimage.gaussian_filter(m, sigma, mode="constant") for m in maps])
        for maps in (trial.pre, trial.post)
    )
    mask = pre.mean(axis=0) > 0.2
    percent = 100 * (post - pre)[:, mask] / pre[:, mask]
    active = (trial.participants["arm"] == "active").to_numpy()
    assert np.abs(percent[active] - expected[mask]).max() < 0.03
    assert np.abs(percent[~active]).max() == 0
    assert expected[mask].max() > 3


# ---- noise, as an analysis meets it: after smoothing


def smoothed_noise(trial):
    sigma = 8 / np.sqrt(8 * np.log(2)) / 4
    pre, post = (
        np.array([ndimage.gaussian_filter(m, sigma, mode="constant") for m in maps])
        for maps in (trial.pre, trial.post)
    )
    mask = np.concatenate([pre, post]).mean(axis=0) > 0.2
    with np.errstate(invalid="ignore", divide="ignore"):
        percent = 100 * (post - pre) / pre
    return np.where(mask, percent, np.nan), mask


def test_noise_has_the_planned_size(null_maps):
    percent, mask = smoothed_noise(null_maps)
    rms = np.sqrt(np.mean(percent[:, mask] ** 2))
    assert rms == pytest.approx(np.sqrt(1.0**2 + 0.3**2), rel=0.04)
    voxel_sd = percent[:, mask].std(axis=0)
    assert np.quantile(voxel_sd, 0.01) > 0.5


def test_noise_has_the_planned_smoothness(null_maps):
    percent, _ = smoothed_noise(null_maps)
    for voxels in (2, 4, 7):
        lag = 4.0 * voxels
        here, there = percent[:, :-voxels], percent[:, voxels:]
        covariance = np.nanmean(here * there)
        # A field smoothed by a kernel of SD s has the autocorrelation exp(-lag^2 / 4 s^2).
        planned = 0.3**2 + sum(
            share * np.exp(-(lag**2) / (4 * (fwhm**2 / (8 * np.log(2)))))
            for fwhm, share in ((14, 0.7), (30, 0.3))
        )
        assert covariance == pytest.approx(planned, abs=0.06), lag


def test_volumes_and_values_are_in_range(null_maps):
    voxel_ml = 4**3 / 1000
    for maps in (null_maps.pre, null_maps.post):
        volumes = maps.sum(axis=(1, 2, 3)) * voxel_ml
        assert volumes.min() > 500
        assert volumes.max() < 800
        assert maps.min() == 0
        assert maps.max() <= 1.3
    planned = null_maps.participants["grey_ml"]
    assert np.allclose(null_maps.pre.sum(axis=(1, 2, 3)) * voxel_ml, planned, rtol=1e-4)


def test_volume_ratio_and_head_size(large):
    ratio = large.participants["grey_ml"] / datasets_trial.TEMPLATE_ML
    assert ratio.mean() == pytest.approx(0.65, abs=0.01)
    assert ratio.std() == pytest.approx(0.065, abs=0.008)
    assert large.participants["tiv"].between(1200, 1750).all()


# ---- scores


def test_scores_have_the_planned_shape(large):
    scores, people = wide(large, "hamd17")
    active = people["arm"].reindex(scores.index) == "active"
    baseline = scores["ses-baseline"]
    assert 22 < baseline.mean() < 24
    assert 3.4 < baseline.std() < 4
    assert baseline.min() >= 17
    change = scores.sub(baseline, axis=0)[["ses-week1", "ses-week2", "ses-week3"]]
    assert (change[active].std().diff().dropna() > 0).all()
    assert (change[~active].mean().diff().dropna() < 0).all()
    r = scores[~active].corr().to_numpy()
    assert r[0, 1] > r[0, 2] > r[0, 3] > 0.45
    assert 0.65 < r[1, 2] < 0.85


@pytest.mark.parametrize(("scale", "name"), [("hamd17", "HAMD-17"), ("hama", "HAMA")])
def test_arms_differ_as_the_truth_says(large, scale, name):
    scores, people = wide(large, scale)
    active = people["arm"].reindex(scores.index) == "active"
    change = scores.sub(scores["ses-baseline"], axis=0)
    for visit, planted in large.truth["arm_difference"][name].items():
        both = change.loc[active, f"ses-{visit}"], change.loc[~active, f"ses-{visit}"]
        error = np.sqrt(sum(x.var() / x.count() for x in both))
        assert abs(both[0].mean() - both[1].mean() - planted) < 3 * error + 0.05


def test_z_goes_with_improvement(large):
    scores, people = wide(large, "hamd17")
    improvement = scores["ses-baseline"] - scores["ses-week3"]
    for _, arm in people.groupby("arm"):
        assert improvement.reindex(arm.index).corr(arm["z"]) == pytest.approx(0.6, abs=0.08)
        assert arm["z"].std() == pytest.approx(1, abs=0.1)


def test_items_are_in_range_and_add_up(large):
    rated = large.scores.dropna()
    items = [f"item_{k:02d}" for k in range(1, 18)]
    top = [top for _, top, _ in datasets_truth.HAMD_ITEMS]
    assert sum(top) == 52
    assert (rated[items].sum(axis=1) == rated["hamd17"]).all()
    assert (rated[items].to_numpy() <= np.array(top)).all()
    assert (rated[items].to_numpy() >= 0).all()
    assert (rated[items].mean() > 0.1).all()


def test_null_plants_nothing():
    trial = datasets_trial.simulate_trial(
        seed=1, resolution=6, null=True, n_active=300, n_control=300
    )
    assert not trial.planted.get_fdata().any()
    assert set(trial.truth["arm_difference"]["HAMA"].values()) == {0.0}
    scores, people = wide(trial, "hamd17")
    week3 = scores["ses-week3"].groupby(people["arm"]).mean()
    assert abs(week3["active"] - week3["sham"]) < 3 * 6 * np.sqrt(2 / 300)
    planted = datasets_trial.simulate_trial(seed=1, resolution=6, n_active=300, n_control=300)
    sham = people.index[people["arm"] == "sham"]
    assert scores.loc[sham].equals(wide(planted, "hamd17")[0].loc[sham])


# ---- missing data


def test_withdrawals_and_missed_visits(small):
    truth = simulate.read_truth(small)
    people = pd.read_csv(small / "participants.tsv", sep="\t", na_values="n/a")
    left = people.dropna(subset=["withdrawn_after"])
    assert len(left) == 2
    assert set(left["arm"]) == {"active", "sham"}
    scores = pd.read_csv(small / "phenotype" / "hamd17.tsv", sep="\t", na_values="n/a")
    assert scores["total"].isna().sum() == len(truth["missed"]) == 1
    for row in left.itertuples():
        visits = scores.loc[scores["participant_id"] == row.participant_id, "session_id"]
        assert visits.iloc[-1] == f"ses-{row.withdrawn_after}"
        maps = list((small / "derivatives" / "vbm" / row.participant_id).rglob("*.nii.gz"))
        assert [path.parts[-3] for path in maps] == ["ses-baseline"]
    stayed = people[people["withdrawn_after"].isna()]["participant_id"]
    assert all(
        len(list((small / "derivatives" / "vbm" / name).rglob("*.nii.gz"))) == 2 for name in stayed
    )


def test_an_impossible_resolution_is_refused():
    with pytest.raises(ValueError, match="from 1 to 10 mm expected, found 0"):
        template.grey_matter_template(0)


# ---- the dataset


def run_validator(folder):
    program = Path(sys.executable).with_name("bids-validator-deno")
    command = [program, "--config", CONFIG, "--max-rows", "-1", "--format", "json", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)["issues"]["issues"]


@pytest.mark.parametrize("part", [".", "derivatives/vbm", "derivatives/truth"])
def test_dataset_is_valid_bids(small, part):
    status, issues = run_validator(small / part)
    errors = [issue for issue in issues if issue["severity"] == "error"]
    assert (status, errors) == (0, [])


def test_validator_sees_what_is_wrong(small, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "participants.tsv").write_text((small / "participants.tsv").read_text())
    status, issues = run_validator(wrong)
    assert status != 0
    assert "MISSING_DATASET_DESCRIPTION" in {issue["code"] for issue in issues}


def test_configuration_ignores_one_code_and_no_more():
    assert json.loads(CONFIG.read_text()) == {"ignore": [{"code": "TSV_INDEX_VALUE_NOT_UNIQUE"}]}


def test_the_demo_study_file_fits(small):
    path = small.parents[1] / "studies" / "demo.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text((PROJECT / "data" / "studies" / "demo.yml").read_text())
    study = load_study(path)
    assert study.root == small
    people = read_participants(study)
    assert people["arm"].value_counts().to_dict() == {"active": 3, "control": 3}
    for scale in study.scales:
        scores = read_scale(study, scale, people)
        assert scores["score"].notna().sum() >= 6 * 2
    assert len(list(study.root.glob(study.imaging.grey_matter))) == 6 * 2 - 2


def test_headers_are_clean(small):
    path = next((small / "derivatives" / "vbm").rglob("*.nii.gz"))
    header = nib.load(path).header
    assert header.get_xyzt_units()[0] == "mm"
    assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 4)
    assert np.allclose(header.get_sform(), header.get_qform())
    assert header["descrip"].item() == b""
    assert header["cal_max"] == pytest.approx(1.3)


def test_same_seed_same_bytes_and_memory_equals_disk(small, tmp_path):
    simulate.simulate_study(tmp_path / "again", **SMALL)
    files = sorted(p.relative_to(small) for p in small.rglob("*") if p.is_file())
    again = tmp_path / "again"
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert all((small / f).read_bytes() == (again / f).read_bytes() for f in files)
    trial = simulate_change_maps(**SMALL)
    name = trial.participants["participant_id"][0]
    path = next((small / "derivatives" / "vbm" / name / "ses-week3").rglob("*.nii.gz"))
    assert np.allclose(nib.load(path).get_fdata(), trial.post[0], atol=1e-6)


def test_a_participant_does_not_depend_on_the_others():
    few = datasets_trial.simulate_trial(**SMALL)
    many = datasets_trial.simulate_trial(**{**SMALL, "n_active": 9, "n_control": 9})
    own = ["participant_id", "age", "sex", "tiv", "grey_ml", "z"]
    assert few.participants[own].equals(many.participants[own].head(6))
    assert np.array_equal(
        trial_images.simulate_pair(few, "sub-002")[0],
        trial_images.simulate_pair(many, "sub-002")[0],
    )


def test_another_seed_is_another_trial():
    one, two = (datasets_trial.simulate_trial(**{**SMALL, "seed": seed}) for seed in (1, 2))
    assert not one.participants["tiv"].equals(two.participants["tiv"])


def test_files_that_are_there_are_left_alone(small, tmp_path):
    before = (small / "participants.tsv").read_bytes()
    with pytest.raises(FileExistsError, match="new or empty folder expected, found files"):
        simulate.simulate_study(small, **SMALL)
    assert (small / "participants.tsv").read_bytes() == before


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(simulate, "_write_truth", full_disk)
    with pytest.raises(OSError, match="no space left"):
        simulate.simulate_study(tmp_path / "demo", **SMALL)
    assert list(tmp_path.iterdir()) == []
