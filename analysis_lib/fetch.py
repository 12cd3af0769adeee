"""Public trials, receptor maps, atlases and templates: downloaded once, checked, kept in a cache.

A trial is rewritten as the BIDS folder that its file in data/studies describes. Nothing in it is
repaired: what two source files say differently is listed, in the folder's README and to the caller.
data/README.md describes every source.
"""

import contextlib
import json
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pooch
import requests

from analysis_lib import downloads
from analysis_lib.study import PROJECT, load_study

PUBLIC = "https://raw.githubusercontent.com"
OPENNEURO = "https://s3.amazonaws.com/openneuro.org"
RETRIES = 2
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of a file
SHOWN = 5  # names quoted in a message


class FetchError(RuntimeError):
    """A public file could not be had, is not the one expected, or may not be written."""


@dataclass(frozen=True)
class PublicFile:
    """A file that anyone may download.

    Parameters
    ----------
    name : str
        Its path below the cache folder.
    home : str
        Its path below the base address: owner/repository/commit/path.
    sha256 : str
    """

    name: str
    home: str
    sha256: str


@dataclass(frozen=True)
class Fetched:
    """What :func:`fetch_study` did.

    Parameters
    ----------
    folder : pathlib.Path
        The BIDS folder.
    is_new : bool
        False if it was there already, the same.
    notes : tuple of str
        Where source files disagree.
    """

    folder: Path
    is_new: bool
    notes: tuple[str, ...] = ()


_RBMI = "insightsengineering/rbmi/c872d4ac7e5406ec50ae9fe4d56898c6ecb7ec03"
_SCORES = "egarza/sudmex_tms_main/135e0f2f38559dc8d9485b86090a4db76f439e12"
_OPENNEURO = "OpenNeuroDatasets/ds003037/68ae455007953d3d10e8012d7b1adad2aba0f400"
_SUBCORTEX = "yetianmed/subcortex/5f353a86a230a04c5cf9bc138dc8c26af416675b"
_PARCELLATIONS = (  # where nilearn has Schaefer's parcels from
    "ThomasYeoLab/CBIG/v0.14.3-Update_Yeo2011_Schaefer2018_labelname/stable_projects/"
    "brain_parcellation/Schaefer2018_LocalGlobal/Parcellations/MNI/"
)

TRIALS = {
    "antidepressant": (
        PublicFile(
            "antidepressant/antidepressant_data.rda",
            f"{_RBMI}/data/antidepressant_data.rda",
            "bdad3cc1f86798171d3f069b9ec21e73dff683656eb3dcfd96c16e6c5938c036",
        ),
    ),
    "sudmex_tms": (
        PublicFile(
            "sudmex_tms/participants.tsv",
            f"{_OPENNEURO}/participants.tsv",
            "98333f42b867698fb910f0dd70da19d705ed3662cdb67bcab740be2c7b3a27f9",
        ),
        PublicFile(
            "sudmex_tms/data2w.csv",
            f"{_SCORES}/data/clinical/data2w.csv",
            "528f4ab599487e95c925021abaf4e3f1c6b1b58914db647c78c03918169b0e8c",
        ),
    ),
}


@dataclass(frozen=True)
class ImageList:
    """The images of a public trial.

    Parameters
    ----------
    table : pathlib.Path
        Path, size and md5 of each: see ``downloads.read_list``.
    home : str
        Folder of the data set below the base address.
    """

    table: Path
    home: str


IMAGES = {"sudmex_tms": ImageList(PROJECT / "data" / "sudmex_tms_t1w.tsv", "ds003037")}

_SCHAEFER_TIAN = (
    "Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S1_MNI152NLin6Asym_2mm.nii.gz"
)
ATLASES = {
    "schaefer100_tian_s1": (
        PublicFile(
            f"atlases/{_SCHAEFER_TIAN}",
            f"{_SUBCORTEX}/Group-Parcellation/3T/Cortex-Subcortex/MNIvolumetric/{_SCHAEFER_TIAN}",
            "c569d92097f389e6f98ae379b75c9d26c2a48b9056fa4cbea9fc3c08e0d32ba0",
        ),
    ),
}
_SPM = "spm/spm12/f6948fff302fa4d4b80c9c67bb9ddf282b68d0a5"
TEMPLATES = (  # for brain extraction: a whole head, and the space inside its skull
    PublicFile(
        "templates/avg152T1.nii",
        f"{_SPM}/canonical/avg152T1.nii",
        "213557a43d4387243c51bf208b3a672ae2eb68091f7ffe47c28a9f69d9e3d9fd",
    ),
    PublicFile(
        "templates/mask_ICV.nii",
        f"{_SPM}/tpm/mask_ICV.nii",
        "9dff365151d5678eaba9d6be48b019fbd4e0e31d524b06da7310ea1acb4155b1",
    ),
)
SCHAEFER = {f"schaefer{n}": n for n in range(100, 1001, 100)}  # through nilearn; parcels


