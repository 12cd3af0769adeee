"""Numbers of notebook 03 that texts and figures quote."""

import pandas as pd

QUOTED = {
    "correlations": "r ci_low ci_high n_parcels p_randomisation p_fwe p_spatial p_fwe_spatial "
    "n_subjects_map r_anatomy p_spatial_anatomy p_fwe_spatial_anatomy",
    "sensitivity": "reliability r_noise_free noise_free_low noise_free_high r_without",
    "rivals": "difference ci_low ci_high share_ahead share_first",
    "given_others": "r_given_others p_given_others p_fwe",
    "coupling_arm": "difference ci_low ci_high p p_fwe",
    "coupling_mean": "mean ci_low ci_high p p_fwe",
    "coupling_improvement": "n r ci_low ci_high p",
}


def receptor_numbers(tables):
    """Numbers of notebook 03 that texts and figures quote: name to (value, source file).

    Parameters
    ----------
    tables : dict of pandas.DataFrame
        By name: correlations, sensitivity, rivals, given_others, coupling_arm or coupling_mean,
        coupling_improvement (its primary scale, which comes first), and others, not quoted.
    """
    numbers = {}
    for name in (name for name in QUOTED if name in tables):
        first, table = "" if name == "correlations" else f"{name}.", tables[name]
        if "scale" in table:
            table = table[table["scale"] == table["scale"].iloc[0]]
        for _, row in table.iterrows():
            contrast = f"{row['contrast']}." if "contrast" in row else ""
            annotation = row.get("rival_annotation", row["annotation"])
            for column in QUOTED[name].split():
                value = None if pd.isna(row[column]) else row[column]
                numbers[f"{first}{contrast}{annotation}.{column}"] = (value, f"{name}.tsv")
    return numbers
