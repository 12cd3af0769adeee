"""Stand-ins for receptor maps that are not there."""

import math

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from analysis_lib.study.catalogue import COLUMNS, library, published


def simulated_library(receptors=None):
    """Table of the simulated maps, one a receptor (default: the default set), like `library`.

    Receptor names begin with "simulated: ", annotations with "simulated/"; no people.
    """
    names = receptors_of("default") if receptors is None else list(receptors)
    row = dict.fromkeys(COLUMNS, "") | {"n_subjects": pd.NA, "space": "MNI152", "default": True}
    row |= {"tracer": "simulated", "note": "simulated", "reference": "simulated, no measurement"}
    index = pd.Index([f"simulated/{name}" for name in names], name="annotation")
    rows = [{**row, "receptor": f"simulated: {name}"} for name in names]
    return pd.DataFrame(rows, index=index, columns=list(COLUMNS)).astype({"n_subjects": "Int64"})


def receptors_of(annotations):
    """Receptor of each annotation."""
    return library().loc[published(annotations), "receptor"].unique().tolist()


def simulated_maps(d1_map, seed, fwhm=30.0, receptors=None):
    """Stand-ins for receptor maps that are not cached: one planted map, smooth random fields.

    Positive images without unit, by annotation, on the grid of the map of regional D1 weights;
    random fields of ``fwhm`` mm. A receptor's field does not depend on the others asked for.
    """
    rng = np.random.default_rng(seed)
    sigma = fwhm / math.sqrt(8 * math.log(2)) / np.array(d1_map.header.get_zooms()[:3], dtype=float)
    wanted = simulated_library(receptors).index
    images = {"simulated/D1": d1_map}
    for name in (f"simulated/{receptor}" for receptor in receptors_of("all")):
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