def fetch_study(name, folder=None, cache=None, *, base=PUBLIC, retries=RETRIES):
    """Download a public trial, unless the cache holds it, and write its BIDS folder.

    Parameters
    ----------
    name : {"antidepressant", "sudmex_tms"}
    folder : path, optional
        The BIDS folder to write; by default the one that data/studies/<name>.yml names.
    cache : path, optional
        See :func:`cache_folder`.
    base : str
        Address that serves the files.
    retries : int
        How often a failed download is tried again.

    Returns
    -------
    Fetched

    Raises
    ------
    FetchError
        If a file cannot be downloaded or is not the one expected, or if the folder exists and
        differs: it is never overwritten.
    """
    _known_trial(name)
    folder = _folder(name, folder)
    paths = fetch_files(TRIALS[name], cache, base=base, retries=retries)
    content, notes = _read_and_convert(name, paths)
    images = [file.path for file in images_of(name)]
    return Fetched(folder, write_folder(folder, content, images), tuple(notes))


def images_of(name):
    """Images of a public trial that :func:`fetch_images` gets; none, if it has none.

    Returns
    -------
    tuple of downloads.RemoteFile
    """
    return downloads.read_list(IMAGES[name].table) if name in IMAGES else ()


def fetch_images(name, folder=None, *, base=OPENNEURO, jobs=downloads.JOBS, watch=None, **options):
    """Download the T1-weighted images of a public trial into its BIDS folder.

    Images that are there are checked and not fetched again; one that broke off goes on from where
    it was: see :func:`analysis_lib.downloads.download`.

    Parameters
    ----------
    name : {"sudmex_tms"}
    folder : path, optional
        As in :func:`fetch_study`, which writes the tables.
    base : str
        Address that serves the data sets of OpenNeuro.
    jobs : int
        Images fetched at once.
    watch : downloads.Watcher, optional
    **options
        Of ``downloads.download``: retries, pause, timeout.

    Returns
    -------
    downloads.Outcome

    Raises
    ------
    FetchError
        If the trial has no images, or some could not be had or are not the ones expected: the
        message lists them; all others are in place.
    """
    if name not in IMAGES:
        raise FetchError(f"{name}: no public images known. Trials with images: {', '.join(IMAGES)}")
    folder = _folder(name, folder)
    address = f"{base}/{IMAGES[name].home}"
    try:
        outcome = downloads.download(
            images_of(name), folder, address, jobs=jobs, watch=watch, **options
        )
    except downloads.DownloadError as error:
        raise FetchError(str(error)) from None
    if outcome.failed:
        raise FetchError(_images_missing(folder, outcome))
    return outcome


def _folder(name, folder):
    return load_study(name).root if folder is None else Path(folder).resolve()


def _some(names):
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _images_missing(folder, outcome):
    """List failed images; those that failed for the same reason stand together."""
    in_place = len(outcome.fetched) + len(outcome.present)
    by_reason = {}
    for path, reason in outcome.failed.items():
        by_reason.setdefault(reason, []).append(path)
    lines = [f"  {_some(paths)}\n    {reason}" for reason, paths in by_reason.items()]
    return (
        f"{len(outcome.failed)} of {in_place + len(outcome.failed)} images are missing; "
        f"{in_place} are in place in {folder}. Run again: only what is missing is fetched, from "
        "where it broke off.\n" + "\n".join(lines)
    )


