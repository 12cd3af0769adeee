"""Tables of regions as FreeSurfer, CAT12 and ENIGMA write them become percent change."""

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_tables import import_edited, trial

from analysis_lib.atlas.naming import dkt31_aseg_table
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.importing.regions import split_name
from analysis_lib.results.problems import StudyError

PEOPLE = [f"P{k:02d}" for k in range(1, 9)]
DKT = dkt31_aseg_table()
CORTEX = DKT.loc[DKT["structure"] == "cortex", "region"].str.replace(" ", "").unique()
BELOW = ("Thalamus-Proper", "Caudate", "Putamen", "Pallidum", "Hippocampus", "Amygdala")
ENIGMA = ("thal", "caud", "put", "pal", "hippo", "amyg", "accumb")


def amounts(columns, rows):
    """Volumes by row, the second visit's a little smaller."""
    rng = np.random.default_rng(4)
    return pd.DataFrame(rng.uniform(900, 1100, (len(rows), len(columns))).round(2), rows, columns)


def freesurfer(folder):
    rows = [f"sub-{who}_ses-{v}.long.sub-{who}" for who in PEOPLE for v in ("baseline", "week4")]
    files = []
    for side in ("lh", "rh"):
        table = amounts([f"{side}_{name}_volume" for name in CORTEX], rows)
        table["eTIV"] = 1_500_000
        files.append((f"{side}.aparc.volume", table))
    aseg = [f"{side}-{name}" for side in ("Left", "Right") for name in BELOW]
    files.append(("Measure:volume", amounts([*aseg, "EstimatedTotalIntraCranialVol"], rows)))
    for corner, table in files:
        name = corner.replace(":", "_")
        table.rename_axis(corner).to_csv(folder / f"{name}.tsv", sep="\t")
    found = pd.concat([table for _, table in files], axis=1).filter(regex="^[lr]h_|^Left|^Right")
    found.columns = [c.removesuffix("_volume") for c in found]
    return [folder / f"{corner.replace(':', '_')}.tsv" for corner, _ in files], found


def cat12(folder):
    names = load_atlas("neuromorphometrics").table["name"]
    rows = [f"catROI_sub-{who}_ses-{v}" for who in PEOPLE for v in ("baseline", "week4")]
    found = amounts(list(names.iloc[:60]), rows)
    spelled = found.rename(columns=lambda name: name.replace("_", " ")).rename_axis("names")
    spelled.to_csv(folder / "ROI_catROI_neuromorphometrics_Vgm.csv")
    return [folder / "ROI_catROI_neuromorphometrics_Vgm.csv"], found


def enigma(folder):
    rows = [f"{who}_{v}" for who in PEOPLE for v in ("baseline", "week4")]
    below = [side + name for side in "LR" for name in ENIGMA]
    found = amounts([*below, *(f"{s}_{name}" for s in "LR" for name in CORTEX)], rows)
    spelled = found.rename(columns=lambda n: f"{n}_thickavg" if "_" in n else n)
    spelled.assign(ICV=1.4e6).rename_axis("SubjID").to_csv(folder / "LandRvolumes.csv")
    return [folder / "LandRvolumes.csv"], found


@pytest.mark.parametrize("program", [freesurfer, cat12, enigma], ids=lambda p: p.__name__)
def test_two_visits_of_volumes_become_percent_change(tmp_path, program):
    files, volumes = program(tmp_path)
    scores = trial().drop(columns=[f"item_{k}" for k in range(1, 18)])
    scores.rename(columns={"total": "HAMD"}).to_csv(tmp_path / "scores.csv", index=False)
    done = import_edited([tmp_path / "scores.csv", *files], tmp_path / "new")
    written = pd.read_csv(done.path.parent / "bids/regions.tsv", sep="\t", index_col=0)
    pre, post = volumes.iloc[::2].to_numpy(), volumes.iloc[1::2].to_numpy()
    assert list(written.index) == [f"sub-{who}" for who in PEOPLE]
    np.testing.assert_allclose(written[list(volumes)], 100 * (post / pre - 1), atol=1e-6)
    assert set(written) == set(volumes)
    study = yaml.safe_load(done.path.read_text())
    atlas = "neuromorphometrics" if program is cat12 else "dkt31_aseg"
    assert study["imaging"] == {
        "sessions": {"pre": "baseline", "post": "week4"},
        **{"table": "regions.tsv", "atlas": atlas, "values": "percent_change"},
    }


def test_values_below_zero_are_changes_already(tmp_path):
    scores = trial().drop(columns=[f"item_{k}" for k in range(1, 18)])
    scores.rename(columns={"total": "HAMD"}).to_csv(tmp_path / "scores.csv", index=False)
    change = amounts([f"ctx.{name}" for name in CORTEX], PEOPLE) - 1000
    change.rename_axis("id").to_csv(tmp_path / "change.csv")
    done = import_edited([tmp_path / "scores.csv", tmp_path / "change.csv"], tmp_path / "new")
    written = pd.read_csv(done.path.parent / "bids/regions.tsv", sep="\t", index_col=0)
    np.testing.assert_allclose(written, change)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sub-01_ses-pre", ("sub-01", "ses-pre")),
        ("catROI_P3_week4", ("P3", "week4")),
        ("sub-01_ses-post.long.sub-01", ("sub-01", "ses-post")),
        ("sub-01", ("sub-01", "")),
    ],
)
def test_an_image_names_participant_and_visit(text, parts):
    assert split_name(text) == parts


def test_regions_alone_ask_for_scores(tmp_path):
    files, _ = enigma(tmp_path)
    with pytest.raises(StudyError, match="a clinical scale expected, found none"):
        import_edited(files, tmp_path / "new", {"weeks": "0, 4"})
