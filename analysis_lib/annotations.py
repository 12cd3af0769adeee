"""Receptor maps: what there is, where the files lie, region means, several tracers in one."""

import difflib
import functools
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
from nibabel.affines import voxel_sizes
from rich.progress import track
from scipy import ndimage

from analysis_lib import atlas as atlases
from analysis_lib.study import LocalMap, StudyError

FETCH_COMMAND = "python -m analysis_lib fetch receptors"
MIN_COVERAGE = 0.1  # a mean of fewer of a region's voxels than this is not that region's mean
COLUMNS = (
    *("receptor", "tracer", "n_subjects", "age", "reference", "licence", "md5"),
    *("space", "res", "default", "note", "citation", "file"),
)
NOT_GIVEN = "not given"

# What neuromaps' packaged files do not say, or not in these words: receptor, annotation, tracer,
# reference. Number and age of people, citation, licence, file and md5 are read from those files.
# For three of the Savli maps the file names of Hansen et al. (2022) give other numbers of people
# than neuromaps: WAY-100635 36, P943 22, DASB 30.
_DEFAULT = (
    ("D1", "kaller2017/sch23390", "[11C]SCH23390", "Kaller et al. 2017"),
    ("D2", "alarkurtti2015/raclopride", "[11C]raclopride", "Alakurtti et al. 2015"),
    ("DAT", "dukart2018/fpcit", "[123I]FP-CIT", "Dukart et al. 2018"),
    ("5-HT1A", "savli2012/way100635", "[11C]WAY-100635", "Savli et al. 2012"),
    ("5-HT1A", "beliveau2017/cumi101", "[11C]CUMI-101", "Beliveau et al. 2017"),
    ("5-HT1B", "savli2012/p943", "[11C]P943", "Savli et al. 2012"),
    ("5-HT1B", "beliveau2017/az10419369", "[11C]AZ10419369", "Beliveau et al. 2017"),
    ("5-HT2A", "savli2012/altanserin", "[18F]altanserin", "Savli et al. 2012"),
    ("5-HT2A", "beliveau2017/cimbi36", "[11C]Cimbi-36", "Beliveau et al. 2017"),
    ("5-HT4", "beliveau2017/sb207145", "[11C]SB207145", "Beliveau et al. 2017"),
    ("5-HTT", "savli2012/dasb", "[11C]DASB", "Savli et al. 2012"),
    ("5-HTT", "beliveau2017/dasb", "[11C]DASB", "Beliveau et al. 2017"),
    ("5-HTT", "fazio2016/madam", "[11C]MADAM", "Fazio et al. 2016"),
    ("NET", "hesse2017/methylreboxetine", "[11C]MRB", "Hesse et al. 2017"),
    ("GABAA", "dukart2018/flumazenil", "[11C]flumazenil", "Dukart et al. 2018"),
    ("MOR", "kantonen2020/carfentanil", "[11C]carfentanil", "Kantonen et al. 2020"),
    ("MOR", "turtonen2020/carfentanil", "[11C]carfentanil", "Turtonen et al. 2021"),
    ("VAChT", "tuominen/feobv", "[18F]FEOBV", "Tuominen, in Hansen et al. 2022"),
)
_FURTHER = (
    ("D2", "jaworska2020/fallypride", "[18F]fallypride", "Jaworska et al. 2020"),
    ("D2", "malen2022/raclopride", "[11C]raclopride", "Malén et al. 2022"),
    ("D2", "sandiego2015/flb457", "[11C]FLB457", "Sandiego et al. 2015"),
    ("D2", "smith2017/flb457", "[11C]FLB457", "Smith et al. 2019"),
    ("DAT", "sasaki2012/fepe2i", "[18F]FE-PE2I", "Sasaki et al. 2012"),
    ("5-HT1B", "gallezot2010/p943", "[11C]P943", "Gallezot et al. 2010"),
    ("5-HT6", "radnakrishnan2018/gsk215083", "[11C]GSK215083", "Radhakrishnan et al. 2018"),
    ("NET", "ding2010/mrb", "[11C]MRB", "Ding et al. 2010"),
    ("GABAA", "norgaard2021/flumazenil", "[11C]flumazenil", "Nørgaard et al. 2021"),
    ("GABAA-alpha5", "lukow2022/ro154513", "[11C]Ro15-4513", "Lukow et al. 2022"),
    ("mGluR5", "dubois2015/abp688", "[11C]ABP688", "DuBois et al. 2016"),
    ("mGluR5", "rosaneto/abp688", "[11C]ABP688", "Rosa-Neto, in Hansen et al. 2022"),
    ("mGluR5", "smart2019/abp688", "[11C]ABP688", "Smart et al. 2019"),
    ("NMDA", "galovic2021/ge179", "[18F]GE-179", "Galovic et al. 2021"),
    ("CB1", "laurikainen2018/fmpepd2", "[18F]FMPEP-d2", "Laurikainen et al. 2019"),
    ("CB1", "normandin2015/omar", "[11C]OMAR", "Normandin et al. 2015"),
    ("KOR", "vijay2018/ly2795050", "[11C]LY2795050", "Vijay et al. 2018"),
    ("H3", "gallezot2017/gsk189254", "[11C]GSK189254", "Gallezot et al. 2017"),
    ("M1", "naganawa2020/lsn3172176", "[11C]LSN3172176", "Naganawa et al. 2021"),
    ("a4b2", "hillmer2016/flubatine", "[18F]flubatine", "Hillmer et al. 2016"),
    ("VAChT", "aghourian2017/feobv", "[18F]FEOBV", "Aghourian et al. 2017"),
    ("VAChT", "bedard2019/feobv", "[18F]FEOBV", "Bedard et al. 2019"),
    ("VAChT", "spreng/feobv", "[18F]FEOBV", "Spreng, in Hansen et al. 2022"),
)
# Where neuromaps' entry is doubtful.
_DOUBTS = {
    "gallezot2010/p943": "neuromaps gives the number and age of people of savli2012/p943; "
    "Hansen et al. (2022) have 65 people",
    "gallezot2017/gsk189254": "neuromaps cites the paper on P943 of 2010 (Gallezot et al.)",
}