def fetch_receptors(annotations="default", cache=None):
    """Download receptor maps, unless neuromaps' cache holds them: see ``annotations.fetch``.

    Parameters
    ----------
    annotations : str or list
        A study's ``receptors``: "default", "all", or a list; files of its own are passed over.
    cache : path, optional
        See ``annotations.cache_folder``.

    Returns
    -------
    dict of str to pathlib.Path
    """
    from analysis_lib import annotations as maps

    return maps.fetch(annotations, cache=cache)


def fetch_atlas(name, cache=None, *, base=PUBLIC, retries=RETRIES):
    """Download an atlas, unless the cache holds it.

    Parameters
    ----------
    name : {"schaefer100_tian_s1", "schaefer100", "schaefer200", ..., "schaefer1000"}
        The schaefer ones come through ``nilearn.datasets.fetch_atlas_schaefer_2018`` (7 networks,
        2 mm), which publishes no hash: :func:`analysis_lib.atlas.load_atlas` counts the parcels.
    cache, base, retries
        As in :func:`fetch_study`; nilearn does not try again.

    Returns
    -------
    list of pathlib.Path
        The label image and, of the schaefer ones, the table of names.

    Raises
    ------
    FetchError
        If the name is unknown, a download fails, or a file is not the one expected.
    """
    if name in ATLASES:
        return fetch_files(ATLASES[name], cache, base=base, retries=retries)
    paths = atlas_paths(name, cache)
    from nilearn.datasets import fetch_atlas_schaefer_2018

    address = f"{base}/{_PARCELLATIONS}"
    try:
        fetch_atlas_schaefer_2018(
            SCHAEFER[name],
            resolution_mm=2,
            data_dir=paths[0].parents[1],
            base_url=address,
            verbose=0,
        )
    except (requests.RequestException, OSError, ValueError) as error:
        wanted = "\n".join(f"  {address}{p.name}\n    to {p}" for p in paths if not p.is_file())
        raise FetchError(
            f"{name}: download failed ({type(error).__name__}: {error}). Run again with a "
            f"connection, or put by hand what the cache lacks:\n{wanted}"
        ) from error
    return paths


def cached_atlas(name, cache=None):
    """Files of a downloadable atlas in the cache, as :func:`fetch_atlas` returns them.

    Raises
    ------
    FileNotFoundError
        If the cache lacks one: nothing is downloaded; the message names the command that does.
    FetchError
        If the name is unknown or a file is damaged.
    """
    paths = atlas_paths(name, cache)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"atlas {name}: {missing[0]} is not in the cache, and a run downloads nothing. "
            f"Get it: python -m analysis_lib fetch atlas {name}"
        )
    for file in ATLASES.get(name, ()):
        _is_cached(cache_folder(cache), file, PUBLIC)
    return paths


def atlas_paths(name, cache=None):
    """Where the cache keeps the files of a downloadable atlas, there or not; image first.

    Raises
    ------
    FetchError
        If the name is unknown.
    """
    if name in ATLASES:
        return [cache_folder(cache) / file.name for file in ATLASES[name]]
    if name not in SCHAEFER:
        known = ", ".join([*ATLASES, *SCHAEFER])
        raise FetchError(f"{name}: no such atlas to download. Known: {known}")
    stem = f"Schaefer2018_{SCHAEFER[name]}Parcels_7Networks_order"
    folder = cache_folder(cache) / "nilearn" / "schaefer_2018"
    return [folder / f"{stem}_FSLMNI152_2mm.nii.gz", folder / f"{stem}.txt"]


def fetch_templates(cache=None, *, base=PUBLIC, retries=RETRIES):
    """Download the templates for brain extraction, unless the cache holds them.

    Parameters
    ----------
    cache, base, retries
        As in :func:`fetch_study`.

    Returns
    -------
    list of pathlib.Path
        avg152T1 (whole head) and mask_ICV (intracranial mask) of SPM12.

    Raises
    ------
    FetchError
        If a download fails, or a file is not the one expected.
    """
    return fetch_files(TEMPLATES, cache, base=base, retries=retries)


def cached_templates(cache=None):
    """Templates in the cache, as :func:`fetch_templates` returns them.

    Raises
    ------
    FileNotFoundError
        If the cache lacks one: nothing is downloaded; the message names the command that does.
    FetchError
        If a file is damaged.
    """
    folder = cache_folder(cache)
    missing = [folder / f.name for f in TEMPLATES if not _is_cached(folder, f, PUBLIC)]
    if missing:
        raise FileNotFoundError(
            f"templates for brain extraction: {missing[0]} is not in the cache, and a run "
            "downloads nothing. Get it: python -m analysis_lib fetch templates"
        )
    return [folder / file.name for file in TEMPLATES]


