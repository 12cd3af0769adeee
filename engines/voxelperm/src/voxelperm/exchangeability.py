"""Permutations and sign flips: which are allowed, how many there are, and how they are drawn.

What may be exchanged follows from what is assumed of the errors (Winkler et al. 2014, NeuroImage
92:381-397; 2015, NeuroImage 123:253-268). Labels are permuted where errors are exchangeable, signs
are flipped where errors are symmetric about zero and independent. Blocks restrict both:

==========  ===========================================  ==========================================
exchange    labels                                       signs
==========  ===========================================  ==========================================
"within"    permuted among the participants of a block:  one per participant: independent errors,
            exchangeable in a block, any difference      blocks do not matter
            between blocks (strata, sites)
"whole"     blocks change places, the order inside is    one per block: any dependence in a block
            kept: any dependence inside a block, the     (families, repeated scans)
            same in all
==========  ===========================================  ==========================================
"""

import itertools
import math

import numpy as np

EXCHANGES = ("within", "whole")


def draw_permutations(
    n_permutations, n, tested=None, blocks=None, sign_flip=False, seed=0, exchange="within"
):
    """Draw permutations or sign flips, all distinct ones where these are fewer.

    Parameters
    ----------
    n_permutations, n : int
        How many, and of how many participants.
    tested : array_like, optional
        (n,). Permutations that only exchange equal values are not distinct. Without it, all orders
        are distinct.
    blocks : array_like, optional
        (n,). Participants of one block carry the same value.
    sign_flip : bool or "both"
        Flip signs instead of permuting labels, or do both.
    seed : int
    exchange : str
        What blocks restrict: "within" or "whole", see :mod:`voxelperm.exchangeability`.

    Returns
    -------
    permutations : numpy.ndarray of int
        (n_drawn, n), signed and counted from 1, as
        :func:`voxelperm.permutation_test` takes them; without the identity when all are made.
    exhaustive : bool
        Whether all distinct ones were made.

    Raises
    ------
    ValueError
        If an option is unknown, blocks do not fit the participants, or whole blocks differ in size.
    """
    groups = block_members(n, blocks)
    _check_options(sign_flip, exchange, blocks, groups)
    units = [[k] for k in range(n)] if exchange == "within" else groups
    if exchange == "whole":
        groups = [np.arange(len(units))]
    labels = _unit_values(units, tested)
    n_distinct = 1 if sign_flip is True else _n_distinct(labels, groups)
    if sign_flip:
        n_distinct *= 2 ** len(units)
    if n_distinct - 1 <= n_permutations:
        return _all(units, labels, groups, sign_flip, n), True
    return _some(n_permutations, units, groups, sign_flip, seed, n), False


def block_members(n, blocks):
    """Positions of each block's participants, in order; one block of all if none are given."""
    if blocks is None:
        return [np.arange(n)]
    labels = np.asarray(blocks)
    if labels.shape != (n,):
        raise ValueError(f"blocks of shape ({n},) expected, found {labels.shape}")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def check_exchangeable(tested, blocks, sign_flip, exchange):
    """Refuse blocks inside which, or among which, no permutation changes the tested column.

    Parameters
    ----------
    tested : numpy.ndarray
        (n,).
    blocks : array_like or None
        (n,).
    sign_flip : bool or "both"
        Flipping signs is never refused on these grounds.
    exchange : str
        "within" or "whole".

    Raises
    ------
    ValueError
        If nothing would change, an option is unknown, or blocks do not fit the participants.
    """
    groups = block_members(len(tested), blocks)
    _check_options(sign_flip, exchange, blocks, groups)
    if sign_flip:
        return
    if exchange == "within":
        changes = any(len(np.unique(tested[members])) > 1 for members in groups)
        advice = 'give coarser blocks, or exchange="whole" where blocks have one arm each'
    else:
        changes = len({tuple(tested[members]) for members in groups}) > 1
        advice = 'exchange="within" permutes inside blocks'
    if not changes:
        raise ValueError(
            f"a tested column that permutations change expected, found none that do: {len(groups)} "
            f'blocks with exchange="{exchange}" leave every value where it is; {advice}'
        )


