"""Labels and maps on one grid: grey-matter regions, means by region, the region at a place."""

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from scipy import ndimage, sparse
from scipy.spatial import KDTree

from analysis_lib.atlas.naming import BOTH, HEMISPHERES, STRUCTURES, means_by_label
from analysis_lib.atlas.parcellation import image_name, in_3d, label_array, load_atlas
from analysis_lib.results.problems import WrongFile


def grey_matter_labels(atlas="neuromorphometrics", structure=None):
    """Labels (int) of the grey-matter regions, ascending.

    ``structure`` is "cortex", "cerebellum" or "subcortex": striatum, pallidum, thalamus, basal
    forebrain, amygdala and hippocampus. Default: all, which are 119 of neuromorphometrics' 136 (98
    cortex, 16 subcortex, 5 cerebellum), all 120 of AAL2 (82, 12, 26), all 116 of
    schaefer100_tian_s1 (100, 16, 0). A structure that no region has is refused.
    """
    table = load_atlas(atlas).table
    grey = table[table["tissue"] == "grey"]
    if structure is None:
        return grey.index
    if structure not in STRUCTURES[:3]:
        raise ValueError(f"structure '{structure}': expected one of {STRUCTURES[:3]}, or None")
    chosen = grey.index[grey["structure"] == structure]
    if chosen.empty:
        held = ", ".join(f"{name} {n}" for name, n in grey["structure"].value_counts().items())
        raise ValueError(
            f"structure '{structure}': no grey-matter region of this atlas has it (regions by "
            f"structure: {held}). Choose another atlas or structure; the table of an atlas of "
            f"your own needs a column structure ({', '.join(STRUCTURES)})."
        )
    return chosen


def region_names(parcels):
    """A readable name for each grey-matter region, by ascending label: "left amygdala"."""
    table = parcels.table.loc[grey_matter_labels(parcels)]
    names = table["hemisphere"] + " " + table["region"].str.lower()
    names = names.where(table["hemisphere"] != "midline", table["region"])
    return names.where(table["hemisphere"] != BOTH, table["region"].str.lower())


def labels_on_grid(atlas, shape, affine):
    """Atlas labels (int32) on another voxel grid, nearest neighbour; 0 beyond the atlas.

    The grid has the first three of ``shape``, and ``affine`` (4, 4), voxel to MNI mm.
    """
    image = load_atlas(atlas).image
    to_atlas = np.linalg.inv(image.affine) @ affine
    matrix = to_atlas[:3, :3]
    if np.array_equal(matrix, np.diag(np.diag(matrix))):
        matrix = np.diag(matrix)  # ndimage then works axis by axis, which is faster
    with warnings.catch_warnings():  # of a change in SciPy 0.18, repeated until SciPy 1.15
        warnings.filterwarnings("ignore", "The behavior of affine_transform with a 1-D array")
        return ndimage.affine_transform(
            label_array(image),
            matrix,
            to_atlas[:3, 3],
            output_shape=tuple(shape[:3]),
            order=0,
            mode="grid-constant",
            cval=0,
        )