class MissingMap(FileNotFoundError):
    """A receptor map is not in the cache; the message names the command that fetches it."""


class WrongMap(ValueError):
    """A file in the cache is not the one that neuromaps publishes."""


class FetchFailed(RuntimeError):
    """A receptor map could not be downloaded."""


# --- the library and its files -------------------------------------------------------------------


def library():
    """Every receptor and transporter map in MNI152 that neuromaps distributes.

    These are its volumes with the tag "receptors". Its other PET and functional volumes are left
    out, being no receptor or transporter of a transmitter: COX-1 (ps13) and HDAC (martinostat),
    enzymes; TSPO (pbr28), a marker of glia; SV2A (ucbj), a marker of synapses; glucose metabolism,
    blood flow and a meta-analytic component.

    Returns
    -------
    pandas.DataFrame, shape (41, 13)
        Indexed by `annotation` ("source/desc", as in neuromaps); the default set first. Columns:
        `receptor`; `tracer`; `n_subjects` and `age` (years, as written) of the people behind the
        map; `reference` (short); `licence` (neuromaps' own, unless the map's authors name one);
        `md5`; `space`; `res` (as in the file's name: voxels can differ); `default` (bool); `note`
        (neuromaps' warning, or a doubt about its entry, else empty); `citation` (as neuromaps
        gives it); `file` (path below neuromaps' cache).
    """
    typed = pd.DataFrame(
        [*_DEFAULT, *_FURTHER], columns=["receptor", "annotation", "tracer", "reference"]
    )
    typed = typed.set_index("annotation")
    typed["default"] = [True] * len(_DEFAULT) + [False] * len(_FURTHER)
    read = pd.DataFrame([_read(_record(name)) for name in typed.index], index=typed.index)
    table = typed.join(read)[list(COLUMNS)]
    return table.astype({"n_subjects": "Int64"})


def _read(record):
    """Columns of `library` that neuromaps' packaged files hold, from one record."""
    meta = record["meta"]
    warning = f"neuromaps: {meta['warning']}" if "warning" in meta else ""
    doubt = _DOUBTS.get(f"{record['source']}/{record['desc']}", "")
    return {
        "n_subjects": meta["demographics"]["N"],
        "age": meta["demographics"]["age"].strip(),
        "licence": meta.get("license", {}).get("type", "CC BY-NC-SA 4.0 (neuromaps)"),
        "md5": record["checksum"],
        "space": record["space"],
        "res": record["res"],
        "note": warning or doubt,
        "citation": "; ".join(reference["citation"] for reference in meta["refs"]["primary"]),
        "file": _path(record, "").as_posix(),
    }


