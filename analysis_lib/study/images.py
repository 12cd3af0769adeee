"""Images of a study: found by pattern, named after BIDS, paired by participant."""

import json
import re
from pathlib import Path

import pandas as pd
import yaml

from analysis_lib.results.problems import Listing, Problem, StudyError
from analysis_lib.study.participants import analysed
from analysis_lib.study.pseudonyms import named

# What in a name says that a map holds volumes (modulated), and which pipeline made it: CAT12's,
# T1Prep's and deepmriprep's prefix mwp1, with all that stands before the image's own name
# (longitudinal: mwp1r, mwp1ru and, modulated twice, mwmwp1r), SPM's, T1Prep's names after BIDS
# (its longitudinal ones say modulated twice, or desc-long), and this project's own.
KIND = re.compile(
    r"^(?:mw)?mwp1(?:[a-z]*(?=sub-)|r?u?(?=[A-Z]))?|^mwc1"
    r"|nonlinear(?:-modulated)+(?:_desc-long)?|desc-longModulated|desc-modulated"
)
# Other outputs of the same programs that a glob can catch: what they are, why they are of no use.
NO_SESSION_MAPS = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
OWN_SPACE = r"^r?[pc]1|_space-(?!MNI)"
T1W = "T1w image"
ERROR_MAPS = {  # what notebook 00 keeps to tell how far to trust a change between two visits
    "registration_error": "What registration to the second visit and back does not undo, as volume",
    "image_sharpness": "Local sharpness at the second visit over that at the first",
}


def find_maps(study, participants):
    """Find the grey-matter maps of a study's two imaging sessions: participant_id, visit, path.

    Empty when the study has no images. A `StudyError` has every map of an unknown participant,
    without a session in its path, not modulated, smoothed, an average over sessions, of another
    tissue, not in MNI space by its name, or twice for one participant and session; it is raised,
    too, where maps of several kinds, or made with several settings, are mixed.
    """
    maps, found = named_maps(study, participants)
    if found:
        raise StudyError(found)
    return maps


def named_maps(study, participants):
    """Grey-matter maps of the two sessions, and what is wrong with the names of all."""
    maps, found = by_session(study, participants, study.grey_matter_maps(), "grey-matter map")
    found += [] if found else _kind_problems(maps["path"])
    found += [] if found else _mixture_problems(study, maps["path"])
    return maps, found


def beside(path, measure):
    """Where notebook 00 keeps a map of `ERROR_MAPS`, beside the second visit's grey matter."""
    stem, _, _ = path.name.partition("_label-GM")
    return path.with_name(f"{stem}_desc-{measure.replace('_', '')}_map.nii.gz")


def find_t1w(study, participants):
    """Find the T1-weighted images of a study's two imaging sessions: participant_id, visit, path.

    Empty when the study has none. A `StudyError` has every image of an unknown participant, without
    a session of the study in its path, or twice for one participant and session.
    """
    scans, found = by_session(study, participants, study.t1w_images(), T1W)
    if found:
        raise StudyError(found)
    return scans


def by_session(study, participants, paths, what):
    """Images of the two sessions, a row each, and what is wrong with the names of all."""
    columns = ["participant_id", "visit", "path"]
    rows = [(*_entities(below_root(study, path)), path) for path in paths]
    table = pd.DataFrame(rows, columns=columns)
    table["participant_id"] = table["participant_id"].map(named(study))
    found = [*_name_problems(study, table, participants, what)]
    if study.imaging:
        sessions = [study.imaging.sessions.pre, study.imaging.sessions.post]
        table = table[table["visit"].isin(sessions)].reset_index(drop=True)
    for who, visit in table.loc[table.duplicated(columns[:2]), columns[:2]].itertuples(index=False):
        same = table[(table["participant_id"] == who) & (table["visit"] == visit)]["path"]
        names = ", ".join(path.name for path in same)
        narrow = "Narrow imaging.t1w to one" if what == T1W else ""
        found.append(Problem("", f"{who}, ses-{visit}", f"one {what}", names, narrow))
    return table, found


def below_root(study, path):
    """A path below the data folder, or below a folder of results: a variant's or the default."""
    folders = (study.root, study.derived, study.as_variant().derived)
    return path.relative_to(next(folder for folder in folders if path.is_relative_to(folder)))


def _entities(path):
    """Participant and session that a path names; several, joined, where it contradicts itself."""
    text = path.as_posix()
    people = dict.fromkeys(re.findall(r"sub-[A-Za-z0-9]+", text))
    visits = dict.fromkeys(re.findall(r"(?<![A-Za-z0-9])ses-([A-Za-z0-9]+)", text))
    return " and ".join(people) or None, " and ".join(visits) or None


def _name_problems(study, table, participants, what):
    known = set(participants["participant_id"])
    for who, visit, path in table.itertuples(index=False):
        where = below_root(study, path).as_posix()
        if who not in known:
            found = who or "no sub- in the path"
            yield Problem(where, "", "a participant of participants.tsv", found)
        if visit not in {*study.visits, *study.other_sessions}:
            sessions = ", ".join(f"ses-{v}" for v in study.visits)
            found = visit or "no ses- in it"
            yield Problem(where, "", f"one of {sessions} expected in the path", found)
        if what != T1W and (reason := refusal(path, study.imaging.accept_unmodulated)):
            yield Problem(where, text=reason)


