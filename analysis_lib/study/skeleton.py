"""The skeleton of a trial: a commented study file and tables to fill in."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from analysis_lib.study.conduct import SEVERITIES
from analysis_lib.study.contract import (
    ATLASES,
    FRONTAL_LIMBIC,
    MADE_MAPS,
    STUDIES,
    Imaging,
    Scale,
    load_study,
)
from analysis_lib.study.skeleton_files import bids_files, empty_table

SCALES = ("HAMD-17:0:52:7", "HAMA:0:56")
VISITS = "baseline,week1,week2,week3"
ARMS = "active,sham"
IMAGES = ("maps", "t1w", "none")
MOST_PARTICIPANTS = 999


def new_study(
    folder,
    *,
    name=None,
    title=None,
    arms=ARMS,
    visits=VISITS,
    scales=SCALES,
    images="maps",
    n_participants=0,
):
    """Write a commented study file and a BIDS folder with empty tables.

    Parameters
    ----------
    folder : path
        Must not exist, or be empty. It gets ``<name>.yml``, ``bids/`` and ``optional/``.
    name : str, optional
        Of the study and its folders of results; default: the folder's name, made to fit.
    title : str, optional
        For headings.
    arms : str
        The two values of column arm, active first: "active,sham".
    visits : str
        In order, baseline first: "baseline,week1,week3". The number in a visit's name is its week;
        otherwise say it: "pre=0,post=4".
    scales : sequence of str
        "NAME:LOWEST:HIGHEST" or "NAME:LOWEST:HIGHEST:REMISSION", the primary outcome first.
    images : {"maps", "t1w", "none"}
        Grey-matter maps of one's own, T1-weighted images that notebook 00 makes maps from, or none.
    n_participants : int
        Rows to prepare, sub-01 and on, with empty cells; 0 writes headers alone.

    Returns
    -------
    pathlib.Path
        The study file.

    Raises
    ------
    FileExistsError
        If the folder holds anything.
    ValueError
        If an argument cannot be read, or the study file would not be valid
        (:class:`analysis_lib.results.problems.StudyError`). Nothing is written then.
    """
    folder = Path(folder).absolute()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileExistsError(
            f"{folder}: a new or empty folder expected, found files. Nothing was written: "
            "name another folder"
        )
    name = name or re.sub(r"[^a-z0-9_-]+", "_", folder.name.lower()).strip("_-") or "my_trial"
    words = read_arms(arms)
    title = title or (
        "Sham-controlled rTMS trial" if arms == ARMS else f"Randomised trial, {' and '.join(words)}"
    )
    if (STUDIES / f"{name}.yml").exists():
        raise ValueError(
            f"name: one that no study in data/studies has expected, found {name!r}: the results "
            "of both would lie in one folder. Say --name"
        )
    _check_choices(images, n_participants)
    weeks, parsed = read_visits(visits), read_scales(scales)
    files = {
        f"{name}.yml": study_text(name, title, words, weeks, parsed, images),
        **bids_files(title, words, weeks, parsed, images, n_participants),
        **_optional_files(weeks),
        ".gitignore": "*.key.tsv\nbids/\n",
    }
    _write(folder, files, f"{name}.yml")
    return folder / f"{name}.yml"


def _check_choices(images, n_participants):
    if images not in IMAGES:
        raise ValueError(f"images: one of {', '.join(IMAGES)} expected, found {images!r}")
    if not 0 <= n_participants <= MOST_PARTICIPANTS:
        raise ValueError(
            f"n_participants: 0 to {MOST_PARTICIPANTS} expected, found {n_participants}"
        )


def _write(folder, files, study_file):
    """Write all files, or none: beside the folder, checked, then moved into its place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        partial = Path(beside) / folder.name
        for where, text in files.items():
            path = partial / where
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        load_study(partial / study_file)
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)


def read_arms(text):
    """The two values of the arm's column, active first, from "active,sham"."""
    words = [word.strip() for word in text.split(",")]
    if len(words) != 2 or not all(words) or words[0] == words[1]:
        raise ValueError(
            f"arms: two words, active first, as in {ARMS!r} expected, found {text!r}. "
            "Trials with more arms are not supported"
        )
    return tuple(words)


def read_visits(text):
    """Week of each visit, by its name, from "baseline,week1" or "pre=0,post=4".

    The first visit is week 0. Of another without "=" the number in its name is the week.
    """
    weeks = {}
    for position, part in enumerate(text.split(",")):
        label, _, week = (piece.strip() for piece in part.partition("="))
        label = label.removeprefix("ses-")
        number = re.search(r"\d+", label)
        week = week or (0 if position == 0 else number and number.group())
        try:
            weeks[label] = float(week)
        except (TypeError, ValueError):
            raise ValueError(
                f"visits: a week for {label!r} expected, as in {label or 'post'}=4, found {part!r}"
            ) from None
    return weeks


