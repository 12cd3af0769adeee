"""What does a cluster cost, and what does it gain? Permutations of one contrast, all statistics.

    python -m benchmarks.scale           ten minutes on two idle cores; needs distributed

The same draws on one machine, by threads, by processes, and by Dask workers, of which one is killed
midway. All have to give the same bits. Each way is measured some times, in turn; the median counts,
against as many threads or processes without Dask. Writes scale.tsv; docs/scale.md quotes it.
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


def main():
    """Measure all ways, in turn, as often as asked; write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--permutations", type=int, default=5000)
    parser.add_argument("--mm", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    test = prepare(options.mm, options.permutations)
    test(n_permutations=32)  # compiled, and code loaded
    rows = [row for _ in range(options.repeats) for row in once(test)]
    table = pd.DataFrame(rows)
    assert table["sha256"].nunique() == 1, table
    found = table.groupby(["where", "n"], sort=False, as_index=False)["seconds"].median()
    here = found.set_index(["where", "n"])["seconds"]
    kind = ["threads" if "threads" in where else "processes" for where in found["where"]]
    peers = [here[kind, min(n, 2)] for kind, n in zip(kind, found["n"], strict=True)]
    found = found.assign(ratio=found["seconds"] / peers, **sizes(test))
    found.to_csv(HERE / "scale.tsv", sep="\t", index=False, float_format="%.4g")
    print(found.to_string(index=False))


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


def once(test):
    """A row for each way of doing the work."""
    for n in (1, 2):
        yield timed("threads", n, lambda n=n: test(n_jobs=n))
    for n in (1, 2):
        run = functools.partial(blocks.stream, n_jobs=n)
        test(run=run, n_permutations=512)  # compiled, and code loaded, in every process
        yield timed("processes", n, lambda run=run: test(run=run))
    for n, threads, kill in (
        (1, 1, False),
        (2, 1, False),
        (4, 1, False),
        (2, 1, True),
        (1, 2, False),
    ):
        with LocalCluster(n, threads_per_worker=threads, dashboard_address=":0") as made:
            address = made.scheduler_address
            test(run=blocks.elsewhere(address), n_permutations=1024)  # the same
            where = "Dask, threads of one worker" if threads > 1 else "Dask"
            where = "Dask, one worker killed" if kill else where
            with killing(address, 3 if kill else None):
                yield timed(where, n * threads, lambda at=address: test(run=blocks.elsewhere(at)))


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


def timed(where, n, work):
    """Seconds, and a hash of all that was found."""
    started = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - started
    content = pickle.dumps([found.null_max[name] for name in sorted(found.null_max)])
    digest = hashlib.sha256(content + found.pivots.tobytes()).hexdigest()
    print(f"{where}, {n}: {seconds:.1f} s", flush=True)
    return {"where": where, "n": n, "seconds": seconds, "sha256": digest}


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
