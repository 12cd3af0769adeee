"""Notebook 00's chain on ten real images, against another program's volumes; and a known change.

    python -m benchmarks.preprocess --jobs 2       # half an hour; needs $REFERENCE_DATA

The images are IXI's (2 mm), the volumes DLMUSE's: 702 intracranial, 601 grey, 604 white matter, and
grey matter in nine parts of the brain. Settings were chosen on the first five (see README.md).
Each of the first five is then made into two visits, each turned, shifted and given noise of its own
(1 % of white matter), once unchanged and once with a sphere about the left putamen grown by 5 %,
and the change of each region of at least 1 ml is compared with what was planted; one of them at
1 mm, too. Time and peak memory of one participant alone are measured at 2 mm and 1 mm. Four tables
are written beside this file; `--pictures FOLDER` draws each of the ten images.
"""

import argparse
import gzip
import os
import re
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from nilearn.datasets import load_mni152_gm_template
from scipy import ndimage
from scipy.spatial.transform import Rotation

from analysis_lib.atlas import files, grids, parcellation
from analysis_lib.figures import segmentation
from analysis_lib.grey_matter import images as grey_matter_images
from analysis_lib.grey_matter import process
from analysis_lib.grey_matter import settings as grey_matter_settings

HERE = Path(__file__).parent
REFERENCE = Path(os.environ.get("REFERENCE_DATA", HERE.parents[1] / "shared")) / "data"
SETTINGS = grey_matter_settings.Settings(output_mm=2.0)
LEFT_PUTAMEN = 58  # neuromorphometrics
GROWTH, RADIUS = 0.0161, 22.0  # shrinking of coordinates: (1 - .0161)^-3 = 1.05; mm
NOISE = 0.01


def main():
    """Run all parts, print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    images = sorted((REFERENCE / "t1w" / "ixi10").glob("*_ds.nii.gz"))
    with tempfile.TemporaryDirectory() as folder:
        cache = _cache(Path(folder))
        run = Parallel(n_jobs=options.jobs)
        rows, maps, parts = zip(
            *run(delayed(_volumes)(path, cache, options.pictures) for path in images), strict=True
        )
        _write(pd.DataFrame(rows), "preprocess")
        _write(_by_part(parts), "preprocess_parts")
        _compare_with_dlmuse(pd.DataFrame(rows), maps)
        pairs = [(path, 2, growth) for path in images[:5] for growth in (0, GROWTH)]
        pairs += [(images[0], 1, growth) for growth in (0, GROWTH)]
        _write(pd.DataFrame(run(delayed(_change)(*pair, cache) for pair in pairs)), "change")
        alone = [_alone(_cost, images[0], millimetres, cache) for millimetres in (2, 1)]
        _write(pd.DataFrame(alone), "preprocess_cost")


def _alone(work, *arguments):
    """In a new process: peak memory is that of a process, whatever it did before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _cache(folder):
    """SPM12's two files as `fetch templates` would leave them."""
    for file in files.TEMPLATES:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        packed = REFERENCE / "templates" / f"{path.name}.gz"
        path.write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


def _volumes(path, cache, pictures=None):
    """One row an image, ours beside DLMUSE's, and its map."""
    templates = grey_matter_settings.load_templates(SETTINGS, cache)
    found = process.process({"t1": path}, SETTINGS, templates)
    row, name = found.volumes.iloc[0], path.name.split("-T1")[0]
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        segmentation.picture(found, "t1", name).savefig(pictures / f"{name}.png", dpi=110)
    dlmuse = pd.read_csv(REFERENCE / "t1w" / "ixi10" / "IXI_dlmuse.csv").set_index("MRID") / 1000
    volumes = {
        "image": name,
        **{name: row[name] for name in ("tiv_ml", "grey_ml", "white_ml", "csf_ml")},
        "dlmuse_702_ml": dlmuse.loc[name, "702"],
        "dlmuse_601_ml": dlmuse.loc[name, "601"],
        "dlmuse_604_ml": dlmuse.loc[name, "604"],
        "modulated_sum_ml": found.maps["t1"].get_fdata().sum() * SETTINGS.output_mm**3 / 1000,
    }
    return volumes, found.maps["t1"], _parts(found, templates, path, dlmuse.loc[name])


def _part(region):
    """The part of the brain that a region of the atlas lies in."""
    words = {
        "cerebellum": "cerebell",
        "deep": "accumbens|caudate|pallidum|putamen|thalamus",
        "medial temporal": "amygdala|hippoc|entorhinal|basal fore",
        "insula, operculum": "insula|opercul",
        "cingulate": "cingulate",
        "parietal": "postcentral|pariet|angular|supramarginal|precuneus",
        "occipital": "occipital|calcarine|cuneus|lingual",
        "temporal": "temporal|fusiform|planum",
    }
    return next((part for part, w in words.items() if re.search(w, region.lower())), "frontal")


