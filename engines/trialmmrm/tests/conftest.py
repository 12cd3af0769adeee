"""Real data are those of $REFERENCE_DATA, else of ../shared beside the repository."""

import os
from pathlib import Path

import pandas as pd
import pytest

from trialmmrm import fit_mmrm

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def reference_data():
    """Folder with the real data and reference results that some tests compare with."""
    folder = Path(os.environ.get("REFERENCE_DATA", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"real data absent: {folder} has no data/ (set REFERENCE_DATA)")
    return folder


@pytest.fixture(scope="module")
def fev(reference_data):
    table = pd.read_csv(reference_data / "data/trials/fev/fev_data.csv")
    races = ["Asian", "Black or African American", "White"]  # R's reference levels come first
    return table.assign(
        ARMCD=pd.Categorical(table["ARMCD"], ["PBO", "TRT"]),
        RACE=pd.Categorical(table["RACE"], races),
        SEX=pd.Categorical(table["SEX"], ["Male", "Female"]),
    )


@pytest.fixture(scope="module")
def depression(reference_data):
    table = pd.read_csv(reference_data / "data/trials/antidepressant/antidepressant_data.csv")
    return table.assign(THERAPY=pd.Categorical(table["THERAPY"], ["PLACEBO", "DRUG"]))


@pytest.fixture(scope="module")
def depression_fit(depression):
    formula = "CHANGE ~ BASVAL*VISIT + THERAPY*VISIT"
    return fit_mmrm(depression, formula, subject="PATIENT", visit="VISIT")
