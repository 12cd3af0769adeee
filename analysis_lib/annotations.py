"""Receptor maps: what there is, where its files lie, and means by region."""

import difflib
import hashlib
import importlib.util
import json
import math
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from rich.progress import track
from scipy import ndimage

from analysis_lib import atlas as atlases
from analysis_lib.simulate import d1_map, grey_matter_template
from analysis_lib.study import StudyError

FETCH_COMMAND = "python -m analysis_lib fetch receptors"
MIN_COVERAGE = 0.1  # a mean of fewer of a region's voxels than this is not that region's mean

# receptor, annotation, tracer, number of people, resolution of the file's name, reference.
# Numbers of people are those of neuromaps' own meta.json. For three of the Savli maps the file
# names of Hansen et al. (2022) say otherwise: WAY-100635 36, P943 22, DASB 30.
_LIBRARY = (
    ("D1", "kaller2017/sch23390", "[11C]SCH23390", 13, "3mm", "Kaller et al. 2017"),
    ("D2", "alarkurtti2015/raclopride", "[11C]raclopride", 7, "3mm", "Alakurtti et al. 2015"),
    ("DAT", "dukart2018/fpcit", "[123I]FP-CIT", 174, "3mm", "Dukart et al. 2018"),
    ("5-HT1A", "savli2012/way100635", "[11C]WAY-100635", 35, "3mm", "Savli et al. 2012"),
    ("5-HT1A", "beliveau2017/cumi101", "[11C]CUMI-101", 8, "1mm", "Beliveau et al. 2017"),
    ("5-HT1B", "savli2012/p943", "[11C]P943", 23, "3mm", "Savli et al. 2012"),
    ("5-HT1B", "beliveau2017/az10419369", "[11C]AZ10419369", 36, "1mm", "Beliveau et al. 2017"),
    ("5-HT2A", "savli2012/altanserin", "[18F]altanserin", 19, "3mm", "Savli et al. 2012"),
    ("5-HT2A", "beliveau2017/cimbi36", "[11C]Cimbi-36", 29, "1mm", "Beliveau et al. 2017"),
    ("5-HT4", "beliveau2017/sb207145", "[11C]SB207145", 59, "1mm", "Beliveau et al. 2017"),
    ("5-HTT", "savli2012/dasb", "[11C]DASB", 18, "3mm", "Savli et al. 2012"),
    ("5-HTT", "beliveau2017/dasb", "[11C]DASB", 100, "1mm", "Beliveau et al. 2017"),
    ("5-HTT", "fazio2016/madam", "[11C]MADAM", 10, "3mm", "Fazio et al. 2016"),
    ("NET", "hesse2017/methylreboxetine", "[11C]MRB", 10, "3mm", "Hesse et al. 2017"),
    ("GABAA", "dukart2018/flumazenil", "[11C]flumazenil", 6, "3mm", "Dukart et al. 2018"),
    ("MOR", "kantonen2020/carfentanil", "[11C]carfentanil", 204, "3mm", "Kantonen et al. 2020"),
    ("MOR", "turtonen2020/carfentanil", "[11C]carfentanil", 39, "1mm", "Turtonen et al. 2021"),
    ("VAChT", "tuominen/feobv", "[18F]FEOBV", 4, "2mm", "Tuominen, in Hansen et al. 2022"),
)
# neuromaps prints this warning of its own when it fetches these maps.
_SURFACE_NOTE = "neuromaps advises its surface map for cortex, this volume for subcortex alone"


class MissingMap(FileNotFoundError):
    """A receptor map is not in the cache; the message names the command that fetches it."""


class WrongMap(ValueError):
    """A file in the cache is not the one that neuromaps publishes."""


class FetchFailed(RuntimeError):
    """A receptor map could not be downloaded."""


# --- the library and its files -------------------------------------------------------------------


def library():
    """Receptor and transporter maps in MNI152 that this project knows.

    Returns
    -------
    pandas.DataFrame
        Indexed by `annotation` ("source/desc", as in neuromaps). Columns: `receptor`, `tracer`,
        `n_subjects` (people behind the map, from neuromaps' metadata), `space`, `res`,
        `reference`, `note` (what the distributor warns of, else empty).
    """
    columns = ["receptor", "annotation", "tracer", "n_subjects", "res", "reference"]
    table = pd.DataFrame(_LIBRARY, columns=columns).set_index("annotation")
    table["n_subjects"] = table["n_subjects"].astype("Int64")
    table.insert(3, "space", "MNI152")
    table["note"] = np.where(table.index.str.startswith("beliveau2017/"), _SURFACE_NOTE, "")
    return table


