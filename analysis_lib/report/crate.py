"""An RO-Crate of a study's results: which notebook made which file from what, machine-readable.

``ro-crate-metadata.json`` makes ``data/derived/<study>/`` a crate of RO-Crate 1.1 and the profile
Process Run Crate 0.5 (w3id.org/ro/wfrun/process/0.5), from ``manifest.json`` and what it lists.
"""

import json
import re
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import yaml
from rocrate.model.contextentity import ContextEntity
from rocrate.model.file import File
from rocrate.rocrate import ROCrate

from analysis_lib.report import manifest as report_manifest
from analysis_lib.results import hashing
from analysis_lib.results.contrasts import CONTRASTS, contrast_words
from analysis_lib.results.files import read_if_there, write_text
from analysis_lib.results.problems import WrongFile
from analysis_lib.study import parameters
from analysis_lib.study.contract import LocalMap

VERSION = "1.1"  # Process Run Crate 0.5 extends this one
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
TERMS = "https://w3id.org/ro/terms/workflow-run/context"  # sha256 and environment
CODE_LICENCE = "https://spdx.org/licenses/BSD-3-Clause"
# Media types, and what files hold: by the ends of names, and by names.
WORDS = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
OUTSIDE = ("{", "private/")  # names of files that are not in the crate, or not to be shared
ARMS = {"active": "active treatment", "control": "control treatment"}


def write_crate(study):
    """Write ``ro-crate-metadata.json`` into a study's folder of results; its path.

    Refused: results that are not there, and files that are not those that the manifest lists.
    """
    content = describe(study, report_manifest.read_manifest(study))
    path = study.derived / report_manifest.CRATE
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def describe(study, manifest) -> dict:
    """The crate's metadata as JSON-LD.

    What lies outside the crate's folder is a contextual entity, by the manifest's name of it.
    """
    if not manifest["steps"]:
        raise WrongFile(
            f"{study.derived}: no results to describe, manifest.json lists no notebook. "
            f"Run: python run_all.py --study {study.path}"
        )
    crate = ROCrate(version=VERSION)
    crate.metadata.extra_contexts.append(TERMS)
    _add_files(crate, study, manifest)
    licences = _licences(study, manifest)
    _add_outside(crate, study, manifest, licences)
    steps = manifest["steps"].items()
    actions = [_add_action(crate, study, manifest, *step) for step in steps]
    _describe_root(crate, study, manifest, actions, licences)
    return crate.metadata.generate()


def _current(manifest):
    """sha256 and size of files by name, as the latest step that read or made each found it."""
    steps = sorted(manifest["steps"].values(), key=lambda step: step["ended"])
    read = {name: about for step in steps for name, about in step["inputs"].items()}
    made = {name: about for step in steps for name, about in step["outputs"].items()}
    return read | made | manifest["shared_outputs"]


def _identifier(name, about, current):
    """@id of a file: its path in the crate, or "#" and the manifest's name of it.

    A file that a step read and that was made anew since is an entity of its own.
    """
    plain = quote(re.sub(r"^\{(.+?)\}", lambda place: place[1].replace(" ", "-"), name))
    if current.get(name, {}).get("sha256") != about["sha256"]:
        return f"#earlier/{about['sha256'][:12]}/{plain}"
    return f"#{plain}" if name.startswith(OUTSIDE) else plain


def _add_files(crate, study, manifest):
    """Add the files of the folder: outputs of notebooks, the manifest, and the report."""
    made = {name for step in manifest["steps"].values() for name in step["outputs"]}
    made = sorted(
        name for name in made | set(manifest["shared_outputs"]) if not name.startswith(OUTSIDE)
    )
    current = _current(manifest)
    for name in made:
        _check(study, name, current[name])
    pages = [path for path in sorted((study.derived / "report").rglob("*")) if path.is_file()]
    paths = [study.derived / "manifest.json", *pages]
    others = {
        n: a for n, a in report_manifest.describe_files(study, paths).items() if n not in made
    }
    for name, about in ({name: current[name] for name in made} | others).items():
        properties = _file(name, about, describe_file(study, name))
        crate.add(File(crate, dest_path=name, properties=properties))


def _check(study, name, about):
    path = study.derived / name
    found = hashing.file_hash(path) if path.is_file() else "no such file"
    if found != about["sha256"]:
        raise WrongFile(
            f"{path}: sha256 {about['sha256'][:12]}... expected (manifest.json), found "
            f"{found[:12]}. Run python run_all.py --study {study.path} and then try again"
        )


def _file(name, about, text):
    properties = {
        "name": name,
        "description": text,
        "encodingFormat": file_format(name),
        "contentSize": str(about["bytes"]),
        "sha256": about["sha256"],
    }
    return {key: value for key, value in properties.items() if value}


