"""Treatment sessions and dose by arm."""

import numpy as np
import pandas as pd

from analysis_lib.study.contract import ARMS
from analysis_lib.study.participants import analysed


def participant_dose(stimulation, participants):
    """Sessions, intensity and pulses of each participant.

    Parameters
    ----------
    stimulation : pandas.DataFrame
        From :func:`analysis_lib.study.read_stimulation`.
    participants : pandas.DataFrame
        From :func:`analysis_lib.study.participants.read_participants`.

    Returns
    -------
    pandas.DataFrame
        Rows of conduct/dose.tsv: 0 sessions for who has no row; pulses are missing where those of a
        session are.
    """
    groups = stimulation.groupby("participant_id")
    dose = pd.DataFrame(
        {
            "sessions": groups.size(),
            "percent_motor_threshold": groups["percent_motor_threshold"].mean(),
            "pulses": groups["pulses"].agg(lambda pulses: pulses.sum(skipna=False)),
        }
    )
    table = analysed(participants)[["participant_id", "arm"]].merge(
        dose, "left", on="participant_id"
    )
    never = table["sessions"].isna()
    table = table.assign(sessions=table["sessions"].fillna(0).astype(int))
    table.loc[never, "pulses"] = 0.0
    return table.reset_index(drop=True)


def adherence_table(stimulation, participants, planned=None):
    """Sessions received of those planned, intensity, and pulses, by arm.

    Parameters
    ----------
    stimulation : pandas.DataFrame
        From :func:`analysis_lib.study.read_stimulation`.
    participants : pandas.DataFrame
    planned : int, optional
        Sessions of a full course. Left out: the highest session number that occurs.

    Returns
    -------
    pandas.DataFrame
        Rows of conduct/adherence.tsv. For a sham coil intensity and pulses are those that were set
        and played.

    Raises
    ------
    ValueError
        If a participant received more sessions than were planned.
    """
    dose = participant_dose(stimulation, participants)
    planned = int(stimulation["session"].max()) if planned is None else planned
    beyond = dose[dose["sessions"] > planned]
    if len(beyond):
        raise ValueError(
            f"planned: at least as many sessions as were received expected, found {planned} and "
            f"{beyond['sessions'].max()} of {beyond['participant_id'].iloc[0]}"
        )
    share, full = 100 * dose["sessions"] / planned, 100.0 * (dose["sessions"] == planned)
    measures = {
        "sessions received": dose["sessions"],
        f"sessions received, percent of {planned} planned": share,
        f"all {planned} sessions, percent of participants": full,
        "intensity, percent of motor threshold": dose["percent_motor_threshold"],
        "pulses in total": dose["pulses"],
    }
    rows = [
        {"arm": arm, "measure": name} | _summary(values[dose["arm"] == arm], values is not full)
        for name, values in measures.items()
        for arm in ARMS
    ]
    return pd.DataFrame(rows)


def _summary(values, spread):
    values = values.dropna()
    found = {"n": len(values), "mean": values.mean()}
    names = {"sd": "std", "median": "median", "lowest": "min", "highest": "max"}
    return found | {k: getattr(values, v)() if spread else np.nan for k, v in names.items()}
