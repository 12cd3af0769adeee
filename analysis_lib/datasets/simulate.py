"""A simulated trial with a known truth, written as a BIDS dataset."""

import gzip
import json
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import pandas as pd

from analysis_lib.atlas.template import SPACE, mni_image
from analysis_lib.datasets.trial import attended_visits, random_stream, simulate_trial
from analysis_lib.datasets.trial_images import simulate_pair
from analysis_lib.datasets.truth import (
    HAMD_ITEMS,
    SIMULATED,
    STEP,
    TOP_VALUE,
    VISITS,
    smooth_percent,
)

WORDS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def simulate_study(folder, **options):
    """Write a simulated trial as a BIDS dataset, with its truth beside it; whole or not at all.

    The same seed gives the same numbers on every machine: maps are rounded to ``STEP`` and files
    carry no time stamps. (Compressed bytes agree where zlib is the same, their content always.) The
    folder must not exist, or be empty: the truth, which is returned, goes to ``derivatives/truth``,
    the maps to ``derivatives/vbm``. Options are those of :func:`simulate_trial`.
    """
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileExistsError(
            f"{folder}: a new or empty folder expected, found files. Nothing was written: "
            "remove the folder to simulate it anew, or name another"
        )
    trial = simulate_trial(**options)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        partial = Path(beside) / folder.name
        _write_dataset(partial, trial)
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)
    return read_truth(folder)


def read_truth(folder):
    """The planted truth of a simulated study: what ``derivatives/truth/truth.json`` holds."""
    return json.loads((Path(folder) / "derivatives" / "truth" / "truth.json").read_text("utf-8"))


def true_change(folder, fwhm_mm=8):
    """Percent change that an average active patient's map, smoothed with ``fwhm_mm``, shows."""
    maps = Path(folder) / "derivatives" / "truth"
    planted, template = (nib.load(maps / f"{name}.nii.gz") for name in ("planted", "template"))
    return smooth_percent(planted, template, fwhm_mm)


def _write_dataset(folder, trial):
    title = "Simulated sham-controlled rTMS trial" + (" (null)" if trial.truth["null"] else "")
    _write_json(folder / "dataset_description.json", _description(title, "raw", SourceDatasets=[]))
    _write_readme(folder, "readme", title=title)
    _write_text(folder / ".bidsignore", "adverse_events.*\nstimulation.*\n")
    people = trial.participants[list(WORDS["participants"])]
    _write_table(folder / "participants.tsv", people, WORDS["participants"])
    _write_phenotype(folder / "phenotype", trial.scores)
    _write_sessions(folder, trial)
    _write_conduct(folder, trial)
    _write_maps(folder / "derivatives" / "vbm", trial)
    _write_truth(folder / "derivatives" / "truth", trial)


def _description(name, kind, **more):
    return {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": kind,
        "License": "CC0",
        "Authors": ["analysis_lib.datasets.simulate", "A simulation: it has no other authors"],
        "Acknowledgements": SIMULATED,
        "GeneratedBy": [{"Name": "analysis_lib.datasets.simulate", "Version": "0.1.0"}],
        **more,
    }


def _write_phenotype(folder, scores):
    keys = ["participant_id", "session_id"]
    described = {"participant_id": "Participant", "session_id": "Session of the rating"}
    items = {
        f"item_{k:02d}": f"{what}, 0 to {top}" for k, (what, top, _) in enumerate(HAMD_ITEMS, 1)
    }
    for name, label, top, columns in (
        ("hamd17", "Hamilton Depression Rating Scale, 17 items", 52, items),
        ("hama", "Hamilton Anxiety Rating Scale", 56, {}),
    ):
        table = scores[[*keys, *columns, name]].rename(columns={name: "total"})
        described_all = {**described, **columns, "total": f"Sum of the items, 0 to {top}"}
        tool = {"MeasurementToolMetadata": {"Description": label}}
        _write_table(folder / f"{name}.tsv", table, described_all, tool)


def _write_sessions(folder, trial):
    columns = {
        "session_id": "Visit that took place",
        "week": {"Description": "Time since the first treatment", "Units": "week"},
    }
    for name, visits in _visits_attended(trial).items():
        rows = [{"session_id": f"ses-{visit}", "week": VISITS[visit]} for visit in visits]
        path = folder / name / f"{name}_sessions.tsv"
        _write_table(path, pd.DataFrame(rows), columns)


def _visits_attended(trial):
    """Visits of each participant, without those that were missed."""
    rated = trial.scores.dropna(subset=["hamd17"])
    visits = rated["session_id"].str.removeprefix("ses-")
    return visits.groupby(rated["participant_id"]).apply(list).to_dict()