def file_format(name) -> str:
    """Media type of a file, from its name."""
    suffixes = PurePosixPath(name).suffixes
    found = (WORDS["formats"].get("".join(suffixes[-n:])) for n in (2, 1))
    return next(filter(None, found), "application/octet-stream")


def describe_file(study, name) -> str:
    """What a result file below ``study.derived`` holds, in words; empty where that is unknown."""
    path = study.derived / name
    if path.name in WORDS["files"]:
        return WORDS["files"][path.name]
    if path.suffix == ".ipynb":
        return "Executed notebook: text, code, numbers and figures"
    if path.suffix == ".tsv":
        return _columns(path.with_suffix(".json"))
    if path.suffix == ".json":
        return _sidecar(path)
    return _map(path.name) if path.name.endswith(".nii.gz") else ""


def _columns(sidecar):
    texts = [
        ", ".join([f"{column}: {about['Description']}", *filter(None, [about.get("Units")])])
        for column, about in read_if_there(sidecar).items()
        if isinstance(about, dict) and "Description" in about
    ]
    return f"Table. {'; '.join(texts)}" if texts else ""


def _sidecar(path):
    for suffix, text in ((".tsv", "Columns of {}"), (".nii.gz", "Settings and volumes of {}")):
        other = path.with_suffix("").with_suffix(suffix)
        if other.is_file():
            return text.format(other.name)
    return ""


def _map(name):
    """What a map holds, from its name: <contrast>_<kind>.nii.gz, or a grey-matter map."""
    if "desc-modulated" in name:
        return "Modulated grey matter of a participant and session, in MNI space"
    stem = name.removesuffix(".nii.gz")
    for contrast in CONTRASTS:
        kind = WORDS["maps"].get(stem.removeprefix(f"{contrast}_"))
        if kind and stem.startswith(contrast):
            words = contrast_words(contrast, ARMS)
            return f"Grey-matter volume, {words}: {kind} (map in MNI space)"
    return ""


def _add_outside(crate, study, manifest, licences):
    """Add what lies outside the folder, or was made anew since, once each."""
    current, known = _current(manifest), {}
    for step in manifest["steps"].values():
        for name, about in (step["inputs"] | step["outputs"]).items():
            identifier = _identifier(name, about, current)
            if identifier.startswith("#"):
                known[identifier] = name, about
    for identifier, (name, about) in sorted(known.items()):
        place = re.match(r"\{(.+?)\}", name)
        text = WORDS["places"][place[1]] if place else describe_file(study, name)
        properties = _file(study.path.name if name == "{study}" else name, about, text)
        if identifier.startswith("#earlier/"):
            properties["description"] = f"Version that was read, replaced since. {text}".strip()
        if name in licences:
            terms = licences[name]
            licence = _add(crate, f"#licence/{quote(terms, safe='')}", "CreativeWork", name=terms)
            properties["license"] = licence
        _add(crate, identifier, "CreativeWork", **properties)


def _licences(study, manifest):
    """Licence by the manifest's name of an input: its own files', the study file's, neuromaps'."""
    names = {name for step in manifest["steps"].values() for name in step["inputs"]}
    data = read_if_there(study.root / "dataset_description.json").get("License")
    found = {name: data for name in names if name.startswith("{data}/")}
    for entry in study.receptors:
        if isinstance(entry, LocalMap):
            path = (study.path.parent / entry.file).resolve()
            found[report_manifest.label(study, path)] = entry.licence
    cached = {name: "/".join(name.split("/")[2:4]) for name in names if name.startswith("{recep")}
    if cached:
        from analysis_lib.study import catalogue

        known = catalogue.library()["licence"]
        found |= {name: known.get(annotation) for name, annotation in sorted(cached.items())}
    return {name: licence for name, licence in found.items() if licence and name in names}


def _terms(study, licences):
    """Terms of use of the results, in words, since no licence of their own applies."""
    by_kind = {"data": set(), "receptor maps": set()}
    for name, licence in licences.items():
        by_kind["data" if name.startswith("{data}/") else "receptor maps"].add(licence)
    said = [f"{kind}: {', '.join(sorted(found))}" for kind, found in by_kind.items() if found]
    patients = WORDS["simulated" if study.simulated else "patients"]
    return WORDS["terms"].format(inputs="; ".join(said) or "none named", patients=patients)


def _add(crate, identifier, kind, **properties):
    """Add a contextual entity; the same identifier twice is one entity."""
    entity = ContextEntity(crate, identifier, properties={"@type": kind, **properties})
    return crate.add(entity)


