"""What the maps of a trial hold, against one another and the template, before anything is computed.

All on means of 8 mm cubes, so that memory stays small and each file is read once.
"""

import functools
from collections import defaultdict

import numpy as np
from scipy.spatial.distance import pdist, squareform

from analysis_lib.atlas.template import grey_matter_template
from analysis_lib.results.problems import CompendiumError, Listing, Problem
from analysis_lib.study.grids import apart_mm, check_grids, holds_a_head
from analysis_lib.study.images import named_maps, pair_maps
from analysis_lib.study.map_file import block_means, summarise
from analysis_lib.vbm.maps import homogeneity

FEWEST = 2  # participants per arm
CHANGE = 0.08  # of the total: more is no change of a brain within weeks
TOTAL_ML = (300, 1000)  # grey matter of adults; unmodulated maps hold the template's volume
LEAST_SPREAD = 0.02  # of totals over people, SD; of brains it is a tenth
OUTLIER, FEWEST_MAPS = 5, 8  # robust standard deviations, and maps to measure them by
FITS = 0.7  # correlation with the template of a map that lies as it does
MOVED_MM = 8  # by which a map is moved to see whether it fits better there
ROUNDING = 5e-4  # largest difference between blocks of maps that differ by rounding alone
SAME_PLACE_MM = 1e-4


def problems(study, participants) -> list[Problem]:
    """What is wrong or odd in the grey-matter maps of those analysed: an empty list if nothing is.

    Errors: fewer than two per arm; the same values twice; a map upside down or back to front; one
    of a participant's two maps mirrored (of both nobody can tell: the template is symmetric).
    Warnings: values read over; maps beside the template, or unlike it; maps that resemble a
    stranger's more than the participant's other one, or the others too little; a total that changes
    by more than 8 %, is no volume of a brain, or hardly differs between people.
    Maps that cannot be read, named or brought together are told by `image_problems`: their
    participants are left out here, and the others looked at.
    """
    if study.imaging is None or (seen := _summaries(study, participants)) is None:
        return []
    few = _too_few(study, seen)
    unread = seen.loc[seen["summary"].isna(), "participant_id"]
    seen = seen[~seen["participant_id"].isin(unread)].reset_index(drop=True)
    parts = (_read_over, _repeated, _placed, _mirrored, _exchanged, _totals, _outliers)
    return [*few, *(problem for part in parts for problem in part(seen))] if len(seen) else few


def _summaries(study, participants):
    """participant_id, arm, session, path, name, summary (None: unreadable) of each map analysed.

    None where names, pairs or grids are wrong.
    """
    maps, found = named_maps(study, participants)
    try:
        pairs = [] if found or maps.empty else pair_maps(study, participants, maps)
        pairs = pairs[pairs["status"] == "analysed"] if len(pairs) else pairs
        if not len(pairs):
            return None
        rows = pairs.melt(["participant_id", "arm"], ["pre", "post"], "session", "path")
        rows = rows.assign(summary=[_summary(path) for path in rows["path"]])
        if (read := rows["summary"].notna()).any():
            check_grids(rows["path"][read])
        return rows.assign(name=[path.name for path in rows["path"]])
    except CompendiumError:
        return None


def _summary(path):
    """None for a map that cannot be read: `image_problems` says so."""
    try:
        return summarise(path)
    except CompendiumError:
        return None


def _too_few(study, seen):
    """Arms with fewer than two participants to compare."""
    if seen["arm"].isna().any():  # told where participants are read
        return []
    names = study.arm_names if study.arms else {"active": "in all"}
    n = seen["arm"][seen["session"] == "pre"].value_counts().reindex(names, fill_value=0)
    if n.min() >= FEWEST:
        return []
    found = ", ".join(f"{n[arm]} {name}" for arm, name in names.items())
    remedy = "Notebook 01 needs no images: run it alone (--only 01)"
    per_arm = " per arm" if study.arms else ""
    expected = f"at least {FEWEST} participants{per_arm} with a map before and one after treatment"
    return [Problem("", "grey-matter maps", expected, found, remedy)]


