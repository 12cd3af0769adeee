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

FETCH_COMMAND = "python -m analysis_lib fetch receptors"

COLUMNS = (
    *("receptor", "tracer", "n_subjects", "age", "reference", "licence", "md5"),
    *("space", "res", "default", "note", "citation", "file"),
)

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
    read = pd.DataFrame([_read(record_of(name)) for name in typed.index], index=typed.index)
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
        "file": cached_path(record, "").as_posix(),
    }


def resolve(receptors="default"):
    """Annotations that a study's ``receptors`` ask for, in their order.

    "default": the 18 maps of the default set; "all": the whole library; "source/desc": that map; a
    receptor such as "D1": its maps in the default set, or, where that set has none, in the library;
    a file of one's own: "local/<name>". A name the library does not hold is a `StudyError` with the
    nearest ones it does, and so is a map named twice.
    """
    entries = [receptors] if isinstance(receptors, (str, LocalMap)) else receptors
    known = library()
    chosen = [name for entry in entries for name in _named(entry, known)]
    doubled = [name for name, count in Counter(chosen).items() if count > 1]
    if doubled:
        raise StudyError(
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
    default = set(annotations) <= {row[1] for row in _DEFAULT}
    return FETCH_COMMAND if default else f"{FETCH_COMMAND} --all-maps"


def record_of(annotation):
    """What neuromaps' packaged files say of one annotation: file name, folder, md5, metadata."""
    if annotation not in [row[1] for row in (*_DEFAULT, *_FURTHER)]:
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
