"""The receptor maps that there are: names, facts, files in the cache."""

import difflib
import functools
import hashlib
import importlib.util
import json
from collections import Counter
from pathlib import Path

import pandas as pd

from analysis_lib.results.environment import receptor_cache
from analysis_lib.results.problems import MissingMap, StudyError, WrongMap
from analysis_lib.study.contract import LocalMap

WITHHELD = ("spreng/feobv",)  # by its publisher: neuromaps downloads it with a token only

FETCH_COMMAND = "python -m analysis_lib fetch receptors"

COLUMNS = (
    *("receptor", "tracer", "n_subjects", "age", "reference", "licence", "md5"),
    *("space", "res", "default", "note", "citation", "file"),
)

# What neuromaps' packaged files do not say, or not in these words, the default set first, and
# doubts about neuromaps' entries. Number and age of people, citation, licence, file and md5 are
# read from those files. For three of the Savli maps the file names of Hansen et al. (2022) give
# other numbers of people than neuromaps: WAY-100635 36, P943 22, DASB 30.
LISTED = Path(__file__).with_name("catalogue.tsv")


def library():
    """Every receptor and transporter map in MNI152 that neuromaps distributes.

    These are its volumes with the tag "receptors". Its other PET and functional volumes are left
    out, being no receptor or transporter of a transmitter: COX-1 (ps13) and HDAC (martinostat),
    enzymes; TSPO (pbr28), a marker of glia; SV2A (ucbj), a marker of synapses; glucose metabolism,
    blood flow and a meta-analytic component.

    One row per `annotation` ("source/desc", as in neuromaps), the default set first, with
    `COLUMNS`: `n_subjects` and `age` (years, as written) are of the people behind the map;
    `licence` is neuromaps' own, unless the map's authors name one; `res` is that of the file's name
    (voxels can differ); `note` is neuromaps' warning, or a doubt about its entry; `file` is the
    path below neuromaps' cache.
    """
    listed = _listed()
    read = pd.DataFrame([_read(record_of(name)) for name in listed.index], index=listed.index)
    read["note"] = read["note"].where(read["note"] != "", listed["doubt"])
    return listed.join(read)[list(COLUMNS)].astype({"n_subjects": "Int64"})


@functools.cache
def _listed():
    """The list beside this module, by annotation."""
    table = pd.read_csv(LISTED, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    return table.set_index("annotation").assign(default=table["default"].eq("yes").to_numpy())


def _read(record):
    """Columns of `library` that neuromaps' packaged files hold, from one record."""
    meta = record["meta"]
    return {
        "n_subjects": meta["demographics"]["N"],
        "age": meta["demographics"]["age"].strip(),
        "licence": meta.get("license", {}).get("type", "CC BY-NC-SA 4.0 (neuromaps)"),
        "md5": record["checksum"],
        "space": record["space"],
        "res": record["res"],
        "note": f"neuromaps: {meta['warning']}" if "warning" in meta else "",
        "citation": "; ".join(reference["citation"] for reference in meta["refs"]["primary"]),
        "file": cached_path(record, "").as_posix(),
    }


def resolve(receptors="default"):
    """Annotations that a study's ``receptors`` ask for, in their order.

    "default": the 18 maps of the default set; "all": the whole library but for what its publisher
    withholds (`WITHHELD`); "source/desc": that map; a receptor such as "D1": its maps in the
    default set, or, where that set has none, in the library; a file of one's own: "local/<name>". A
    name the library does not hold is a `StudyError` with the nearest ones it does, and so is a map
    named twice.
    """
    known = library()
    chosen = [name for entry in _entries(receptors) for name in _named(entry, known)]
    doubled = [name for name, count in Counter(chosen).items() if count > 1]
    if doubled:
        raise StudyError(
            f"receptor annotations named twice: {', '.join(doubled)}. A receptor's name and "
            "'default' stand for several maps."
        )
    return chosen


def _entries(receptors):
    return [receptors] if isinstance(receptors, (str, LocalMap)) else receptors


def skipped(receptors):
    """Maps that "all" leaves out, each with the reason; nothing without "all"."""
    if "all" not in _entries(receptors):
        return []
    return [f"{name} is not used: its publisher withholds it" for name in WITHHELD]


def _named(entry, known):
    if isinstance(entry, LocalMap):
        return [entry.annotation]
    if entry == "all":
        return known.index.difference(WITHHELD, sort=False).tolist()
    if entry == "default":
        return known.index[known["default"]].tolist()
    if entry in known.index:
        return [entry]
    maps = known[known["receptor"] == entry]
    if maps.empty:
        raise StudyError(_unknown(entry, known))
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


def published(receptors):
    """Annotations that neuromaps distributes: files of one's own are never fetched."""
    return [name for name in resolve(receptors) if not name.startswith("local/")]


def locate(annotation, cache=None):
    """Path of a receptor map ("source/desc") in neuromaps' cache, its content checked.

    Never downloads: `MissingMap` where the cache does not hold the file, `WrongMap` where its md5
    is not the one in neuromaps' packaged list.
    """
    record = record_of(annotation)
    path = cached_path(record, receptor_cache(cache))
    if not path.is_file():
        raise MissingMap(
            f"receptor map {annotation} is not at {path}. Get it: {fetch_command(annotation)}"
        )
    check_md5(path, record["checksum"], annotation)
    return path


def missing(annotations="default", cache=None):
    """Annotations whose file the cache does not hold; files of one's own are passed over."""
    folder = receptor_cache(cache)
    return [
        name
        for name in published(annotations)
        if not cached_path(record_of(name), folder).is_file()
    ]


def fetch_command(*annotations):
    """What fetches these maps: the default set, or all."""
    default = _listed().index[_listed()["default"]]
    return FETCH_COMMAND if set(annotations) <= {*default} else f"{FETCH_COMMAND} --all-maps"


def record_of(annotation):
    """What neuromaps' packaged files say of one annotation: file name, folder, md5, metadata."""
    if annotation not in _listed().index:
        raise StudyError(_no_single_map(annotation))
    try:
        return _neuromaps_list()[annotation]
    except KeyError:
        raise StudyError(
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


def cached_path(record, folder):
    """Where a folder laid out as neuromaps' cache keeps a map."""
    return Path(folder) / "annotations" / record["rel_path"] / record["fname"]


def md5_of(path):
    """md5 of a file."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def check_md5(path, expected, annotation):
    """Refuse a file with another md5: WrongMap."""
    found = md5_of(path)
    if found != expected:
        raise WrongMap(
            f"{path}: expected md5 {expected} (neuromaps' list), found {found}. The file "
            f"is damaged or another one: remove it, then run {fetch_command(annotation)}"
        )
