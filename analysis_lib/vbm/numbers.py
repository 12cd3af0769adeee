"""Numbers of notebook 02 that texts and figures quote."""


def vbm_numbers(summary):
    """Numbers of notebook 02 that texts and figures quote: name to (value, source file)."""
    return {
        f"{row['contrast']}.{name}": (row[name], "summary.tsv")
        for _, row in summary.iterrows()
        for name in ("n_active", "n_control", "n_permutations", "n_voxels_fwe", "smallest_p")
    }