def refusal(path, accept_unmodulated):
    """Why a map is refused by its name; None if it is not."""
    expected = "a modulated map expected (desc-modulated, mwp1 or mwc1 in its name)"
    for pattern, found in NO_SESSION_MAPS.items():
        if re.search(pattern, path.name):
            return f"{expected}, found {found}"
    if kind_of(path) == "unmodulated" and not accept_unmodulated:
        return (
            f"{expected}, found none of them. Without modulation a map holds the share of tissue, "
            "not its volume, and normalisation has removed the change that VBM looks for. "
            "(fMRIPrep and sMRIPrep write no modulated maps.) Say accept_unmodulated: true under "
            "imaging to use it all the same"
        )
    if re.search(OWN_SPACE, path.name):
        return (
            "a map in MNI space expected (space-MNI..., or w in CAT12's and SPM's prefix), found "
            "one in the participant's own space or another. Give the normalised map"
        )
    return None


def kind_of(path):
    if path.parent.name == "mwp1":  # deepmriprep's layout with a folder for each output
        return "mwp1"
    found = KIND.search(path.name)
    return found.group() if found else "unmodulated"


def _kind_problems(paths):
    """Modulated maps of several kinds: their differences would pass for change."""
    kinds = pd.Series([kind_of(path) for path in paths], dtype=object).value_counts()
    kinds = kinds.drop("unmodulated", errors="ignore")  # here only where the study asks for them
    if len(kinds) < 2:
        return []
    counts = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    fewest = tuple(path.name for path in paths if kind_of(path) == kinds.index[-1])
    found = Listing(fewest, f"{counts} ({kinds.index[-1]}: {{}})", shown=3)
    remedy = (
        "Each program and each of its pipelines measures in its own way: process all images "
        "alike, or narrow imaging.grey_matter"
    )
    return [Problem("", "", "grey-matter maps of one kind", found, remedy)]


def _mixture_problems(study, paths):
    """Maps that notebook 00 made with several settings, as after an interrupted run."""
    made = [_settings(path) for path in paths if path.is_relative_to(study.made_maps)]
    names = sorted({name for settings in made for name in settings})
    differ = [n for n in names if len({str(settings.get(n)) for settings in made}) > 1]
    if not differ:
        return []
    texts = [", ".join(f"{n} {settings.get(n, 'unknown')}" for n in differ) for settings in made]
    kinds = pd.Series(texts, dtype=object).value_counts()
    counts = "; ".join(f"{n} with {text}" for text, n in kinds.items())
    remedy = "Run it to its end (python run_all.py --only 00): it makes those anew that differ"
    return [Problem("", "", "maps that notebook 00 made with the same settings", counts, remedy)]


def _settings(path):
    """Settings in the JSON file beside a map of notebook 00; none if there are none."""
    (file,) = own_sidecars(path)
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["Settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def pair_maps(study, participants, maps, what="map"):
    """Bring the two maps, or T1w images (``what``, for messages), of each participant together.

    One row a participant that the study does not exclude: participant_id, arm, pre, post (paths or
    missing), status ("analysed", "no images", or "no image after treatment" and the like). A
    `StudyError` has every participant who has one session and no ``withdrawn_after`` (before the
    second session) or ``image_missing`` (a reason in words) that explains it.
    """
    sessions = study.imaging.sessions
    wide = maps.pivot(index="participant_id", columns="visit", values="path")
    wide = wide.reindex(columns=[sessions.pre, sessions.post]).set_axis(["pre", "post"], axis=1)
    pairs = analysed(participants).join(wide, on="participant_id")
    excused = pairs["withdrawn_after"].map(lambda visit: _before(study, visit, sessions.post))
    reason = pairs.get("image_missing", pd.Series(pd.NA, pairs.index))
    one_only = pairs["pre"].notna() ^ pairs["post"].notna()
    explained = (excused & pairs["pre"].notna()) | reason.notna()
    unexplained = pairs[one_only & ~explained]
    if len(unexplained):
        raise StudyError(_unpaired(study, row, what) for _, row in unexplained.iterrows())
    pairs["status"] = "analysed"
    pairs.loc[pairs["pre"].isna(), "status"] = f"no image at {sessions.pre}"
    pairs.loc[pairs["post"].isna(), "status"] = f"no image at {sessions.post}"
    pairs.loc[pairs["pre"].isna() & pairs["post"].isna(), "status"] = "no images"
    told = reason.notna() & pairs["status"].ne("analysed")
    pairs.loc[told, "status"] += ": " + reason[told].astype(str)
    return pairs[["participant_id", "arm", "pre", "post", "status"]].reset_index(drop=True)


def _before(study, visit, later):
    """Whether a participant who left after a visit was gone at a later one."""
    visits = list(study.visits)
    return not pd.isna(visit) and visits.index(visit) < visits.index(later)


def _unpaired(study, row, what):
    sessions = study.imaging.sessions
    pattern = study.imaging.t1w if what == T1W else study.imaging.grey_matter
    there, lacking = (sessions.pre, sessions.post)[:: 1 if pd.isna(row["post"]) else -1]
    remedy = (
        f"If the participant withdrew before ses-{lacking}, say so in "
        "withdrawn_after of participants.tsv; if there is another reason, give it in "
        f"image_missing; otherwise add the {what} ({pattern or 'made by notebook 00'})"
    )
    expected = f"{what}s of ses-{there} and ses-{lacking}"
    return Problem("", row["participant_id"], expected, f"ses-{there} only", remedy)


def beside_map(path, folder, name):
    """Where a program puts a file: its own folder beside mri/, or the folder of the maps."""
    return [path.parent.parent / folder / name, path.parent / name]


def map_stem(path):
    """Name of the image that CAT12 or deepmriprep made a map from."""
    return re.sub(r"^(?:mw)?mwp1|\.nii(?:\.gz)?$", "", path.name)


def own_sidecars(path):
    """The JSON file that notebook 00 writes beside a map."""
    return [path.with_name(re.sub(r"\.nii(?:\.gz)?$", ".json", path.name))]
