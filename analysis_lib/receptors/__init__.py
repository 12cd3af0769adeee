"""Notebook 03 and its appendix: the map of change and the maps of receptors."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "assessment": [
            "correlation_table",  # rows of receptors/correlations.tsv
        ],
        "dominance_analysis": [
            "dominance",  # dominance analysis over all subsets of predictors (Budescu 1993
        ],
        "inputs": [
            "read_inputs",  # regional change and receptor maps, with the design of the trial
        ],
        "numbers": [
            "receptor_numbers",  # numbers of notebook 03 that texts and figures quote
        ],
        "structures": [
            "by_structure",  # cortex, subcortex and all of grey matter side by side
        ],
        "surrogates": [
            "moran_surrogates",  # moran spectral randomisation (Wagner & Dray 2015
            "variogram_surrogates",
        ],
        "together": [
            "anatomy_rows",  # r of each effect map with head anatomy
            "assess",  # does regional change follow receptor maps? without a study file
            "assess_contrasts",  # every test of every contrast against every receptor map
            "joint_model",  # all receptors at once
            "juspace_tables",  # what JuSpace would report
            "null_draws",  # every draw under each null
            "patients",  # each patient's own coupling, as an outcome of the trial
            "rivals",  # the leading receptor of each contrast against all others
            "sensitivity",  # how far each correlation depends on something else
        ],
    },
)