def _read_over(seen):
    """Harmless oddities of files, counted: one warning per kind."""
    kinds, first = defaultdict(list), seen["summary"].iloc[0]
    common = seen["summary"].map(lambda one: one.written).mode()[0]
    place = check_grids(seen["path"])
    for name, one in zip(seen["name"], seen["summary"], strict=True):
        for words, n in one.oddities.items():
            kinds[words].append(f"{name} ({n} voxels)")
        if one.written != common:
            words = f"axes turned to those of the others ({common}) without interpolation"
            kinds[words].append(f"{name} ({one.written})")
        shift = apart_mm(first.grid[0], one.grid[1], place)
        if shift > SAME_PLACE_MM:
            kinds["grid a little off, taken for the others'"].append(f"{name} ({shift:.3f} mm)")
    for words, names in kinds.items():
        start = f"{words} in {len(names)} of {len(seen)} maps: "
        text = Listing(tuple(names), start + "{}", shown=2)
        yield Problem("", "grey-matter maps", text=text, warning="oddities")


def _repeated(seen):
    """Maps with the same values, but for rounding: of two participants, or before and after."""
    blocks = np.stack(seen["summary"].map(lambda one: one.blocks))
    alike = squareform(pdist(blocks, "chebyshev") < ROUNDING)
    for i in np.flatnonzero(alike.any(axis=1)):
        same = np.flatnonzero(alike[i])
        if i < same.min():
            others = Listing(tuple(seen["name"].iloc[same]), "the same values in every voxel as {}")
            remedy = "Was a file copied under another name? Give each its own map"
            yield Problem(seen["name"].iloc[i], "", "maps that differ", others, remedy)


def _placed(seen):
    """Maps that fit the template better reversed or moved, or do not fit it."""
    shape, affine = seen["summary"].iloc[0].grid
    if not holds_a_head(shape, affine):
        return
    template, off = _template(shape, affine.tobytes()), defaultdict(list)
    for name, one in zip(seen["name"], seen["summary"], strict=True):
        fit = {way: np.corrcoef(one.blocks, blocks)[0, 1] for way, blocks in template.items()}
        best = max(fit, key=fit.get)
        if best or fit[best] <= FITS:
            better = f", and {fit[best]:.2f} {best}" if best else ""
            sure = fit[best] > FITS and "reversed" in best
            off[best, sure].append((name, f"r = {fit['']:.2f}{better}"))
    for (_, sure), maps in off.items():
        names, words = tuple(name for name, _ in maps), maps[0][1]
        expected = "a map that lies as the template's grey matter does"
        found = Listing(names, f"{words}, in {{}}", shown=2)
        remedy = "Normalise the image again, or mend the orientation in its header"
        yield Problem(names[0], "", expected, found, remedy, warning="" if sure else "place")


@functools.lru_cache(maxsize=2)
def _template(shape, affine):
    """Blocks of the template as it lies, reversed (its left and right are the same), and moved."""
    affine, image = np.frombuffer(affine).reshape(4, 4), grey_matter_template(1)
    index = []
    for axis, n in enumerate(shape):
        mm = affine[axis, 3] + affine[axis, axis] * np.arange(n)
        there = (mm - image.affine[axis, 3]) / image.affine[axis, axis]
        index.append(np.rint(there).astype(int).clip(0, image.shape[axis] - 1))
    data = image.get_fdata(dtype=np.float32)[np.ix_(*index)]
    turned = {"with y reversed": 1, "with z reversed": 2, "with y and z reversed": (1, 2)}
    ways = {"": data} | {way: np.flip(data, axes) for way, axes in turned.items()}
    for axis, name in enumerate("xyz"):
        step = max(1, round(MOVED_MM / affine[axis, axis]))
        for sign in (-1, 1):
            mm = sign * step * affine[axis, axis]
            ways[f"{mm:+.0f} mm along {name}"] = np.roll(data, sign * step, axis)
    return {way: block_means(values, affine) for way, values in ways.items()}


