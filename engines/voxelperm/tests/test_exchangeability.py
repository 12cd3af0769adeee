"""Which permutations and sign flips are made, and how many there are."""

import itertools

import numpy as np
import pytest

from voxelperm import draw_permutations


def test_every_sign_flip_of_six_is_made_once():
    flips, exhaustive = draw_permutations(5000, 6, sign_flip=True)
    assert exhaustive
    assert len({tuple(np.sign(f)) for f in flips}) == 63


def test_blocks_keep_participants_in_their_stratum():
    blocks = np.repeat(["a", "b"], 8)
    orders, _ = draw_permutations(200, 16, np.tile([0, 1], 8), blocks, seed=1)
    assert (blocks[orders - 1] == blocks).all()
    assert len({tuple(o) for o in orders}) > 150


def test_an_arrangement_of_twelve_is_counted_not_ordered():
    orders, exhaustive = draw_permutations(5000, 12, np.repeat([0, 1], 6))
    assert exhaustive
    assert len(orders) == 923


def test_arrangements_within_blocks_are_each_made_once():
    blocks, arm = np.repeat([0, 1], 4), np.tile([1, 0], 4)
    orders, exhaustive = draw_permutations(5000, 8, arm, blocks)
    assert exhaustive
    arrangements = {tuple(arm[np.argsort(order - 1)]) for order in orders}
    assert len(arrangements) == len(orders) == 6 * 6 - 1  # 4 choose 2, twice


def test_whole_blocks_keep_their_inside():
    blocks = np.tile(np.arange(5), 3)  # members of a block do not lie beside each other
    orders, exhaustive = draw_permutations(5000, 15, blocks=blocks, exchange="whole")
    assert exhaustive
    assert len({tuple(order) for order in orders}) == 119  # 5! less the identity
    for order in orders:
        source = blocks[order - 1].reshape(3, 5)
        assert (source == source[0]).all()
        assert ((order - 1) // 5 == np.arange(15) // 5).all()


def test_drawn_whole_blocks_keep_their_inside_too():
    blocks = np.repeat(np.arange(10), 2)
    orders, exhaustive = draw_permutations(50, 20, blocks=blocks, exchange="whole", seed=1)
    assert not exhaustive
    assert (orders[:, 1::2] - orders[:, ::2] == 1).all()
    assert (np.sort(orders, axis=1) == np.arange(1, 21)).all()


def test_blocks_that_carry_equal_values_are_not_exchanged():
    blocks, arm = np.repeat(np.arange(6), 2), np.repeat([1, 0], 6)
    orders, exhaustive = draw_permutations(5000, 12, arm, blocks, exchange="whole")
    assert exhaustive
    assert len(orders) == 19  # 6 choose 3, less the identity


def test_signs_of_a_whole_block_flip_together():
    blocks = np.array([0, 0, 0, 1, 2, 2])
    flips, exhaustive = draw_permutations(100, 6, blocks=blocks, sign_flip=True, exchange="whole")
    assert exhaustive
    assert len(flips) == 7
    assert (np.abs(flips) == np.arange(1, 7)).all()
    signs = np.sign(flips)
    assert (signs[:, :3] == signs[:, :1]).all()
    assert (signs[:, 4] == signs[:, 5]).all()


def test_permutations_with_signs_are_each_made_once():
    arm = np.array([1, 1, 0, 0])
    rows, exhaustive = draw_permutations(1000, 4, arm, sign_flip="both")
    assert exhaustive
    found = set()
    for row in rows:
        sign = np.empty(4, int)
        sign[np.abs(row) - 1] = np.sign(row)
        found.add((tuple(arm[np.argsort(np.abs(row))]), tuple(sign)))
    assert len(found) == len(rows) == 6 * 16 - 1
    assert len(set(itertools.product([1, -1], repeat=4)) - {f[1] for f in found}) == 0


def test_drawn_flips_and_orders_are_independent_and_even():
    rows, exhaustive = draw_permutations(4000, 10, sign_flip="both", seed=3)
    assert not exhaustive
    assert (np.sort(np.abs(rows), axis=1) == np.arange(1, 11)).all()
    assert abs(np.sign(rows).mean()) < 4 / np.sqrt(40_000)
    assert np.abs(np.abs(rows).mean(axis=0) - 5.5).max() < 4 * np.sqrt(8.25 / 4000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sign_flip": "all"}, 'sign_flip False, True or "both" expected'),
        ({"exchange": "between"}, "exchange among"),
        ({"exchange": "whole"}, 'exchange="whole" needs blocks, found none'),
        ({"exchange": "whole", "blocks": [0, 0, 0, 1, 1, 2]}, r"one size expected, .* \[1, 2, 3\]"),
        ({"blocks": [0, 1]}, r"blocks of shape \(6,\) expected, found \(2,\)"),
    ],
)
def test_what_cannot_be_exchanged_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        draw_permutations(10, 6, **options)
