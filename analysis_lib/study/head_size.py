"""Total intracranial volume, from the study or from the files of the program that made the maps."""

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd

from analysis_lib.results.files import read_json, read_text
from analysis_lib.results.problems import CompendiumError, Listing, Problem, StudyError, refusals
from analysis_lib.study.images import below_root, beside_map, map_stem, own_sidecars

TIV_RANGE = (500, 2500)  # ml: outside, the unit is another or the segmentation failed
TIV_SPREAD = 0.05  # of a participant's sessions, relative


def total_intracranial_volume(study, participants, maps):
    """Total intracranial volume (TIV, ml) of each participant, from the first source that there is.

    Sources, in this order: column ``tiv`` of participants.tsv; CAT12's reports (``cat_*.xml``,
    subjectmeasures/vol_TIV) in ``report/`` beside ``mri/``, or beside the maps; deepmriprep's
    ``tiv*.csv`` (tiv_cm3) in ``label/`` beside ``mri/``, or beside the maps; ``TIV_ml`` in the JSON
    files beside this project's own maps. SPM's ``*_seg8.mat`` is not read.

    Only participants with a map (`find_maps`), and not excluded, are looked up. It is the mean over
    a participant's sessions, None when no source has any. ``attrs["source"]`` names the source in
    words; ``attrs["problems"]`` lists participants whose sessions differ by more than 5 %. A
    `StudyError` has every file that cannot be read or holds no plausible volume (500 to 2,500 ml),
    and the participants whom the source leaves out or who have another source.
    """
    rows = tiv_rows(study, participants, maps)
    sources = [source for source in TIV_SOURCES if (rows["source"] == source).any()]
    if not sources:
        return None
    _refuse_gaps(rows, sources[0])
    tiv = rows.groupby("participant_id", sort=False)["tiv"].mean()
    order = participants["participant_id"][participants["participant_id"].isin(tiv.index)]
    tiv = tiv.reindex(order)
    tiv.attrs = {"source": sources[0], "problems": list(disagreeing_volumes(rows))}
    return tiv


def tiv_rows(study, participants, maps):
    """One row per map (or a participant): participant_id, visit, source, tiv (both may lack)."""
    scanned = participants["participant_id"].isin(maps["participant_id"])
    people = participants[participants["excluded"].isna() & scanned]
    if "tiv" in people and people["tiv"].notna().any():
        return _tiv_column(people)
    rows, found = [], []
    chosen = maps[maps["participant_id"].isin(people["participant_id"])]
    for who, visit, path in chosen.itertuples(index=False):
        try:
            rows.append((who, visit, *_tiv_of_map(study, path)))
        except CompendiumError as error:
            found += error.problems
    if found:
        raise StudyError(found)
    return pd.DataFrame(rows, columns=["participant_id", "visit", "source", "tiv"])


def _tiv_column(people):
    tiv = pd.to_numeric(people["tiv"], errors="coerce")
    wrong = people["tiv"].notna() & ~tiv.between(*TIV_RANGE)
    if wrong.any():
        names = people["participant_id"][wrong] + ": " + people["tiv"][wrong].astype(str)
        found = Listing(tuple(names), between="; ")
        raise StudyError(_implausible("participants.tsv", "tiv", found))
    source = pd.Series(IN_TABLE, people.index).where(tiv.notna(), None)
    rows = people[["participant_id"]].assign(visit=None, source=source, tiv=tiv)
    return rows.reset_index(drop=True)


def _implausible(file, place, found):
    low, high = TIV_RANGE
    return Problem(file, place, f"a total intracranial volume of {low} to {high} ml", found)


def _tiv_of_map(study, path):
    """Source and TIV that belong to a map; (None, NaN) where there is none."""
    for source, (candidates, read) in TIV_FILES.items():
        file = next((file for file in candidates(path) if file.is_file()), None)
        if file is not None:
            where = below_root(study, file).as_posix()
            value = read(file, where)
            if value is not None:
                return source, _volume(value, where)
    return None, np.nan


def _volume(value, where):
    try:
        tiv = float(value)
    except (TypeError, ValueError):
        tiv = np.nan
    if not TIV_RANGE[0] <= tiv <= TIV_RANGE[1]:
        raise StudyError(_implausible(where, "", repr(value)))
    return tiv


def _cat12_reports(path):
    return beside_map(path, "report", f"cat_{map_stem(path)}.xml")


def _read_cat12(file, where):
    """vol_TIV of the root's own subjectmeasures; those deeper in the file explain it in words."""
    try:
        with refusals(file):
            content = file.read_bytes()
        node = ET.fromstring(content).find("subjectmeasures/vol_TIV")
    except (ET.ParseError, ValueError, LookupError) as error:
        text = f"a report of CAT12 (XML) expected, found: {error}"
        raise StudyError(Problem(where, text=text)) from None
    if node is None:
        expected, remedy = "an element subjectmeasures/vol_TIV", "Is the report complete?"
        raise StudyError(Problem(where, "", expected, "none", remedy))
    return (node.text or "").strip()


def _deepmriprep_tables(path):
    name = f"tiv{map_stem(path)}.csv"
    by_output = path.parent.parent / "tiv" / f"{map_stem(path)}.csv"
    return [*beside_map(path, "label", name), *([by_output] if path.parent.name == "mwp1" else [])]


def _read_deepmriprep(file, where):
    rows = read_text(file, where=where).split()
    if len(rows) != 2 or rows[0] != "tiv_cm3":
        found = repr(" ".join(rows)[:60])
        raise StudyError(Problem(where, "", "a header tiv_cm3 and one value", found))
    return rows[1]


def _read_sidecar(file, where):
    about = read_json(file, where=where)
    return about.get("TIV_ml") if isinstance(about, dict) else None


IN_TABLE = "column tiv of participants.tsv"
TIV_FILES = {
    "CAT12's reports (vol_TIV)": (_cat12_reports, _read_cat12),
    "deepmriprep's tables (tiv_cm3)": (_deepmriprep_tables, _read_deepmriprep),
    "JSON files beside the maps (TIV_ml)": (own_sidecars, _read_sidecar),
}
TIV_SOURCES = (IN_TABLE, *TIV_FILES)


def _refuse_gaps(rows, source):
    """Refuse TIV that comes from several sources, or that some participants lack."""
    other = rows[rows["source"] != source]
    if other.empty:
        return
    visits = other["visit"].map(lambda v: f", ses-{v}" if isinstance(v, str) else "")
    kinds = other["source"].fillna("none").map(lambda s: "none" if s == "none" else f"from {s}")
    found = "; ".join(other["participant_id"] + visits + ": " + kinds)
    remedy = f"Complete them, or give all of them in {IN_TABLE}"
    expected = f"for every participant from {source}"
    raise StudyError(Problem("", "total intracranial volume", expected, found, remedy))


def disagreeing_volumes(rows):
    """Maps of one participant whose head sizes differ too much, in words."""
    for who, own in rows.dropna(subset=["tiv"]).groupby("participant_id", sort=False):
        if np.ptp(own["tiv"]) > TIV_SPREAD * own["tiv"].mean():
            found = ", ".join(f"{row.tiv:.0f} ml (ses-{row.visit})" for row in own.itertuples())
            yield Problem(
                place=who,
                expected=f"total intracranial volumes within {TIV_SPREAD:.0%} of each other",
                found=f"{found} in {own['source'].iloc[0]}",
                remedy="A head keeps its size: look at both segmentations",
                warning="head-size",
            )