def cache_folder(cache=None):
    """Folder that keeps downloaded files: the argument, $COMPENDIUM_CACHE, or the system's."""
    chosen = cache or os.environ.get("COMPENDIUM_CACHE") or pooch.os_cache("rtms-compendium")
    return Path(chosen).expanduser().resolve()


def fetch_files(files, cache=None, *, base=PUBLIC, retries=RETRIES):
    """Find files in the cache; download those that it lacks.

    Parameters
    ----------
    files : sequence of PublicFile
    cache, base, retries
        As in :func:`fetch_study`.

    Returns
    -------
    list of pathlib.Path
        In the order of ``files``. A file is in the cache whole and right, or not at all.

    Raises
    ------
    FetchError
        If a file in the cache is damaged or another one, or if a download fails.
    """
    cache = cache_folder(cache)
    wanted = [file for file in files if not _is_cached(cache, file, base)]
    for i, file in enumerate(wanted):
        _download(cache, file, wanted[i:], base, retries)
    return [cache / file.name for file in files]


def write_folder(folder, content, images=()):
    """Write a folder whole, or not at all; never into one that exists, unless images are there.

    Images are large and come later. A folder that holds some gets the files that it lacks, so that
    nobody has to move the images away or fetch them again.

    Parameters
    ----------
    folder : pathlib.Path
    content : dict of str to str
        Text of each file, by its path below the folder.
    images : sequence of str
        Paths below the folder that images may have; they are never touched.

    Returns
    -------
    bool
        False if the folder existed and holds every file, the same; further files do not matter.

    Raises
    ------
    FetchError
        If the folder exists and a file differs or, unless images are there, is missing.
    """
    lacking = {name: content[name] for name in content if not (folder / name).exists()}
    if not folder.exists():
        with _written(folder, content) as new:
            new.rename(folder)
        return True
    has_images = any((folder / image).exists() for image in images)
    _refuse_difference(folder, content, lacking, has_images)
    if not lacking:
        return False
    with _written(folder, lacking) as new:
        for name in lacking:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).rename(folder / name)
    return True