def resolve(receptors="default"):
    """Annotations that a study asks for.

    Parameters
    ----------
    receptors : "default" or list of str
        The study's `receptors`: the whole library, or "source/desc" strings.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        An annotation the library does not hold, with the nearest ones it does; one named twice.
    """
    known = library().index.tolist()
    if isinstance(receptors, str):
        receptors = known if receptors == "default" else [receptors]
    for annotation in receptors:
        if annotation not in known:
            near = difflib.get_close_matches(annotation, known, n=3, cutoff=0.4) or known
            raise ValueError(
                f"receptor annotation '{annotation}' is unknown; near: {', '.join(near)}. "
                "Write it as source/desc, or 'default' for all."
            )
    doubled = [name for name, count in Counter(receptors).items() if count > 1]
    if doubled:
        raise ValueError(f"receptor annotations named twice: {', '.join(doubled)}")
    return list(receptors)


def cache_folder(cache=None):
    """Folder where neuromaps keeps its files, by neuromaps' own rule.

    `neuromaps.datasets.get_data_dir` follows the same rule (a test compares the two) but creates
    the folder, which looking for a file must not do.

    Parameters
    ----------
    cache : path, optional
        Default: $NEUROMAPS_DATA, else ~/neuromaps-data.

    Returns
    -------
    pathlib.Path
    """
    if cache is None:
        cache = os.environ.get("NEUROMAPS_DATA", "~/neuromaps-data")
    return Path(cache).expanduser()


def locate(annotation, cache=None):
    """Path of a receptor map in neuromaps' cache, its content checked. Never downloads.

    Parameters
    ----------
    annotation : str
        "source/desc".
    cache : path, optional
        See `cache_folder`.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    MissingMap
        The cache does not hold the file.
    WrongMap
        The file's md5 is not the one in neuromaps' packaged list.
    ValueError
        An unknown annotation.
    """
    record = _record(annotation)
    path = _path(record, cache_folder(cache))
    if not path.is_file():
        raise MissingMap(f"receptor map {annotation} is not at {path}. Get it: {FETCH_COMMAND}")
    _check_md5(path, record["checksum"])
    return path


def missing(annotations="default", cache=None):
    """Annotations whose file the cache does not hold.

    Parameters
    ----------
    annotations : "default" or list of str
    cache : path, optional

    Returns
    -------
    list of str
    """
    folder = cache_folder(cache)
    return [name for name in resolve(annotations) if not _path(_record(name), folder).is_file()]


def fetch(annotations="default", cache=None, progress=True):
    """Download the receptor maps that the cache lacks, and check every one.

    Parameters
    ----------
    annotations : "default" or list of str
    cache : path, optional
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict of str to pathlib.Path
        Path of each annotation.

    Raises
    ------
    FetchFailed
        A download failed; the message names the annotation.
    WrongMap
        A file, downloaded or already there, is not the published one. It is left where it is; a
        wrong download never enters the cache.
    """
    annotations = resolve(annotations)
    folder = cache_folder(cache)
    absent = missing(annotations, folder)
    for annotation in track(absent, "receptor maps", disable=not (progress and absent)):
        _download(annotation, folder)
    return {annotation: locate(annotation, folder) for annotation in annotations}