def read_scales(texts):
    """Scales from "NAME:LOWEST:HIGHEST" or "NAME:LOWEST:HIGHEST:REMISSION", the primary first."""
    return [_read_scale(text, primary=k == 0) for k, text in enumerate(texts)]


def _read_scale(text, primary):
    name, *numbers = (part.strip() for part in text.split(":"))
    stem = "".join(c for c in name.lower() if c.isascii() and c.isalnum())
    try:
        low, high, *cut = map(float, numbers)
        (cut,) = cut or [None]
        if not stem:
            raise ValueError
    except ValueError:
        raise ValueError(
            "scale: NAME:LOWEST:HIGHEST or NAME:LOWEST:HIGHEST:REMISSION, as in "
            f"{SCALES[0]}, expected, found {text!r}"
        ) from None
    file = f"phenotype/{stem}.tsv"
    try:
        return Scale(
            name=name, file=file, range=(low, high), primary=primary, remission_at_most=cut
        )
    except ValueError as error:  # pydantic's own words hold an address of its documentation
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"scale {text!r}: {reason}") from None


def study_text(name, title, arms, weeks, scales, images):
    """A study file in which a comment explains every key.

    An optional key is a comment that holds its default, or an example where it has none; with "# "
    taken away, the file is valid, too.
    """
    visits = ", ".join(f"{_scalar(visit)}: {week:g}" for visit, week in weeks.items())
    first, last = _scalar(next(iter(weeks))), _scalar(list(weeks)[-1])
    regions = "\n".join(f"#   - {region}" for region in FRONTAL_LIMBIC)
    return f"""\
# The study file of a trial. A line that begins with "# " and a key is optional: it shows the
# default, or an example if there is none. Remove "# " to use it.
# To list every problem of this file, and of the tables and images that it names:
#     python -m analysis_lib check-study {name}.yml
# The project's data/README.md has more on each key; docs/your_own_trial.md goes through a trial
# step by step.

name: {_scalar(name)}  # names the folders of results: lower-case letters, digits, - and _
title: {_scalar(title)}  # for headings
data: bids  # the BIDS folder, relative to this file
# simulated: false  # true labels every number and picture SIMULATED
# Results name no participant: pseudonyms stand for them, and words that are not declared are called
# "other". The key of the pseudonyms will lie beside this file: keep it to yourself.
# public: false  # true: open data, whose participants are named as they are
# declared: {{}}  # words that outputs may show, by column: {{term: [headache, nausea]}}

# Two arms: the column of participants.tsv that holds them, and its two values as written there.
arms:
  # Without a control arm write instead, in one line: arms: none
  column: arm
  active: {_scalar(arms[0])}
  control: {_scalar(arms[1])}
  # active_name: {_scalar(arms[0])}  # name in text and figures (default: the value above)
  # control_name: {_scalar(arms[1])}
  # left_out: []  # further arms, in the flow and nowhere else: [waiting list]

# Visits in order, each with its week; the first is the baseline, week 0. In the tables, the
# session_id of a visit has ses- before it: ses-{next(iter(weeks))}.
visits: {{{visits}}}
# primary_visit: {last}  # visit of the primary contrast (default: the last)
# windows: {{}}  # first and last day of a visit, to count those outside: {{{last}: [18, 25]}}
# other_sessions: []  # sessions in the tables that are not analysed: [month6]
# strata: []  # columns of participants.tsv that the randomisation was stratified by: [site]
# model: {{factors: [], covariates: [], strata: true}}  # what clinical models adjust for, too
# exclude: {{}}  # column and value of participants to exclude: {{eligible: no}}
# not_randomised: {{}}  # people in the tables who were never in the trial: {{group: HC}}
# estimand: {{}}  # ratings after stopping: {{treatment_stopped: treatment_policy}}; data/README.md
# registered: null  # primary outcome of the registration: {{outcome: HAMD-17, registry: NCT0...}}

# Clinical scales. Exactly one has primary: true.
scales:
{"".join(_scale_text(scale) for scale in scales)}
# Columns of participants.tsv to adjust for: numbers or a few categories. Every participant needs a
# value. For none: []
covariates: [age, sex]

# Images before and after treatment. Without this key, only the clinical notebooks run.
# In their place there can be a table of regions (table: FILE, values: percent_change), or no
# participants at all but one map (effect: ..., written by compare-map): see data/README.md.
{_imaging_text(images, first, last)}
# The atlas of regions: {", ".join(ATLASES[:3])},
# schaefer100 to schaefer1000, or the path of a label image in MNI space, relative to this file.
# atlas: neuromorphometrics

# Atlas regions of interest, chosen before looking at any map. Another atlas has other names.
# regions:
{regions}
# region_sets: {{}}  # tested as sets: {{limbic: [left amygdala, left hippocampus]}}
# equivalence: null  # change by region that counts as none, percent: {{percent: 1}}

# Receptor maps: default (18), all (40), or a list of receptors and annotations, [D1, 5HTT].
# Your own map is an entry in the list: {{receptor: mGluR5, file: maps/mglur5.nii.gz}}, with the
# file relative to this one. Optional keys are shown in tables (tracer: "[11C]ABP688",
# and age: 33 +/- 11, reference: Authors 2016, licence: CC0). To combine the map with another
# of its receptor, give n_subjects: 31. A checksum, md5: 0123..., is checked first.
# receptors: default
# accept: []  # warnings of check-study that were looked at and are no fault
# outside: false  # true: files outside this folder and an absolute data folder are meant
"""