def _check_options(sign_flip, exchange, blocks, groups):
    if sign_flip not in (True, False, "both"):
        raise ValueError(f'sign_flip False, True or "both" expected, found {sign_flip!r}')
    if exchange not in EXCHANGES:
        raise ValueError(f"exchange among {EXCHANGES} expected, found {exchange!r}")
    if exchange == "whole" and blocks is None:
        raise ValueError('exchange="whole" needs blocks, found none: give each participant a block')
    sizes = sorted({len(members) for members in groups})
    if exchange == "whole" and sign_flip is not True and len(sizes) > 1:
        raise ValueError(
            f"whole blocks of one size expected, found sizes {sizes}: blocks of different sizes "
            'cannot change places; use exchange="within" or sign_flip=True'
        )


def _unit_values(units, tested):
    """A number for each unit; units that carry equal values have equal ones."""
    if tested is None:
        return np.arange(len(units))
    values = np.asarray(tested)
    known = {}
    return np.array([known.setdefault(tuple(values[unit]), len(known)) for unit in units])


def _n_distinct(labels, groups):
    total = 1
    for members in groups:
        counts = np.unique(labels[members], return_counts=True)[1]
        total *= math.factorial(len(members)) // math.prod(math.factorial(c) for c in counts)
    return total


def _some(n_permutations, units, groups, sign_flip, seed, n):
    rng = np.random.default_rng(seed)
    order = np.tile(np.arange(len(units)), (n_permutations, 1))
    if sign_flip is not True:
        for members in groups:
            order[:, members] = rng.permuted(np.tile(members, (n_permutations, 1)), axis=1)
    signs = None
    if sign_flip:
        signs = rng.choice([1, -1], size=(n_permutations, len(units)))
    return _of_participants(order, signs, units, n)


def _all(units, labels, groups, sign_flip, n):
    """Every distinct one once, the identity left out."""
    order = np.arange(len(units))[None]
    if sign_flip is not True:
        order = np.concatenate([order, _all_orders(labels, groups)])
    if not sign_flip:
        return _of_participants(order, None, units, n)[1:]
    signs = np.array(list(itertools.product([1, -1], repeat=len(units))))
    n_orders, n_signs = len(order), len(signs)
    order, signs = np.repeat(order, n_signs, axis=0), np.tile(signs, (n_orders, 1))
    return _of_participants(order, signs, units, n)[1:]


def _of_participants(order, signs, units, n):
    """Orders and signs of units, (n_drawn, n_units), as signed orders of their participants.

    ``signs`` belong to units, wherever they are placed.
    """
    found = np.empty((len(order), n), int)
    if len({len(unit) for unit in units}) == 1:
        members = np.asarray(units)
        found[:, members.ravel()] = members[order].reshape(len(order), -1)
    else:  # sizes differ: only signs are flipped
        found[:] = np.arange(n)
    if signs is None:
        return found + 1
    unit_of = np.empty(n, int)
    for number, unit in enumerate(units):
        unit_of[unit] = number
    return (found + 1) * np.take_along_axis(signs, unit_of[found], axis=1)


def _all_orders(labels, groups):
    """One order for each distinct arrangement of the labels, the identity left out."""
    found = []
    for orders in itertools.product(*(list(_arrangements(list(g), labels)) for g in groups)):
        order = np.empty(len(labels), int)
        for members, new in zip(groups, orders, strict=True):
            order[members] = new
        found.append(order)
    # an arrangement says which label each unit gets, a permutation which unit takes each place
    found = [np.argsort(o) for o in found if (labels[o] != labels).any()]
    return np.array(found, int).reshape(-1, len(labels))


def _arrangements(members, labels):
    """Orders of ``members`` that differ in their labels, each once."""
    if not members:
        yield []
    firsts = {labels[member]: member for member in reversed(members)}
    for first in firsts.values():
        rest = [member for member in members if member != first]
        for order in _arrangements(rest, labels):
            yield [first, *order]