def resolve(receptors="default"):
    """Annotations that a study asks for.

    Parameters
    ----------
    receptors : str or list of str and analysis_lib.study.LocalMap
        The study's `receptors`. "default": the 18 maps of the default set; "all": the whole
        library; "source/desc": that map; a receptor such as "D1": its maps in the default set, or,
        where that set has none, in the library; a file of one's own: "local/<name>".

    Returns
    -------
    list of str
        In the order asked for.

    Raises
    ------
    ValueError
        A name the library does not hold, with the nearest ones it does; a map named twice.
    """
    entries = [receptors] if isinstance(receptors, (str, LocalMap)) else receptors
    known = library()
    chosen = [name for entry in entries for name in _named(entry, known)]
    doubled = [name for name, count in Counter(chosen).items() if count > 1]
    if doubled:
        raise ValueError(
            f"receptor annotations named twice: {', '.join(doubled)}. A receptor's name and "
            "'default' stand for several maps."
        )
    return chosen


def _named(entry, known):
    if isinstance(entry, LocalMap):
        return [entry.annotation]
    if entry == "all":
        return known.index.tolist()
    if entry == "default":
        return known.index[known["default"]].tolist()
    if entry in known.index:
        return [entry]
    maps = known[known["receptor"] == entry]
    if maps.empty:
        raise ValueError(_unknown(entry, known))
    return (maps[maps["default"]] if maps["default"].any() else maps).index.tolist()


def _unknown(entry, known):
    receptors = known["receptor"].unique().tolist()
    spelling = {name.lower(): name for name in [*known.index, *receptors, "default", "all"]}
    near = difflib.get_close_matches(entry.lower(), spelling, n=3, cutoff=0.4)
    names = [spelling[name] for name in near] or receptors
    return (
        f"receptor annotation '{entry}' is unknown; near: {', '.join(names)}. Write it as "
        "source/desc, the name of a receptor, 'default' or 'all'."
    )


def _published(receptors):
    """Annotations that neuromaps distributes: files of one's own are never fetched."""
    return [name for name in resolve(receptors) if not name.startswith("local/")]


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
        An unknown annotation, or the name of a receptor.
    """
    record = _record(annotation)
    path = _path(record, cache_folder(cache))
    if not path.is_file():
        raise MissingMap(
            f"receptor map {annotation} is not at {path}. Get it: {_command(annotation)}"
        )
    _check_md5(path, record["checksum"], annotation)
    return path


def missing(annotations="default", cache=None):
    """Annotations whose file the cache does not hold.

    Parameters
    ----------
    annotations : str or list
        See `resolve`. Files of one's own have no place in the cache and are passed over.
    cache : path, optional

    Returns
    -------
    list of str
    """
    folder = cache_folder(cache)
    return [name for name in _published(annotations) if not _path(_record(name), folder).is_file()]


def fetch(annotations="default", cache=None, progress=True):
    """Download the receptor maps that the cache lacks, and check every one.

    Parameters
    ----------
    annotations : str or list
        See `resolve`. Files of one's own are passed over.
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
        A download failed; the message names the annotation. Maps fetched before it are kept.
    WrongMap
        A file, downloaded or already there, is not the published one. It is left where it is; a
        wrong download never enters the cache.
    """
    annotations = _published(annotations)
    folder = cache_folder(cache)
    absent = [name for name in annotations if not _path(_record(name), folder).is_file()]
    for annotation in track(absent, "receptor maps", disable=not (progress and absent)):
        _download(annotation, folder)
    return {annotation: locate(annotation, folder) for annotation in annotations}


def _download(annotation, folder):
    """Into a folder beside its place first, so that a file appears whole and checked, or not."""
    record = _record(annotation)
    final = _path(record, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        part = _path(record, scratch)
        try:
            _fetch_annotation(record, scratch)
        except Exception as error:
            raise FetchFailed(
                f"receptor map {annotation} could not be downloaded "
                f"({type(error).__name__}: {error}). Is there a network connection? "
                f"What {folder} held is kept; try again: {_command(annotation)}"
            ) from error
        _check_md5(part, record["checksum"], annotation)
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(part, final)


def _fetch_annotation(record, folder):
    from neuromaps.datasets import fetch_annotation  # takes seconds to import

    keys = ("source", "desc", "space", "res")
    fetch_annotation(**{key: record[key] for key in keys}, data_dir=folder, verbose=0)


def _command(*annotations):
    """What fetches these maps: the default set, or all."""
    default = set(annotations) <= {row[1] for row in _DEFAULT}
    return FETCH_COMMAND if default else f"{FETCH_COMMAND} --all-maps"


def _record(annotation):
    """What neuromaps' packaged files say of one annotation: file name, folder, md5, metadata."""
    if annotation not in [row[1] for row in (*_DEFAULT, *_FURTHER)]:
        raise ValueError(_no_single_map(annotation))
    try:
        return _neuromaps_list()[annotation]
    except KeyError:
        raise ValueError(
            f"receptor annotation '{annotation}' is not in the list of the installed neuromaps. "
            "Install the version of requirements.lock."
        ) from None


