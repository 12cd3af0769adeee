"""Notebooks 01 and S0: clinical outcomes, missing data, how the trial was conducted."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "adherence": [
            "adherence_table",  # sessions received of those planned, intensity, and pulses, by arm
            "participant_dose",  # sessions, intensity and pulses of each participant
        ],
        "baseline": [
            "baseline_table",  # table 1: characteristics at baseline by arm
        ],
        "blinding": [
            "blinding_table",  # blinding indices of Bang, by arm, and of James, over both
        ],
        "consort": [
            "consort_checklist",  # the 30 items of CONSORT 2025
        ],
        "courses": [
            "course_tables",  # courses, change and response without a control arm
        ],
        "harms": [
            "adverse_event_table",  # adverse events by arm
        ],
        "imputed_scales": [
            "compare_imputed",  # the arms compared on completed data, each scale
            "impute_scales",  # fit the imputation model to each scale
        ],
        "item_analysis": [
            "item_tables",  # every item table of every scale whose items were recorded
        ],
        "model_check": [
            "influence_table",  # the primary contrast without each participant in turn
            "residual_table",  # residuals of the primary model, with normal quantiles
        ],
        "models": [
            "contrast_table",  # adjusted difference between arms
            "describe_fits",  # what each model was fitted to, in words
            "fit_models",  # fit the primary model, an MMRM, to every scale
            "growth_table",  # straight lines over weeks: does the slope differ between arms?
            "mean_table",  # model means by arm and visit
        ],
        "numbers": [
            "clinical_numbers",  # numbers of notebook 01 that texts and figures quote
        ],
        "outcomes": [
            "ancova",  # difference between arms
            "rm_anova",  # group x time repeated-measures ANOVA of each scale
            "visit_means",  # observed means by scale, arm and visit
        ],
        "randomisation": [
            "randomisation_test",  # test the difference at a visit against re-randomised arms
        ],
        "risks": [
            "responders",  # response and remission by arm
        ],
        "tipping": [
            "find_tipping_point",  # how much worse scores that lose the result would have to be
        ],
        "trial_data": [
            "read_trial",  # participants and ratings, checked
            "who_took_part",  # from randomisation to analysis, and the CONSORT boxes
            "who_was_rated",  # at which visits the primary scale was rated
        ],
    },
)