def _add_action(crate, study, manifest, notebook, step):
    """Add the run of one notebook with its tool, parameters, inputs and results."""
    current = _current(manifest)
    inputs = [{"@id": _identifier(n, a, current)} for n, a in step["inputs"].items()]
    results = [{"@id": _identifier(n, a, current)} for n, a in step["outputs"].items()]
    numbers = read_if_there(study.derived / "numbers.json")
    if any(key.partition(".")[0] in step["numbers"] for key in numbers):
        results += [{"@id": name} for name in manifest["shared_outputs"]]
    environment = [
        _add(crate, f"#environment/{quote(name)}", "PropertyValue", name=name, value=value)
        for name, value in step.get("environment", {}).items()
    ]
    return _add(
        crate,
        f"#run/{quote(notebook)}",
        "CreateAction",
        name=f"Run of notebook {notebook}{f' ({study.label} data)' if study.label else ''}",
        description=_circumstances(step),
        instrument=_add_notebook(crate, notebook, step),
        object=[*inputs, *_add_parameters(crate, study, notebook, step)],
        result=results,
        startTime=step["started"],
        endTime=step["ended"],
        actionStatus="http://schema.org/CompletedActionStatus",
        **({"environment": environment} if environment else {}),
    )


def _circumstances(step):
    seed, quick = step["seed"], "; few permutations (quick): for a first look only"
    return (
        "{seconds:.1f} s; {peak_memory_mb:.0f} MB of memory at most; {machine[system]} "
        "{machine[processor]}, {machine[cores]} cores".format(**step)
        + (f"; seed {seed}" if seed is not None else "")
        + quick * step["quick"]
    )


def _add_notebook(crate, notebook, step):
    """Add the notebook as the tool of an action, with the library and packages that it used."""
    git, files = step["git"], sorted(step["library"].items())
    used = hashing.text_hash(*(text for item in files for text in item))
    commit = git["commit"] + "+changes" * git["dirty"] if git else used
    named = {"name": "BSD 3-Clause License", "url": CODE_LICENCE}
    shared = {"version": commit, "license": _add(crate, CODE_LICENCE, "CreativeWork", **named)}
    library = _add(
        crate,
        f"#analysis_lib/{used[:12]}",
        "SoftwareSourceCode",
        name="analysis_lib",
        description=f"Library of the compendium; sha256 of what was used: {used}",
        **shared,
    )
    packages = [_add_package(crate, name, v) for name, v in step["packages"].items()]
    return _add(
        crate,
        f"#notebook/{quote(notebook)}",
        "SoftwareSourceCode",
        name=f"{notebook}.ipynb",
        description=f"Notebook of the compendium; sha256 of its code: {step['notebook']}",
        programmingLanguage=next(p for p in packages if p["name"] == "python"),
        softwareRequirements=[library, *packages],
        **shared,
    )


def _add_package(crate, name, version):
    url = f"https://pypi.org/project/{name}/{version}/"
    kind = "SoftwareApplication"
    if name == "python":
        url = f"https://www.python.org/downloads/release/python-{version.replace('.', '')}/"
        kind = ["SoftwareApplication", "ComputerLanguage"]
    return _add(crate, url, kind, name=name, url=url, version=version)


def _add_parameters(crate, study, notebook, step):
    """Add the values of a notebook's parameters, with the meaning that the notebook gives."""
    executed = study.derived / "notebooks" / f"{notebook}.ipynb"
    known = parameters.notebook_parameters(executed)
    return [
        _add(
            crate,
            f"#parameter/{quote(notebook)}/{quote(name)}",
            "PropertyValue",
            name=name,
            value=value if isinstance(value, bool | int | float | str) else json.dumps(value),
            **({"description": known[name].help} if name in known and known[name].help else {}),
        )
        for name, value in step["parameters"].items()
    ]


def _describe_root(crate, study, manifest, actions, licences):
    terms = {"name": "Terms of the inputs", "description": _terms(study, licences)}
    profile = {"name": "Process Run Crate", "url": PROFILE, "version": "0.5"}
    label, quick = [study.label] * bool(study.label), ["quick run"] * manifest["quick"]
    imaging = ["voxel-based morphometry"] * (study.imaging is not None)
    treatment = ["randomised controlled trial", "repetitive transcranial magnetic stimulation"]
    about = {
        "conformsTo": _add(crate, PROFILE, "CreativeWork", **profile),
        "name": f"{manifest['title']}: results{f' ({study.label})' if label else ''}",
        "description": _summary(study, manifest),
        "datePublished": max(step["ended"] for step in manifest["steps"].values()),
        "license": _add(crate, "#terms", "CreativeWork", **terms),
        "keywords": [*label, *quick, *treatment, *imaging],
        "mentions": actions,
    }
    for name, value in about.items():
        crate.root_dataset[name] = value


def _summary(study, manifest):
    return (
        "SIMULATED data: no evidence about any treatment. "
        * study.simulated
        + f"Results of {study.name}, made by the notebooks {', '.join(manifest['steps'])} of a "
        "research compendium. "
        + "A quick run: few permutations, for a first look only. " * manifest["quick"]
        + "numbers.json names the file that each quoted number comes from."
    )