def _parts(found, templates, path, dlmuse):
    """Grey matter, ml, by part of the brain: ours over DLMUSE's, whose labels are the atlas's.

    A voxel belongs to the nearest grey-matter region within 6 mm, by the image's own normalisation.
    """
    labels = _labels(found, templates, path)
    parcels = parcellation.load_atlas("neuromorphometrics")
    chosen = [k for k in grids.grey_matter_labels(parcels) if str(k) in dlmuse.index]
    here = labels.get_fdata().astype(int)
    away, nearest = ndimage.distance_transform_edt(~np.isin(here, chosen), return_indices=True)
    here = np.where(away <= 6 / SETTINGS.working_mm, here[tuple(nearest)], 0)
    ml = SETTINGS.working_mm**3 / 1000
    ours = ndimage.sum(found.grey.get_fdata(), here, chosen) * ml
    volumes = pd.DataFrame({"ours": ours, "theirs": [dlmuse[str(k)] for k in chosen]})
    sums = volumes.groupby([_part(parcels.table.loc[k, "region"]) for k in chosen]).sum()
    return sums["ours"] / sums["theirs"]


def _by_part(parts):
    """Mean log ratio of grey matter by part, and its spread over the first and the other five."""
    percent = 100 * np.log(pd.DataFrame(list(parts)).reset_index(drop=True))
    for words, rows in (("first five", percent[:5]), ("other five", percent[5:])):
        print(f"grey matter by part, {words}: residual {np.sqrt(rows.var().mean()):.2f} %")
    return pd.DataFrame(
        {
            "part": percent.columns,
            "bias_percent": percent.mean().values,
            "sd_first_five": percent[:5].std().values,
            "sd_other_five": percent[5:].std().values,
        }
    )


def _compare_with_dlmuse(table, maps):
    """Correlation and bias on the five images chosen on, on the other five, and on all."""
    for ours, theirs in (("tiv_ml", 702), ("grey_ml", 601), ("white_ml", 604)):
        for words, rows in (("first five", table[:5]), ("other five", table[5:]), ("all", table)):
            reference = rows[f"dlmuse_{theirs}_ml"]
            r = np.corrcoef(rows[ours], reference)[0, 1]
            bias = 100 * (rows[ours] / reference - 1).mean()
            print(f"{ours} with DLMUSE's {theirs}, {words}: r = {r:.3f}, bias {bias:.1f} %")
    for words, level in (("whole grid", -1), ("where the template exceeds .05", 0.05)):
        print(f"mean map with the template, {words}: r = {_template_r(maps, level):.3f}")


def _template_r(maps, level):
    """Correlation of the mean map with the template's grey matter, both smoothed at 8 mm."""
    sigma = 8 / np.sqrt(8 * np.log(2)) / SETTINGS.output_mm
    mean = np.mean([image.get_fdata() for image in maps], axis=0)
    template = grey_matter_settings.template_on_grid(load_mni152_gm_template, SETTINGS.output_mm)
    ours, theirs = (
        ndimage.gaussian_filter(values, sigma)
        for values in (mean, process._nifti(template).get_fdata())
    )
    inside = theirs > level
    return np.corrcoef(ours[inside], theirs[inside])[0, 1]


def _cost(path, millimetres, cache):
    """Time an image and peak memory of two visits; a 2 mm image stands in for one of 1 mm."""
    settings = grey_matter_settings.Settings(working_mm=millimetres)
    image = nib.as_closest_canonical(nib.load(path))
    start, worked = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name, angles in (("pre", (-2, 1.5, -3)), ("post", (3, -2, 4))):
            paths[name] = Path(folder) / f"{name}.nii.gz"
            nib.save(_visit(image, angles, None, len(paths)), paths[name])
        process.process(paths, settings, grey_matter_settings.load_templates(settings, cache))
    return {
        "working_mm": millimetres,
        "output_mm": settings.output_mm,
        "seconds_an_image": (time.perf_counter() - start) / 2,
        "processor_seconds_an_image": (time.process_time() - worked) / 2,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "estimated_memory_mb": grey_matter_settings.memory_mb(settings),
    }


