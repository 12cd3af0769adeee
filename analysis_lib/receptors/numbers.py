"""Numbers of notebook 03 that texts and figures quote."""

import pandas as pd


def receptor_numbers(tables):
    """Numbers of notebook 03 that texts and figures quote: name to (value, source file).

    Parameters
    ----------
    tables : dict of pandas.DataFrame
        By name: correlations, sensitivity, given_others, coupling_arm, coupling_improvement, and
        others, which are not quoted.
    """
    quoted = {
        "correlations": (
            *("r", "ci_low", "ci_high", "n_parcels", "p_randomisation", "p_fwe"),
            *("p_spatial", "p_fwe_spatial", "n_subjects_map"),
        ),
        "sensitivity": (
            *("reliability", "r_noise_free", "noise_free_low", "noise_free_high"),
            *("r_given_density", "p_given_density", "r_without"),
        ),
        "given_others": ("r_given_others", "p_given_others", "p_fwe"),
        "coupling_arm": ("difference", "ci_low", "ci_high", "p", "p_fwe"),
        "coupling_improvement": ("n", "r", "ci_low", "ci_high", "p"),
    }
    numbers = {}
    for name in quoted:
        table = tables[name]
        first = "" if name == "correlations" else f"{name}."
        for _, row in table.iterrows():
            contrast = f"{row['contrast']}." if "contrast" in row else ""
            for column in quoted[name]:
                value = None if pd.isna(row[column]) else row[column]
                numbers[f"{first}{contrast}{row['annotation']}.{column}"] = (value, f"{name}.tsv")
    return numbers
