"""A small trial whose answers are known, and a way to run a notebook's cells without a kernel."""

import contextlib
import inspect
import io
import itertools
import re

import jupytext
import nibabel as nib
import numpy as np
import pandas as pd
import yaml
from conftest import run_cell

from analysis_lib.results.environment import PROJECT

SHAPE = (12, 14, 12)  # voxels of 12 mm: a head, coarsely
AFFINE = np.array([[12.0, 0, 0, -66], [0, 12, 0, -96], [0, 0, 12, -54], [0, 0, 0, 1]])
VISITS = {"baseline": 0, "week1": 1, "week3": 3}
N = {"verum": 12, "placebo": 9}
LEFT_AFTER = {"sub-03": "week1", "sub-04": "week1", "sub-15": "baseline"}
RECEPTORS = {  # file: receptor, people, seed of its pattern
    "d1.nii.gz": ("D1", 13, 1),
    "flb.nii.gz": ("D2", 30, 2),
    "rac.nii.gz": ("D2", 10, 3),
    "dasb.nii.gz": ("5-HTT", 18, 4),
    "carf.nii.gz": ("MOR", 39, 5),
}
STUDY = {
    "name": "small",
    "title": "A small trial",
    "data": "bids",
    "declared": {"term": ["headache"]},
    "arms": {"column": "group", "active": "verum", "control": "placebo"},
    "visits": VISITS,
    "exclude": {"eligible": "no"},
    "scales": [
        {"name": "HAMA", "file": "phenotype/hama.tsv", "range": [0, 56]},
        {"name": "HAMD-17", "file": "phenotype/hamd17.tsv", "range": [0, 52], "primary": True},
    ],
    "imaging": {
        "sessions": {"pre": "baseline", "post": "week3"},
        "grey_matter": "derivatives/sub-*/ses-*/anat/*_desc-modulated_probseg.nii.gz",
    },
    "atlas": {"image": "atlas.nii.gz", "table": "atlas.tsv"},
    "regions": ["left area 7", "right area 12"],
}
STUDY["scales"][1]["remission_at_most"] = 7
STUDY["arms"] |= {"active_name": "rTMS", "control_name": "sham coil"}
# Real people: planted in the files, never in an output. The key is fixed, so that tests are.
HOME = "drmustermann"  # a user's folder
REASON = "moved away, ask Anna Wolkenstein, phone 0171-5550123"  # of sub-03
TERM = "fainted in the office of Dr Hagedornbusch"  # a serious event of sub-07
DATE = "2019-03-14"
IN_FILES = "sub-MUC80"  # in the place of sub-


def blocks():
    """Label of each voxel, and the table: 30 areas of eight voxels in each hemisphere."""
    labels, rows = np.zeros(SHAPE, np.int16), []
    for x, y, z in itertools.product(range(6), range(1, 6), (2, 3)):
        label = len(rows) + 1
        labels[2 * x : 2 * x + 2, 2 * y : 2 * y + 2, 2 * z : 2 * z + 2] = label
        area = (min(x, 5 - x) * 5 + y - 1) * 2 + z - 1
        side = "left" if x < 3 else "right"
        rows.append({"label": label, "name": f"{side[0]}{area}", "region": f"area {area}"})
        rows[-1] |= {"hemisphere": side, "tissue": "grey", "structure": "cortex"}
    return labels, pd.DataFrame(rows)


def pattern(seed, labels):
    """Density of each label, 0.1 to 1: smooth, and nearly the same in both hemispheres."""
    rng = np.random.default_rng(seed)
    x, y, z = centres(labels).T
    waves = [
        np.cos(a * np.abs(x) / 20 + b * y / 30 + c * z / 12 + p)
        for a, b, c, p in rng.normal(0, 1, (3, 4)) * [0.6, 1, 0.5, 3]
    ]
    values = np.sum(waves, axis=0) + rng.normal(0, 0.1, len(x))
    return 0.1 + 0.9 * (values - values.min()) / np.ptp(values)


def centres(labels):
    """Middle of each label, mm, (n_labels, 3)."""
    return np.array(
        [
            nib.affines.apply_affine(AFFINE, np.argwhere(labels == k).mean(axis=0))
            for k in range(1, labels.max() + 1)
        ]
    )


