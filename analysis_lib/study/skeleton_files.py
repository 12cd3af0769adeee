"""The empty tables and texts of a new study."""

import json


def bids_files(title, arms, weeks, scales, images, n_participants):
    """Text of each file of the skeleton's BIDS folder, by its path."""
    who = _participants(n_participants)
    about = participant_columns(arms, images)
    given = {"withdrawn_after": "n/a", "image_missing": "n/a", "guess": "n/a"}
    rows = [{"participant_id": name} | given for name in who]
    files = {
        "dataset_description.json": _json(_description(title, "raw")),
        "README": _readme(title, images),
        ".bidsignore": "adverse_events.*\nstimulation.*\n",
        **empty_table("participants", about, rows),
    }
    sessions = [f"ses-{visit}" for visit in weeks]
    for scale in scales:
        low, high = scale.range
        rated = [{"participant_id": w, "session_id": s} for w in who for s in sessions]
        files |= empty_table(
            scale.file.removesuffix(".tsv"),
            {
                "participant_id": "Participant, as in participants.tsv",
                "session_id": f"Visit: {', '.join(sessions)}",
                "total": f"Total score, {low:g} to {high:g}",
            },
            rated,
            {"MeasurementToolMetadata": {"Description": scale.name}},
        )
    for name in who:
        rows = [{"session_id": session} for session in sessions]
        files |= empty_table(
            f"{name}/{name}_sessions", {"session_id": "Visit that took place"}, rows
        )
    if images == "maps":
        about = _description(f"Grey-matter maps of: {title}", "derivative")
        about["SourceDatasets"] = [{"URL": "../.."}]
        files["derivatives/vbm/dataset_description.json"] = _json(about)
        files["derivatives/vbm/README"] = _maps_readme(title, weeks)
    return {f"bids/{where}": text for where, text in files.items()}


def _participants(n):
    digits = max(2, len(str(n)))
    return [f"sub-{number:0{digits}d}" for number in range(1, n + 1)]


def participant_columns(arms, images="maps"):
    """Columns of participants.tsv, each with what its JSON file says."""
    words = {"active": "active stimulation", "sham": "sham coil"}
    levels = {arm: words.get(arm, arm) for arm in arms}
    columns = {
        "participant_id": "sub- and letters or digits",
        "age": {"Description": "Age at baseline", "Units": "year"},
        "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
        "arm": {"Description": "Randomised arm", "Levels": levels},
        "withdrawn_after": "Last visit, without ses-, of a participant who withdrew; n/a: stayed",
    }
    if images != "none":
        why = "Why a participant who stayed has only one of the two images, in words; n/a: has both"
        columns["image_missing"] = why
    asked = "Arm that the participant guessed; n/a: not asked"
    unknown = {"unknown": "does not know"}
    return columns | {"guess": {"Description": asked, "Levels": levels | unknown}}


def _description(title, kind):
    return {
        "Name": title,
        "BIDSVersion": "1.10.0",
        "DatasetType": kind,
        "License": "n/a",
        "Authors": ["Name them"],
        "GeneratedBy": [{"Name": "analysis_lib.study.skeleton", "Version": "0.1.0"}],
    }


def _readme(title, images):
    pictures = {
        "maps": "Grey-matter maps go to derivatives/vbm; see the README there.\n",
        "t1w": "T1-weighted images: sub-01/ses-baseline/anat/sub-01_ses-baseline_T1w.nii.gz\n",
        "none": "",
    }[images]
    return f"""{title}

Describe the trial here: the participants, their treatment, and when and by whom they were rated.

Tables are tab-separated text in UTF-8. Missing is n/a; an empty cell is still to be filled in.
The JSON file beside a table explains its columns; add a line there for a column that you add.
participants.tsv: one row per participant. Optional further columns: site (centre), tiv (total
intracranial volume, ml).
phenotype/: one row per participant and visit. A visit that did not take place has no row, or n/a.
sub-*/sub-*_sessions.tsv: one row per visit that took place. BIDS requires a folder for each
participant; without images it holds only this file.
{pictures}"""


def _maps_readme(title, weeks):
    visit = next(iter(weeks))
    return f"""Grey-matter maps of: {title}

One map per participant and session, in MNI space, modulated, unsmoothed, all on one grid:

sub-01/ses-{visit}/anat/sub-01_ses-{visit}_space-MNI152NLin2009cAsym_label-GM_desc-modulated_probseg.nii.gz

BIDS requires a JSON file of the same name beside it. Maps of CAT12, SPM or deepmriprep keep
their names: change grey_matter in the study file.
"""


def empty_table(stem, columns, rows=(), more=None):
    """A TSV file and the JSON file that describes its columns; missing cells are empty."""
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    text = "".join("\t".join(line) + "\n" for line in lines)
    described = {k: {"Description": v} if isinstance(v, str) else v for k, v in columns.items()}
    return {f"{stem}.tsv": text, f"{stem}.json": _json({**(more or {}), **described})}


def _json(content):
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
