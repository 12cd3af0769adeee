"""Numbers of notebook 02 that texts and figures quote."""

QUOTED = ("n", "n_active", "n_control", "n_permutations", "n_regions_fwe", "n_voxels_fwe")


def vbm_numbers(summary):
    """Numbers of notebook 02 that texts and figures quote: name to (value, source file)."""
    return {
        f"{row['contrast']}.{name}": (row[name], "summary.tsv")
        for _, row in summary.iterrows()
        for name in (*QUOTED, "smallest_p")
        if name in row
    }