def participants():
    """Arms in no order; one more of the active arm is excluded."""
    rng = np.random.default_rng(11)
    arm = rng.permutation(np.repeat(list(N), list(N.values())))
    table = pd.DataFrame({"participant_id": [f"sub-{k:02d}" for k in range(1, 22)], "group": arm})
    for who, arm_of in (("sub-03", "verum"), ("sub-04", "verum"), ("sub-15", "placebo")):
        here = table.index[table["participant_id"] == who][0]
        other = table.index[(table["group"] == arm_of) & ~table["participant_id"].isin(LEFT_AFTER)][
            0
        ]
        table.loc[[here, other], "group"] = table.loc[[other, here], "group"].to_numpy()
    table["tiv"] = np.round(rng.normal(1450, 90, 21) + 60 * (table["group"] == "verum"), 1)
    table["withdrawn_after"] = table["participant_id"].map(LEFT_AFTER)
    guesses = {"verum": ["verum", "verum", "placebo"], "placebo": ["verum", "unknown", "placebo"]}
    order = table.groupby("group").cumcount()
    table["guess"] = [guesses[g][k % 3] for g, k in zip(table["group"], order, strict=True)]
    table["eligible"] = "yes"
    extra = {"participant_id": "sub-22", "group": "verum", "tiv": 1400.0, "eligible": "no"}
    table = pd.concat([table, pd.DataFrame([extra])], ignore_index=True)
    return table.assign(z=np.round(rng.normal(0, 1, 22), 3))


def attended(row):
    visits = list(VISITS)
    left = row.withdrawn_after
    return visits if pd.isna(left) else visits[: visits.index(left) + 1]


FALL = {  # points a week: depression falls more under verum, anxiety under placebo
    "hamd17": {"verum": 4.0, "placebo": 1.0},
    "hama": {"verum": 1.0, "placebo": 3.0},
}


def scores(people, scale):
    """Falls by arm; those of verum with a higher z improve more on the primary scale."""
    rng = np.random.default_rng(21 if scale == "hamd17" else 22)
    rows = []
    for row in people.itertuples():
        first, fall = rng.normal(24, 2.5), FALL[scale][row.group]
        fall += 0.9 * row.z * (scale == "hamd17")
        for visit in attended(row):
            spread = 1.0 if row.group == "verum" else 0.6
            score = first - fall * VISITS[visit] + rng.normal(0, spread) * (visit != "baseline")
            rows.append((row.participant_id, f"ses-{visit}", max(0, round(score))))
    table = pd.DataFrame(rows, columns=["participant_id", "session_id", "total"]).astype(object)
    gap = (table["participant_id"] == "sub-09") & (table["session_id"] == "ses-week1")
    table.loc[gap, "total"] = "n/a"
    return _with_items(table) if scale == "hamd17" else table


def _with_items(table):
    """Seventeen items that add up to the total, more of it in the first ones."""
    total = pd.to_numeric(table["total"], errors="coerce")
    for k in range(17):
        item = (total + 16 - k) // 17
        table[f"item_{k + 1:02d}"] = item.map(lambda v: "n/a" if pd.isna(v) else f"{v:.0f}")
    return table


GAIN = {"verum": 5.0, "placebo": -2.0}  # percent where the density of D1 is 1


def maps(row, labels, density):
    """Grey matter before and after: the change follows D1, up under verum, down under placebo."""
    rng = np.random.default_rng(1000 + int(row.participant_id[-2:]))
    inside = labels > 0
    before = rng.normal(0.7, 0.02) * (1 + 0.1 * rng.normal(size=SHAPE))
    change = rng.normal(0, 0.6, labels.max())
    change = change + GAIN[row.group] * (1 + 0.4 * row.z * (row.group == "verum")) * density
    after = before * (1 + np.r_[0, change][labels] / 100)
    return [np.where(inside, np.clip(m, 0.3, 1.2), 0.02) for m in (before, after)]