def _no_single_map(name):
    if name.startswith("local/"):
        return f"{name} is a file of a study's own, not in neuromaps' cache. Use files_for(study)."
    return f"'{name}' stands for {', '.join(resolve([name]))}. Name one of them."


@functools.cache
def _neuromaps_list():
    """neuromaps' volumes in MNI152 by annotation: its list of files, joined to its metadata.

    Its packaged files are read without importing it, which takes seconds.
    """
    spec = importlib.util.find_spec("neuromaps")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    files, about = (
        json.loads((folder / name).read_text(encoding="utf-8"))["annotations"]
        for name in ("osf.json", "meta.json")
    )
    meta = {_identity(entry["annot"]): entry for entry in about}
    return {
        f"{record['source']}/{record['desc']}": {**record, "meta": meta[_identity(record)]}
        for record in files
        if record["space"] == "MNI152"
    }


def _identity(record):
    return tuple(record.get(key) for key in ("source", "desc", "space", "res"))


def _path(record, folder):
    return Path(folder) / "annotations" / record["rel_path"] / record["fname"]


def _md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _check_md5(path, expected, annotation):
    found = _md5(path)
    if found != expected:
        raise WrongMap(
            f"{path}: expected md5 {expected} (neuromaps' list), found {found}. The file "
            f"is damaged or another one: remove it, then run {_command(annotation)}"
        )


# --- maps of one's own ---------------------------------------------------------------------------


def problems(study):
    """What is wrong with a study's `receptors`: names, and files of its own. Never downloads.

    Published maps that the cache lacks are no problem of a study: see `missing`.

    Parameters
    ----------
    study : analysis_lib.study.Study

    Returns
    -------
    list of str
        Each names the study file and the entry; empty when all is well.
    """
    where = f"{study.path.name}: receptors"
    try:
        resolve(study.receptors)
    except ValueError as error:
        return [f"{where}: {error}"]
    checked = (
        (f"{where}.{number} ({entry.receptor})", entry, study.path.parent / entry.file)
        for number, entry in enumerate(study.receptors)
        if isinstance(entry, LocalMap)
    )
    return [text for text in (_local_problem(*item) for item in checked) if text]


def _local_problem(where, entry, path):
    if not path.is_file():
        return (
            f"{where}: no file {path}. Expected '{entry.file}', relative to the study file: put it "
            "there, or correct 'file'"
        )
    if entry.md5 is not None and (found := _md5(path)) != entry.md5:
        return (
            f"{where}: {path}: expected md5 {entry.md5}, found {found}. The file is damaged or "
            "another one: restore it, or correct 'md5'"
        )
    return None


def _local_maps(study):
    if isinstance(study.receptors, str):
        return []
    return [entry for entry in study.receptors if isinstance(entry, LocalMap)]