def _change(path, millimetres, growth, cache):
    """How well a planted change comes back, region by region."""
    settings = replace(SETTINGS, working_mm=millimetres)
    templates = grey_matter_settings.load_templates(settings, cache)
    image = nib.as_closest_canonical(nib.load(path))
    one = process.process({"t1": path}, SETTINGS, templates)
    labels = _labels(one, templates, path)
    centre = np.argwhere(labels.get_fdata() == LEFT_PUTAMEN).mean(axis=0)
    world = nib.affines.apply_affine(labels.affine, centre)
    point = nib.affines.apply_affine(np.linalg.inv(image.affine), world)
    voxel = image.header.get_zooms()[0]

    def pull(points):
        away = points - point
        size = np.linalg.norm(away, axis=1, keepdims=True) * voxel
        return -growth * away * np.exp(-((size / RADIUS) ** 4))

    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name, angles, move in (("pre", (-2, 1.5, -3), None), ("post", (3, -2, 4), pull)):
            paths[name] = Path(folder) / f"{name}.nii.gz"
            nib.save(_visit(image, angles, move, len(paths)), paths[name])
        found = process.process(paths, settings, templates)
    about = {"image": path.name.split("-T1")[0], "working_mm": millimetres}
    return about | _compare(found, labels, growth, point, image, millimetres)


def _visit(image, angles, move, seed):
    rng = np.random.default_rng(seed)
    data = image.get_fdata()
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    centre = np.array(data.shape) / 2
    points = (np.indices(data.shape).reshape(3, -1).T - centre) @ turn.T
    points += centre + rng.uniform(-1.5, 1.5, 3)
    if move is not None:
        points = points + move(points)
    moved = ndimage.map_coordinates(data, points.T, order=3).reshape(data.shape)
    noise = rng.normal(0, NOISE * np.quantile(data[data > 0], 0.95), data.shape)
    return nib.Nifti1Image(np.clip(moved + noise, 0, None).astype(np.float32), image.affine)


def _labels(one, templates, path):
    """Atlas regions in the image's own space, by its own normalisation to MNI152."""
    from analysis_lib.grey_matter.itk import ants

    parcels = parcellation.load_atlas("neuromorphometrics")
    with grey_matter_images.scratch_folder():
        brain = grey_matter_images.image_like(
            ants.from_nibabel_nifti(one.t1["t1"]),
            one.t1["t1"].get_fdata() * one.brain.get_fdata(),
        )
        warp = process._normalise(brain, SETTINGS, templates)
        image = nib.Nifti1Image(
            parcellation.label_array(parcels.image).astype(np.float32), parcels.image.affine
        )
        image.header.set_xyzt_units("mm", "sec")
        moved = ants.apply_transforms(
            brain,
            ants.from_nibabel_nifti(image),
            warp.inverse,
            whichtoinvert=warp.inverted,
            interpolator="genericLabel",
        )
        return process._nifti(moved)


def _compare(found, labels, growth, point, image, millimetres):
    """Percent change in the grown core and elsewhere; regions by the image's own labels."""
    percent = 100 * np.expm1(found.log_change.get_fdata())
    # the midpoint is within a degree or two and a millimetre of the image: good enough for regions
    at = nib.affines.apply_affine(
        np.linalg.inv(labels.affine) @ found.log_change.affine,
        np.indices(percent.shape).reshape(3, -1).T,
    )
    here = ndimage.map_coordinates(labels.get_fdata(), at.T, order=0).reshape(percent.shape)
    world = nib.affines.apply_affine(image.affine, point)
    middle = nib.affines.apply_affine(np.linalg.inv(found.log_change.affine), world)
    away = np.linalg.norm((np.indices(percent.shape).T - middle).T, axis=0) * millimetres
    ml = millimetres**3 / 1000
    regions = [k for k in np.unique(here[here > 0]) if (here == k).sum() * ml >= 1]
    far = [k for k in regions if away[here == k].min() > 1.6 * RADIUS or growth == 0]
    means = np.array([percent[here == k].mean() for k in far])
    core = away < RADIUS / 2  # by the divergence theorem its mean growth is that of its surface
    return {
        "planted_percent": 100 * ((1 - growth) ** -3 - 1),
        "planted_core_percent": 100 * ((1 - growth * np.exp(-(0.5**4))) ** -3 - 1),
        "recovered_core_percent": percent[core].mean(),
        "regions_elsewhere": len(far),
        "mean_size_elsewhere": np.abs(means).mean(),
        "largest_elsewhere": np.abs(means).max(),
        "share_below_half_percent": (np.abs(means) < 0.5).mean(),
        "share_below_one_percent": (np.abs(means) < 1).mean(),
        "seconds_an_image": sum(found.seconds.values()) / 2,
    }


def _write(table, name):
    table.to_csv(HERE / f"{name}.tsv", sep="\t", index=False, float_format="%.4g")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