def write_study(folder):
    """Write the trial: study file, tables, maps, atlas and receptor maps.

    Returns
    -------
    pathlib.Path
        Of the study file.
    """
    bids = folder / "bids"
    (bids / "phenotype").mkdir(parents=True)
    people = participants()
    told = people.assign(image_missing=None, born=DATE).drop(columns="z")
    told.loc[told["participant_id"] == "sub-03", "image_missing"] = REASON
    _write_table(bids / "participants.tsv", told)
    for scale in FALL:
        _write_table(bids / "phenotype" / f"{scale}.tsv", scores(people, scale))
    _write_conduct(bids, people)
    labels, table = blocks()
    _write_image(folder / "atlas.nii.gz", labels)
    table.to_csv(folder / "atlas.tsv", sep="\t", index=False)
    receptors = _write_receptors(folder, labels)
    for row in people.itertuples():
        for visit, image in zip(
            ("baseline", "week3"), maps(row, labels, pattern(1, labels)), strict=True
        ):
            if visit in attended(row) and row.eligible == "yes":
                name = (
                    f"{row.participant_id}_ses-{visit}_space-MNI152_desc-modulated_probseg.nii.gz"
                )
                place = bids / "derivatives" / row.participant_id / f"ses-{visit}" / "anat"
                _write_image(place / name, image.astype(np.float32))
    path = folder / "small.yml"
    content = STUDY | {"receptors": receptors}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    _rename(bids)
    key = pd.DataFrame({"pseudonym": people["participant_id"]})
    key.insert(0, "participant_id", key["pseudonym"].str.replace("sub-", IN_FILES))
    _write_table(path.with_suffix(".key.tsv"), key)
    return path


def _rename(bids):
    """Give participants other names in files, and in the names of files."""
    for table in bids.rglob("*.tsv"):
        text = re.sub(r"\bsub-(?=\d)", IN_FILES, table.read_text(encoding="utf-8"))
        table.write_text(text, encoding="utf-8")
    for file in sorted(bids.rglob("*sub-*"), reverse=True):
        file.rename(file.with_name(file.name.replace("sub-", IN_FILES)))


def read_raw(folder, name):
    """A table of the trial, participants as in the key."""
    table = pd.read_csv(folder / "bids" / name, sep="\t")
    names = table["participant_id"].str.replace(IN_FILES, "sub-")
    return table.assign(participant_id=names)


def _write_receptors(folder, labels):
    """Maps of one's own; in ten regions one voxel of eight is background."""
    entries = []
    for file, (receptor, n, seed) in RECEPTORS.items():
        density = np.r_[0, pattern(seed, labels)][labels]
        for label in range(seed, 60, 6):
            density[tuple(np.argwhere(labels == label)[0])] = 0
        _write_image(folder / file, density.astype(np.float32))
        entries.append({"receptor": receptor, "file": file, "tracer": file[:-7], "n_subjects": n})
    return entries


def _write_conduct(bids, people):
    """Four sessions planned; placebo patients miss more of them, verum patients report more."""
    sessions, events = [], []
    for k, row in enumerate(people.itertuples()):
        received = 4 - (k % 2 if row.group == "verum" else k % 3)
        for session in range(1, received + 1):
            sessions.append((row.participant_id, session, DATE, 100 + k, 1000 + 10 * k))
        if (row.group == "verum" and k % 2) or k == 5:
            events.append((row.participant_id, "ses-week1", "headache", "mild", "no", "yes"))
    events.append(("sub-07", "ses-week1", TERM, "severe", "yes", "no"))
    columns = ["participant_id", "session", "date", "percent_motor_threshold", "pulses"]
    _write_table(bids / "stimulation.tsv", pd.DataFrame(sessions, columns=columns))
    columns = ["participant_id", "session_id", "term", "severity", "serious", "related"]
    _write_table(bids / "adverse_events.tsv", pd.DataFrame(events, columns=columns))


def _write_table(path, table):
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")


def _write_image(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, AFFINE), path)


# --- a notebook without a kernel


class Recorder:
    """Stands for a function: keeps what it was called with, by the names of its parameters."""

    def __init__(self, function, gives=None):
        self.signature, self.gives, self.calls = inspect.signature(function), gives, []

    def __call__(self, *args, **kwargs):
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        self.calls.append(bound.arguments)
        return self.gives


def run_cells(name, **parameters):
    """Run the code cells of a notebook in this process; return its variables.

    What it shows, as text, is the variable ``_printed``.

    Parameters
    ----------
    name : str
        Stem of the percent script, which holds the same cells as the notebook.
    **parameters
        Instead of the defaults of the parameters cell.
    """
    (script,) = (PROJECT / "notebooks" / "percent").rglob(f"{name}.py")
    variables, printed = {}, io.StringIO()
    for cell in jupytext.read(script).cells:
        if cell.cell_type != "code":
            continue
        with contextlib.redirect_stdout(printed):
            run_cell(cell.source, variables)
        if "parameters" in cell.metadata.get("tags", []):
            assert set(parameters) <= set(variables)
            variables |= parameters
    return variables | {"_printed": printed.getvalue()}
