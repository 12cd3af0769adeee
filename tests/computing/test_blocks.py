"""Draws in blocks: the same bits here and on a Dask cluster, which may lose workers."""

import functools
import os
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from analysis_lib.computing import blocks, cluster
from analysis_lib.results.problems import StudyError
from voxelperm import permutation_test

PARTS = range(6)


def draw(part, shared):
    """Sums that depend on the order of summing, and one mark in a folder for each call."""
    if "calls" in shared:
        Path(shared["calls"], f"{part}-{time.monotonic_ns()}").touch()
    if part == shared.get("fatal"):
        raise ValueError("no draw of part 3")
    if part == shared.get("kills") and not Path(shared["once"]).exists():
        Path(shared["once"]).touch()
        psutil.Process(os.getpid()).kill()
    x = np.random.default_rng(part).standard_normal((300, 300)) + shared["x"]
    return x @ x.T, np.linalg.inv(x)


def equal(a, b):
    """Whether all arrays of two lists have the same bits."""
    return all((x == y).all() for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True))


@pytest.fixture(scope="module")
def address():
    """Of a scheduler with two workers."""
    distributed = pytest.importorskip(
        "distributed", reason="distributed is not installed (extra dask): no cluster to test with"
    )
    told = {"PYTHONPATH": str(Path(__file__).parent)}
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "env": told}
    with distributed.LocalCluster(**options) as made:
        yield made.scheduler_address


def test_processes_and_a_cluster_give_the_same_bits(address):
    alone = [draw(part, {"x": 1.0}) for part in PARTS]
    told = []
    there = blocks.run(
        draw, PARTS, {"x": 1.0}, address=address, progress=lambda *seen: told.append(seen)
    )
    assert told == [(k + 1, 6) for k in PARTS]
    assert equal(blocks.run(draw, PARTS, {"x": 1.0}, n_jobs=2), there)
    assert equal(blocks.run(draw, PARTS, {"x": 1.0}), there)
    for (a, b), (c, d) in zip(alone, there, strict=True):  # with all threads of this machine
        np.testing.assert_allclose(a, c, rtol=1e-9)
        np.testing.assert_allclose(b, d, rtol=1e-6, atol=1e-9)


def test_permutations_do_not_depend_on_where_they_are_drawn(address):
    maps = np.random.default_rng(0).standard_normal((12, 6**3))
    arm, mask = np.repeat([0.0, 1.0], 6), np.ones((6, 6, 6), bool)
    told = []
    test = functools.partial(permutation_test, maps, mask, arm, n_permutations=300)
    here = test()
    there = test(run=blocks.elsewhere(address), progress=lambda *seen: told.append(seen))
    assert told == [(128, 300), (256, 300), (300, 300)]
    for name, null in here.null_max.items():
        np.testing.assert_array_equal(null, there.null_max[name])
        np.testing.assert_array_equal(here.p[name], there.p[name])
    assert blocks.elsewhere("") is None


def test_a_worker_that_dies_costs_its_blocks_alone(address, tmp_path):
    shared = {"x": 1.0, "kills": 2, "once": str(tmp_path / "once")}
    assert equal(
        blocks.run(draw, PARTS, shared, address=address), blocks.run(draw, PARTS, {"x": 1.0})
    )
    assert (tmp_path / "once").exists()


@pytest.mark.parametrize("where", ["here", "there"])
def test_what_a_block_raises_comes_back_and_the_rest_is_not_done_again(where, tmp_path, request):
    at = {"address": request.getfixturevalue("address")} if where == "there" else {}
    calls = tmp_path / "calls"
    calls.mkdir()
    shared = {"x": 1.0, "fatal": 3, "calls": str(calls)}
    for _ in range(2):
        with pytest.raises(ValueError, match="no draw of part 3"):
            blocks.run(draw, PARTS, shared, keep=tmp_path / "kept", **at)
    done = [path.name.split("-")[0] for path in calls.iterdir()]
    assert [done.count(str(part)) for part in (0, 1, 2)] == [1, 1, 1]
    assert len(list((tmp_path / "kept").iterdir())) == 3


def test_kept_blocks_are_those_of_the_same_data(tmp_path):
    first = blocks.run(draw, PARTS, {"x": 1.0}, keep=tmp_path)
    assert equal(blocks.run(draw, PARTS, {"x": 1.0}, keep=tmp_path), first)
    assert not equal(blocks.run(draw, PARTS, {"x": 2.0}, keep=tmp_path), first)


def test_a_worker_with_older_code_is_told_to_start_again(address, monkeypatch):
    monkeypatch.setattr(cluster, "_code", lambda: "0123456789")
    monkeypatch.setattr(cluster, "_require_same", lambda client, ask, *_: ask(["numpy"]))
    with pytest.raises(StudyError, match=r"0123456789 expected, as here.*Start it again, if this"):
        blocks.run(draw, PARTS, {"x": 1.0}, address=address)


def test_a_block_that_kills_every_worker_is_given_up(monkeypatch):
    class KilledWorker(Exception):
        pass

    error = cluster._cause(KilledWorker("4 workers"))
    assert isinstance(error, StudyError)
    assert "its workers died (4 workers). What was done is kept" in str(error)
