"""A participant's maps, written as a BIDS derivative."""

import json
import os
import shutil
from dataclasses import asdict

import nibabel as nib
import numpy as np

from analysis_lib.results import hashing, writing
from analysis_lib.results.environment import versions
from analysis_lib.results.files import read_mapping
from analysis_lib.study import images

ENGINES = ("antspyx", "picsl-greedy", "SimpleITK")  # another version of them makes other maps
PACKAGES = (*ENGINES, "nibabel", "nilearn", "numpy", "scipy")  # named in each map's JSON file

VOLUMES = {"tiv_ml": "TIV_ml", "grey_ml": "GM_ml", "white_ml": "WM_ml", "csf_ml": "CSF_ml"}


def write_participant(job, method, processed):
    """Write a participant into a hidden folder, and move it to its place when all is there."""
    partial = job.folder.with_name(f".{job.participant_id}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "figures").mkdir(parents=True)
        for visit in job.images:
            _write_visit(partial, job, visit, method, processed)
        _move(partial, job)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_visit(partial, job, visit, method, processed):
    anat = partial / job.map_path(visit).parent.relative_to(job.folder.parent)
    anat.parent.mkdir(parents=True)
    name = job.map_path(visit).name
    writing.write(anat, {name: _stored(processed.maps[visit])})
    about = _about_map(job, visit, method, processed)
    about["MapSHA256"] = hashing.file_hash(anat / name)
    sidecar = name.replace(".nii.gz", ".json")
    writing.write(anat, {sidecar: about}, keep_others=True)
    last = visit == list(job.images)[-1]
    for measure, image in processed.errors.items() if last else ():
        name = images.beside(job.map_path(visit), measure).name
        about = {"Description": images.ERROR_MAPS[measure], "Units": "percent"}
        files = {name: _stored(image), name.replace(".nii.gz", ".json"): about}
        writing.write(anat, files, keep_others=True)
    picture = partial / "figures" / job.figure_path(visit).name
    _draw(picture, job, visit, method, processed)


def _move(partial, job):
    """Pictures first: the folder of the maps is what says that a participant is done."""
    figures = job.study.made_maps / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for old in figures.glob(f"{job.participant_id}_ses-*.png"):
        old.unlink()
    for path in (partial / "figures").iterdir():
        os.replace(path, figures / path.name)
    if job.folder.exists():
        os.rename(job.folder, partial / "before")
    os.rename(partial / job.participant_id, job.folder)


def _stored(image):
    """A map as it is stored: float32, MNI space said in the header."""
    stored = nib.Nifti1Image(np.asarray(image.dataobj, np.float32), image.affine)
    stored.set_sform(image.affine, "mni")
    stored.set_qform(image.affine, "mni")
    stored.header.set_xyzt_units("mm", "sec")
    return stored


def _about_map(job, visit, method, processed):
    volumes = processed.volumes.set_index("visit").loc[visit]
    sources = [
        f"bids:raw:{path.relative_to(job.study.root).as_posix()}" for path in job.images.values()
    ]
    if job.study.protected:  # names of images tell more than who it is
        sources = [f"bids:raw:{job.participant_id}"] * len(job.images)
    zooms = nib.affines.voxel_sizes(processed.maps[visit].affine)
    return {
        "Description": "Modulated grey matter: its volume in a voxel over the volume of the voxel",
        "Sources": sources,
        "SpatialReference": "ICBM 152 nonlinear symmetric 2009a template, as nilearn packages it",
        "SkullStripped": True,
        "Resolution": f"{' x '.join(f'{zoom:g}' for zoom in zooms)} mm",
        **{name: round(float(volumes[column]), 3) for column, name in VOLUMES.items()},
        "Settings": json.loads(json.dumps(asdict(method.settings), default=str)),
        "Seconds": {step: round(took, 1) for step, took in processed.seconds.items()},
        "PackageVersions": versions(PACKAGES),
        "Key": job.key,
    }


def _draw(path, job, visit, method, processed):
    from matplotlib import pyplot as plt  # slow, and only workers draw

    fig = method.draw(processed, visit, f"{job.participant_id} ses-{visit}", job.study)
    try:
        fig.savefig(path, dpi=180)
    finally:
        plt.close(fig)


def read_sidecar(path):
    """What the JSON file beside a map says; nothing, if there is none that can be read."""
    return read_mapping(path.with_name(path.name.removesuffix(".nii.gz") + ".json"))
