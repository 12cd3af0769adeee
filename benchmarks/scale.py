"""What does a cluster cost, and what does it gain? Permutations of one contrast, all statistics.

    python -m benchmarks.scale           about ten minutes on two cores; needs distributed

The same draws on processes of one machine: without Dask, on 1, 2 and 4 Dask workers, and on 2 of
which one is killed midway. All have to give the same bits. Writes scale.tsv; docs/scale.md quotes
it.
"""

import argparse
import contextlib
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


def main():
    """Measure all ways, twice, in turn; write the faster of both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--permutations", type=int, default=2048)
    parser.add_argument("--mm", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    test = prepare(options.mm, options.permutations)
    rows = [row for _ in range(options.repeats) for row in once(test)]
    table = pd.DataFrame(rows)
    assert table["sha256"].nunique() == 1, table
    best = table.groupby(["where", "processes"], sort=False, as_index=False)["seconds"].min()
    reference = best.set_index(["where", "processes"])["seconds"]
    here = best["processes"].map(lambda n: reference["threads here", min(n, 2)])
    best = best.assign(ratio=best["seconds"] / here, **sizes(test))
    best.to_csv(HERE / "scale.tsv", sep="\t", index=False, float_format="%.4g")
    print(best.to_string(index=False))


def prepare(mm, n_permutations):
    """``test(**where)`` of the difference between arms, on simulated maps of 18 + 18."""
    sim = simulate_change_maps(seed=1, resolution=mm)
    mask = grey_matter_mask(np.stack([smoothed(one, sim) for one in sim.pre]), 0.2)
    pairs = zip(sim.pre, sim.post, strict=True)
    change = np.stack([(smoothed(b, sim) - smoothed(a, sim))[mask] for a, b in pairs])
    arm = sim.participants["arm"].replace("sham", "control").to_numpy()
    options = {"statistics": STATISTICS, "n_permutations": n_permutations}
    return lambda **where: contrast_test("arm_by_time", change, mask, arm, **options, **where)


def smoothed(values, sim):
    """A map, smoothed as in notebook 02."""
    image = nib.Nifti1Image(values, sim.template.affine)
    return smooth_img(image, 8.0).get_fdata(dtype="f4")


def once(test):
    """A row for each way of doing the work."""
    for n in (1, 2):
        yield timed("threads here", n, lambda n=n: test(n_jobs=n))
    for n, kill in ((1, False), (2, False), (4, False), (2, True)):
        with cluster(n) as made:
            address = made.scheduler_address
            test(run=blocks.elsewhere(address))  # compiled, and code loaded, in every worker
            where = "Dask, one worker killed" if kill else "Dask"
            with killing(address, 3 if kill else None):
                yield timed(where, n, lambda at=address: test(run=blocks.elsewhere(at)))


@contextlib.contextmanager
def cluster(n):
    """Workers of one thread each on this machine."""
    with LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=":0") as made:
        yield made


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


def timed(where, processes, work):
    """Seconds, and a hash of all that was found."""
    started = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - started
    content = pickle.dumps([found.null_max[name] for name in sorted(found.null_max)])
    digest = hashlib.sha256(content + found.pivots.tobytes()).hexdigest()
    print(f"{where}, {processes}: {seconds:.1f} s", flush=True)
    return {"where": where, "processes": processes, "seconds": seconds, "sha256": digest}


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