@contextlib.contextmanager
def _written(folder, content):
    """Write files into a new folder beside another one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        for name, text in content.items():
            path = Path(temporary, folder.name, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        yield Path(temporary, folder.name)


def _known_trial(name):
    if name not in TRIALS:
        raise FetchError(f"{name}: no such public trial. Known: {', '.join(TRIALS)}")


def _is_cached(cache, file, base):
    path = cache / file.name
    if not path.exists():
        return False
    found = pooch.file_hash(str(path))
    if found != file.sha256:
        raise FetchError(
            f"{path}: damaged, or another file: sha256 {file.sha256} expected, found {found}. "
            f"Delete it and run again: it is then downloaded from {base}/{file.home}"
        )
    return True


def _download(cache, file, wanted, base, retries):
    url = f"{base}/{file.home}"
    store = pooch.create(
        path=cache,
        base_url="",
        registry={file.name: file.sha256},
        urls={file.name: url},
        retry_if_failed=retries,
    )
    try:
        store.fetch(file.name, downloader=pooch.HTTPDownloader(timeout=TIMEOUT))
    except requests.RequestException as error:
        raise FetchError(_offline(cache, file, wanted, base, error)) from error
    except ValueError as error:
        raise FetchError(
            f"{file.name}: {url} does not serve the file expected, and it was not kept. {error}"
        ) from error
    except OSError as error:
        raise FetchError(
            f"{file.name}: cannot be written into the cache folder {cache} ({error}). "
            "Set COMPENDIUM_CACHE to a folder that you may write"
        ) from error


def _offline(cache, file, wanted, base, error):
    response = getattr(error, "response", None)
    reason = type(error).__name__ if response is None else f"HTTP status {response.status_code}"
    missing = "\n".join(
        f"  {base}/{w.home}\n    to {cache / w.name} (sha256 {w.sha256})" for w in wanted
    )
    return (
        f"{file.name}: download failed ({reason}). Run again with a connection, "
        f"or put by hand what the cache lacks:\n{missing}"
    )


def _refuse_difference(folder, content, lacking, has_images):
    """Refuse files that differ and, unless images are there, files that are missing."""
    found = {name: _same(folder / name, text) for name, text in content.items()}
    differing = [n for n, same in found.items() if not same and not (has_images and n in lacking)]
    if differing:
        to_move = "these files (the images may stay)" if has_images else "the folder"
        raise FetchError(
            f"{folder} exists and {len(differing)} of its {len(content)} files are missing or "
            f"differ from the public trial: {_some(differing)}. Nothing was "
            f"changed. Move {to_move} away and run again"
            + ("" if has_images else ", or name another one")
        )


def _same(path, text):
    return path.is_file() and path.read_bytes() == text.encode()


def _read_and_convert(name, paths):
    if name == "antidepressant":
        return antidepressant_dataset(read_rda(paths[0], "antidepressant_data")), ()
    participants = pd.read_csv(paths[0], sep="\t", dtype={"participant_id": str})
    return sudmex_dataset(participants, pd.read_csv(paths[1]))


def read_rda(path, name):
    """Read one data frame of an R data file.

    Parameters
    ----------
    path : path
    name : str
        The object's name in R.

    Returns
    -------
    pandas.DataFrame
    """
    import rdata

    with warnings.catch_warnings():
        # a tibble is read as the data frame that it is
        warnings.filterwarnings("ignore", "Missing constructor for R class", UserWarning)
        objects = rdata.read_rda(path)
    if name not in objects:
        raise FetchError(f"{path}: object {name} expected, found {', '.join(objects)}")
    return objects[name].reset_index(drop=True)


# --- antidepressant -----------------------------------------------------------------------------

_DAYS = {"baseline": 0, "week1": 7, "week2": 14, "week4": 28, "week6": 42}
_VISITS = {"4": "week1", "5": "week2", "6": "week4", "7": "week6"}


def antidepressant_dataset(visits):
    """Turn the antidepressant trial into the files of a BIDS folder.

    Parameters
    ----------
    visits : pandas.DataFrame
        The data frame of the R package rbmi: one row a patient and visit after baseline.

    Returns
    -------
    dict of str to str
        Text of each file.

    Raises
    ------
    FetchError
        If a patient has two arms, sites, sexes or baselines, a visit twice, a change that is not
        score - baseline, or visits whose days do not fit weeks 1, 2, 4, 6.
    """
    _require("antidepressant_data.rda", visits, [*_PER_PATIENT, "PATIENT", "VISIT", "RELDAYS"])
    _require("antidepressant_data.rda", visits, ["HAMDTL17", "HAMATOTL", "CHANGE"])
    later = visits.assign(
        participant_id="sub-" + visits["PATIENT"].astype(str),
        visit=visits["VISIT"].astype(str).map(_VISITS),
    )
    _check_antidepressant(later)
    patients = later.drop_duplicates("participant_id")
    first = patients.assign(visit="baseline", HAMDTL17=patients["BASVAL"], RELDAYS=0)
    every = _in_visit_order(pd.concat([first, later]), list(_DAYS))
    return {
        **_description(_ANTIDEPRESSANT, _ANTIDEPRESSANT_README),
        **_table("participants", _antidepressant_participants(patients, later), _PATIENT_COLUMNS),
        **_table("phenotype/hamd17", _scores(every, "HAMDTL17"), _scale_columns(_HAMD17)),
        **_table(
            "phenotype/hama",
            _scores(every[every["visit"] != "baseline"], "HAMATOTL"),
            _scale_columns(_HAMA),
        ),
        **_sessions(every.assign(days=every["RELDAYS"].astype(int)), ["days"]),
    }


_PER_PATIENT = ["THERAPY", "GENDER", "POOLINV", "BASVAL"]


def _check_antidepressant(later):
    _refuse("a VISIT of 4 to 7", later, later["visit"].isna())
    _refuse("each visit once", later, later.duplicated(["participant_id", "visit"]))
    values = later.groupby("participant_id")[_PER_PATIENT].transform(lambda x: x.astype(str))
    for column in _PER_PATIENT:
        several = values.groupby(later["participant_id"])[column].transform("nunique") > 1
        _refuse(f"one {column} a patient", later, several)
    wrong = later["CHANGE"] != later["HAMDTL17"] - later["BASVAL"]
    _refuse("CHANGE = HAMDTL17 - BASVAL", later, wrong)
    ordered = _in_visit_order(later, list(_DAYS))
    backwards = ordered.groupby("participant_id")["RELDAYS"].diff() <= 0
    _refuse("RELDAYS that increase over visits", ordered, backwards)
    medians = later.groupby("visit")["RELDAYS"].median()
    for visit, days in medians.items():
        if days != _DAYS[visit]:
            raise FetchError(
                f"antidepressant_data.rda: {visit}: a median RELDAYS of {_DAYS[visit]} expected, "
                f"found {days:g}: VISIT is not what it is taken for"
            )


def _refuse(expected, table, wrong):
    if wrong.any():
        who = list(dict.fromkeys(table.loc[wrong, "participant_id"]))
        raise FetchError(
            f"antidepressant_data.rda: {expected} expected, found otherwise in {_some(who)}"
        )


def _antidepressant_participants(patients, later):
    last = _in_visit_order(later, list(_DAYS)).groupby("participant_id")["visit"].last()
    withdrawn = last.astype(object).where(last != "week6")
    table = pd.DataFrame(
        {
            "participant_id": patients["participant_id"],
            "therapy": patients["THERAPY"].astype(str),
            "sex": patients["GENDER"].astype(str),
            "site": patients["POOLINV"].astype(str),
            "withdrawn_after": patients["participant_id"].map(withdrawn),
        }
    )
    return table.sort_values("participant_id")


_ANTIDEPRESSANT = {
    "Name": "Antidepressant against placebo, six weeks",
    "License": "Apache-2.0",
    "Authors": [
        "David J. Goldstein",
        "Yili Lu",
        "Michael J. Detke",
        "Curtis Wiltse",
        "Craig Mallinckrodt",
        "Mark A. Demitrack",
    ],
    "HowToAcknowledge": "Goldstein et al. 2004, J Clin Psychopharmacol 24:389-399; R package rbmi",
    "SourceDatasets": [{"URL": "https://github.com/insightsengineering/rbmi"}],
}

_ANTIDEPRESSANT_README = """\
Two-arm trial of an antidepressant against placebo: 84 and 88 patients, baseline and weeks 1, 2, 4
and 6. From the R package rbmi (data set antidepressant_data, Apache-2.0), which took it from the
DIA working group on estimands and missing data. The original trial (Goldstein et al. 2004, Journal
of Clinical Psychopharmacology 24:389-399) had four arms and a week 8; to mask it, week 8 was
removed and the drug arm drawn at random from the three arms that were not placebo.

