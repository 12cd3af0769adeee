"""What does a cluster cost, and what does it gain? Permutations of one contrast, all statistics.

    python -m benchmarks.scale           ten minutes on two idle cores; needs distributed

The same draws on one machine by Dask workers, one of which is killed midway, and by processes or
threads without Dask: each run on a cluster follows one without, because such machines change their
speed by a quarter within a minute, and the ratio is the median over these pairs. All have to give
the same bits. Writes scale.tsv; docs/scale.md quotes it.
"""

import argparse
import contextlib
import functools
import hashlib
import pickle
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import psutil
from distributed import Client, LocalCluster
from nilearn.image import smooth_img

from analysis_lib.computing import blocks
from analysis_lib.vbm.contrasts import contrast_test
from analysis_lib.vbm.maps import grey_matter_mask
from benchmarks.simulated_maps import simulate_change_maps

HERE = Path(__file__).parent
STATISTICS = ("max_t", "cluster_extent", "cluster_mass", "tfce", "true_discoveries")


WAYS = (  # name, workers, threads of each, whether one is killed
    ("workers", 1, 1, False),
    ("workers", 2, 1, False),
    ("workers", 4, 1, False),
    ("workers, one killed", 2, 1, True),
    ("threads of one worker", 1, 2, False),
)


def main():
    """Measure all ways; write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--permutations", type=int, default=2048)
    parser.add_argument("--mm", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    test = prepare(options.mm, options.permutations)
    table = pd.DataFrame([row(test, options.repeats, *way) for way in WAYS])
    assert table.pop("sha256").nunique() == 1, table
    table = table.assign(permutations=options.permutations, **sizes(test))
    table.to_csv(HERE / "scale.tsv", sep="\t", index=False, float_format="%.4g")
    print(table.to_string(index=False))


def prepare(mm, n_permutations):
    """``test(**where)`` of the difference between arms, on simulated maps of 18 + 18."""
    sim = simulate_change_maps(seed=1, resolution=mm)
    mask = grey_matter_mask(np.stack([smoothed(one, sim) for one in sim.pre]), 0.2)
    pairs = zip(sim.pre, sim.post, strict=True)
    change = np.stack([(smoothed(b, sim) - smoothed(a, sim))[mask] for a, b in pairs])
    arm = sim.participants["arm"].replace("sham", "control").to_numpy()
    options = {"statistics": STATISTICS, "n_permutations": n_permutations}
    return lambda **more: contrast_test("arm_by_time", change, mask, arm, **options | more)


def smoothed(values, sim):
    """A map, smoothed as in notebook 02."""
    image = nib.Nifti1Image(values, sim.template.affine)
    return smooth_img(image, 8.0).get_fdata(dtype="f4")


def row(test, repeats, name, n_workers, threads, kill):
    """Median seconds on a cluster and without one, and of their ratios, pair by pair."""
    n = min(n_workers * threads, 2)
    run = functools.partial(blocks.stream, n_jobs=n)
    here = {"n_jobs": n} if threads > 1 else {"run": run}
    pairs, digests = [], set()
    options = {"n_workers": n_workers, "threads_per_worker": threads, "dashboard_address": ":0"}
    with LocalCluster(**options) as made:
        there = {"run": blocks.elsewhere(made.scheduler_address)}
        for where in (here, there):  # compiled, and code loaded, everywhere
            test(**where, n_permutations=512 * n_workers)
        for _ in range(repeats):
            alone, one = timed(lambda: test(**here))
            with killing(made.scheduler_address, 3 if kill else None):
                seconds, other = timed(lambda: test(**there))
            pairs.append((alone, seconds))
            digests |= {one, other}
    assert len(digests) == 1, digests
    alone, seconds = np.array(pairs).T
    found = {"dask": name, "n": n_workers * threads, "seconds": np.median(seconds)}
    found |= {"without": "threads" if threads > 1 else "processes", "n_without": n}
    found |= {"seconds_without": np.median(alone), "ratio": np.median(seconds / alone)}
    print(found, np.round(seconds / alone, 2), flush=True)
    return found | {"sha256": digests.pop()}


@contextlib.contextmanager
def killing(address, after):
    """Kill one worker process after some seconds."""
    if after is None:
        yield
        return
    with Client(address, set_as_default=False) as client:
        pid = min(client.run(lambda: psutil.Process().pid).values())
    timer = threading.Timer(after, psutil.Process(pid).kill)
    timer.start()
    yield
    timer.join()


def timed(work):
    """Seconds, and a hash of all that was found."""
    started = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - started
    content = pickle.dumps([found.null_max[name] for name in sorted(found.null_max)])
    return seconds, hashlib.sha256(content + found.pivots.tobytes()).hexdigest()


def sizes(test):
    """Megabytes that travel once, bytes of a block and of its result, number of blocks."""
    seen = {}

    def look(function, parts, shared):
        seen["megabytes_once"] = len(pickle.dumps(shared)) / 1e6
        seen["blocks"] = len(parts)
        seen["bytes_block"] = len(pickle.dumps(parts[0]))
        for part in parts:
            found = function(part, shared)
            seen["bytes_result"] = max(len(pickle.dumps(found)), seen.get("bytes_result", 0))
            yield found

    test(run=look)
    return seen


if __name__ == "__main__":
    main()
