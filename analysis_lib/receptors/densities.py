"""Receptor densities by region, several tracers of one receptor in one."""

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes

from analysis_lib.atlas import grids, parcellation
from analysis_lib.study.catalogue import locate, resolve

MIN_COVERAGE = 0.1  # a mean of fewer of a region's voxels than this is not that region's mean


def parcellate(
    annotations="default",
    atlas="neuromorphometrics",
    labels=None,
    cache=None,
    background="drop",
    min_coverage=MIN_COVERAGE,
):
    """Region means of receptor maps: annotations by labels, NaN where a map covers too little.

    A map covers a region when it has values in at least ``min_coverage`` of the region's voxels.
    ``labels`` are the grey-matter regions by default; annotations are as in `resolve`, the
    background as in `analysis_lib.atlas.grids.parcel_means`.
    """
    files = {name: locate(name, cache) for name in resolve(annotations)}
    return means_and_facts(files, atlas, labels, background, min_coverage)[0]


def means_and_facts(images, atlas, labels, background, min_coverage=MIN_COVERAGE):
    """Region means of images by name, as `parcellate`, and what their files hold.

    The facts are `shape` (text, with a fourth dimension where the file has one), `n_volumes`,
    `voxel_mm` (one length, or three where they differ) and `background_value`
    (`analysis_lib.atlas.grids.find_background`; NaN: none).
    """
    atlas = parcellation.load_atlas(atlas)
    labels = grids.grey_matter_labels(atlas) if labels is None else labels
    means, facts = {}, {}
    for name, image in images.items():
        loaded = _in_memory(image)
        facts[name] = _facts(loaded)
        means[name] = grids.parcel_means(loaded, atlas, background, min_coverage).reindex(labels)
    means = pd.DataFrame(means).T.rename_axis(index="annotation", columns="label")
    table = pd.DataFrame.from_dict(facts, orient="index").rename_axis("annotation")
    return means, table.astype({"n_volumes": "Int64", "background_value": float})


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
        "background_value": grids.find_background(image.dataobj),
    }