Hamilton's depression scale (HAMD-17) has a baseline; his anxiety scale (HAMA) has none in the
source. Nothing is known of a patient after the drug was stopped: withdrawn_after is the last
visit with a rating. One patient missed week 2. A visit that did not take place has no row.

Written by python -m analysis_lib fetch antidepressant. Please cite the trial and the package.
"""

_PATIENT_COLUMNS = {
    "participant_id": {"Description": "Patient; PATIENT in the source, with sub- before it"},
    "therapy": {
        "Description": "Arm; THERAPY in the source",
        "Levels": {"DRUG": "antidepressant", "PLACEBO": "placebo"},
    },
    "sex": {
        "Description": "Sex; GENDER in the source",
        "Levels": {"F": "female", "M": "male"},
    },
    "site": {"Description": "Pooled investigator; POOLINV in the source"},
    "withdrawn_after": {
        "Description": "Last visit with a rating, of a patient who was not rated at week 6; "
        "n/a: rated at week 6"
    },
}

_HAMD17 = "Hamilton Depression Rating Scale, 17 items, total (HAMDTL17; baseline: BASVAL)"
_HAMA = "Hamilton Anxiety Rating Scale, total (HAMATOTL); not available at baseline"

# --- sudmex_tms ---------------------------------------------------------------------------------

_GROUPS = {1: "SHAM", 2: "ACTIVE"}
_SEXES = {1: "M", 2: "F"}


def sudmex_dataset(participants, scores):
    """Turn the SUDMEX-TMS trial into the files of a BIDS folder.

    Parameters
    ----------
    participants : pandas.DataFrame
        participants.tsv of OpenNeuro ds003037: participant_id, age, sex, group, educ, exclusion.
    scores : pandas.DataFrame
        data2w.csv: rid (the number in participant_id), group, stage, sex, age, hdrs_tot, hars_tot.

    Returns
    -------
    content : dict of str to str
        Text of each file.
    notes : list of str
        Participants whose age or sex differs between the files: participants.tsv is kept.

    Raises
    ------
    FetchError
        If the files disagree on an arm, or on who took part and was not excluded, or if a
        participant has not exactly one row at T0 and one at T1.
    """
    _require("participants.tsv", participants, ["participant_id", "age", "sex", "group"])
    _require("participants.tsv", participants, ["educ", "exclusion"])
    _require("data2w.csv", scores, ["rid", "group", "stage", "sex", "age", "hdrs_tot", "hars_tot"])
    scores = scores.assign(
        participant_id=[f"sub-{rid:03d}" for rid in scores["rid"]],
        visit=scores["stage"].str.lower(),
    )
    _check_sudmex(participants, scores)
    notes = _disagreements(participants, scores)
    rated = _in_visit_order(scores, ["t0", "t1"])
    excluded = participants.loc[participants["exclusion"] == 1, ["participant_id"]]
    came = _in_visit_order(pd.concat([rated, excluded.assign(visit="t0")]), ["t0", "t1"])
    people = participants.assign(
        sex=participants["sex"].map(_SEXES), educ=participants["educ"].map("{:g}".format)
    )
    content = {
        **_description(_SUDMEX, _SUDMEX_README + "".join(f"\n{note}\n" for note in notes)),
        **_table("participants", people, _SUDMEX_COLUMNS),
        **_table("phenotype/hdrs", _scores(rated, "hdrs_tot"), _scale_columns(_HDRS)),
        **_table("phenotype/hars", _scores(rated, "hars_tot"), _scale_columns(_HARS)),
        **_sessions(came, []),
    }
    return content, notes


def _check_sudmex(participants, scores):
    kept = participants.loc[participants["exclusion"] == 0]
    alone = sorted(set(kept["participant_id"]) ^ set(scores["participant_id"]))
    if alone:
        raise FetchError(
            "participants.tsv and data2w.csv: the same participants expected, leaving out "
            f"exclusion = 1; in one file alone: {', '.join(alone)}"
        )
    visits = scores.groupby("participant_id")["visit"].agg(lambda x: sorted(x))
    odd = visits[visits.map(lambda x: x != ["t0", "t1"])]
    if len(odd):
        raise FetchError(
            "data2w.csv: one row at T0 and one at T1 expected, found otherwise for "
            f"{', '.join(odd.index)}"
        )
    arms = scores["participant_id"].map(_by_participant(kept, "group").map(_GROUPS))
    wrong = scores.loc[arms != scores["group"], "participant_id"].unique()
    if len(wrong):
        raise FetchError(
            "participants.tsv and data2w.csv: the same group expected (1 = SHAM, 2 = ACTIVE), "
            f"found otherwise for {', '.join(wrong)}"
        )


def _disagreements(participants, scores):
    notes = []
    for column, codes in (("age", None), ("sex", _SEXES)):
        first = _by_participant(participants, column)
        ours = scores["participant_id"].map(first.map(codes) if codes else first)
        for i in scores.index[ours != scores[column]]:
            row = scores.loc[i]
            notes.append(
                f"{row['participant_id']}: {column} is {ours[i]} in participants.tsv (kept), "
                f"{row[column]} in data2w.csv at {row['stage']}"
            )
    return notes


def _by_participant(table, column):
    return table.set_index("participant_id")[column]


_SUDMEX = {
    "Name": "SUDMEX-TMS, 5 Hz rTMS of the left DLPFC in cocaine use disorder",
    "License": "participants.tsv and T1w images: CC0; phenotype: GPL-3.0",
    "Authors": [
        "Ruth Alcala-Lozano",
        "Sofia Fernandez-Lozano",
        "Erick Morelos-Santana",
        "Alan Davalos",
        "Viviana Villicana",
        "Eduardo A. Garza-Villarreal",
    ],
    "HowToAcknowledge": "Garza-Villarreal et al. 2021, Biol Psychiatry Cogn Neurosci "
    "Neuroimaging, doi 10.1016/j.bpsc.2021.01.003",
    "SourceDatasets": [
        {"DOI": "doi:10.18112/openneuro.ds003037.v1.0.1"},
        {"URL": "https://github.com/egarza/sudmex_tms_main"},
    ],
}

_SUDMEX_README = """\
Double-blind, sham-controlled trial of rTMS (5 Hz, left dorsolateral prefrontal cortex) in cocaine
use disorder: 24 active, 20 sham, before (t0) and after (t1) two weeks. The six further participants
of the source (exclusion = 1) have no scores; they are kept in participants.tsv.