def _local_table(entries):
    """Rows of maps of one's own, in the columns of `library`."""
    known = {"space": "MNI152", "res": NOT_GIVEN, "default": False, "note": ""}
    rows = []
    for entry in entries:
        said = {key: value for key, value in entry.model_dump().items() if value is not None}
        texts = dict.fromkeys(("tracer", "age", "reference", "licence", "md5"), NOT_GIVEN)
        row = {**known, **texts, "n_subjects": pd.NA, **said}
        rows.append({**row, "citation": row["reference"]})
    index = pd.Index([entry.annotation for entry in entries], name="annotation")
    return pd.DataFrame(rows, index=index, columns=list(COLUMNS)).astype({"n_subjects": "Int64"})


def files_for(study, cache=None):
    """Files of the receptor maps that a study asks for, each checked. Never downloads.

    Parameters
    ----------
    study : analysis_lib.study.Study
    cache : path, optional
        See `cache_folder`.

    Returns
    -------
    dict of str to pathlib.Path
        By annotation, in the study's order.

    Raises
    ------
    StudyError
        An unknown name; a file of the study's own that is missing or not the one expected;
        published maps that are not in the cache, with the command that gets them.
    WrongMap
        A file in the cache is not the published one.
    """
    if found := problems(study):
        raise StudyError(found)
    if lacking := missing(study.receptors, cache):
        raise StudyError(
            [
                f"receptor maps {', '.join(lacking)} are not in {cache_folder(cache)}. "
                f"Get them: {_command(*lacking)}. A real study never uses simulated maps"
            ]
        )
    own = _local_files(study)
    return {name: own.get(name) or locate(name, cache) for name in resolve(study.receptors)}


def _local_files(study):
    return {entry.annotation: study.path.parent / entry.file for entry in _local_maps(study)}


# --- means by region -----------------------------------------------------------------------------


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
    annotations : str or list of str
        See `resolve`; maps of a study's own are read by `maps_for`.
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
    return _means_and_facts(images, atlas, labels, background, min_coverage)[0]


def _means_and_facts(images, atlas, labels, background, min_coverage=MIN_COVERAGE):
    """Region means, and the rows of `describe_files`: each file is read once for both."""
    atlas = atlases.load_atlas(atlas)
    labels = atlases.grey_matter_labels(atlas) if labels is None else labels
    means, facts = {}, {}
    for name, image in images.items():
        loaded = _in_memory(image)
        facts[name] = _facts(loaded)
        means[name] = atlases.parcel_means(loaded, atlas, background, min_coverage).reindex(labels)
    means = pd.DataFrame(means).T.rename_axis(index="annotation", columns="label")
    return means, _facts_table(facts)


def _in_memory(image):
    """An image with its values read; it keeps the file's name, for messages."""
    image = nib.load(image) if isinstance(image, (str, Path)) else image
    if not nib.is_proxy(image.dataobj):
        return image
    return nib.spatialimages.SpatialImage(
        np.asanyarray(image.dataobj), image.affine, file_map=image.file_map
    )


def _facts(image):
    size = voxel_sizes(image.affine)
    size = size[:1] if np.allclose(size, size[0]) else size
    return {
        "shape": " x ".join(str(n) for n in image.shape),
        "n_volumes": math.prod(image.shape[3:]),
        "voxel_mm": " x ".join(f"{length:.4g}" for length in size),
        "background_value": atlases.find_background(image.dataobj),
    }


def _facts_table(facts):
    table = pd.DataFrame.from_dict(facts, orient="index")
    table.index.name = "annotation"
    return table.astype({"n_volumes": "Int64", "background_value": float})


def describe_files(images):
    """What the files of receptor maps hold, as found in their data.

    `maps_for` gives the same columns, so that a large file need not be read again.

    Parameters
    ----------
    images : mapping of str to path or image
        For instance what `files_for` or `fetch` returns.

    Returns
    -------
    pandas.DataFrame
        By annotation: `shape` (text, with a fourth dimension where the file has one), `n_volumes`,
        `voxel_mm` (one length, or three where they differ) and `background_value` (see
        `analysis_lib.atlas.find_background`; NaN: none).
    """
    return _facts_table({name: _facts(_in_memory(image)) for name, image in images.items()})


# --- simulated maps ------------------------------------------------------------------------------


