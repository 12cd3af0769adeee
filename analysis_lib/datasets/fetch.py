"""Public trials, atlases and templates: downloaded once, checked, kept in a cache."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pooch
import requests

from analysis_lib.atlas.files import (
    ATLASES,
    NILEARN,
    PUBLIC,
    SCHAEFER,
    TEMPLATES,
    PublicFile,
    atlas_paths,
    is_bundled,
    is_cached,
    place,
)
from analysis_lib.atlas.naming import region_rows
from analysis_lib.datasets import downloads
from analysis_lib.datasets.antidepressant import antidepressant_dataset, read_rda
from analysis_lib.datasets.folders import write_folder
from analysis_lib.datasets.small_trials import CONVERTERS
from analysis_lib.datasets.sudmex import sudmex_dataset
from analysis_lib.results.environment import PROJECT, cache_folder
from analysis_lib.results.problems import FetchError
from analysis_lib.results.words import shortened
from analysis_lib.study.contract import load_study

OPENNEURO = "https://s3.amazonaws.com/openneuro.org"
RETRIES = 2


@dataclass(frozen=True)
class Fetched:
    """What :func:`fetch_study` did."""

    folder: Path  # the BIDS folder
    is_new: bool  # not if it was there already, the same
    notes: tuple[str, ...] = ()  # where source files disagree


_PARCELLATIONS = (  # where nilearn has Schaefer's parcels from
    "ThomasYeoLab/CBIG/v0.14.3-Update_Yeo2011_Schaefer2018_labelname/stable_projects/"
    "brain_parcellation/Schaefer2018_LocalGlobal/Parcellations/MNI/"
)

_FILES = pd.read_csv(Path(__file__).with_name("trials.tsv"), sep="\t", encoding="utf-8")
TRIALS = {  # the folder of a file is its trial
    trial: tuple(PublicFile(*row) for row in rows.itertuples(index=False))
    for trial, rows in _FILES.groupby(_FILES["name"].str.partition("/")[0], sort=False)
}


@dataclass(frozen=True)
class ImageList:
    """The images of a public trial."""

    table: Path  # path, size and md5 of each: see downloads.read_list
    home: str  # folder of the data set below the base address


IMAGES = {
    name: ImageList(PROJECT / "data" / f"{name}_t1w.tsv", home)
    for name, home in (
        ("sudmex_tms", "ds003037"),
        ("ds003007", "ds003007"),
        ("ds005917", "ds005917"),
    )
}


def fetch_study(name, folder=None, cache=None, *, base=PUBLIC, retries=RETRIES):
    """Download a public trial, unless the cache holds it, and write its BIDS folder: `Fetched`.

    The folder is the one that data/studies/<name>.yml names, unless given. A file that cannot be
    downloaded or is not the one expected, and a folder that exists and differs, are a `FetchError`:
    a folder is never overwritten. ``base`` serves the files; a failed download is tried ``retries``
    times.
    """
    if name not in TRIALS:
        raise FetchError(f"{name}: no such public trial. Known: {', '.join(TRIALS)}")
    folder = _folder(name, folder)
    paths = fetch_files(TRIALS[name], cache, base=base, retries=retries)
    content, notes = _read_and_convert(name, paths)
    images = [file.path for file in images_of(name)]
    return Fetched(folder, write_folder(folder, content, images), tuple(notes))


def is_at_hand(name):
    """Whether this repository holds all files of a public trial."""
    return name in TRIALS and all(map(is_bundled, TRIALS[name]))


def images_of(name):
    """Images (RemoteFile) of a public trial that `fetch_images` gets; none, if it has none."""
    return downloads.read_list(IMAGES[name].table) if name in IMAGES else ()


def fetch_images(
    name, folder=None, *, base=OPENNEURO, jobs=downloads.JOBS, console=None, **options
):
    """Download the T1-weighted images of a public trial into its BIDS folder: `downloads.Outcome`.

    Images that are there are checked and not fetched again; one that broke off goes on from where
    it was: see :func:`analysis_lib.datasets.downloads.download`. If the trial has no images, or
    some could not be had or are not the ones expected, a `FetchError` lists them; all others are in
    place.
    """
    if name not in IMAGES:
        raise FetchError(f"{name}: no public images known. Trials with images: {', '.join(IMAGES)}")
    folder = _folder(name, folder)
    address = f"{base}/{IMAGES[name].home}"
    wanted = images_of(name)
    outcome = downloads.download(wanted, folder, address, jobs=jobs, console=console, **options)
    if outcome.failed:
        raise FetchError(_images_missing(folder, outcome))
    return outcome


def _folder(name, folder):
    return load_study(name).root if folder is None else Path(folder).resolve()


def _images_missing(folder, outcome):
    """List failed images; those that failed for the same reason stand together."""
    in_place = len(outcome.fetched) + len(outcome.present)
    by_reason = {}
    for path, reason in outcome.failed.items():
        by_reason.setdefault(reason, []).append(path)
    lines = [f"  {shortened(paths)}\n    {reason}" for reason, paths in by_reason.items()]
    return (
        f"{len(outcome.failed)} of {in_place + len(outcome.failed)} images are missing; "
        f"{in_place} are in place in {folder}. Run again: only what is missing is fetched, from "
        "where it broke off.\n" + "\n".join(lines)
    )


def fetch_receptors(annotations="default", cache=None):
    """Download receptor maps, unless neuromaps' cache holds them: see ``receptor_maps.fetch``."""
    from analysis_lib.datasets import receptor_maps

    return receptor_maps.fetch(annotations, cache=cache)