def _scalar(value):
    """A value as YAML writes it within a line, quoted where it must be."""
    text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**6)
    return text.strip()[1:-1]


def _scale_text(scale):
    low, high = scale.range
    cut = scale.remission_at_most
    lines = [
        f"  - name: {_scalar(scale.name)}  # for text and figures",
        f"    file: {_scalar(scale.file)}  # below the BIDS folder",
        "    # column: total  # column of the total; items (item_01, item_02, ...) can replace it",
        f"    range: [{low:g}, {high:g}]  # lowest and highest total possible",
    ]
    lines += ["    primary: true  # the primary outcome"] if scale.primary else []
    lines += [] if scale.primary else ["    # primary: false"]
    about = "highest total that counts as remission; without it, not analysed"
    hint = "# " if cut is None else ""
    lines += [f"    {hint}remission_at_most: {low if cut is None else cut:g}  # {about}"]
    lines += [
        "    # better: lower  # or higher; then remission_at_least, and a rule for response:",
        "    # remission_at_least: null",
        "    # response: null  # {points: 5}, or {percent: 50, of: room}; data/README.md",
        "    # items: null  # HAMD-17, MADRS, ...: whose item maxima are checked",
        "    # prorate_at_most: 0  # missing items that a total may have",
    ]
    return "\n".join(lines) + "\n"


def _imaging_text(images, first, last):
    maps = f"derivatives/vbm/{MADE_MAPS}"
    lines = [
        "imaging:",
        f"  sessions: {{pre: {first}, post: {last}}}  # visits with an image",
        "  # Modulated grey-matter maps in MNI space, below the BIDS folder. Those of CAT12, SPM",
        "  # and deepmriprep are read in place, for example",
        "  # derivatives/CAT12.9/sub-*/ses-*/anat/mri/mwp1*.nii",
        f"  {'' if images == 'maps' else '# '}grey_matter: {maps}",
        "  # T1-weighted images; notebook 00 makes maps from them if grey_matter matches none.",
        f"  # t1w: {Imaging.model_fields['t1w'].default}",
        "  # accept_unmodulated: false  # true: accept unmodulated maps; see data/README.md",
    ]
    if images == "none":
        lines = [f"# {line}" for line in lines]
    return "\n".join(lines) + "\n"


def _optional_files(weeks):
    yes_no = {"yes": "yes", "no": "no"}
    severities = {word: word for word in SEVERITIES}
    events = {
        "participant_id": "Participant, as in participants.tsv",
        "session_id": f"Visit at which it was reported, for example ses-{list(weeks)[-1]}",
        "term": "What was reported; always spell the same event the same way",
        "severity": {"Description": "Severity", "Levels": severities},
        "serious": {"Description": "Serious", "Levels": yes_no},
        "related": {"Description": "Related to treatment; n/a: not judged", "Levels": yes_no},
    }
    stimulation = {
        "participant_id": "Participant, as in participants.tsv",
        "session": "Number of the treatment session, from 1",
        "date": "Date, as in 2025-12-31, or n/a",
        "percent_motor_threshold": {"Description": "Intensity", "Units": "percent"},
        "pulses": "Pulses given (by a sham coil: played); 0: not received",
    }
    files = empty_table("adverse_events", events) | empty_table("stimulation", stimulation)
    return {f"optional/{where}": text for where, text in (files | {"README": _OPTIONAL}).items()}


_OPTIONAL = """\
Optional tables. To use one, fill it in and move it, with its JSON file, into bids/.

adverse_events.tsv: one row per event. A file in bids/ with only its header means that events were
asked about and none was reported; therefore it is not there yet.
stimulation.tsv: one row per treatment session that a participant received.
"""