def _write_conduct(folder, trial):
    """Treatment sessions and adverse events; arms differ only by chance."""
    sessions, events = [], []
    for row in trial.participants.itertuples():
        random = random_stream(trial.seed, row.number, "conduct")
        sessions += _treatment(random, row)
        events += _complaints(random, row)
    _write_table(folder / "stimulation.tsv", pd.DataFrame(sessions), WORDS["stimulation"])
    table = pd.DataFrame(events, columns=list(WORDS["events"]))
    _write_table(folder / "adverse_events.tsv", table, WORDS["events"])


def _treatment(random, row):
    """Fifteen weekday sessions from a Monday on, as many weeks as the participant stayed."""
    weeks = VISITS.get(row.withdrawn_after, 3)
    monday = date(1920, 1, 5) + timedelta(weeks=int(random.integers(40)))
    threshold, came = 110 + 10 * int(random.integers(2)), random.random(15) > 0.03
    return [
        {
            "participant_id": row.participant_id,
            "session": day + 1,
            "date": (monday + timedelta(days=7 * (day // 5) + day % 5)).isoformat(),
            "percent_motor_threshold": threshold,
            "pulses": 3000,
        }
        for day in range(5 * weeks)
        if came[day]
    ]


def _complaints(random, row):
    terms = ("headache", "scalp discomfort", "dizziness", "insomnia")
    visits = attended_visits(row.withdrawn_after)[1:]
    drawn = random.random((3, 4)) < np.array([0.12, 0.10, 0.04, 0.03])
    moderate = random.random((3, 4)) < 0.2
    return [
        {
            "participant_id": row.participant_id,
            "session_id": f"ses-{visit}",
            "term": terms[t],
            "severity": "moderate" if moderate[v, t] else "mild",
            "serious": "no",
            "related": "no" if terms[t] == "insomnia" else "yes",
        }
        for v, visit in enumerate(visits)
        for t in np.flatnonzero(drawn[v])
    ]


def _write_maps(folder, trial):
    title = "Simulated grey-matter maps"
    source = [{"URL": "../..", "Version": f"seed {trial.seed}"}]
    about = _description(title, "derivative", SourceDatasets=source)
    _write_json(folder / "dataset_description.json", about)
    _write_readme(folder, "maps_readme", title=title)
    for row in trial.participants.itertuples():
        pre, post = simulate_pair(trial, row.participant_id)
        _write_map(folder, row.participant_id, "baseline", pre, trial)
        if pd.isna(row.withdrawn_after):
            _write_map(folder, row.participant_id, "week3", post, trial)


def _write_map(folder, name, visit, steps, trial):
    entities = f"{name}_ses-{visit}_space-{SPACE}_label-GM_desc-modulated_probseg"
    path = folder / name / f"ses-{visit}" / "anat" / f"{entities}.nii.gz"
    _write_image(path, mni_image(steps, trial.template.affine, STEP, top=TOP_VALUE))
    about = {
        "Description": f"Modulated grey matter. {SIMULATED}",
        "Sources": [],
        "SpatialReference": "ICBM 152 nonlinear symmetric 2009a template, as nilearn packages it",
        "SkullStripped": True,
        "Resolution": f"{trial.truth['resolution_mm']} mm isotropic",
    }
    _write_json(path.with_name(f"{entities}.json"), about)


def _write_truth(folder, trial):
    about = _description("Planted truth of a simulated trial", "derivative")
    _write_json(folder / "dataset_description.json", about)
    _write_readme(folder, "truth_readme")
    _write_text(folder / ".bidsignore", "*.nii.gz\ntruth.json\n")
    _write_json(folder / "truth.json", trial.truth)
    _write_image(folder / "planted.nii.gz", trial.planted)
    _write_image(folder / "template.nii.gz", trial.template)


def _write_image(path, image):
    """NIfTI, compressed without a time stamp or a file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))


def _write_table(path, table, columns, more=None):
    """TSV with a sidecar that describes each column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", lineterminator="\n")
    described = {k: {"Description": v} if isinstance(v, str) else v for k, v in columns.items()}
    _write_json(path.with_suffix(".json"), {**(more or {}), **described})


def _write_readme(folder, which, **said):
    words = said | {"simulated": SIMULATED, "space": SPACE, "step": STEP}
    _write_text(folder / "README", "\n".join([*WORDS[which], ""]).format(**words))


def _write_json(path, content):
    _write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