def fetch_atlas(name, cache=None, *, base=PUBLIC, retries=RETRIES):
    """Download an atlas, unless the cache holds it: its label image and any table of names.

    schaefer100 to schaefer1000 come through ``nilearn.datasets.fetch_atlas_schaefer_2018`` (7
    networks, 2 mm), which publishes no hash (``atlas.load_atlas`` counts the parcels) and does not
    try again. An unknown name, a failed download and an unexpected file are a `FetchError`.
    """
    if name in ATLASES:
        return fetch_files(ATLASES[name], cache, base=base, retries=retries)
    paths = atlas_paths(name, cache)
    if name in NILEARN:
        return _fetch_through_nilearn(name, *paths)
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
            f"connection, or put the missing files into the cache:\n{wanted}"
        ) from error
    return paths


def _fetch_through_nilearn(name, image, table):
    """An atlas as nilearn gives it, kept as a label image and a table of regions.

    nilearn publishes no hash: labels and names are compared instead, when the atlas is loaded.
    """
    if image.is_file() and table.is_file():
        return [image, table]
    from nilearn import datasets as nilearn_datasets
    from nilearn.image import load_img

    function, options = NILEARN[name]
    try:
        got = getattr(nilearn_datasets, function)(
            data_dir=image.parents[1] / "nilearn", verbose=0, **options
        )
    except (requests.RequestException, OSError, ValueError) as error:
        raise FetchError(
            f"{name}: download failed ({type(error).__name__}: {error}). Run again with a "
            f"connection, or put a label image and its table into the cache: {image}, {table}"
        ) from error
    rows = region_rows(got.lut.set_index("index")["name"], name)
    image.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(table, sep="\t", na_rep="n/a")
    load_img(got.maps).to_filename(image)
    return [image, table]


def fetch_templates(cache=None, *, base=PUBLIC, retries=RETRIES):
    """Download the templates for brain extraction, unless the cache holds them.

    They are avg152T1 (whole head) and mask_ICV (intracranial mask) of SPM12.
    """
    return fetch_files(TEMPLATES, cache, base=base, retries=retries)


def fetch_files(files, cache=None, *, base=PUBLIC, retries=RETRIES):
    """Paths of files in the cache, in their order; what it lacks is downloaded.

    A file is in the cache whole and right, or not at all: a damaged or another one is a
    `FetchError`, and so is a download that fails.
    """
    cache = cache_folder(cache)
    wanted = [file for file in files if not is_cached(cache, file, base)]
    for i, file in enumerate(wanted):
        _download(cache, file, wanted[i:], base, retries)
    return [place(file, cache) for file in files]


def _download(cache, file, wanted, base, retries):
    url = file.address(base)
    store = pooch.create(
        path=cache,
        base_url="",
        registry={file.name: file.sha256},
        urls={file.name: url},
    )
    try:
        store.fetch(file.name, downloader=downloads.ResumingDownloader(retries=retries))
    except requests.RequestException as error:
        raise FetchError(_offline(cache, file, wanted, base, error)) from error
    except ValueError as error:
        raise FetchError(
            f"{file.name}: {url} does not serve the expected file; it was not kept. {error}"
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
        f"  {w.address(base)}\n    to {cache / w.name} (sha256 {w.sha256})" for w in wanted
    )
    return (
        f"{file.name}: download failed ({reason}). Run again with a connection, "
        f"or put the missing files into the cache:\n{missing}"
    )


def _read_and_convert(name, paths):
    """The files of a BIDS folder, text by path, and notes."""
    tables = [_read(path) for path in paths]
    if name == "sudmex_tms":
        return sudmex_dataset(*tables)
    convert = antidepressant_dataset if name == "antidepressant" else CONVERTERS[name]
    return convert(*tables), ()


def _read(path):
    """A source file as a table."""
    if path.suffix == ".rda":
        return read_rda(path, path.stem)
    return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