def simulated_library(receptors=None):
    """Table of the simulated maps, one a receptor, in the columns of `library`.

    Parameters
    ----------
    receptors : sequence of str, optional
        Names of receptors. Default: those of the default set.

    Returns
    -------
    pandas.DataFrame
        Receptor names begin with "simulated: ", annotations with "simulated/"; no people.
    """
    names = _receptors_of("default") if receptors is None else list(receptors)
    row = dict.fromkeys(COLUMNS, "") | {"n_subjects": pd.NA, "space": "MNI152", "default": True}
    row |= {"tracer": "simulated", "note": "simulated", "reference": "simulated, no measurement"}
    index = pd.Index([f"simulated/{name}" for name in names], name="annotation")
    rows = [{**row, "receptor": f"simulated: {name}"} for name in names]
    return pd.DataFrame(rows, index=index, columns=list(COLUMNS)).astype({"n_subjects": "Int64"})


def _receptors_of(annotations):
    return library().loc[_published(annotations), "receptor"].unique().tolist()


def simulated_maps(d1_map, seed, fwhm=30.0, receptors=None):
    """Stand-ins for receptor maps that are not cached: one planted map, smooth random fields.

    Parameters
    ----------
    d1_map : image
        Map of regional D1 weights; the others are made on its grid.
    seed : int
    fwhm : float
        Smoothness of the random fields, mm.
    receptors : sequence of str, optional
        As in `simulated_library`. A receptor's field does not depend on the others asked for.

    Returns
    -------
    dict of str to image
        By annotation of `simulated_library`; values are positive, without unit.
    """
    rng = np.random.default_rng(seed)
    sigma = fwhm / math.sqrt(8 * math.log(2)) / np.array(d1_map.header.get_zooms()[:3], dtype=float)
    wanted = simulated_library(receptors).index
    images = {"simulated/D1": d1_map}
    for name in (f"simulated/{receptor}" for receptor in _receptors_of("all")):
        if set(wanted) <= set(images):
            break
        if name == "simulated/D1":
            continue
        noise = rng.standard_normal(d1_map.shape[:3])
        if name in wanted:
            images[name] = _smooth_field(noise, sigma, d1_map.affine)
    return {name: images[name] for name in wanted}


def _smooth_field(noise, sigma, affine):
    field = ndimage.gaussian_filter(noise, sigma)
    return nib.Nifti1Image(np.exp(0.5 * field / field.std()).astype(np.float32), affine)


# --- for a study ---------------------------------------------------------------------------------


def maps_for(study, atlas, labels, background="drop", cache=None, seed=0):
    """Region means of the receptor maps that a study asks for, and the table about them.

    Published maps come from the cache, a study's own from the files that it names. The demo, and
    only a simulated study, falls back to simulated maps when a published one is not there.

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
        In the order of `maps`, the columns of `library` and of `describe_files`. A map of the
        study's own has the annotation "local/<name>"; what it does not say is "not given".

    Raises
    ------
    StudyError
        See `files_for`; a map of the study's own has no values in any region.
    """
    if study.simulated and not problems(study) and missing(study.receptors, cache):
        from analysis_lib.simulate import d1_map, grey_matter_template  # slow to import

        names = _receptors_of(study.receptors)
        images = simulated_maps(d1_map(grey_matter_template(3)), seed, receptors=names)
        images |= _local_files(study)
        table = simulated_library(names)
    else:
        images = files_for(study, cache)
        table = library()
    if own := _local_maps(study):
        table = pd.concat([table, _local_table(own)])
    maps, facts = _means_and_facts(images, atlas, labels, background)
    _refuse_empty(maps, study)
    return maps, table.loc[maps.index].join(facts)


def _refuse_empty(maps, study):
    empty = [name for name in _local_files(study) if maps.loc[name].isna().all()]
    if empty:
        raise StudyError(
            [
                f"{study.path.name}: receptors: {name} has values in none of the regions. "
                "Is the file in MNI152 space?"
                for name in empty
            ]
        )


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


# --- several tracers of one receptor -------------------------------------------------------------


