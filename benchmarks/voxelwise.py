"""Speed and memory of permutation inference over voxels, beside nilearn in the same run.

    python -m benchmarks.voxelwise                       # 3, 2 and 1.5 mm; about ten minutes
    python -m benchmarks.voxelwise --resolutions 3 --memory ""

The data are 36 smooth maps in nilearn's grey-matter template, two arms of 18 and two covariates. A
permutation's cost is the slope between a short and a longer run, so that set-up does not count; it
does not depend on how many there are, and the last rows show how it grows with participants. The
peer is nilearn's ``permuted_ols``, with the same design. Peak memory is that of a process of its
own that makes 5,000 permutations. The table is written beside this file.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.datasets import load_mni152_gm_template
from nilearn.maskers import NiftiMasker
from nilearn.mass_univariate import permuted_ols
from scipy import ndimage

from voxelperm import STATISTICS, permutation_test, tfce

HERE = Path(__file__).parent
VOXELS_AT_2MM = 181_675
WORK = {
    "max-t": ("max_t",),
    "max-t, cluster extent and mass": ("max_t", "cluster_extent", "cluster_mass"),
    "all four, with TFCE": STATISTICS,
}
PEER = {
    "max-t": {},
    "max-t, cluster extent and mass": {"threshold": 0.001},
    "all four, with TFCE": {"threshold": 0.001, "tfce": True},
}


def main():
    """Time every kind of work at every resolution, and measure memory."""
    options = _options()
    rows = []
    for resolution in options.resolutions:
        data = Data(resolution)
        for what in WORK:
            rows.append(compare(what, data, options.peer_permutations))
            print(pd.DataFrame(rows).to_string(index=False), flush=True)
    for resolution in options.memory:
        rows.append(peak_memory(resolution, options.permutations))
    rows += [growth(n, options.resolutions[0]) for n in (18, 36, 72, 144)]
    table = pd.DataFrame(rows)
    table.to_csv(HERE / "voxelwise.tsv", sep="\t", index=False, float_format="%.4g", na_rep="n/a")
    print(table.to_string(index=False))


def _options():
    def numbers(text):
        return [float(part) for part in text.split(",") if part]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolutions", type=numbers, default=[3, 2, 1.5], help="mm")
    parser.add_argument("--memory", type=numbers, default=[1.5], help="mm, for peak memory")
    parser.add_argument("--permutations", type=int, default=5000, help="for peak memory")
    parser.add_argument("--peer-permutations", type=int, default=2)
    return parser.parse_args()


class Data:
    """36 smooth maps at one resolution, with the share of voxels that 181,675 are at 2 mm."""

    def __init__(self, resolution, n=36, seed=0):
        template = load_mni152_gm_template(resolution=1)
        from nilearn.image import resample_img

        template = resample_img(
            template, np.eye(3) * resolution, force_resample=True, copy_header=True
        )
        density = template.get_fdata(dtype=np.float32)
        n_voxels = round(VOXELS_AT_2MM * (2 / resolution) ** 3)
        self.mask = density > np.partition(density.ravel(), -n_voxels - 1)[-n_voxels - 1]
        self.affine, self.resolution = template.affine, resolution
        rng = np.random.default_rng(seed)
        sigma = 8 / 2.355 / resolution
        self.maps = np.empty((n, self.mask.sum()), np.float32)
        for row in self.maps:
            noise = rng.standard_normal(self.mask.shape, dtype=np.float32)
            row[:] = ndimage.gaussian_filter(noise, sigma)[self.mask]
        self.arm = np.repeat([1.0, 0.0], n // 2)
        self.covariates = rng.standard_normal((n, 2))


def compare(what, data, peer_permutations):
    """Milliseconds per permutation: ours with one and two workers, nilearn's with one."""
    ours = {jobs: _slope(lambda n, j=jobs: _ours(what, data, n, j), 48, 192) for jobs in (1, 2)}
    few = peer_permutations * (1 if "TFCE" in what else 20)
    peer = _slope(lambda n: _peer(what, data, n), few, 2 * few)
    return {
        "resolution_mm": data.resolution,
        "voxels": data.maps.shape[1],
        "work": what,
        "ms_1_worker": 1e3 * ours[1],
        "ms_2_workers": 1e3 * ours[2],
        "nilearn_ms": 1e3 * peer,
        "times_faster_1_worker": peer / ours[1],
        "times_faster_2_workers": peer / ours[2],
    }


def growth(n_participants, resolution):
    """Milliseconds per permutation with more participants: the sort and the forest do not grow."""
    data, what = Data(resolution, n_participants), "all four, with TFCE"
    return {
        "resolution_mm": resolution,
        "voxels": data.maps.shape[1],
        "work": f"{what}, {n_participants} participants",
        "ms_1_worker": 1e3 * _slope(lambda n: _ours(what, data, n, 1), 48, 192),
    }


def _slope(run, few, many):
    run(few)  # compiles, and warms caches
    seconds = []
    for n in (few, many):
        start = time.perf_counter()
        run(n)
        seconds.append(time.perf_counter() - start)
    return (seconds[1] - seconds[0]) / (many - few)


def _ours(what, data, n, n_jobs):
    options = {"n_permutations": n, "statistics": WORK[what], "n_jobs": n_jobs}
    return permutation_test(
        data.maps, data.mask, data.arm, data.covariates, errors="equal", **options
    )


def _peer(what, data, n):
    masker = NiftiMasker(nib.Nifti1Image(data.mask.astype("uint8"), data.affine)).fit()
    return permuted_ols(
        data.arm[:, None],
        data.maps,
        data.covariates,
        n_perm=n,
        two_sided_test=True,
        masker=masker,
        n_jobs=1,
        output_type="dict",
        verbose=0,
        **PEER[what],
    )


def peak_memory(resolution, n_permutations):
    """Peak resident memory of a process that makes many permutations, all statistics."""
    code = (
        "from benchmarks.voxelwise import Data, run_in_full;"
        f"print(*run_in_full(Data({resolution}), {n_permutations}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, megabytes, voxels = map(float, out.stdout.split())
    return {
        "resolution_mm": resolution,
        "voxels": int(voxels),
        "work": f"{n_permutations} permutations, all four, 2 workers",
        "seconds": seconds,
        "peak_mb": megabytes,
    }


def run_in_full(data, n_permutations):
    """Seconds, peak megabytes of this process, voxels."""
    start = time.perf_counter()
    _ours("all four, with TFCE", data, n_permutations, 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return time.perf_counter() - start, peak, data.maps.shape[1]


def time_tfce(data):
    """Seconds for one TFCE map of both signs."""
    image = np.zeros(data.mask.shape)
    image[data.mask] = data.maps[0]
    tfce(image, data.mask)
    start = time.perf_counter()
    tfce(image, data.mask)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