def _download(annotation, folder):
    """Into a folder beside its place first, so that a file appears whole and checked, or not."""
    record = _record(annotation)
    final = _path(record, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        part = _path(record, Path(scratch))
        try:
            _fetch_annotation(record, scratch)
        except Exception as error:
            raise FetchFailed(
                f"receptor map {annotation} could not be downloaded "
                f"({type(error).__name__}: {error}). Is there a network connection? "
                f"Nothing in {folder} was changed; try again: {FETCH_COMMAND}"
            ) from error
        _check_md5(part, record["checksum"])
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(part, final)


def _fetch_annotation(record, folder):
    from neuromaps.datasets import fetch_annotation  # takes seconds to import

    keys = ("source", "desc", "space", "res")
    fetch_annotation(**{key: record[key] for key in keys}, data_dir=folder, verbose=0)


def _record(annotation):
    """What neuromaps' packaged list says of one annotation: file name, folder, md5."""
    resolve([annotation])
    row = library().loc[annotation]
    source, desc = annotation.split("/")
    wanted = {"source": source, "desc": desc, "space": row["space"], "res": row["res"]}
    for record in _neuromaps_list():
        if all(record.get(key) == value for key, value in wanted.items()):
            return record
    raise ValueError(
        f"receptor annotation '{annotation}' is not in the list of the installed neuromaps. "
        "Install the version of requirements.lock."
    )


def _neuromaps_list():
    spec = importlib.util.find_spec("neuromaps")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    return json.loads((folder / "osf.json").read_text(encoding="utf-8"))["annotations"]


def _path(record, folder):
    return Path(folder) / "annotations" / record["rel_path"] / record["fname"]


def _check_md5(path, expected):
    found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if found != expected:
        raise WrongMap(
            f"{path}: expected md5 {expected} (neuromaps' list), found {found}. The file "
            f"is damaged or another one: remove it, then run {FETCH_COMMAND}"
        )


def parcellate(
    annotations="default",
    atlas="neuromorphometrics",
    labels=None,
    cache=None,
    background="drop",
    min_coverage=MIN_COVERAGE,
):
    """Region means of receptor maps.

    Parameters
    ----------
    annotations : "default" or list of str
    atlas : str, path, image or analysis_lib.atlas.Atlas
    labels : sequence of int, optional
        Default: the grey-matter regions.
    cache : path, optional
    background : {"drop", "keep"}
        See `analysis_lib.atlas.parcel_means`.
    min_coverage : float
        A map covers a region when it has values in at least this share of the region's voxels.

    Returns
    -------
    pandas.DataFrame, shape (n_receptors, n_parcels)
        Rows are annotations, columns labels; NaN where a map does not cover a region. `uncovered`
        lists those regions.
    """
    files = {name: locate(name, cache) for name in resolve(annotations)}
    return parcellate_images(files, atlas, labels, background, min_coverage)


def parcellate_images(
    images,
    atlas="neuromorphometrics",
    labels=None,
    background="drop",
    min_coverage=MIN_COVERAGE,
):
    """Region means of images by name: simulated maps, or files of one's own.

    Parameters
    ----------
    images : mapping of str to path or image
    atlas, labels, background, min_coverage
        See `parcellate`.

    Returns
    -------
    pandas.DataFrame, shape (n_images, n_parcels)
    """
    atlas = atlases.load_atlas(atlas)
    labels = atlases.grey_matter_labels(atlas) if labels is None else labels
    means = {
        name: atlases.parcel_means(image, atlas, background, min_coverage).reindex(labels)
        for name, image in images.items()
    }
    return pd.DataFrame(means).T.rename_axis(index="annotation", columns="label")


def simulated_library():
    """Table of the simulated maps, one for each receptor of the library, in its columns.

    Returns
    -------
    pandas.DataFrame
        Receptor names begin with "simulated: ", annotations with "simulated/"; no people.
    """
    names = library()["receptor"].unique()
    table = pd.DataFrame({"receptor": [f"simulated: {name}" for name in names]})
    table.index = pd.Index([f"simulated/{name}" for name in names], name="annotation")
    table["tracer"] = "simulated"
    table["n_subjects"] = pd.array([pd.NA] * len(names), dtype="Int64")
    table["space"], table["res"], table["reference"] = "MNI152", pd.NA, "simulated, no measurement"
    table["note"] = "simulated"
    return table


def simulated_maps(d1_map, seed, fwhm=30.0):
    """Stand-ins for receptor maps that are not cached: one planted map, smooth random fields.

    Parameters
    ----------
    d1_map : image
        Map of regional D1 weights; the others are made on its grid.
    seed : int
    fwhm : float
        Smoothness of the random fields, mm.

    Returns
    -------
    dict of str to image
        By annotation of `simulated_library`; values are positive, without unit.
    """
    rng = np.random.default_rng(seed)
    sigma = fwhm / math.sqrt(8 * math.log(2)) / np.array(d1_map.header.get_zooms()[:3], dtype=float)
    images = {}
    for annotation in simulated_library().index:
        if annotation == "simulated/D1":
            images[annotation] = d1_map
            continue
        field = ndimage.gaussian_filter(rng.standard_normal(d1_map.shape[:3]), sigma)
        values = np.exp(0.5 * field / field.std()).astype(np.float32)
        images[annotation] = nib.Nifti1Image(values, d1_map.affine)
    return images


def maps_for(study, atlas, labels, background="drop", cache=None, seed=0):
    """Region means of the receptor maps that a study asks for, and the table about them.

    Maps come from the cache. The demo, and only a simulated study, falls back to simulated maps
    when one of them is not there.

    Parameters
    ----------
    study : analysis_lib.study.Study
    atlas : analysis_lib.atlas.Atlas
    labels : sequence of int
        Regions wanted, in this order.
    background : {"drop", "keep"}
        See `analysis_lib.atlas.parcel_means`.
    cache : path, optional
        See `cache_folder`.
    seed : int
        Of the simulated maps.

    Returns
    -------
    maps : pandas.DataFrame, shape (n_receptors, n_parcels)
    about : pandas.DataFrame
        Rows of `library` or `simulated_library`, in the order of `maps`.

    Raises
    ------
    StudyError
        Maps of a real study are not in the cache; the message names them and the command that
        gets them.
    """
    lacking = missing(study.receptors, cache)
    if not lacking:
        maps = parcellate(study.receptors, atlas, labels, cache, background)
        return maps, library().loc[maps.index]
    if not study.simulated:
        raise StudyError(
            [
                f"receptor maps {', '.join(lacking)} are not in {cache_folder(cache)}. "
                f"Get them: {FETCH_COMMAND}. A real study never uses simulated maps"
            ]
        )
    grid = grey_matter_template(3)
    maps = parcellate_images(simulated_maps(d1_map(grid), seed), atlas, labels, background)
    return maps, simulated_library().loc[maps.index]


def uncovered(receptors):
    """Regions that each receptor map does not cover, by name of the map.

    Parameters
    ----------
    receptors : pandas.DataFrame, shape (n_receptors, n_parcels)

    Returns
    -------
    dict of str to list of int
        Labels left out; maps that cover every region are not named.
    """
    gaps = receptors.isna()
    return {name: gaps.columns[row].tolist() for name, row in gaps.iterrows() if row.any()}