def combine(maps, about, equal_weights=False):
    """One map a receptor: the weighted mean of the z-scores of its maps.

    Each map is z-scored over the regions that it covers (population SD), since tracers are
    measured on different scales, then averaged with the number of people behind it as its weight.
    That is what the code of Hansen et al. (2022, Nature Neuroscience 25:1569-1581,
    make_receptor_matrix.py) does for 5-HT1B (P943), D2 (FLB457) and mGluR5 (ABP688), and for VAChT
    (FEOBV) but for two weights that it leaves out. They combine maps of one and the same tracer and
    take a single map where tracers differ; here all maps of a receptor are combined, and `tracer`
    and `note` say which, with what weight.

    Parameters
    ----------
    maps : pandas.DataFrame, shape (n_maps, n_parcels)
        As `maps_for` returns them; NaN where a map does not cover a region.
    about : pandas.DataFrame
        The table about them, with at least `receptor`, `tracer` and `n_subjects`.
    equal_weights : bool
        Weigh maps alike instead, for instance where the number of people is not known.

    Returns
    -------
    maps : pandas.DataFrame, shape (n_receptors, n_parcels)
        Receptors in the order in which they first occur. A receptor with one map keeps it as it
        is. A region that one of several maps does not cover is NaN: a mean of the others would mix
        regions of differently made values in one map. `uncovered` names these regions.
    about : pandas.DataFrame
        The same columns; for several maps the annotation is "combined/<receptor>", `n_subjects`
        their sum, texts are joined, and what belongs to one file is empty.

    Raises
    ------
    ValueError
        Maps and table are of different annotations; the number of people is unknown for one of
        several maps; a map is the same everywhere.
    """
    if list(maps.index) != list(about.index):
        raise ValueError(
            f"maps and table: the same annotations in the same order expected, found "
            f"{list(maps.index)} and {list(about.index)}. Give both as maps_for returns them."
        )
    means, rows = {}, {}
    for receptor, group in about.groupby("receptor", sort=False):
        if len(group) == 1:
            means[group.index[0]], rows[group.index[0]] = maps.loc[group.index[0]], group.iloc[0]
            continue
        weights = _weights(receptor, group["n_subjects"], equal_weights)
        z = _z_scores(maps.loc[group.index])
        means[f"combined/{receptor}"] = z.mul(weights, axis=0).sum(skipna=False)
        rows[f"combined/{receptor}"] = _combined_row(group, weights, equal_weights)
    combined = pd.DataFrame(means).T.rename_axis(index=maps.index.name, columns=maps.columns.name)
    table = pd.DataFrame([dict(row) for row in rows.values()], columns=list(about))
    table.index = combined.index
    return combined, table.astype(about.dtypes.to_dict())


def _weights(receptor, n_subjects, equal):
    if equal:
        return pd.Series(1 / len(n_subjects), index=n_subjects.index)
    unknown = n_subjects.index[n_subjects.isna()]
    if len(unknown):
        raise ValueError(
            f"{receptor}: {', '.join(unknown)} cannot be weighed, the number of people is not "
            "known. Give n_subjects in the study file, or ask for equal weights "
            "(equal_weights=True)."
        )
    return n_subjects.astype(float) / n_subjects.sum()


def _z_scores(maps):
    spread = maps.std(axis=1, ddof=0)
    flat = maps.index[~(spread > 0)]
    if len(flat):
        raise ValueError(f"{', '.join(flat)}: the same value in every region: no z-scores.")
    return maps.sub(maps.mean(axis=1), axis=0).div(spread, axis=0)


def _combined_row(group, weights, equal):
    """A row of the table about the maps: texts joined, what belongs to one file left out."""
    joined = [
        column
        for column in ("age", "reference", "licence", "space", "res", "citation")
        if column in group
    ]
    row = {column: "; ".join(group[column].drop_duplicates()) for column in joined}
    shares = [f"{name} {weight:.2f}" for name, weight in weights.items()]
    basis = "equal weights" if equal else "weights by number of people"
    notes = group["note"].drop_duplicates() if "note" in group else []
    return {
        **dict.fromkeys(group.columns),
        **row,
        "receptor": group["receptor"].iloc[0],
        "tracer": ", ".join(
            f"{tracer} {weight:.2f}"
            for tracer, weight in zip(group["tracer"], weights, strict=True)
        ),
        "n_subjects": group["n_subjects"].sum(skipna=False),
        "default": group["default"].all() if "default" in group else None,
        "note": "; ".join(
            [f"mean of z-scores, {basis}: {', '.join(shares)}", *(note for note in notes if note)]
        ),
    }
