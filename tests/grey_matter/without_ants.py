"""What takes the place of ANTs, in processes that import no more than it needs.

Its maps are a shell in MNI space, scaled by what stands in the tiny T1w image.
"""

import functools
import os
import time
from dataclasses import dataclass
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd

from analysis_lib.computing import cluster
from analysis_lib.study.place import DASK

AFFINE = np.array([[12.0, 0, 0, -96], [0, 12, 0, -132], [0, 0, 12, -72], [0, 0, 0, 1]])
SHAPE = (17, 20, 16)
OWN = np.diag([2.0, 2, 2, 1])
PIDS = "{}/ses-baseline/anat/pids"


@dataclass(frozen=True)
class Settings:
    """As preprocess has them."""

    working_mm: float = 2.0
    output_mm: float = 12.0


@functools.cache
def template():
    """Something like the template's grey matter: a shell in the MNI brain."""
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    places = nib.affines.apply_affine(AFFINE, grid)
    radius = np.linalg.norm((places - [0, -18, 8]) / [70, 88, 65], axis=-1)
    return np.exp(-(((radius - 0.85) / 0.15) ** 2)).astype("f4")


def stand_in(paths, settings, templates, drawn=True):
    """What preprocess.process gives, without ANTs; 666 in an image is a failure."""
    grey = {visit: float(nib.load(path).get_fdata().max()) for visit, path in paths.items()}
    if 666 in grey.values():
        raise ValueError("an image with a brain expected, found none")
    if 667 in grey.values():
        os._exit(1)  # as a process does that the system kills
    own = np.zeros((24, 28, 20), "f4")
    own[4:20, 4:24, 4:16] = 1
    rows = [
        {"visit": v, "tiv_ml": 1500.0, "grey_ml": ml, "white_ml": 500.0, "csf_ml": 300.0}
        for v, ml in grey.items()
    ]
    return SimpleNamespace(
        errors={},
        maps={v: nib.Nifti1Image(template() * ml / 600, AFFINE) for v, ml in grey.items()},
        volumes=pd.DataFrame(rows),
        t1={v: nib.Nifti1Image(own * 100, OWN) for v in paths},
        grey=nib.Nifti1Image(own * 0.7, OWN),
        brain=nib.Nifti1Image(own, OWN),
        normalised=nib.Nifti1Image(template(), AFFINE),
        seconds={"all": np.float64(0.1)},
    )


def no_picture(processed, visit, name, study=None):
    """In the place of figures.segmentation."""
    from matplotlib import pyplot as plt

    return plt.figure(figsize=(1, 1))


def tell_environment(paths, settings, templates):
    """As stand_in, but in place of what it gives: what its process was told."""
    names = (cluster.ITK_THREADS, "OMP_NUM_THREADS", "COMPENDIUM_OUTPUT", DASK)
    raise ValueError(" ".join(f"{name}={os.environ.get(name)}" for name in names))


def take_the_worker_along(paths, settings, templates):
    """As stand_in, but sub-02 takes its worker with it, as a machine does that is switched off."""
    if "sub-02" in str(paths["baseline"]):
        leave_pid(paths)
        os.kill(os.getppid(), 9)
        time.sleep(600)
    return stand_in(paths, settings, templates)


def take_long(paths, settings, templates):
    """As stand_in, but without end for sub-02."""
    if "sub-02" in str(paths["baseline"]):
        leave_pid(paths)
        time.sleep(600)
    return stand_in(paths, settings, templates)


def kill_itself(paths, settings, templates):
    """As stand_in, but sub-04 ends as what the system kills when memory is short."""
    if "sub-04" in str(paths["baseline"]):
        os.kill(os.getpid(), 9)
    return stand_in(paths, settings, templates)


def leave_pid(paths):
    """Leave word of a participant's process beside the first image."""
    with paths["baseline"].with_name("pids").open("a") as file:
        file.write(f"{os.getpid()}\n")