def find_background(data, min_share=0.1):
    """Value that fills the space outside the brain, found from the data; None where there is none.

    In an image of measured, continuous values one exact value that a tenth of all voxels
    (``min_share``) share is a fill value. It is 0 in most receptor maps, -0.003 or -0.009 in some,
    0.256 in one; a map of raw uptake can have none. NaN never counts as a background: such voxels
    are left out of every mean.
    """
    data = np.asarray(data).ravel(order="K")
    # A value this frequent leads in a sparse sample too; its share is then counted in full.
    sample = data[:: max(1, data.size // 200_000)]
    values, counts = np.unique(sample[np.isfinite(sample)], return_counts=True)
    if values.size == 0:
        return None
    value = values[counts.argmax()]
    share = np.count_nonzero(data == value) / data.size
    return float(value) + 0.0 if share >= min_share else None


def parcel_means(image, atlas="neuromorphometrics", background="keep", min_coverage=0.0):
    """Mean of an image in each region.

    Parameters
    ----------
    image : path or image
        Three-dimensional, or four-dimensional with one volume.
    atlas : str, path, mapping, image or Atlas
        Resampled to the image's grid, nearest neighbour.
    background : {"keep", "drop"}
        "keep" averages every voxel of a region, as JuSpace does. "drop" leaves out the voxels that
        hold the background found by `find_background`, as Hansen et al. (2022) do.
    min_coverage : float
        A region is NaN where less than this share of its voxels in the image is averaged.

    Returns
    -------
    pandas.Series
        By label, ascending, every label of the atlas. NaN where a region has no voxel in the
        image. Voxels that are NaN hold no measurement and are left out under both settings.

    Raises
    ------
    ValueError
        Several volumes, an unknown `background`, an image without one finite voxel.
    """
    if background not in ("keep", "drop"):
        raise ValueError(f"background '{background}': expected 'keep' or 'drop'")
    image = nib.load(image) if isinstance(image, (str, Path)) else image
    atlas = load_atlas(atlas)
    data = in_3d(image).astype(np.float64)
    used = np.isfinite(data)
    if not used.any():
        raise WrongFile(f"{image_name(image)}: no finite voxel. Check how the file was written.")
    value = find_background(data) if background == "drop" else None
    if value is not None:
        used &= data != value
    labels = labels_on_grid(atlas, data.shape, image.affine)
    means = means_by_label(data[used], labels[used], atlas.table.index)
    coverage = means_by_label(used.astype(float).ravel(), labels.ravel(), atlas.table.index)
    return means.where(coverage >= min_coverage)


def parcel_mean_matrix(maps, mask_image, atlas="neuromorphometrics", labels=None):
    """Region means of many maps (n_maps, n_voxels) on one mask: (n_maps, n_parcels), by label.

    Values are at the voxels of ``mask_image`` other than 0, in the order of `data[mask]`, and
    finite. NaN where a region has no voxel in the mask; regions are the grey-matter ones,
    ascending, unless ``labels`` names others, in their order.
    """
    atlas = load_atlas(atlas)
    labels = known_labels(atlas, labels)
    mask = in_3d(mask_image) != 0
    maps = np.atleast_2d(maps)
    _check_maps(maps, mask)
    voxel_labels = labels_on_grid(atlas, mask.shape, mask_image.affine)[mask]
    weights = _averaging_matrix(voxel_labels, labels)
    means = np.stack([weights @ row for row in maps])  # of all at once, scipy makes two copies
    means[:, np.diff(weights.indptr) == 0] = np.nan
    return pd.DataFrame(means, columns=labels)


def _check_maps(maps, mask):
    if maps.shape[1] != mask.sum():
        raise ValueError(
            f"maps: {maps.shape[1]} voxels, the mask has {mask.sum()}. Both must be one mask's."
        )
    bad = np.flatnonzero(~np.isfinite(maps).all(axis=1))
    if bad.size:
        raise ValueError(f"maps: rows {bad.tolist()} hold values that are not finite in the mask")


def _averaging_matrix(voxel_labels, labels):
    """Rows average the voxels of one region: sparse (n_parcels, n_voxels)."""
    row_of = pd.Series(np.arange(len(labels)), index=labels)
    rows = row_of.reindex(voxel_labels).to_numpy()
    columns = np.flatnonzero(~np.isnan(rows))
    rows = rows[columns].astype(int)
    counts = np.bincount(rows, minlength=len(labels))
    shape = (len(labels), len(voxel_labels))
    return sparse.csr_array((1.0 / counts[rows], (rows, columns)), shape=shape)


def region_at(coords, atlas="neuromorphometrics", within=5.0):
    """Grey-matter region at, or nearest to, MNI coordinates (n, 3), mm: one row each.

    `label` (nullable integer), `region`, `hemisphere`, `distance_mm` to the centre of a labelled
    voxel. Farther away than ``within`` mm: label and distance missing, region "unlabelled", and the
    hemisphere from the sign of x ("midline" at 0).
    """
    atlas = load_atlas(atlas)
    coords = np.atleast_2d(np.asarray(coords, dtype=float))
    tree, voxel_labels = _grey_voxels(atlas)
    distance, nearest = tree.query(coords, distance_upper_bound=np.nextafter(within, np.inf))
    hit = np.isfinite(distance)
    rows = pd.DataFrame(
        {
            "label": pd.array([pd.NA] * len(coords), dtype="Int64"),
            "region": "unlabelled",
            "hemisphere": np.select(
                [coords[:, 0] < 0, coords[:, 0] > 0], HEMISPHERES[:2], "midline"
            ),
            "distance_mm": np.where(hit, distance, np.nan),
        }
    )
    labels = voxel_labels[nearest[hit]]
    rows.loc[hit, "label"] = labels
    for column in ("region", "hemisphere"):
        rows.loc[hit, column] = atlas.table.loc[labels, column].to_numpy()
    return rows


def _grey_voxels(atlas):
    labels = label_array(atlas.image)
    voxels = np.argwhere(np.isin(labels, grey_matter_labels(atlas)))
    return KDTree(apply_affine(atlas.image.affine, voxels)), labels[tuple(voxels.T)]


def known_labels(atlas, labels):
    """Labels as an index, the grey-matter ones for None; ValueError names those it lacks."""
    if labels is None:
        return grey_matter_labels(atlas)
    labels = pd.Index(labels, dtype=int, name="label")
    unknown = labels.difference(atlas.table.index).tolist()
    if unknown:
        raise ValueError(f"labels {unknown} are not in the atlas; it has {len(atlas.table)} labels")
    return labels