participants.tsv is that of OpenNeuro ds003037 (CC0), with sex written F and M, as the table of
scores has it. phenotype is from the trial's own repository, egarza/sudmex_tms_main (GPL-3.0), file
data2w.csv. Arms, ages and sexes were compared between the two. The open-label phase that follows
is left out: it has no sham arm. The trial's own primary outcome was craving, not depression.

T1w images, where there are any, are those of OpenNeuro ds003037 (CC0), of the 44 participants and
two sessions with scores: python -m analysis_lib fetch sudmex_tms --images.

Written by python -m analysis_lib fetch sudmex_tms. Please cite Garza-Villarreal et al. 2021,
Biological Psychiatry: Cognitive Neuroscience and Neuroimaging, doi 10.1016/j.bpsc.2021.01.003.
"""

_SUDMEX_COLUMNS = {
    "participant_id": {"Description": "Participant"},
    "age": {"Description": "Age at baseline", "Units": "year"},
    "sex": {
        "Description": "Sex (1 and 2 in the source)",
        "Levels": {"F": "female", "M": "male"},
    },
    "group": {"Description": "Arm", "Levels": {"1": "sham", "2": "active rTMS"}},
    "educ": {"Description": "Years of education", "Units": "year"},
    "exclusion": {
        "Description": "Left out of the trial's own analysis, without scores",
        "Levels": {"0": "analysed", "1": "excluded"},
    },
}

_HDRS = "Hamilton Depression Rating Scale, total (hdrs_tot)"
_HARS = "Hamilton Anxiety Rating Scale, total (hars_tot)"

# --- BIDS text ----------------------------------------------------------------------------------


def _require(file, table, columns):
    missing = [column for column in columns if column not in table]
    if missing:
        raise FetchError(f"{file}: columns {', '.join(missing)} expected, found {', '.join(table)}")


def _in_visit_order(table, visits):
    ordered = table.assign(visit=pd.Categorical(table["visit"], visits, ordered=True))
    return ordered.sort_values(["participant_id", "visit"]).reset_index(drop=True)


def _scores(table, column):
    return pd.DataFrame(
        {
            "participant_id": table["participant_id"],
            "session_id": "ses-" + table["visit"].astype(str),
            "total": table[column].map("{:g}".format, na_action="ignore"),
        }
    )


def _scale_columns(description):
    return {
        "participant_id": {"Description": "Participant, as in participants.tsv"},
        "session_id": {"Description": "Visit, with ses- before it"},
        "total": {"Description": description, "Units": "point"},
    }


_SESSION_COLUMNS = {
    "session_id": {"Description": "Visit, with ses- before it"},
    "days": {"Description": "Days since baseline (RELDAYS)", "Units": "day"},
}


def _sessions(table, columns):
    """One sessions file a participant: BIDS wants a folder for everyone in participants.tsv."""
    table = table.assign(session_id="ses-" + table["visit"].astype(str))
    described = {name: _SESSION_COLUMNS[name] for name in ["session_id", *columns]}
    files = {"sessions.json": _json(described)}
    for participant, rows in table.groupby("participant_id"):
        files[f"{participant}/{participant}_sessions.tsv"] = _tsv(rows[["session_id", *columns]])
    return files


def _table(name, table, described):
    return {f"{name}.tsv": _tsv(table[list(described)]), f"{name}.json": _json(described)}


def _description(about, readme):
    fixed = {
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "analysis_lib.fetch"}],
    }
    return {"dataset_description.json": _json({**about, **fixed}), "README": readme}


def _tsv(table):
    return table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")


def _json(content):
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