def _resemblance(seen):
    """Participants, r of each first map with each second, nearest strangers, r if mirrored."""
    first, second = (half for _, half in seen.groupby("session", sort=False))
    pre, post = (np.stack([one.blocks for one in half["summary"]]) for half in (first, second))
    n = len(pre)
    r = np.corrcoef(pre, post)[:n, n:]
    mirrored = [
        max(np.corrcoef(blocks, other)[0, 1] for other in one.mirrored)
        for blocks, one in zip(pre, second["summary"], strict=True)
    ]
    stranger = np.where(np.eye(n, dtype=bool), -np.inf, r).argmax(axis=1)
    return first["participant_id"].to_numpy(), r, stranger, np.array(mirrored)


def _mirrored(seen):
    """Participants whose two maps are most alike when one of them is mirrored."""
    who, r, stranger, mirrored = _resemblance(seen)
    own = np.diag(r)
    for i in np.flatnonzero(mirrored > np.maximum(own, r[np.arange(len(r)), stranger])):
        expected = "two maps with left and right on the same sides"
        found = f"r = {own[i]:.4f}, and {mirrored[i]:.4f} with one of them mirrored"
        remedy = "Mend the orientation in the header of the one that is, or make it again"
        yield Problem("", who[i], expected, found, remedy)


def _exchanged(seen):
    """Participants whose two maps resemble each other less than a stranger's."""
    who, r, stranger, _ = _resemblance(seen)
    odd = [i for i, j in enumerate(stranger) if r[i, i] < r[i, j]]
    for i in odd:
        j = stranger[i]
        mutual = j in odd and stranger[j] == i
        if mutual and j < i:
            continue
        remedy = "Were images or names exchanged? Look at both"
        expected = "maps of one participant that resemble each other more than a stranger's"
        found = f"r = {r[i, i]:.4f} and {r[i, j]:.4f} with the second map of {who[j]}"
        place = f"{who[i]} and {who[j]}" if mutual else who[i]
        yield Problem("", place, expected, found, remedy, warning="exchanged")


def _totals(seen):
    """Totals of grey matter that no brain has, or that change too much."""
    total = seen["summary"].map(lambda one: one.total_ml)
    wide = seen.assign(total=total).pivot(index="participant_id", columns="session", values="total")
    for who, pre, post in wide[["pre", "post"]].itertuples():
        if abs(post / pre - 1) > CHANGE:
            expected = f"a total of grey matter that changes by at most {CHANGE:.0%}"
            found = f"{pre:.0f} ml and {post:.0f} ml ({post / pre - 1:+.0%})"
            remedy = "Do both maps come from one pipeline, in one scale? Look at both"
            yield Problem("", who, expected, found, remedy, warning="total-change")
    if not holds_a_head(*seen["summary"].iloc[0].grid):
        return
    if len(wide) >= FEWEST_MAPS and wide["pre"].std() < LEAST_SPREAD * wide["pre"].mean():
        expected = f"totals of grey matter that differ by more than {LEAST_SPREAD:.0%}"
        found = f"{wide['pre'].min():.0f} to {wide['pre'].max():.0f} ml"
        remedy = "Were the maps modulated? Unmodulated ones hold the template's volume"
        yield Problem("", "grey-matter maps", expected, found, remedy, warning="total")
    low, high = TOTAL_ML
    for name, ml in zip(seen["name"], total, strict=True):
        if not low <= ml <= high:
            expected = f"a grey-matter volume of {low} to {high} ml"
            remedy = "Is it modulated, and in the scale of densities (0 to about 1)?"
            yield Problem(name, "", expected, f"{ml:.0f} ml", remedy, warning="total")


def _outliers(seen):
    """Maps unlike the others of their session."""
    for _, half in seen.groupby("session", sort=False):
        if len(half) < FEWEST_MAPS:
            continue
        scores = homogeneity(np.stack(half["summary"].map(lambda one: one.blocks)))
        for name, score in zip(half["name"], scores["outlier_score"], strict=True):
            if score > OUTLIER:
                expected = f"an outlier score of at most {OUTLIER} (quality control, notebook 02)"
                remedy = "Look at the image: did segmentation or normalisation fail?"
                yield Problem(name, "", expected, f"{score:.1f}", remedy, warning="outlier")
