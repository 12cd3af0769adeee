"""Figures: colours, editable text, units and n, artists that stand where the data say."""

import re
import zlib
from itertools import combinations

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from scipy import stats

from analysis_lib.figures import appearance, catalogue, composites, draw_power, palette
from analysis_lib.figures import draw_brain as figures_brain
from analysis_lib.figures import draw_clinical as clinical
from analysis_lib.figures import draw_conduct as conduct
from analysis_lib.figures import draw_receptors as receptors
from analysis_lib.figures import layout as figures_panels
from analysis_lib.figures.descriptions import describe
from analysis_lib.figures.layout import Panel

NAMES = {"active": "real", "control": "sham"}

# Simulation of full dichromacy, for linear RGB: Machado, Oliveira & Fernandes 2009, IEEE Trans Vis
# Comput Graph 15:1291-1298, severity 1.0.
DICHROMACY = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def own_axes(width=appearance.PAGE, height=2.8):
    """Axes of a figure of their own, in the compendium's style."""
    with appearance.style():
        return plt.figure(figsize=(width, height)).subplots()


@pytest.fixture
def ax():
    yield own_axes()
    plt.close("all")


def lab(colour, vision="none"):
    """CIE L*a*b* (D65) of a colour as somebody with that vision sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(DICHROMACY[vision]) @ linear, 0, 1)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    t = to_xyz @ linear / (to_xyz @ np.ones(3))
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def delta_e(one, other, vision="none"):
    return np.linalg.norm(lab(one, vision) - lab(other, vision))


def words(ax):
    found = [text.get_text() for text in ax.texts]
    found += [label.get_text() for label in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    return " | ".join([*found, ax.get_xlabel(), ax.get_ylabel()]).replace("\n", " ")


# --- colours


def test_each_arm_has_one_colour_that_no_figure_changes():
    assert palette.COLOURS == {"active": "#0072B2", "control": "#E69F00"}


def test_the_measure_of_colour_agrees_with_known_values():
    assert lab("white") == pytest.approx([100, 0, 0], abs=0.01)
    assert lab("#FF0000") == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert delta_e("#FF0000", "#00A000", "deuteranopia") < 0.5 * delta_e("#FF0000", "#00A000")


@pytest.mark.parametrize("vision", DICHROMACY)
def test_colours_are_told_apart_by_everybody(vision):
    drawn_together = [
        (*palette.COLOURS.values(), "white"),
        (palette.ACCENT, *palette.BANDS.values(), "white", "black"),
    ]
    for colours in drawn_together:
        for one, other in combinations(colours, 2):
            assert delta_e(one, other, vision) > 15, (one, other)


def test_arms_differ_in_grey_print():
    lightness = [lab(colour)[0] for colour in palette.COLOURS.values()]
    assert abs(lightness[0] - lightness[1]) > 20


# --- files


def test_text_in_a_pdf_stays_text(tmp_path, ax):
    clinical.plot_forest(
        ax, pd.DataFrame({"estimate": [1], "ci_low": [0], "ci_high": [2]}), ["a"], "points"
    )
    with appearance.style():
        ax.figure.savefig(tmp_path / "a.pdf")
    content = (tmp_path / "a.pdf").read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    inflated = b"".join(zlib.decompress(s) for s in streams if s[:1] == b"x")
    assert b"/Type0" in content or b"/TrueType" in content  # Type 42 fonts
    assert b"/Subtype /Type3" not in content
    assert b" Tj" in inflated or b" TJ" in inflated


# --- panels and composites


def drawn(ax, y):
    ax.plot([0, 1], [0, y])
    ax.set_ylabel("a long label\nof two lines")


def panel(y, title="A title", **options):
    return Panel(lambda ax: drawn(ax, y), title, f"caption {y}", f"alt {y}", **options)


def test_a_composite_has_letters_and_titles_in_order_and_nothing_outside_the_page():
    panels = {"one": panel(1), "two": panel(2, arms=True), "three": panel(3)}
    blocks = [([["one", "two"]], 2, None), ([["three"]], 1.5, None)]
    fig = figures_panels.compose(panels, blocks, NAMES, ["SIMULATED"])
    said = [text.get_text() for text in fig.texts]
    assert [text for text in said if len(text) == 1] == ["a", "b", "c"]
    assert said.count("A title") == 3
    assert {text.get_fontsize() for text in fig.texts if text.get_text() == "A title"} == {8.5}
    assert "SIMULATED" in said
    assert fig.get_size_inches() == pytest.approx([appearance.PAGE, 3.5 + 0.2 + 0.16])
    fig.draw_without_rendering()
    for artist in [*fig.texts, *(axes.yaxis.label for axes in fig.axes)]:
        box = artist.get_window_extent()
        assert fig.bbox.x0 <= box.x0
        assert box.x1 <= fig.bbox.x1
        assert fig.bbox.y0 <= box.y0
        assert box.y1 <= fig.bbox.y1
    letters = {text.get_text(): text.get_position() for text in fig.texts}
    assert letters["a"][0] == letters["c"][0]
    assert letters["a"][1] == pytest.approx(letters["b"][1], abs=0.002)
    plt.close(fig)


def test_a_title_too_long_for_its_column_is_made_smaller_and_stays_inside():
    panels = {"one": panel(1, "A very long title of a panel " * 2), "two": panel(2)}
    fig = figures_panels.compose(panels, [([["one", "two"]], 2, None)], NAMES)
    long = next(text for text in fig.texts if text.get_text().startswith("A very"))
    other = next(text for text in fig.texts if text.get_text() == "b")
    assert 6 <= long.get_fontsize() < 8.5
    assert long.get_window_extent().x1 < other.get_window_extent().x0
    plt.close(fig)


def test_the_key_of_the_arms_uses_the_study_s_words():
    fig = figures_panels.alone(panel(1, arms=True), NAMES)
    legend = fig.subfigs[0].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["real", "sham"]
    assert [h.get_color() for h in legend.get_lines()] == list(palette.COLOURS.values())
    assert figures_panels.alone(panel(1), NAMES).subfigs[0].legends == []
    plt.close("all")


def test_captions_join_the_panels_and_say_what_is_simulated():
    found = figures_panels.captions(
        "Results", {"one": panel(1), "two": panel(2, "B")}, ["SIMULATED"]
    )
    assert found["title"] == "Results"
    assert found["caption"].startswith("(a) A title. caption 1 (b) B. caption 2 ")
    assert "no patient took part" in found["caption"]
    assert found["alt"].startswith("Simulated data")
    alone = figures_panels.captions("T", {"one": panel(1)}, lettered=False)
    assert alone == {"title": "T", "caption": "caption 1", "alt": "alt 1"}


def test_every_listed_figure_can_be_drawn_and_is_listed_in_known_words():
    known = {"picture", "said", "title", "width", "height", "each", "table", "as"}
    for name, listed in catalogue.LISTED.items():
        assert set(listed) <= known | {"arms", "brain", "late"}, name
        assert listed.get("picture", name) in catalogue.PLOTS, name
        assert callable(catalogue.CATALOGUE[name]), name


# --- clinical panels


def scores():
    rows = [("a", "active", 20, 10), ("b", "active", 24, np.nan), ("c", "control", 22, 21)]
    rows += [("d", "control", np.nan, 15)]
    return pd.DataFrame(
        [
            (who, arm, week, s)
            for who, arm, *both in rows
            for week, s in zip((0, 2), both, strict=True)
        ],
        columns=["participant_id", "arm", "week", "score"],
    )


def course():
    means = pd.DataFrame({"arm": list(NAMES), "week": 2, "mean": [-8.0, -2.0]})
    means = means.assign(ci_low=means["mean"] - 1, ci_high=means["mean"] + 2)
    counts = pd.DataFrame({"arm": [*NAMES] * 2, "week": [0, 0, 2, 2], "n": [2, 1, 1, 2]})
    return means, counts


def test_change_is_since_each_participant_s_own_baseline():
    change = clinical.since_baseline(scores())
    assert change.set_index(["participant_id", "week"])["value"].to_dict() == {
        ("a", 0): 0,
        ("a", 2): -10,
        ("b", 0): 0,
        ("c", 0): 0,
        ("c", 2): -1,
    }


def test_no_figure_changes_the_style_of_the_reader_s_session():
    before = dict(plt.rcParams)
    panels = {"one": panel(1)}
    figures_panels.compose(panels, [([["one"]], 2, None)], NAMES)
    appearance.brain_figure()
    assert dict(plt.rcParams) == before
    with appearance.style():
        assert plt.rcParams["pdf.fonttype"] == 42
        assert plt.rcParams["font.size"] == 8
    plt.close("all")


def test_course_draws_participants_means_intervals_and_n(ax):
    means, counts = course()
    clinical.plot_course(
        ax, clinical.since_baseline(scores()), means, counts, "change in X, points"
    )
    lines = [np.asarray(line.get_ydata()).tolist() for line in ax.lines]
    assert [0, -10] in lines
    assert [0, -1] in lines
    bars = [bar for bar in ax.containers if hasattr(bar, "has_yerr")]
    assert [bar.lines[0].get_ydata().tolist() for bar in bars] == [[-8], [-2]]
    spans = [bar.lines[2][0].get_segments()[0][:, 1].tolist() for bar in bars]
    assert spans == [[-9, -6], [-3, 0]]
    assert [bar.lines[0].get_color() for bar in bars] == list(palette.COLOURS.values())
    written = [text.get_text() for text in ax.texts]
    assert written == ["2", "1", "n", "1", "2", "n"]
    assert "points" in ax.get_ylabel()
    assert "weeks" in ax.get_xlabel()


def test_course_of_many_participants_is_fainter_than_that_of_few():
    alphas = []
    for n in (4, 90):
        many = pd.DataFrame(
            {"participant_id": np.arange(n), "arm": "active", "week": 1, "value": 1.0}
        )
        own = own_axes()
        clinical.plot_course(own, many, *course(), "points")
        alphas.append(own.lines[0].get_alpha())
    plt.close("all")
    assert alphas[1] < alphas[0] / 3


def test_weeks_too_close_together_keep_only_some_counts():
    assert clinical._spaced([0, 1, 2, 10, 20], 2) == [0, 2, 10, 20]


def contrasts():
    table = pd.DataFrame({"scale": ["X", "X", "Y"], "visit": ["w1", "w2", "w2"], "p": 0.02})
    table = table.assign(estimate=[-1.0, -2.5, 3], ci_low=[-3, -4, 1], ci_high=[1, -0.01, 5])
    table = table.assign(n_active=12, n_control=13)
    table["favours"] = ["active", "active", "control"]
    return table.assign(rated_active=[10, 9, 8], rated_control=11)


def test_differences_stand_where_they_are_with_numbers_n_and_the_primary_filled(ax):
    clinical.plot_differences(ax, contrasts(), NAMES, ("X", "w2"))
    marks = [line for line in ax.lines if line.get_marker() == "s"]
    assert [mark.get_xdata()[0] for mark in marks] == [-1, -2.5, 3]
    assert [mark.get_markerfacecolor() for mark in marks] == ["white", "black", "white"]
    said = words(ax)
    assert "−2.5 (−4.0 to −0.01)" in said  # not "-0.0"
    assert "9 + 11" in said
    assert "real − sham, points; left of zero favours real" in said
    heights = [mark.get_ydata()[0] for mark in marks]
    assert heights[0] > heights[1] > heights[2]


def risks(n_active=10):
    row = {"outcome": ["response"], "n_active": n_active, "n_control": 8, "events_active": 5}
    row |= {"events_control": 2, "risk_difference": 0.25, "ci_low": -0.1, "ci_high": 0.5}
    return pd.DataFrame(row)


def test_bars_are_shares_of_participants_with_events_and_difference_written(ax):
    clinical.plot_risks(ax, risks(), NAMES)
    assert [bar.get_height() for bar in ax.patches] == [50, 25]
    assert "5/10" in words(ax)
    assert "real − sham: 25 percentage points (95 % CI −10 to 50)" in words(ax)
    assert "participants, %" in words(ax)


def test_an_outcome_that_applies_to_nobody_has_no_bar(ax):
    clinical.plot_risks(ax, risks(n_active=0).assign(events_active=0), NAMES)
    assert [bar.get_height() for bar in ax.patches] == [0, 25]
    assert "0/0" in words(ax)


# --- imaging panels


def brain(values):
    affine = np.diag([20.0, 20, 20, 1])
    affine[:3, 3] = [-80, -110, -60]
    return nib.Nifti1Image(np.asarray(values, dtype=np.float32), affine)


@pytest.mark.parametrize("survives", [True, False])
def test_a_glass_brain_without_a_voxel_says_so(survives):
    t, p = np.zeros((9, 10, 9)), np.ones((9, 10, 9))
    t[4, 5, 5], p[4, 5, 5] = 6, 0.01 if survives else 0.2
    fig = plt.figure(figsize=(6, 1.6))
    figures_brain.plot_glass(fig.add_axes([0, 0, 0.9, 1]), brain(t), brain(p), "t (30 df)")
    said = " ".join(text.get_text() for text in fig.texts)
    assert ("no voxel survives" in said) is not survives
    bars = [axes.get_ylabel() for outer in fig.axes for axes in outer.child_axes]
    assert bars == (["t (30 df)"] if survives else [])
    plt.close(fig)


def test_slices_say_where_they_are_and_what_the_colour_is():
    t = np.zeros((9, 10, 9))
    t[4, 5, 5] = -6
    fig = plt.figure(figsize=(6, 1.6))
    axes = fig.add_axes([0, 0.1, 0.9, 0.9])
    figures_brain.plot_slices(axes, brain(t), "t (30 df)", brain(t * 0 + 0.5), (-10, 20))
    said = [text.get_text() for each in fig.axes for text in each.texts]
    assert {"z = −10 mm", "z = 20 mm", "L", "R"} <= set(said)
    bar = axes.child_axes[0]
    assert bar.get_ylabel() == "t (30 df)"
    assert bar.get_ylim() == (-6, 6)
    plt.close(fig)


def test_region_change_draws_each_participant_and_the_given_interval(ax):
    change = pd.DataFrame({"arm": ["active"] * 3 + ["control"] * 3, "region": "left amygdala"})
    change["change"] = [1.0, 3, 2, 0, np.nan, -1]
    means = pd.DataFrame({"arm": [*NAMES], "region": "left amygdala", "n": [3, 2]})
    means = means.assign(mean=[2.0, -0.5], ci_low=[1.0, -2], ci_high=[3.5, 1])
    figures_brain.plot_region_change(ax, change, means, ["left amygdala"], NAMES)
    points = [c for c in ax.collections if len(c.get_offsets()) > 1]  # the others are densities
    dots = {to_hex(c.get_facecolor()[0]).upper(): sorted(c.get_offsets()[:, 0]) for c in points}
    assert dots == {palette.COLOURS["active"]: [1, 2, 3], palette.COLOURS["control"]: [-1, 0]}
    bars = [c.lines[2][0].get_segments()[0][:, 0].tolist() for c in ax.containers]
    assert bars == [[1, 3.5], [-2, 1]]
    assert ax.get_xlabel() == "change from baseline, %"


# --- receptor panels


def maps(n=3):
    r = np.linspace(-0.2, 0.8, n)[::-1]
    table = pd.DataFrame({"receptor": [f"R{i}" for i in range(n)], "r": r, "n_subjects_map": 12})
    table = table.assign(annotation="lab/x", ci_low=r - 0.1, ci_high=r + 0.1, n_parcels=119)
    return table.assign(
        p_randomisation=0.003,
        p_fwe=np.r_[0.01, np.full(n - 1, 0.4)],
        p_spatial=0.02,
        p_fwe_spatial=1.0,
        r_anatomy=r / 2 + 0.01,
        p_spatial_anatomy=0.031,
        p_fwe_spatial_anatomy=np.r_[np.full(n - 1, 0.7), 0.02],
    )


def test_central_share_of_a_null():
    draws = np.column_stack([np.arange(101), np.arange(101) * -2.0])
    assert receptors.central(draws, 0.9) == pytest.approx(np.array([[5, 95], [-190, -10]]))


@pytest.mark.parametrize("n", [1, 18, 41])
def test_correlations_are_ordered_with_bands_and_both_p_in_words(ax, n):
    rows = maps(n).sample(frac=1, random_state=1)
    low = -rows["r"].abs().to_numpy() / 2
    bands = dict.fromkeys(("spatial", "spatial_anatomy"), np.column_stack([low, -low]))
    receptors.plot_correlations(ax, rows, bands)
    for shape, column in (("o", "r"), ("D", "r_anatomy")):
        marks = np.concatenate(
            [line.get_xdata() for line in ax.lines if line.get_marker() == shape]
        )
        assert sorted(marks) == sorted(rows[column])
    labels = [label.get_text().split()[0] for label in ax.get_yticklabels()]
    assert labels == [f"R{i}" for i in reversed(range(n))]  # the largest r on top
    lower = sorted(bar.get_x() for bar in ax.containers[0])
    assert lower == pytest.approx(sorted(low))
    said = words(ax)
    assert said.count(".003 (") == n
    assert said.count(".020 (> .999)") == n
    assert said.count(".031 (") == n
    assert "p no treatment effect on slopes" in said
    assert "p equally smooth maps" in said
    assert "p the same, beyond anatomy" in said
    assert "over 119 regions" in said
    assert "(12)" in said
    filled = [line for line in ax.lines if line.get_markerfacecolor() == palette.ACCENT]
    found = {line.get_marker(): line.get_xdata().tolist() for line in filled}
    assert found == {"o": [rows["r"].max()], "D": [rows["r_anatomy"].min()]}


def test_scatter_names_regions_without_overlap():
    rng = np.random.default_rng(3)
    x = rng.normal(size=80)
    points = pd.DataFrame({"x_value": x, "y_value": 0.8 * x + 0.3 * rng.normal(size=80)})
    points["region"] = [f"left region number {i}" for i in range(80)]
    points.loc[80] = [np.nan, 1.0, "no density"]
    own = own_axes(width=3.5, height=3)
    receptors.plot_scatter(own, points, 0.8, "density, normal score", "change, normal score")
    boxes = [text.get_window_extent() for text in own.texts]
    assert 3 <= len(boxes) <= 8
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert len(own.lines[0].get_xdata()) == 80
    plt.close(own.figure)


def test_influence_pairs_r_with_and_without_and_names_the_region(ax):
    rows = maps(2).assign(r_without=[0.7, -0.25], region_without=["left putamen", "right cuneus"])
    receptors.plot_without(ax, rows)
    by_label = {line.get_label(): line.get_xdata().tolist() for line in ax.lines}
    assert by_label == {"all regions": [0.8, -0.2], "without one": [0.7, -0.25]}
    assert {"left putamen", "right cuneus"} <= {text.get_text() for text in ax.texts}


def test_nulls_count_every_finite_draw(ax):
    draws = {"spatial": np.array([0.1, 0.1, 0.3])}
    draws["spatial_anatomy"] = np.array([-0.5, 0.2, np.nan])
    receptors.plot_nulls(ax, draws, {"spatial": 0.6, "spatial_anatomy": 0.4})
    tops = [shape.get_paths()[0].vertices[:, 1].max() for shape in ax.collections]
    assert tops == [2, 1]
    colours = [to_hex(shape.get_facecolor()[0]).upper() for shape in ax.collections]
    assert colours == list(palette.BANDS.values())
    assert [line.get_xdata()[0] for line in ax.lines] == [0.6, 0.4]
    assert "draws, of 3" in ax.get_ylabel()


def test_slopes_are_points_by_arm_with_the_mean_of_each(ax):
    rows = pd.DataFrame({"slope": [1.0, 3.0, -1.0, 0.5], "arm": ["active"] * 2 + ["control"] * 2})
    receptors.plot_slopes(ax, rows, NAMES)
    points = [sorted(shape.get_offsets()[:, 0]) for shape in ax.collections]
    assert points == [[1.0, 3.0], [-1.0, 0.5]]
    assert [line.get_xdata()[0] for line in ax.lines[:2]] == [2.0, -0.25]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["real", "sham"]


def test_anatomy_is_r_by_property_filled_where_it_is_significant(ax):
    names = list(receptors.ANATOMY)
    r = [-0.5, 0.2, -0.3, 0.4, np.nan, np.nan]
    rows = pd.DataFrame({"measure": names, "r": r, "p_spatial": 0.02})
    receptors.plot_anatomy(ax, rows.assign(p_fwe_spatial=[0.01, 0.9, 0.8, 0.7, 0.7, 0.7]))
    assert [text.get_text() for text in ax.texts].count("not available") == 2
    dots = {line.get_ydata()[0]: line for line in ax.lines if line.get_marker() == "o"}
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert dots[labels.index("distance to the ventricles")].get_xdata()[0] == -0.5
    faces = [dots[y].get_markerfacecolor() == palette.ACCENT for y in sorted(dots)]
    assert faces == [False, False, False, True]
    assert words(ax).count(".020") == 4


BEYOND = "p_fwe_spatial_anatomy"


def test_structures_stand_side_by_side_by_system_filled_beyond_anatomy(ax):
    rows = pd.DataFrame(
        [
            ("all", "dopamine", "D1", "a/1", 119, 0.8, 0.01),
            ("all", "opioid", "MOR", "b/2", 118, 0.5, 0.2),
            ("cortex", "dopamine", "D1", "a/1", 98, -0.7, 0.3),
            ("subcortex", "serotonin", "5-HT4", "c/3", 16, 0.6, 0.04),
        ],
        columns=[
            "structure",
            "system",
            "receptor",
            "annotation",
            "n_parcels",
            "r",
            "p_fwe_spatial_anatomy",
        ],
    )
    receptors.plot_structures(ax, rows)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["dopamine: D1  a/1", "serotonin: 5-HT4  c/3", "opioid: MOR  b/2"]
    found = {
        (line.get_marker(), round(x, 1), round(y), line.get_markerfacecolor() != "white")
        for line in ax.lines
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        if line.get_marker() in "os^"
    }
    filled = {("o", 0.8, 2, True), ("^", 0.6, 1, True)}
    assert found == filled | {("o", 0.5, 0, False), ("s", -0.7, 2, False)}
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == ["all, 118 to 119 regions", "cortex, 98 regions", "subcortex, 16 regions"]
    alt = describe("structures", NAMES, rows=rows, effect="the change")[1]
    assert alt.endswith("Largest: all D1 0.80, cortex D1 −0.70, subcortex 5-HT4 0.60.")


def test_improvement_is_r_with_its_interval_by_map(ax):
    rows = maps(3).assign(p_fwe=[0.9, 0.01, 0.9])
    receptors.plot_improvement(ax, rows)
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx(sorted(rows["r"]))
    assert [dot.get_markerfacecolor() == palette.ACCENT for dot in dots] == [False, True, False]


EMPTY = {
    "plot_course": lambda ax: clinical.plot_course(
        ax, clinical.since_baseline(scores().iloc[:0]), *(t.iloc[:0] for t in course()), "points"
    ),
    "plot_differences": lambda ax: clinical.plot_differences(ax, contrasts().iloc[:0], NAMES),
    "plot_risks": lambda ax: clinical.plot_risks(ax, risks().iloc[:0], NAMES),
    "plot_region_change": lambda ax: figures_brain.plot_region_change(ax, None, None, [], NAMES),
    "plot_correlations": lambda ax: receptors.plot_correlations(ax, maps().iloc[:0], {}),
    "plot_scatter": lambda ax: receptors.plot_scatter(
        ax, pd.DataFrame({"region": ["a"], "x_value": [np.nan], "y_value": [1]}), 0.1, "x", "y"
    ),
    "plot_dominance": lambda ax: receptors.plot_dominance(
        ax, pd.DataFrame({"receptor": ["D1"], "total_dominance": np.nan, "p_fwe": 1, "percent": 1})
    ),
    "plot_without": lambda ax: receptors.plot_without(
        ax, maps(1).assign(r_without=np.nan, region_without="left putamen")
    ),
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_to_draw_is_said_in_words(ax, name):
    EMPTY[name](ax)
    assert len(ax.texts) == 1
    assert ax.texts[0].get_text().startswith("no ")
    assert not ax.axison


def test_residuals_and_the_fits_without_each_participant_stand_where_they_are(ax):
    rows = pd.DataFrame({"visit": ["w1", "w1", "w2"], "quantile": [-0.5, 0.5, 0]})
    clinical.plot_residuals(ax, rows.assign(residual=[-4.0, 0.7, 0.1]))
    points = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert points == [[[-0.5, -4.0], [0.5, 0.7]], [[0, 0.1]]]
    caption, _ = describe("residuals", NAMES, rows=rows.assign(residual=[-4.0, 0.7, 0.1]))
    assert "Beyond ±3: 1 of 3." in caption


def test_the_fits_without_each_participant_are_in_order(ax):
    rows = pd.DataFrame({"arm": ["active", "control", "active"], "estimate": [-2.0, -3.5, np.nan]})
    rows["shift"] = rows["estimate"] + 3
    clinical.plot_left_out(ax, rows, NAMES)
    points = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert points == [[[1, -2.0]], [[0, -3.5]]]
    assert ax.lines[-1].get_ydata()[0] == -3
    caption, _ = describe("left_out", NAMES, rows=rows)
    assert "from −3.5 to −2.0 points" in caption


# --- words


def test_descriptions_quote_the_results():
    caption, alt = describe("differences", NAMES, contrasts=contrasts(), primary=("X", "w2"))
    assert "X at w2: −2.5 (−4.0 to −0.01), p = .020." in caption
    assert "1 of 3 intervals include zero" in alt
    caption, alt = describe("risks", NAMES, rows=risks())
    assert "Response: 5 of 10 with real, 2 of 8 with sham" in caption
    lines, means = clinical.since_baseline(scores()), course()[0]
    shown = {"scale": "X", "kind": "change", "individuals": lines, "means": means}
    caption, alt = describe("course", NAMES, **shown)
    assert "2 with real, 1 with sham" in caption
    assert "−8.0 (−9.0 to −6.0) with real" in alt
    shown = {"rows": maps(3), "n_all": 41, "contrast": "arm_by_time", "n_draws": {"spatial": 1000}}
    caption, alt = describe("correlations", NAMES, **shown, one_map=False, within=False)
    assert "difference in change between real and sham with 41 receptor maps" in caption
    assert "41 receptor maps (the 3 with the largest |r| are shown)" in caption
    assert "Largest: R0, 0.80; slopes p = .003, among equally smooth maps p = .020, beyond" in alt
    assert "slopes 1, beyond anatomy 1 of 3" in alt


def test_the_lines_of_several_courses_are_explained_once():
    whole = "Change in X, points. Thin lines: 3. Thick lines and bars: means. n: rated."
    panels = {name: figures_panels.Panel(None, name, whole, "") for name in ("x", "y", "z")}
    first, *others = composites._said_once(panels).values()
    assert first.caption == whole
    short = "Change in X, points. Thin lines: 3. Otherwise as in (a)."
    assert [panel.caption for panel in others] == [short, short]


@pytest.mark.parametrize(("n", "said"), [(0, "No voxel survives"), (12, "12 voxels survive")])
def test_a_brain_s_caption_says_how_many_voxels_survive(n, said):
    row = {"contrast": "active_change", "n_active": 17, "n_control": 0, "n_voxels_fwe": n}
    caption, _ = describe("brain", NAMES, row=row | {"n_permutations": 5000}, kind="slices")
    assert said in caption
    assert "(n = 17 real)" in caption
    assert "5,000 permutations" in caption


def test_long_lines_of_a_flow_box_are_wrapped():
    boxes = pd.DataFrame({"stage": ["a"], "arm": ["both"], "text": ["word " * 20 + "; short"]})
    lines = conduct._consort_rows(boxes)[0]["texts"]["both"]
    assert max(map(len, lines)) <= 48
    assert lines[-1] == "short"


def test_slopes_are_drawn_at_the_same_places_every_time():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"arm": ["active", "control"] * 20, "slope": rng.normal(size=40)})
    drawn = []
    for _ in range(2):
        fig, ax = plt.subplots()
        receptors.plot_slopes(ax, rows, NAMES)
        fig.canvas.draw()
        drawn.append(np.vstack([dots.get_offsets() for dots in ax.collections]))
        plt.close(fig)
    np.testing.assert_array_equal(*drawn)
    np.testing.assert_allclose(np.sort(drawn[0][:20, 0]), np.sort(rows["slope"][::2]))


def test_curves_of_p_have_the_colour_and_the_word_of_their_verdict():
    tests = {"MMRM": "holds", "ANCOVA": "too small"}
    rows = pd.DataFrame({"nominal": [0.005, 0.05, 1.0], "observed": [0.01, 0.06, 1.0]})
    rows = pd.concat([rows.assign(test=test, n_draws=400) for test in tests])
    ax = plt.figure().subplots()
    rates = pd.DataFrame({"test": tests.keys(), "verdict": tests.values()})
    receptors.plot_quantiles(ax, rows, rates)
    first, second, diagonal, _ = ax.get_lines()
    assert [line.get_label() for line in (first, second)] == ["MMRM: holds", "ANCOVA: too small"]
    assert first.get_color() == palette.VERDICTS["holds"] != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()  # where colours cannot be told apart
    np.testing.assert_allclose(second.get_ydata(), [0.01, 0.06, 1])
    np.testing.assert_allclose(diagonal.get_xdata(), diagonal.get_ydata())
    (band,) = ax.collections
    outline = band.get_paths()[0].vertices
    limits = np.unique(outline[outline[:, 0] == 0.05, 1])
    np.testing.assert_allclose(limits, stats.binom.ppf([0.025, 0.975], 400, 0.05) / 400)
    plt.close(ax.figure)


def test_power_is_drawn_with_its_closed_form_and_the_effects_of_others():
    effects = np.array([0.0, 0.5, 1.0])
    rows = pd.DataFrame({"true_effect": effects, "power": [0.05, 0.4, 0.9], "line": "18 + 18"})
    rows = rows.assign(monte_carlo_se=0.01, closed_form=[0.05, 0.45, 0.92])
    rows = rows.assign(exaggeration=[np.nan, 1.8, 1.1], exaggeration_closed_form=[np.nan, 1.7, 1])
    real = pd.DataFrame({"treatment": ["ECT"], "true_effect": [0.91]})
    for plot, column, dashed in (
        (draw_power.plot_power, "power", "closed_form"),
        (draw_power.plot_exaggeration, "exaggeration", "exaggeration_closed_form"),
    ):
        ax = own_axes()
        plot(ax, rows, real, "true difference")
        drawn = [line for line in ax.lines if line.get_marker() == "o" or line.get_ls() == "--"]
        for one, name in zip(drawn, (column, dashed), strict=True):
            np.testing.assert_allclose(one.get_ydata(orig=False), rows[name])
        real_line = next(x for x in ax.lines if to_hex(x.get_color()) == palette.ACCENT.lower())
        assert real_line.get_xdata()[0] == 0.91
        assert [text.get_text() for text in ax.texts] == ["ECT"]
        assert ax.get_legend_handles_labels()[1] == ["18 + 18"]
        plt.close(ax.figure)
